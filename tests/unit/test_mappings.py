"""The rules of a mapping, however it is written."""

from __future__ import annotations

import ast
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from analyzers.facts.comprehensions import written_out
from analyzers.fixes.base import Refused
from analyzers.fixes.verify import edited_texts
from analyzers.project.index import Project
from analyzers.project.mappings import MappingTable
from analyzers.project.profile import FASTVIDEO
from analyzers.project.profiles.base import MappingSemantics
from analyzers.project.settings import Settings
from analyzers.project.sources import Sources
from analyzers.rules.engine import check_file
from analyzers.rules.examples import write_tree
from analyzers.weights.mapping.symbolic import SymbolicRule, merge_faults, shadows
from analyzers.weights.mapping.tables import as_texts

CONFIG = "fastvideo/configs/models/dits/echo.py"
SHARED = "fastvideo/configs/models/dits/shared.py"

HEADER = """\
from dataclasses import dataclass, field

from fastvideo.configs.models.dits.base import DiTArchConfig, DiTConfig
from fastvideo.configs.models.dits.shared import COMMON, make_rules
from fastvideo.configs.models.dits.sound import SoundConfig

"""

SHARED_TEXT = """\
COMMON = {"^common$": "shared"}


def make_rules(prefix: str = "") -> dict:
    rules = {"^made$": "first"}
    rules.update({"^updated$": "second"})
    if prefix:
        rules["^prefixed$"] = prefix
    rules |= {"^merged$": ("third", 0, 1)}
    return rules
"""


def tables(tmp_path: Path, text: str) -> tuple[MappingTable, ...]:
    project = project_with(tmp_path, text)
    facts = project.file(CONFIG)
    assert facts is not None
    return project.mappings.in_file(facts)


def project_with(tmp_path: Path, text: str) -> Project:
    write_tree(tmp_path, {CONFIG: HEADER + text, SHARED: SHARED_TEXT})
    return Project(Sources(tmp_path), FASTVIDEO, Settings())


def patterns(table: MappingTable) -> list[str | None]:
    return [rule.pattern for rule in table.rules]


def arch(value: str) -> str:
    return f"""
@dataclass
class EchoArchConfig(DiTArchConfig):
    param_names_mapping: dict = {value}
"""


SOUND = r"^blocks\.(\d+)\.attn\.to_q\.(.*)$"
MADE = ["^made$", "^updated$", "^prefixed$", "^merged$"]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ('field(default_factory=lambda: {"^a$": "b"})', ["^a$"]),
        ('field(default_factory=lambda: {**COMMON, "^a$": "b"})', ["^common$", "^a$"]),
        ('field(default_factory=lambda: COMMON | {"^a$": "b"})', ["^common$", "^a$"]),
        (
            'field(default_factory=lambda: {"^a$": "b", **SoundConfig().param_names_mapping})',
            ["^a$", SOUND],
        ),
        ('field(default_factory=lambda: {**make_rules(), "^a$": "b"})', [*MADE, "^a$"]),
        ('field(default_factory=lambda: {**unknown(), "^a$": "b"})', [None, "^a$"]),
        ('field(default_factory=lambda: dict({"^a$": "b"}))', ["^a$"]),
        (
            'field(default_factory=lambda: {rf"^{n}$": ("x", i, 3) for i, n in enumerate(("q", "k", "v"))})',
            ["^q$", "^k$", "^v$"],
        ),
        ('field(default_factory=lambda: {"^a$": "b", PREFIX + "c": "d"})', ["^a$", None]),
    ],
)
def test_rules_are_read_through(value: str, expected: list[str | None], tmp_path: Path) -> None:
    (table,) = tables(tmp_path, arch(value))
    assert patterns(table) == expected
    assert table.complete == (None not in expected)
    assert table.name == "param_names_mapping"
    assert table.whole


