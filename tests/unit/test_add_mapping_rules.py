"""Rules written into mappings of all layouts, and mappings that are left alone."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from analyzers.findings import Applicability, JsonValue
from analyzers.fixes.base import Refused, find_operation, run_operation
from analyzers.fixes.verify import with_texts
from analyzers.project.index import Project
from analyzers.project.mappings import Mappings, MappingTable
from analyzers.project.profile import FASTVIDEO
from analyzers.project.settings import Settings
from analyzers.project.sources import Sources
from analyzers.rules.examples import write_tree
from analyzers.weights.mapping.symbolic import SymbolicRule
from analyzers.weights.mapping.tables import as_texts
from analyzers.weights.proposing.proposals import Proposal, fix_of, propose, with_proposed
from analyzers.weights.state import Tensor

PATH = "fastvideo/configs/models/dits/sound.py"
ADD = find_operation("add-mapping-rules")


def new(
    pattern: str,
    target: str,
    *,
    merge: list[JsonValue] | None = None,
    before: str | None = None,
    after: str | None = None,
    replaces: bool = False,
) -> dict[str, JsonValue]:
    return {
        "pattern": pattern,
        "target": target,
        "merge": merge,
        "before": before,
        "after": after,
        "replaces": replaces,
    }


def added(text: str, container: str, *rules: dict[str, JsonValue]) -> str:
    arguments: dict[str, JsonValue] = {"path": PATH, "container": container, "rules": list(rules)}
    (result,) = ADD(arguments, {PATH: text}.get).values()
    ast.parse(result.lstrip("\ufeff"))
    return result


Q = new(r"^blocks\.(\d+)\.q\.(.*)$", r"blocks.\1.to_q.\2")
K = new(r"^k$", "to_k", merge=[1, 2])

FACTORY = """\
class Arch:
    param_names_mapping: dict = field(
        default_factory=lambda: {
            r"^a\\.(.*)$": r"b.\\1",
            # The rest.
            r"^c\\.(.*)$": r"d.\\1"  # why
        })
    other: dict = field(default_factory=lambda: {r"^a\\.(.*)$": "x"})
"""


def test_at_the_end_behind_a_rule_without_a_comma() -> None:
    assert added(FACTORY, "Arch.param_names_mapping", Q, K) == FACTORY.replace(
        """r"d.\\1"  # why
""",
        """r"d.\\1",  # why
            r"^blocks\\.(\\d+)\\.q\\.(.*)$": r"blocks.\\1.to_q.\\2",
            r"^k$": (r"to_k", 1, 2),
