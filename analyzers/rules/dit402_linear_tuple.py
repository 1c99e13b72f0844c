"""DIT402 linear-tuple: the tuple of a FastVideo linear used as a tensor, or a tensor unpacked."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from analyzers.facts.model import Call, CallFact, ClassFacts, FunctionFacts, Placed, Reference
from analyzers.facts.results import Result, Spot, results
from analyzers.findings import Applicability, Finding, Fix, Location, Related, Severity
from analyzers.project.layers import (
    IDENTITY,
    LINEAR,
    SEQUENTIAL,
    built_class,
    canonical,
    elements,
    submodule,
    wants_tensor,
)
from analyzers.project.names import External
from analyzers.rules.base import Context, Example, Expected, Rule, Tier

_OF_TUPLES = frozenset({"count", "index"})
"""What a tuple has too."""

# fmt: off
_TAKES_A_TENSOR = frozenset({
    "abs", "add", "bmm", "chunk", "clamp", "cos", "div", "exp", "flatten", "gelu", "log", "matmul",
    "mean", "mul", "neg", "permute", "pow", "relu", "repeat_interleave", "reshape", "rsqrt", "sigmoid",
    "sin", "softmax", "split", "sqrt", "squeeze", "sub", "sum", "tanh", "transpose", "unbind",
    "unsqueeze",
})
_TAKES_TWO = frozenset({"add", "bmm", "div", "matmul", "mul", "sub"})
# fmt: on
"""Functions of `torch` that reject a tuple as their first argument, and as their second one too."""

_JOINS = frozenset({"cat", "concat", "concatenate", "hstack", "stack", "vstack"})
"""Functions of `torch` that take a list or tuple, of tensors."""

_KINDS = frozenset({"argument", "attribute", "axes", "element", "index", "operand", "return", "unpack"})


def check(context: Context) -> Iterator[Finding]:
    """Looks at every call of a submodule whose class is proven, and at `nn.Sequential`s that are called."""
    for cls, method in context.file.all_functions():
        if cls is None or method.fact.decorated_with("staticmethod"):
            continue
        for fact in method.fact.calls:
            yield from _in_sequential(context, cls, method, fact)
        start = context.project.sources.bodies.start(method)
        for result in _results(context, method):
            yield from _of_result(context, cls, method, result, start)


def _results(context: Context, method: Placed[FunctionFacts]) -> tuple[Result, ...]:
    return context.project.derived("layer results", method, results) or ()


@dataclass(frozen=True)
class _Layer:
    """What is called: how to name it, where it was built, and whether it gives the tuple."""

    text: str
    made: str
    location: Location
    gives_tuple: bool


def _of_result(
    context: Context, cls: Placed[ClassFacts], method: Placed[FunctionFacts], result: Result, start: int
) -> Iterator[Finding]:
    if not result.spots and not result.fed:
        return
    layer = _layer(context, cls, result)
    if layer is None:
        return
    fix: Fix | None = None
    if layer.gives_tuple:
        wrong = _misuse(context, cls, method.fact, result)
        if wrong is None:
            return
        message = (
            f"{layer.text} is {layer.made}: it returns the tuple (output, bias), and {wrong}; "
            "unpack it first (`out, _ = ...`)"
        )
        form = _form(result)
        title = "Take the output out of the tuple"
    else:
        if not _drops_second(result):
            return
        message = (
            f"{layer.text} is {layer.made}: it returns one tensor, and unpacking that splits its first "
            "axis instead of giving (output, bias)"
        )
        form = "whole"
        title = "Take the tensor as it is"
    if form is not None:
        place = result.call.shifted(start)
        fix = Fix(
            title,
            "unpack-linear",
            {"path": method.path, "line": place.line, "column": place.column, "form": form},
        )
    yield context.finding(
        Location(method.path, result.call.shifted(start)),
        message,
        symbol=f"{cls.fact.name}.{result.chain}",
        related=(Related(layer.location, f"built here as {layer.made.rpartition(' ')[2]}"),),
        fix=fix,
    )


# --------------------------------------------------------------------------- what is called


def _layer(context: Context, cls: Placed[ClassFacts], result: Result) -> _Layer | None:
    names, linears = context.names, context.profile.tuple_linears
    held = submodule(names, cls, result.chain)
    text = f"'self.{result.chain}'"
    if held is not None and result.element:
        built = elements(names, cls, result.chain)
        kinds = set(built.classes) if built is not None else set()
        if built is not None and kinds and kinds <= linears and (built.repeated or len(built.classes) > 1):
            made = f"a list of {_short(built.classes[0])}"
            return _Layer(text, made, held.location, gives_tuple=True)
        return None
    if held is not None and result.index is not None:
        made_of = _element(context, cls, result.chain, result.index)
        if made_of not in linears and made_of != LINEAR:
            return None
        text = f"'self.{result.chain}[{result.index}]'"
        article = "an nn." if made_of == LINEAR else "a "
        return _Layer(text, f"{article}{_short(made_of)}", held.location, gives_tuple=made_of != LINEAR)
    if held is not None and held.cls is not None:
        if held.cls in linears:
            return _Layer(text, f"a {_short(held.cls)}", held.location, gives_tuple=True)
        if held.cls == LINEAR:
            return _Layer(text, "an nn.Linear", held.location, gives_tuple=False)
        if held.cls == SEQUENTIAL:
            built = elements(names, cls, result.chain)
            if built is not None and built.classes[-1] in linears:
                made = f"an nn.Sequential that ends in {_short(built.classes[-1])}"
                return _Layer(text, made, held.location, gives_tuple=True)
        return None
    plain = held is None and not result.element and result.index is None
    return _helper(context, cls, result) if plain else None


def _element(context: Context, cls: Placed[ClassFacts], chain: str, index: int) -> str:
    """The full name of the class at that place of `self.<chain>`, empty where it cannot be told."""
    built = elements(context.names, cls, chain)
    if built is None or (built.repeated and index not in (0, -1)):
        return ""
    size = len(built.classes)
    return built.classes[index] if built.repeated or -size <= index < size else ""


def _helper(context: Context, cls: Placed[ClassFacts], result: Result) -> _Layer | None:
    """A method that does nothing but return what such a layer gives; one that declares a tensor is reported
    itself."""
    helper = cls.fact.method(result.chain)
    if helper is None or helper.decorators or not helper.returns or helper.annotation is not None:
        return None
    placed = Placed(helper, cls.path, cls.line)
    returned = [
        r
        for r in _results(context, placed)
        if [s.kind for s in r.spots] == ["return"] and r.chain != helper.name
    ]
    if len(returned) != len(helper.returns):
        return None
    for inner in returned:
        held = submodule(context.names, cls, inner.chain)
        if inner.element or held is None or held.cls not in context.profile.tuple_linears:
            return None
    text = f"'self.{result.chain}' returns what 'self.{returned[0].chain}' gives, which"
    held = submodule(context.names, cls, returned[0].chain)
    assert held is not None
    assert held.cls is not None
    return _Layer(text, f"a {_short(held.cls)}", held.location, gives_tuple=True)


def _short(qualified: str) -> str:
    return qualified.rpartition(".")[2]


# --------------------------------------------------------------------------- how it is used


def _misuse(context: Context, cls: Placed[ClassFacts], method: FunctionFacts, result: Result) -> str | None:
    """How some use of the tuple must fail, or None where each may be meant."""
    if result.element and result.fed:
        return f"the next layer gets that tuple as '{result.kept}'"
    for spot in result.spots:
        wrong = _wrong(context, cls, method, spot)
        if wrong is not None:
            return f"'{result.kept}' keeps it: {wrong}" if result.kept is not None else wrong
    return None


def _wrong(context: Context, cls: Placed[ClassFacts], method: FunctionFacts, spot: Spot) -> str | None:
    detail = spot.detail
    if spot.kind == "operand":
        return "a tuple cannot be calculated with"
    if spot.kind == "axes":
        return "a tuple has no axes to index"
    if spot.kind == "index" and isinstance(detail, int) and not -2 <= detail <= 1:
        return f"it has no element {detail}"
    if spot.kind == "attribute" and isinstance(detail, str):
        return None if detail in _OF_TUPLES or detail.startswith("__") else f"a tuple has no '.{detail}'"
    if spot.kind == "unpack" and isinstance(detail, int) and detail != 2:
        return f"it is unpacked into {detail}"
    if spot.kind in ("argument", "element") and isinstance(detail, str) and spot.position is not None:
        if spot.kind == "argument":
            taken = _takes_tensor(context, cls, method, detail, spot.position)
        else:
            taken = _joins_tensors(context, method, detail)
        return f"'{detail}' takes {'a tensor' if spot.kind == 'argument' else 'tensors'}" if taken else None
    if spot.kind == "return" and _declares_tensor(context, method):
        return f"'{method.name}' declares that it returns a tensor"
    return None


def _form(result: Result) -> str | None:
    """How to take the output out: behind the call, or by a second target; None where neither is certain."""
    kinds = {spot.kind for spot in result.spots}
    if result.element or "unpack" in kinds or "index" in kinds:
        return None
    return "targets" if result.kept is not None else "index"


def _drops_second(result: Result) -> bool:
    """Whether a tensor is unpacked into two as if it were (output, bias): the second one is of no use.

    Two samples that were stacked on purpose are both read.
    """
    if [spot.kind for spot in result.spots] != ["unpack"] or len(result.targets) != 2:
        return False
    if result.inner is not None and result.inner.rpartition(".")[2] in _JOINS:
        return False
    second = result.targets[1]
    return second in result.unread and (second.startswith("_") or "bias" in second)


def _declares_tensor(context: Context, method: FunctionFacts) -> bool:
    declared = method.annotation
    return (
        isinstance(declared, Reference)
        and context.names.qualified(context.file.path, declared.dotted) == "torch.Tensor"
    )


def _takes_tensor(
    context: Context, cls: Placed[ClassFacts], method: FunctionFacts, callee: str, position: int | str
) -> bool:
    """Whether the callee is proven to reject a tuple as that argument."""
    chain = _chain_on_self(method, callee)
    if chain is not None and chain.endswith("]"):
        name, _, index = chain.removesuffix("]").partition("[")
        made = _element(context, cls, name, int(index))
        return bool(made) and made != IDENTITY and _is_tensor_module(context, made, position)
    if chain is not None:
        held = submodule(context.names, cls, chain)
        # With an Identity as the other choice, the tuple is wrong as soon as the layer is turned on.
        wanting = held.classes - {IDENTITY} if held is not None else frozenset()
        return bool(wanting) and all(_is_tensor_module(context, c, position) for c in wanting)
    if method.parameter(callee.partition(".")[0]) is not None:
        return False
    found = context.names.resolve(context.file.path, callee)
    if not isinstance(found, External):
        return False
    module, _, name = found.dotted.rpartition(".")
    if module == "torch.nn.functional":
        several = name == "scaled_dot_product_attention"
        return position in ((0, 1, 2, "query", "key", "value") if several else (0, "input"))
    if module == "torch":
        two = name in _TAKES_TWO and position in (1, "other")
        return name in _TAKES_A_TENSOR and (position in (0, "input") or two)
    return module == "einops" and name in ("rearrange", "reduce", "repeat") and position in (0, "tensor")


def _joins_tensors(context: Context, method: FunctionFacts, callee: str) -> bool:
    """Whether the callee takes a list of tensors."""
    if method.parameter(callee.partition(".")[0]) is not None:
        return False
    found = context.names.resolve(context.file.path, callee)
    module, _, name = found.dotted.rpartition(".") if isinstance(found, External) else ("", "", "")
    return module == "torch" and name in _JOINS


def _is_tensor_module(context: Context, qualified: str, position: int | str = 0) -> bool:
    if qualified in context.profile.tuple_linears:
        return position in (0, "x", "input_")
    return wants_tensor(context.names, qualified, position)


def _in_sequential(
    context: Context, cls: Placed[ClassFacts], method: Placed[FunctionFacts], fact: CallFact
) -> Iterator[Finding]:
    """A called `nn.Sequential` hands each result on as it is: a tuple where a tensor is wanted.

    One that is never called is only a container: Stable Audio steps through its own by hand.
    """
    callee = fact.call.callee
    if callee is None or not callee.endswith("Sequential") or fact.target is None or fact.enclosing:
        return
    found = context.names.resolve(context.file.path, callee)
    if not isinstance(found, External) or canonical(found.dotted) != "torch.nn.Sequential":
        return
    called = _call_of(cls, fact.target)
    if called is None:
        return
    for here, following in zip(fact.call.arguments, fact.call.arguments[1:], strict=False):
        if not isinstance(here, Call) or not isinstance(following, Call):
            continue
        made = built_class(context.names, context.file.path, here)
        taker = built_class(context.names, context.file.path, following)
        if made is None or taker is None or made not in context.profile.tuple_linears:
            continue
        if _is_tensor_module(context, taker):
            name = here.function.dotted if isinstance(here.function, Reference) else made
            yield context.finding(
                method.at(here.span),
                f"'{name}' returns the tuple (output, bias), and nn.Sequential hands it on to "
                f"{taker.rpartition('.')[2]}, which takes a tensor",
                symbol=f"{cls.fact.name}.{fact.target}",
                related=(Related(called, "called here"),),
            )


def _call_of(cls: Placed[ClassFacts], attribute: str) -> Location | None:
    """Where the class calls `self.<attribute>(...)`, or None."""
    return next(
        (
            cls.at(fact.call.span)
            for method in cls.fact.methods
            for fact in method.calls
            if _chain_on_self(method, fact.call.callee) == attribute
        ),
        None,
    )


def _chain_on_self(method: FunctionFacts, callee: str | None) -> str | None:
    """`attn.to_q` for the callee `self.attn.to_q`, whatever the method calls itself."""
    if callee is None or not method.parameters or method.decorated_with("staticmethod"):
        return None
    head, _, rest = callee.partition(".")
    return rest if rest and head == method.parameters[0].name else None


_SOUND = "fastvideo/models/dits/sound_block.py"


def _block(forward: str, layers: str = "self.to_q = ReplicatedLinear(dim, dim)") -> str:
    """A block with those layers and that body of `forward`, which begins in line 15 + layers."""
    made = "\n".join(f"        {line}" for line in layers.split("\n"))
    body = "\n".join(f"        {line}" for line in forward.split("\n"))
    return f"""\
