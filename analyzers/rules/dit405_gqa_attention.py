"""DIT405 gqa-attention: a distributed attention that is given fewer key/value heads than it can take."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from analyzers.facts.model import ClassFacts, FunctionFacts, Placed
from analyzers.facts.walking import walk_tree
from analyzers.findings import Finding, Location, Related, Severity
from analyzers.project.heads import Count, Scope, is_fewer
from analyzers.project.layers import submodule
from analyzers.rules.base import Context, Example, Expected, Rule, Tier

_REPEATS = ("repeat", "expand")
"""What brings key and value to as many heads as the query has: `repeat_interleave`, `repeat_kv`, `expand`."""

_RESHAPES = frozenset({"view", "reshape", "unflatten"})


def check(context: Context) -> Iterator[Finding]:
    """Looks at where such an attention is built, and at what it is called with."""
    classes = context.profile.stacking_attentions
    words = context.project.sources.words(context.file.path)
    if words.isdisjoint(name.rpartition(".")[2] for name in classes):
        return
    for cls, method in context.file.all_functions():
        if cls is None:
            continue
        for fact in method.fact.calls:
            callee = fact.call.callee
            if callee is None:
                continue
            own = callee.startswith("self.")
            made = context.names.class_of(context.file.path, callee) if not own else None
            if made is not None and context.names.qualified_class(made) in classes:
                yield from _built(
                    context, cls, method, made, Location(method.path, method.at(fact.call.span).span)
                )
            elif own and len(fact.call.arguments) >= 2:
                yield from _called(context, cls, method, callee, method.at(fact.call.span))


# --------------------------------------------------------------------------- built


def _built(
    context: Context,
    cls: Placed[ClassFacts],
    method: Placed[FunctionFacts],
    made: Placed[ClassFacts],
    at: Location,
) -> Iterator[Finding]:
    if _repeats(cls.fact):
        return
    scope = Scope(context.project, cls, method, {})
    body = scope.body()
    init = made.fact.method("__init__")
    call = next(
        (node for node in body.nodes if isinstance(node, ast.Call) and body.at(node).span == at.span)
        if body is not None
        else iter(()),
        None,
    )
    if call is None or init is None:
        return
    names = [p.name for p in init.parameters[1:]]
    given = dict(zip(names, call.args, strict=False)) | {k.arg: k.value for k in call.keywords if k.arg}
    heads, some = given.get("num_heads"), given.get("num_kv_heads")
    if heads is None or some is None or any(isinstance(a, ast.Starred) for a in call.args):
        return
    found = scope.count(some), scope.count(heads)
    built_at: tuple[Related, ...] = ()
    if not is_fewer(*found) and method.fact.name == "__init__":
        for inner, place in scope.constructions():
            found = inner.count(some), inner.count(heads)
            if is_fewer(*found):
                built_at = (Related(place, f"{cls.fact.name} is built here"),)
                break
    if is_fewer(*found):
        yield context.finding(
            at,
            f"'{made.fact.name}' is built with {_text(found[0], some)} key/value heads for "
            f"{_text(found[1], heads)} query heads, and stacks query, key and value into one tensor: they do "
            "not fit together",
            symbol=cls.fact.name,
            related=(Related(made.at(made.fact.name_span), f"{made.fact.name} is defined here"), *built_at),
        )


def _text(count: Count | None, node: ast.expr) -> str:
    return str(count) if isinstance(count, int) else f"'{ast.unparse(node)}'"


def _repeats(cls: ClassFacts) -> bool:
    """Whether some method of the class makes more heads out of fewer."""
    return any(
        part in str(fact.call.callee or getattr(fact.call.function, "name", "")).lower()
        for method in cls.methods
        for fact in method.calls
        for part in _REPEATS
    )


# --------------------------------------------------------------------------- called


def _called(
    context: Context, cls: Placed[ClassFacts], method: Placed[FunctionFacts], callee: str, at: Location
) -> Iterator[Finding]:
    """A call whose key was reshaped to fewer heads than its query, and not repeated since."""
    chain = callee.partition(".")[2]
    held = submodule(context.names, cls, chain)
    if held is None or held.cls not in context.profile.stacking_attentions or _repeats(cls.fact):
        return
    scope = Scope(context.project, cls, method, {})
    body = scope.body()
    if body is None:
        return
    call = next((n for n in body.nodes if isinstance(n, ast.Call) and body.at(n).span == at.span), None)
    if call is None or not all(isinstance(a, ast.Name) for a in call.args[:2]):
        return
    query, key = (_heads_of(body.tree, a.id, call) for a in call.args[:2] if isinstance(a, ast.Name))
    if query is None or key is None:
        return
    scopes = [(scope, None), *((s, place) for s, place in _constructed(scope))]
    for inner, place in scopes:
        found = inner.count(key), inner.count(query)
        if is_fewer(*found):
            short = held.cls.rpartition(".")[2]
            built = (Related(place, f"{cls.fact.name} is built here"),) if place is not None else ()
            yield context.finding(
                at,
                f"'{callee}' is a {short}, which stacks query, key and value into one tensor, and gets "
                f"{_text(found[0], key)} key/value heads for {_text(found[1], query)} query heads: they do "
                f"not "
                "fit together",
                symbol=f"{cls.fact.name}.{chain}",
                related=(Related(held.location, f"built here as {short}"), *built),
            )
            return


def _constructed(scope: Scope) -> Iterator[tuple[Scope, Location]]:
    """The same method, with what its class is built with: `self.num_heads` depends on that."""
    for inner, place in scope.constructions():
        yield Scope(scope.project, scope.cls, scope.method, inner.given), place


def _heads_of(tree: ast.FunctionDef | ast.AsyncFunctionDef, name: str, call: ast.Call) -> ast.expr | None:
    """The number of heads in the last reshape of a name before the call; None where it is not written out.

    What follows the reshape may be a norm or RoPE: these keep the number of heads.
    """
    found: ast.expr | None = None
    for statement in tree.body:
        if statement.lineno >= call.lineno:
            break
        bound = [n for n in walk_tree(statement) if isinstance(n, ast.Name) and n.id == name and _is_store(n)]
        if not bound:
            continue
        if not isinstance(statement, ast.Assign) or statement.targets != bound:
            found = found if _keeps(statement, name) else None
            continue
        reshaped = [h for n in walk_tree(statement.value) if (h := _reshaped_to(n)) is not None]
        if reshaped:
            found = reshaped[0]
        elif not _keeps(statement, name):
            found = None
    return found


def _keeps(statement: ast.stmt, name: str) -> bool:
    """Whether a statement binds the name to something made from it (`k = self.norm_k(k)`)."""
    for node in walk_tree(statement):
        if isinstance(node, ast.Call) and (_tail(node.func) in ("chunk", "cat", "concat", "stack", "split")):
            return False
    return any(isinstance(n, ast.Name) and n.id == name and not _is_store(n) for n in walk_tree(statement))


def _reshaped_to(node: ast.AST) -> ast.expr | None:
    """The heads in `x.view(b, s, HEADS, d)`, `x.unflatten(-1, (HEADS, -1))` and `rearrange(..., h=HEADS)`."""
    if not isinstance(node, ast.Call):
        return None
    tail = _tail(node.func)
    if tail == "rearrange":
        return next((k.value for k in node.keywords if k.arg in ("h", "heads", "n", "num_heads")), None)
    if tail not in _RESHAPES or not isinstance(node.func, ast.Attribute):
        return None
    if tail == "unflatten":
        sizes = node.args[1] if len(node.args) == 2 else None
        return sizes.elts[0] if isinstance(sizes, (ast.Tuple, ast.List)) and len(sizes.elts) == 2 else None
    sizes_given = node.args
    if len(node.args) == 1 and isinstance(node.args[0], (ast.Tuple, ast.List)):
        sizes_given = node.args[0].elts
    plain = not any(isinstance(a, ast.Starred) for a in sizes_given[1:])
    return sizes_given[-2] if len(sizes_given) >= 3 and plain else None


def _tail(function: ast.expr) -> str:
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def _is_store(name: ast.Name) -> bool:
    return isinstance(name.ctx, ast.Store)


_ATTENTION = "fastvideo/attention/layer.py"
_BLOCK = "fastvideo/models/dits/gqa.py"

_LAYERS = """\
import torch
from torch import nn


