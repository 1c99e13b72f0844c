"""DIT108 pipeline-unregistered: a pipeline config or preset that the pipeline registry never registers."""

from __future__ import annotations

import re
from collections.abc import Iterator

from analyzers.facts.model import Assignment, ClassFacts, Placed
from analyzers.findings import Applicability, Finding, Fix, JsonValue, Location, Severity
from analyzers.project.comments import comments_about
from analyzers.project.pipeline_configs import (
    Preset,
    configs_in,
    family_folder,
    grouped,
    is_base,
    is_claimed,
    is_used,
    presets_in,
    registered_groups,
    serves_a_port,
)
from analyzers.project.profile import Registrations
from analyzers.rules.base import Context, Example, Expected, Rule, Tier

_BY_HAND = re.compile(
    r"(?i)\bexplicitly\b|\bby hand\b|\bmanually\b|\bnot (?:yet )?registered\b|\bunregistered\b|\bdeprecated\b"
    r"|\bauto-?detect|\bpipeline_config=|\boverride_pipeline|\btests? only\b|\bexperimental\b|\bnot exposed\b"
)
"""Words of a docstring or comment that says why a config or preset is not in the registry."""


def check(context: Context) -> Iterator[Finding]:
    """Looks at the files of configs and presets; the registry itself has no line for what it lacks."""
    path, pipelines = context.file.path, context.profile.registrations
    if pipelines is None or not pipelines.holds(path) or path == pipelines.registry or context.file.broken:
        return
    if context.project.pipeline_registry is None:
        return
    yield from _configs(context, pipelines)
    yield from _presets(context, pipelines)


# ------------------------------------------------------------------ configs


def _configs(context: Context, pipelines: Registrations) -> Iterator[Finding]:
    for config in _unregistered(context, context.file.path):
        name = config.fact.name
        yield context.finding(
            config.at(config.fact.name_span),
            f"'{name}' is not registered: {pipelines.registry} never hands it to "
            f"{pipelines.register}, so no checkpoint is run with it",
            symbol=name,
            fix=_config_fix(context, pipelines, config),
        )


def _unregistered(context: Context, path: str) -> tuple[Placed[ClassFacts], ...]:
    project = context.project
    registry = project.pipeline_registry
    if registry is None:
        return ()
    return tuple(
        config
        for config in configs_in(project, path)
        if not config.fact.name.startswith("_")
        and not config.fact.partial
        and not _is_abstract(config.fact)
        and config.fact.name not in registry.mentioned
        and not _explained(context, config.fact.docstring, config.at(config.fact.name_span))
        and not is_base(project, config)
        and serves_a_port(project, config)
        and not is_used(project, config.fact.name)
    )


def _is_abstract(cls: ClassFacts) -> bool:
    return any(m.decorated_with("abstractmethod") for m in cls.methods) or any(
        getattr(base, "dotted", "").rpartition(".")[2] in ("ABC", "Protocol") for base in cls.bases
    )


def _explained(context: Context, docstring: str | None, location: Location) -> bool:
    facts = context.project.file(location.path)
    comments = comments_about(facts, location.span) if facts is not None else ()
    return any(_BY_HAND.search(text) for text in (docstring or "", *comments))


def _config_fix(context: Context, pipelines: Registrations, config: Placed[ClassFacts]) -> Fix | None:
    """A registration by the class of the family's pipeline, where only one of each waits for one."""
    project = context.project
    registry, folder = project.pipeline_registry, family_folder(project, config.path)
    if registry is None or folder is None or not registry.complete:
        return None
    siblings = {config.path, *(p for p in project.pipeline_files if p.startswith(f"{folder}/"))}
    waiting = [c.fact.name for path in sorted(siblings) for c in _unregistered(context, path)]
    free = [p for p in project.pipelines_below(folder) if not is_claimed(registry.registrations, p)]
    if waiting != [config.fact.name] or len(free) != 1:
        return None
    presets = [p for path in sorted(siblings) for p in presets_in(project, path)]
    arguments: dict[str, JsonValue] = {
        "path": pipelines.registry,
        "function": pipelines.register,
        "folder": context.names.module_name(pipelines.configs),
        "module": context.names.module_name(config.path),
        "config": config.fact.name,
        "detector": free[0].lower(),
        "workload": presets[0].text("workload_type") if len(presets) == 1 else None,
        "family": presets[0].text("model_family") if len(presets) == 1 else None,
        "preset": presets[0].text("name") if len(presets) == 1 else None,
    }
    title = f"Register '{config.fact.name}' for checkpoints of {free[0]}"
    return Fix(title, "register-pipeline-config", arguments, Applicability.UNSAFE)


