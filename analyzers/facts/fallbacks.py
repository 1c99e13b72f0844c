"""Handlers that quietly put one implementation in place of another, and inputs that quietly become None.

Everything here is read from one tree. A handler is silent when it neither raises nor tells: no logging
call, no warning, and the exception it caught is not kept.
"""

from __future__ import annotations

import ast
import builtins
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from analyzers.facts.bodies import Body
from analyzers.facts.expressions import dotted_name
from analyzers.facts.walking import walk_tree
from analyzers.findings import Span

_BROAD = ("Exception", "BaseException")
# fmt: off
_TELLING = frozenset({
    "critical", "debug", "error", "exception", "fatal", "info", "info_once", "log", "print", "print_exc",
    "warn", "warn_once", "warning", "warning_once",
})
_CONVERTING = frozenset({
    "decode", "encode", "environ.get", "get", "getenv", "index", "item", "join", "load", "loads", "lower",
    "open", "pop", "read", "read_text", "split", "strip", "upper",
})
# fmt: on
"""Methods whose failure is about data, not about an implementation."""


@dataclass(frozen=True, slots=True)
class SilentHandler:
    """A bare or broad handler that swaps what its `try` does.

    `span`: of the `except` (or `suppress`) up to its colon's line. `caught`: how it is written. `kind`:
    `import`, `value`, `return`, `kept` (the value stays what it was) or `flag`. `names`: what is swapped.
    """

    span: Span
    caught: str
    kind: str
    names: tuple[str, ...]


def silent_handlers(body: Body) -> tuple[SilentHandler, ...]:
    """The silent handlers of a function, functions inside it included."""
    return tuple(_in_block(body.tree.body, in_loop=False))


def silent_module_handlers(module: ast.Module) -> tuple[SilentHandler, ...]:
    """The silent handlers of a module's own statements."""
    return tuple(_in_block(module.body, in_loop=False, definitions=False))


def _in_block(
    statements: Sequence[ast.stmt], *, in_loop: bool, definitions: bool = True
) -> Iterator[SilentHandler]:
    for index, statement in enumerate(statements):
        if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)) and not definitions:
            continue
        follows = index + 1 < len(statements) and not in_loop
        if isinstance(statement, ast.Try):
            for handler in statement.handlers:
                if _is_broad(handler.type):
                    caught = f"except {ast.unparse(handler.type)}" if handler.type else "a bare except"
                    around = (statements[:index], statements[index + 1 :])
                    yield from _judged(statement.body, handler, handler.body, caught, follows, around)
        elif isinstance(statement, ast.With):
            caught_by = next((c for item in statement.items if (c := _suppressed(item.context_expr))), None)
            if caught_by is not None:
                around = (statements[:index], statements[index + 1 :])
                yield from _judged(
                    statement.body, statement.items[0].context_expr, [], caught_by, follows, around
                )
        loop = in_loop or isinstance(statement, (ast.For, ast.While, ast.AsyncFor))
        for block in _blocks(statement):
            yield from _in_block(block, in_loop=loop, definitions=definitions)


def _judged(
    tried: Sequence[ast.stmt],
    at: ast.ExceptHandler | ast.expr,
    handling: Sequence[ast.stmt],
    caught: str,
    follows: bool,
    around: tuple[Sequence[ast.stmt], Sequence[ast.stmt]],
) -> Iterator[SilentHandler]:
    if isinstance(at, ast.ExceptHandler) and _tells(at):
        return
    found = _swap(tried, handling, follows, *around)
    if found is not None:
        span = Body.span(at)
        if isinstance(at, ast.ExceptHandler):
            header = at.type if at.type is not None else None
            end = Body.span(header) if header is not None else None
            span = Span(
                span.line,
                span.column,
                end.end_line if end else span.line,
                end.end_column if end else span.column + len("except"),
            )
        yield SilentHandler(span, caught, *found)


def _swap(
    tried: Sequence[ast.stmt],
    handling: Sequence[ast.stmt],
    follows: bool,
    before: Sequence[ast.stmt],
    after: Sequence[ast.stmt],
) -> tuple[str, tuple[str, ...]] | None:
    """What a silent handler swaps, or None where it only gives data a default."""
    imports = [n for s in tried for n in walk_tree(s) if isinstance(n, (ast.Import, ast.ImportFrom))]
    if imports:
        wanted = (m for n in imports for m in _modules(n))
        return "import", tuple(dict.fromkeys(wanted))
    bound, other = dict(_bound(tried)), dict(_bound(handling))
    computed = {name: value for name, value in bound.items() if _computes(value)}
    swapped = tuple(
        name
        for name, value in other.items()
        if name in computed and (_computes(value) or _is_given(value, computed[name]))
    )
    if swapped:
        return "value", swapped
    if computed and any(name in bound and _is_flag(v) and _is_flag(bound[name]) for name, v in other.items()):
        return "flag", tuple(computed)
    returned = [n.value for s in tried for n in walk_tree(s) if isinstance(n, ast.Return) and n.value]
    computing = [value for value in returned if _computes(value)]
    if computing:
        instead = [n.value for s in handling for n in walk_tree(s) if isinstance(n, ast.Return) and n.value]
        if any(_computes(v) or any(_is_given(v, c) for c in computing) for v in instead):
            return "return", ()
        if follows and all(isinstance(s, ast.Pass) for s in handling):
            return "return", ()
    if all(isinstance(s, ast.Pass) for s in handling):
        earlier = {name for name, value in _bound(before) if _computes(value)}
        kept = tuple(name for name, value in computed.items() if name in earlier or _reads(value, name))
        if kept:
            return "kept", kept
    unset = {name for name, value in other.items() if _is_none(value)}
    if all(isinstance(s, ast.Pass) for s in handling):
        unset |= {name for name, value in dict(_bound(before)).items() if _is_none(value)}
    refilled = tuple(name for name in computed if name in unset and _fills(after, name))
    if refilled:
        return "value", refilled
    return None


