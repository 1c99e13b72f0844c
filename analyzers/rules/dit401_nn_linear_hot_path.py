"""DIT401 nn-linear-hot-path: a plain `nn.Linear` in a repeated block of a port."""

from __future__ import annotations

import re
from collections.abc import Iterator

from analyzers.facts.model import (
    Attribute,
    Call,
    CallFact,
    ClassFacts,
    Expr,
    FunctionFacts,
    Placed,
    Reference,
)
from analyzers.findings import Applicability, Finding, Fix, Related, Severity, Span
from analyzers.project.blocks import Block, is_embedder
from analyzers.project.layers import LINEAR, built_class, canonical
from analyzers.project.outside import outside_names
from analyzers.project.replaceable import obstacle
from analyzers.rules.base import Context, Example, Expected, Rule, Tier

_ATTENTION_CLASS = re.compile(r"(Attention|Attn)(?!.*(Block|Layer|Norm))")
_MLP_CLASS = re.compile(r"(MLP|Mlp|FeedForward|FFN|SwiGLU|GEGLU)(?!.*(Block|Norm))")
_PROJECTION = re.compile(
    r"(to_|add_)?(q|k|v|o|qkv|kv|out|query|key|value)(_proj|_linear)?|to_add_out|to_gate_compress"
)
_MLP = re.compile(
    r"ff|ffn|mlp|(ff|ffn|mlp)_(context|img|txt)|(img|txt)_mlp|feed_?forward|fc\d|fc_(in|out)"
    r"|(gate|up|down|gate_up)_proj|proj_mlp"
)
_NOT_HOT = re.compile(r"mod(ulation)?(_|$)|ada_?ln|ada_?norm|norm", re.IGNORECASE)
"""Modulation and norm layers have their own linears; adapters are rarely trained on them."""

_NAMES_THE_CLASS = re.compile(r"nn\.Linear|ReplicatedLinear")
_NAMES_THE_CHOICE = re.compile(
    r"nn\.Linear|ReplicatedLinear|\b(fp32|float32)\b|(?<![-\w])LoRA\b", re.IGNORECASE
)
"""AdaLN-LoRA is a kind of modulation and says nothing about adapters."""

_NAMES_THE_KEYS = re.compile(
    r"state[-_ ]?dict|checkpoint|official|upstream|positional|Sequential", re.IGNORECASE
)


def check(context: Context) -> Iterator[Finding]:
    """Looks at the constructors that run when a block is built."""
    if "Linear" not in context.project.sources.words(context.file.path):
        return
    aliases = _aliases(context)
    built = [
        (cls, method, fact)
        for cls, method in context.file.all_functions()
        if cls is not None
        for fact in method.fact.calls
        if _is_linear(context, aliases, cls.fact, method.fact, fact)
    ]
    if not built:
        return
    owners = _owners(context)
    for cls, method, fact in built:
        block = owners.get((context.names.qualified_class(cls), method.fact.name))
        if block is None or _is_meant(context, cls, method, fact):
            continue
        attribute = fact.target
        part = _hot_part(cls.fact.name, attribute)
        hindered = obstacle(context.names, cls, attribute) if attribute is not None else None
        way = " > ".join(block.chain) + (f".{attribute}" if attribute is not None else "")
        yield context.finding(
            method.at(fact.call.span),
            f"nn.Linear in {f'{part} of a' if part else 'a'} repeated block ({way}): LoRA and quantization "
            f"look for {context.profile.title}'s linear layers and skip this one silently",
            severity=Severity.ERROR if part is not None else Severity.WARNING,
            symbol=f"{cls.fact.name}.{attribute}" if attribute is not None else cls.fact.name,
            port=block.port,
            related=(
                Related(block.repeated_at, f"{block.chain[-1]} is repeated from here"),
                *((hindered,) if hindered is not None else ()),
            ),
            fix=_fix(context, cls, attribute) if hindered is None else None,
        )