# ------------------------------------------------------------------ presets


def _presets(context: Context, pipelines: Registrations) -> Iterator[Finding]:
    path, group_name = context.file.path, pipelines.preset_group
    presets = presets_in(context.project, path)
    if not presets:
        return
    groups = registered_groups(context.project)
    if groups is None:
        return
    group = grouped(context.project, path)
    if not groups.get(path, False):
        if _is_ported(context, path) and not _group_used(context, pipelines, path):
            yield from _group(context, pipelines, path, presets, group)
        return
    if group is None:
        return
    for preset in presets:
        where = preset.assignment
        if preset.name in group[1] or _explained(context, None, where.at(where.fact.span)):
            continue
        if is_used(context.project, preset.name):
            continue
        yield context.finding(
            where.at(where.fact.span),
            f"the preset '{preset.text('name') or preset.name}' is not in {group_name}, so the registry "
            "never registers it and nobody can select it",
            symbol=preset.name,
            fix=Fix(
                f"Add {preset.name} to {group_name}",
                "list-preset",
                {"path": path, "group": group_name, "name": preset.name},
                Applicability.UNSAFE,
            ),
        )


def _group(
    context: Context,
    pipelines: Registrations,
    path: str,
    presets: tuple[Preset, ...],
    group: tuple[Placed[Assignment], frozenset[str]] | None,
) -> Iterator[Finding]:
    where = group[0] if group is not None else presets[0].assignment
    if _explained(context, context.file.docstring, where.at(where.fact.span)):
        return
    fix = None
    if group is not None:
        fix = Fix(
            f"Register the presets in {pipelines.registry}",
            "register-presets",
            {
                "path": pipelines.registry,
                "group": pipelines.preset_group,
                "module": context.names.module_name(path),
            },
            Applicability.UNSAFE,
        )
    number = f"{len(presets)} presets" if len(presets) > 1 else "the preset"
    yield context.finding(
        where.at(where.fact.span),
        f"{number} of this file {'are' if len(presets) > 1 else 'is'} not registered: "
        f"{pipelines.registry} never registers {pipelines.preset_group} of this module",
        symbol=pipelines.preset_group if group is not None else presets[0].name,
        fix=fix,
    )


def _is_ported(context: Context, path: str) -> bool:
    """Whether the family has a pipeline that a checkpoint can name, or a port of its name."""
    folder = family_folder(context.project, path)
    if folder is None:
        return False
    family = folder.rpartition("/")[2]
    return bool(context.project.pipelines_below(folder)) or any(
        port.family == family for port in context.project.ports
    )


def _group_used(context: Context, pipelines: Registrations, path: str) -> bool:
    """Whether another module of the package takes the list of presets from this one."""
    profile, names = context.profile, context.names
    for other in context.project.sources.walk(profile.folder):
        if other in (path, pipelines.registry) or profile.is_test(other):
            continue
        text = context.project.sources.text(other) or ""
        if pipelines.preset_group not in text or "presets" not in text:
            continue
        facts = context.project.file(other)
        for item in (i.fact for i in facts.imports) if facts is not None else ():
            dotted = names.absolute(other, "." * item.level + item.module)
            if dotted is None or item.name is None or other.endswith("/__init__.py"):
                continue
            if names.module_path(dotted) == path or names.module_path(f"{dotted}.{item.name}") == path:
                return True
    return False