# --------------------------------------------------------------------------- small questions


def _modules(node: ast.Import | ast.ImportFrom) -> list[str]:
    if isinstance(node, ast.ImportFrom):
        return ["." * node.level + (node.module or "")]
    return [alias.name for alias in node.names]


def _is_broad(caught: ast.expr | None) -> bool:
    if caught is None:
        return True
    kinds = caught.elts if isinstance(caught, ast.Tuple) else [caught]
    return any((dotted_name(kind) or "").rpartition(".")[2] in _BROAD for kind in kinds)


def _suppressed(manager: ast.expr) -> str | None:
    """`suppress(Exception)` as it is written, or None."""
    if (
        not isinstance(manager, ast.Call)
        or (dotted_name(manager.func) or "").rpartition(".")[2] != "suppress"
    ):
        return None
    return ast.unparse(manager) if any(map(_is_broad, manager.args)) else None


def _tells(handler: ast.ExceptHandler) -> bool:
    for statement in handler.body:
        for node in walk_tree(statement):
            if isinstance(node, ast.Name) and node.id == handler.name:
                return True
    return any(map(is_telling, handler.body))


def is_telling(statement: ast.stmt) -> bool:
    """Whether a statement raises, logs, warns or prints."""
    for node in walk_tree(statement):
        if isinstance(node, ast.Raise):
            return True
        if isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else dotted_name(node.func)
            if name in _TELLING or (name or "").startswith(("log_", "warn_")):
                return True
    return False


def _bound(statements: Sequence[ast.stmt]) -> Iterator[tuple[str, ast.expr]]:
    """Names and attributes that plain assignments of a block (at any depth) bind, with the value."""
    for statement in statements:
        for node in walk_tree(statement):
            if isinstance(node, ast.Assign):
                targets, value = node.targets, node.value
            elif isinstance(node, ast.AnnAssign) and node.value is not None:
                targets, value = [node.target], node.value
            else:
                continue
            for target in targets:
                for single in target.elts if isinstance(target, (ast.Tuple, ast.List)) else [target]:
                    name = dotted_name(single)
                    if name is not None:
                        yield name, value


def _computes(value: ast.expr) -> bool:
    """Whether a value comes from an implementation: a call that is no conversion, or arithmetic on one."""
    for node in walk_tree(value):
        if isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else dotted_name(node.func)
            if name is not None and name not in _CONVERTING and not hasattr(builtins, name):
                return True
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.MatMult):
            return True
    return False


def _is_given(value: ast.expr, call: ast.expr) -> bool:
    """Whether a value is a plain name that the call it stands in for was given: the step is skipped."""
    name = dotted_name(value)
    return name is not None and any(
        dotted_name(argument) == name
        for node in walk_tree(call)
        if isinstance(node, ast.Call)
        for argument in [*node.args, *(k.value for k in node.keywords)]
    )


def _is_none(value: ast.expr) -> bool:
    return isinstance(value, ast.Constant) and value.value is None


def _fills(statements: Sequence[ast.stmt], name: str) -> bool:
    """Whether statements compute something else where a name is None."""
    for statement in statements:
        for node in ast.walk(statement):
            if not isinstance(node, (ast.If, ast.IfExp)) or not _asks_for_none(node.test, name):
                continue
            if isinstance(node, ast.IfExp):
                return _computes(node.body) or _computes(node.orelse)
            return any(name == bound and _computes(value) for bound, value in _bound(node.body)) or any(
                isinstance(inner, ast.Return) and inner.value is not None and _computes(inner.value)
                for part in node.body
                for inner in ast.walk(part)
            )
    return False


def _asks_for_none(test: ast.expr, name: str) -> bool:
    return (
        isinstance(test, ast.Compare)
        and dotted_name(test.left) == name
        and len(test.ops) == 1
        and isinstance(test.ops[0], (ast.Is, ast.IsNot))
        and _is_none(test.comparators[0])
    )


def _is_flag(value: ast.expr) -> bool:
    return isinstance(value, ast.Constant) and (value.value is None or isinstance(value.value, bool))


def _reads(value: ast.expr, name: str) -> bool:
    return any(dotted_name(n) == name for n in walk_tree(value) if isinstance(n, (ast.Name, ast.Attribute)))


def _blocks(statement: ast.stmt) -> Iterator[list[ast.stmt]]:
    for name in ("body", "orelse", "finalbody"):
        block = getattr(statement, name, None)
        if isinstance(block, list):
            yield block
    for handler in getattr(statement, "handlers", ()):
        yield handler.body
    for case in getattr(statement, "cases", ()):
        yield case.body
