"""DIT802 skip-unconditional: a test that always skips or xfails."""

from __future__ import annotations

import re
from collections.abc import Iterator

from analyzers.facts.certain import CertainCall, certain_calls, certain_in_branches
from analyzers.facts.model import (
    Assignment,
    Call,
    Collection,
    Constant,
    Expr,
    Opaque,
    Placed,
    PlacedChunk,
    Reference,
)
from analyzers.findings import Finding, Location, Severity, Span
from analyzers.project.bindings import may_bind
from analyzers.project.names import External
from analyzers.project.tests import Member, collected, fixture_name, is_autouse, is_fixture
from analyzers.rules.base import Context, Example, Expected, Rule, Tier

_SKIPS = frozenset({"pytest.mark.skip", "unittest.skip"})
_SKIPS_IF = frozenset({"pytest.mark.skipif", "unittest.skipIf"})
_SKIPS_UNLESS = frozenset({"unittest.skipUnless"})
_FAILS = frozenset({"pytest.mark.xfail", "unittest.expectedFailure"})
_SWALLOWS = frozenset({"pytest.raises", "contextlib.suppress"})
"""Context managers inside which a skip does not end the test."""

_WHOLE = "every test of the module"
_CLASS_SET_UPS = frozenset({"setUp", "setUpClass", "setup_method", "setup_class"})
_MODULE_SET_UPS = frozenset({"setUpModule", "setup_module", "setup_function"})
_RAISED = frozenset({"unittest.SkipTest", "unittest.case.SkipTest", "pytest.skip.Exception"})


def check(context: Context) -> Iterator[Finding]:
    """Looks at marks of the module, of test classes and of tests, and at what runs before and in a test."""
    if not context.profile.is_parity_test(context.file.path):
        return
    tests = collected(context.file)
    if not tests:
        return
    yield from _module(context)
    yield from _around(context, tests)
    for test in tests:
        for decorator in test.function.fact.decorators:
            yield from _marked(context, test.function.at(decorator.span), decorator, test.name)
        yield from _body(context, test, test.name)


def _module(context: Context) -> Iterator[Finding]:
    for placed in context.file.assignments:
        if "pytestmark" in placed.fact.names and not placed.fact.conditional:
            for mark in _marks(placed.fact):
                yield from _marked(context, placed.at(mark.span), mark, _WHOLE)
    for call in context.file.calls:
        if call.fact.conditional or call.fact.enclosing:
            continue
        ends = _ends(context, call.fact.call.callee, call.fact.use.kind)
        if ends is not None:
            yield _finding(context, call.at(call.fact.call.span), _WHOLE, ends)
    for chunk in context.file.chunks:
        if chunk.facts.calls and not chunk.facts.classes and not chunk.facts.functions:
            yield from _constant_branch(context, chunk)


def _constant_branch(context: Context, chunk: PlacedChunk) -> Iterator[Finding]:
    """A skip of the module under `if True:`."""
    for call in certain_in_branches(chunk):
        ends = _ends(context, call.callee, call.kind)
        if ends is not None and _are_so(context, call):
            yield _finding(context, Location(context.file.path, call.span.shifted(chunk.line)), _WHOLE, ends)


def _marks(assignment: Assignment) -> tuple[Expr, ...]:
    """The marks of a `pytestmark`: one, or a list of them."""
    value = assignment.value
    if assignment.conditional or value is None:
        return ()
    return value.items if isinstance(value, Collection) else (value,)


