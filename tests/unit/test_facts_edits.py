"""Facts over an editing session: nothing raises, what an edit leaves alone stays."""

from __future__ import annotations

import ast
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
from facts_texts import edited, moved
from hypothesis import given, settings
from hypothesis import strategies as st

from analyzers.facts.file import FileAnalysis, analyse
from analyzers.facts.model import ClassFacts, FileFacts, FunctionFacts, Placed
from analyzers.facts.positions import LineIndex
from analyzers.findings import Finding, Span
from analyzers.project.index import Project
from analyzers.project.profile import FASTVIDEO
from analyzers.project.settings import Settings
from analyzers.project.sources import Sources
from analyzers.rules.base import Context, Rule
from analyzers.rules.catalogue import all_rules
from analyzers.rules.engine import check_file
from analyzers.rules.examples import TREE, write_tree

PORT = TREE["fastvideo/models/dits/sound.py"]


def whole_definitions(facts: FileFacts) -> Iterator[tuple[str, object]]:
    """Every function and class with absolute positions, by dotted name."""

    def inside(prefix: str, cls: ClassFacts, line: int) -> Iterator[tuple[str, object]]:
        yield prefix, moved(cls, line)
        for method in cls.methods:
            yield f"{prefix}.{method.name}", moved(method, line)
        for inner in cls.classes:
            yield from inside(f"{prefix}.{inner.name}", inner, line)

    for item in facts.functions:
        yield item.fact.name, moved(item.fact, item.line)
    for cls in facts.classes:
        yield from inside(cls.fact.name, cls.fact, cls.line)


def assert_spans_lie_in(value: object, lines: list[str]) -> None:
    """Every span of a fact lies in the text and does not end before it begins."""
    if isinstance(value, Span):
        assert (value.line, value.column) <= (value.end_line, value.end_column)
        assert value.end_line < len(lines)
        assert value.end_column <= len(lines[value.end_line].encode("utf-8", "surrogatepass"))
    elif isinstance(value, tuple):
        for item in value:
            assert_spans_lie_in(item, lines)
    elif hasattr(value, "__dataclass_fields__"):
        for name in value.__dataclass_fields__:
            assert_spans_lie_in(getattr(value, name), lines)


@given(edited(), st.sampled_from(["\n", "\r\n", "\r"]))
@settings(max_examples=300)
def test_any_edit_is_survived(states: list[str], end: str) -> None:
    analysis = FileAnalysis("file.py")
    for state in states:
        text = state.replace("\n", end)
        facts = analysis.update(text)
        index = LineIndex(text)
        assert "".join(c.text for c in facts.chunks) == "\n".join(index.lines)
        try:
            ast.parse("\n".join(index.lines))
        except (SyntaxError, ValueError):
            pass
        else:
            assert not facts.broken, facts.problems
            assert list(whole_definitions(facts)) == list(whole_definitions(analyse("file.py", text)))
        fresh = analyse("file.py", text)
        for chunk, anew in zip(facts.chunks, fresh.chunks, strict=True):
            assert (chunk.line, chunk.text, chunk.facts.problem) == (anew.line, anew.text, anew.facts.problem)
            if chunk.facts.problem is None:
                assert chunk.facts == anew.facts
            else:
                assert all(c.partial for c in chunk.facts.classes)
            assert_spans_lie_in(anew.facts, chunk.text.split("\n"))


@given(edited(PORT))
@settings(max_examples=150)
def test_a_text_that_is_mended_has_its_facts_again(states: list[str]) -> None:
    analysis = FileAnalysis("file.py")
    for state in [*states, PORT]:
        facts = analysis.update(state)
    assert facts == analyse("file.py", PORT)


# --------------------------------------------------------------------------- broken classes

