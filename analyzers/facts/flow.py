"""What becomes of the inputs and the values of a function: which of them nothing ever reads.

A backward pass over the function's tree, branch by branch. A name is *needed* at a place where some
path from there reads its value for something that matters: what is returned, raised or stored
elsewhere, a call that may do something, a condition that decides about such. Both arms of every
branch count as paths. Where the flow cannot be followed (nested functions, `locals()`), names count
as needed.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeAlias

from analyzers.facts.bodies import Body, Function
from analyzers.facts.expressions import dotted_name
from analyzers.facts.flow_names import (
    Known,
    acting_names,
    acts,
    captured_names,
    constant_index,
    constant_truth,
    free_names,
    needed_names,
    same,
)
from analyzers.facts.walking import child_nodes, walk_tree
from analyzers.findings import Span

Live: TypeAlias = "frozenset[str]"

_NOTHING: Final[Live] = frozenset()

_LET_THROUGH: Final = frozenset(
    {
        "amp_autocast",
        "autocast",
        "device",
        "enable_grad",
        "inference_mode",
        "no_grad",
        "nullcontext",
        "record_function",
        "sdpa_kernel",
        "set_forward_context",
        "set_grad_enabled",
    }
)
"""Context managers, by the last part of their name, that swallow no exception."""

UNREAD = "unread"
OVERWRITTEN = "overwritten"
IDLE = "idle"


@dataclass(frozen=True)
class DeadParameter:
    """A parameter whose value makes no difference.

    `how`: `unread` (no statement reads the name), `overwritten` (every path gives the name another
    value before it reads it), `idle` (it is read, but only for values that nothing needs, or to choose
    between branches that do the same). `place`: the first store for `overwritten`, the first read for
    `idle`. `disowned`: the text deletes it or stores it under `_`, which says that it is unused.
    `alone`: no other parameter begins on its line.
    """

    name: str
    how: str
    span: Span
    place: Span | None
    disowned: bool
    alone: bool


@dataclass(frozen=True)
class Dropped:
    """The value of a call, or one element of it, that no path reads.

    `callee` as written (`self.audio_head`); `name`: the local name that held it, None where the call
    is a statement of its own; `element`: the index where the value is unpacked, with `elements` the
    names of all targets.
    """

    callee: str
    name: str | None
    element: int | None
    elements: tuple[str, ...]
    span: Span


@dataclass(frozen=True)
class Flow:
    """`dead`: parameters in order; `dropped`: values of calls in order of the text. `silent`: calling
    the function is known to do nothing but give its value.
    """

    dead: tuple[DeadParameter, ...]
    dropped: tuple[Dropped, ...]
    silent: bool


def flow_of(body: Body, known: Known) -> Flow:
    """The flow through a function, given what is known of the functions that it calls."""
    tree = body.tree
    captured = captured_names(tree)
    if captured is None or is_stub(tree):
        return Flow((), (), silent=False)
    strong = _Pass(known, captured, strong=True)
    alive = strong.function(tree)
    wanted = [p for p in _inputs(tree) if p.arg not in alive and p.arg not in captured]
    plain = _Pass(known, captured, strong=False).function(tree) if wanted else _NOTHING
    dead = tuple(_dead(tree, p, plain) for p in wanted)
    dropped = tuple(sorted(_dropped(tree, strong), key=lambda d: d.span))
    return Flow(dead, dropped, _is_silent(tree, known))


def reads_name(body: Body, name: str) -> bool:
    """Whether a function reads a name of its own anywhere, nested functions included."""
    mentions = (n for s in body.tree.body for n in _mentions(s, name))
    return any(isinstance(n.ctx, ast.Load) for n in mentions) or captured_names(body.tree) is None


def is_stub(function: Function) -> bool:
    """Whether a body does nothing by itself: it raises, is empty, or hands back what it was given."""
    body = [s for s in function.body if not (isinstance(s, ast.Expr) and isinstance(s.value, ast.Constant))]
    if len(body) == 1 and isinstance(body[0], ast.Return):
        return body[0].value is None or isinstance(body[0].value, (ast.Name, ast.Constant))
    return all(isinstance(s, (ast.Pass, ast.Raise)) for s in body)


def _is_silent(function: Function, known: Known) -> bool:
    loud = replace(known, quiet=_NOTHING)
    for statement in _own_nodes(function):
        if isinstance(statement, (ast.Assign, ast.AnnAssign)):
            targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
            if not all(isinstance(target, ast.Name) for target in _flat(targets)):
                return False
        elif isinstance(statement, (ast.With, ast.AsyncWith)):
            if not all(_lets_through(item.context_expr) for item in statement.items):
                return False
            continue
        elif not isinstance(
            statement, (ast.Expr, ast.Return, ast.If, ast.For, ast.Pass, ast.Continue, ast.Break)
        ):
            return False
        parts = (child for child in child_nodes(statement) if isinstance(child, ast.expr))
        if any(acts(part, loud if isinstance(statement, ast.Expr) else known) for part in parts):
            return False
    return not any(isinstance(d, (ast.Yield, ast.YieldFrom)) for d in walk_tree(function))


def _inputs(function: Function) -> tuple[ast.arg, ...]:
    arguments = function.args
    return (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)


def _dead(function: Function, parameter: ast.arg, plain: Live) -> DeadParameter:
    name = parameter.arg
    parts = [n for s in function.body for n in _mentions(s, name)]
    stores = [n for n in parts if isinstance(n.ctx, ast.Store)]
    reads = [n for n in parts if isinstance(n.ctx, ast.Load)]
    disowned = _is_disowned(function, name)
    how, place = UNREAD, None
    if reads and (name in plain or not stores):
        how, place = IDLE, _first(reads)
    elif stores:
        how, place = OVERWRITTEN, _first(stores)
    alone = sum(p.lineno == parameter.lineno for p in _inputs(function)) == 1
    return DeadParameter(name, how, Body.span(parameter), place, disowned, alone)


def _mentions(node: ast.AST, name: str) -> Iterator[ast.Name]:
    """The places that mean the function's own name, not the loop variable of a comprehension."""
    if isinstance(node, ast.Name) and node.id == name:
        yield node
    children: Iterable[ast.AST] = child_nodes(node)
    if isinstance(node, (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)):
        targets = (t for g in node.generators for t in walk_tree(g.target))
        if any(isinstance(t, ast.Name) and t.id == name for t in targets):
            children = [node.generators[0].iter]
    for child in children:
        yield from _mentions(child, name)


