"""DIT207 constructor-contract: an `__init__` that the loader cannot call."""

from __future__ import annotations

from collections.abc import Iterator

from analyzers.facts.model import FunctionFacts
from analyzers.findings import Finding, Severity
from analyzers.project.contract import loader_keywords
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
                f"the loader builds '{port.name}' with {given} alone, but its __init__ {'; '.join(faults)}",
                symbol=port.name,
                port=port.name,
            )


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
    how="Take what else is needed from the config, or give the further parameters defaults.",
    exceptions=(
        "A decorated `__init__`, or a class with `__new__`: what can be passed is not in the signature."
    ),
    source=(
        "`fastvideo/models/loader/component_loader.py`, `TransformerLoader.load`; "
        "`fastvideo/models/loader/fsdp_load.py`, `maybe_load_fsdp_model`"
    ),
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
            findings=(Expected(_FILE, 7, "takes no 'config'; requires 'arch_config'"),),
        ),
        Example(
            "positional only",
            {_FILE: _model("self, config, hf_config, /")},
            findings=(Expected(_FILE, 7, "takes 'config' by position only"),),
        ),
    ),
)
