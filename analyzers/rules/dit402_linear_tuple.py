"""DIT402 linear-tuple: the tuple of a FastVideo linear used as a tensor, or a tensor unpacked."""

from __future__ import annotations

from collections.abc import Iterator

from analyzers.facts.model import Call, CallFact, ClassFacts, FunctionFacts, Placed, Reference, Use
from analyzers.findings import Finding, Location, Related, Severity
from analyzers.project.layers import IDENTITY, LINEAR, built_class, canonical, submodule, wants_tensor
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
# fmt: on
"""Functions of `torch` that reject a tuple. `cat`, `stack`, `einsum` take one."""


def check(context: Context) -> Iterator[Finding]:
    """Looks at every call of a submodule whose class is proven, and at `nn.Sequential`s that are called."""
    for cls, method in context.file.all_functions():
        if cls is None:
            continue
        for fact in method.fact.calls:
            yield from _in_sequential(context, cls, method, fact)
            yield from _call_of_submodule(context, cls, method, fact)


def _call_of_submodule(
    context: Context, cls: Placed[ClassFacts], method: Placed[FunctionFacts], fact: CallFact
) -> Iterator[Finding]:
    if fact.use.kind not in _KINDS:
        return
    chain = _chain_on_self(method.fact, fact.call.callee)
    held = submodule(context.names, cls, chain) if chain is not None else None
    if held is None or held.cls is None:
        return
    message = None
    short = held.cls.rpartition(".")[2]
    if held.cls in context.profile.tuple_linears:
        wrong = _misuse(context, cls, method.fact, fact, fact.use)
        if wrong is not None:
            message = (
                f"'self.{chain}' is a {short}: it returns the tuple (output, bias), and {wrong}; "
                f"unpack it first (`out, _ = self.{chain}(...)`)"
            )
    elif held.cls == LINEAR and fact.use.kind == "unpack" and fact.use.detail == 2:
        message = (
            f"'self.{chain}' is an nn.Linear: it returns one tensor, and unpacking that splits its first "
            "axis instead of giving (output, bias)"
        )
    if message is not None:
        yield context.finding(
            method.at(fact.call.span),
            message,
            symbol=f"{cls.fact.name}.{chain}",
            related=(Related(held.location, f"built here as {short}"),),
        )


_KINDS = frozenset({"operand", "attribute", "argument", "unpack", "name", "return"})


def _misuse(
    context: Context, cls: Placed[ClassFacts], method: FunctionFacts, fact: CallFact, use: Use
) -> str | None:
    """How a use of the tuple must fail, or None where it may be meant."""
    if use.kind == "name":
        wrong = _misuse(context, cls, method, fact, use.then) if use.then is not None else None
        return f"'{use.detail}' keeps it: {wrong}" if wrong is not None else None
    if use.kind == "operand":
        return "a tuple cannot be calculated with"
    if use.kind == "attribute" and isinstance(use.detail, str):
        name = use.detail
        return None if name in _OF_TUPLES or name.startswith("__") else f"a tuple has no '.{name}'"
    if use.kind == "unpack" and isinstance(use.detail, int) and use.detail != 2:
        return f"it is unpacked into {use.detail}"
    if use.kind == "argument" and isinstance(use.detail, str):
        taken = _is_first_argument(method, fact, use.detail) and _takes_tensor(
            context, cls, method, use.detail
        )
        return f"'{use.detail}' takes a tensor" if taken else None
    if use.kind == "return" and _is_returned(method, fact) and _declares_tensor(context, method):
        return f"'{method.name}' declares that it returns a tensor"
    return None


def _is_returned(method: FunctionFacts, fact: CallFact) -> bool:
    """Whether the method itself (no function inside it) returns the result, or the name that keeps it."""
    kept = fact.use.detail if fact.use.kind == "name" else None
    return any(
        value is not None
        and (
            value.span == fact.call.span
            or (isinstance(value, Reference) and value.dotted == kept and value.span > fact.call.span)
        )
        for value in (r.value for r in method.returns)
    )