def _first(nodes: Sequence[ast.Name]) -> Span:
    return min(Body.span(node) for node in nodes)


def _is_disowned(function: Function, name: str) -> bool:
    for statement in function.body:
        for node in walk_tree(statement):
            if isinstance(node, ast.Delete):
                if any(isinstance(t, ast.Name) and t.id == name for t in _flat(node.targets)):
                    return True
            elif isinstance(node, ast.Assign):
                underscored = all(
                    isinstance(t, ast.Name) and t.id.startswith("_") for t in _flat(node.targets)
                )
                if underscored and name in free_names(node.value):
                    return True
            elif isinstance(node, ast.Expr):
                bare = isinstance(node.value, (ast.Name, ast.Tuple))
                if bare and name in free_names(node.value):
                    return True
    return False


def _flat(targets: Sequence[ast.expr]) -> Iterator[ast.expr]:
    for target in targets:
        if isinstance(target, (ast.Tuple, ast.List)):
            yield from _flat(target.elts)
        elif isinstance(target, ast.Starred):
            yield from _flat([target.value])
        else:
            yield target


# --------------------------------------------------------------------------- dropped values


def _dropped(function: Function, done: _Pass) -> Iterator[Dropped]:
    for node in _own_nodes(function):
        if id(node) not in done.seen:
            continue
        if isinstance(node, ast.Expr):
            yield from _from_call(node.value, None)
        elif isinstance(node, ast.Assign) and len(node.targets) == 1:
            target = node.targets[0]
            if isinstance(target, ast.Name):
                if id(target) not in done.needed:
                    yield from _from_call(node.value, target)
                for item, used in done.displays.get(id(node.value), ()):
                    if not used:
                        yield from _from_call(item, None)
            elif isinstance(target, (ast.Tuple, ast.List)):
                yield from _unpacked(target.elts, node.value, done)
            elif done.leaves_unread(target):
                yield from _from_call(node.value, None)
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            dropped = id(node.target) not in done.needed
            if dropped and node.value is not None:
                yield from _from_call(node.value, node.target)


