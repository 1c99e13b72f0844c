"""Makes a `__post_init__` call its parent's first, after the docstring.

Arguments: `path`, `class`, `slots` (the dataclass has slots: `super()` needs its arguments).
"""

from __future__ import annotations

from collections.abc import Mapping

import libcst as cst
import libcst.matchers as m

from analyzers.findings import JsonValue
from analyzers.fixes.base import Read, Refused, text_argument
from analyzers.fixes.texts import open_module
from analyzers.fixes.trees import (
    as_block,
    calls_method,
    is_docstring,
    only_class,
    only_method,
    self_name,
    statement,
    with_statements,
)

_NAME = "__post_init__"


def edit(arguments: Mapping[str, JsonValue], read: Read) -> dict[str, str]:
    """The new text. Raises `Refused` where the parent's is called already."""
    path, name = text_argument(arguments, "path"), text_argument(arguments, "class")
    source, module = open_module(read, path)
    method = only_method(only_class(module, name), _NAME)
    if calls_method(method, _NAME):
        raise Refused(f"{name}.{_NAME} calls its parent's already")
    own = self_name(method)
    explicit = bool(arguments.get("slots")) or _file_names_its_classes(module)
    parent = f"super({name}, {own})" if explicit else "super()"
    block, statements = as_block(method.body)
    statements.insert(1 if is_docstring(statements[0]) else 0, statement(module, f"{parent}.{_NAME}()"))
    changed = module.deep_replace(method, method.with_changes(body=with_statements(block, statements)))
    assert isinstance(changed, cst.Module)
    return {path: source.restored(changed.code)}


def _file_names_its_classes(module: cst.Module) -> bool:
    """Whether every `super(...).__post_init__()` of the file is written with arguments."""
    calls = [call for call in m.findall(module, m.Call(func=m.Name("super"))) if isinstance(call, cst.Call)]
    return bool(calls) and all(call.args for call in calls)
