"""What the operations share: finding a definition in a libcst tree, and putting it back."""

from __future__ import annotations

from collections.abc import Sequence

import libcst as cst
import libcst.matchers as m

from analyzers.fixes.base import Refused

Statement = cst.BaseStatement | cst.BaseSmallStatement


def parse(text: str, path: str) -> cst.Module:
    """The tree of a text. Raises `Refused` where it does not parse."""
    try:
        return cst.parse_module(text)
    except cst.ParserSyntaxError as error:
        raise Refused(f"{path} does not parse (line {error.editor_line})") from error


def only_class(module: cst.Module, name: str) -> cst.ClassDef:
    """The one top-level class of that name. Raises `Refused` where there is none, or several."""
    found = [s for s in module.body if isinstance(s, cst.ClassDef) and s.name.value == name]
    if len(found) != 1:
        raise Refused(f"there is no class '{name}' at the top of the module, or more than one")
    return found[0]


def only_method(cls: cst.ClassDef, name: str) -> cst.FunctionDef:
    """The one method of that name. Raises `Refused` where there is none, or several."""
    found = [s for s in cls.body.body if isinstance(s, cst.FunctionDef) and s.name.value == name]
    if len(found) != 1:
        raise Refused(f"'{cls.name.value}' has no method '{name}' of its own, or more than one")
    return found[0]


def is_docstring(statement: Statement) -> bool:
    """Whether a statement is a lone string."""
    if not isinstance(statement, cst.SimpleStatementLine) or len(statement.body) != 1:
        return False
    only = statement.body[0]
    return isinstance(only, cst.Expr) and isinstance(only.value, (cst.SimpleString, cst.ConcatenatedString))


def as_block(body: cst.BaseSuite) -> tuple[cst.IndentedBlock, list[cst.BaseStatement]]:
    """A body as an indented block and its statements; `def f(): a; b` becomes a block."""
    if isinstance(body, cst.IndentedBlock):
        return body, list(body.body)
    if not isinstance(body, cst.SimpleStatementSuite):
        raise Refused("the body has a form that is not known here")
    lines: list[cst.BaseStatement] = [
        cst.SimpleStatementLine([small.with_changes(semicolon=cst.MaybeSentinel.DEFAULT)])
        for small in body.body
    ]
    return cst.IndentedBlock(lines), lines


def with_statements(block: cst.IndentedBlock, statements: Sequence[cst.BaseStatement]) -> cst.IndentedBlock:
    """The block with other statements; its comments and indentation stay."""
    return block.with_changes(body=list(statements))


def self_name(method: cst.FunctionDef) -> str:
    """What a method calls its instance. Raises `Refused` where it takes none by position."""
    positional = [*method.params.posonly_params, *method.params.params]
    if not positional:
        raise Refused(f"'{method.name.value}' takes no instance")
    return positional[0].name.value


def statement(module: cst.Module, text: str) -> cst.SimpleStatementLine:
    """One statement, in the module's own style of line ends and indentation."""
    parsed = cst.parse_statement(text, config=module.config_for_parsing)
    assert isinstance(parsed, cst.SimpleStatementLine), text
    return parsed


def calls_method(function: cst.FunctionDef, name: str) -> bool:
    """Whether a function calls a method of that name on anything."""
    return bool(m.findall(function, m.Call(func=m.Attribute(attr=m.Name(name)))))
