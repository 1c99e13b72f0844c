"""Makes an attribute's `nn.Linear` FastVideo's replicated linear, and unpacks every call of it.

Arguments: `path`, `class`, `attribute`, `linear` (the full name of the class to use).

The new layer returns `(output, bias)`, so every use of the attribute has to be known: in the class, its
bases and subclasses, and in every file that imports one of these. A use that cannot be told is refused
with its place. Names and shapes of the weights stay; their values come from the checkpoint, since the new
class leaves them uninitialised.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping

from analyzers.findings import JsonValue
from analyzers.fixes.base import Refused, text_argument
from analyzers.fixes.exports import with_import_above
from analyzers.fixes.linear_constructions import LAST, MIXED, Held, NewLinear, keywords_of, rewritten, stored
from analyzers.fixes.linear_type_tests import widened
from analyzers.fixes.linear_uses import Uses
from analyzers.fixes.receivers import Receivers, Whose, means
from analyzers.fixes.replacements import Replacement, replaced, replacing
from analyzers.fixes.source_trees import SourceTree, parse_source
from analyzers.project.index import Project
from analyzers.project.layers import LINEAR


def edit_project(arguments: Mapping[str, JsonValue], project: Project) -> dict[str, str]:
    """The new texts. Raises `Refused`, with the place, where a use of the attribute cannot be told."""
    path, name = text_argument(arguments, "path"), text_argument(arguments, "class")
    attribute, linear = text_argument(arguments, "attribute"), text_argument(arguments, "linear")
    home = project.names.class_of(path, name)
    if home is None or home.path != path:
        raise Refused(f"there is no class '{name}' at the top of {path}, or more than one")
    keywords = keywords_of(project, linear)
    receivers = Receivers(project, home)
    trees = [_tree(project, p) for p in receivers.files if _concerns(project, p, attribute)]
    local = {tree.path: _local_name(project, tree, linear) for tree in trees}
    found: dict[str, list[Replacement]] = {tree.path: [] for tree in trees}
    held: Held | None = None
    for tree in trees:
        new = NewLinear(local[tree.path], keywords)
        for here in _constructions(receivers, tree, attribute):
            if held is not None and _shape(held) != _shape(here):
                raise Refused(f"'{attribute}' holds different things ({tree.where(here.calls[0])})")
            held = here
            for call in here.calls:
                found[tree.path] += rewritten(tree, call, new)
        found[tree.path] += _annotations(receivers, tree, attribute, new.name)
    if held is None:
        raise Refused(f"'{name}.{attribute}' is no nn.Linear")
    for tree in trees:
        found[tree.path] += Uses(receivers, tree, attribute, held, keywords).replacements()
        found[tree.path] += widened(receivers, tree, local[tree.path])
    return {tree.path: _edited(project, tree, found[tree.path], linear) for tree in trees if found[tree.path]}


def _shape(held: Held) -> tuple[str, int, tuple[int, ...]]:
    """What must be alike wherever the attribute is given its value; plain lists may differ in length."""
    return (held.kind, held.length, held.places) if held.kind in (LAST, MIXED) else (held.kind, 0, ())


def _tree(project: Project, path: str) -> SourceTree:
    text = project.sources.text(path)
    if text is None:
        raise Refused(f"{path} cannot be read")
    return parse_source(text, path)


def _concerns(project: Project, path: str, attribute: str) -> bool:
    return not {attribute, "Linear", "getattr"}.isdisjoint(project.sources.words(path))


def _constructions(receivers: Receivers, tree: SourceTree, attribute: str) -> list[Held]:
    """What the attribute is given in a file."""
    found: list[Held] = []
    for node in ast.walk(tree.module):
        if (
            not isinstance(node, ast.Attribute)
            or node.attr != attribute
            or not isinstance(node.ctx, ast.Store)
        ):
            continue
        whose = receivers.whose(tree, node.value)
        if whose is Whose.OTHER:
            continue
        parent = tree.parents[node]
        if whose is not Whose.OURS or not isinstance(parent, (ast.Assign, ast.AnnAssign)):
            raise Refused(f"{tree.where(node)} sets '{tree.code(node)}', which may be the layer")
        if isinstance(parent, ast.Assign) and len(parent.targets) > 1:
            raise Refused(f"{tree.where(parent)} gives the layer to several names at once")
        if parent.value is not None:
            found += stored(receivers.project, tree, parent.value)
    return found


def _annotations(receivers: Receivers, tree: SourceTree, attribute: str, name: str) -> list[Replacement]:
    """`to_q: nn.Linear` (or `nn.Linear | None`) in the class or at an assignment names the new class."""
    members = {c.fact.name for c in receivers.family if c.path == tree.path}
    found: list[Replacement] = []
    for node in ast.walk(tree.module):
        if not isinstance(node, ast.AnnAssign):
            continue
        target, parent = node.target, tree.parents[node]
        if isinstance(target, ast.Attribute):
            ours = target.attr == attribute and receivers.whose(tree, target.value) is Whose.OURS
        else:
            in_class = isinstance(parent, ast.ClassDef) and parent.name in members
            ours = isinstance(target, ast.Name) and target.id == attribute and in_class
        if ours:
            found += [
                replacing(part, name)
                for part in ast.walk(node.annotation)
                if isinstance(part, (ast.Name, ast.Attribute))
                and means(receivers.project, tree.path, part) == LINEAR
            ]
    return found


# --------------------------------------------------------------------------- the import


def _imported_as(project: Project, path: str, linear: str) -> str | None:
    """What the file calls the class at run time, or None."""
    facts = project.file(path)
    certain = (
        i.fact.bound
        for i in (facts.imports if facts is not None else ())
        if i.fact.function is None and not i.fact.type_checking and not i.fact.conditional
    )
    return next((bound for bound in certain if project.names.qualified(path, bound) == linear), None)


def _local_name(project: Project, tree: SourceTree, linear: str) -> str:
    return _imported_as(project, tree.path, linear) or linear.rpartition(".")[2]


def _edited(project: Project, tree: SourceTree, found: list[Replacement], linear: str) -> str:
    text = replaced(tree.source.text, found)
    name = _local_name(project, tree, linear)
    needed = any(name in item.text for item in found)
    if needed and _imported_as(project, tree.path, linear) is None:
        facts = project.file(tree.path)
        if _binds(tree, name) or (facts is not None and name in facts.aliases):
            raise Refused(f"'{name}' means something else in {tree.path}")
        text = with_import_above(text, tree.path, project.profile.package, linear)
    return tree.source.restored(text)


def _binds(tree: SourceTree, name: str) -> bool:
    """Whether the file gives the name a meaning of its own, anywhere."""
    return any(
        (isinstance(n, ast.Name) and n.id == name and not isinstance(n.ctx, ast.Load))
        or (isinstance(n, (ast.ClassDef, ast.FunctionDef)) and n.name == name)
        or (isinstance(n, ast.arg) and n.arg == name)
        for n in ast.walk(tree.module)
    )