def _own_nodes(function: Function) -> Iterator[ast.stmt]:
    """The statements of the function itself, without those of functions and classes inside it."""
    pending: list[ast.AST] = list(function.body)
    while pending:
        node = pending.pop()
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            continue
        if isinstance(node, ast.stmt):
            yield node
        pending.extend(
            child
            for child in child_nodes(node)
            if isinstance(child, (ast.stmt, ast.excepthandler, ast.match_case))
        )


def _from_call(value: ast.expr, target: ast.Name | None) -> Iterator[Dropped]:
    """The call that a dropped value comes from, through steps that only reshape it."""
    call = _source_call(value)
    callee = dotted_name(call.func) if call is not None else None
    if call is not None and callee is not None:
        name = target.id if target is not None else None
        yield Dropped(callee, name, None, (), Body.span(call))


def _source_call(value: ast.expr) -> ast.Call | None:
    """`self.head(x)` in `self.head(x).float()[..., :3]` and `self.head(x)[0]`."""
    while True:
        if isinstance(value, ast.Subscript):
            value = value.value
        elif isinstance(value, ast.Call):
            inner = value.func.value if isinstance(value.func, ast.Attribute) else None
            if isinstance(inner, (ast.Call, ast.Subscript)):
                value = inner
            else:
                return value
        else:
            return None


def _unpacked(targets: list[ast.expr], value: ast.expr, done: _Pass) -> Iterator[Dropped]:
    plain = [t for t in targets if isinstance(t, ast.Name)]
    if len(plain) != len(targets):
        return
    if isinstance(value, (ast.Tuple, ast.List)) and len(value.elts) == len(targets):
        for target, item in zip(plain, value.elts, strict=True):
            if id(target) not in done.needed:
                yield from _from_call(item, target)
        return
    call = _source_call(value)
    callee = dotted_name(call.func) if call is not None else None
    if call is None or callee is None:
        return
    names = tuple(t.id for t in plain)
    for index, target in enumerate(plain):
        if id(target) not in done.needed:
            yield Dropped(callee, target.id, index, names, Body.span(target))


def _displays(function: Function, captured: Live) -> dict[int, tuple[tuple[ast.expr, bool], ...]]:
    """Tuples, lists and dicts that a local name holds to be taken apart by constant index alone.

    By the id of the display: its items, each with whether some index takes it. Only where the name
    is stored once and every other place that mentions it reads such an index.
    """
    mentions: dict[str, int] = {}
    taken: dict[str, list[object]] = {}
    stored: dict[str, list[ast.expr]] = {}
    for node in (n for s in function.body for n in walk_tree(s)):
        if isinstance(node, ast.Name):
            mentions[node.id] = mentions.get(node.id, 0) + 1
        elif isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name):
            index = constant_index(node.slice)
            if index is not None and isinstance(node.ctx, ast.Load):
                taken.setdefault(node.value.id, []).append(index)
        elif (
            isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name)
        ):
            stored.setdefault(node.targets[0].id, []).append(node.value)
    found = {}
    for name, values in stored.items():
        indices = taken.get(name, [])
        if len(values) == 1 and mentions[name] == len(indices) + 1 and name not in captured:
            parts = _items(values[0], indices)
            if parts is not None and indices:
                found[id(values[0])] = parts
    return found


