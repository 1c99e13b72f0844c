"""DIT207 constructor-contract: an `__init__` that the loader cannot call."""

from __future__ import annotations

from collections.abc import Iterator

from analyzers.facts.model import CallFact, FunctionFacts, Reference
from analyzers.findings import Applicability, Finding, Fix, Severity
from analyzers.project.contract import declares, loader_keywords
from analyzers.project.ports import Port
from analyzers.rules.base import Context, Example, Expected, Rule, Tier


def check(context: Context) -> Iterator[Finding]:
    """Judges the signature that a port is built through, where it is written."""
    if not any(p.cls.path == context.file.path for p in context.project.ports):
        return
    wanted = loader_keywords(context.names, context.profile)
    if not wanted:
        return
    for port in context.project.ports:
        built = context.project.construction(port.cls)
        if port.cls.path != context.file.path or built is None or built.owner != port.cls:
            continue
        if port.cls.fact.partial or context.project.is_helper_base(port):
            continue
        init = built.init.fact
        if init.decorators or port.cls.fact.method("__new__") is not None:
            continue  # a decorator may change what can be passed
        faults = _faults(init, wanted)
        if faults:
            given = ", ".join(f"{name}=" for name in wanted)
            yield context.finding(
                built.init.at(init.name_span),
                f"the loader builds '{port.name}' with {given} alone, but its __init__ "
                f"{_joined(faults)}: loading raises TypeError",
                symbol=port.name,
                port=port.name,
                fix=_fix(context, port, init, wanted),
            )


def _joined(faults: list[str]) -> str:
    return " and ".join([", ".join(faults[:-1]), faults[-1]] if len(faults) > 1 else faults)


def _faults(init: FunctionFacts, wanted: tuple[str, ...]) -> list[str]:
    """Why a call with these keywords, and nothing else, raises `TypeError`."""
    faults = []
    own = init.parameters[1:]
    for name in wanted:
        parameter = next((p for p in own if p.name == name and p.kind in ("any", "keyword")), None)
        if parameter is not None or init.accepts_any_keyword:
            continue
        if any(p.name == name and p.kind == "positional" for p in own):
            faults.append(f"takes '{name}' by position only")
        else:
            faults.append(f"takes no '{name}'")
    for parameter in own:
        if parameter.default is not None or parameter.kind in ("variadic", "keywords"):
            continue
        if parameter.kind == "positional" and (parameter.name not in wanted or init.accepts_any_keyword):
            faults.append(f"requires '{parameter.name}' by position")
        elif parameter.name not in wanted:
            faults.append(f"requires '{parameter.name}'")
    return faults


# ------------------------------------------------------------------ the fix


def _fix(context: Context, port: Port, init: FunctionFacts, wanted: tuple[str, ...]) -> Fix | None:
    """Makes the signature accept the call, where every further value is an attribute of the config."""
    own = [p for p in init.parameters[1:] if p.kind in ("positional", "any", "keyword")]
    lacking = [name for name in wanted if not any(p.name == name for p in own)]
    required = [p.name for p in own if p.default is None and p.name not in wanted]
    renamed: list[tuple[str, str]] = []
    unpacked: list[tuple[str, str]] = []
    if init.accepts_any_keyword and lacking:
        return None  # where the value goes is not in the signature
    if wanted[0] in lacking:
        stand_in = next((name for name in required if _means(context, port, init, name) is not None), None)
        if stand_in is None or _is_called_with(context, port, stand_in):
            return None
        lacking.remove(wanted[0])
        required.remove(stand_in)
        kind = _means(context, port, init, stand_in)
        (unpacked if kind == "arch_config" else renamed).append((stand_in, wanted[0]))
    config = port.config
    if required and config is None:
        return None
    if config is not None and not all(declares(context.names, context.profile, config, n) for n in required):
        return None
    return Fix(
        f"Let '{port.name}' be built with {', '.join(f'{name}=' for name in wanted)}",
        "accept-loader-keywords",
        {
            "path": port.cls.path,
            "class": port.name,
            "keywords": list(wanted),
            "added": list(lacking),
            "renamed": [list(pair) for pair in renamed],
            "unpacked": [list(pair) for pair in unpacked],
            "defaulted": list(required),
        },
        Applicability.UNSAFE,
    )


def _means(context: Context, port: Port, init: FunctionFacts, name: str) -> str | None:
    """Whether a parameter stands for the `config` or its `arch_config`, by its annotation or name."""
    names, profile = context.names, context.profile
    parameter = init.parameter(name)
    annotation = parameter.annotation if parameter is not None else None
    if isinstance(annotation, Reference):
        cls = names.class_of(port.cls.path, annotation.dotted)
        if cls is not None and names.derives_from(cls, profile.dit_arch_config_base):
            return "arch_config" if name == "arch_config" else None
        if cls is not None and names.derives_from(cls, profile.dit_config_base):
            return "config"
        return None
    if annotation is None and name in _CONFIG_NAMES:
        return "arch_config" if name == "arch_config" else "config"
    return None


_CONFIG_NAMES = frozenset({"arch_config", "cfg", "dit_config", "model_config"})


def _is_called_with(context: Context, port: Port, keyword: str) -> bool:
    """Whether code of the tree builds the class by that keyword, or by position."""
    project, profile = context.project, context.profile
    for folder in (profile.folder, *profile.test_roots):
        for path in project.sources.walk(folder):
            if port.name not in (project.sources.text(path) or ""):
                continue
            facts = project.file(path)
            if facts is None:
                continue
            calls: list[CallFact] = [c.fact for c in facts.calls]
            calls += [c for _, function in facts.all_functions() for c in function.fact.calls]
            for item in calls:
                if (item.call.callee or "").rpartition(".")[2] != port.name:
                    continue
                if item.call.arguments or item.call.keyword(keyword) is not None or item.call.unpacks:
                    return True
    return False