def _around(context: Context, tests: tuple[Member, ...]) -> Iterator[Finding]:
    """Marks of the classes around tests, and what runs before their tests: fixtures and set-ups."""
    seen: set[tuple[str, Span]] = set()
    for test in tests:
        owner = test.owner
        for cls in (owner.cls, *owner.around) if owner is not None else ():
            assert owner is not None
            if (cls.name, cls.span) in seen:
                continue
            seen.add((cls.name, cls.span))
            who = f"every test of {cls.name}"
            marks = [m for a in cls.attributes if "pytestmark" in a.names for m in _marks(a)]
            for mark in (*cls.decorators, *marks):
                place = Location(owner.path, mark.span.shifted(owner.line))
                yield from _marked(context, place, mark, who)
            for method in cls.methods:
                if method.name in _CLASS_SET_UPS or is_autouse(method):
                    member = Member(Placed(method, owner.path, owner.line), owner)
                    yield from _body(context, member, who)
    asked = {p.name for test in tests for p in test.function.fact.parameters}
    for function in context.file.functions:
        member = Member(function)
        if function.fact.name in _MODULE_SET_UPS or is_autouse(function.fact):
            yield from _body(context, member, _WHOLE)
        elif is_fixture(function.fact) and fixture_name(function.fact) in asked:
            name = fixture_name(function.fact)
            yield from _body(context, member, f"every test that asks for '{name}'")


def _body(context: Context, member: Member, who: str) -> Iterator[Finding]:
    """A skip that every run meets: no branch, handler or `return` lies before it."""
    start = context.project.sources.bodies.start(member.function)
    for call, ends in _ending(context, member, 3):
        place = Location(member.function.path, call.span.shifted(start))
        yield _finding(context, place, who, ends)
        return


def _ending(context: Context, member: Member, hops: int) -> Iterator[tuple[CertainCall, str]]:
    """The call that ends every run of a function, also by a helper that does."""
    for call in context.project.derived("certain calls", member.function, certain_calls) or ():
        if call.given and not (member.function.path == context.file.path and _are_so(context, call)):
            continue
        if call.kind == "with":
            if _full_name(context, call.callee) in _SWALLOWS:
                return  # it may swallow what the skip raises
            continue
        if member.function.path == context.file.path:
            ends = _ends(context, call.callee, call.kind)
            if ends is not None:
                yield call, ends
                return
        if hops <= 0 or call.kind == "raise":
            continue
        for helper in context.project.tests.meant(member, call.callee):
            # Only what lies in this file: names are resolved there.
            if helper.function.path == context.file.path and not is_fixture(helper.function.fact):
                for _, ends in _ending(context, helper, hops - 1):
                    yield call, ends
                    return


def _ends(context: Context, callee: str | None, kind: str) -> str | None:
    """`is skipped` or `is expected to fail` where the call ends the test by itself."""
    if callee is None:
        return None
    if callee == "self.skipTest" and kind == "expression":
        return "is skipped"
    full = _full_name(context, callee)
    if full == "pytest.skip" and kind in ("expression", "inside"):
        return "is skipped"
    if full == "pytest.xfail" and kind in ("expression", "inside"):
        return "is expected to fail"
    if full in _RAISED and kind == "raise":
        return "is skipped"
    return None


def _marked(context: Context, location: Location, mark: Expr, who: str) -> Iterator[Finding]:
    """Reports a mark that skips or excuses the test whatever the machine."""
    line = location.span.line - mark.span.line  # what the mark's spans are counted from
    if (meant := _meant(context, mark)) is not mark:
        mark = meant
        line = next(a.line for a in context.file.assignments if a.fact.value is meant)
    call = mark if isinstance(mark, Call) else None
    callee = call.function if call is not None else mark
    if not isinstance(callee, Reference):
        return
    name = _full_name(context, callee.dotted)
    if name == "pytest.mark.parametrize" and call is not None:
        if _every_case_skips(context, call):
            yield _finding(context, location, who, "is skipped")
    elif name in _SKIPS:
        yield _finding(context, location, who, "is skipped")
    elif name in _SKIPS_IF and call is not None:
        condition = call.keyword("condition") or next(iter(call.arguments), None)
        if condition is not None and _is_constantly(context, condition, line, True):
            yield _finding(context, location, who, "is skipped")
        elif condition is None and not call.unpacks and name == "pytest.mark.skipif":
            yield _finding(context, location, who, "is skipped")  # pytest takes that for a plain skip
    elif name in _SKIPS_UNLESS and call is not None:
        condition = call.keyword("condition") or next(iter(call.arguments), None)
        if condition is not None and _is_constantly(context, condition, line, False):
            yield _finding(context, location, who, "is skipped")
    elif name in _FAILS:
        condition = _condition_of_xfail(call)
        if condition is None or _is_constantly(context, condition, line, True):
            runs = call.keyword("run") if call is not None else None
            never = isinstance(runs, Constant) and runs.value is False
            yield _finding(context, location, who, "is not run" if never else "is expected to fail")