_CONFIGS = "fastvideo/configs/pipelines/echo.py"
_LOCAL = "fastvideo/pipelines/basic/echo/pipeline_configs.py"
_REGISTRY = "fastvideo/registry.py"
_PRESETS = "fastvideo/pipelines/basic/echo/presets.py"
_SOUND_PRESETS = "fastvideo/pipelines/basic/sound/presets.py"
_PIPELINE = "fastvideo/pipelines/basic/echo/echo_pipeline.py"


def _config(*classes: str) -> str:
    return (
        "from dataclasses import dataclass, field\n\n"
        "from fastvideo.configs.models.dits import SoundConfig\n"
        "from fastvideo.configs.pipelines.base import PipelineConfig\n\n\n" + "\n\n".join(classes)
    )


def _class(name: str, base: str = "PipelineConfig", doc: str = "") -> str:
    docstring = f'    """{doc}"""\n' if doc else ""
    return (
        f"@dataclass\nclass {name}({base}):\n{docstring}"
        "    dit_config: SoundConfig = field(default_factory=SoundConfig)\n"
    )


def _presets_text(*names: str, listed: tuple[str, ...] | None = None) -> str:
    made = "".join(
        f'{n} = InferencePreset(name="{n.lower()}", version=1, model_family="echo", workload_type="t2v")\n\n'
        for n in names
    )
    group = ", ".join(names if listed is None else listed)
    return f"from fastvideo.api.presets import InferencePreset\n\n{made}ALL_PRESETS = ({group}, )\n"


def _registry(imports: str = "", calls: str = "", presets: str = "", listed: str = "") -> str:
    return f"""\
from enum import Enum

{imports}from fastvideo.configs.pipelines.sound import SoundPipelineConfig
from fastvideo.logger import init_logger

_DETECTORS = []


class WorkloadType(Enum):
    T2V = "t2v"
    I2V = "i2v"


def register_configs(sampling_param_cls, pipeline_config_cls, workload_types, hf_model_paths=None,
                     model_detectors=None, model_family=None, default_preset=None):
    _DETECTORS.extend((pipeline_config_cls, d) for d in model_detectors or [])


def resolve(model_path, config):
    pipeline_name = config.get("_class_name", "").lower()
    for found, detector in _DETECTORS:
        if detector(model_path.lower()) or detector(pipeline_name):
            return found
    return None


def _register_configs() -> None:
    register_configs(
        sampling_param_cls=None,
        pipeline_config_cls=SoundPipelineConfig,
        workload_types=(WorkloadType.T2V, ),
        model_detectors=[lambda path: "sound" in path.lower()],
    )
{calls}

_register_configs()


def _register_presets() -> None:
    from fastvideo.api.presets import register_preset
    from fastvideo.pipelines.basic.sound.presets import (
        ALL_PRESETS as SOUND_PRESETS, )
{presets}
    for group in (SOUND_PRESETS, {listed}):
        for preset in group:
            register_preset(preset)


_register_presets()
"""


_ALL: dict[str, str | None] = {
    "fastvideo/api/__init__.py": "",
    "fastvideo/api/presets.py": """\
class InferencePreset:
    def __init__(self, name, version, model_family, workload_type=None):
        self.name = name


def register_preset(preset):
    pass
""",
    "fastvideo/configs/pipelines/__init__.py": "",
    "fastvideo/configs/pipelines/base.py": """\
from dataclasses import dataclass


@dataclass
class PipelineConfig:
    flow_shift: float = 1.0
""",
    "fastvideo/configs/pipelines/sound.py": _config(_class("SoundPipelineConfig")),
    _SOUND_PRESETS: _presets_text("SOUND"),
    "fastvideo/pipelines/__init__.py": "",
    "fastvideo/pipelines/basic/__init__.py": "",
    "fastvideo/pipelines/basic/sound/__init__.py": "",
    _REGISTRY: _registry(),
}
_ECHO: dict[str, str | None] = {
    **_ALL,
    "fastvideo/pipelines/basic/echo/__init__.py": "",
    _PIPELINE: "class EchoPipeline:\n    pass\n\n\nEntryClass = EchoPipeline\n",
}
_IMPORT = "from fastvideo.configs.pipelines.echo import EchoPipelineConfig\n"
_CALL = """\
    register_configs(
        sampling_param_cls=None,
        pipeline_config_cls=EchoPipelineConfig,
        workload_types=(%s),
        model_detectors=[
            lambda path: "echopipeline" in path.lower(),
        ],
%s    )
"""
_PRESET_IMPORT = (
    "    from fastvideo.pipelines.basic.echo.presets import (\n        ALL_PRESETS as ECHO_PRESETS, )\n"
)