_FILE = "fastvideo/models/dits/echo.py"


def _model(parameters: str) -> str:
    return f"""\
from fastvideo.configs.models.dits import SoundConfig
from fastvideo.models.dits.sound import SoundTransformer3DModel


class EchoTransformer3DModel(SoundTransformer3DModel):

    def __init__({parameters}):
        super().__init__(config=config, hf_config=hf_config)


EntryClass = EchoTransformer3DModel
"""


_LINES = '\n        self,\n        config,\n        prefix="",  # of the names\n'

RULE = Rule(
    code="DIT207",
    name="constructor-contract",
    severity=Severity.ERROR,
    tier=Tier.PROJECT,
    summary="an `__init__` that the loader cannot call",
    what=(
        "Reports a port whose `__init__` cannot be called with the keywords that `TransformerLoader` passes, "
        "`config=` and `hf_config=`: further required parameters, a missing name without `**kwargs`, a name "
        "that is positional only. The keywords are read from the workspace's own loader (or, without one, "
        "from `BaseDiT.__init__`)."
    ),
    why=(
        "`maybe_load_fsdp_model` calls `model_cls(**init_params)`: the load fails with a `TypeError`, even "
        "though a test that builds the class by hand may pass."
    ),
    how=(
        "Take what else is needed from the config, or give the further parameters defaults. The fix does "
        "so where the port's own config declares every further value, and renames a `cfg` or unpacks an "
        "`arch_config` that nothing in the tree passes."
    ),
    exceptions=(
        "A decorated `__init__`, or a class with `__new__`: what can be passed is not in the signature."
    ),
    source=(
        "`fastvideo/models/loader/component_loader.py`, `TransformerLoader.load`; "
        "`fastvideo/models/loader/fsdp_load.py`, `maybe_load_fsdp_model`"
    ),
    fixable=Applicability.UNSAFE,
    check=check,
    valid=(
        Example("exactly the two", {}),
        Example("more with defaults", {_FILE: _model("self, config, hf_config, scale=1.0, *, eps=1e-6")}),
        Example("taken by **kwargs", {_FILE: _model("self, config, **hf_config")}),
        Example(
            "the workspace's loader passes more",
            {
                "fastvideo/models/loader/component_loader.py": """\
class TransformerLoader:

    def load(self, model_path, fastvideo_args):
        return maybe_load_fsdp_model(
            model_cls=None,
            init_params={"config": 1, "hf_config": 2, "device": 3},
        )
""",
                "fastvideo/models/loader/__init__.py": "",
                "fastvideo/models/dits/sound.py": None,
                _FILE: """\
from fastvideo.models.dits.base import BaseDiT


class EchoTransformer3DModel(BaseDiT):
    param_names_mapping = {}

    def __init__(self, config, hf_config, device):
        super().__init__(config=config, hf_config=hf_config)

    def forward(self, hidden_states, encoder_hidden_states, timestep, guidance=None, **kwargs):
        return hidden_states


EntryClass = EchoTransformer3DModel
""",
            },
        ),
    ),
    invalid=(
        Example(
            "a further required parameter",
            {_FILE: _model("self, config, hf_config, device")},
            findings=(Expected(_FILE, 7, "requires 'device'", Severity.ERROR),),
        ),
        Example(
            "a name that the loader does not pass",
            {_FILE: _model("self, arch_config, hf_config")},
            findings=(Expected(_FILE, 7, "takes no 'config' and requires 'arch_config'"),),
            fixed={
                _FILE: _model("self, config, hf_config").replace(
                    "        super()", "        arch_config = config.arch_config\n        super()"
                )
            },
        ),
        Example(
            "positional only",
            {_FILE: _model("self, config, hf_config, /")},
            findings=(Expected(_FILE, 7, "takes 'config' by position only"),),
            fixed={_FILE: _model("self, config, hf_config")},
        ),
        Example(
            "a value that the config has",
            {_FILE: _model("self, config, hf_config, num_layers: int, *, hidden_size")},
            findings=(Expected(_FILE, 7, "requires 'num_layers' and requires 'hidden_size'"),),
            fixed={
                _FILE: _model(
                    "self, config, hf_config, num_layers: int | None = None, *, hidden_size=None"
                ).replace(
                    "        super()",
                    "        if num_layers is None:\n            num_layers = config.num_layers\n"
                    "        if hidden_size is None:\n            hidden_size = config.hidden_size\n"
                    "        super()",
                )
            },
        ),
        Example(
            "another name for the config, and no hf_config",
            {
                _FILE: _model("self, cfg, scale=1.0").replace(
                    "config=config, hf_config=hf_config", "config=cfg, hf_config={}"
                )
            },
            findings=(Expected(_FILE, 7, "takes no 'config', takes no 'hf_config' and requires 'cfg'"),),
            fixed={
                _FILE: _model("self, config, scale=1.0, hf_config=None").replace(
                    "config=config, hf_config=hf_config", "config=config, hf_config={}"
                )
            },
        ),
        Example(
            "a parameter a line",
            {_FILE: _model(_LINES + "    ").replace("=hf_config", "={}")},
            findings=(Expected(_FILE, 7, "takes no 'hf_config'"),),
            fixed={_FILE: _model(_LINES + "        hf_config=None,\n    ").replace("=hf_config", "={}")},
        ),
    ),
)
