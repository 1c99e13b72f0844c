"""What the meta worker answers, read strictly: a line that does not fit its form is refused as a whole.

Nothing that a child says is taken on trust. Names and shapes become a `PortState`; texts that are meant
for people are redacted; places are relative to the root where they lie in it, with `/`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast

from analyzers.findings import START_OF_FILE, Location, Span
from analyzers.weights.state import GatedNames, PortState, RuleText, StateDict, Tensor
from lsp_server.checks.redact import redact, redact_record
from lsp_server.checks.strict import (
    MalformedAnswer,
    Places,
    as_list,
    as_named_text,
    as_number,
    as_object,
    as_size,
    as_text,
    as_texts,
    optional,
)

ProblemSide = Literal["port", "official", "code base"]
ProblemStage = Literal["import", "config", "build", "state", "recipe", "load", "forward", "trace"]

_SIDES = ("port", "official", "code base")
_STAGES = ("import", "config", "build", "state", "recipe", "load", "forward", "trace")


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
    answer = as_object(told, "the answer")
    if answer.get("v") != 1:
        raise MalformedAnswer(f"'v' is {answer.get('v')!r}, not 1")
    port, official = (optional(answer.get(side), side, as_object) for side in ("port", "official"))
    state = PortState(
        native=_state_dict(port, "port") if port is not None else None,
        official=_state_dict(official, "official") if official is not None else None,
        gated=tuple(_gated(item) for item in as_list(answer.get("gated"), "gated")),
        mapping=_rules(port, "mapping"),
        reverse=_rules(port, "reverse"),
        lora=_rules(port, "lora"),
        dropped=tuple(as_named_text(item, "dropped") for item in as_list(answer.get("dropped"), "dropped")),
        ignored=as_texts(official.get("ignored", []), "ignored") if official is not None else (),
    )
    return StateAnswer(
        state=state,
        problems=tuple(read_problem(item, root) for item in as_list(answer.get("problems"), "problems")),
        files=Places(root).below(as_texts(answer.get("files"), "files")),
        port=_built(port, "port", root) if port is not None else None,
        official=_built(official, "official", root) if official is not None else None,
        torch=torch,
        seconds=as_number(answer.get("seconds"), "seconds"),
    )


# --------------------------------------------------------------------------- the sides


def _state_dict(side: Mapping[str, Any], where: str) -> StateDict:
    tensors = _tensors(side.get("tensors"), f"{where}.tensors")
    state = StateDict(as_text(side.get("source"), f"{where}.source"), "class", tensors)
    if len(state.by_name) != len(tensors):
        raise MalformedAnswer(f"{where}.tensors has a name twice")
    return state


def _tensors(told: object, what: str) -> tuple[Tensor, ...]:
    return tuple(_tensor(item, what) for item in as_list(told, what))


def _tensor(item: object, what: str) -> Tensor:
    parts = as_list(item, what)
    if len(parts) not in (4, 5):
        raise MalformedAnswer(f"{what} has an entry of {len(parts)} items")
    name, shape, dtype, flags = parts[:4]
    marks = as_text(flags, what)
    if not set(marks) <= {"b", "w"}:
        raise MalformedAnswer(f"{what} has flags {marks[:20]!r}")
    return Tensor(
        name=as_text(name, what),
        shape=tuple(as_size(size, what) for size in as_list(shape, what)),
        dtype=as_text(dtype, what),
        buffer="b" in marks,
        tied=as_text(parts[4], what) if len(parts) == 5 else None,
        reshapes="w" in marks,
    )


def _gated(item: object) -> GatedNames:
    gate = as_object(item, "gated")
    return GatedNames(
        as_text(gate.get("field"), "gated.field"),
        redact(as_text(gate.get("value"), "gated.value")),
        _tensors(gate.get("tensors"), "gated.tensors"),
        optional(gate.get("official"), "gated.official", _tensors),
    )


def _rules(side: Mapping[str, Any] | None, name: str) -> tuple[RuleText, ...] | None:
    told = side.get(name) if side is not None else None
    return None if told is None else tuple(_rule(item, name) for item in as_list(told, name))


def _rule(item: object, where: str) -> RuleText:
    parts = as_list(item, where)
    if len(parts) != 4:
        raise MalformedAnswer(f"{where} has a rule of {len(parts)} items")
    pattern, target = as_text(parts[0], where), as_text(parts[1], where)
    if parts[2] is None and parts[3] is None:
        return pattern, target, None
    if type(parts[2]) is not int or type(parts[3]) is not int:
        raise MalformedAnswer(f"{where} has a merge that is no pair of numbers")
    return pattern, target, (parts[2], parts[3])


def _built(side: Mapping[str, Any], where: str, root: str) -> BuiltSide:
    path = optional(side.get("path"), f"{where}.path", as_text)
    line = optional(side.get("line"), f"{where}.line", as_size) or 0
    parameters = as_size(side.get("parameters"), f"{where}.parameters")
    return BuiltSide(
        source=as_text(side.get("source"), f"{where}.source"),
        cls=as_text(side.get("class"), f"{where}.class"),
        place=Location(Places(root).inside(path), Span(line, 0, line, 0)) if path is not None else None,
        config=redact_record(as_object(side.get("config"), f"{where}.config")),
        parameters=parameters,
    )


def read_problem(item: object, root: str) -> StateProblem:
    """A problem as `ditproof_probe.problems` writes it. Raises `MalformedAnswer`."""
    told = redact_record(as_object(item, "problems"))
    side, stage = told.get("side"), told.get("stage")
    if side not in _SIDES or stage not in _STAGES:
        raise MalformedAnswer(f"problems has side {side!r} and stage {stage!r}")
    path = optional(told.get("path"), "problems.path", as_text)
    return StateProblem(
        side=cast("ProblemSide", side),
        stage=cast("ProblemStage", stage),
        type=as_text(told.get("type"), "problems.type"),
        message=as_text(told.get("message"), "problems.message"),
        missing=optional(told.get("missing"), "problems.missing", as_text),
        path=Places(root).inside(path) if path is not None else None,
        line=optional(told.get("line"), "problems.line", as_size),
        next_step=optional(told.get("next_step"), "problems.next_step", as_text),
    )