def test_a_port_has_the_rules_of_its_config(tmp_path: Path) -> None:
    project = project_with(tmp_path, "")
    (port,) = project.ports
    table = project.mappings.of_port(port.cls)
    assert table is not None
    assert patterns(table) == [SOUND]
    rule = table.rules[0]
    assert rule.target == r"blocks.\1.to_q.\2"
    assert rule.path == "fastvideo/configs/models/dits/sound.py"
    assert rule.container == "SoundArchConfig.param_names_mapping"
    text = project.sources.text(rule.path)
    assert text is not None
    line = text.split("\n")[rule.key.span.line]
    assert line[rule.key.span.column : rule.key.span.end_column] == f'r"{SOUND}"'


def test_a_function_builds_rules_in_order_and_on_some_paths(tmp_path: Path) -> None:
    project = project_with(tmp_path, arch("field(default_factory=make_rules)"))
    text = SHARED_TEXT.replace("make_rules", "make_param_names_mapping")
    (tmp_path / SHARED).write_text(text)
    facts = Project(Sources(tmp_path), FASTVIDEO, Settings()).file(SHARED)
    assert facts is not None
    found = {table.name: table for table in project.mappings.in_file(facts)}
    table = found["make_param_names_mapping"]
    assert patterns(table) == MADE
    assert [rule.conditional for rule in table.rules] == [False, False, True, False]
    assert table.rules[3].merge == (0, 1)
    assert table.rules[1].key.span.line == 5
    assert table.built
    assert not table.whole


@pytest.mark.parametrize(
    "change",
    [
        "    rules.pop('^made$')\n",
        "    del rules['^made$']\n",
        "    tidy(rules)\n",
        "    rules = dict(rules)\n",
        "    for key in list(rules):\n        rules[key] = 'x'\n",
    ],
)
def test_a_dict_that_is_touched_otherwise_is_unknown(change: str, tmp_path: Path) -> None:
    text = SHARED_TEXT.replace("    return rules", f"{change}    return rules")
    write_tree(
        tmp_path, {CONFIG: HEADER + arch("field(default_factory=lambda: {**make_rules()})"), SHARED: text}
    )
    project = Project(Sources(tmp_path), FASTVIDEO, Settings())
    facts = project.file(CONFIG)
    assert facts is not None
    (table,) = project.mappings.in_file(facts)
    assert not table.complete


def test_a_later_key_takes_the_place_of_the_earlier(tmp_path: Path) -> None:
    (table,) = tables(
        tmp_path, arch('field(default_factory=lambda: {**COMMON, "^a$": "b", "^common$": "c"})')
    )
    assert [(rule.pattern, rule.target) for rule in table.rules] == [("^common$", "c"), ("^a$", "b")]
    assert [(old.target, new.target) for old, new in table.repeated] == [("shared", "c")]
    assert shadows(as_texts(table), "first-match") == ()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{f'{a}': b for a, b in (('x', 1), ('y', 2))}", [("x", 1), ("y", 2)]),
        (
            "{f'{i}.{n}': n for i in range(2) for n in 'ab'}",
            [("0.a", "a"), ("0.b", "b"), ("1.a", "a"), ("1.b", "b")],
        ),
        ("{k + '$': v for k, v in {'^a': 'b'}.items()}", [("^a$", "b")]),
        ("{a: b for a, b in zip(['x'], ['y'])}", [("x", "y")]),
        ("{a: b for a, b in pairs}", None),
        ("{a: 1 for a in ('x', 'y') if a}", None),
        ("{f'{a!r}': 1 for a in 'x'}", None),
        ("{a: 1 for a in range(100000)}", None),
    ],
)
def test_comprehensions_over_literals(text: str, expected: list[tuple[object, object]] | None) -> None:
    node = ast.parse(text, mode="eval").body
    assert isinstance(node, ast.DictComp)
    items = written_out(node)
    if items is None or expected is None:
        assert items is expected
    else:
        assert [(ast.literal_eval(k), ast.literal_eval(v)) for k, v in items] == expected
        assert dict(expected) == eval(text)