""",
    )


def test_before_a_rule_and_the_comment_that_speaks_of_it() -> None:
    rule = {**K, "before": r"^c\.(.*)$"}
    assert added(FACTORY, "Arch.param_names_mapping", rule) == FACTORY.replace(
        "            # The rest.", '            r"^k$": (r"to_k", 1, 2),\n            # The rest.'
    )


def test_behind_a_rule() -> None:
    rules = [{**Q, "after": r"^a\.(.*)$"}, {**K, "after": r"^a\.(.*)$"}]
    assert added(FACTORY, "Arch.param_names_mapping", *rules) == FACTORY.replace(
        "            # The rest.",
        '            r"^blocks\\.(\\d+)\\.q\\.(.*)$": r"blocks.\\1.to_q.\\2",\n'
        '            r"^k$": (r"to_k", 1, 2),\n            # The rest.',
    )


def test_a_wrong_target_is_replaced() -> None:
    rule = new(r"^a\.(.*)$", r"e.\1", replaces=True)
    assert added(FACTORY, "Arch.param_names_mapping", rule) == FACTORY.replace('r"b.\\1"', 'r"e.\\1"')


@pytest.mark.parametrize(
    ("text", "container", "expected"),
    [
        ("M = {}\n", "M", 'M = {\n    r"^k$": (r"to_k", 1, 2),\n}\n'),
        (
            "class A:\n    m = {}  # empty\n",
            "A.m",
            'class A:\n    m = {\n        r"^k$": (r"to_k", 1, 2),\n    }  # empty\n',
        ),
        (
            "class A:\n    m: dict = field(default_factory=lambda: {})\n",
            "A.m",
            "class A:\n    m: dict = field(default_factory=lambda: {\n"
            '        r"^k$": (r"to_k", 1, 2),\n    })\n',
        ),
        (
            "class A:\n    m: dict = field(default_factory=dict)\n"
            "    n: dict = field(default_factory=dict)\n",
            "A.m",
            "class A:\n    m: dict = field(default_factory=lambda: {\n"
            '        r"^k$": (r"to_k", 1, 2),\n    })\n'
            "    n: dict = field(default_factory=dict)\n",
        ),
        (
            "M = {\n    # nothing yet\n}\n",
            "M",
            'M = {\n    # nothing yet\n    r"^k$": (r"to_k", 1, 2),\n}\n',
        ),
        (
            "M = {'^a$': 'b', '^c$': 'd'}  # two\n",
            "M",
            "M = {\n    '^a$': 'b',\n    '^c$': 'd',\n    r'^k$': (r'to_k', 1, 2),\n}  # two\n",
        ),
        (
            "M = {\n\t'^a\\\\.b$': 'b',\n}\n",
            "M",
            "M = {\n\t'^a\\\\.b$': 'b',\n\t'^k$': ('to_k', 1, 2),\n}\n",
        ),
        (
            'def rules():\n    return {\n        r"^a$": "b",\n    }\n',
            "rules",
            'def rules():\n    return {\n        r"^a$": "b",\n        r"^k$": (r"to_k", 1, 2),\n    }\n',
        ),
        (
            "M = {\n    **BASE,\n    R'^a$': 'b',\n}\n",
            "M",
            "M = {\n    **BASE,\n    R'^a$': 'b',\n    R'^k$': (R'to_k', 1, 2),\n}\n",
        ),
    ],
)
def test_layouts(text: str, container: str, expected: str) -> None:
    assert added(text, container, K) == expected


def test_backslashes_are_doubled_where_the_neighbours_are_not_raw() -> None:
    text = 'M = {\n    "^a\\\\.(.*)$": "b.\\\\1",\n}\n'
    assert added(text, "M", Q) == text.replace(
        "}\n", '    "^blocks\\\\.(\\\\d+)\\\\.q\\\\.(.*)$": "blocks.\\\\1.to_q.\\\\2",\n}\n'
    )


BROKEN = """\
M = {
    r"^a$":
    r"b",
    r"^c$":
    r"d",
}
"""


def test_rules_are_broken_where_the_neighbours_break_theirs() -> None:
    assert added(BROKEN, "M", Q, K) == BROKEN.replace(
        "}\n",
        '    r"^blocks\\.(\\d+)\\.q\\.(.*)$":\n    r"blocks.\\1.to_q.\\2",\n'
        '    r"^k$": (r"to_k", 1, 2),\n}\n',
    )


def test_a_long_rule_is_broken() -> None:
    long = new("^" + "x" * 70 + "$", "y" * 70)
    text = 'M = {\n    r"^a$": r"b",\n}\n'
    assert added(text, "M", long) == text.replace("}\n", f'    r"^{"x" * 70}$":\n    r"{"y" * 70}",\n}}\n')


def test_line_ends_and_the_mark_stay() -> None:
    plain = added(FACTORY, "Arch.param_names_mapping", Q)
    dressed = "\ufeff" + FACTORY.replace("\n", "\r\n")
    assert added(dressed, "Arch.param_names_mapping", Q).lstrip("\ufeff") == plain.replace("\n", "\r\n")
    with pytest.raises(Refused, match="mixes line ends"):
        added(FACTORY + "# end\r\n", "Arch.param_names_mapping", Q)


@pytest.mark.parametrize(
    ("text", "container", "rule", "why"),
    [
        ("M = dict(a='b')\n", "M", K, "not written down as one dict"),
        ("M = build()\n", "M", K, "not written down as one dict"),
        ("M = {'^k$': 'x'}\n", "M", K, "there already"),
        ("M = {\n    '^a$': 'b', '^c$': 'd',\n}\n", "M", {**K, "before": "^c$"}, "shares its line"),
        ("M = {'^a$': 'b'}\n", "M", {**K, "before": "^z$"}, "not written down as one dict"),
        ("M = {  # none\n}\n", "M", new("a'\"", "b"), "cannot be written"),
        ("M = {\n    p: 'b',\n}\n", "M", K, "no rule of its own"),
        ("M = {\n    '^a$':  # why\n    'b',\n}\n", "M", new("^a$", "c", replaces=True), "comment"),
        ("M = {'^a$': 'b'} | {'^c$': 'd'}\n", "M", K, "not written down as one dict"),
    ],
)
def test_refusals(text: str, container: str, rule: dict[str, JsonValue], why: str) -> None:
    with pytest.raises(Refused, match=why):
        added(text, container, rule)


CONFIG = "fastvideo/configs/models/dits/sound.py"


@pytest.mark.parametrize(
    "written",
    ["{}", "field(default_factory=dict)", "field(default_factory=lambda: {r'^(.*)$': r'\\1'})"],
)
def test_what_is_proposed_is_what_the_mapping_says_afterwards(written: str, tmp_path: Path) -> None:
    write_tree(tmp_path, {CONFIG: f"class SoundArchConfig:\n    param_names_mapping: dict = {written}\n"})
    project = Project(Sources(tmp_path), FASTVIDEO, Settings())

    def table_of(project: Project) -> MappingTable | None:
        facts = project.file(CONFIG)
        assert facts is not None
        return next(iter(Mappings(project.names).in_file(facts)), None)

    official = [Tensor(f"blocks.{i}.attn1.{n}.weight", (8, 8)) for i in range(4) for n in ("to_q", "to_k")]
    native = [Tensor(f"blocks.{i}.{n}.weight", (8, 8)) for i in range(4) for n in ("to_q", "to_k")]
    table = table_of(project)
    container: str | None = "SoundArchConfig.param_names_mapping"
    before: tuple[SymbolicRule, ...] = ()
    if table is not None:
        before = as_texts(table)
        assert Mappings(project.names).container_of(table) == container
    proposal = propose(official, native, before, "first-match")
    fix = fix_of(proposal, CONFIG, container, table)
    assert fix is not None
    assert fix.applicability is Applicability.UNSAFE
    texts = run_operation(fix.operation, fix.arguments, project)
    written_down = table_of(with_texts(project, texts))
    assert written_down is not None
    after = as_texts(written_down)
    assert after == with_proposed(before, proposal.rules)
    assert propose(official, native, after, "first-match") == Proposal((), (), ())


@pytest.mark.parametrize("rules", [None, [], ["x"], [{"pattern": "a"}], [{**K, "merge": ["0", 2]}]])
def test_arguments_are_looked_at(rules: JsonValue) -> None:
    with pytest.raises(Refused):
        ADD({"path": PATH, "container": "M", "rules": rules}, {PATH: "M = {}\n"}.get)
