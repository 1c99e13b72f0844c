"""`set-from-config`: sets instance attributes in `__init__` from the config's fields of the same name.

Arguments: `path`, `class`, `parameter` (what `__init__` calls the config), `names`.

They are set before `__post_init__`, which asks for them, else at the end.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import libcst as cst
import libcst.matchers as m

from analyzers.findings import JsonValue
from analyzers.fixes.base import Read, Refused, text_argument, texts_argument
from analyzers.fixes.texts import open_module
from analyzers.fixes.trees import (
    as_block,
    only_class,
    only_method,
    parameter_names,
    returns_early,
    self_name,
    statement,
    with_statements,
)


def edit(arguments: Mapping[str, JsonValue], read: Read) -> dict[str, str]:
    """The new text. Raises `Refused` where `__init__` may return early, or gives the name another value."""
    path, name = text_argument(arguments, "path"), text_argument(arguments, "class")
    parameter, wanted = text_argument(arguments, "parameter"), texts_argument(arguments, "names")
    source, module = open_module(read, path)
    cls = only_class(module, name)
    init = only_method(cls, "__init__")
    if parameter not in parameter_names(init):
        raise Refused(f"'{name}.__init__' has no parameter '{parameter}'")
    if m.findall(init, m.AssignTarget(target=m.Name(parameter))):
        raise Refused(f"'{name}.__init__' gives '{parameter}' another value")
    if returns_early(init):
        raise Refused(f"'{name}.__init__' can return before its end")
    own = self_name(init)
    if any(m.findall(init, m.AssignTarget(target=_attribute(own, attribute))) for attribute in wanted):
        raise Refused(f"'{name}.__init__' sets them already")
    block, statements = as_block(init.body)
    checks = ("__post_init__", *_checking(cls))
    calls = [i for i, line in enumerate(statements) if _calls(line, own, checks)]
    place = calls[0] if calls else len(statements)
    statements[place:place] = [
        statement(module, f"{own}.{attribute} = {parameter}.{attribute}") for attribute in wanted
    ]
    if len(statements) > len(wanted):
        statements = [line for line in statements if not m.matches(line, m.SimpleStatementLine([m.Pass()]))]
    changed = module.deep_replace(init, init.with_changes(body=with_statements(block, statements)))
    return {path: source.restored(cst.ensure_type(changed, cst.Module).code)}


def _attribute(own: str, name: str) -> m.Attribute:
    return m.Attribute(value=m.Name(own), attr=m.Name(name))


def _checking(cls: cst.ClassDef) -> list[str]:
    """The other methods of the class that ask for the attributes, by calling `__post_init__`."""
    methods = [node for node in cls.body.body if isinstance(node, cst.FunctionDef)]
    named = m.Attribute(attr=m.Name("__post_init__"))
    return [n.name.value for n in methods if n.name.value != "__init__" and m.findall(n.body, named)]


def _calls(line: cst.BaseStatement, own: str, methods: Sequence[str]) -> bool:
    """Whether a statement calls one of the methods on the instance, however deep in it."""
    holder = m.Name(own) | m.Call(func=m.Name("super"))
    names = m.OneOf(*(m.Name(method) for method in methods)) if len(methods) > 1 else m.Name(methods[0])
    return bool(m.findall(line, m.Call(func=m.Attribute(value=holder, attr=names))))
