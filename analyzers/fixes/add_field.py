"""Adds a field behind the others of a dataclass.

Arguments: `path`, `class`, `field`, `annotation` and `default` (as they are to be written).
`field` is imported from `dataclasses` where the default needs it.
"""

from __future__ import annotations

from collections.abc import Mapping

import libcst as cst
import libcst.matchers as m

from analyzers.findings import JsonValue
from analyzers.fixes.base import Read, Refused, text_argument
from analyzers.fixes.exports import Exports
from analyzers.fixes.texts import open_module
from analyzers.fixes.trees import is_docstring, only_class, statement


def edit(arguments: Mapping[str, JsonValue], read: Read) -> dict[str, str]:
    """The new text. Raises `Refused` where the class has the field, or is written in one line."""
    path, name = text_argument(arguments, "path"), text_argument(arguments, "class")
    field, default = text_argument(arguments, "field"), text_argument(arguments, "default")
    source, tree = open_module(read, path)
    cls = only_class(tree, name)
    if not isinstance(cls.body, cst.IndentedBlock):
        raise Refused(f"'{name}' is written in one line")
    body = [s for s in cls.body.body if not m.matches(s, m.SimpleStatementLine(body=[m.Pass()]))]
    targets = m.AnnAssign(target=m.Name(field)) | m.Assign(targets=[m.AssignTarget(m.Name(field))])
    if any(m.matches(s, m.SimpleStatementLine(body=[targets])) for s in body):
        raise Refused(f"'{name}' has '{field}' already")
    fields = [i for i, s in enumerate(body) if m.matches(s, m.SimpleStatementLine(body=[m.AnnAssign()]))]
    index = fields[-1] + 1 if fields else int(bool(body) and is_docstring(body[0]))
    body.insert(index, statement(tree, f"{field}: {text_argument(arguments, 'annotation')} = {default}\n"))
    changed = cls.with_changes(body=cls.body.with_changes(body=body))
    file = Exports(
        path,
        path.rpartition("/")[0].replace("/", "."),
        cst.ensure_type(tree.deep_replace(cls, changed), cst.Module),
    )
    if default.startswith("field("):
        file = file.with_import("dataclasses", "field")
    return {path: source.restored(file.tree.code)}