def _fix(context: Context, cls: Placed[ClassFacts], attribute: str | None) -> Fix | None:
    """The layer's whole attribute is rewritten, since its calls cannot tell one layer in it from another."""
    if attribute is None:
        return None
    linear = context.profile.replicated_linear
    return Fix(
        f"Make '{attribute}' a {linear.rpartition('.')[2]} and unpack its calls",
        "use-replicated-linear",
        {"path": cls.path, "class": cls.fact.name, "attribute": attribute, "linear": linear},
        Applicability.UNSAFE,
    )


def _aliases(context: Context) -> frozenset[str]:
    """Names of the module that may stand for `nn.Linear` and do not say so."""
    file = context.file
    found = {i.fact.bound for i in file.imports if i.fact.name == "Linear"}
    found |= {name for a in file.assignments if _mentions(a.fact.value) for name in a.fact.names}
    return frozenset(found)


def _mentions(value: Expr | None) -> bool:
    """Whether an expression is a name that ends in Linear, or a call that is given one (`partial`)."""
    if isinstance(value, Call):
        return any(map(_mentions, value.arguments))
    return isinstance(value, Reference) and value.tail.endswith("Linear")


def _is_linear(
    context: Context, aliases: frozenset[str], cls: ClassFacts, method: FunctionFacts, fact: CallFact
) -> bool:
    callee = fact.call.callee
    if callee is None:
        return False
    local = {name for name, value in method.renames if _mentions(value)}
    if "Linear" not in callee and callee not in aliases and callee not in local:
        return False
    if method.parameter(callee.partition(".")[0]) is not None:
        return False
    if callee not in local and built_class(context.names, context.file.path, fact.call) == LINEAR:
        return True
    meant = outside_names(context.names, context.file, callee, method, cls)
    return {canonical(name) for name in meant} == {LINEAR}


def _owners(context: Context) -> dict[tuple[str, str], Block]:
    """(full class name, constructing method) -> the block it is part of."""
    found: dict[tuple[str, str], Block] = {}
    for block in context.project.blocks.values():
        own = context.names.qualified_class(block.cls)
        for key in block.constructors:
            if key not in found or key[0] == own:
                found[key] = block
    return found


def _hot_part(class_name: str, attribute: str | None) -> str | None:
    """`the attention` or `the MLP` where class or attribute say so, else None."""
    if attribute is not None and _NOT_HOT.search(attribute):
        return None
    if _ATTENTION_CLASS.search(class_name):
        return "the attention"
    if _MLP_CLASS.search(class_name):
        return "the MLP"
    if attribute is None or _NOT_HOT.search(class_name):
        return None
    if _PROJECTION.fullmatch(attribute):
        return "the attention"
    return "the MLP" if _MLP.fullmatch(attribute) else None


# --------------------------------------------------------------------------- what is meant


def _is_meant(
    context: Context, cls: Placed[ClassFacts], method: Placed[FunctionFacts], fact: CallFact
) -> bool:
    """Embedders, layers that are kept in fp32, and choices that a comment or docstring explains."""
    if is_embedder(cls.fact.name) or (fact.target is not None and is_embedder(fact.target)):
        return True
    if _is_full_precision(fact.call.keyword("dtype")) or _is_cast_up(method.fact, fact):
        return True
    comments = _comments_at(context, method, fact)
    near = "\n".join((cls.fact.docstring or "", method.fact.docstring or "", comments))
    if _NAMES_THE_CLASS.search(context.file.docstring or "") or _NAMES_THE_CHOICE.search(near):
        return True
    return _is_positional(context, fact) and _NAMES_THE_KEYS.search(comments) is not None


def _is_full_precision(dtype: Expr | None) -> bool:
    return isinstance(dtype, Reference) and dtype.tail in ("float32", "float")


