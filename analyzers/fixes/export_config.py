"""`export-config`: imports a class into a package's `__init__` and lists it in `__all__`.

Arguments: `path` (of the `__init__.py`), `module` (full dotted name), `name`.
"""

from __future__ import annotations

from collections.abc import Mapping

from analyzers.findings import JsonValue
from analyzers.fixes.base import Read, read_text, text_argument
from analyzers.fixes.exports import changed_exports


def edit(arguments: Mapping[str, JsonValue], read: Read) -> dict[str, str]:
    """Adds whatever of the two is missing."""
    path = text_argument(arguments, "path")
    module, name = text_argument(arguments, "module"), text_argument(arguments, "name")
    text = read_text(read, path)
    return {path: changed_exports(text, path, lambda e: e.with_import(module, name).with_listed(name))}