CLASS = textwrap.dedent(
    '''\
    import os


    @dataclass
    @other(
        1,
    )
    class Model(Base, metaclass=Meta):
        """What it is: a "model" (of sorts).

        x = Model(
        """

        size: int = 3
        names = ["a", "b"]

        def __init__(self, config) -> None:
            super().__init__()
            self.first = nn.Linear(1, 2)

        @property
        def middle(self):
            """Text with a quote: \'."""
            from a.b import c
            return self.first

        class Inner:
            kind = "inner"

            def call(self):
                self.inner = 1

        async def last(self, x):
            self.after = x
            return f"{x}"

        flag = True


    class Other(Model):
        def forward(self, x):
            return x


    TABLE = {"a": Model}
    '''
)
MEMBERS = ("__init__", "middle", "last")


def model_of(facts: FileFacts) -> Placed[ClassFacts]:
    found = facts.class_named("Model")
    assert found is not None
    return found


def assert_method_stands(cls: Placed[ClassFacts], name: str, text: str) -> FunctionFacts:
    """The method is there, and its name where the text has it."""
    method = cls.fact.method(name)
    assert method is not None, name
    span = cls.at(method.name_span).span
    line = text.split("\n")[span.line]
    assert line.encode()[span.column : span.end_column].decode() == name
    return method


DAMAGE = [
    "x = f(",
    "x = [1, {",
    'x = """',
    "x = '''",
    "x = 'open",
    "x = )",
    "def broken(self, a=(",
    "@decorated(",
]
DAMAGE += [
    "class Half(",
    "class Half",
    "if x",
    "from . import (",
    "x: int =",
    "return {",
    "lambda",
    "\x00",
    "x = \\",
]


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize(
    "before", ["    size: int", "    def __init__", "    @property", "    class Inner", "    async"]
)
@pytest.mark.parametrize("history", [False, True], ids=["opened broken", "was whole"])
def test_intact_members_of_a_broken_class_are_found(damage: str, before: str, history: bool) -> None:
    at = CLASS.index(before)
    text = f"{CLASS[:at]}    {damage}\n\n{CLASS[at:]}"
    analysis = FileAnalysis("file.py")
    if history:
        analysis.update(CLASS)
    facts = analysis.update(text)
    assert facts.broken
    cls = model_of(facts)
    assert cls.fact.partial
    assert [b.dotted for b in cls.fact.bases if hasattr(b, "dotted")] == ["Base"]
    assert [k.name for k in cls.fact.keywords] == ["metaclass"]
    assert cls.fact.decorators
    following = next(n for n in ("__init__", "middle", "Inner", "last", "") if n in CLASS[at:] and n)
    for name in MEMBERS:
        swallowed = damage.startswith("@") or damage == "x = \\" or damage == "\x00"
        if swallowed and name == following and not history:
            continue
        method = assert_method_stands(cls, name, text)
        if name == "__init__":
            assert [a.name for a in method.assignments] == ["first"]
            assert [c.target for c in method.calls if c.call.callee == "nn.Linear"] == ["first"]
        if name == "last":
            assert [a.name for a in method.assignments] == ["after"]
    flag = cls.fact.attribute("flag")
    assert flag is not None
    assert not flag.conditional
    imported = [i.fact.function for i in facts.imports if i.fact.bound == "c"]
    assert imported == ["Model.middle"] or (not history and cls.fact.method("middle") is None)
    # The other chunks do not notice.
    assert facts.class_named("Other") is not None
    assert not facts.class_named("Other").fact.partial  # type: ignore[union-attr]
    assert facts.assignment_of("TABLE") is not None


@pytest.mark.parametrize(
    ("old", "new", "member"),
    [
        ("self.first = nn.Linear(1, 2)", "self.first = nn.Linear(1,", "__init__"),
        ("return self.first", "return self.first(", "middle"),
        ("def last(self, x):", "def last(self, x", "last"),
        ('return f"{x}"', 'return f"""{x}', "last"),
        ("self.after = x", "self.after = x.", "last"),
    ],
)
def test_a_damaged_member_keeps_its_last_good_facts(old: str, new: str, member: str) -> None:
    analysis = FileAnalysis("file.py")
    good = analysis.update(CLASS)
    text = "# one line more\n" + CLASS.replace(old, new).replace(
        "    size: int = 3\n", "    size: int = 3\n    more = 1\n"
    )
    facts = analysis.update(text)
    method = assert_method_stands(model_of(facts), member, text)
    before = model_of(good).fact.method(member)
    assert before is not None
    assert [a.name for a in method.assignments] == [a.name for a in before.assignments]
    assert [c.call.callee for c in method.calls] == [c.call.callee for c in before.calls]


