"""Settings: `[tool.ditproof]` in `pyproject.toml`, or `ditproof.toml`.

A wrong setting is reported with its key and the file; the rest of the settings holds.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from fnmatch import fnmatchcase
from pathlib import Path

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # pragma: no cover - the standard library has it since 3.11

KEYS = (
    "profile",
    "python",
    "select",
    "ignore",
    "per-file-ignores",
    "baseline",
    "oracles",
    "recipes",
    "on-save",
)
TIERS = ("meta", "tiny", "weights")
"""What may run after a save: names and shapes, the trace of small models, the port's own parity tests."""
NOT_YET = ("executor",)
"""Settings that the format reserves and that nothing in this version acts on."""


@dataclass(frozen=True)
class SettingsProblem:
    """Something wrong in a settings file; `path` is relative to the root."""

    path: str
    message: str


@dataclass(frozen=True)
class Settings:
    """What the user decided. Codes may be whole (`DIT401`), prefixes (`DIT4`), names, or `ALL`.

    `baseline`: a file relative to the root, or absolute. `recipes`: class name -> a recipe's file, relative
    to the root, or the name of a built-in one. `on_save`: tier -> whether it runs after a save; one that is
    not named is for the editor's settings to decide.
    """

    profile: str | None = None
    python: str | None = None
    select: tuple[str, ...] = ("ALL",)
    ignore: tuple[str, ...] = ()
    per_file_ignores: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    baseline: str | None = None
    oracles: Mapping[str, str] = field(default_factory=dict)
    recipes: Mapping[str, str] = field(default_factory=dict)
    on_save: Mapping[str, bool] = field(default_factory=dict)
    source: str | None = None
    problems: tuple[SettingsProblem, ...] = ()

    def enabled(self, code: str, name: str, path: str) -> bool:
        """Whether a rule may report on a file: the most specific of select and ignore decides."""
        chosen = _specificity(self.select, code, name)
        dropped = _specificity(self.ignore, code, name)
        if chosen == 0 or dropped >= chosen:
            return False
        return not any(
            _matches_path(pattern, path) and _specificity(codes, code, name)
            for pattern, codes in self.per_file_ignores.items()
        )


def _specificity(selectors: tuple[str, ...], code: str, name: str) -> int:
    """0: not named; 1: by `ALL`; more: by a prefix of that many characters, or whole."""
    best = 0
    for selector in selectors:
        if selector.upper() == "ALL":
            best = max(best, 1)
        elif selector == name or selector.upper() == code:
            best = max(best, 100)
        elif selector and code.startswith(selector.upper()):
            best = max(best, len(selector))
    return best


def _matches_path(pattern: str, path: str) -> bool:
    pattern = pattern.removeprefix("./")
    if pattern.endswith("/"):
        pattern += "**"
    return (
        fnmatchcase(path, pattern)
        or fnmatchcase(path, f"*/{pattern}")
        or fnmatchcase(path, pattern.replace("**/", ""))
    )


def load_settings(root: Path) -> Settings:
    """The settings of the project at `root`; `ditproof.toml` wins over `pyproject.toml`."""
    own, shared = root / "ditproof.toml", root / "pyproject.toml"
    if own.is_file():
        document, problems = _read(own)
        return parse_settings(document, own.name, problems)
    if not shared.is_file():
        return Settings()
    document, problems = _read(shared)
    tool = document.get("tool")
    table = tool.get("ditproof", {}) if isinstance(tool, dict) else {}
    if not isinstance(table, dict):
        return Settings(problems=(SettingsProblem(shared.name, "[tool.ditproof] is not a table"),))
    return parse_settings(table, shared.name, problems) if table or problems else Settings()


def _read(path: Path) -> tuple[dict[str, object], tuple[SettingsProblem, ...]]:
    try:
        with path.open("rb") as file:
            return tomllib.load(file), ()
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        return {}, (SettingsProblem(path.name, f"cannot be read: {error}"),)


def parse_settings(
    table: Mapping[str, object], source: str, problems: tuple[SettingsProblem, ...] = ()
) -> Settings:
    """Settings from a table; what is wrong is left out and reported in `problems`."""
    found = list(problems)
    values: dict[str, object] = {}
    for key, value in table.items():
        if key in NOT_YET:
            message = f"'{key}' is not supported by this version: it has no effect, remove it"
            found.append(SettingsProblem(source, message))
            continue
        if key not in KEYS:
            close = get_close_matches(key, KEYS, n=1)
            hint = f"; did you mean '{close[0]}'?" if close else f"; known keys: {', '.join(KEYS)}"
            found.append(SettingsProblem(source, f"unknown key '{key}'{hint}"))
            continue
        try:
            values[key.replace("-", "_")] = _parse(key, value)
        except _WrongType as expected:
            found.append(SettingsProblem(source, f"'{key}' must be {expected}"))
    return replace(Settings(source=source, problems=tuple(found)), **values)  # type: ignore[arg-type]


class _WrongType(Exception):
    """A value of another type; the message is what it should have been."""


def _parse(key: str, value: object) -> object:
    """The value in its place's type. Raises `_WrongType`."""
    if key in ("profile", "python", "baseline"):
        if not isinstance(value, str):
            raise _WrongType("a string")
        return value
    if key in ("select", "ignore"):
        codes = _strings(value)
        if codes is None:
            raise _WrongType("a list of strings")
        return codes
    if not isinstance(value, dict):
        raise _WrongType("a table")
    if key == "per-file-ignores":
        lists = {k: _strings(v) for k, v in value.items()}
        if any(v is None for v in lists.values()):
            raise _WrongType("a table of lists of strings")
        return lists
    if key == "on-save":
        unknown = sorted(set(value) - set(TIERS))
        if unknown or not all(isinstance(v, bool) for v in value.values()):
            raise _WrongType(f"a table of {', '.join(TIERS)}, each true or false")
    if key in ("oracles", "recipes") and not all(isinstance(v, str) for v in value.values()):
        raise _WrongType("a table of strings")
    return value


def _strings(value: object) -> tuple[str, ...] | None:
    if isinstance(value, list) and all(isinstance(v, str) for v in value):
        return tuple(value)
    return None