def _is_cast_up(method: FunctionFacts, fact: CallFact) -> bool:
    """Whether the layer is cast where it is built: `nn.Linear(...).float()`, `.to(torch.float32)`."""
    for other in method.calls:
        function = other.call.function
        if isinstance(function, Attribute) and function.base.span == fact.call.span:
            given = (*other.call.arguments, other.call.keyword("dtype"))
            return function.name == "float" or (function.name == "to" and any(map(_is_full_precision, given)))
    return False


def _is_positional(context: Context, fact: CallFact) -> bool:
    """Whether the layer stands in an `nn.Sequential`, whose indices are part of the weight names."""
    return any(
        name.rpartition(".")[2] == "Sequential"
        and context.names.qualified(context.file.path, name) == "torch.nn.Sequential"
        for name in fact.enclosing
    )


def _comments_at(context: Context, method: Placed[FunctionFacts], fact: CallFact) -> str:
    """The comments of the paragraph in which the layer is built: up to the nearest empty line above."""
    chunk = next((c for c in context.file.chunks if c.line == method.line), None)
    if chunk is None:
        return ""
    lines = chunk.text.split("\n")
    first, last = _statement(method.fact, fact)
    first = min(first, len(lines))  # facts may be older than a text that does not parse now
    while first > method.fact.span.line + 1 and lines[first - 1].strip():
        first -= 1
    return "\n".join(c.text for c in chunk.facts.comments if first <= c.span.line <= last)


def _statement(method: FunctionFacts, fact: CallFact) -> tuple[int, int]:
    """First and last line of the assignment that the call is part of, else of the call."""
    span: Span = fact.call.span
    for assignment in method.assignments:
        if assignment.span.contains(span):
            return assignment.span.line, assignment.span.end_line
    return span.line, span.end_line


_SOUND = "fastvideo/models/dits/sound.py"


def _port(block: str, extra: str = "") -> str:
    """The sound port with that constructor body of its block; the body begins in line 13."""
    body = "\n".join(f"        {line}" if line else "" for line in block.split("\n"))
    return f"""\
import torch
from torch import nn

from fastvideo.configs.models.dits import SoundConfig
from fastvideo.layers.linear import ReplicatedLinear
from fastvideo.models.dits.base import BaseDiT


class SoundBlock(nn.Module):

    def __init__(self, dim: int) -> None:
        super().__init__()
{body}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x

{extra}
class SoundTransformer3DModel(BaseDiT):
    _fsdp_shard_conditions = SoundConfig()._fsdp_shard_conditions
    _compile_conditions = SoundConfig()._compile_conditions
    param_names_mapping = SoundConfig().param_names_mapping

    def __init__(self, config: SoundConfig, hf_config: dict) -> None:
        super().__init__(config=config, hf_config=hf_config)
        self.patch_embed = nn.Linear(16, config.hidden_size)
        block = SoundBlock
        self.blocks = nn.ModuleList([block(config.hidden_size) for _ in range(config.num_layers)])
        self.proj_out = nn.Linear(config.hidden_size, 16)
        self.__post_init__()

    def forward(self, hidden_states, encoder_hidden_states, timestep, guidance=None, **kwargs):
        for layer in self.blocks:
            hidden_states = layer(hidden_states)
        return self.proj_out(hidden_states)


EntryClass = SoundTransformer3DModel
"""


_ATTENTION = """

class SoundSelfAttention(nn.Module):
{doc}
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.qkv = nn.Linear(dim, 3 * dim)

"""

_MLP_CALLS = """\
        gate = self.fc_gate(x)
        x = self.fc_out(torch.sigmoid(gate) * self.fc_in(x))
        return x + self.modulation(x)
"""

_MLP_UNPACKED = """\
        gate, _ = self.fc_gate(x)
        x, _ = self.fc_out(torch.sigmoid(gate) * self.fc_in(x)[0])
        return x + self.modulation(x)[0]
"""

