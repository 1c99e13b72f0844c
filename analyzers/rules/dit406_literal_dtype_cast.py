"""DIT406 literal-dtype-cast: a cast on the residual path to a literal half type, or to an index's dtype."""

from __future__ import annotations

import re
from collections.abc import Iterator

from analyzers.facts.casts import Cast, Flow, flowing_casts
from analyzers.facts.local_calls import FunctionKey, is_forward, key_of
from analyzers.facts.model import ClassFacts, FunctionFacts, Placed, Reference
from analyzers.findings import Finding, Location, Severity
from analyzers.project.comments import comments_about
from analyzers.project.outside import outside_names
from analyzers.rules.base import Context, Example, Expected, Rule, Tier
from analyzers.rules.examples import TREE

_HALF = frozenset({"torch.bfloat16", "torch.float16", "torch.half"})
_WORDS = frozenset({"bfloat16", "float16", "half"})
_INTEGER_TENSORS = frozenset({"IntTensor", "LongTensor"})
_INDEX_WORDS = re.compile(r"\w*(dtype|type_as)")
_EXPLAINED = re.compile(
    r"official|upstream|released|reference|parity|checkpoint(?!ing)"
    r"|original(?!\W+(shape|size|resolution|layout|order|sequence|length|d?type|tensor|video|image|latent))",
    re.IGNORECASE,
)


def check(context: Context) -> Iterator[Finding]:
    """Looks at what `forward` returns, also through functions of the file that it calls."""
    file = context.file
    if not file.path.startswith(context.profile.dits + "/"):
        return
    words = context.project.sources.words(file.path)
    if not words & _WORDS and not any(map(_INDEX_WORDS.fullmatch, words)):
        return
    functions = list(file.all_functions())
    flows: dict[FunctionKey, Flow] = {}
    for cls, function in functions:
        flow = context.project.derived("flowing casts", function, flowing_casts)
        if flow is not None:
            flows[key_of(cls.fact if cls else None, function.fact)] = flow
    out = _flowing_out(functions, flows)
    for cls, function in functions:
        key = key_of(cls.fact if cls else None, function.fact)
        if key in out and key in flows:
            yield from _casts(context, cls, function, flows[key])


def _casts(
    context: Context, cls: Placed[ClassFacts] | None, function: Placed[FunctionFacts], flow: Flow
) -> Iterator[Finding]:
    start = context.project.sources.bodies.start(function)
    lines: set[int] = set()
    for cast in flow.casts:
        message = _message(context, cls, function, cast)
        place = Location(context.file.path, cast.span.shifted(start))
        if message is None or place.span.line in lines:
            continue
        if any(map(_EXPLAINED.search, comments_about(context.file, place.span))):
            continue
        lines.add(place.span.line)
        name = f"{cls.fact.name}.{function.fact.name}" if cls is not None else function.fact.name
        yield context.finding(place, message, symbol=name)


def _message(
    context: Context, cls: Placed[ClassFacts] | None, function: Placed[FunctionFacts], cast: Cast
) -> str | None:
    if cast.like is not None:
        shown = cast.integer or _declared_by_base(context, cls, function, cast.like)
        if shown is None:
            return None
        return (
            f"this takes the dtype of '{cast.like}', and {shown}: every value that goes on to what "
            f"'{function.fact.name}' returns is cut to an integer"
        )
    dtype = cast.dtype or ""
    meant = outside_names(context.names, context.file, dtype, function.fact, cls.fact if cls else None)
    if not meant or not meant <= _HALF or _is_fixed(context, meant):
        return None
    return (
        f"the cast to {min(meant)} flows into what '{function.fact.name}' returns, whatever dtype the model "
        "runs in: fp32 loses its precision here and the other half type its range; keep the input's dtype"
    )