def test_a_deleted_member_is_gone_although_the_class_is_broken() -> None:
    analysis = FileAnalysis("file.py")
    analysis.update(CLASS)
    begin, end = CLASS.index("    @property"), CLASS.index("    class Inner")
    text = (CLASS[:begin] + CLASS[end:]).replace("self.after = x", "self.after = x(")
    cls = model_of(analysis.update(text))
    assert cls.fact.method("middle") is None
    assert cls.fact.method("last") is not None


def test_a_broken_header_keeps_what_it_said() -> None:
    analysis = FileAnalysis("file.py")
    analysis.update(CLASS)
    text = CLASS.replace("class Model(Base, metaclass=Meta):", "class Model(Base, metaclass=Me")
    cls = model_of(analysis.update(text))
    assert [b.dotted for b in cls.fact.bases if hasattr(b, "dotted")] == ["Base"]
    for name in MEMBERS:
        assert_method_stands(cls, name, text)
    without_colon = CLASS.replace("metaclass=Meta):", "metaclass=Meta)")
    assert [k.name for k in model_of(analyse("file.py", without_colon)).fact.keywords] == ["metaclass"]


def test_a_broken_nested_class_keeps_its_intact_members() -> None:
    text = CLASS.replace(
        '        kind = "inner"\n', '        kind = "inner\n\n        def more(self): pass\n'
    )
    inner = model_of(analyse("file.py", text)).fact.classes
    assert [c.name for c in inner] == ["Inner"]
    assert inner[0].partial
    assert [m.name for m in inner[0].methods] == ["more", "call"]
    assert [a.name for a in inner[0].methods[1].assignments] == ["inner"]


def test_broken_statements_of_a_module_keep_their_last_good_facts() -> None:
    good = textwrap.dedent(
        """\
        from a.b import (
            c,
            d,
        )
        if TYPE_CHECKING:
            from e import f

        TABLE = {"x": 1}


        def helper(x):
            return c(x)
        """
    )
    analysis = FileAnalysis("file.py")
    analysis.update(good)
    broken = (
        good.replace("    d,\n)", "    d, (")
        .replace("import f", "import f,,")
        .replace("return c(x)", "return c(")
    )
    broken = "\n" + broken.replace('{"x": 1}', '{"x": 1')
    facts = analysis.update(broken)
    assert facts.aliases == {"c": "a.b.c", "d": "a.b.d", "f": "e.f"}
    assert facts.assignment_of("TABLE") is not None
    helper = facts.function_named("helper")
    assert helper is not None
    assert helper.at(helper.fact.name_span).span.line == broken.split("\n").index("def helper(x):")
    assert len(facts.problems) == 4


def test_names_that_come_and_go_are_not_kept_for_ever() -> None:
    analysis = FileAnalysis("file.py")
    for number in range(200):
        analysis.update(f"class Name{number}:\n    pass\n")
    assert len(analysis._good) < 40


# --------------------------------------------------------------------------- findings


def probe(context: Context) -> Iterator[Finding]:
    """A rule for the tests: every call of `nn.Linear`, and every class that lacks `forward`."""
    for cls, function in context.file.all_functions():
        for call in function.fact.calls:
            if call.call.callee == "nn.Linear":
                yield context.finding(function.at(call.call.span), f"linear in {function.fact.name}")
        if cls is not None and not cls.fact.partial and cls.fact.method("forward") is None:
            yield context.finding(cls.at(cls.fact.name_span), f"{cls.fact.name} lacks forward")


