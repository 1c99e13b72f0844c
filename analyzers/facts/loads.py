"""Non-strict loads of a state dict in one function, and whether anybody looks at what was left out."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass

from analyzers.facts.bodies import Body
from analyzers.facts.name_uses import Parents, ends, is_looked_at, tail
from analyzers.facts.walking import walk_tree
from analyzers.findings import Span

_LOADS = frozenset({"load_state_dict", "load_model", "set_model_state_dict", "load_checkpoint_and_dispatch"})
_LEFT_OUT = re.compile(
    r"missing|unexpected|mismatch|unmatched|unloaded|not_loaded|unmapped|leftover|left_over|uncovered|unused"
    r"|extra|absent|skipped|incompatible"
)


@dataclass(frozen=True)
class LooseLoad:
    """A load with `strict=False` after which nothing acts on the missing and unexpected keys.

    `kept`: the names that they are given, None where the result is dropped. Spans are relative to
    the function's first line.
    """

    function: str
    kept: tuple[str, ...] | None
    span: Span


def loose_loads(body: Body) -> tuple[LooseLoad, ...]:
    """The non-strict loads of a function that nobody checks, in the order of the text."""
    if "strict" not in body.text and "load_state_dict" not in body.text:
        return ()
    parents = Parents(body.tree)
    found: list[LooseLoad] = []
    for node in body.nodes:
        if isinstance(node, ast.Call) and tail(node) in _LOADS and _is_loose(node, body.tree):
            kept = _unchecked(parents, node)
            if kept != ("checked",):
                found.append(LooseLoad(tail(node), kept or None, Body.span(node)))
    return tuple(sorted(found, key=lambda load: load.span))


def _is_loose(call: ast.Call, function: ast.AST) -> bool:
    strict: ast.expr | None = next((k.value for k in call.keywords if k.arg == "strict"), None)
    if strict is None and tail(call) == "load_state_dict" and len(call.args) > 1:
        strict = call.args[1]
    if strict is None:
        options = next((k.value for k in call.keywords if k.arg == "options"), None)
        if isinstance(options, ast.Call):
            strict = next((k.value for k in options.keywords if k.arg == "strict"), None)
    return isinstance(strict, ast.Constant) and strict.value is False


def _unchecked(parents: Parents, call: ast.Call) -> tuple[str, ...]:
    """The names that nobody looks at (none: the result is dropped), or `("checked",)`."""
    checked = ("checked",)
    if _is_checked_by_hand(parents, call):
        return checked
    above = list(parents.above(call))
    statement = next((n for n in above if isinstance(n, ast.stmt)), None)
    if isinstance(statement, ast.Expr) and statement.value is call:
        return ()
    if isinstance(statement, ast.Assign) and statement.value is call and len(statement.targets) == 1:
        target = statement.targets[0]
        names = [n for n in walk_tree(target) if isinstance(n, ast.Name)]
        plain = isinstance(target, ast.Name) or (
            isinstance(target, (ast.Tuple, ast.List)) and all(isinstance(e, ast.Name) for e in target.elts)
        )
        if plain and not any(is_looked_at(parents, n.id) for n in names):
            return tuple(n.id for n in names if not n.id.startswith("_"))
        return checked
    direct = above[0] if above else None
    if isinstance(direct, ast.Call) and tail(direct) == "print":
        return ()
    return checked


def _is_checked_by_hand(parents: Parents, call: ast.Call) -> bool:
    """Whether the function compares keys on its own, or asserts something about what it loads."""
    result = {
        n for a in parents.above(call) if isinstance(a, ast.Assign) for t in a.targets for n in walk_tree(t)
    }
    loaded = {n.id for a in call.args[:2] for n in walk_tree(a) if isinstance(n, ast.Name)}
    owner = call.func.value if isinstance(call.func, ast.Attribute) else None
    for node in walk_tree(parents.tree):
        if isinstance(node, ast.Name) and node not in result and _counts_keys(parents, node):
            return True
        test: ast.expr | None = None
        if isinstance(node, ast.Assert) or (isinstance(node, ast.If) and ends(node.body)):
            test = node.test
        if test is not None and _speaks_of_keys(test, loaded, owner):
            return True
    return False


def _counts_keys(parents: Parents, name: ast.Name) -> bool:
    """Whether a name is given the keys that were left out, by hand, and somebody looks at them."""
    return (
        isinstance(name.ctx, ast.Store)
        and _LEFT_OUT.search(name.id) is not None
        and not _from_load(parents, name)
        and is_looked_at(parents, name.id)
    )


def _from_load(parents: Parents, name: ast.Name) -> bool:
    """Whether a name is the result of another load, which speaks for that one alone."""
    for outer in parents.above(name):
        if isinstance(outer, ast.Assign):
            return any(isinstance(n, ast.Call) and tail(n) in _LOADS for n in walk_tree(outer.value))
    return False


def _speaks_of_keys(test: ast.expr, loaded: set[str], owner: ast.expr | None) -> bool:
    """Whether a condition compares the loaded keys with something (not only that there are some)."""
    for node in walk_tree(test):
        if isinstance(node, ast.Call) and tail(node) in ("state_dict", "keys", "named_parameters"):
            return True
        if isinstance(node, ast.Compare):
            names = {n.id for n in walk_tree(node) if isinstance(n, ast.Name)}
            sizes = any(isinstance(c, ast.Constant) and c.value in (0, None) for c in node.comparators)
            if names & loaded and not sizes:
                return True
    return False
