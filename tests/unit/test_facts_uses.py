"""What becomes of a call's value, across branches, nested functions and conditional expressions."""

from __future__ import annotations

from textwrap import dedent

import pytest

from analyzers.facts.file import analyse
from analyzers.facts.model import Either, Use


def use_of(body: str, callee: str = "self.q") -> Use:
    """The use of the first call of `callee` in a method with that body."""
    text = "class C:\n    def f(self, h, c):\n" + "".join(
        f"        {line}\n" for line in dedent(body).strip().split("\n")
    )
    (cls,) = analyse("x.py", text).classes
    (method,) = cls.fact.methods
    return next(c.use for c in method.calls if c.call.callee == callee)


def then_of(body: str) -> str | None:
    use = use_of(body)
    assert use.kind == "name"
    return use.then.kind if use.then is not None else None


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ("x = self.q(h)\nreturn x + 1", "operand"),
        ("x = self.q(h)\nx = 2\nreturn x + 1", None),
        # The other arm never sees the value; what follows the statement does.
        ("x = h\nif c:\n    x = self.q(h)\nelse:\n    x = x * 2", None),
        ("x = h\nif c:\n    x = self.q(h)\nelse:\n    c = x * 2\nreturn x[0]", "index"),
        ("if c:\n    x = self.q(h)\nelse:\n    x, _ = h\nreturn x + 1", "operand"),
        ("if c:\n    if h:\n        x = self.q(h)\n    x.view()\nelse:\n    x + 1", "attribute"),
        ("try:\n    x = self.q(h)\nexcept ValueError:\n    x + 1\nelse:\n    x.view()", "attribute"),
        ("match c:\n    case 1:\n        x = self.q(h)\n    case _:\n        x + 1", None),
        # A nested function's parameter is another name.
        ("x = self.q(h)\ndef g(x):\n    return x + 1\nreturn g(x[0])", None),
        ("x = self.q(h)\ng = lambda x: x + 1\nreturn x[0]", None),
        # The rest of the value still reads the old one.
        ("x = self.q(h) if c else c * x\nreturn x[0]", "index"),
    ],
)
def test_first_later_use_of_a_name(body: str, kind: str | None) -> None:
    assert then_of(body) == kind


@pytest.mark.parametrize(
    ("expression", "kind"),
    [
        ("self.q(h) + 1", "operand"),
        ("-self.q(h)", "operand"),
        ("self.q(h) > 1", "operand"),
        ("self.q(h) is None", "other"),
        ("not self.q(h)", "other"),
        ("h in self.q(h)", "other"),
    ],
)
def test_only_arithmetic_and_values_are_operands(expression: str, kind: str) -> None:
    assert use_of(f"return {expression}").kind == kind


def test_what_is_raised() -> None:
    assert use_of("raise self.q(h) from self.r(c)").kind == "raise"
    assert use_of("raise self.q(h) from self.r(c)", "self.r").kind == "other"


def test_a_conditional_expression_keeps_both_values() -> None:
    text = "class C:\n    def __init__(self, c):\n        self.x = a() if c else b()\n"
    (cls,) = analyse("x.py", text).classes
    value = cls.fact.methods[0].assignments[0].value
    assert isinstance(value, Either)
    assert [getattr(v, "callee", None) for v in (value.body, value.orelse)] == ["a", "b"]


def test_local_names_that_stand_for_others() -> None:
    text = """\
def f(c):
    block = A if c else (m.B if f else C)
    other = block
    third = make()
    self.x = A
    block = d
"""
    (function,) = analyse("x.py", text).functions
    assert [(name, type(value).__name__) for name, value in function.fact.renames] == [
        ("block", "Either"),
        ("other", "Reference"),
        ("block", "Reference"),
    ]