PROBE = Rule(
    code="DIT999",
    name="probe",
    severity=all_rules()[0].severity,
    tier=all_rules()[0].tier,
    summary="",
    what="",
    why="",
    how="",
    check=probe,
)

BLOCKS = textwrap.dedent(
    '''\
    from torch import nn


    class First(nn.Module):
        def __init__(self):
            self.a = nn.Linear(1, 2)

        def forward(self, x):
            return self.a(x)


    class Second(nn.Module):
        def __init__(self):
            self.b = nn.Linear(1, 2)

        def helper(self):
            return nn.Linear(3, 4)

        def forward(self, x):
            return self.b(x)


    class Third(nn.Module):
        """Text."""

        def __init__(self):
            self.c = nn.Linear(1, 2)
    '''
)


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Sources:
    root = tmp_path_factory.mktemp("tree")
    write_tree(root, {"fastvideo/models/dits/blocks.py": BLOCKS})
    return Sources(root)


def messages(sources: Sources, text: str) -> list[tuple[int, str]]:
    sources.open("fastvideo/models/dits/blocks.py", text)
    project = Project(sources, FASTVIDEO, Settings())
    found = check_file(project, "fastvideo/models/dits/blocks.py", [PROBE])
    return [(f.location.span.line, f.message) for f in found if f.code == PROBE.code]


@given(st.data())
@settings(max_examples=150)
def test_an_edit_inside_a_class_keeps_the_findings_of_the_others(
    sources: Sources, data: st.DataObject
) -> None:
    """Whatever is typed into `helper`: nothing else loses a finding, nothing is called missing."""
    whole = messages(sources, BLOCKS)
    assert len(whole) == 5
    at = BLOCKS.index("return nn.Linear(3, 4)")
    typed = data.draw(
        st.lists(
            st.sampled_from(
                ["(", "[", "{", '"', "'", '"""', "x", " = ", "self.", ")", "]", "f(", "if x:", "#", "\\"]
            ),
            max_size=8,
        )
    )
    text = BLOCKS
    for end in range(1, len(typed) + 1):
        text = BLOCKS[:at] + "".join(typed[:end]) + "\n        " + BLOCKS[at:]
        found = [m for _, m in messages(sources, text)]
        expected = [m for _, m in whole]
        if "linear in helper" not in found:  # it may be commented out or stand inside a string now
            expected.remove("linear in helper")
        assert found == expected
    assert messages(sources, BLOCKS) == whole


def test_missing_things_are_not_reported_of_a_partial_class(sources: Sources) -> None:
    assert "Third lacks forward" in [m for _, m in messages(sources, BLOCKS)]
    broken = BLOCKS.replace('"""Text."""', "x = (")
    found = [m for _, m in messages(sources, broken)]
    assert "Third lacks forward" not in found
    assert found.count("linear in __init__") == 3


def test_a_file_of_the_real_package_typed_into(fastvideo: Path) -> None:
    """Each unfinished line in the middle of the largest class keeps all of its other methods."""
    text = (fastvideo / "fastvideo/models/dits/ltx2.py").read_text(encoding="utf-8")
    body = [n for n in ast.parse(text).body if isinstance(n, ast.ClassDef)]
    largest = max(body, key=lambda n: (n.end_lineno or 0) - n.lineno)
    methods = [n for n in largest.body if isinstance(n, ast.FunctionDef)]
    lines = text.split("\n")
    at = methods[1].lineno - 1
    analysis = FileAnalysis("ltx2.py")
    whole = analysis.update(text)
    for damage in ("x = (", 'x = """', "x = {'", "def broken(self", "@decorated(", "class Half("):
        changed = "\n".join([*lines[:at], f"    {damage}", "", *lines[at:]])
        facts = analysis.update(changed)
        cls = facts.class_named(largest.name)
        assert cls is not None
        assert cls.fact.partial
        for method in methods:
            assert_method_stands(cls, method.name, changed)
        others = [c.fact.name for c in facts.classes if c.fact.name not in (largest.name, "Half")]
        assert others == [c.fact.name for c in whole.classes if c.fact.name != largest.name], damage
