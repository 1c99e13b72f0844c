"""DIT501 runtime-import: diffusers or transformers models and layers imported at run time."""

from __future__ import annotations

import re
from collections.abc import Iterator

from analyzers.facts.model import Import, Placed, Reference, imported_target
from analyzers.findings import Finding, Location, Severity
from analyzers.rules.base import Context, Example, Expected, Rule, Tier

_PACKAGES = ("diffusers", "transformers")

_MODEL = re.compile(
    r"\w*Model(WithProjection|WithHead)?|UNet\w*|AutoencoderKL\w*|AutoModel\w*"
    r"|\w+For(Causal|Masked|Conditional|Sequence|Token|Question|Image|Audio|Vision)\w*"
)
_BASES = frozenset({"PreTrainedModel"})
"""Named like models, but without weights of their own."""

_NEVER = re.compile(
    r"\w*(Tokenizer(Fast)?|Processor|FeatureExtractor|Config|Output(With\w+)?|Scheduler\w*)"
    r"|register_to_config|ConfigMixin|SchedulerMixin|logging|is_\w+_available"
)
"""Text and data utilities, configs, containers of results, schedulers and their mixins."""

_LAYER_MODULES = re.compile(r"diffusers\.models(\.|$)|transformers\.(activations|modeling_utils)(\.|$)")
_MODEL_FILES = re.compile(r"transformers\.models\.\w+\.modeling_\w+(\.|$)")
_DATA_MODULES = re.compile(r"diffusers\.models\.(modeling_outputs|modeling_utils)(\.|$)")

_DOCUMENTED = re.compile(r"lazy|lazily|wrapper|wraps", re.IGNORECASE)


def check(context: Context) -> Iterator[Finding]:
    """Looks at the imports of files below the DiT folder, and at what a bare `import` is used for."""
    if not context.file.path.startswith(context.profile.dits + "/"):
        return
    for placed in context.file.imports:
        item = placed.fact
        if item.level or item.type_checking or item.module.partition(".")[0] not in _PACKAGES:
            continue
        if _is_documented(context, placed):
            continue
        if item.name is not None:
            yield from _report(context, placed.at(item.span), imported_target(item))
        else:
            for dotted in sorted(_used(context, item)):
                yield from _report(context, placed.at(item.span), dotted)


def _report(context: Context, location: Location, dotted: str) -> Iterator[Finding]:
    kind = _kind(dotted)
    if kind is None:
        return
    package, _, rest = dotted.partition(".")
    name = rest.rpartition(".")[2]
    if kind == "model":
        message = (
            f"'{name}' is a model of {package}, imported at run time: a port owns its weights and numbers, "
            f"so an update of {package} must not change them"
        )
        severity = Severity.ERROR
    else:
        message = (
            f"'{name}' comes from the layers of {package} at run time: use {context.profile.title}'s own, so "
            f"that an update of {package} cannot change this port"
        )
        severity = Severity.WARNING
    yield context.finding(location, message, severity=severity, symbol=name)


def _kind(dotted: str) -> str | None:
    """`model`, `layer`, or None for what may be imported (or what nobody can tell)."""
    module, _, name = dotted.rpartition(".")
    if not module or _NEVER.fullmatch(name) or _DATA_MODULES.match(f"{module}."):
        return None
    inside = f"{module}."
    if name not in _BASES and name[:1].isupper() and _MODEL.fullmatch(name):
        return "model"
    if name in _BASES or _LAYER_MODULES.match(inside) or _MODEL_FILES.match(inside):
        return "layer"
    return None


def _used(context: Context, item: Import) -> set[str]:
    """Full names of what calls reach through a bare `import diffusers`."""
    target = imported_target(item)
    found: set[str] = set()
    callees = [
        fact.call.callee
        for _, function in context.file.all_functions()
        for fact in function.fact.calls
        if item.function is None or item.function == function.fact.name
    ]
    if item.function is None:
        callees += [placed.fact.call.callee for placed in context.file.calls]
        bases = (base for cls in context.file.classes for base in cls.fact.bases)
        callees += [base.dotted for base in bases if isinstance(base, Reference)]
    for callee in callees:
        head, _, rest = (callee or "").partition(".")
        if head == item.bound and rest:
            dotted = f"{target}.{rest}"
            found.add(dotted.removesuffix(".from_pretrained").removesuffix(".from_config"))
    return found