def _boxes(function: Function, captured: Live) -> dict[str, frozenset[object]]:
    """Dicts that a local name holds to be filled and read by constant key alone, with the keys read.

    Only where the name is stored once, and every other place that mentions it stores or reads an entry.
    """
    mentions: dict[str, int] = {}
    entries: dict[str, int] = {}
    read: dict[str, set[object]] = {}
    made: dict[str, int] = {}
    for node in (n for s in function.body for n in walk_tree(s)):
        if isinstance(node, ast.Name):
            mentions[node.id] = mentions.get(node.id, 0) + 1
        elif isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name):
            key = constant_index(node.slice)
            if isinstance(key, str) and not isinstance(node.ctx, ast.Del):
                entries[node.value.id] = entries.get(node.value.id, 0) + 1
                if isinstance(node.ctx, ast.Load):
                    read.setdefault(node.value.id, set()).add(key)
        elif isinstance(node, (ast.Assign, ast.AnnAssign)) and isinstance(node.value, ast.Dict):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            if len(targets) == 1 and isinstance(targets[0], ast.Name):
                made[targets[0].id] = made.get(targets[0].id, 0) + 1
        elif isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Subscript):
            base = node.target.value
            if isinstance(base, ast.Name):  # it reads the entry as well
                read.setdefault(base.id, set()).add(constant_index(node.target.slice))
    return {
        name: frozenset(read.get(name, ()))
        for name, count in made.items()
        if count == 1 and mentions[name] == entries.get(name, 0) + 1 and name not in captured
    }


def _items(value: ast.expr, indices: list[object]) -> tuple[tuple[ast.expr, bool], ...] | None:
    if isinstance(value, (ast.Tuple, ast.List)) and not any(isinstance(e, ast.Starred) for e in value.elts):
        if not all(isinstance(index, int) for index in indices):
            return None
        count = len(value.elts)
        return tuple((e, any(i in (n, n - count) for i in indices)) for n, e in enumerate(value.elts))
    if isinstance(value, ast.Dict) and all(
        isinstance(k, ast.Constant) and isinstance(k.value, str) for k in value.keys
    ):
        keys = [k.value for k in value.keys if isinstance(k, ast.Constant)]
        if len(set(keys)) != len(keys):
            return None
        return tuple((e, k in indices) for k, e in zip(keys, value.values, strict=True))
    return None


# --------------------------------------------------------------------------- the pass


@dataclass(frozen=True)
class _Exits:
    """What is needed where control leaves: for `break`, `continue`, an exception, `return`."""

    breaks: Live = _NOTHING
    continues: Live = _NOTHING
    raises: Live = _NOTHING
    returns: Live = _NOTHING


