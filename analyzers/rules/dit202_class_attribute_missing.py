"""DIT202 class-attribute-missing: a class attribute whose absence raises at import."""

from __future__ import annotations

from collections.abc import Iterator

from analyzers.facts.model import ClassFacts, Mapping, Placed
from analyzers.findings import Applicability, Finding, Fix, Related, Severity
from analyzers.project.contract import default_constructible
from analyzers.project.names import Missing, Resolved
from analyzers.rules.base import Context, Example, Expected, Rule, Tier


def check(context: Context) -> Iterator[Finding]:
    """Asks every subclass, abstract ones too: `__init_subclass__` runs for each of them."""
    contract = context.project.contract
    if contract is None:
        return
    for cls in context.project.port_index.dit_classes:
        if cls.path != context.file.path or cls.fact.partial:
            continue
        parents = context.names.bases(cls)
        for name in contract.class_attributes:
            if not isinstance(context.names.class_attribute(cls, name), Missing):
                continue
            inherits = any(
                isinstance(p, Placed)
                and context.names.qualified_class(p) != context.profile.base_dit
                and context.names.derives_from(p, context.profile.base_dit)
                for p in parents
            )
            if inherits:
                continue  # the parent lacks it already and is reported itself
            yield context.finding(
                cls.at(cls.fact.name_span),
                f"'{cls.fact.name}' has no '{name}': {contract.base.fact.name}.__init_subclass__ raises "
                "when the module is imported",
                symbol=cls.fact.name,
                port=cls.fact.name,
                related=(
                    Related(contract.base.at(contract.base.fact.name_span), "the base that demands it"),
                ),
                fix=copy_fix(context, cls, context.project.port_index.config_of(cls), name),
            )


def copy_fix(
    context: Context, cls: Placed[ClassFacts], config: Placed[ClassFacts] | None, name: str
) -> Fix | None:
    """The fix that copies a mapping from the config; None where the config has none to copy."""
    if config is None or not default_constructible(context.names, config):
        return None
    found = context.names.config_field(config, (name,))
    if not isinstance(found, Resolved) or not isinstance(found.value, Mapping):
        return None
    makers = [config]
    arch = context.names.arch_config_class(config)
    if arch is not None and context.names.config_field(arch, (name,)) == found:
        makers.append(arch)
    return Fix(
        title=f"Copy {name} from {config.fact.name}",
        operation="copy-class-attribute",
        arguments={
            "path": cls.path,
            "class": cls.fact.name,
            "attribute": name,
            "config": config.fact.name,
            "module": context.names.module_name(config.path),
            "makers": [m.fact.name for m in makers],
        },
        applicability=Applicability.SAFE,
    )


_FILE = "fastvideo/models/dits/echo.py"
_HEAD = """\
from fastvideo.configs.models.dits import SoundConfig
from fastvideo.models.dits.base import BaseDiT


"""
_INIT = """\

    def __init__(self, config: SoundConfig, hf_config: dict) -> None:
        super().__init__(config=config, hf_config=hf_config)

    def forward(self, hidden_states, encoder_hidden_states, timestep, guidance=None, **kwargs):
        return hidden_states
"""

RULE = Rule(
    code="DIT202",
    name="class-attribute-missing",
    severity=Severity.ERROR,
    tier=Tier.PROJECT,
    summary="a class attribute whose absence raises at import",
    what=(
        "Reports a subclass of `BaseDiT` without a class attribute that `BaseDiT.__init_subclass__` demands "
        "and that the base itself does not define. In today's FastVideo that is `param_names_mapping`: the "
        "base defines `_fsdp_shard_conditions` and `_compile_conditions` as empty lists."
    ),
    why=(
        "`__init_subclass__` raises `AttributeError` while the class is being created. The module cannot be "
        "imported, and with it the model cannot be loaded."
    ),
    how="Copy the attribute from the port's config: `param_names_mapping = XConfig().param_names_mapping`.",
    exceptions=(
        "Inherited attributes count. Nothing is reported where the base's own demands cannot be read, where "
        "a base class cannot be followed, or while the class does not parse."
    ),
    source="`fastvideo/models/dits/base.py`, `BaseDiT.__init_subclass__`",
    fixable=Applicability.SAFE,
    check=check,
    reports_missing=True,
    valid=(
        Example("copied from a config instance", {}),
        Example(
            "inherited from another port",
            {
                _FILE: """\
from fastvideo.models.dits.sound import SoundTransformer3DModel


class EchoTransformer3DModel(SoundTransformer3DModel):
    pass
""",
            },
        ),
        Example(
            "an empty mapping is a mapping",
            {
                _FILE: (
                    f"{_HEAD}class EchoTransformer3DModel(BaseDiT):\n    param_names_mapping = {{}}\n{_INIT}"
                )
            },
        ),
        Example(
            "unpacked from a pair",
            {
                _FILE: (
                    f"{_HEAD}class EchoTransformer3DModel(BaseDiT):\n"
                    "    param_names_mapping, lora_param_names_mapping = {}, {}\n"
                    f"{_INIT}"
                )
            },
        ),
        Example(
            "imported in the class body",
            {
                _FILE: (
                    f"{_HEAD}class EchoTransformer3DModel(BaseDiT):\n"
                    "    from fastvideo.models.names import param_names_mapping\n"
                    f"{_INIT}"
                )
            },
        ),
        Example(
            "a base that demands nothing",
            {
                "fastvideo/models/dits/base.py": (
                    "from torch import nn\n\n\nclass BaseDiT(nn.Module):\n    pass\n"
                ),
                _FILE: f"{_HEAD}class EchoTransformer3DModel(BaseDiT):\n    pass\n",
            },
        ),
    ),
    invalid=(
        Example(
            "only the conditions are copied",
            {
                _FILE: (
                    f"{_HEAD}class EchoTransformer3DModel(BaseDiT):\n"
                    "    _fsdp_shard_conditions = SoundConfig()._fsdp_shard_conditions\n"
                    "    _compile_conditions = SoundConfig()._compile_conditions\n"
                    f"{_INIT}"
                )
            },
            findings=(Expected(_FILE, 5, "has no 'param_names_mapping'", Severity.ERROR),),
            fixed={
                _FILE: (
                    f"{_HEAD}class EchoTransformer3DModel(BaseDiT):\n"
                    "    _fsdp_shard_conditions = SoundConfig()._fsdp_shard_conditions\n"
                    "    _compile_conditions = SoundConfig()._compile_conditions\n"
                    "    param_names_mapping = SoundConfig().param_names_mapping\n"
                    f"{_INIT}"
                )
            },
        ),
        Example(
            "the file keeps its config in a constant",
            {
                _FILE: (
                    f"{_HEAD}_CFG = SoundConfig()\n\n\nclass EchoTransformer3DModel(BaseDiT):\n"
                    '    """Repeats."""\n\n'
                    "    _fsdp_shard_conditions = _CFG.arch_config._fsdp_shard_conditions\n"
                    f"{_INIT}"
                )
            },
            findings=(Expected(_FILE, 8, "has no 'param_names_mapping'", Severity.ERROR),),
            fixed={
                _FILE: (
                    f"{_HEAD}_CFG = SoundConfig()\n\n\nclass EchoTransformer3DModel(BaseDiT):\n"
                    '    """Repeats."""\n\n'
                    "    _fsdp_shard_conditions = _CFG.arch_config._fsdp_shard_conditions\n"
                    "    param_names_mapping = _CFG.arch_config.param_names_mapping\n"
                    f"{_INIT}"
                )
            },
        ),
    ),
)
