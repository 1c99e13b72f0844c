"""`list-shard-conditions`: gives an arch config a condition that matches the repeated blocks.

Arguments: `path` (of the arch config), `class`, `attribute`, `function` (the condition's name), and
`lists` (the attributes of the model that hold the blocks).
"""

from __future__ import annotations

from collections.abc import Mapping

import libcst as cst
import libcst.matchers as m

from analyzers.findings import JsonValue
from analyzers.fixes.base import Read, Refused, text_argument, texts_argument
from analyzers.fixes.imports import with_import
from analyzers.fixes.texts import open_module
from analyzers.fixes.trees import (
    as_block,
    is_docstring,
    only_class,
    statement,
    with_statements,
)


def edit(arguments: Mapping[str, JsonValue], read: Read) -> dict[str, str]:
    """The new text. Raises `Refused` where the attribute has a value, or the function's name is taken."""
    path, name = text_argument(arguments, "path"), text_argument(arguments, "class")
    attribute, function = text_argument(arguments, "attribute"), text_argument(arguments, "function")
    lists = texts_argument(arguments, "lists")
    source, module = open_module(read, path)
    cls = only_class(module, name)
    if m.findall(module, m.Name(function)):
        raise Refused(f"'{function}' means something else in {path}")
    module = with_import(module, "dataclasses", "field")
    field = statement(module, f"{attribute}: list = field(default_factory=lambda: [{function}])")
    block, statements = as_block(cls.body)
    declared = [i for i, line in enumerate(statements) if _declares(line, attribute)]
    if declared:
        old = cst.ensure_type(statements[declared[0]], cst.SimpleStatementLine)
        statements[declared[0]] = old.with_changes(body=field.body)
    else:
        place = 1 if statements and is_docstring(statements[0]) else 0
        following = statements[place] if place < len(statements) else None
        if place and isinstance(following, cst.SimpleStatementLine) and following.leading_lines[:1]:
            field = field.with_changes(leading_lines=[cst.EmptyLine(indent=False)])
        statements.insert(place, field)
    if len(statements) > 1:
        statements = [s for s in statements if not m.matches(s, m.SimpleStatementLine(body=[m.Pass()]))]
    changed = cls.with_changes(body=with_statements(block, statements))
    condition = cst.parse_statement(_condition(function, lists), config=module.config_for_parsing)
    assert isinstance(condition, cst.FunctionDef)
    body = list(module.body)
    index = body.index(cls)
    # The condition takes over the blank lines; a comment right above the class stays with it.
    above = list(cls.leading_lines)
    comments = next((above[i:] for i in range(len(above) + 1) if all(c.comment for c in above[i:])), [])
    blank = [cst.EmptyLine(indent=False), cst.EmptyLine(indent=False)]
    kept = above[: len(above) - len(comments)] if above else blank
    body[index : index + 1] = [
        condition.with_changes(leading_lines=kept),
        changed.with_changes(leading_lines=[*blank, *comments]),
    ]
    result = module.with_changes(body=body)
    return {path: source.restored(result.code)}


def _condition(function: str, lists: list[str]) -> str:
    test = (
        f'== "{lists[0]}"'
        if len(lists) == 1
        else f"in ({', '.join(f'{chr(34)}{n}{chr(34)}' for n in lists)})"
    )
    return (
        f"def {function}(n: str, m) -> bool:\n"
        f'    owner, _, index = n.rpartition(".")\n'
        f"    return owner {test} and index.isdigit()\n"
    )


def _declares(line: cst.BaseStatement, attribute: str) -> bool:
    small = line.body[0] if isinstance(line, cst.SimpleStatementLine) else None
    return (
        isinstance(small, cst.AnnAssign)
        and isinstance(small.target, cst.Name)
        and small.target.value == attribute
    )
