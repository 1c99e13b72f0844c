"""DIT802 skip-unconditional: a test that always skips or xfails."""

from __future__ import annotations

from collections.abc import Iterator

from analyzers.facts.model import (
    Assignment,
    Call,
    CallFact,
    ClassFacts,
    Collection,
    Constant,
    Expr,
    FunctionFacts,
    Placed,
    Reference,
)
from analyzers.findings import Finding, Location, Severity
from analyzers.project.bindings import may_bind
from analyzers.project.names import External
from analyzers.rules.base import Context, Example, Expected, Rule, Tier

_SKIPS = frozenset({"pytest.mark.skip", "unittest.skip"})
_SKIPS_IF = frozenset({"pytest.mark.skipif", "unittest.skipIf"})
_SKIPS_UNLESS = frozenset({"unittest.skipUnless"})
_FAILS = frozenset({"pytest.mark.xfail", "unittest.expectedFailure"})
_SWALLOWS = frozenset({"pytest.raises", "contextlib.suppress"})
"""Context managers inside which a skip does not end the test."""

_RAISED = frozenset({"unittest.SkipTest", "unittest.case.SkipTest", "pytest.skip.Exception"})


def check(context: Context) -> Iterator[Finding]:
    """Looks at marks of the module, of test classes and of tests, and at what a test does first."""
    if not context.profile.is_parity_test(context.file.path):
        return
    tests = list(_tests(context))
    if not tests:
        return
    yield from _module(context)
    for cls in context.file.classes:
        if any(owner is cls for owner, _ in tests):
            marks = [m for a in cls.fact.attributes if "pytestmark" in a.names for m in _marks(a)]
            for mark in (*cls.fact.decorators, *marks):
                yield from _marked(context, cls.at(mark.span), mark, f"every test of {cls.fact.name}")
    for _, test in tests:
        for decorator in test.fact.decorators:
            yield from _marked(context, test.at(decorator.span), decorator, test.fact.name)
        yield from _body(context, test)


def _tests(context: Context) -> Iterator[tuple[Placed[ClassFacts] | None, Placed[FunctionFacts]]]:
    """What pytest collects by its default names, with its class as `FileFacts.classes` holds it."""
    for function in context.file.functions:
        if function.fact.name.startswith("test"):
            yield None, function
    for cls in context.file.classes:
        if cls.fact.name.startswith("Test"):
            for method in cls.fact.methods:
                if method.name.startswith("test"):
                    yield cls, Placed(method, cls.path, cls.line)


def _module(context: Context) -> Iterator[Finding]:
    whole = "every test of the module"
    for placed in context.file.assignments:
        if "pytestmark" in placed.fact.names and not placed.fact.conditional:
            for mark in _marks(placed.fact):
                yield from _marked(context, placed.at(mark.span), mark, whole)
    for call in context.file.calls:
        if call.fact.conditional or call.fact.enclosing:
            continue
        ends = _ends(context, call.fact)
        if ends is not None:
            yield _finding(context, call.at(call.fact.call.span), whole, ends)


def _marks(assignment: Assignment) -> tuple[Expr, ...]:
    """The marks of a `pytestmark`: one, or a list of them."""
    value = assignment.value
    if assignment.conditional or value is None:
        return ()
    return value.items if isinstance(value, Collection) else (value,)


def _body(context: Context, test: Placed[FunctionFacts]) -> Iterator[Finding]:
    """A skip that every run of the test meets: at the top of its body, with no `return` before it."""
    for fact in test.fact.calls:
        if fact.conditional or fact.enclosing:
            continue
        ends = _ends(context, fact)
        if ends is None:
            continue
        returned = any(r.span < fact.call.span for r in test.fact.returns)
        if not returned and not _is_swallowed(context, test.fact, fact):
            yield _finding(context, test.at(fact.call.span), test.fact.name, ends)
        return


def _is_swallowed(context: Context, test: FunctionFacts, skip: CallFact) -> bool:
    """Whether a `with` before the skip may be around it and swallow what it raises."""
    return any(
        fact.use.kind == "with"
        and fact.call.span < skip.call.span
        and _full_name(context, fact.call.callee or "") in _SWALLOWS
        for fact in test.calls
    )


def _ends(context: Context, fact: CallFact) -> str | None:
    """`is skipped` or `is expected to fail` where the call ends the test by itself."""
    callee = fact.call.callee
    if callee is None:
        return None
    if callee == "self.skipTest" and fact.use.kind == "expression":
        return "is skipped"
    full = _full_name(context, callee)
    if full == "pytest.skip" and fact.use.kind == "expression":
        return "is skipped"
    if full == "pytest.xfail" and fact.use.kind == "expression":
        return "is expected to fail"
    if full in _RAISED and fact.use.kind == "raise":
        return "is skipped"
    return None


