"""The dict that a function builds and returns, statement by statement, as far as its text proves it.

`mapping = {...}`, `mapping[key] = value`, `mapping.update({...})`, `mapping |= {...}` and
`return mapping`; or a display returned as it stands. What else touches the dict makes it unknown.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from analyzers.facts.bodies import Body, Function
from analyzers.facts.comprehensions import written_out
from analyzers.facts.expressions import convert
from analyzers.facts.model import Expr
from analyzers.facts.walking import child_nodes, walk_tree

_BRANCHES = (ast.If, ast.Try, ast.With, ast.AsyncWith)
_LOOPS = (ast.For, ast.AsyncFor, ast.While)
_NESTED = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)


@dataclass(frozen=True)
class BuiltItem:
    """One item, in the order in which it is put in.

    `key` None: everything that `value` holds (`**value`, `.update(value)`). `conditional`: not on
    every path. `repeated`: in a loop. Spans are relative to the function's first line.
    """

    key: Expr | None
    value: Expr
    conditional: bool
    repeated: bool


def built_mapping(body: Body) -> tuple[BuiltItem, ...] | None:
    """The items of the dict that the function returns; None where that cannot be told."""
    returns = [node for node in _own_nodes(body.tree) if isinstance(node, ast.Return)]
    values = [node.value for node in returns if node.value is not None]
    if not returns or len(values) != len(returns):
        return None
    if len(values) == 1 and not isinstance(values[0], ast.Name):
        return (
            tuple(_items(values[0], False, False))
            if isinstance(values[0], (ast.Dict, ast.BinOp, ast.DictComp))
            else None
        )
    names = {value.id for value in values if isinstance(value, ast.Name)}
    if len(names) != 1 or not all(isinstance(value, ast.Name) for value in values):
        return None
    return _Builder(names.pop()).read(body.tree)


class _Builder:
    def __init__(self, name: str) -> None:
        self.name = name
        self.items: list[BuiltItem] = []
        self.understood = 0

    def read(self, function: Function) -> tuple[BuiltItem, ...] | None:
        """The items, unless the name is used in a way that is not followed."""
        parameters = function.args
        if self.name in {a.arg for a in (*parameters.posonlyargs, *parameters.args, *parameters.kwonlyargs)}:
            return None
        if not self._statements(function.body, conditional=False, repeated=False):
            return None
        uses = sum(isinstance(n, ast.Name) and n.id == self.name for n in walk_tree(function))
        return tuple(self.items) if uses == self.understood else None

    def _statements(self, body: Iterable[ast.stmt], *, conditional: bool, repeated: bool) -> bool:
        for statement in body:
            if isinstance(statement, (*_BRANCHES, *_LOOPS)):
                looped = repeated or isinstance(statement, _LOOPS)
                for part in _parts(statement):
                    if not self._statements(part, conditional=True, repeated=looped):
                        return False
            elif not self._statement(statement, conditional, repeated):
                return False
        return True

    def _statement(self, node: ast.stmt, conditional: bool, repeated: bool) -> bool:
        """Whether a statement is understood, or does not concern the dict."""
        if isinstance(node, ast.Return):
            self.understood += 1
            return True
        if isinstance(node, (ast.Assign, ast.AnnAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            if len(targets) == 1 and node.value is not None:
                return self._assigned(targets[0], node.value, conditional, repeated)
        elif isinstance(node, ast.AugAssign) and self._is_dict(node.target):
            if not isinstance(node.op, ast.BitOr):
                return False
            self._add(node.value, conditional, repeated)
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            call = node.value
            function = call.func
            if isinstance(function, ast.Attribute) and self._is_dict(function.value):
                if function.attr != "update" or len(call.args) != 1 or call.keywords:
                    return False
                self._add(call.args[0], conditional, repeated)
        return True

    def _assigned(self, target: ast.expr, value: ast.expr, conditional: bool, repeated: bool) -> bool:
        if isinstance(target, ast.Subscript) and self._is_dict(target.value):
            self.understood += 1
            self.items.append(BuiltItem(convert(target.slice), convert(value), conditional, repeated))
        elif self._is_dict(target):
            if self.items or conditional:
                return False  # begun twice
            self._add(value, conditional, repeated)
        return True

    def _add(self, value: ast.expr, conditional: bool, repeated: bool) -> None:
        self.understood += 1
        self.items.extend(_items(value, conditional, repeated))

    def _is_dict(self, node: ast.expr) -> bool:
        return isinstance(node, ast.Name) and node.id == self.name


def _items(value: ast.expr, conditional: bool, repeated: bool) -> Iterator[BuiltItem]:
    if isinstance(value, ast.DictComp) and (items := written_out(value)) is not None:
        for name, made in items:
            yield BuiltItem(convert(name), convert(made), conditional, repeated)
        return
    if not isinstance(value, ast.Dict):
        yield BuiltItem(None, convert(value), conditional, repeated)
        return
    for key, item in zip(value.keys, value.values, strict=True):
        known = convert(key) if key is not None else None
        yield BuiltItem(known, convert(item), conditional, repeated)


def _parts(statement: ast.stmt) -> Iterator[list[ast.stmt]]:
    for field in ("body", "orelse", "finalbody"):
        yield getattr(statement, field, [])
    for handler in getattr(statement, "handlers", []):
        yield handler.body


def _own_nodes(function: Function) -> Iterator[ast.AST]:
    """The nodes of a function, those of functions and classes inside left out."""
    pending: list[ast.AST] = list(function.body)
    while pending:
        node = pending.pop()
        yield node
        if not isinstance(node, _NESTED):
            pending.extend(child_nodes(node))