class DistributedAttention(nn.Module):

    def __init__(self, num_heads, head_size, num_kv_heads=None, causal=False):
        super().__init__()

    def forward(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor):
        return torch.cat([q, k, v], dim=0), None


class LocalAttention(nn.Module):

    def __init__(self, num_heads, head_size, num_kv_heads=None, causal=False):
        super().__init__()

    def forward(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor):
        return q
"""


def _tree(
    built: str, forward: str = "return self.attn(q, k, v)[0]", block: str = ""
) -> dict[str, str | None]:
    """An attention with the end of that constructor (from line 14) and that `forward`."""

    def body(text: str) -> str:
        return "".join(f"        {line}\n" for line in text.split("\n"))

    return {
        "fastvideo/attention/__init__.py": (
            "from fastvideo.attention.layer import DistributedAttention, LocalAttention\n"
        ),
        _ATTENTION: _LAYERS,
        _BLOCK: f"""\
from einops import rearrange
from torch import nn

from fastvideo.attention import DistributedAttention, LocalAttention
from fastvideo.configs.models.dits import SoundConfig


class GQA(nn.Module):

    def __init__(self, dim: int, num_heads: int, num_kv_heads: int | None = None) -> None:
        super().__init__()
        self.head_dim = dim // num_heads
        self.num_heads = num_heads
{body(built)}
    def forward(self, q, k, v):
{body(forward)}{block}""",
    }


_DISTRIBUTED = (
    "self.attn = DistributedAttention(num_heads=num_heads, head_size=self.head_dim, num_kv_heads={})"
)

_OUTER = """

