"""`register-presets`: registers a module's list of presets the way the registry does it for the others.

Arguments: `path` (the registry), `group` (what the module calls its list), `module`.

The import is written like the last one of its kind, and its name joins the display in which the
others are listed.
"""

from __future__ import annotations

from collections.abc import Mapping

import libcst as cst
import libcst.matchers as m

from analyzers.findings import JsonValue
from analyzers.fixes.base import Read, Refused, text_argument
from analyzers.fixes.sequences import layout_of
from analyzers.fixes.texts import open_module
from analyzers.fixes.trees import dotted_name


def edit(arguments: Mapping[str, JsonValue], read: Read) -> dict[str, str]:
    """The new text. Raises `Refused` where the others are not imported and listed."""
    path, group = text_argument(arguments, "path"), text_argument(arguments, "group")
    module = text_argument(arguments, "module")
    source, tree = open_module(read, path)
    known = [found for line in _lines(tree) if (found := _alias_of(line, group)) is not None]
    if not known:
        raise Refused(f"{path} imports no {group}")
    present = next((alias for home, alias in known if home == module), None)
    name = present or f"{module.split('.')[-2]}_PRESETS".upper()
    if present is None:
        if m.findall(tree, m.Name(name)):
            raise Refused(f"'{name}' means something else in {path}")
        tree = _with_import(tree, group, module, name)
    display = _listing(tree, {alias for _, alias in known} - {name}, path)
    try:
        layout = layout_of(display)
    except ValueError as error:
        raise Refused(f"the list of presets in {path} is {error}") from error
    listed = [item.strip() for item in layout.items]
    if name in listed:
        raise Refused(f"'{name}' is listed already")
    index = len(listed)
    if layout.one_a_line and len(listed) > 2 and listed == sorted(listed):
        index = sum(other < name for other in listed)
    text = layout.with_item(name, index, 0, "    ").text
    changed = cst.ensure_type(tree.deep_replace(display, cst.parse_expression(text)), cst.Module)
    return {path: source.restored(changed.code)}


def _lines(tree: cst.CSTNode) -> list[cst.SimpleStatementLine]:
    """Every simple statement, at any depth, in the order of the text."""
    found = m.findall(tree, m.SimpleStatementLine())
    return [line for line in found if isinstance(line, cst.SimpleStatementLine)]


def _with_import(tree: cst.Module, group: str, module: str, name: str) -> cst.Module:
    """The tree with an import like the last one of its kind, right behind it."""
    line = [line for line in _lines(tree) if _alias_of(line, group) is not None][-1]
    small = cst.ensure_type(line.body[0], cst.ImportFrom)
    assert not isinstance(small.names, cst.ImportStar)
    asname = small.names[0].asname or cst.AsName(cst.Name(name))
    alias = small.names[0].with_changes(asname=asname.with_changes(name=cst.Name(name)))
    home = cst.ensure_type(cst.parse_expression(module), cst.Attribute)
    copied = line.with_changes(body=[small.with_changes(module=home, names=[alias])], leading_lines=[])
    both = cst.FlattenSentinel([line, copied])
    changed = tree.deep_replace(line, both)  # type: ignore[type-var]  # the stubs forget sentinels
    return cst.ensure_type(changed, cst.Module)


def _listing(tree: cst.Module, names: set[str], path: str) -> cst.List | cst.Tuple:
    """The one display that lists some of the names. Raises `Refused` where there is none, or several."""
    found = [
        node
        for node in m.findall(tree, m.List() | m.Tuple())
        if isinstance(node, (cst.List, cst.Tuple))
        and any(isinstance(e.value, cst.Name) and e.value.value in names for e in node.elements)
    ]
    if len(found) != 1:
        raise Refused(f"{path} does not list its presets in one place")
    return found[0]


def _alias_of(line: cst.CSTNode, group: str) -> tuple[str, str] | None:
    """(module, bound name) of a lone import of a list of presets."""
    small = line.body[0] if isinstance(line, cst.SimpleStatementLine) and len(line.body) == 1 else None
    if not isinstance(small, cst.ImportFrom) or isinstance(small.names, cst.ImportStar) or small.relative:
        return None
    if len(small.names) != 1 or small.names[0].evaluated_name != group:
        return None
    return dotted_name(small.module) or "", small.names[0].evaluated_alias or group
