"""`set-from-config`: sets instance attributes in `__init__` from the config's fields of the same name.

Arguments: `path`, `class`, `parameter` (what `__init__` calls the config), `names`.

They are set before `__post_init__`, which asks for them, else at the end.
"""

from __future__ import annotations

from collections.abc import Mapping

import libcst as cst
import libcst.matchers as m

from analyzers.findings import JsonValue
from analyzers.fixes.base import Read, Refused, read_text, text_argument, texts_argument
from analyzers.fixes.trees import (
    as_block,
    only_class,
    only_method,
    parameter_names,
    parse,
    returns_early,
    self_name,
    statement,
    with_statements,
)


def edit(arguments: Mapping[str, JsonValue], read: Read) -> dict[str, str]:
    """The new text. Raises `Refused` where `__init__` may return early, or gives the name another value."""
    path, name = text_argument(arguments, "path"), text_argument(arguments, "class")
    parameter, wanted = text_argument(arguments, "parameter"), texts_argument(arguments, "names")
    module = parse(read_text(read, path), path)
    init = only_method(only_class(module, name), "__init__")
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
    calls = [i for i, line in enumerate(statements) if _calls_post_init(line, own)]
    place = calls[0] if calls else len(statements)
    statements[place:place] = [
        statement(module, f"{own}.{attribute} = {parameter}.{attribute}") for attribute in wanted
    ]
    if len(statements) > len(wanted):
        statements = [line for line in statements if not m.matches(line, m.SimpleStatementLine([m.Pass()]))]
    changed = module.deep_replace(init, init.with_changes(body=with_statements(block, statements)))
    return {path: cst.ensure_type(changed, cst.Module).code}


def _attribute(own: str, name: str) -> m.Attribute:
    return m.Attribute(value=m.Name(own), attr=m.Name(name))


def _calls_post_init(line: cst.BaseStatement, own: str) -> bool:
    call = m.Call(func=_attribute(own, "__post_init__"))
    above = m.Call(func=m.Attribute(value=m.Call(func=m.Name("super")), attr=m.Name("__post_init__")))
    return m.matches(line, m.SimpleStatementLine(body=[m.Expr(value=call | above)]))
