"""Appends `self.__post_init__()` to the `__init__` of a class.

Arguments: `path`, `class`.
"""

from __future__ import annotations

from collections.abc import Mapping

import libcst as cst

from analyzers.findings import JsonValue
from analyzers.fixes.base import Read, Refused, text_argument
from analyzers.fixes.texts import open_module
from analyzers.fixes.trees import (
    as_block,
    calls_method,
    only_class,
    only_method,
    returns_early,
    self_name,
    statement,
    with_statements,
)

_NAME = "__post_init__"


def edit(arguments: Mapping[str, JsonValue], read: Read) -> dict[str, str]:
    """The new text. Raises `Refused` where `__init__` can return before its end, or calls it already."""
    path, name = text_argument(arguments, "path"), text_argument(arguments, "class")
    source, module = open_module(read, path)
    cls = only_class(module, name)
    init = only_method(cls, "__init__")
    if calls_method(init, _NAME):
        raise Refused(f"{name}.__init__ calls {_NAME} already")
    if returns_early(init):
        raise Refused(f"{name}.__init__ can return early: the call at its end would not always run")
    block, statements = as_block(init.body)
    last = statements[-1]
    if isinstance(last, cst.SimpleStatementLine) and isinstance(last.body[-1], cst.Raise):
        raise Refused(f"{name}.__init__ ends by raising: nothing after that would run")
    statements.append(statement(module, f"{self_name(init)}.{_NAME}()"))
    changed = module.deep_replace(init, init.with_changes(body=with_statements(block, statements)))
    assert isinstance(changed, cst.Module)
    return {path: source.restored(changed.code)}