def _marked(context: Context, location: Location, mark: Expr, who: str) -> Iterator[Finding]:
    """Reports a mark that skips or excuses the test whatever the machine."""
    mark = _meant(context, mark)
    call = mark if isinstance(mark, Call) else None
    callee = call.function if call is not None else mark
    if not isinstance(callee, Reference):
        return
    name = _full_name(context, callee.dotted)
    if name in _SKIPS:
        yield _finding(context, location, who, "is skipped")
    elif name in _SKIPS_IF and call is not None:
        condition = call.keyword("condition") or next(iter(call.arguments), None)
        if condition is not None and _is_constantly(context, condition, True):
            yield _finding(context, location, who, "is skipped")
        elif condition is None and not call.unpacks and name == "pytest.mark.skipif":
            yield _finding(context, location, who, "is skipped")  # pytest takes that for a plain skip
    elif name in _SKIPS_UNLESS and call is not None:
        condition = call.keyword("condition") or next(iter(call.arguments), None)
        if condition is not None and _is_constantly(context, condition, False):
            yield _finding(context, location, who, "is skipped")
    elif name in _FAILS:
        condition = _condition_of_xfail(call)
        if condition is None or _is_constantly(context, condition, True):
            runs = call.keyword("run") if call is not None else None
            never = isinstance(runs, Constant) and runs.value is False
            yield _finding(context, location, who, "is not run" if never else "is expected to fail")


def _condition_of_xfail(call: Call | None) -> Expr | None:
    if call is None:
        return None
    return call.keyword("condition") or next(iter(call.arguments), None)


def _meant(context: Context, mark: Expr) -> Expr:
    """The mark that a name of the module stands for (`needs_port = pytest.mark.skip(...)`)."""
    if not isinstance(mark, Reference) or "." in mark.dotted:
        return mark
    placed = context.file.assignment_of(mark.dotted)
    given = [a for a in context.file.assignments if mark.dotted in a.fact.names]
    if placed is None or placed.fact.value is None or placed.fact.conditional or len(given) != 1:
        return mark
    if may_bind(context.file, mark.dotted):
        return mark  # a loop, or a function that says `global`, may give it another value
    return placed.fact.value


def _is_constantly(context: Context, condition: Expr, truth: bool) -> bool:
    """Whether a condition is so on every machine: a literal, or a name that only ever gets one."""
    value = _meant(context, condition)
    if not isinstance(value, Constant):
        return False
    if isinstance(value.value, str):
        return truth and value.value.strip() in ("True", "1")  # pytest evaluates strings
    return bool(value.value) is truth


def _full_name(context: Context, dotted: str) -> str | None:
    found = context.names.resolve(context.file.path, dotted)
    return found.dotted if isinstance(found, External) else None


def _finding(context: Context, location: Location, who: str, ends: str) -> Finding:
    return context.finding(
        location,
        f"{who} {ends} on every machine: that is no evidence of parity",
        symbol=who if " " not in who else None,
    )


_TEST = "tests/local_tests/sound/test_sound_block_parity.py"
_IMPORTS = "import pytest\nimport torch\n\n"