_MLP_LAYERS = """\
self.fc_gate = nn.Linear(dim, dim, bias=False)
self.fc_in = nn.Linear(in_features=dim, out_features=dim)
self.fc_out = nn.Linear(dim, dim)
self.modulation = nn.Sequential(nn.SiLU(), nn.Linear(dim, dim))"""

_MLP_REPLICATED = """\
self.fc_gate = ReplicatedLinear(dim, dim, bias=False)
self.fc_in = ReplicatedLinear(input_size=dim, output_size=dim)
self.fc_out = ReplicatedLinear(dim, dim)
self.modulation = nn.Sequential(nn.SiLU(), ReplicatedLinear(dim, dim))"""


def _calling(layers: str, calls: str) -> str:
    """The sound port with these layers in its block and these calls in the block's `forward`."""
    return _port(layers).replace("        return x\n", calls, 1)


RULE = Rule(
    code="DIT401",
    name="nn-linear-hot-path",
    severity=Severity.WARNING,
    tier=Tier.PROJECT,
    summary="`nn.Linear` in a repeated block, where LoRA and quantization look for FastVideo's linears",
    what=(
        "Follows the constructors of every port to the classes that it builds in a loop, a comprehension "
        "or an `nn.ModuleList`, and to what these build in turn. Reports each `nn.Linear` built there. In "
        "the attention and the MLP of the block (by the name of the class or of the attribute) this is an "
        "error, elsewhere a warning."
    ),
    why=(
        "LoRA wraps only FastVideo's linear classes (`get_lora_layer` returns None for anything else), "
        "and quantization picks `LinearBase`. A plain `nn.Linear` in the hot path is skipped silently: an "
        "adapter for it is not applied, LoRA training leaves it frozen, an FP8 run keeps it in full "
        "precision."
    ),
    how=(
        "Use `ReplicatedLinear` (`from fastvideo.layers.linear import ReplicatedLinear`) and unpack its "
        "result at every call: `out, _ = self.to_q(x)`. Where `nn.Linear` is meant, say why in a comment "
        "above it that names `nn.Linear`, or in the class's docstring."
        "\n\n"
        "The fix does this for one attribute at a time: it rewrites the constructor, unpacks every call, "
        "also through local names, loops over a module list, subclasses and other files, adds the import, "
        "and lets a loop that initialises `nn.Linear` take the new class. Where it cannot tell, it "
        "refuses and names the place: an `nn.Sequential` that hands the result on to a next layer, an "
        "attribute that may hold something else (both are shown with the finding), a layer that is handed "
        "to a function or reached by name. The weights of the new layer are uninitialised until a "
        "checkpoint is loaded."
    ),
    exceptions=(
        "Layers in the port class itself (`proj_out` and other projections of the whole model), embedders "
        "and output heads. Layers built with `dtype=torch.float32`, or cast to it on the spot. Choices that "
        "are explained: in the module's docstring by naming `nn.Linear` or `ReplicatedLinear`, in the "
        "docstring of the class or method or in a comment of the same paragraph also by naming LoRA or fp32. "
        "For layers inside "
        "`nn.Sequential`, whose names depend on the position, a comment that names the state dict, the "
        "checkpoint or the official layers. Classes that no port reaches."
    ),
    source="`fastvideo/layers/AGENTS.md`; `fastvideo/layers/lora/linear.py`, `get_lora_layer`",
    check=check,
    fixable=Applicability.UNSAFE,
    valid=(
        Example(
            "a local name that may be either",
            {_SOUND: _port("make = nn.Linear if dim < 64 else ReplicatedLinear\nself.to_q = make(dim, dim)")},
        ),
        Example("FastVideo's linears, and nn.Linear for the whole model", {}),
        Example(
            "model-level projections and embedders",
            {_SOUND: _port("self.to_q = ReplicatedLinear(dim, dim)\nself.pos_embed = nn.Linear(3, dim)")},
        ),
        Example(
            "adapters in fp32",
            {
                _SOUND: _port(
                    "self.gate = nn.Linear(dim, 1, dtype=torch.float32)\n"
                    "self.scale = nn.Linear(dim, 1).float()\n"
                    "self.shift = nn.Linear(dim, 1).to(torch.float32)"
                )
            },
        ),
        Example(
            "a positional Sequential whose names are explained",
            {
                _SOUND: _port(
                    "self.norm = nn.LayerNorm(dim)\n\n"
                    "# The official checkpoint stores ffn.0 and ffn.2.\n"
                    "self.ffn = nn.Sequential(nn.Linear(dim, dim), nn.GELU(), nn.Linear(dim, dim))"
                )
            },
        ),
        Example(
            "a choice that the docstring explains",
            {
                _SOUND: _port(
                    "self.attn = SoundSelfAttention(dim)",
                    _ATTENTION.format(doc='    """Uses nn.Linear: the kernel wants the plain weight."""\n'),
                )
            },
        ),
        Example(
            "a class that no port builds",
            {_SOUND: _port("self.to_q = ReplicatedLinear(dim, dim)", _ATTENTION.format(doc=""))},
        ),
    ),
    invalid=(
        Example(
            "attention and feed-forward of the block",
            {
                _SOUND: _port(
                    "self.to_q = nn.Linear(dim, dim)\n"
                    "self.ffn = nn.Sequential(nn.Linear(dim, dim), nn.GELU())\n"
                    "self.gate = nn.Linear(dim, 1)"
                )
            },
            findings=(
                Expected(_SOUND, 13, "the attention of a repeated block", Severity.ERROR),
                Expected(_SOUND, 14, "the MLP of a repeated block", Severity.ERROR),
                Expected(_SOUND, 15, "nn.Linear in a repeated block", Severity.WARNING),
            ),
        ),
        Example(
            "a module that the block builds, under another name for nn.Linear",
            {
                _SOUND: _port(
                    "self.attn = SoundSelfAttention(dim)",
                    "\nPlainLinear = nn.Linear\n"
                    + _ATTENTION.format(doc="").replace("nn.Linear", "PlainLinear"),
                )
            },
            findings=(Expected(_SOUND, 26, "SoundBlock > SoundSelfAttention", Severity.ERROR),),
        ),
        Example(
            "an import and a local name that do not say Linear",
            {
                _SOUND: _port(
                    "make = nn.Linear\nself.to_q = make(dim, dim)\nself.to_k = Plain(dim, dim)"
                ).replace(
                    "from torch import nn", "from torch import nn\nfrom torch.nn import Linear as Plain", 1
                )
            },
            findings=(
                Expected(_SOUND, 15, "the attention of a repeated block", Severity.ERROR),
                Expected(_SOUND, 16, "the attention of a repeated block", Severity.ERROR),
            ),
        ),
        Example(
            "layers whose calls the fix unpacks",
            {_SOUND: _calling(_MLP_LAYERS, _MLP_CALLS)},
            findings=(
                Expected(_SOUND, 13, "nn.Linear in a repeated block", Severity.WARNING),
                Expected(_SOUND, 14, "the MLP of a repeated block", Severity.ERROR),
                Expected(_SOUND, 15, "the MLP of a repeated block", Severity.ERROR),
                Expected(_SOUND, 16, "nn.Linear in a repeated block", Severity.WARNING),
            ),
            fixed={_SOUND: _calling(_MLP_REPLICATED, _MLP_UNPACKED)},
        ),
        Example(
            "modulation of the block",
            {
                _SOUND: _port(
                    "self.to_q = ReplicatedLinear(dim, dim)\n\n"
                    "# modulation\n"
                    "self.modulation_mlp = nn.Sequential(nn.SiLU(), nn.Linear(dim, 6 * dim))"
                )
            },
            findings=(Expected(_SOUND, 16, "nn.Linear in a repeated block", Severity.WARNING),),
        ),
    ),
)
