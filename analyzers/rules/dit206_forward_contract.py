"""DIT206 forward-contract: a `forward` that does not take what it is called with."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from analyzers.facts.flow import reads_name
from analyzers.facts.model import FunctionFacts, Parameter, Placed, Reference
from analyzers.findings import Finding, Related, Severity
from analyzers.project.comments import documented_as_unused
from analyzers.project.flows import is_plain
from analyzers.project.ports import Port
from analyzers.project.serving import StageCall, is_mentioned, stage_calls
from analyzers.rules.base import Context, Example, Expected, Rule, Tier

_BY_POSITION = ("positional", "any")
_BY_NAME = ("any", "keyword")


def check(context: Context) -> Iterator[Finding]:
    """Judges the `forward` that a port defines itself, by its stages' calls, else by the base."""
    if not context.file.path.startswith(context.profile.dits + "/"):
        return
    contract = context.project.contract
    base = contract.base.fact.method("forward") if contract is not None else None
    for port in context.project.ports:
        forward = port.cls.fact.method("forward")
        if port.cls.path != context.file.path or forward is None or base is None or contract is None:
            continue
        if port.cls.fact.partial or context.project.is_helper_base(port) or not is_plain(forward):
            continue
        if any(p.kind == "variadic" for p in forward.parameters):
            continue  # it hands over to methods that the caller means
        placed = Placed(forward, port.cls.path, port.cls.line)
        calls = stage_calls(context.project, port)
        if calls:
            yield from _called(context, port, placed, calls, base)
        elif not is_mentioned(context.project, port):
            faults = _against_base(forward, base)
            if faults:
                yield context.finding(
                    placed.at(forward.name_span),
                    f"'{port.name}.forward' cannot be called like {contract.base.fact.name}.forward, which "
                    f"is how the shared stages call a DiT: it {'; '.join(faults)}",
                    symbol=port.name,
                    port=port.name,
                    related=(Related(contract.base.at(base.name_span), "the base's forward"),),
                )


# --------------------------------------------------------------------------- the stages' calls


def _called(
    context: Context,
    port: Port,
    forward: Placed[FunctionFacts],
    calls: tuple[StageCall, ...],
    base: FunctionFacts,
) -> Iterator[Finding]:
    swallowed: set[str] = set()
    for served in calls:
        faults = _against_call(forward.fact, served, base)
        who = f"{served.stage} (in {served.pipeline})"
        if faults:
            yield context.finding(
                forward.at(forward.fact.name_span),
                f"'{port.name}.forward' does not fit the call in {who}: it {'; '.join(faults)}",
                symbol=port.name,
                port=port.name,
                related=(Related(served.location, "the call"),),
            )
            continue
        switch = _indexed_tensor(context, forward, served)
        if switch is not None and switch not in swallowed:
            swallowed.add(switch)
            yield context.finding(
                forward.at(forward.fact.name_span),
                f"{who} asks '{port.name}.forward' for a tuple ({switch}=False) and takes its first "
                f"element, but **kwargs swallows '{switch}' and a tensor is returned: the stage gets the "
                "first of the batch",
                symbol=port.name,
                port=port.name,
                related=(Related(served.location, "the first element is taken here"),),
            )
        for name in _swallowed(context, port, forward, served):
            if name not in swallowed:
                swallowed.add(name)
                yield context.finding(
                    forward.at(forward.fact.name_span),
                    f"{who} passes '{name}' to '{port.name}.forward', whose **kwargs swallows it: the "
                    f"model runs "
                    "without it",
                    symbol=port.name,
                    port=port.name,
                    related=(Related(served.location, f"'{name}' is passed here"),),
                )


def _against_call(forward: FunctionFacts, served: StageCall, base: FunctionFacts) -> list[str]:
    """Why the call raises `TypeError`, or gives values to the wrong parameters."""
    call = served.call
    if call.positional is None:
        return []
    own = forward.parameters[1:]
    by_position = [p for p in own if p.kind in _BY_POSITION]
    filled = {p.name for p in by_position[: call.positional]}
    faults = []
    if call.positional > len(by_position):
        faults.append(f"takes {len(by_position)} arguments by position, {call.positional} are given")
    if served.shared:
        faults += _order(by_position[: call.positional], base)
    for name in call.keywords:
        if name in filled:
            faults.append(f"gets '{name}' twice")
        elif not forward.accepts_any_keyword and not _takes(own, name):
            faults.append(f"takes no '{name}'")
    if not call.unpacks:
        given = filled | set(call.keywords)
        faults += [f"requires '{p.name}'" for p in own if _is_required(p) and p.name not in given]
    return faults


