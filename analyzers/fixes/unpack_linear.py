"""Takes a linear's output out of its tuple, or a tensor out of an unpacking.

Arguments: `path`, `line` and `column` (of the call, both from 0, in UTF-8 bytes), `form`: `index` (`[0]`
behind the call), `targets` (`x = ` becomes `x, _ = `) or `whole` (`x, _ = ` becomes `x = `).
"""

from __future__ import annotations

import ast
from collections.abc import Mapping

from analyzers.findings import JsonValue
from analyzers.fixes.base import Read, Refused, read_text, text_argument
from analyzers.fixes.replacements import Replacement, begin_of, behind, end_of, replaced
from analyzers.fixes.source_trees import SourceTree, parse_source


def edit(arguments: Mapping[str, JsonValue], read: Read) -> dict[str, str]:
    """The new text. Raises `Refused` where no such call stands there any more."""
    path, form = text_argument(arguments, "path"), text_argument(arguments, "form")
    tree = parse_source(read_text(read, path), path)
    call = _call_at(tree, arguments.get("line"), arguments.get("column"))
    replacement = _whole(tree, call) if form == "whole" else _output(tree, call, form)
    return {path: tree.source.restored(replaced(tree.source.text, (replacement,)))}


def _call_at(tree: SourceTree, line: JsonValue, column: JsonValue) -> ast.Call:
    """The call of a layer that begins there: the innermost, `self.to_q(x)` of `self.to_q(x).view(...)`."""
    found = [
        node
        for node in ast.walk(tree.module)
        if isinstance(node, ast.Call)
        and isinstance(line, int)
        and begin_of(node) == (line + 1, column)
        and not any(isinstance(inner, ast.Call) for inner in ast.walk(node.func))
    ]
    if len(found) != 1:
        raise Refused(f"there is no call at that place of {tree.path} any more")
    return found[0]


def _output(tree: SourceTree, call: ast.Call, form: str) -> Replacement:
    parent = tree.parents[call]
    if any(isinstance(above, ast.JoinedStr) for above in tree.above(call)):
        raise Refused(f"{tree.where(call)} stands in a string")
    if isinstance(parent, ast.Subscript) and parent.value is call:
        raise Refused(f"{tree.where(call)} takes an element of the result already")
    if isinstance(parent, ast.Assign) and any(isinstance(t, (ast.Tuple, ast.List)) for t in parent.targets):
        raise Refused(f"{tree.where(call)} unpacks the result already")
    if (
        form == "targets"
        and isinstance(parent, ast.Assign)
        and len(parent.targets) == 1
        and tree.has_room(parent.targets[0])
    ):
        return behind(parent.targets[0], ", _")
    return behind(call, "[0]")


def _whole(tree: SourceTree, call: ast.Call) -> Replacement:
    parent = tree.parents[call]
    target = parent.targets[0] if isinstance(parent, ast.Assign) and len(parent.targets) == 1 else None
    if not isinstance(target, (ast.Tuple, ast.List)) or len(target.elts) != 2:
        raise Refused(f"{tree.where(call)} is not unpacked into two names")
    first = ast.get_source_segment(tree.source.text, target.elts[0])
    return Replacement(begin_of(target), end_of(target), first or "")