class Block(nn.Module):

    def __init__(self, config: SoundConfig) -> None:
        super().__init__()
        self.attn = GQA(config.hidden_size, {}, {})
"""

_RESHAPED = (
    "q = q.view(1, -1, self.num_heads, self.head_dim)\n"
    "k = rearrange(k, 'b s (h d) -> b s h d', h=self.num_kv_heads)\n"
    "v = v.unflatten(-1, (self.num_kv_heads, -1))\n"
)

RULE = Rule(
    code="DIT405",
    name="gqa-attention",
    severity=Severity.ERROR,
    tier=Tier.FILE,
    summary="a distributed attention is given fewer key/value heads than it can take",
    what=(
        "Counts the heads where an attention that stacks query, key and value is built (`num_heads`, "
        "`num_kv_heads`) and the heads that query and key are reshaped to before it is called: through "
        "constants, the constructor's parameters, the places where the class is built, and defaults of "
        "config "
        "fields. Reports fewer key/value heads than query heads."
    ),
    why=(
        "`DistributedAttention` takes `num_kv_heads`, and then concatenates query, key and value to exchange "
        "them between ranks in one step. With grouped-query attention the shapes do not fit: the first "
        "forward fails, on one GPU already."
    ),
    how=(
        "Repeat key and value to the number of query heads before the call (`repeat_interleave`), or use "
        "`LocalAttention`, whose backends take fewer heads, and document that the sequence is not split."
    ),
    exceptions=(
        "`LocalAttention` and subclasses with a forward of their own. Classes that repeat or expand heads "
        "somewhere. Counts that are equal, or that cannot be told."
    ),
    source="`fastvideo/attention/layer.py`, `DistributedAttention.forward`",
    check=check,
    valid=(
        Example("as many as there are query heads", _tree(_DISTRIBUTED.format("num_heads"))),
        Example(
            "handed through, and the same where it is built",
            _tree(_DISTRIBUTED.format("num_kv_heads"), block=_OUTER.format(8, 8)),
        ),
        Example(
            "left out where it is built",
            _tree(
                "self.num_kv_heads = num_kv_heads or num_heads\n" + _DISTRIBUTED.format("self.num_kv_heads"),
                block=_OUTER.format(8, "num_kv_heads=None"),
            ),
        ),
        Example(
            "fewer for a local attention",
            _tree(_DISTRIBUTED.format("num_heads // 4").replace("Distributed", "Local")),
        ),
        Example(
            "repeated before the call",
            _tree(
                "self.num_kv_heads = num_heads // 4\n" + _DISTRIBUTED.format("num_heads"),
                _RESHAPED + "k = k.repeat_interleave(4, dim=2)\nv = v.repeat_interleave(4, dim=2)\n"
                "return self.attn(q, k, v)[0]",
            ),
        ),
        Example(
            "counts that cannot be told",
            _tree(
                _DISTRIBUTED.format("num_kv_heads"), block=_OUTER.format("config.num_attention_heads", "dim")
            ),
        ),
    ),
    invalid=(
        Example(
            "a whole fraction of the query heads",
            _tree(_DISTRIBUTED.format("num_heads // 4")),
            findings=(Expected(_BLOCK, 14, "built with 'num_heads // 4' key/value heads for 'num_heads'"),),
        ),
        Example(
            "fewer where the class is built, against the config's default",
            _tree(
                "self.num_kv_heads = num_heads if num_kv_heads is None else num_kv_heads\n"
                + _DISTRIBUTED.format("self.num_kv_heads"),
                block=_OUTER.format("config.num_attention_heads", 2),
            ),
            findings=(Expected(_BLOCK, 15, "built with 2 key/value heads for 4 query heads"),),
        ),
        Example(
            "constants, by position",
            _tree("self.attn = DistributedAttention(24, 128, 8)"),
            findings=(Expected(_BLOCK, 14, "built with 8 key/value heads for 24 query heads"),),
        ),
        Example(
            "a key that is reshaped to fewer heads",
            _tree(
                "self.num_kv_heads = num_kv_heads\nself.norm = nn.Identity()\n"
                "self.attn = DistributedAttention(num_heads=num_heads, head_size=self.head_dim)",
                _RESHAPED + "q = self.norm(q)\nk = self.norm(k)\nout, _ = self.attn(q, k, v)\nreturn out",
                block=_OUTER.format(8, 2),
            ),
            findings=(Expected(_BLOCK, 24, "gets 2 key/value heads for 8 query heads"),),
        ),
    ),
)
