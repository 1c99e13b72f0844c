"""`list-preset`: adds a name at the end of a module's list of presets.

Arguments: `path`, `group` (the list's variable), `name`.
"""

from __future__ import annotations

from collections.abc import Mapping

import libcst as cst

from analyzers.findings import JsonValue
from analyzers.fixes.base import Read, Refused, text_argument
from analyzers.fixes.sequences import layout_of
from analyzers.fixes.texts import open_module


def edit(arguments: Mapping[str, JsonValue], read: Read) -> dict[str, str]:
    """The new text. Raises `Refused` where the list is no plain display."""
    path, group = text_argument(arguments, "path"), text_argument(arguments, "group")
    name = text_argument(arguments, "name")
    source, tree = open_module(read, path)
    for line in tree.body:
        small = line.body[0] if isinstance(line, cst.SimpleStatementLine) else None
        if isinstance(small, cst.Assign) and len(small.targets) == 1:
            target = small.targets[0].target
        elif isinstance(small, cst.AnnAssign):
            target = small.target
        else:
            continue
        if isinstance(target, cst.Name) and target.value == group:
            display = small.value
            if not isinstance(display, (cst.List, cst.Tuple)):
                break
            try:
                layout = layout_of(display)
            except ValueError as error:
                raise Refused(f"{group} in {path} is {error}") from error
            if name in [item.strip() for item in layout.items]:
                raise Refused(f"'{name}' is listed already")
            text = layout.with_item(name, len(layout.items), len(group) + 3, "").text
            changed = cst.ensure_type(tree.deep_replace(display, cst.parse_expression(text)), cst.Module)
            return {path: source.restored(changed.code)}
    raise Refused(f"{path} has no plain list {group}")