@pytest.mark.parametrize(
    "rules",
    [
        '{"^(.*)$": "x", "^a$": "b"}',
        '{"^(.*)$": "x",\n        "^a$": "b", "^c$": "d"}',
    ],
)
def test_a_rule_on_a_shared_line_is_not_moved(rules: str, tmp_path: Path) -> None:
    project = project_with(tmp_path, arch(f"field(default_factory=lambda: {rules})"))
    finding = next(f for f in check_file(project, CONFIG) if f.code == "DIT307" and "'^a$'" in f.message)
    assert finding.fix is not None
    with pytest.raises(Refused, match="shares its line"):
        edited_texts(project, finding.fix)


def test_rules_are_found_again_after_an_edit(tmp_path: Path) -> None:
    project = project_with(tmp_path, arch('field(default_factory=lambda: {"^(.*)$": "x"})'))
    assert not [f for f in check_file(project, CONFIG) if f.code == "DIT307"]
    text = HEADER + arch('field(default_factory=lambda: {"^(.*)$": "x",\n        "^a$": "b"})')
    after = Project(Sources.overlaid(project.sources, {CONFIG: text}), FASTVIDEO, Settings())
    assert [f.location.span.line for f in check_file(after, CONFIG) if f.code == "DIT307"] == [10]


COSTLY = {
    "loops in loops": [r"(.*)*(.*)*(.*)*(.*)*(.*)*x9$", r"^a.*"],
    "nested counts": [r"^(((a?){16}){16}){16}$"],
    "choices that multiply": [r"^((x){0,3}){16}$", "^" + "(?:a|aa)" * 28 + "!$"],
    "counts that make a long name": [r"^((((((ab){16}){16}){16}){16}){16}){16}$"],
    "many alternatives": ["^" + "(a|b|.*)" * 30 + "c$"],
    "alternatives that take nothing": ["^" + "(?:$|b|^)" * 60],
    "repeated assertions": ["^" + "(?:(?:(?:(?!a)b){0,2}){0,2}){0,2}" * 4, "^" + "(?:(?!a)b)?" * 24, "^b"],
    "two of them": ["^" + "(?:(?=a)|b)" * 20, "^" + "(?:(?=a)|b)" * 20],
    "slow on another rule's names": [r"^(\w+)+!$", "^" + "a" * 40, r"^(a|aa)+!$"],
}


@pytest.mark.timeout(30)
@pytest.mark.parametrize("semantics", ["first-match", "chained"])
@pytest.mark.parametrize("patterns", COSTLY.values(), ids=COSTLY)
def test_a_costly_pattern_costs_no_time(
    patterns: list[str], semantics: MappingSemantics, tmp_path: Path
) -> None:
    rules = "".join(f"            {pattern!r}: 'to',\n" for pattern in patterns)
    text = (
        "@dataclass\nclass EchoArchConfig(DiTArchConfig):\n    param_names_mapping: dict = field(\n"
        f"        default_factory=lambda: {{\n{rules}        }})\n"
    )
    sources = project_with(tmp_path, text).sources
    project = Project(sources, replace(FASTVIDEO, mapping_semantics=semantics), Settings())
    begin = time.process_time()
    check_file(project, CONFIG)
    assert time.process_time() - begin < 1


def test_a_merge_of_absurd_size_is_counted_as_far_as_it_is_told() -> None:
    rules = [SymbolicRule("^a$", "q", (0, 10**15)), SymbolicRule("^b$", "q", (2, 10**15))]
    (fault,) = merge_faults(rules, "first-match")
    assert fault.missing == (1, 3, 4, 5, 6, 7, 8, 9, 10)


@pytest.mark.parametrize(
    "pattern", [r"^(?:blocks\.)?(\d+)\.(\w+)\.(\d+)\.(.*)$", r"^(?:img|txt)_(q|k|v)\.(.*)$"]
)
def test_usual_patterns_are_not_costly(pattern: str) -> None:
    assert SymbolicRule(pattern, "x").parsed is not None


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="Python 3.12 rejects such a reference")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_reference_with_spaces_is_read_as_python_reads_it() -> None:
    rule = SymbolicRule("^(a)$", r"x\g< 1 >")
    assert rule.template is not None
    assert rule.template.parts == ("x", 1)