RULE = Rule(
    code="DIT802",
    name="skip-unconditional",
    severity=Severity.WARNING,
    tier=Tier.FILE,
    summary="a parity test always skips or is always expected to fail",
    what=(
        "Reports a parity test that no machine can pass: `@pytest.mark.skip`, `skipif` with a constant that "
        "is true, `xfail` without a condition, `pytest.skip()` or `pytest.xfail()` that every run reaches "
        "(in the body, before any `return`), a raised `unittest.SkipTest`, and the same for a whole class "
        "or module (`pytestmark`, `pytest.skip(allow_module_level=True)`). The unittest decorators count "
        "too."
    ),
    why=(
        "A skipped test looks like a passing one in a green run, and a skip is never evidence: nobody knows "
        "whether the port still matches."
    ),
    how=(
        "Skip only where something is missing, and name it: "
        '`@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")`, or `pytest.skip(...)` '
        "behind a check for the clone or the weights. Delete a test that cannot run any more."
    ),
    exceptions=(
        "Skips and xfails behind any condition, a `try`, or after a `return`; a skip after `with "
        "pytest.raises(...)` or `contextlib.suppress(...)`; single parameters marked with "
        "`pytest.param(..., marks=...)`; `pytest.importorskip`; files that are no parity tests."
    ),
    source="`.agents/skills/add-model/shared/common_rules.md`, Verification Semantics",
    check=check,
    valid=(
        Example("skipped where CUDA is missing", {}),
        Example(
            "skips behind conditions",
            {
                _TEST: _IMPORTS
                + """\
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
BROKEN = False
official = pytest.importorskip("official_sound")
if not torch.cuda.is_available():
    pytest.skip("needs CUDA", allow_module_level=True)


@needs_cuda
@pytest.mark.skipif(BROKEN, reason="off")
@pytest.mark.xfail(torch.__version__ < "2.4", reason="old torch")
@pytest.mark.parametrize("size", [1, pytest.param(2, marks=pytest.mark.skip(reason="slow"))])
def test_block(size):
    if size > 1:
        pytest.skip("too large")
    try:
        import official_sound
    except ImportError:
        pytest.skip("no clone")
    torch.testing.assert_close(official_sound.block(size), size)


def test_returns_first():
    if torch.cuda.is_available():
        return
    pytest.skip("needs CUDA")
"""
            },
        ),
        Example(
            "flags that a probe or a loop sets, a skip that is swallowed",
            {
                _TEST: _IMPORTS
                + """\
MISSING = True
BROKEN = True


def _probe():
    global MISSING
    MISSING = False


_probe()
for BROKEN in (False,):
    pass


@pytest.mark.skipif(MISSING, reason="no clone")
@pytest.mark.skipif(BROKEN, reason="broken")
def test_a():
    with pytest.raises(pytest.skip.Exception):
        pytest.skip("no clone")
"""
            },
        ),
        Example(
            "a helper that only skips",
            {
                _TEST: _IMPORTS
                + "def skip_all():\n    pytest.skip('no')\n\n\ndef test_a():\n    assert 1 + 1\n"
            },
        ),
    ),
    invalid=(
        Example(
            "marked",
            {
                _TEST: _IMPORTS
                + """\
from pytest import mark

broken = mark.skip(reason="broken")


@pytest.mark.skip
def test_a():
    assert torch


@broken
def test_b():
    assert torch


@pytest.mark.skipif(True, reason="off")
def test_c():
    assert torch


@pytest.mark.xfail(reason="drifts")
def test_d():
    assert torch


@pytest.mark.xfail(run=False)
def test_e():
    assert torch
"""
            },
            findings=(
                Expected(_TEST, 9, "test_a is skipped on every machine", Severity.WARNING),
                Expected(_TEST, 14, "test_b is skipped"),
                Expected(_TEST, 19, "test_c is skipped"),
                Expected(_TEST, 24, "test_d is expected to fail"),
                Expected(_TEST, 29, "test_e is not run"),
            ),
        ),
        Example(
            "conditions that are none",
            {
                _TEST: _IMPORTS
                + """\
import unittest


@pytest.mark.skipif(reason="later")
def test_a():
    assert torch


class TestSound(unittest.TestCase):

    @unittest.skipUnless(False, "later")
    def test_b(self):
        assert torch
"""
            },
            findings=(
                Expected(_TEST, 7, "test_a is skipped on every machine"),
                Expected(_TEST, 14, "test_b is skipped"),
            ),
        ),
        Example(
            "in the body",
            {
                _TEST: _IMPORTS
                + """\
import unittest


def test_a():
    model = torch.nn.Identity()
    pytest.skip("later")
    assert model


class TestSound(unittest.TestCase):

    def test_b(self):
        raise unittest.SkipTest("later")

    def test_c(self):
        self.skipTest("later")
"""
            },
            findings=(
                Expected(_TEST, 9, "test_a is skipped"),
                Expected(_TEST, 16, "test_b is skipped"),
                Expected(_TEST, 19, "test_c is skipped"),
            ),
        ),
        Example(
            "a whole module and a whole class",
            {
                _TEST: _IMPORTS
                + """\
pytestmark = [pytest.mark.skip(reason="later")]
pytest.skip("later", allow_module_level=True)


@pytest.mark.skip
class TestSound:

    def test_a(self):
        assert torch
"""
            },
            findings=(
                Expected(_TEST, 4, "every test of the module is skipped"),
                Expected(_TEST, 5, "every test of the module is skipped"),
                Expected(_TEST, 8, "every test of TestSound is skipped"),
            ),
        ),
    ),
)
