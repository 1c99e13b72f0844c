"""What becomes of the results of layers that a method calls: derived from the method's tree.

Straight flow only: a result that is kept under a local name is followed through the text until the name
is bound again, and not into another branch of the statement that bound it.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

from analyzers.facts.bodies import Body
from analyzers.facts.expressions import dotted_name
from analyzers.facts.walking import child_nodes
from analyzers.findings import Span

_TYPE_TESTS = frozenset({"isinstance", "type", "is_tensor", "len"})
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
_VALUE_TESTS = (ast.Lt, ast.LtE, ast.Gt, ast.GtE)


@dataclass(frozen=True, slots=True)
class Spot:
    """One use of a result. Spans are relative to the function's first line.

    `kind` is one of `operand`, `attribute` (`detail`: its name), `argument` and `element` (`detail`: the
    dotted callee; `position`: index or keyword of the argument, of which an `element` is a part), `unpack`
    (`detail`: number of targets), `index` (`detail`: the constant), `axes` (an index that only an array
    takes), `return` and `other`.
    """

    kind: str
    detail: str | int | None
    position: int | str | None
    span: Span


@dataclass(frozen=True, slots=True)
class Result:
    """The result of one call of a layer.

    `chain`: what is called, from the instance (`attn.to_q` for `self.attn.to_q(x)`); `element`: it is an
    element of that (`for layer in self.layers: layer(x)`); `index`: which one, where that is written
    (`self.to_out[0](x)`). `kept`: the local name that holds it. `fed`: the
    call is given the name that holds its result (`x = layer(x)`). `inner`: the callee of the first
    argument, where that is a call. `targets`: the names it is unpacked into; `unread`: those of them that
    the function never reads.
    """

    chain: str
    element: bool
    call: Span
    kept: str | None
    fed: bool
    spots: tuple[Spot, ...]
    inner: str | None
    targets: tuple[str, ...]
    unread: frozenset[str]
    index: int | None = None


def results(body: Body) -> tuple[Result, ...]:
    """The results of the calls of attributes of the instance, in order of place."""
    return tuple(sorted(_Flow(body).results(), key=lambda r: r.call))


class _Flow:
    def __init__(self, body: Body) -> None:
        tree = self._tree = body.tree
        self._nodes = body.nodes
        first = [*tree.args.posonlyargs, *tree.args.args][:1]
        self._instance = first[0].arg if first else None

    @cached_property
    def _parents(self) -> dict[ast.AST, ast.AST]:
        return {child: node for node in self._nodes for child in child_nodes(node)}

    @cached_property
    def _names(self) -> dict[str, list[ast.Name]]:
        """Local name -> where it stands, in order of the text."""
        found: dict[str, list[ast.Name]] = {}
        for node in self._nodes:
            if isinstance(node, ast.Name):
                found.setdefault(node.id, []).append(node)
        for places in found.values():
            places.sort(key=_place)
        return found

    def results(self) -> Iterator[Result]:
        if self._instance is None or any(
            isinstance(n.ctx, ast.Store) for n in self._names.get(self._instance, ())
        ):
            return
        layers = self._layers()
        for node in self._nodes:
            if isinstance(node, ast.Call):
                named = dotted_name(node.func)
                if named is None:
                    yield from self._of_element(node)
                    continue
                head, _, rest = named.partition(".")
                if head == self._instance and rest:
                    yield self._result(node, rest, element=False)
                elif named in layers:
                    chain, element = layers[named]
                    yield self._result(node, chain, element)

    def _of_element(self, call: ast.Call) -> Iterator[Result]:
        """`self.to_out[0](x)`."""
        if isinstance(call.func, ast.Subscript):
            kind, index = _index(call.func.slice)
            chain = self._chain(call.func.value)
            if kind == "index" and chain is not None:
                yield replace(self._result(call, chain, element=False), index=index)

    # ------------------------------------------------------------------ layers under local names

    def _layers(self) -> dict[str, tuple[str, bool]]:
        """Local name -> (chain, whether it is an element of that), for names that are bound once."""
        found: dict[str, tuple[str, bool]] = {}
        for name, places in self._names.items():
            stores = [n for n in places if isinstance(n.ctx, ast.Store)]
            if len(stores) != 1 or any(a.arg == name for a in self._arguments()):
                continue
            if any(self._is_type_test(n) for n in places):
                continue  # layers are told apart by hand
            parent = self._parents[stores[0]]
            if isinstance(parent, ast.Assign) and parent.targets == [stores[0]]:
                chain = self._chain(parent.value)
                if chain is not None:
                    found[name] = (chain, False)
            else:
                iterated = _iterated(parent, self._parents.get(parent), stores[0])
                chain = self._chain(iterated) if iterated is not None else None
                if chain is not None:
                    found[name] = (chain, True)
        return found

    def _arguments(self) -> list[ast.arg]:
        args = self._tree.args
        return [*args.posonlyargs, *args.args, *args.kwonlyargs]

    def _chain(self, node: ast.AST) -> str | None:
        head, _, rest = (dotted_name(node) or "").partition(".")
        return rest if head == self._instance and rest else None

    # ------------------------------------------------------------------ one result

    def _result(self, call: ast.Call, chain: str, element: bool) -> Result:
        spots: list[Spot] = []
        kept: ast.Name | None = None
        targets: tuple[str, ...] = ()
        value, parent = self._whole(call)
        if isinstance(parent, (ast.Assign, ast.AnnAssign)) and parent.value is value:
            given = parent.targets if isinstance(parent, ast.Assign) else [parent.target]
            if len(given) == 1 and isinstance(given[0], ast.Name):
                kept = given[0]
                spots += self._later(kept, parent)
            elif len(given) == 1 and isinstance(given[0], (ast.Tuple, ast.List)):
                spots.append(_unpacked(given[0], call))
                targets = tuple(e.id for e in given[0].elts if isinstance(e, ast.Name))
        else:
            spots.append(self._spot(value, parent))
        first = call.args[0] if call.args else None
        return Result(
            chain,
            element,
            Body.span(call),
            kept.id if kept is not None else None,
            kept is not None and isinstance(first, ast.Name) and first.id == kept.id,
            tuple(spots),
            dotted_name(first.func) if isinstance(first, ast.Call) else None,
            targets,
            frozenset(n for n in targets if all(isinstance(p.ctx, ast.Store) for p in self._names[n])),
        )

    def _whole(self, node: ast.expr) -> tuple[ast.expr, ast.AST]:
        """The expression whose value the node's is: through `a if c else b`."""
        parent = self._parents[node]
        while isinstance(parent, ast.IfExp) and parent.test is not node:
            node, parent = parent, self._parents[parent]
        return node, parent

    def _later(self, kept: ast.Name, binding: ast.stmt) -> Iterator[Spot]:
        """The uses of a name after the statement that bound it, until it is bound again."""
        places = self._names[kept.id]
        if any(self._is_type_test(n) for n in places) or any(isinstance(n.ctx, ast.Del) for n in places):
            return
        end = _end(binding)
        around = set(self._above(binding))
        branches = self._branches(binding)
        later = [n for n in places if _place(n) >= end]
        stores = [n for n in later if isinstance(n.ctx, ast.Store) and not self._is_elsewhere(n, branches)]
        for read in later:
            if isinstance(read.ctx, ast.Store) or self._is_apart(read, around, branches):
                continue
            if any(self._comes_first(store, read) for store in stores):
                continue
            value, parent = self._whole(read)
            if isinstance(parent, (ast.Assign, ast.AnnAssign)) and parent.value is value:
                given = parent.targets if isinstance(parent, ast.Assign) else [parent.target]
                if len(given) == 1 and isinstance(given[0], ast.Name) and given[0].id != kept.id:
                    yield from self._later(given[0], parent)
                elif len(given) == 1 and isinstance(given[0], (ast.Tuple, ast.List)):
                    yield _unpacked(given[0], read)
                else:
                    yield Spot("other", None, None, Body.span(read))
            else:
                yield self._spot(value, parent)

    def _comes_first(self, store: ast.Name, read: ast.Name) -> bool:
        """Whether a name may have been bound again before it is read."""
        statement = self._statement(store)
        if statement in self._above(read):
            return not isinstance(statement, (ast.Assign, ast.AnnAssign, ast.AugAssign))
        return _place(store) < _place(read) and not self._is_elsewhere(read, self._branches(store))

    def _is_apart(self, read: ast.Name, around: set[ast.AST], branches: list[tuple[ast.AST, str]]) -> bool:
        """Whether a read may not see the value: in another branch, behind another condition, in a function
        of its own."""
        conditional = bool(branches)
        node: ast.AST = read
        for above in self._above(read):
            if isinstance(above, _FUNCTIONS) and above is not self._tree:
                return above not in around
            if any(above is holder and field != _field(above, node) for holder, field in branches):
                return True
            if conditional and isinstance(above, (ast.If, ast.IfExp, ast.While)) and above not in around:
                return True
            node = above
        return False

    def _is_elsewhere(self, node: ast.AST, branches: list[tuple[ast.AST, str]]) -> bool:
        """Whether a node stands in another branch of a statement."""
        for above in self._above(node):
            if any(above is holder and field != _field(above, node) for holder, field in branches):
                return True
            node = above
        return False

    def _branches(self, node: ast.AST) -> list[tuple[ast.AST, str]]:
        found: list[tuple[ast.AST, str]] = []
        for above in self._above(node):
            if isinstance(above, (ast.If, ast.Try, ast.Match, ast.ExceptHandler)):
                found.append((above, _field(above, node)))
            node = above
        return found

    def _above(self, node: ast.AST) -> Iterator[ast.AST]:
        at = self._parents.get(node)
        while at is not None:
            yield at
            at = self._parents.get(at)

    def _statement(self, node: ast.AST) -> ast.stmt:
        return next(a for a in self._above(node) if isinstance(a, ast.stmt))

    def _is_type_test(self, name: ast.Name) -> bool:
        parent = self._parents[name]
        return (
            isinstance(parent, ast.Call)
            and (dotted_name(parent.func) or "").rpartition(".")[2] in _TYPE_TESTS
        )

    # ------------------------------------------------------------------ one use

    def _spot(self, node: ast.expr, parent: ast.AST) -> Spot:
        kind, detail, position = self._use(node, parent)
        return Spot(kind, detail, position, Body.span(node))

    def _use(self, node: ast.expr, parent: ast.AST) -> tuple[str, str | int | None, int | str | None]:
        if isinstance(parent, ast.BinOp):
            formats = isinstance(parent.op, ast.Mod) and parent.right is node
            return ("other" if formats else "operand", None, None)
        if isinstance(parent, ast.UnaryOp) and not isinstance(parent.op, ast.Not):
            return "operand", None, None
        if isinstance(parent, ast.Compare) and all(isinstance(o, _VALUE_TESTS) for o in parent.ops):
            return "operand", None, None
        if isinstance(parent, ast.AugAssign) and parent.value is node:
            return ("other" if self._may_be_list(parent.target) else "operand", None, None)
        if isinstance(parent, ast.Attribute):
            return "attribute", parent.attr, None
        if isinstance(parent, ast.Subscript) and parent.value is node:
            return (*_index(parent.slice), None)
        if isinstance(parent, ast.Return):
            return ("return" if self._is_own(parent) else "other", None, None)
        if isinstance(parent, (ast.List, ast.Tuple)):
            return self._in_call(parent, "element")
        return self._in_call(node, "argument")

    def _in_call(self, node: ast.expr, kind: str) -> tuple[str, str | int | None, int | str | None]:
        parent = self._parents[node]
        call = self._parents[parent] if isinstance(parent, ast.keyword) else parent
        if not isinstance(call, ast.Call) or call.func is node:
            return "other", None, None
        if any(isinstance(a, ast.Starred) for a in call.args):
            return "other", None, None
        position = parent.arg if isinstance(parent, ast.keyword) else call.args.index(node)
        return kind, callee_text(call.func), position

    def _is_own(self, statement: ast.Return) -> bool:
        return next(a for a in self._above(statement) if isinstance(a, _FUNCTIONS)) is self._tree

    def _may_be_list(self, target: ast.expr) -> bool:
        """Whether `x += ...` may extend a list or a tuple."""
        if not isinstance(target, ast.Name):
            return True
        bound = [
            p.value
            for n in self._names[target.id]
            if isinstance(n.ctx, ast.Store) and isinstance(p := self._parents[n], (ast.Assign, ast.AnnAssign))
        ]
        sequences = (ast.List, ast.Tuple, ast.ListComp)
        return any(
            isinstance(v, sequences) or (isinstance(v, ast.Call) and dotted_name(v.func) in ("list", "tuple"))
            for v in bound
        )


