"""`repair-export`: lets an export mean what it was meant to.

Arguments: `path`, `name`, and either `to` (the name that its module does define) or `module` (the
full dotted name of the module that does define it).
"""

from __future__ import annotations

from collections.abc import Mapping

from analyzers.findings import JsonValue
from analyzers.fixes.base import Read, read_text, text_argument
from analyzers.fixes.exports import changed_exports


def edit(arguments: Mapping[str, JsonValue], read: Read) -> dict[str, str]:
    """Renames the export, or imports it from where it is defined."""
    path, name = text_argument(arguments, "path"), text_argument(arguments, "name")
    text = read_text(read, path)
    if "to" in arguments:
        to = text_argument(arguments, "to")
        return {path: changed_exports(text, path, lambda e: e.renamed(name, to))}
    module = text_argument(arguments, "module")
    return {path: changed_exports(text, path, lambda e: e.without_import(name).with_import(module, name))}