def _every_case_skips(context: Context, call: Call) -> bool:
    """Whether no case of a `parametrize` runs: there are none, or each is marked to be skipped."""
    values = call.keyword("argvalues") or (call.arguments[1] if len(call.arguments) > 1 else None)
    if not isinstance(values, Collection):
        return False
    return all(isinstance(item, Call) and _is_skipped_case(context, item) for item in values.items)


def _is_skipped_case(context: Context, case: Call) -> bool:
    if _full_name(context, case.callee or "") != "pytest.param":
        return False
    marks = case.keyword("marks")
    for mark in marks.items if isinstance(marks, Collection) else (marks,):
        meant = _meant(context, mark) if mark is not None else None
        callee = meant.function if isinstance(meant, Call) else meant
        if isinstance(callee, Reference) and _full_name(context, callee.dotted) in _SKIPS:
            return True
    return False


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


def _is_constantly(context: Context, condition: Expr, line: int, truth: bool) -> bool:
    """Whether a condition is so on every machine: a literal, a name that only ever gets one, or `not` it.

    `line`: what the condition's span is counted from.
    """
    if isinstance(condition, Opaque) and condition.kind == "UnaryOp":
        span = condition.span.shifted(line)
        lines = context.text.split("\n")[span.line : span.end_line + 1]
        text = lines[0].encode()[span.column : span.end_column].decode() if len(lines) == 1 else ""
        negated = re.fullmatch(r"not\s+(\w+)", text)
        if negated is None:
            return False
        condition, truth = Reference(negated[1], condition.span), not truth
    value = _meant(context, condition)
    if not isinstance(value, Constant):
        return False
    if isinstance(value.value, str):
        return truth and value.value.strip() in ("True", "1")  # pytest evaluates strings
    return bool(value.value) is truth


