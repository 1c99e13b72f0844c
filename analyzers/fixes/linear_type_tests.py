"""Tests for `nn.Linear` that a rewritten layer would no longer pass: `isinstance(m, nn.Linear)`.

A loop that initialises such layers takes FastVideo's linear as well: both have `weight` and `bias`.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from analyzers.facts.model import ClassFacts, Placed
from analyzers.fixes.base import Refused
from analyzers.fixes.receivers import Receivers, Whose, means
from analyzers.fixes.replacements import Replacement, behind, replacing
from analyzers.fixes.source_trees import SourceTree, dotted
from analyzers.project.layers import LINEAR

_WALKS = frozenset({"modules", "named_modules", "children", "named_children"})


def widened(receivers: Receivers, tree: SourceTree, name: str) -> Iterator[Replacement]:
    """The tests of a file that must know the new class, `name`, too.

    Raises `Refused`, with the place, for a test that may see the layer and does more than initialise it.
    """
    for node in ast.walk(tree.module):
        if isinstance(node, ast.Call) and dotted(node.func) == "isinstance" and len(node.args) == 2:
            yield from _of_instance(receivers, tree, node, name)
        elif isinstance(node, ast.Compare) and _is_type(node.left) and _names_linear(receivers, tree, node):
            raise Refused(f"{tree.where(node)} asks for nn.Linear itself: {tree.code(node)}")


def _of_instance(receivers: Receivers, tree: SourceTree, test: ast.Call, name: str) -> Iterator[Replacement]:
    subject, wanted = test.args
    classes = wanted.elts if isinstance(wanted, ast.Tuple) else [wanted]
    meanings = [means(receivers.project, tree.path, c) for c in classes]
    if LINEAR not in meanings or not receivers.project.profile.tuple_linears.isdisjoint(
        m for m in meanings if m is not None
    ):
        return
    if receivers.whose(tree, subject) is Whose.OTHER or _walks_elsewhere(receivers, tree, subject):
        return
    if not _only_initialises(tree, test, subject):
        raise Refused(f"{tree.where(test)} would no longer see the layer: {tree.code(test)}")
    if isinstance(wanted, ast.Tuple):
        yield behind(wanted.elts[-1], f", {name}")
    else:
        yield replacing(wanted, f"({tree.code(wanted)}, {name})")


def _only_initialises(tree: SourceTree, test: ast.Call, subject: ast.expr) -> bool:
    """Whether the branch under the test reads nothing of the module but its weight and bias."""
    around: ast.AST = test
    parent = tree.parents[around]
    while isinstance(parent, ast.BoolOp) and isinstance(parent.op, ast.And):
        around, parent = parent, tree.parents[parent]
    if not isinstance(parent, ast.If) or parent.test is not around or not isinstance(subject, ast.Name):
        return False
    reads = [n for statement in parent.body for n in ast.walk(statement) if _is_name(n, subject.id)]
    reads += [n for n in ast.walk(parent.test) if _is_name(n, subject.id) and n is not subject]
    return bool(reads) and all(
        isinstance(above := tree.parents[n], ast.Attribute) and above.attr in ("weight", "bias")
        for n in reads
    )


def _walks_elsewhere(receivers: Receivers, tree: SourceTree, subject: ast.expr) -> bool:
    """Whether the subject comes from walking a part of the model that is made of torch's layers alone."""
    function = tree.function_of(subject)
    if not isinstance(subject, ast.Name) or function is None:
        return False
    loop = next(
        (
            around
            for around in tree.above(subject)
            if isinstance(around, ast.For) and any(_is_name(n, subject.id) for n in ast.walk(around.target))
        ),
        None,
    )
    if loop is None or not isinstance(loop.iter, ast.Call) or not isinstance(loop.iter.func, ast.Attribute):
        return False
    walked = loop.iter.func.value
    found = tree.method_of(subject)
    cls = receivers.names.class_of(tree.path, found[0].name) if found is not None else None
    if loop.iter.func.attr not in _WALKS or cls is None or not isinstance(walked, ast.Attribute):
        return False
    if not isinstance(walked.value, ast.Name) or not tree.is_instance(walked.value):
        return False
    return _is_torch_alone(receivers, cls, walked.attr)


def _is_torch_alone(receivers: Receivers, cls: Placed[ClassFacts], attribute: str) -> bool:
    """Whether `self.<attribute>` is assigned in the tree, each time from torch's own classes only."""
    names = receivers.names
    if any(names.qualified_class(c) in receivers.own for c in names.ancestry(cls).classes):
        return False
    calls = [
        (owner.path, fact.call.callee)
        for owner in names.ancestry(cls).classes
        for method in owner.fact.methods
        for fact in method.calls
        if fact.target == attribute
    ]
    return bool(calls) and all(
        callee is not None and (names.qualified(path, callee) or "").startswith("torch.nn.")
        for path, callee in calls
    )


def _is_type(node: ast.expr) -> bool:
    return (isinstance(node, ast.Call) and dotted(node.func) == "type") or (
        isinstance(node, ast.Attribute) and node.attr == "__class__"
    )


def _names_linear(receivers: Receivers, tree: SourceTree, node: ast.Compare) -> bool:
    return any(
        means(receivers.project, tree.path, part) == LINEAR
        for comparator in node.comparators
        for part in ast.walk(comparator)
    )


def _is_name(node: ast.AST, name: str) -> bool:
    return isinstance(node, ast.Name) and node.id == name
