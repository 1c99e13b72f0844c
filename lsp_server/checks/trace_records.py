"""What a tiny session answers, read strictly into the nouns of `analyzers.numeric.records`.

A value that does not fit its form refuses the whole answer. Absolute paths become relative to the root
where they lie in it; lines stay as they are, from 0; texts for people are redacted. Forms, beside the fields
of the records of the same name:

=============  =================================================================================
code line      `[path, line, function]`
filling        `[native, [official, ...]]`
measure        a number, or one of the texts `nan`, `inf` and `-inf`
values         of a slice: a list of values
pair           `{"number", "official": [module, index, end, label], "native", "part": [i, n]}`
=============  =================================================================================
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, cast

from analyzers.findings import Location, Span
from analyzers.numeric.records import (
    Address,
    Built,
    Call,
    CodeLine,
    Filling,
    Module,
    Observation,
    Operand,
    Operation,
    Operations,
    OutputReading,
    Pair,
    Reading,
    Repair,
    Same,
    Slice,
    Tap,
    Value,
)
from lsp_server.checks.redact import redact, redact_record
from lsp_server.checks.state_records import StateProblem, read_problem
from lsp_server.checks.strict import (
    MalformedAnswer,
    Places,
    as_flag,
    as_list,
    as_measure,
    as_named_text,
    as_number,
    as_object,
    as_size,
    as_text,
    as_texts,
    optional,
)

T = TypeVar("T")

_STATUSES = ("compared", "layout", "absent", "incomparable")
_SOURCES = ("op", "pair", "parameter", "buffer", "input", "outside")


@dataclass(frozen=True)
class TinySide:
    """One of the two models. `place`: where its class is defined, None where that has no file. `config`:
    what it was built from, as JSON values."""

    cls: str
    place: Location | None
    config: Mapping[str, Any]


@dataclass(frozen=True)
class BuiltAnswer:
    """What was built. `dropped`: official settings that the port did not take, with the reason.
    `misshapen`: parameters of the port whose shape is not what the mapping brings, with both. `filled`: those
    that checkpoints fill and the official class ignores, so that nothing is compared with them. `recipe`:
    where the inputs come from (a path, or the name of a built-in one). `files`: the modules below the root
    that were imported, relative to it: what the answer depends on."""

    built: Built
    official: TinySide
    native: TinySide
    dropped: tuple[tuple[str, str], ...]
    misshapen: tuple[tuple[str, str], ...]
    filled: tuple[str, ...]
    recipe: str
    problems: tuple[StateProblem, ...]
    files: tuple[str, ...]
    seconds: float


@dataclass(frozen=True)
class ObserveAnswer:
    """A free run of one case. An error is what a model raised; its calls are those that came before."""

    observation: Observation
    official_error: StateProblem | None
    native_error: StateProblem | None


@dataclass(frozen=True)
class LockstepAnswer:
    """The pairs as they were measured in one run. `outputs`: of this run, so right where values were
    replaced. `floors_error`: what the official model raised where its own rounding was measured."""

    readings: tuple[Reading, ...]
    outputs: tuple[OutputReading, ...]
    error: StateProblem | None
    floors_error: StateProblem | None


def read_built(told: object, root: str) -> BuiltAnswer:
    """The first answer of a session. Raises `MalformedAnswer`."""
    places = Places(root)
    answer = as_object(told, "built")
    official, native = (as_object(answer.get(side), side) for side in ("official", "native"))
    return BuiltAnswer(
        built=Built(
            official=_modules(official, "official", places),
            native=_modules(native, "native", places),
            fillings=_each(answer.get("fillings"), "fillings", _filling),
            missing=as_texts(answer.get("missing"), "missing"),
            unexpected=as_texts(answer.get("unexpected"), "unexpected"),
            cases=as_texts(answer.get("cases"), "cases"),
        ),
        official=_side(official, "official", places),
        native=_side(native, "native", places),
        dropped=_each(answer.get("dropped"), "dropped", as_named_text),
        misshapen=_each(answer.get("shapes"), "shapes", _misshapen),
        filled=as_texts(answer.get("filled"), "filled"),
        recipe=places.inside(as_text(answer.get("recipe"), "recipe")),
        problems=tuple(read_problem(item, root) for item in as_list(answer.get("problems"), "problems")),
        files=places.below(as_texts(answer.get("files"), "files")),
        seconds=as_number(answer.get("seconds"), "seconds"),
    )


def _misshapen(told: object, where: str) -> tuple[str, str]:
    parts = as_list(told, where)
    if len(parts) != 3:
        raise MalformedAnswer(f"{where} is no name with two shapes")
    own, came = (list(_shape(part, where)) for part in parts[1:])
    return as_text(parts[0], where), f"{own}, and {came} comes"


def read_observation(told: object, case: str, root: str) -> ObserveAnswer:
    """The answer to `observe`. Raises `MalformedAnswer`."""
    places = Places(root)
    answer = as_object(told, "observe")
    official, native = (as_object(answer.get(side), side) for side in ("official", "native"))
    return ObserveAnswer(
        observation=Observation(
            case=case,
            official=_calls(official, "official.calls", places),
            native=_calls(native, "native.calls", places),
            outputs=_each(answer.get("outputs"), "outputs", _output),
        ),
        official_error=_error(official.get("error"), root),
        native_error=_error(native.get("error"), root),
    )


def read_lockstep(told: object, root: str) -> LockstepAnswer:
    """The answer to `lockstep`. Raises `MalformedAnswer`."""
    answer = as_object(told, "lockstep")
    return LockstepAnswer(
        readings=_each(answer.get("readings"), "readings", _reading),
        outputs=_each(answer.get("outputs"), "outputs", _output),
        error=_error(answer.get("error"), root),
        floors_error=_error(answer.get("floors_error"), root),
    )


def read_operations(told: object, root: str) -> Operations:
    """The answer to `operations`. Raises `MalformedAnswer`."""
    places = Places(root)
    answer = as_object(told, "operations")
    return Operations(
        pair=as_size(answer.get("pair"), "operations.pair"),
        official=_slice(answer.get("official"), "operations.official", places),
        native=_slice(answer.get("native"), "operations.native", places),
        same=_each(answer.get("same"), "operations.same", _same),
        repairs=_each(answer.get("repairs", []), "operations.repairs", _repair),
    )


def pair_json(pair: Pair) -> dict[str, Any]:
    """A pair as `lockstep` and `operations` are asked about it."""
    return {
        "number": pair.number,
        "official": _address_json(pair.official),
        "native": _address_json(pair.native),
        "part": None if pair.part is None else list(pair.part),
        "why": pair.why,
    }


def _address_json(address: Address) -> list[str | int]:
    return [address.module, address.index, address.end, address.label]


# --------------------------------------------------------------------------- what was built


def _side(told: Mapping[str, Any], where: str, places: Places) -> TinySide:
    path = optional(told.get("path"), f"{where}.path", as_text)
    line = optional(told.get("line"), f"{where}.line", as_size) or 0
    return TinySide(
        cls=as_text(told.get("class"), f"{where}.class"),
        place=Location(places.inside(path), Span(line, 0, line, 0)) if path is not None else None,
        config=redact_record(as_object(told.get("config"), f"{where}.config")),
    )


def _modules(told: Mapping[str, Any], where: str, places: Places) -> tuple[Module, ...]:
    where = f"{where}.modules"
    modules = _each(told.get("modules"), where, lambda item, where: _module(item, where, places))
    if len({module.name for module in modules}) != len(modules):
        raise MalformedAnswer(f"{where} has a name twice")
    return modules


def _module(item: object, where: str, places: Places) -> Module:
    told = as_object(item, where)
    path = optional(told.get("path"), f"{where}.path", as_text)
    settings = as_object(told.get("settings"), f"{where}.settings")
    return Module(
        name=as_text(told.get("name"), f"{where}.name"),
        cls=as_text(told.get("cls"), f"{where}.cls"),
        path=places.inside(path) if path is not None else None,
        line=optional(told.get("line"), f"{where}.line", as_size),
        built_at=_lines(told.get("built_at"), f"{where}.built_at", places),
        parameters=as_texts(told.get("parameters"), f"{where}.parameters"),
        settings={name: redact(as_text(value, f"{where}.settings")) for name, value in settings.items()},
    )


def _filling(item: object, where: str) -> Filling:
    parts = as_list(item, where)
    if len(parts) != 2:
        raise MalformedAnswer(f"{where} has an entry of {len(parts)} items")
    return Filling(as_text(parts[0], where), as_texts(parts[1], where))


# --------------------------------------------------------------------------- calls


def _calls(told: Mapping[str, Any], where: str, places: Places) -> tuple[Call, ...]:
    return _each(told.get("calls"), where, lambda item, where: _call(item, where, places))


def _call(item: object, where: str, places: Places) -> Call:
    told = as_object(item, where)
    return Call(
        number=as_size(told.get("number"), f"{where}.number"),
        module=as_text(told.get("module"), f"{where}.module"),
        index=as_size(told.get("index"), f"{where}.index"),
        parent=optional(told.get("parent"), f"{where}.parent", as_size),
        inputs=_each(told.get("inputs"), f"{where}.inputs", _tap),
        outputs=_each(told.get("outputs"), f"{where}.outputs", _tap),
        site=optional(told.get("site"), f"{where}.site", lambda item, where: _line(item, where, places)),
    )


def _tap(item: object, where: str) -> Tap:
    told = as_object(item, where)
    return Tap(
        label=as_text(told.get("label"), f"{where}.label"),
        value=as_size(told.get("value"), f"{where}.value"),
        shape=_shape(told.get("shape"), f"{where}.shape"),
        dtype=as_text(told.get("dtype"), f"{where}.dtype"),
        norm=as_measure(told.get("norm"), f"{where}.norm"),
        minimum=as_measure(told.get("minimum"), f"{where}.minimum"),
        maximum=as_measure(told.get("maximum"), f"{where}.maximum"),
        nonfinite=as_size(told.get("nonfinite"), f"{where}.nonfinite"),
    )


# --------------------------------------------------------------------------- readings


def _reading(item: object, where: str) -> Reading:
    told = as_object(item, where)

    def number(name: str) -> float | None:
        return optional(told.get(name), f"{where}.{name}", as_measure)

    return Reading(
        pair=as_size(told.get("pair"), f"{where}.pair"),
        status=cast(
            'Literal["compared", "layout", "absent", "incomparable"]',
            _one_of(told.get("status"), f"{where}.status", _STATUSES),
        ),
        error=number("error"),
        plain_error=number("plain_error"),
        max_abs=number("max_abs"),
        norm=number("norm"),
        floor=number("floor"),
        layout=optional(told.get("layout"), f"{where}.layout", as_text),
        reorders=as_flag(told.get("reorders"), f"{where}.reorders"),
        dtypes=_two(told.get("dtypes"), f"{where}.dtypes", as_text),
        shapes=_two(told.get("shapes"), f"{where}.shapes", _shape),
        nonfinite=_two(told.get("nonfinite"), f"{where}.nonfinite", as_size),
        replaced=as_flag(told.get("replaced"), f"{where}.replaced"),
    )


def _output(item: object, where: str) -> OutputReading:
    told = as_object(item, where)

    def number(name: str) -> float | None:
        return optional(told.get(name), f"{where}.{name}", as_measure)

    return OutputReading(
        official=as_text(told.get("official"), f"{where}.official"),
        native=as_text(told.get("native"), f"{where}.native"),
        max_abs=number("max_abs"),
        mean_abs=number("mean_abs"),
        rel_l2=number("rel_l2"),
        shapes=_two(told.get("shapes"), f"{where}.shapes", _shape),
        dtypes=_two(told.get("dtypes"), f"{where}.dtypes", as_text),
        nonfinite=_two(told.get("nonfinite"), f"{where}.nonfinite", as_size),
    )


# --------------------------------------------------------------------------- operations


def _slice(item: object, where: str, places: Places) -> Slice:
    told = as_object(item, where)
    operations = _each(
        told.get("operations"), f"{where}.operations", lambda item, where: _operation(item, where, places)
    )
    values = {value.number: value for value in _each(told.get("values"), f"{where}.values", _value)}
    found = Slice(as_size(told.get("goal"), f"{where}.goal"), operations, values)
    used = {
        *(o.value for operation in operations for o in operation.operands if o.value is not None),
        *(number for operation in operations for number in operation.outputs),
        found.goal,
    }
    unknown = used - values.keys()
    if unknown:
        raise MalformedAnswer(f"{where} speaks of value {min(unknown)}, which it does not have")
    return found


def _operation(item: object, where: str, places: Places) -> Operation:
    told = as_object(item, where)
    outputs = as_list(told.get("outputs"), f"{where}.outputs")
    return Operation(
        number=as_size(told.get("number"), f"{where}.number"),
        name=as_text(told.get("name"), f"{where}.name"),
        operands=_each(told.get("operands"), f"{where}.operands", _operand),
        outputs=tuple(as_size(number, f"{where}.outputs") for number in outputs),
        module=as_text(told.get("module"), f"{where}.module"),
        stack=_lines(told.get("stack"), f"{where}.stack", places),
    )


def _operand(item: object, where: str) -> Operand:
    told = as_object(item, where)
    constant = optional(told.get("constant"), f"{where}.constant", as_text)
    held = as_list(told.get("held", []), f"{where}.held")
    return Operand(
        value=optional(told.get("value"), f"{where}.value", as_size),
        variable=optional(told.get("variable"), f"{where}.variable", as_text),
        constant=redact(constant) if constant is not None else None,
        keyword=optional(told.get("keyword"), f"{where}.keyword", as_text),
        held=tuple(optional(name, f"{where}.held", as_text) for name in held),
    )


def _value(item: object, where: str) -> Value:
    told = as_object(item, where)
    return Value(
        number=as_size(told.get("number"), f"{where}.number"),
        source=cast(
            'Literal["op", "pair", "parameter", "buffer", "input", "outside"]',
            _one_of(told.get("source"), f"{where}.source", _SOURCES),
        ),
        maker=optional(told.get("maker"), f"{where}.maker", as_size),
        name=optional(told.get("name"), f"{where}.name", as_text),
        shape=_shape(told.get("shape"), f"{where}.shape"),
        dtype=as_text(told.get("dtype"), f"{where}.dtype"),
        norm=as_measure(told.get("norm"), f"{where}.norm"),
        nonfinite=as_size(told.get("nonfinite"), f"{where}.nonfinite"),
    )


def _same(item: object, where: str) -> Same:
    told = as_object(item, where)
    return Same(
        official=as_size(told.get("official"), f"{where}.official"),
        native=as_size(told.get("native"), f"{where}.native"),
        layout=optional(told.get("layout"), f"{where}.layout", as_text),
        error=as_measure(told.get("error"), f"{where}.error"),
        reorders=as_flag(told.get("reorders", False), f"{where}.reorders"),
    )


def _repair(item: object, where: str) -> Repair:
    told = as_object(item, where)
    exchanged = _each(told.get("exchanged"), f"{where}.exchanged", lambda each, at: _each(each, at, as_size))
    if any(len(each) != 2 for each in exchanged):
        raise MalformedAnswer(f"{where}.exchanged is no list of pairs")
    return Repair(
        exchanged=tuple((each[0], each[1]) for each in exchanged),
        user=optional(told.get("user"), f"{where}.user", as_size),
        error=as_measure(told.get("error"), f"{where}.error"),
    )


# --------------------------------------------------------------------------- parts of several


def _each(told: object, where: str, read: Callable[[object, str], T]) -> tuple[T, ...]:
    return tuple(read(item, where) for item in as_list(told, where))


def _two(told: object, where: str, read: Callable[[object, str], T]) -> tuple[T, T]:
    parts = as_list(told, where)
    if len(parts) != 2:
        raise MalformedAnswer(f"{where} is no pair")
    return read(parts[0], where), read(parts[1], where)


def _shape(told: object, where: str) -> tuple[int, ...]:
    return _each(told, where, as_size)


def _lines(told: object, where: str, places: Places) -> tuple[CodeLine, ...]:
    return _each(told, where, lambda item, where: _line(item, where, places))


def _line(item: object, where: str, places: Places) -> CodeLine:
    parts = as_list(item, where)
    if len(parts) != 3:
        raise MalformedAnswer(f"{where} has a line of {len(parts)} items")
    path, line, function = parts
    return CodeLine(places.inside(as_text(path, where)), as_size(line, where), as_text(function, where))


def _one_of(told: object, where: str, known: tuple[str, ...]) -> str:
    if told not in known:
        raise MalformedAnswer(f"{where} is {str(told)[:40]!r}")
    return told


def _error(told: object, root: str) -> StateProblem | None:
    return None if told is None else read_problem(told, root)
