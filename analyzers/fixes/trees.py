"""What the operations share: finding a definition in a libcst tree, and putting it back."""

from __future__ import annotations

from collections.abc import Sequence

import libcst as cst
import libcst.matchers as m

from analyzers.fixes.base import Refused

Statement = cst.BaseStatement | cst.BaseSmallStatement


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
    # A comment behind the line speaks of all of it, or of its end.
    lines[-1] = lines[-1].with_changes(trailing_whitespace=body.trailing_whitespace)
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


def dotted_name(node: cst.BaseExpression | None) -> str | None:
    """`a.b.c` as it is written; None where it is no chain of names."""
    if isinstance(node, cst.Name):
        return node.value
    if isinstance(node, cst.Attribute):
        base = dotted_name(node.value)
        return f"{base}.{node.attr.value}" if base is not None else None
    return None


def returns_early(function: cst.FunctionDef) -> bool:
    """Whether the function itself (not one inside it) has a `return`."""
    finder = _Returns()
    function.body.visit(finder)
    return finder.found


class _Returns(cst.CSTVisitor):
    """Looks for a `return` of the function itself, not of one inside it."""

    def __init__(self) -> None:
        super().__init__()
        self.found = False

    def visit_Return(self, node: cst.Return) -> None:  # noqa: N802 - libcst's naming
        self.found = True

    def visit_FunctionDef(self, node: cst.FunctionDef) -> bool:  # noqa: N802 - libcst's naming
        return False

    def visit_ClassDef(self, node: cst.ClassDef) -> bool:  # noqa: N802 - libcst's naming
        return False


def super_init(init: cst.FunctionDef) -> cst.Call | None:
    """The one call `super().__init__(...)` of a constructor, or None."""
    calls = m.findall(
        init,
        m.Call(func=m.Attribute(value=m.Call(func=m.Name("super")), attr=m.Name("__init__"))),
    )
    return cst.ensure_type(calls[0], cst.Call) if len(calls) == 1 else None


def parameter_names(function: cst.FunctionDef) -> list[str]:
    """The names that a call can pass by keyword."""
    return [p.name.value for p in (*function.params.params, *function.params.kwonly_params)]