import torch
import torch.nn.functional as F
from torch import nn

from fastvideo.layers.linear import ReplicatedLinear


class SoundBlock(nn.Module):

    def __init__(self, dim: int, gated: bool = False) -> None:
        super().__init__()
{made}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
{body}
"""


RULE = Rule(
    code="DIT402",
    name="linear-tuple",
    severity=Severity.ERROR,
    tier=Tier.FILE,
    summary="the tuple of a FastVideo linear is used as a tensor, or a tensor is unpacked",
    what=(
        "Follows the result of `self.layer(x)` where `self.layer` is proven to be a FastVideo linear (every "
        "assignment in the class and its bases builds it), an `nn.Sequential` that ends in one, an element "
        "of "
        "a module list of them, or a method that only returns what one gives; also through local names for "
        "the layer and for the result. Reports arithmetic on the result, a tensor method or attribute of it, "
        "an index that only a tensor takes, a `torch`, `torch.nn.functional` or einops function or a module "
        "that gets it where it declares a tensor, a list of such results in `torch.cat` or `torch.stack`, "
        "unpacking into another number than two, returning it from a method that is declared to return a "
        "tensor, a loop that hands it to the next layer, and a called `nn.Sequential` that does. The other "
        "way "
        "round, reports `out, _ = self.layer(x)` where `self.layer` is an `nn.Linear`."
    ),
    why=(
        "FastVideo's linears return `(output, bias)`, `nn.Linear` a tensor. Using the tuple as a tensor "
        "fails in the first forward. Unpacking a tensor is worse: it walks the batch axis, so it fails "
        "for every batch but two, and at two it quietly takes one sample for the output."
    ),
    how=(
        "Write `out, _ = self.layer(x)` for FastVideo's linears, `out = self.layer(x)` for `nn.Linear`. The "
        "fix "
        "does that, or puts `[0]` behind a call inside an expression."
    ),
    exceptions=(
        "Results that are returned without a declaration, stored, indexed by 0 or 1, or passed to a module "
        "whose class is not known: the tuple may be wanted there. A name whose type is tested, or that may "
        "have been bound again. An `nn.Linear` whose two results are both used: two samples that were "
        "stacked "
        "on purpose. An `nn.Sequential` that is stepped through by hand. An attribute that holds different "
        "classes in different branches. Subclasses of the linears, "
        "which may return something else."
    ),
    source="`fastvideo/layers/linear.py`, `ReplicatedLinear.forward`",
    check=check,
    fixable=Applicability.SAFE,
    valid=(
        Example("unpacked", {_SOUND: _block("query, _ = self.to_q(x)\nreturn x + query")}),
        Example("indexed or handed on", {_SOUND: _block("y = self.to_q(x)\nreturn y[0] * y[0].sigmoid()")}),
        Example(
            "an attribute that is either, told apart at the call",
            {
                _SOUND: _block(
                    "if self.gated:\n    return x + self.to_q(x)\ny, _ = self.to_q(x)\nreturn x + y",
                    "self.gated = gated\nif gated:\n    self.to_q = nn.Linear(dim, dim)\nelse:\n"
                    "    self.to_q = ReplicatedLinear(dim, dim)",
                )
            },
        ),
        Example(
            "a name that another branch binds to a tensor",
            {
                _SOUND: _block(
                    "y = x\nif x.ndim == 2:\n    y = self.to_q(x)\nelse:\n    y = y * 2\n"
                    "return y[0] if isinstance(y, tuple) else y"
                )
            },
        ),
        Example(
            "an nn.Sequential that is only a container",
            {
                _SOUND: _block(
                    "for layer in self.ffn:\n    x = layer(x)[0] if isinstance(layer, ReplicatedLinear) else "
                    "layer(x)\nreturn x",
                    "self.ffn = nn.Sequential(ReplicatedLinear(dim, dim), nn.GELU())",
                )
            },
        ),
        Example(
            "an nn.Linear used as the tensor that it gives",
            {_SOUND: _block("return F.gelu(self.up(x)) + x", "self.up = nn.Linear(dim, dim)")},
        ),
        Example(
            "two samples that were stacked on purpose",
            {
                _SOUND: _block(
                    "cond, uncond = self.up(x)\ny, _ = self.up(torch.stack([cond, uncond]))\nreturn y + "
                    "uncond",
                    "self.up = nn.Linear(dim, dim)",
                )
            },
        ),
        Example(
            "bound again, unpacked later, or told apart",
            {
                _SOUND: _block(
                    "y = self.to_q(x)\nbias = y[1]\ny = y[0]\nz = self.to_q(x)\nif x.ndim == 2:\n    z, _ = "
                    "z\n"
                    "w = self.to_q(x)\nw = w[0] if isinstance(w, tuple) else w\nreturn y.view(-1) + "
                    "w.view(-1)"
                )
            },
        ),
        Example(
            "kept in one branch, used in the other",
            {
                _SOUND: _block(
                    "if x.ndim == 2:\n    y = self.to_q(x)\n    y = y[0]\nelse:\n    y = x\n    y = "
                    "y.view(-1)\n"
                    "return y.view(-1)"
                )
            },
        ),
        Example(
            "layers of a list, and a helper, that are unpacked",
            {
                _SOUND: _block(
                    "for layer in self.layers:\n    x, _ = layer(x)\nx, _ = self.project(x)\n"
                    "qkv = torch.cat([self.to_q(x)[0], x], dim=-1)\nreturn qkv\n\n"
                    "def project(self, x):\n    return self.to_q(x)",
                    "self.to_q = ReplicatedLinear(dim, dim)\n"
                    "self.layers = nn.ModuleList([ReplicatedLinear(dim, dim) for _ in range(2)])",
                )
                .replace("        def project", "    def project")
                .replace("            return self.to_q", "        return self.to_q")
            },
        ),
        Example(
            "a tuple repeated, printed or compared",
            {_SOUND: _block("y = self.to_q(x)\nprint(y)\nassert y is not None\nx, _ = y\nreturn x")},
        ),
        Example(
            "set again by name",
            {
                _SOUND: _block(
                    "return self.to_q(x) + 1",
                    'self.to_q = ReplicatedLinear(dim, dim)\nsetattr(self, "to_q", nn.Identity())',
                )
            },
        ),
    ),
    invalid=(
        Example(
            "calculated with",
            {_SOUND: _block("return x + self.to_q(x)")},
            findings=(Expected(_SOUND, 15, "a tuple cannot be calculated with", Severity.ERROR),),
            fixed={_SOUND: _block("return x + self.to_q(x)[0]")},
        ),
        Example(
            "returned as the tensor that the method declares",
            {_SOUND: _block("x = self.to_q(x)\nreturn x")},
            findings=(Expected(_SOUND, 15, "'x' keeps it: 'forward' declares that it returns a tensor"),),
            fixed={_SOUND: _block("x, _ = self.to_q(x)\nreturn x")},
        ),
        Example(
            "kept under a name that is then reshaped",
            {_SOUND: _block("query = self.to_q(x)\nreturn query.view(1, -1)")},
            findings=(Expected(_SOUND, 15, "'query' keeps it: a tuple has no '.view'"),),
            fixed={_SOUND: _block("query, _ = self.to_q(x)\nreturn query.view(1, -1)")},
        ),
        Example(
            "given to a function and to a module that take tensors",
            {
                _SOUND: _block(
                    "x = F.gelu(self.up(x))\nreturn self.down(self.act(self.up(x)))[0]",
                    "self.up = ReplicatedLinear(dim, dim)\nself.act = nn.SiLU() if gated else nn.Identity()\n"
                    "self.down = ReplicatedLinear(dim, dim)",
                )
            },
            findings=(
                Expected(_SOUND, 17, "'F.gelu' takes a tensor"),
                Expected(_SOUND, 18, "'self.act' takes a tensor"),
            ),
        ),
        Example(
            "inside nn.Sequential",
            {
                _SOUND: _block(
                    "return self.ffn(x)[0]",
                    "self.ffn = nn.Sequential(ReplicatedLinear(dim, dim), nn.GELU(), "
                    "ReplicatedLinear(dim, dim))",
                )
            },
            findings=(Expected(_SOUND, 12, "hands it on to GELU"),),
        ),
        Example(
            "a fused projection whose parts are unpacked at once",
            {_SOUND: _block("q, k, v = self.qkv(x)\nreturn q", "self.qkv = ReplicatedLinear(dim, 3 * dim)")},
            findings=(Expected(_SOUND, 15, "unpacked into 3"),),
        ),
        Example(
            "an nn.Linear unpacked as if it were FastVideo's",
            {_SOUND: _block("y, _ = self.up(x)\nreturn y", "self.up = nn.Linear(dim, dim)")},
            findings=(Expected(_SOUND, 15, "is an nn.Linear", Severity.ERROR),),
            fixed={_SOUND: _block("y = self.up(x)\nreturn y", "self.up = nn.Linear(dim, dim)")},
        ),
        Example(
            "used late, through another name, or in one branch",
            {
                _SOUND: _block(
                    "y = self.to_q(x)\nprint(y)\nz = y\nif x.ndim == 3:\n    q = self.to_q(x)\n    x = "
                    "q.squeeze(0)\n"
                    "w = self.to_q(x) if x.ndim else x\nx += self.to_q(x)\nreturn -z + w.float()"
                )
            },
            findings=(
                Expected(_SOUND, 15, "'y' keeps it: a tuple cannot be calculated with"),
                Expected(_SOUND, 19, "'q' keeps it: a tuple has no '.squeeze'"),
                Expected(_SOUND, 21, "'w' keeps it: a tuple has no '.float'"),
                Expected(_SOUND, 22, "a tuple cannot be calculated with"),
            ),
            fixed={
                _SOUND: _block(
                    "y, _ = self.to_q(x)\nprint(y)\nz = y\nif x.ndim == 3:\n    q, _ = self.to_q(x)\n"
                    "    x = q.squeeze(0)\nw = self.to_q(x)[0] if x.ndim else x\nx += self.to_q(x)[0]\n"
                    "return -z + w.float()"
                )
            },
        ),
        Example(
            "joined, attended to and sliced like tensors",
            {
                _SOUND: _block(
                    "q = self.to_q(x)\nk = self.to_q(x)\nqk = torch.cat([x, self.to_q(x)], dim=-1)\n"
                    "x = F.scaled_dot_product_attention(x, q, k)\nreturn self.to_q(x)[..., :2] + "
                    "self.to_q(x)[2]"
                )
            },
            findings=(
                Expected(_SOUND, 15, "'F.scaled_dot_product_attention' takes a tensor"),
                Expected(_SOUND, 16, "'F.scaled_dot_product_attention' takes a tensor"),
                Expected(_SOUND, 17, "'torch.cat' takes tensors"),
                Expected(_SOUND, 19, "a tuple has no axes to index"),
                Expected(_SOUND, 19, "it has no element 2"),
            ),
        ),
        Example(
            "an element of a list, as diffusers names its output projection",
            {
                _SOUND: _block(
                    "x = self.to_out[0](x)\nx = self.to_out[1](x)\nreturn x",
                    "self.to_out = nn.ModuleList([ReplicatedLinear(dim, dim), nn.Dropout(0.0)])",
                )
            },
            findings=(Expected(_SOUND, 15, "'self.to_out[1]' takes a tensor"),),
            fixed={
                _SOUND: _block(
                    "x, _ = self.to_out[0](x)\nx = self.to_out[1](x)\nreturn x",
                    "self.to_out = nn.ModuleList([ReplicatedLinear(dim, dim), nn.Dropout(0.0)])",
                )
            },
        ),
        Example(
            "an nn.Sequential that ends in a linear, a module list, a local name and a helper",
            {
                _SOUND: _block(
                    "mod = self.modulation(x)\nx = x * mod.unsqueeze(1)\nfor layer in self.layers:\n    x = "
                    "layer(x)\n"
                    "proj = self.to_q\nx = x + proj(x)\nreturn x + self.project(x)",
                    "self.to_q = ReplicatedLinear(dim, dim)\n"
                    "self.modulation = nn.Sequential(nn.SiLU(), ReplicatedLinear(dim, dim))\n"
                    "self.layers = nn.ModuleList([ReplicatedLinear(dim, dim) for _ in range(2)])",
                )
                + "\n    def project(self, x):\n        return self.to_q(x)\n"
            },
            findings=(
                Expected(_SOUND, 17, "an nn.Sequential that ends in ReplicatedLinear"),
                Expected(_SOUND, 20, "the next layer gets that tuple as 'x'"),
                Expected(_SOUND, 22, "a tuple cannot be calculated with"),
                Expected(_SOUND, 23, "'self.project' returns what 'self.to_q' gives"),
            ),
        ),
    ),
)
