"""What the meta worker answers, read strictly: a line that does not fit its form is refused as a whole.

Nothing that a child says is taken on trust. Names and shapes become a `PortState`; texts that are meant
for people are redacted; places are relative to the root where they lie in it, with `/`.
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, cast

from analyzers.findings import START_OF_FILE, Location, Span
from analyzers.weights.state import GatedNames, PortState, RuleText, StateDict, Tensor
from lsp_server.checks.redact import redact, redact_record

T = TypeVar("T")

ProblemSide = Literal["port", "official", "code base"]
ProblemStage = Literal["import", "config", "build", "state"]

_SIDES = ("port", "official", "code base")
_STAGES = ("import", "config", "build", "state")


class MalformedAnswer(Exception):
    """The worker said something that is no answer; the message says where."""


@dataclass(frozen=True)
class StateProblem:
    """Why a side, or a part of it, could not be had.

    `type`: the class of the exception (`Crash`: the child ended by a signal). `missing`: the package that
    is not installed. `path` is relative to the root where it lies in it; `line` counts from 0.
    """

    side: ProblemSide
    stage: ProblemStage
    type: str
    message: str
    missing: str | None = None
    path: str | None = None
    line: int | None = None
    next_step: str | None = None

    @property
    def place(self) -> Location | None:
        """Where it happened, as far as that is known."""
        if self.path is None:
            return None
        return Location(self.path, START_OF_FILE if self.line is None else Span(self.line, 0, self.line, 0))


@dataclass(frozen=True)
class BuiltSide:
    """What is known of a class that was built, beside its state dict.

    `place`: where the class is defined, None where that has no file. `config`: what it was built from, as
    JSON values. `parameters`: how many numbers its parameters hold.
    """

    source: str
    cls: str
    place: Location | None
    config: Mapping[str, Any]
    parameters: int


@dataclass(frozen=True)
class StateAnswer:
    """One answer of the worker.

    `files`: the modules below the root that the port's import loaded, relative to it: what the answer
    depends on. `config`: what configured both sides, None where neither was built. `torch`: its version.
    `seconds`: what the worker took for this answer.
    """

    state: PortState
    problems: tuple[StateProblem, ...]
    files: tuple[str, ...]
    port: BuiltSide | None
    official: BuiltSide | None
    torch: str | None
    seconds: float

    @property
    def official_place(self) -> Location | None:
        """Where the official class is defined."""
        return self.official.place if self.official is not None else None

    @property
    def config(self) -> Mapping[str, Any] | None:
        """What configured both sides."""
        side = self.official or self.port
        return side.config if side is not None else None


def read_answer(told: object, root: str, torch: str | None) -> StateAnswer:
    """The answer that a decoded line holds. Raises `MalformedAnswer`."""
    answer = _object(told, "the answer")
    if answer.get("v") != 1:
        raise MalformedAnswer(f"'v' is {answer.get('v')!r}, not 1")
    port, official = (_optional(answer.get(side), side, _object) for side in ("port", "official"))
    state = PortState(
        native=_state_dict(port, "port") if port is not None else None,
        official=_state_dict(official, "official") if official is not None else None,
        gated=tuple(_gated(item) for item in _list(answer.get("gated"), "gated")),
        mapping=_rules(port, "mapping"),
        reverse=_rules(port, "reverse"),
        lora=_rules(port, "lora"),
        dropped=tuple(_pair(item, "dropped") for item in _list(answer.get("dropped"), "dropped")),
        ignored=_texts(official.get("ignored", []), "ignored") if official is not None else (),
    )
    return StateAnswer(
        state=state,
        problems=tuple(_problem(item, root) for item in _list(answer.get("problems"), "problems")),
        files=_files(_texts(answer.get("files"), "files"), root),
        port=_built(port, "port", root) if port is not None else None,
        official=_built(official, "official", root) if official is not None else None,
        torch=torch,
        seconds=_number(answer.get("seconds"), "seconds"),
    )


# --------------------------------------------------------------------------- the sides


def _state_dict(side: Mapping[str, Any], where: str) -> StateDict:
    tensors = _tensors(side.get("tensors"), f"{where}.tensors")
    state = StateDict(_text(side.get("source"), f"{where}.source"), "class", tensors)
    if len(state.by_name) != len(tensors):
        raise MalformedAnswer(f"{where}.tensors has a name twice")
    return state


def _tensors(told: object, what: str) -> tuple[Tensor, ...]:
    return tuple(_tensor(item, what) for item in _list(told, what))


def _tensor(item: object, what: str) -> Tensor:
    parts = _list(item, what)
    if len(parts) not in (4, 5):
        raise MalformedAnswer(f"{what} has an entry of {len(parts)} items")
    name, shape, dtype, flags = parts[:4]
    marks = _text(flags, what)
    if not set(marks) <= {"b", "w"}:
        raise MalformedAnswer(f"{what} has flags {marks[:20]!r}")
    return Tensor(
        name=_text(name, what),
        shape=tuple(_size(size, what) for size in _list(shape, what)),
        dtype=_text(dtype, what),
        buffer="b" in marks,
        tied=_text(parts[4], what) if len(parts) == 5 else None,
        reshapes="w" in marks,
    )


def _gated(item: object) -> GatedNames:
    gate = _object(item, "gated")
    return GatedNames(
        _text(gate.get("field"), "gated.field"),
        redact(_text(gate.get("value"), "gated.value")),
        _tensors(gate.get("tensors"), "gated.tensors"),
        _optional(gate.get("official"), "gated.official", _tensors),
    )


def _rules(side: Mapping[str, Any] | None, name: str) -> tuple[RuleText, ...] | None:
    told = side.get(name) if side is not None else None
    return None if told is None else tuple(_rule(item, name) for item in _list(told, name))


def _rule(item: object, where: str) -> RuleText:
    parts = _list(item, where)
    if len(parts) != 4:
        raise MalformedAnswer(f"{where} has a rule of {len(parts)} items")
    pattern, target = _text(parts[0], where), _text(parts[1], where)
    if parts[2] is None and parts[3] is None:
        return pattern, target, None
    if type(parts[2]) is not int or type(parts[3]) is not int:
        raise MalformedAnswer(f"{where} has a merge that is no pair of numbers")
    return pattern, target, (parts[2], parts[3])


def _built(side: Mapping[str, Any], where: str, root: str) -> BuiltSide:
    path = _optional(side.get("path"), f"{where}.path", _text)
    line = _optional(side.get("line"), f"{where}.line", _size) or 0
    parameters = _size(side.get("parameters"), f"{where}.parameters")
    return BuiltSide(
        source=_text(side.get("source"), f"{where}.source"),
        cls=_text(side.get("class"), f"{where}.class"),
        place=Location(_inside(path, root), Span(line, 0, line, 0)) if path is not None else None,
        config=redact_record(_object(side.get("config"), f"{where}.config")),
        parameters=parameters,
    )


def _problem(item: object, root: str) -> StateProblem:
    told = redact_record(_object(item, "problems"))
    side, stage = told.get("side"), told.get("stage")
    if side not in _SIDES or stage not in _STAGES:
        raise MalformedAnswer(f"problems has side {side!r} and stage {stage!r}")
    path = _optional(told.get("path"), "problems.path", _text)
    return StateProblem(
        side=cast("ProblemSide", side),
        stage=cast("ProblemStage", stage),
        type=_text(told.get("type"), "problems.type"),
        message=_text(told.get("message"), "problems.message"),
        missing=_optional(told.get("missing"), "problems.missing", _text),
        path=_inside(path, root) if path is not None else None,
        line=_optional(told.get("line"), "problems.line", _size),
        next_step=_optional(told.get("next_step"), "problems.next_step", _text),
    )


# --------------------------------------------------------------------------- places


def _files(paths: tuple[str, ...], root: str) -> tuple[str, ...]:
    """Those below the root, relative to it, each once, in order."""
    inside = (_inside(path, root) for path in paths)
    return tuple(sorted({path for path in inside if not posixpath.isabs(path)}))


def _inside(path: str, root: str) -> str:
    """The path relative to the root where it lies in it, else as it is."""
    for base in dict.fromkeys((root, os.path.realpath(root))):
        if path.startswith(base.rstrip(os.sep) + os.sep):
            return os.path.relpath(path, base).replace(os.sep, "/")
    return path


# --------------------------------------------------------------------------- kinds of value


def _object(value: object, where: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise MalformedAnswer(f"{where} is no object")
    return value


def _list(value: object, where: str) -> list[Any]:
    if not isinstance(value, list):
        raise MalformedAnswer(f"{where} is no list")
    return value


def _text(value: object, where: str) -> str:
    if not isinstance(value, str):
        raise MalformedAnswer(f"{where} holds {type(value).__name__}, not a text")
    try:
        value.encode()
    except UnicodeEncodeError:  # half of a surrogate pair, which nothing can print or send on
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return value


def _texts(value: object, where: str) -> tuple[str, ...]:
    return tuple(_text(item, where) for item in _list(value, where))


def _size(value: object, where: str) -> int:
    if type(value) is not int or value < 0:
        raise MalformedAnswer(f"{where} holds no size")
    return value


def _number(value: object, where: str) -> float:
    if type(value) not in (int, float):
        raise MalformedAnswer(f"{where} is no number")
    return float(cast("float", value))


def _pair(value: object, where: str) -> tuple[str, str]:
    first, second = _texts(value, where) if isinstance(value, list) and len(value) == 2 else ("", None)
    if second is None:
        raise MalformedAnswer(f"{where} has an entry that is no pair")
    return first, redact(second)


def _optional(value: object, where: str, read: Callable[[object, str], T]) -> T | None:
    return None if value is None else read(value, where)
