"""`drop-registry-row`: takes a row out of a legacy table.

Arguments: `path`, `table`, `architecture`, `spec`.
"""

from __future__ import annotations

from collections.abc import Mapping

from analyzers.findings import JsonValue
from analyzers.fixes.base import Read
from analyzers.fixes.registry_rows import changed_row, without_row


def edit(arguments: Mapping[str, JsonValue], read: Read) -> dict[str, str]:
    """The registry without the row; comments on lines of their own stay."""
    return changed_row(arguments, read, without_row)
