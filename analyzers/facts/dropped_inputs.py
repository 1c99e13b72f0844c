"""Inputs of a function that become None because they have another type than the one looked for."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from analyzers.facts.bodies import Body
from analyzers.facts.expressions import dotted_name
from analyzers.facts.fallbacks import is_telling
from analyzers.facts.syntax import parse_shallow
from analyzers.facts.walking import child_nodes, walk_tree
from analyzers.findings import Span

_LISTS = frozenset({"list", "List", "tuple", "Tuple", "Sequence"})
_TENSORS = frozenset({"Tensor", "FloatTensor", "LongTensor"})
_ASKED = re.compile(r"\b(?:isinstance|is_tensor|type)\b")
"""A text without any of these words asks for no type."""


_Branch: TypeAlias = "tuple[ast.expr | None, list[ast.stmt]]"


@dataclass(frozen=True, slots=True)
class DroppedInput:
    """`span`: of the None (or the statement that assigns it). `parameter`: the input; `name`: what is
    None then; `dropped` and `accepted`: `a tensor` or `a list`, in words."""

    span: Span
    parameter: str
    name: str
    dropped: str
    accepted: str


def dropped_inputs(body: Body) -> tuple[DroppedInput, ...]:
    """Where an `isinstance` chain over a parameter ends in None although another type may come."""
    if _ASKED.search(body.text) is None:
        return ()
    given = body.tree.args
    every = [*given.posonlyargs, *given.args, *given.kwonlyargs]
    annotations = {a.arg: a.annotation for a in every}
    found: list[DroppedInput] = []
    taken: dict[str, set[str]] = {}
    seen: set[int] = set()
    before = _presets(body.tree)
    for node in _in_order(body.tree):
        if isinstance(node, ast.If) and id(node) not in seen:
            chain = list(_chain(node))
            seen.update(id(link) for link, _, _ in chain if link is not None)
            branches = _affirmed([(test, block) for _, test, block in chain])
            unset = [s for name, s in before.get(node, ()) if any(_binds(b, name) for _, b in branches)]
            if unset and branches[-1][0] is not None:
                branches.append((None, unset))
            found += _from_chain(branches, annotations, taken)
        elif isinstance(node, ast.Assign) and isinstance(node.value, ast.IfExp):
            found += _from_choice(node, node.value, annotations, taken)
    return tuple(found)


def _in_order(tree: ast.AST) -> Iterator[ast.AST]:
    for child in child_nodes(tree):
        yield child
        yield from _in_order(child)


def _chain(node: ast.If) -> Iterator[tuple[ast.If | None, ast.expr | None, list[ast.stmt]]]:
    """The branches of `if ... elif ... else`, each with its test (None for `else`)."""
    yield node, node.test, node.body
    rest = node.orelse
    while len(rest) == 1 and isinstance(rest[0], ast.If):
        yield rest[0], rest[0].test, rest[0].body
        rest = rest[0].orelse
    if rest:
        yield None, None, rest


def _affirmed(branches: list[_Branch]) -> list[_Branch]:
    """`if not isinstance(...): a` / `else: b` the other way round."""
    if len(branches) == 2 and branches[1][0] is None:
        test, block = branches[0]
        if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
            return [(test.operand, branches[1][1]), (None, block)]
    return branches


def _presets(tree: ast.AST) -> dict[ast.If, list[tuple[str, ast.stmt]]]:
    """The statements `name = None` above an `if` in the same block, for names that nothing binds between
    the two or behind the `if`."""
    found: dict[ast.If, list[tuple[str, ast.stmt]]] = {}
    for node in walk_tree(tree):
        for field in ("body", "orelse", "finalbody"):
            block: list[ast.stmt] = value if isinstance(value := getattr(node, field, None), list) else []
            unset: dict[str, ast.stmt] = {}
            for index, statement in enumerate(block):
                if isinstance(statement, ast.If):
                    later = block[index + 1 :]
                    found[statement] = [(n, at) for n, at in unset.items() if not _binds(later, n)]
                unset = {name: at for name, at in unset.items() if not _binds([statement], name)}
                cleared = _cleared([statement])
                if cleared is not None:
                    unset[cleared[1]] = statement
    return found


def _from_chain(
    branches: Sequence[_Branch],
    annotations: dict[str, ast.expr | None],
    taken: dict[str, set[str]],
) -> Iterator[DroppedInput]:
    parameters = {p for test, _ in branches if test is not None for p in _looked_at(test)} & set(annotations)
    for parameter in sorted(parameters):
        accepted = set(taken.get(parameter, ()))
        ends: list[tuple[ast.stmt, str]] = []
        for index, (test, block) in enumerate(branches):
            positive, negative = _types(test, parameter) if test is not None else (set(), set())
            last = index + 1 == len(branches) and (test is None or _only_negates(test, parameter))
            cleared = _cleared_for(block, parameter, branches)
            if _stops(block):
                # What raises is told; a negated test lets only its type on.
                accepted |= negative | (positive if cleared is None else set())
            elif cleared is None:
                accepted |= positive
            elif last:
                accepted |= negative
                ends.append(cleared)
        taken.setdefault(parameter, set()).update(
            accepted if any(_binds(block, parameter) or _stops(block) for _, block in branches) else ()
        )
        if _tells(branches):
            accepted |= _LISTS | _TENSORS
        for statement, name in ends:
            yield from _missing(Body.span(statement), parameter, name, accepted, annotations[parameter])


def _tells(branches: Sequence[_Branch]) -> bool:
    """Whether some branch tells the user, so that nothing is dropped silently."""
    return any(is_telling(statement) for _, block in branches for statement in block)


def _from_choice(
    node: ast.Assign, choice: ast.IfExp, annotations: dict[str, ast.expr | None], taken: dict[str, set[str]]
) -> Iterator[DroppedInput]:
    """`x = x[0] if isinstance(x, list) else None`."""
    name = dotted_name(node.targets[0]) if len(node.targets) == 1 else None
    if name is None:
        return
    for parameter in sorted(_looked_at(choice.test) & set(annotations)):
        positive, negative = _types(choice.test, parameter)
        if positive and _is_none(choice.orelse):
            accepted = positive
        elif negative and _is_none(choice.body):
            accepted = negative
        else:
            continue
        both = accepted | taken.get(parameter, set())
        yield from _missing(Body.span(node), parameter, name, both, annotations[parameter])


def _missing(
    span: Span, parameter: str, name: str, accepted: set[str], annotation: ast.expr | None
) -> Iterator[DroppedInput]:
    """Tensors and lists that the parameter may hold and the chain does not look for."""
    if not accepted:
        return
    lists, tensors = bool(accepted & _LISTS), bool(accepted & _TENSORS)
    if annotation is None:
        # Without a word on what may come, only lists are known to be wrapped tensors.
        wants_list, wants_tensor = False, accepted <= _LISTS
    else:
        members = set(_members(annotation))
        wants_list, wants_tensor = bool(members & _LISTS), bool(members & _TENSORS)
    if wants_tensor and not tensors and lists:
        yield DroppedInput(span, parameter, name, "a tensor", "a list")
    elif wants_list and not lists and tensors:
        yield DroppedInput(span, parameter, name, "a list", "a tensor")


def _members(annotation: ast.expr) -> Iterator[str]:
    """The alternatives of an annotation, without modules and contents: `Tensor`, `list`, `None`."""
    if isinstance(annotation, ast.BinOp):
        yield from _members(annotation.left)
        yield from _members(annotation.right)
    elif isinstance(annotation, ast.Subscript):
        outer = (dotted_name(annotation.value) or "").rpartition(".")[2]
        if outer in ("Optional", "Union"):
            inner = annotation.slice
            for member in inner.elts if isinstance(inner, ast.Tuple) else [inner]:
                yield from _members(member)
        else:
            yield outer
    elif isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
        tree = parse_shallow(annotation.value.strip())
        for statement in tree.body if tree is not None else ():
            if isinstance(statement, ast.Expr):
                yield from _members(statement.value)
    else:
        yield (dotted_name(annotation) or "").rpartition(".")[2]


# --------------------------------------------------------------------------- small questions


def _looked_at(test: ast.expr) -> set[str]:
    """Names whose type a test asks for."""
    return {
        node.args[0].id
        for node in walk_tree(test)
        if isinstance(node, ast.Call)
        and dotted_name(node.func) in ("isinstance", "torch.is_tensor", "type")
        and node.args
        and isinstance(node.args[0], ast.Name)
    }


def _exact_type(node: ast.expr) -> tuple[ast.Call, ast.expr, bool] | None:
    """The call, the type and whether it is denied, for `type(x) is T`, `==`, `is not` and `!=`."""
    if not isinstance(node, ast.Compare) or len(node.ops) != 1 or not isinstance(node.left, ast.Call):
        return None
    if dotted_name(node.left.func) != "type":
        return None
    if not isinstance(node.ops[0], (ast.Is, ast.Eq, ast.IsNot, ast.NotEq)):
        return None
    return node.left, node.comparators[0], isinstance(node.ops[0], (ast.IsNot, ast.NotEq))


def _types(test: ast.expr, parameter: str) -> tuple[set[str], set[str]]:
    """The types a test asks a parameter to have, and those it asks it not to have."""
    positive: set[str] = set()
    negative: set[str] = set()

    def walk(node: ast.expr, negated: bool) -> None:
        if isinstance(node, ast.BoolOp):
            for value in node.values:
                walk(value, negated)
        elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            walk(node.operand, not negated)
        elif (exact := _exact_type(node)) is not None:
            call, kind, denied = exact
            if parameter in _looked_at(call):
                tail = (dotted_name(kind) or "").rpartition(".")[2]
                (negative if negated != denied else positive).add(tail)
        elif isinstance(node, ast.Call) and parameter in _looked_at(node):
            asked = node.args[1] if len(node.args) > 1 else None
            kinds = asked.elts if isinstance(asked, ast.Tuple) else [asked]
            # `torch.is_tensor(x)` names no type.
            names = {(dotted_name(k) or "").rpartition(".")[2] if k else "Tensor" for k in kinds}
            (negative if negated else positive).update(names)

    walk(test, False)
    return positive, negative


def _only_negates(test: ast.expr, parameter: str) -> bool:
    """Whether a test is `not isinstance(x, T)`, perhaps with `x is not None` beside it."""
    if isinstance(test, ast.BoolOp) and isinstance(test.op, ast.And):
        rest = [
            v for v in test.values if not (isinstance(v, ast.Compare) and isinstance(v.ops[0], ast.IsNot))
        ]
        return len(rest) == 1 and _only_negates(rest[0], parameter)
    return isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not) and bool(_types(test, parameter)[1])


def _cleared(block: Sequence[ast.stmt]) -> tuple[ast.stmt, str] | None:
    """The statement of a block that assigns None to a name, with that name."""
    for statement in block:
        if isinstance(statement, ast.Assign) and _is_none(statement.value):
            name = dotted_name(statement.targets[0])
            if name is not None:
                return statement, name
    return None


def _cleared_for(
    block: Sequence[ast.stmt], parameter: str, branches: Sequence[_Branch]
) -> tuple[ast.stmt, str] | None:
    """The statement of a block that assigns None to a parameter or to what another branch makes of it."""
    cleared = (c for statement in block if (c := _cleared([statement])) is not None)
    return next((c for c in cleared if _stands_for(c[1], parameter, branches)), None)


def _stands_for(name: str, parameter: str, branches: Sequence[_Branch]) -> bool:
    """Whether a name is the parameter, or what another branch makes of it."""
    if name == parameter:
        return True
    return any(
        isinstance(node, ast.Assign)
        and any(dotted_name(target) == name for target in node.targets)
        and any(isinstance(inner, ast.Name) and inner.id == parameter for inner in walk_tree(node.value))
        for _, block in branches
        for statement in block
        for node in walk_tree(statement)
    )


def _binds(block: Sequence[ast.stmt], name: str) -> bool:
    return any(
        isinstance(node, ast.Assign) and any(dotted_name(t) == name for t in node.targets)
        for statement in block
        for node in walk_tree(statement)
    )


def _stops(block: Sequence[ast.stmt]) -> bool:
    return any(isinstance(statement, (ast.Raise, ast.Return)) for statement in block)


def _is_none(value: ast.expr) -> bool:
    return isinstance(value, ast.Constant) and value.value is None