def _indexed_tensor(context: Context, forward: Placed[FunctionFacts], served: StageCall) -> str | None:
    """The unread switch for a tuple, where the stage indexes a result that is declared to be a tensor."""
    serving = context.profile.serving
    if serving is None or serving.tuple_switch not in served.call.trivial or not served.call.element:
        return None
    fact, annotation = forward.fact, forward.fact.annotation
    if not isinstance(annotation, Reference) or annotation.tail != "Tensor":
        return None
    if not fact.returns or not all(isinstance(r.value, Reference) for r in fact.returns):
        return None
    return serving.tuple_switch if _leaves_unread(context, forward, serving.tuple_switch) else None


def _leaves_unread(context: Context, forward: Placed[FunctionFacts], name: str) -> bool:
    """Whether a keyword disappears in `**kwargs`, which nothing reads."""
    extra = next((p.name for p in forward.fact.parameters if p.kind == "keywords"), None)
    if extra is None or _takes(forward.fact.parameters[1:], name):
        return False
    return context.project.derived(("reads", extra), forward, partial(reads_name, name=extra)) is False


def _swallowed(
    context: Context, port: Port, forward: Placed[FunctionFacts], served: StageCall
) -> Iterator[str]:
    around = forward.at(forward.fact.span).span
    docstrings = (forward.fact.docstring, port.cls.fact.docstring, context.file.docstring)
    for name in served.call.keywords:
        if name in served.call.trivial or not _leaves_unread(context, forward, name):
            continue
        if not documented_as_unused(context.file, name, around, around, docstrings, alone=False):
            yield name


# --------------------------------------------------------------------------- the base's signature


def _against_base(forward: FunctionFacts, base: FunctionFacts) -> list[str]:
    own = forward.parameters[1:]
    asked = [p for p in base.parameters[1:] if p.kind in ("any", "positional", "keyword")]
    faults = []
    for parameter in asked:
        if _takes(own, parameter.name) or (forward.accepts_any_keyword and parameter.default is not None):
            continue
        if any(p.name == parameter.name for p in own):
            faults.append(f"takes '{parameter.name}' by position only")
        elif not forward.accepts_any_keyword or parameter.default is None:
            faults.append(f"takes no '{parameter.name}'")
    required = [p for p in asked if p.default is None and p.kind in _BY_POSITION]
    faults += _order([p for p in own if p.kind in _BY_POSITION][: len(required)], base)
    faults += [
        f"takes '{p.name}' by keyword only"
        for p in own
        if p.kind == "keyword" and any(p.name == r.name for r in required)
    ]
    names = {p.name for p in asked}
    faults += [f"requires '{p.name}' as well" for p in own if _is_required(p) and p.name not in names]
    return faults


def _order(given: list[Parameter], base: FunctionFacts) -> list[str]:
    """Where a parameter of the base's has another place than it has there."""
    places = [p.name for p in base.parameters[1:] if p.kind in _BY_POSITION]
    for index, parameter in enumerate(given[: len(places)]):
        if parameter.name in places and places[index] != parameter.name:
            return [f"takes '{parameter.name}' in the place of '{places[index]}'"]
    return []


def _takes(own: tuple[Parameter, ...], name: str) -> bool:
    return any(p.name == name and p.kind in _BY_NAME for p in own)


def _is_required(parameter: Parameter) -> bool:
    return parameter.default is None and parameter.kind not in ("variadic", "keywords")


_FILE = "fastvideo/models/dits/echo.py"
_CONFIGS = "fastvideo/configs/models/dits/echo.py"
_PIPELINE_CONFIG = "fastvideo/configs/pipelines/echo.py"
_PIPELINE = "fastvideo/pipelines/basic/echo/echo_pipeline.py"
_STAGE = "fastvideo/pipelines/stages/denoising.py"