class _Pass:
    """One backward pass. `strong`: values that nothing needs make nothing needed.

    `needed`: ids of the target names whose value some path reads; `seen`: ids of the statements that
    some path reaches.
    """

    def __init__(self, known: Known, captured: Live, *, strong: bool) -> None:
        self.known = known
        self.loud = replace(known, quiet=_NOTHING)
        self.captured = captured
        self.strong = strong
        self.needed: set[int] = set()
        self.seen: set[int] = set()
        self.displays: dict[int, tuple[tuple[ast.expr, bool], ...]] = {}
        self.boxes: dict[str, frozenset[object]] = {}
        self._matters: set[int] = set()

    def function(self, tree: Function) -> Live:
        """The names needed at the start."""
        if self.strong:
            self.displays = _displays(tree, self.captured)
            self.boxes = _boxes(tree, self.captured)
        return self.block(tree.body, _NOTHING, _Exits())

    def block(self, body: Sequence[ast.stmt], after: Live, exits: _Exits) -> Live:
        """The names needed before statements, given those needed after them."""
        for statement in reversed(body):
            self.seen.add(id(statement))
            after = self.statement(statement, after, exits) | exits.raises
        return after

    def matters(self, body: Sequence[ast.stmt]) -> bool:
        """Whether a statement of a block that was passed over makes a difference."""
        return any(id(statement) in self._matters for statement in body)

    def statement(self, node: ast.stmt, after: Live, exits: _Exits) -> Live:
        if isinstance(node, ast.Expr):
            # A module that is called as a statement is called for what it leaves in its arguments.
            if not self.strong or acts(node.value, self.loud):
                self._matters.add(id(node))
            return after | (acting_names(node.value, self.loud) if self.strong else self.wanted(node.value))
        if isinstance(node, ast.Assign):
            return self.assign(node, node.targets, node.value, after)
        if isinstance(node, ast.AnnAssign):
            return self.assign(node, [node.target], node.value, after) if node.value is not None else after
        if isinstance(node, ast.If):
            return self.if_(node, after, exits)
        if isinstance(node, (ast.Pass, ast.Delete)):
            return self.delete(node, after) if isinstance(node, ast.Delete) else after
        self._matters.add(id(node))
        if isinstance(node, ast.AugAssign):
            # In place on tensors: whoever else holds the object sees it.
            if isinstance(node.target, ast.Name):
                self.needed.add(id(node.target))
                return after | {node.target.id} | self.wanted(node.value)
            return after | self.wanted(node.target) | self.wanted(node.value)
        if isinstance(node, ast.Return):
            return exits.returns | (self.wanted(node.value) if node.value is not None else _NOTHING)
        if isinstance(node, ast.Raise):
            parts = [part for part in (node.exc, node.cause) if part is not None]
            return exits.raises.union(*map(self.wanted, parts))
        if isinstance(node, ast.Break):
            return exits.breaks
        if isinstance(node, ast.Continue):
            return exits.continues
        if isinstance(node, (ast.For, ast.AsyncFor)):
            return self.for_(node, after, exits)
        if isinstance(node, ast.While):
            return self.while_(node, after, exits)
        if isinstance(node, (ast.With, ast.AsyncWith)):
            return self.with_(node, after, exits)
        if isinstance(node, ast.Try) or type(node).__name__ == "TryStar":
            return self.try_(node, after, exits)  # type: ignore[arg-type]
        if isinstance(node, ast.Match):
            return self.match(node, after, exits)
        # Definitions, imports, asserts, declarations: what they evaluate is read.
        return after | self.others(node)

    # ------------------------------------------------------------------ simple statements

    def assign(self, node: ast.stmt, targets: Sequence[ast.expr], value: ast.expr, after: Live) -> Live:
        pairs = _pairs(targets, value)
        before = after
        stored: set[str] = set()
        for target in _flat(targets):
            if isinstance(target, ast.Name) and target.id not in self.captured:
                stored.add(target.id)
        before = before - stored
        for single, given in pairs:
            parts = self.displays.get(id(given))
            if parts is not None and isinstance(single, ast.Name) and single.id in after:
                self.needed.add(id(single))
                self._matters.add(id(node))
                for item, used in parts:
                    before |= self.wanted(item) if used else self.unwanted(item)
                continue
            wanted = False
            for target in _flat([single]):
                if not isinstance(target, ast.Name):
                    if not self.leaves_unread(target):
                        wanted = True
                        before |= self.wanted(target)
                elif target.id in after or target.id in self.captured:
                    self.needed.add(id(target))
                    wanted = True
            if wanted or not self.strong or acts(given, self.known):
                self._matters.add(id(node))
            before |= self.wanted(given) if wanted else self.unwanted(given)
        return before

    def leaves_unread(self, target: ast.expr) -> bool:
        """Whether a store fills an entry of a local dict that nothing reads."""
        if not isinstance(target, ast.Subscript) or not isinstance(target.value, ast.Name):
            return False
        read = self.boxes.get(target.value.id)
        return read is not None and constant_index(target.slice) not in read

    def delete(self, node: ast.Delete, after: Live) -> Live:
        for target in _flat(node.targets):
            if not isinstance(target, ast.Name):
                self._matters.add(id(node))
                after |= self.wanted(target)
        return after

    def others(self, node: ast.stmt) -> Live:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            return free_names(node)
        return frozenset().union(
            *(self.wanted(child) for child in child_nodes(node) if isinstance(child, ast.expr))
        )

    # ------------------------------------------------------------------ compound statements

    def if_(self, node: ast.If, after: Live, exits: _Exits) -> Live:
        decided = constant_truth(node.test)
        if decided is not None:
            self._matters.add(id(node))
            return self.block(node.body if decided else node.orelse, after, exits)
        body = self.block(node.body, after, exits)
        orelse = self.block(node.orelse, after, exits)
        alike = self.strong and bool(node.orelse) and same(node.body, node.orelse)
        decides = (self.matters(node.body) or self.matters(node.orelse)) and not alike
        if not self.strong:
            decides = True
        if decides or alike or acts(node.test, self.known):
            self._matters.add(id(node))
        test = self.wanted(node.test) if decides else self.unwanted(node.test)
        return body | orelse | test

    def for_(self, node: ast.For | ast.AsyncFor, after: Live, exits: _Exits) -> Live:
        done = self.block(node.orelse, after, exits)
        head = done
        targets = frozenset(
            t.id for t in _flat([node.target]) if isinstance(t, ast.Name) and t.id not in self.captured
        )
        others = [t for t in _flat([node.target]) if not isinstance(t, ast.Name)]
        while True:
            inner = replace(exits, breaks=after, continues=head)
            body = self.block(node.body, head, inner) - targets
            for target in others:
                body |= self.wanted(target)
            if body <= head:
                break
            head |= body
        return head | self.wanted(node.iter)

    def while_(self, node: ast.While, after: Live, exits: _Exits) -> Live:
        forever = constant_truth(node.test) is True
        done = _NOTHING if forever else self.block(node.orelse, after, exits)
        head = done | self.wanted(node.test)
        while True:
            inner = replace(exits, breaks=after, continues=head)
            body = self.block(node.body, head, inner)
            if body <= head:
                return head
            head |= body

    def with_(self, node: ast.With | ast.AsyncWith, after: Live, exits: _Exits) -> Live:
        swallows = not all(_lets_through(item.context_expr) for item in node.items)
        # Control goes on behind a context manager that swallows an exception.
        raises = exits.raises | after if swallows else exits.raises
        before = self.block(node.body, after, replace(exits, raises=raises))
        for item in reversed(node.items):
            if item.optional_vars is not None:
                targets = list(_flat([item.optional_vars]))
                before -= frozenset(
                    t.id for t in targets if isinstance(t, ast.Name) and t.id not in self.captured
                )
                before = before.union(*(self.wanted(t) for t in targets if not isinstance(t, ast.Name)))
            before |= self.wanted(item.context_expr)
        return before

    def try_(self, node: ast.Try, after: Live, exits: _Exits) -> Live:
        outer = exits
        if node.finalbody:
            ending = {
                name: self.block(node.finalbody, getattr(exits, name), exits)
                for name in ("breaks", "continues", "raises", "returns")
            }
            after = self.block(node.finalbody, after, outer)
            exits = _Exits(**ending)
        caught = exits.raises
        for handler in node.handlers:
            before = self.block(handler.body, after, exits)
            if handler.name is not None and handler.name not in self.captured:
                before -= {handler.name}
            if handler.type is not None:
                before |= self.wanted(handler.type)
            caught |= before
        ended = self.block(node.orelse, after, exits)
        return self.block(node.body, ended, replace(exits, raises=caught)) | caught

    def match(self, node: ast.Match, after: Live, exits: _Exits) -> Live:
        before = after | self.wanted(node.subject)
        for case in node.cases:
            before |= self.block(case.body, after, exits)
            if case.guard is not None:
                before |= self.wanted(case.guard)
            values = (n for n in walk_tree(case.pattern) if isinstance(n, ast.expr))
            before = before.union(*map(self.wanted, values))
        return before

    # ------------------------------------------------------------------ expressions

    def wanted(self, node: ast.expr) -> Live:
        return needed_names(node, self.known) if self.strong else free_names(node)

    def unwanted(self, node: ast.expr) -> Live:
        return acting_names(node, self.known) if self.strong else free_names(node)


def _lets_through(context: ast.expr) -> bool:
    callee = dotted_name(context.func) if isinstance(context, ast.Call) else None
    return callee is not None and callee.rpartition(".")[2] in _LET_THROUGH


def _pairs(targets: Sequence[ast.expr], value: ast.expr) -> list[tuple[ast.expr, ast.expr]]:
    """Which target takes which value: `a, b = x, y` is two assignments."""
    if len(targets) == 1 and isinstance(targets[0], (ast.Tuple, ast.List)):
        left = targets[0].elts
        right = value.elts if isinstance(value, (ast.Tuple, ast.List)) else []
        if len(right) == len(left) and not any(isinstance(e, ast.Starred) for e in (*left, *right)):
            return list(zip(left, right, strict=True))
    return [(target, value) for target in targets]