def _declared_by_base(
    context: Context, cls: Placed[ClassFacts] | None, function: Placed[FunctionFacts], parameter: str
) -> str | None:
    """What the base of all ports says of a parameter of `forward`, where that is a tensor of integers."""
    if cls is None or function.fact.name != "forward":
        return None
    names, base = context.names, context.profile.base_dit
    if not names.derives_from(cls, base):
        return None
    home = names.by_qualified(base)
    of_base = home.fact if isinstance(home, Placed) and isinstance(home.fact, ClassFacts) else None
    forward = of_base.method("forward") if of_base is not None else None
    declared = forward.parameter(parameter) if forward is not None else None
    annotation = declared.annotation if declared is not None else None
    if not isinstance(annotation, Reference) or annotation.tail not in _INTEGER_TENSORS:
        return None
    return f"'{base.rpartition('.')[2]}' declares it as a {annotation.tail}"


def _is_fixed(context: Context, meant: frozenset[str]) -> bool:
    """Whether the file builds its layers in that very dtype: then the model runs in no other."""
    for cls, function in context.file.all_functions():
        for fact in function.fact.calls:
            given = next((k.value for k in fact.call.keywords if k.name == "params_dtype"), None)
            if isinstance(given, Reference) and (
                outside_names(
                    context.names, context.file, given.dotted, function.fact, cls.fact if cls else None
                )
                == meant
            ):
                return True
    return False


def _flowing_out(
    functions: list[tuple[Placed[ClassFacts] | None, Placed[FunctionFacts]]], flows: dict[FunctionKey, Flow]
) -> frozenset[FunctionKey]:
    """The functions whose result flows into what a `forward` of the file returns, `forward` included."""
    defined = {key_of(cls.fact if cls else None, f.fact): f.fact for cls, f in functions}
    found = {key for key in defined if key[0] and is_forward(key[1])}
    pending = list(found)
    while pending:
        cls, _ = key = pending.pop()
        own = next((p.name for p in defined[key].parameters), None) if cls else None
        for name in flows[key].calls if key in flows else ():
            head, _, rest = name.partition(".")
            called = (cls, rest) if cls and head in (own, cls) and rest else ("", name)
            if called in defined and called not in found:
                found.add(called)
                pending.append(called)
    return frozenset(found)


_SOUND = "fastvideo/models/dits/sound_cast.py"


def _block(
    forward: str, *, head: str = "", parameters: str = "x: torch.Tensor", extra: str = ""
) -> dict[str, str | None]:
    """A block whose forward is that code; it begins in line 13 without `head`."""
    body = "\n".join(f"        {line}" if line else "" for line in forward.split("\n"))
    return {
        _SOUND: f"""\
import torch
import torch.nn.functional as F
from torch import nn

{head}
class SoundBlock(nn.Module):

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)

    def forward(self, {parameters}) -> torch.Tensor:
{body}
{extra}"""
    }


_DECLARED = (
    TREE["fastvideo/models/dits/base.py"]
    .replace("from torch import nn", "import torch\nfrom torch import nn")
    .replace("timestep, guidance=None", "timestep: torch.LongTensor, guidance=None")
)