_BASE = "self, hidden_states, encoder_hidden_states, timestep, guidance=None, **kwargs"


def _model(parameters: str, body: str = "return hidden_states", decorator: str = "") -> str:
    """A port whose `forward` is in line 13."""
    return f"""\
from fastvideo.configs.models.dits.echo import EchoConfig
from fastvideo.models.dits.base import BaseDiT


class EchoTransformer3DModel(BaseDiT):
    param_names_mapping = EchoConfig().param_names_mapping

    def __init__(self, config: EchoConfig, hf_config: dict) -> None:
        super().__init__(config=config, hf_config=hf_config)
        self.hidden_size = config.hidden_size

{decorator or "    # What the stages call."}
    def forward({parameters}{"" if "->" in parameters else ")"}:
        {body}


EntryClass = EchoTransformer3DModel
"""


def _tree(
    parameters: str,
    call: str | None = None,
    body: str = "return hidden_states",
    *,
    own_stage: bool = True,
    decorator: str = "",
) -> dict[str, str | None]:
    """The port, and with `call` a pipeline whose stage calls it so."""
    files: dict[str, str | None] = {
        _FILE: _model(parameters, body, decorator),
        _CONFIGS: """\
from dataclasses import dataclass, field

from fastvideo.configs.models.dits.base import DiTArchConfig, DiTConfig


@dataclass
class EchoArchConfig(DiTArchConfig):
    hidden_size: int = 64


@dataclass
class EchoConfig(DiTConfig):
    arch_config: DiTArchConfig = field(default_factory=EchoArchConfig)
""",
    }
    if call is None:
        return files
    pipeline = """\
from fastvideo.pipelines.stages.denoising import DenoisingStage


class {name}Pipeline:

    def create_pipeline_stages(self, fastvideo_args):
        self.add_stage(
            stage_name="denoising_stage",
            stage=DenoisingStage(transformer=self.get_module("transformer"), scheduler=None),
        )


EntryClass = {name}Pipeline
"""
    files[_PIPELINE] = pipeline.format(name="Echo")
    if not own_stage:
        files["fastvideo/pipelines/basic/sound/sound_pipeline.py"] = pipeline.format(name="Sound")
    files[_PIPELINE_CONFIG] = """\
from dataclasses import dataclass, field

from fastvideo.configs.models.dits.echo import EchoConfig


@dataclass
class EchoPipelineConfig:
    dit_config: EchoConfig = field(default_factory=EchoConfig)
"""
    files[_STAGE] = f"""\
class DenoisingStage:

    def __init__(self, transformer, scheduler):
        self.transformer = transformer
        self.scheduler = scheduler

    def forward(self, batch, fastvideo_args):
        image_kwargs = self.prepare_extra_func_kwargs(self.transformer.forward, {{"mask": batch.mask}})
        for t in batch.timesteps:
            current_model = self.transformer
            latents = {call}
        return latents
"""
    for folder in ("fastvideo/pipelines", "fastvideo/pipelines/stages", "fastvideo/configs/pipelines"):
        files[f"{folder}/__init__.py"] = ""
    return files


_GENERIC = "current_model(latents, batch.prompt, t, guidance=batch.guidance, **image_kwargs)"


def _valid(title: str, *arguments: str, own_stage: bool = True, decorator: str = "") -> Example:
    return Example(title, _tree(*arguments, own_stage=own_stage, decorator=decorator))


def _invalid(title: str, message: str, *arguments: str, own_stage: bool = True) -> Example:
    return Example(
        title,
        _tree(*arguments, own_stage=own_stage),
        findings=(Expected(_FILE, 13, message, Severity.WARNING),),
    )