def _is_documented(context: Context, placed: Placed[Import]) -> bool:
    """Whether the function around a lazy import, its class or the module says that it wraps."""
    name = placed.fact.function
    if name is None:
        return False
    told = [context.file.docstring]
    for cls, function in context.file.all_functions():
        if function.fact.name == name and function.line == placed.line:
            told += [function.fact.docstring, cls.fact.docstring if cls is not None else None]
    line = placed.fact.span.line
    for chunk in context.file.chunks:
        if chunk.line == placed.line:
            told += [c.text for c in chunk.facts.comments if line - 3 <= c.span.line <= line]
    return any(_DOCUMENTED.search(text) for text in told if text)


_SOUND = "fastvideo/models/dits/sound_layers.py"

RULE = Rule(
    code="DIT501",
    name="runtime-import",
    severity=Severity.WARNING,
    tier=Tier.FILE,
    summary="models or layers of diffusers or transformers imported at run time below `dits/`",
    what=(
        "Reports imports below the DiT folder that fetch a model class of diffusers or transformers "
        "(`AutoencoderKLWan`, `T5EncoderModel`, `WanTransformer3DModel`), which is an error, or something "
        "from their layer modules (`diffusers.models.*`, `transformers.activations`, "
        "`transformers.models.*.modeling_*`), which is a warning. A bare `import diffusers` is judged by "
        "what is called through it."
    ),
    why=(
        "A component that owns weights or numerical behaviour is native in FastVideo. An imported layer "
        "changes with the installed version of the other package, so a port that was proven once drifts "
        "without a change of its own; it is also outside of sequence parallelism, LoRA and quantization."
    ),
    how=(
        "Use FastVideo's layers (`fastvideo.layers`, `fastvideo.attention`) or write the few lines natively. "
        "Imports for annotations alone go under `if TYPE_CHECKING:`."
    ),
    exceptions=(
        "Imports under `TYPE_CHECKING`; tokenizers, processors, configs, outputs and other data utilities; "
        "schedulers and their mixins (`ConfigMixin`, `register_to_config`), `ModelMixin`; an import inside a "
        "function whose docstring (or class's or module's), or a comment above it, says that it is a lazy "
        "wrapper."
    ),
    source=(
        "`.agents/skills/add-model/shared/common_rules.md`, Production Boundary; `fastvideo/models/AGENTS.md`"
    ),
    check=check,
    valid=(
        Example(
            "annotations and data utilities",
            {
                _SOUND: """\
from typing import TYPE_CHECKING

from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_outputs import Transformer2DModelOutput
from diffusers.models.modeling_utils import ModelMixin
from transformers import AutoTokenizer, CLIPImageProcessor, T5Config

if TYPE_CHECKING:
    from diffusers import WanTransformer3DModel
"""
            },
        ),
        Example(
            "a documented lazy wrapper",
            {
                _SOUND: '''\
def vocoder(path: str):
    """Wraps the vocoder of transformers, loaded lazily: it is not ported."""
    from transformers import SpeechT5HifiGanModel

    return SpeechT5HifiGanModel.from_pretrained(path)
'''
            },
        ),
        Example(
            "the package for its version alone",
            {_SOUND: "import diffusers\n\nVERSION = diffusers.__version__\n"},
        ),
    ),
    invalid=(
        Example(
            "a base class through a bare import",
            {
                "fastvideo/models/dits/sound_ff.py": "import diffusers.models.attention as attention\n\n\n"
                "class SoundFeedForward(attention.FeedForward):\n    pass\n"
            },
            findings=(
                Expected(
                    "fastvideo/models/dits/sound_ff.py", 1, "'FeedForward' comes from the layers of diffusers"
                ),
            ),
        ),
        Example(
            "a model and two layers",
            {
                _SOUND: """\
from diffusers import WanTransformer3DModel
from diffusers.models.activations import get_activation
from transformers.models.t5.modeling_t5 import T5LayerNorm
"""
            },
            findings=(
                Expected(_SOUND, 1, "is a model of diffusers", Severity.ERROR),
                Expected(_SOUND, 2, "'get_activation' comes from the layers of diffusers", Severity.WARNING),
                Expected(_SOUND, 3, "'T5LayerNorm'", Severity.WARNING),
            ),
        ),
        Example(
            "through the package",
            {
                _SOUND: """\
import transformers as hf


def encoder(path: str):
    return hf.T5EncoderModel.from_pretrained(path)
"""
            },
            findings=(Expected(_SOUND, 1, "'T5EncoderModel' is a model", Severity.ERROR),),
        ),
        Example(
            "inside a function, without a word",
            {
                _SOUND: """\
def block():
    from diffusers.models.attention import FeedForward

    return FeedForward(64)
"""
            },
            findings=(Expected(_SOUND, 2, "'FeedForward'"),),
        ),
    ),
)