RULE = Rule(
    code="DIT108",
    name="pipeline-unregistered",
    severity=Severity.WARNING,
    tier=Tier.PROJECT,
    summary="a pipeline config or preset that the pipeline registry never registers",
    what=(
        "Reports a pipeline config made for a ported DiT that `fastvideo/registry.py` never hands to "
        "`register_configs` and that nothing else in the package uses; a file of presets whose "
        "`ALL_PRESETS` the registry does not register; a preset that is missing from its `ALL_PRESETS`."
    ),
    why=(
        "Configs that do not appear in the registry cannot be reached from `VideoGenerator`: a checkpoint of "
        'the family fails with "No model info found", or runs with a neighbour\'s config. A preset that is '
        "not registered cannot be selected, and its defaults are never applied."
    ),
    how=(
        "Add the `register_configs(...)` call with the published paths and a detector, and the preset group "
        "to the registry's list; or delete what is not needed. The fix for a config registers it by the "
        "class of the family's pipeline, where one config and one pipeline wait for it: complete the "
        "published paths by hand."
    ),
    exceptions=(
        "Base classes of other configs; configs used elsewhere in the package (a pipeline's "
        "`pipeline_config_cls`, a field of another config, a call); configs whose DiT is no port of this "
        "tree; names that begin with `_`; a docstring or comment that says that it is passed by hand, "
        "experimental or not registered. Presets are left alone where the registry finds them at run time."
    ),
    source="`fastvideo/configs/AGENTS.md`, How Configs Hook Into the Registry; `fastvideo/registry.py`",
    fixable=Applicability.UNSAFE,
    check=check,
    valid=(
        Example("no pipeline registry", {}),
        Example(
            "registered",
            {
                **_ECHO,
                _CONFIGS: _config(_class("EchoPipelineConfig")),
                _PRESETS: _presets_text("ECHO", "ECHO_PRO"),
                _REGISTRY: _registry(
                    _IMPORT, _CALL % ("WorkloadType.T2V, ", ""), _PRESET_IMPORT, "ECHO_PRESETS"
                ),
            },
        ),
        Example(
            "a base of the one that is registered",
            {
                **_ECHO,
                _CONFIGS: _config(
                    _class("EchoBaseConfig"), _class("EchoPipelineConfig", base="EchoBaseConfig")
                ),
                _REGISTRY: _registry(_IMPORT, _CALL % ("", "")),
            },
        ),
        Example(
            "the pipeline names its config",
            {
                **_ECHO,
                _CONFIGS: _config(_class("EchoPipelineConfig")),
                _PIPELINE: (
                    "from fastvideo.configs.pipelines.echo import EchoPipelineConfig\n\n\n"
                    "class EchoPipeline:\n    pipeline_config_cls = EchoPipelineConfig\n\n\n"
                    "EntryClass = EchoPipeline\n"
                ),
            },
        ),
        Example(
            "a field of another config",
            {
                **_ECHO,
                _CONFIGS: _config(
                    _class("EchoRefinerConfig"),
                    _class("EchoPipelineConfig")
                    + "    refiner: EchoRefinerConfig = field(default_factory=EchoRefinerConfig)\n",
                ),
                _REGISTRY: _registry(_IMPORT, _CALL % ("", "")),
            },
        ),
        Example(
            "passed by hand, as its docstring says",
            {
                **_ECHO,
                _CONFIGS: _config(
                    _class("EchoDMDConfig", doc="Distilled; pass it explicitly to `from_pretrained`.")
                ),
            },
        ),
        Example(
            "a config whose DiT is no port",
            {
                **_ECHO,
                _CONFIGS: _config(_class("EchoPipelineConfig").replace("=SoundConfig)", "=make_config)")),
            },
        ),
        Example(
            "the registry takes the presets from their module",
            {
                **_ECHO,
                _PRESETS: _presets_text("ECHO"),
                _REGISTRY: _registry(
                    presets="    from fastvideo.pipelines.basic.echo import presets as echo\n",
                    listed="echo.ALL_PRESETS",
                ),
            },
        ),
        Example(
            "registered in a loop",
            {
                **_ECHO,
                _CONFIGS: _config(_class("EchoPipelineConfig"), _class("EchoI2VConfig")),
                _REGISTRY: _registry(
                    "from fastvideo.configs.pipelines import echo\n",
                    "    for config in (echo.EchoPipelineConfig, echo.EchoI2VConfig):\n"
                    "        register_configs(None, config, (), [])\n",
                ),
            },
        ),
        Example(
            "a preset that only others are made from",
            {
                **_ALL,
                _SOUND_PRESETS: _presets_text("BASE", "SOUND", listed=("SOUND",))
                + "\nDEFAULTS = dict(vars(BASE))\n",
            },
        ),
        Example(
            "a preset that is not exposed, with a comment",
            {
                **_ALL,
                _SOUND_PRESETS: _presets_text("OLD", "SOUND", listed=("SOUND",)).replace(
                    "OLD =", "# Deprecated, kept for old requests.\nOLD =", 1
                ),
            },
        ),
    ),
    invalid=(
        Example(
            "a config and its presets are forgotten",
            {
                **_ECHO,
                _CONFIGS: _config(_class("EchoPipelineConfig")),
                _PRESETS: _presets_text("ECHO"),
            },
            findings=(
                Expected(_CONFIGS, 8, "'EchoPipelineConfig' is not registered", Severity.WARNING),
                Expected(_PRESETS, 5, "the preset of this file is not registered"),
            ),
            fixed={
                _REGISTRY: _registry(
                    _IMPORT,
                    _CALL
                    % (
                        "WorkloadType.T2V, ",
                        '        model_family="echo",\n        default_preset="echo",\n',
                    ),
                    _PRESET_IMPORT,
                    "ECHO_PRESETS, ",
                )
            },
        ),
        Example(
            "imported, never registered",
            {
                **_ECHO,
                _LOCAL: _config(_class("EchoPipelineConfig")),
                _REGISTRY: _registry(
                    _IMPORT.replace("configs.pipelines.echo", "pipelines.basic.echo.pipeline_configs")
                ),
            },
            findings=(Expected(_LOCAL, 8, "never hands it to register_configs"),),
            fixed={
                _REGISTRY: _registry(
                    _IMPORT.replace("configs.pipelines.echo", "pipelines.basic.echo.pipeline_configs"),
                    _CALL % ("", ""),
                )
            },
        ),
        Example(
            "a variant beside the one that is registered",
            {
                **_ECHO,
                _CONFIGS: _config(
                    _class("EchoPipelineConfig"), _class("EchoI2VConfig"), _class("Echo720PConfig")
                ),
                _REGISTRY: _registry(_IMPORT, _CALL % ("", "")),
            },
            findings=(
                Expected(_CONFIGS, 13, "'EchoI2VConfig' is not registered"),
                Expected(_CONFIGS, 18, "'Echo720PConfig' is not registered"),
            ),
        ),
        Example(
            "a preset missing from the list",
            {**_ALL, _SOUND_PRESETS: _presets_text("SOUND", "SOUND_PRO", listed=("SOUND",))},
            findings=(Expected(_SOUND_PRESETS, 5, "'sound_pro' is not in ALL_PRESETS"),),
            fixed={_SOUND_PRESETS: _presets_text("SOUND", "SOUND_PRO")},
        ),
        Example(
            "the presets are imported and not listed",
            {
                **_ECHO,
                _PRESETS: _presets_text("ECHO", "ECHO_PRO"),
                _REGISTRY: _registry(presets=_PRESET_IMPORT),
            },
            findings=(Expected(_PRESETS, 7, "2 presets of this file are not registered"),),
            fixed={_REGISTRY: _registry(presets=_PRESET_IMPORT, listed="ECHO_PRESETS, ")},
        ),
    ),
)