RULE = Rule(
    code="DIT206",
    name="forward-contract",
    severity=Severity.WARNING,
    tier=Tier.PROJECT,
    summary="a `forward` that does not take what it is called with",
    what=(
        "Finds the stages that run a port: its pipeline config holds the port's config, the pipeline hands "
        "the DiT to a stage, the stage calls it. Reports a `forward` that such a call does not fit (a "
        "keyword "
        "that it does not take, a parameter that nobody gives, in a shared stage also a parameter of "
        "the base "
        "in another place), and a keyword that its `**kwargs` swallows unread; `return_dict=False` among "
        "them where the stage takes element `[0]` of what `forward` declares to be a tensor. For a port that "
        "no pipeline knows yet, `forward` is held against the base's: names, order, nothing more required."
    ),
    why=(
        "The shared stages pass latents, prompt and timestep by position: a `forward` with the timestep in "
        "second place gets the prompt for it. A missing keyword fails in the first denoising step; one that "
        "`**kwargs` swallows fails never, and the model runs without the guidance or the condition."
    ),
    how=(
        "Declare the parameters as the base does, in its order; take the further ones with defaults. Where a "
        "keyword is not meant to be used, say so in a comment or with `del`."
    ),
    exceptions=(
        "Ports whose own pipeline calls them in its own way. Calls under an `if`, which may be meant for "
        "other models, and arguments that the stage filters by the signature (`prepare_extra_func_kwargs`). "
        "Other `None` and `False` in `**kwargs`; a `**kwargs` that is read. A `forward` with `*args`, which "
        "hands over to other methods, or with a decorator that may change what it takes. Ports that share "
        "their config with another port: which of them a pipeline loads is in the checkpoint."
    ),
    source=(
        "`fastvideo/models/dits/base.py`, `BaseDiT.forward`; `fastvideo/pipelines/stages/denoising.py`, "
        "`DenoisingStage.forward` and `prepare_extra_func_kwargs`"
    ),
    check=check,
    valid=(
        Example("as the base", {}),
        _valid("no pipeline yet, as the base", _BASE),
        _valid("more with defaults", _BASE.replace("**kwargs", "mask=None, **kwargs")),
        _valid(
            "the optional ones by **kwargs", "self, hidden_states, encoder_hidden_states, timestep, **kwargs"
        ),
        _valid("fits the shared stage", _BASE, _GENERIC, own_stage=False),
        _valid(
            "another first name, by position",
            "self, x, encoder_hidden_states, timestep, guidance=None",
            _GENERIC,
            "return x",
            own_stage=False,
        ),
        _valid(
            "its own pipeline calls it otherwise",
            "self, hidden_states, timestep, encoder_hidden_states, pooled",
            "self.transformer(hidden_states=latents, timestep=t, encoder_hidden_states=batch.p, "
            "pooled=batch.q)",
        ),
        _valid(
            "its own stage, by position in its own order",
            "self, hidden_states, timestep, encoder_hidden_states",
            "self.transformer(latents, t, batch.prompt)",
        ),
        _valid(
            "a keyword that **kwargs takes and forward reads",
            "self, hidden_states, encoder_hidden_states, timestep, **kwargs",
            _GENERIC,
            "return hidden_states * kwargs['guidance']",
        ),
        _valid(
            "a keyword that is said to be unused",
            "self, hidden_states, encoder_hidden_states, timestep, **kwargs",
            _GENERIC,
            "# guidance is ignored: the checkpoint is distilled\n        return hidden_states",
        ),
        _valid(
            "None and False swallowed",
            "self, hidden_states, encoder_hidden_states, timestep, **kwargs",
            "self.transformer(latents, batch.prompt, t, guidance=None, return_dict=False)",
        ),
        _valid(
            "a tuple that is asked for and given",
            "self, hidden_states, encoder_hidden_states, timestep, **kwargs",
            "self.transformer(latents, batch.prompt, t, return_dict=False)[0]",
            "return (hidden_states,)",
        ),
        _valid(
            "a tuple that is given where it is asked for",
            "self, hidden_states, encoder_hidden_states, timestep, **kwargs) -> torch.Tensor",
            "self.transformer(latents, batch.prompt, t, return_dict=False)[0]",
            "return hidden_states if kwargs.get('return_dict', True) else (hidden_states,)",
        ),
        _valid(
            "hands over",
            "self, *args, **kwargs",
            _GENERIC,
            "return self._forward_train(*args, **kwargs)",
        ),
        _valid(
            "a call that is meant for others",
            "self, hidden_states, encoder_hidden_states, timestep",
            "current_model(latents, mask=t) if batch.masked else self.transformer(latents, batch.prompt, t)",
        ),
        _valid(
            "a decorator that may give the rest",
            "self, hidden_states",
            decorator="    @fill_in",
        ),
    ),
    invalid=(
        Example(
            "a pipeline that keeps the model under a local name",
            {
                **_tree(
                    "self, hidden_states, context, timestep, guidance=None, **kwargs",
                    "self.transformer(latents, encoder_hidden_states=batch.prompt, timestep=t)",
                ),
                _PIPELINE: (_tree(_BASE, "latents, prompt, t")[_PIPELINE] or "")
                .replace(
                    'stage=DenoisingStage(transformer=self.get_module("transformer"), scheduler=None),',
                    "stage=DenoisingStage(transformer=transformer, scheduler=None),",
                )
                .replace(
                    "        self.add_stage(",
                    '        transformer = self.get_module("transformer")\n        self.add_stage(',
                    1,
                ),
            },
            findings=(Expected(_FILE, 13, "requires 'context'"),),
        ),
        Example(
            "no pipeline yet, other names",
            _tree("self, x, encoder_hidden_states, sigma=None, guidance=None", body="return x"),
            findings=(
                Expected(_FILE, 13, "takes no 'hidden_states'; takes no 'timestep'; requires 'x' as well"),
            ),
        ),
        Example(
            "no pipeline yet, another order",
            _tree("self, hidden_states, timestep, encoder_hidden_states, guidance=None"),
            findings=(Expected(_FILE, 13, "takes 'timestep' in the place of 'encoder_hidden_states'"),),
        ),
        Example(
            "no pipeline yet, more is required",
            _tree("self, hidden_states, encoder_hidden_states, timestep, pooled, guidance=None"),
            findings=(Expected(_FILE, 13, "requires 'pooled' as well"),),
        ),
        Example(
            "no pipeline yet, by keyword only",
            _tree("self, hidden_states, *, encoder_hidden_states, timestep, guidance=None"),
            findings=(Expected(_FILE, 13, "takes 'encoder_hidden_states' by keyword only"),),
        ),
        Example(
            "no pipeline yet, an optional one left out",
            _tree("self, hidden_states, encoder_hidden_states, timestep"),
            findings=(Expected(_FILE, 13, "takes no 'guidance'"),),
        ),
        _invalid(
            "the shared stage passes a keyword that it does not take",
            "does not fit the call in DenoisingStage (in EchoPipeline): it takes no 'guidance'",
            "self, hidden_states, encoder_hidden_states, timestep",
            _GENERIC,
            own_stage=False,
        ),
        _invalid(
            "the shared stage goes by position",
            "takes 'timestep' in the place of 'encoder_hidden_states'",
            "self, hidden_states, timestep, encoder_hidden_states, guidance=None",
            _GENERIC,
            own_stage=False,
        ),
        _invalid(
            "**kwargs swallows the guidance",
            "passes 'guidance' to 'EchoTransformer3DModel.forward', whose **kwargs swallows it",
            "self, hidden_states, encoder_hidden_states, timestep, **kwargs",
            _GENERIC,
        ),
        _invalid(
            "the first element of a tensor",
            "asks 'EchoTransformer3DModel.forward' for a tuple (return_dict=False) and takes its first",
            "self, hidden_states, encoder_hidden_states, timestep, **kwargs) -> torch.Tensor",
            "self.transformer(latents, batch.prompt, t, return_dict=False)[0]",
        ),
        _invalid(
            "its own stage forgets one",
            "requires 'pooled'",
            "self, hidden_states, encoder_hidden_states, timestep, pooled",
            "self.transformer(hidden_states=latents, encoder_hidden_states=batch.prompt, timestep=t)",
        ),
        _invalid(
            "too many by position",
            "takes 2 arguments by position, 3 are given",
            "self, hidden_states, encoder_hidden_states, *, timestep=None, guidance=None",
            _GENERIC,
        ),
        _invalid(
            "given twice",
            "gets 'timestep' twice",
            "self, hidden_states, timestep",
            "self.transformer(latents, t, timestep=t)",
        ),
    ),
)
