"""`retarget-registry-row`: points a row of a legacy table to another module or class.

Arguments: `path`, `table`, `architecture`, `spec`, and `to`: the new (component, module, class).
"""

from __future__ import annotations

from collections.abc import Mapping

import libcst as cst

from analyzers.findings import JsonValue
from analyzers.fixes.base import Read, Refused, texts_argument
from analyzers.fixes.registry_rows import changed_row


def edit(arguments: Mapping[str, JsonValue], read: Read) -> dict[str, str]:
    """The registry with the row's three strings replaced, its layout kept."""
    to = texts_argument(arguments, "to")

    def change(table: cst.Dict, index: int) -> str:
        row = cst.ensure_type(table.elements[index], cst.DictElement)
        if not isinstance(row.value, (cst.Tuple, cst.List)) or len(row.value.elements) != len(to):
            raise Refused("the row is not a tuple of three strings")
        elements = [
            e.with_changes(value=_rewritten(e.value, text))
            for e, text in zip(row.value.elements, to, strict=True)
        ]
        value = row.value.with_changes(elements=elements)
        rows = [*table.elements[:index], row.with_changes(value=value), *table.elements[index + 1 :]]
        return cst.Module([]).code_for_node(table.with_changes(elements=rows))

    return changed_row(arguments, read, change)


def _rewritten(node: cst.BaseExpression, text: str) -> cst.BaseExpression:
    if not isinstance(node, cst.SimpleString):
        raise Refused("the row is not a tuple of three plain strings")
    return (
        node if node.evaluated_value == text else node.with_changes(value=f"{node.quote}{text}{node.quote}")
    )
