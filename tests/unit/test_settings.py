"""Settings: what is wrong is told and the rest holds; the most specific selector decides."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyzers.project.settings import KEYS, NOT_YET, Settings, load_settings, parse_settings

GOOD: dict[str, Any] = {
    "profile": "fastvideo",
    "python": ".venv/bin/python",
    "select": ["DIT1", "DIT401"],
    "ignore": ["registry-duplicate"],
    "per-file-ignores": {"tests/*": ["DIT4"]},
    "baseline": "old.json",
    "oracles": {"A": "diffusers:A"},
    "recipes": {"A": ".ditproof/recipes/a.py"},
    "on-save": {"tiny": False, "weights": True},
}
WRONG: dict[str, Any] = {
    "string": "text",
    "number": 3,
    "truth": True,
    "list": ["a"],
    "list of numbers": [1],
    "table": {"a": "b"},
    "table of lists": {"a": ["b"]},
    "table of numbers": {"a": 1},
    "nothing": None,
}
ACCEPTED = {
    "profile": {"string"},
    "python": {"string"},
    "select": {"list"},
    "ignore": {"list"},
    "per-file-ignores": {"table of lists"},
    "baseline": {"string"},
    "oracles": {"table"},
    "recipes": {"table"},
    "on-save": set(),
}


def test_every_key_is_read() -> None:
    assert set(GOOD) == set(KEYS)
    found = parse_settings(GOOD, "ditproof.toml")
    assert found.problems == ()
    assert found.profile == "fastvideo"
    assert found.python == ".venv/bin/python"
    assert found.select == ("DIT1", "DIT401")
    assert found.ignore == ("registry-duplicate",)
    assert found.per_file_ignores == {"tests/*": ("DIT4",)}
    assert found.baseline == "old.json"
    assert found.oracles == {"A": "diffusers:A"}
    assert found.recipes == {"A": ".ditproof/recipes/a.py"}
    assert found.on_save == {"tiny": False, "weights": True}
    assert found.source == "ditproof.toml"


@pytest.mark.parametrize("key", NOT_YET)
def test_a_key_that_nothing_acts_on_is_told(key: str) -> None:
    found = parse_settings({key: {}, "ignore": ["DIT1"]}, "ditproof.toml")
    assert [p.message for p in found.problems] == [
        f"'{key}' is not supported by this version: it has no effect, remove it"
    ]
    assert found.ignore == ("DIT1",)


@pytest.mark.parametrize("kind", WRONG)
@pytest.mark.parametrize("key", KEYS)
def test_a_value_of_the_wrong_type_is_told_and_left_out(key: str, kind: str) -> None:
    found = parse_settings({**GOOD, key: WRONG[kind]}, "ditproof.toml")
    if kind in ACCEPTED[key]:
        assert found.problems == ()
        return
    assert len(found.problems) == 1
    assert found.problems[0].message.startswith(f"'{key}' must be a ")
    assert found.problems[0].path == "ditproof.toml"
    field = key.replace("-", "_")
    assert getattr(found, field) == getattr(Settings(), field), "the default holds"
    others = [k.replace("-", "_") for k in KEYS if k != key]
    whole = parse_settings(GOOD, "ditproof.toml")
    assert [getattr(found, k) for k in others] == [getattr(whole, k) for k in others]


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("selekt", "select"),
        ("per_file_ignores", "per-file-ignores"),
        ("oracle", "oracles"),
    ],
)
def test_an_unknown_key_is_told_with_the_one_that_is_close(key: str, meant: str) -> None:
    found = parse_settings({key: [], "ignore": ["DIT1"]}, "pyproject.toml")
    assert [p.message for p in found.problems] == [f"unknown key '{key}'; did you mean '{meant}'?"]
    assert found.ignore == ("DIT1",)


def test_an_unknown_key_that_is_close_to_none_lists_them() -> None:
    found = parse_settings({"qqqq": 1}, "pyproject.toml")
    assert [p.message for p in found.problems] == [f"unknown key 'qqqq'; known keys: {', '.join(KEYS)}"]


# --------------------------------------------------------------------------- files


def test_the_own_file_wins(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[tool.ditproof]\nselect = ["DIT1"]\n', encoding="utf-8")
    assert load_settings(tmp_path).select == ("DIT1",)
    assert load_settings(tmp_path).source == "pyproject.toml"
    (tmp_path / "ditproof.toml").write_text('select = ["DIT2"]\n', encoding="utf-8")
    assert load_settings(tmp_path).select == ("DIT2",)
    assert load_settings(tmp_path).source == "ditproof.toml"


@pytest.mark.parametrize("text", ["", "[project]\nname = 'x'\n", "[tool.other]\nx = 1\n", "tool = 3\n"])
def test_without_a_table_the_defaults_hold(tmp_path: Path, text: str) -> None:
    assert load_settings(tmp_path) == Settings()
    (tmp_path / "pyproject.toml").write_text(text, encoding="utf-8")
    assert load_settings(tmp_path) == Settings()


@pytest.mark.parametrize("name", ["pyproject.toml", "ditproof.toml"])
@pytest.mark.parametrize("content", [b"select = [", b"\xff\xfe", b"a = 1\na = 2\n", b"a = " + b"[" * 9999])
def test_a_file_that_cannot_be_read_is_told(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    found = load_settings(tmp_path)
    assert [p.path for p in found.problems] == [name]
    assert "cannot be read" in found.problems[0].message
    assert found.select == ("ALL",)


def test_a_table_that_is_none_is_told(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[tool]\nditproof = 3\n", encoding="utf-8")
    assert [p.message for p in load_settings(tmp_path).problems] == ["[tool.ditproof] is not a table"]


# --------------------------------------------------------------------------- selection


@pytest.mark.parametrize(
    ("select", "ignore", "enabled"),
    [
        (["ALL"], [], True),
        (["all"], [], True),
        ([], [], False),
        (["DIT1"], [], True),
        (["DIT2"], [], False),
        (["dit106"], [], True),
        (["registry-duplicate"], [], True),
        (["registry"], [], False),
        ([""], [], False),
        # As ruff decides: the more specific wins, and of equals the one that ignores.
        (["ALL"], ["DIT1"], False),
        (["ALL"], ["DIT106"], False),
        (["ALL"], ["ALL"], False),
        (["DIT1"], ["ALL"], True),
        (["DIT106"], ["DIT1"], True),
        (["DIT10"], ["DIT1"], True),
        (["DIT1"], ["DIT10"], False),
        (["DIT1"], ["DIT1"], False),
        (["DIT106"], ["registry-duplicate"], False),
        (["registry-duplicate"], ["DIT10", "ALL"], True),
        (["DIT2", "DIT106"], ["DIT10"], True),
        (["ALL", "DIT1"], ["DIT2"], True),
    ],
)
def test_the_most_specific_selector_decides(select: list[str], ignore: list[str], enabled: bool) -> None:
    settings = Settings(select=tuple(select), ignore=tuple(ignore))
    assert settings.enabled("DIT106", "registry-duplicate", "a.py") is enabled


PATH = "fastvideo/models/dits/wan/base.py"


@pytest.mark.parametrize(
    ("pattern", "matches"),
    [
        (PATH, True),
        (f"./{PATH}", True),
        ("base.py", True),
        ("*.py", True),
        ("*", True),
        ("**", True),
        ("fastvideo/", True),
        ("fastvideo/*", True),
        ("fastvideo/**/*.py", True),
        ("fastvideo/models/dits/wan/**/base.py", True),
        ("**/wan/*.py", True),
        ("wan/base.py", True),
        ("dits/", True),
        ("wan/bas?.py", True),
        ("[bc]ase.py", True),
        ("BASE.py", False),
        ("other.py", False),
        ("ase.py", False),
        ("fastvideo/configs/*", False),
        ("models", False),
        ("an/base.py", False),
        ("tests/", False),
        ("", False),
    ],
)
def test_patterns_of_per_file_ignores(pattern: str, matches: bool) -> None:
    settings = Settings(per_file_ignores={pattern: ("DIT1",)})
    assert settings.enabled("DIT106", "registry-duplicate", PATH) is not matches
    assert settings.enabled("DIT206", "forward-contract", PATH)


def test_files_are_ignored_by_every_kind_of_selector() -> None:
    for selector in ("ALL", "DIT1", "DIT106", "registry-duplicate"):
        settings = Settings(select=("DIT106",), per_file_ignores={"a.py": (selector,)})
        assert not settings.enabled("DIT106", "registry-duplicate", "a.py")
        assert settings.enabled("DIT106", "registry-duplicate", "b.py")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=8), JSON, max_size=5))
def test_no_table_is_too_strange(table: dict[str, object]) -> None:
    found = parse_settings(table, "ditproof.toml")
    assert found.enabled("DIT106", "registry-duplicate", "a/b.py") in (True, False)
    assert len(found.problems) <= len(table)