def _declares_tensor(context: Context, method: FunctionFacts) -> bool:
    declared = method.annotation
    return (
        isinstance(declared, Reference)
        and context.names.qualified(context.file.path, declared.dotted) == "torch.Tensor"
    )


def _is_first_argument(method: FunctionFacts, fact: CallFact, callee: str) -> bool:
    """Whether the result, or the name that keeps it, is what the callee gets first."""
    kept = fact.use.detail if fact.use.kind == "name" else None
    for other in method.calls:
        if other.call.callee != callee or not other.call.arguments:
            continue
        first = other.call.arguments[0]
        if first.span == fact.call.span:
            return True
        if isinstance(first, Reference) and first.dotted == kept and first.span > fact.call.span:
            return True
    return False


def _takes_tensor(context: Context, cls: Placed[ClassFacts], method: FunctionFacts, callee: str) -> bool:
    """Whether the callee is proven to reject a tuple as its first argument."""
    chain = _chain_on_self(method, callee)
    if chain is not None:
        held = submodule(context.names, cls, chain)
        # With an Identity as the other choice, the tuple is wrong as soon as the layer is turned on.
        wanting = held.classes - {IDENTITY} if held is not None else frozenset()
        return bool(wanting) and all(_is_tensor_module(context, c) for c in wanting)
    if method.parameter(callee.partition(".")[0]) is not None:
        return False
    found = context.names.resolve(context.file.path, callee)
    if not isinstance(found, External):
        return False
    module, _, name = found.dotted.rpartition(".")
    return (
        module == "torch.nn.functional"
        or (module == "torch" and name in _TAKES_A_TENSOR)
        or (module == "einops" and name in ("rearrange", "reduce", "repeat"))
    )


def _is_tensor_module(context: Context, qualified: str) -> bool:
    return qualified in context.profile.tuple_linears or wants_tensor(context.names, qualified)


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
        "Follows the result of `self.layer(x)` where `self.layer` is proven to be a FastVideo linear "
        "(every assignment in the class and its bases builds it). Reports arithmetic on the result, a "
        "tensor method or attribute of it, a `torch`, `torch.nn.functional` or einops function or a module "
        "that gets it where it declares a tensor, unpacking into another number than two, returning it from "
        "a method that is declared to return a tensor, and a called `nn.Sequential` that hands the tuple "
        "on. The other way round, reports `out, _ = self.layer(x)` where `self.layer` is an `nn.Linear`."
    ),
    why=(
        "FastVideo's linears return `(output, bias)`, `nn.Linear` a tensor. Using the tuple as a tensor "
        "fails in the first forward. Unpacking a tensor is worse: it walks the batch axis, so it fails "
        "for every batch but two, and at two it quietly takes one sample for the output."
    ),
    how="Write `out, _ = self.layer(x)` for FastVideo's linears, `out = self.layer(x)` for `nn.Linear`.",
    exceptions=(
        "Results that are returned without a declaration, stored, indexed or passed to a module whose "
        "class is not known: the tuple may be wanted there. An `nn.Sequential` that is stepped through by "
        "hand. An attribute that holds different classes in different branches. Subclasses of the linears, "
        "which may return something else."
    ),
    source="`fastvideo/layers/linear.py`, `ReplicatedLinear.forward`",
    check=check,
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
        ),
        Example(
            "returned as the tensor that the method declares",
            {_SOUND: _block("x = self.to_q(x)\nreturn x")},
            findings=(Expected(_SOUND, 15, "'x' keeps it: 'forward' declares that it returns a tensor"),),
        ),
        Example(
            "kept under a name that is then reshaped",
            {_SOUND: _block("query = self.to_q(x)\nreturn query.view(1, -1)")},
            findings=(Expected(_SOUND, 15, "'query' keeps it: a tuple has no '.view'"),),
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
        ),
    ),
)
