"""Calls the code base's own function in place of one of `torch.distributed`.

Arguments: `path`, `line` and `column` (of the call, from 0, columns in UTF-8 bytes), `callee` (as the
code writes it), `module` and `wrapper` (what to call instead).
"""

from __future__ import annotations

from collections.abc import Mapping

import libcst as cst
from libcst import helpers
from libcst.metadata import CodeRange, MetadataWrapper, PositionProvider

from analyzers.findings import JsonValue
from analyzers.fixes.base import Read, Refused, text_argument
from analyzers.fixes.imports import with_import
from analyzers.fixes.texts import open_module


def edit(arguments: Mapping[str, JsonValue], read: Read) -> dict[str, str]:
    """The new text. Raises `Refused` where the call is not there or holds a comment, or the wrapper's
    name is taken."""
    path, callee = text_argument(arguments, "path"), text_argument(arguments, "callee")
    home, wrapper = text_argument(arguments, "module"), text_argument(arguments, "wrapper")
    line, column = arguments.get("line"), arguments.get("column")
    if not isinstance(line, int) or not isinstance(column, int):
        raise Refused("the edit needs the place of the call")
    source, tree = open_module(read, path)
    lines = source.text.split("\n")
    if line >= len(lines):
        raise Refused(f"there is no call of '{callee}' at that place")
    characters = len(lines[line].encode()[:column].decode("utf-8", "ignore"))
    wrapped = MetadataWrapper(tree)
    positions = wrapped.resolve(PositionProvider)
    call = next(
        (
            node
            for node, place in positions.items()
            if isinstance(node, cst.Call)
            and isinstance(place, CodeRange)
            and (place.start.line - 1, place.start.column) == (line, characters)
            and helpers.get_full_name_for_node(node.func) == callee
        ),
        None,
    )
    if call is None:
        raise Refused(f"there is no call of '{callee}' at that place")
    if "#" in wrapped.module.code_for_node(call):
        raise Refused("a comment stands inside the call")
    imported = with_import(wrapped.module, home, wrapper)
    changed = imported.deep_replace(call, call.with_changes(func=cst.Name(wrapper), args=[]))
    assert isinstance(changed, cst.Module)
    return {path: source.restored(changed.code)}
