"""DIT205 post-init-not-called: an `__init__` that never calls `self.__post_init__()`."""

from __future__ import annotations

from collections.abc import Iterator

from analyzers.findings import Applicability, Finding, Fix, Related, Severity
from analyzers.project.contract import POST_INIT, Construction
from analyzers.project.ports import Port
from analyzers.rules.base import Context, Example, Expected, Rule, Tier

_CHECK = POST_INIT


def check(context: Context) -> Iterator[Finding]:
    """Reports the class whose `__init__` it is; ports that inherit it are not told again."""
    contract = context.project.contract
    if contract is None or not contract.instance_attributes:
        return
    for port in context.project.ports:
        built = context.project.construction(port.cls)
        if port.cls.path != context.file.path or built is None or built.owner != port.cls:
            continue
        if not built.certain or _CHECK in built.calls or context.project.is_helper_base(port):
            continue
        demanded = ", ".join(contract.instance_attributes)
        yield context.finding(
            built.init.at(built.init.fact.name_span),
            f"'{port.name}.__init__' never calls self.{_CHECK}(): that the instance has {demanded} is "
            "not checked",
            symbol=port.name,
            port=port.name,
            related=(Related(contract.base.at(contract.base.fact.name_span), "the base that checks"),),
            fix=_fix(context, port, built),
        )


def _fix(context: Context, port: Port, built: Construction) -> Fix | None:
    """Only where the appended call runs on every path, and nothing but the base's check, and passes."""
    contract = context.project.contract
    if contract is None or built.init.fact.returns:
        return None
    checks = [c for c in context.names.ancestry(port.cls).classes if c.fact.method(_CHECK) is not None]
    if not checks or context.names.qualified_class(checks[0]) != context.profile.base_dit:
        return None
    if not built.always.issuperset(contract.instance_attributes):
        return None
    return Fix(
        title=f"Call self.{_CHECK}() at the end of __init__",
        operation="call-post-init",
        arguments={"path": port.cls.path, "class": port.name},
        applicability=Applicability.SAFE,
    )


_FILE = "fastvideo/models/dits/echo.py"


def _model(end: str, base: str = "BaseDiT", start: str = "") -> str:
    return f"""\
from fastvideo.configs.models.dits import SoundConfig
from fastvideo.models.dits.base import BaseDiT
from fastvideo.models.dits.sound import SoundTransformer3DModel


class EchoTransformer3DModel({base}):
    param_names_mapping = SoundConfig().param_names_mapping

    def __init__(self, config: SoundConfig, hf_config: dict) -> None:
        super().__init__(config=config, hf_config=hf_config)
{start}        self.hidden_size = config.hidden_size
        self.num_attention_heads = config.num_attention_heads
        self.num_channels_latents = config.num_channels_latents
{end}
    def forward(self, hidden_states, encoder_hidden_states, timestep, guidance=None, **kwargs):
        return hidden_states


EntryClass = EchoTransformer3DModel
"""


RULE = Rule(
    code="DIT205",
    name="post-init-not-called",
    severity=Severity.WARNING,
    tier=Tier.PROJECT,
    summary="an `__init__` that never calls `self.__post_init__()`",
    what=(
        "Reports a port whose own `__init__` never reaches `self.__post_init__()`, neither itself, nor in a "
        "method it calls, nor through the `__init__` of a base."
    ),
    why=(
        "A model is no dataclass: Python never calls `__post_init__`. Without the call `BaseDiT` does not "
        "check that the instance has `hidden_size`, `num_attention_heads` and `num_channels_latents`, and a "
        "missing one shows up in the middle of a pipeline."
    ),
    how="Call `self.__post_init__()` as the last statement of `__init__`.",
    exceptions=(
        "A port whose `__init__` hands `self` to code that is not followed, or that is decorated (so may its "
        "class be). Classes that only serve as a base. There is no fix where `__init__` can return early, "
        "where an attribute is set in a branch only, or where a class overrides `__post_init__`: the call "
        "would not run, or not pass."
    ),
    source="`fastvideo/models/dits/base.py`, `BaseDiT.__post_init__`",
    fixable=Applicability.SAFE,
    check=check,
    reports_missing=True,
    valid=(
        Example("called at the end", {}),
        Example("a base port calls it", {_FILE: _model("", base="SoundTransformer3DModel")}),
        Example(
            "called in a helper",
            {
                _FILE: _model(
                    "        self._finish()\n\n    def _finish(self):\n        self.__post_init__()\n"
                )
            },
        ),
        Example("the base's is called", {_FILE: _model("        super().__post_init__()\n")}),
        Example("the base's is called by name", {_FILE: _model("        BaseDiT.__post_init__(self)\n")}),
        Example(
            "a decorator may call it",
            {_FILE: _model("").replace("    def __init__", "    @checked\n    def __init__")},
        ),
    ),
    invalid=(
        Example(
            "never called",
            {_FILE: _model("")},
            findings=(Expected(_FILE, 9, "never calls self.__post_init__()", Severity.WARNING),),
            fixed={_FILE: _model("        self.__post_init__()\n")},
        ),
        Example(
            "an early return leaves no place for the call",
            {_FILE: _model("", start="        if hf_config is None:\n            return\n")},
            findings=(Expected(_FILE, 9, "never calls self.__post_init__()"),),
        ),
    ),
)