def _are_so(context: Context, call: CertainCall) -> bool:
    """Whether the names that a call depends on are constants of the module with the truth it needs."""
    for name, needed in call.given:
        value = _meant(context, Reference(name, call.span))
        if not isinstance(value, Constant) or bool(value.value) is not needed:
            return False
    return True


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
        "Reports a parity test that no machine can pass: `@pytest.mark.skip`, `skipif` with a "
        "constant that is true (also a flag of the module that nothing ever changes, `if not READY:` "
        "included), `xfail` without a condition, `pytest.skip()` or `pytest.xfail()` that every run "
        "reaches (in the body, in a helper of the file that it calls, in an autouse fixture, a "
        "fixture that it asks for or a set-up; before any `return`), a raised `unittest.SkipTest`, a "
        "`parametrize` without cases or whose cases are all skipped, and the same for a whole class "
        "or module (`pytestmark`, `pytest.skip(allow_module_level=True)`). The unittest decorators "
        "count too."
    ),
    why=(
        "A skipped test looks like a passing one in a green run, and a skip is never evidence: nobody "
        "knows whether the port still matches."
    ),
    how=(
        "Skip only where something is missing, and name it: `@pytest.mark.skipif(not "
        'torch.cuda.is_available(), reason="needs CUDA")`, or `pytest.skip(...)` behind a check for '
        "the clone or the weights. Delete a test that cannot run any more."
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
            "flags that something sets",
            {
                _TEST: _IMPORTS
                + """\
READY = False
FOUND = torch.cuda.is_available()


def setup_module():
    global READY
    READY = torch.cuda.is_available()


@pytest.mark.skipif(not FOUND, reason="needs CUDA")
def test_block(monkeypatch):
    if not READY:
        pytest.skip("needs CUDA")
    torch.testing.assert_close(1, 1)


def test_norm():
    READY = torch.cuda.is_available()
    if not READY:
        pytest.skip("needs CUDA")
    torch.testing.assert_close(1, 1)
"""
            },
        ),
        Example(
            "skips behind conditions",
            {
                _TEST: _IMPORTS
                + """\
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
BROKEN = False
official = pytest.importorskip("official_sound")
KINDS = []
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


@pytest.fixture
def weights():
    if not torch.cuda.is_available():
        pytest.skip("needs CUDA")


@pytest.fixture
def unused():
    pytest.skip("nobody asks for it")


def _official():
    try:
        import official_sound
    except ImportError:
        pytest.skip("no clone")
    return official_sound


@pytest.mark.parametrize("size", [1, 2])
@pytest.mark.parametrize("kind", KINDS)
def test_fixture(weights, size, kind):
    if False:
        pytest.skip("never")
    run = lambda: pytest.skip("if called")  # noqa: E731
    official = _official() if torch.cuda.is_available() else pytest.skip("needs CUDA")
    assert official or run


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
            "flags of the module that nothing changes",
            {
                _TEST: _IMPORTS
                + """\
READY = False
SKIP_SLOW = True


@pytest.mark.skipif(not READY, reason="weights to come")
def test_block():
    torch.testing.assert_close(1, 1)


def test_attention():
    if not READY:
        pytest.skip("weights to come")
    torch.testing.assert_close(1, 1)


def test_norm():
    size = 1
    if SKIP_SLOW:
        pytest.skip(f"slow: {size}")
    torch.testing.assert_close(size, 1)
"""
            },
            findings=(
                Expected(_TEST, 8, "test_block is skipped"),
                Expected(_TEST, 15, "test_attention is skipped"),
                Expected(_TEST, 22, "test_norm is skipped"),
            ),
        ),
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
            "before the test, around it, in a helper",
            {
                _TEST: _IMPORTS
                + """\
broken = pytest.mark.skip(reason="off")


@pytest.fixture(autouse=True)
def _later():
    pytest.skip("later")


@pytest.fixture
def official():
    raise pytest.skip.Exception("no clone yet")


def _run_official(params):
    del params
    pytest.skip("TODO: import the official pipeline")


if True:
    pytest.skip("later", allow_module_level=True)


def test_a(official):
    if True:
        pytest.skip("later")


def test_b():
    params = {}
    out = _run_official(params)
    assert out


@pytest.mark.parametrize("size", [])
def test_c(size):
    assert size


@pytest.mark.parametrize("n", [pytest.param(1, marks=pytest.mark.skip), pytest.param(2, marks=[broken])])
def test_d(n):
    assert n


class TestOuter:

    def setup_method(self):
        pytest.skip("later")

    class TestInner:

        @pytest.mark.skip
        def test_e(self):
            with torch.no_grad():
                return pytest.skip("later")
"""
            },
            findings=(
                Expected(_TEST, 9, "every test of the module is skipped"),
                Expected(_TEST, 14, "every test that asks for 'official' is skipped"),
                Expected(_TEST, 23, "every test of the module is skipped"),
                Expected(_TEST, 28, "test_a is skipped"),
                Expected(_TEST, 33, "test_b is skipped"),
                Expected(_TEST, 37, "test_c is skipped"),
                Expected(_TEST, 42, "test_d is skipped"),
                Expected(_TEST, 50, "every test of TestOuter"),
                Expected(_TEST, 54, "test_e is skipped"),
                Expected(_TEST, 57, "test_e is skipped"),
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