RULE = Rule(
    code="DIT406",
    name="literal-dtype-cast",
    severity=Severity.WARNING,
    tier=Tier.FILE,
    summary="a cast to a literal half type, or to the dtype of an index tensor, on the residual path",
    what=(
        "Follows values through `forward` and the functions of the file that it calls. Reports a cast to "
        "`torch.bfloat16` or `torch.float16` (`.to`, `.type`, `dtype=`, `.half()`, `.bfloat16()`, also under "
        "another name) whose result flows into what is returned and is not cast again on the way, and one "
        "that a loop over the blocks hands to them or that rounds a residual sum (`x = (x + ...).to(...)`), "
        "whatever comes after it. Reports in the same places, and on the output of a layer wherever it "
        "goes, a cast to the dtype of a tensor that holds integers."
    ),
    why=(
        "The residual stream runs in the dtype that the pipeline chose; its rounding grows with depth. A "
        "literal makes an fp32 run (every parity test) round here, and an fp16 run mix two half types. "
        "`.to(timestep.dtype)` with an integer timestep cuts every value to a whole number."
    ),
    how=(
        "Cast to what the value had or meets: `.to(x.dtype)`, `.type_as(x)`. Where a kernel takes half types "
        "only, cast its result back."
    ),
    exceptions=(
        "A cast whose result is cast again before it is returned: right before a kernel with the upcast "
        "after it, or a rounding that is undone at once. Casts of masks, and of weights that a function "
        "takes beside its first argument. Files that build their layers in that very dtype "
        "(`params_dtype=torch.bfloat16`). A cast with a comment that says that the official model does it. "
        "New tensors (`torch.zeros(..., dtype=...)`) and autocast."
    ),
    source="`.agents/skills/add-model-03-port-dit/SKILL.md`, Implementation Rules (dtype casts)",
    check=check,
    valid=(
        Example("the dtype of the input", _block("y = self.norm(x.float())\nreturn x + y.to(x.dtype)")),
        Example(
            "right before a kernel, with the upcast after it",
            _block(
                "q = x.to(torch.bfloat16)\nout = F.scaled_dot_product_attention(q, q, q)\n"
                "return x + out.to(x.dtype)"
            ),
        ),
        Example(
            "undone at once, and in a helper whose result is cast",
            _block(
                "y = rounded(x).type_as(x)\nreturn x + y.half().float()",
                head="\ndef rounded(x):\n    return x.to(torch.bfloat16)\n\n",
            ),
        ),
        Example(
            "a weight, a mask, a comparison",
            _block(
                "y = F.linear(x, self.norm.weight.to(torch.bfloat16))\n"
                "if x.dtype == torch.float16:\n    y = y.clip(-65504, 65504)\n"
                "return self.attn_out(y, mask.half())",
                parameters="x: torch.Tensor, mask: torch.Tensor",
            ),
        ),
        Example(
            "what the official model does, by its comment",
            _block("# The released model rounds here.\nreturn x.to(torch.bfloat16)"),
        ),
        Example(
            "integers that stay integers, and a device",
            _block(
                "position = torch.arange(4).to(ids.dtype)\n"
                "return x.to(ids.device) + self.embed(position).to(x)",
                parameters="x: torch.Tensor, ids: torch.Tensor",
            ),
        ),
        Example(
            "layers that are built in that dtype",
            _block(
                "for block in self.blocks:\n    x = block(x.to(_DTYPE))\nreturn x",
                head="_DTYPE = torch.bfloat16\n\n",
                extra="\n    def build(self, dim):\n"
                "        return ReplicatedLinear(dim, dim, params_dtype=_DTYPE)\n",
            ),
        ),
        Example(
            "rotated before a kernel, with the upcast after it, and a mask for the blocks",
            _block(
                "q = (x * cos + x.flip(-1) * sin).to(torch.bfloat16)\n"
                "x = x + F.scaled_dot_product_attention(q, q, q).to(x.dtype)\n"
                "for block in self.blocks:\n    x = block(x, attention_mask.to(torch.bfloat16))\nreturn x",
                parameters="x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, attention_mask=None",
            ),
        ),
        Example(
            "outside of forward",
            _block(
                "return x",
                extra="\n    def load(self, x):\n        return x.to(torch.bfloat16)\n",
            ),
        ),
        Example(
            "a timestep that has been cast, or may be anything",
            _block(
                "timestep = timestep.to(x.dtype)\nreturn x.to(timestep.dtype) + x.to(guidance.dtype)",
                parameters="x: torch.Tensor, timestep: torch.LongTensor, guidance: torch.Tensor",
            ),
        ),
    ),
    invalid=(
        Example(
            "in what is returned",
            _block("x = x + self.norm(x)\nreturn x.to(torch.bfloat16)"),
            findings=(Expected(_SOUND, 14, "the cast to torch.bfloat16 flows into"),),
        ),
        Example(
            "added to the residual stream through a name",
            _block("y = self.norm(x).half()\ny = y.view(1, -1)\nx = x + y\nreturn x"),
            findings=(Expected(_SOUND, 13, "torch.float16"),),
        ),
        Example(
            "before a kernel, and nothing after it",
            _block(
                "q, k, v = (x.to(dtype=torch.float16), x, x)\nout = F.scaled_dot_product_attention(q, k, v)\n"
                "x += self.norm(out)\nreturn x"
            ),
            findings=(Expected(_SOUND, 13, "torch.float16"),),
        ),
        Example(
            "under another name",
            _block(
                "kind = _DTYPE\ny = F.softmax(x, dim=-1, dtype=kind)\nreturn x + y",
                head="_DTYPE = torch.bfloat16\n\n",
            ),
            findings=(Expected(_SOUND, 16, "torch.bfloat16"),),
        ),
        Example(
            "in one branch, in a loop",
            _block(
                "for layer in self.layers:\n    if x.dtype == torch.float32:\n"
                "        x = x.type(torch.bfloat16)\n"
                "    x = layer(x)\nreturn (x,)"
            ),
            findings=(Expected(_SOUND, 15),),
        ),
        Example(
            "what the blocks are handed, though the result is cast back",
            _block(
                "dtype = x.dtype\ntemb = self.embed(t).to(torch.bfloat16)\nx = x.to(torch.bfloat16)\n"
                "for index, block in enumerate(self.blocks):\n    x = block(x, temb)\nreturn x.to(dtype)",
                parameters="x: torch.Tensor, t: torch.Tensor",
            ),
            findings=(Expected(_SOUND, 14, "torch.bfloat16"), Expected(_SOUND, 15, "torch.bfloat16")),
        ),
        Example(
            "a residual sum that is rounded at once",
            _block(
                "dtype = x.dtype\n# Back to the original shape.\n"
                "x = (x.float() + gate * self.norm(x)).to(torch.bfloat16)\nreturn self.norm(x).to(dtype)",
                parameters="x: torch.Tensor, gate: torch.Tensor",
            ),
            findings=(Expected(_SOUND, 15, "torch.bfloat16"),),
        ),
        Example(
            "to the dtype of the timestep, which the base declares as integers",
            {
                "fastvideo/models/dits/base.py": _DECLARED,
                "fastvideo/models/dits/sound.py": TREE["fastvideo/models/dits/sound.py"].replace(
                    "for block in self.blocks:",
                    "timestep = self.embed(timestep).to(timestep.dtype)\n        for block in self.blocks:",
                ),
            },
            findings=(
                Expected("fastvideo/models/dits/sound.py", 34, "'BaseDiT' declares it as a LongTensor"),
            ),
        ),
        Example(
            "in a helper that forward returns",
            _block(
                "return x + modulate(x) * self._gate(x)",
                head="\ndef modulate(x):\n    return x.bfloat16()\n\n",
                extra="\n    def _gate(self, x):\n        return torch.sigmoid(x.to(x.device, torch.half))\n",
            ),
            findings=(Expected(_SOUND, 7, "what 'modulate' returns"), Expected(_SOUND, 20, "what '_gate'")),
        ),
        Example(
            "to the dtype of a timestep that is declared as integers",
            _block(
                "return self.embed(self.project(timestep).to(timestep.dtype))",
                parameters="timestep: torch.LongTensor",
            ),
            findings=(Expected(_SOUND, 13, "it is declared as a LongTensor"),),
        ),
        Example(
            "an embedding that conditions the blocks",
            _block(
                "temb = self.time_proj(timestep)\ntemb = self.time_embed(temb.to(timestep.dtype))\n"
                "return self.block(x, temb)",
                parameters="x: torch.Tensor, timestep: torch.LongTensor",
            ),
            findings=(Expected(_SOUND, 14, "it is declared as a LongTensor"),),
        ),
        Example(
            "to the dtype of indices",
            _block(
                "order = x.argsort(dim=-1)\ny = x.type_as(order)\nreturn y + x.to(ids.dtype)",
                parameters="x: torch.Tensor, ids: torch.Tensor",
            ),
            findings=(
                Expected(_SOUND, 14, "it comes from 'argsort'"),
                Expected(_SOUND, 15, "its name says that it holds indices"),
            ),
        ),
    ),
)