def _iterated(parent: ast.AST, above: ast.AST | None, name: ast.Name) -> ast.expr | None:
    """What a loop that binds the name walks over: `for x in L`, `for i, x in enumerate(L)`."""
    if isinstance(parent, (ast.For, ast.comprehension)) and parent.target is name:
        return parent.iter
    if not isinstance(parent, ast.Tuple) or not isinstance(above, (ast.For, ast.comprehension)):
        return None
    call = above.iter
    if not isinstance(call, ast.Call) or above.target is not parent:
        return None
    index = parent.elts.index(name)
    if dotted_name(call.func) == "enumerate" and index == 1 and call.args:
        return call.args[0]
    return call.args[index] if dotted_name(call.func) == "zip" and index < len(call.args) else None


def _unpacked(target: ast.Tuple | ast.List, node: ast.expr) -> Spot:
    if any(isinstance(e, ast.Starred) for e in target.elts):
        return Spot("other", None, None, Body.span(node))
    return Spot("unpack", len(target.elts), None, Body.span(node))


def _index(node: ast.expr) -> tuple[str, int | None]:
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        kind, value = _index(node.operand)
        return kind, -value if value is not None else None
    if isinstance(node, ast.Constant):
        if isinstance(node.value, int) and not isinstance(node.value, bool):
            return "index", node.value
        return "axes", None
    return ("axes" if isinstance(node, ast.Tuple) else "other"), None


def callee_text(node: ast.expr) -> str | None:
    """`self.norm`, `torch.cat` or `self.to_out[1]`; None for anything else."""
    if isinstance(node, ast.Subscript):
        base, (kind, index) = dotted_name(node.value), _index(node.slice)
        return f"{base}[{index}]" if base is not None and kind == "index" else None
    return dotted_name(node)


def _field(parent: ast.AST, child: ast.AST) -> str:
    """The field of a statement in which a child stands; each handler of a `try` is one of its own."""
    for name, value in ast.iter_fields(parent):
        if value is child:
            return name
        if isinstance(value, list):
            for index, item in enumerate(value):
                if item is child:
                    return f"{name}{index}" if name in ("handlers", "cases") else name
    return ""


def _place(node: ast.expr) -> tuple[int, int]:
    return node.lineno, node.col_offset


def _end(node: ast.stmt) -> tuple[int, int]:
    line, column = node.end_lineno, node.end_col_offset
    assert line is not None
    assert column is not None
    return line, column
