"""What can be asked about two models: the questions of a tiny session, each a method.

Arguments and answers are JSON; the answers' fields are those of `analyzers.numeric.records`. A model that
raises is no failure of the question: the answer holds what was measured up to there, and the problem.
"""

from __future__ import annotations

import copy
import os
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Literal

import torch

from ditproof_probe.problems import (
    Problem,
    Side,
    Stopped,
    from_exception,
    innermost_below,
    innermost_in,
    problem,
)
from ditproof_probe.taps.fingerprints import difference, nonfinite, statistics
from ditproof_probe.taps.frames import CodeLine
from ditproof_probe.taps.hooks import Address, Held, Recorded, Recorder, Watcher, watching
from ditproof_probe.taps.labels import tensors
from ditproof_probe.taps.layouts import Layout
from ditproof_probe.taps.lockstep import Lockstep, Pair, Reading, dtype_name, to_themselves
from ditproof_probe.taps.operations import Log, Unlogged, known_objects, logging
from ditproof_probe.taps.repairs import repairs
from ditproof_probe.taps.schemas import Schemas
from ditproof_probe.taps.slices import (
    NativeTaps,
    OfficialTaps,
    Way,
    aligned_besides,
    equal_values,
    way_back,
)
from ditproof_probe.taps.twin import Arguments, Twin
from ditproof_probe.taps.widening import Widened

_DTYPES = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
    "float64": torch.float64,
}
_SIDES: Mapping[Literal["official", "native"], Side] = {"official": "official", "native": "port"}


@dataclass(frozen=True)
class Reference:
    """The official model's free run of one case. `taps`: values by address."""

    recorder: Recorder
    taps: Mapping[Address, torch.Tensor]
    result: Any
    error: Problem | None


@dataclass
class Instrument:
    """Measures a twin. Runs of the official model are kept a case; models in other dtypes are made once."""

    twin: Twin
    _references: dict[str, Reference] = field(default_factory=dict)
    _layouts: dict[tuple[str, int], Layout] = field(default_factory=dict)
    _twins: dict[torch.dtype, Twin] = field(default_factory=dict)
    _wide: list[torch.nn.Module] = field(default_factory=list)

    def observe(self, case: str) -> dict[str, Any]:
        """Both models, each by itself: every call with its taps, and the outputs compared."""
        reference = self._reference(case)
        native = Recorder()
        result, error = self._run_native(self.twin, self.twin.inputs(case, torch.float32)[1], native)
        return {
            "official": {"calls": _calls(reference.recorder), "error": reference.error},
            "native": {"calls": _calls(native), "error": error},
            "outputs": self._outputs(self.twin, reference, result, error),
        }

    def lockstep(
        self,
        case: str,
        pairs: Sequence[Mapping[str, Any]],
        replace: bool | Sequence[int] = True,
        dtype: str = "float32",
        floors: bool = False,
        owned: Sequence[int] = (),
        in_order: Sequence[int] = (),
    ) -> dict[str, Any]:
        """The pairs compared in one run of the port, with what is to be replaced put right on the way.

        `replace`: all, none, or these pairs. `floors`: how far rounding alone takes the official model at
        each tap: run in float64, itself in lockstep with its float32 values. For another `dtype` both models
        are converted and each is held, in lockstep, against the official float32 run: `error` is the port's
        own, and the floor, always measured then, the official model's own. `owned` and `in_order`: as in
        `lockstep.Lockstep`.
        """
        asked = _pairs(pairs)
        chosen = _chosen(asked, replace)
        kind = _dtype(dtype)
        reference = self._reference(case)
        if reference.error is not None:
            return {
                "readings": [Reading(pair.number, "absent").as_json() for pair in asked],
                "outputs": [],
                "error": reference.error,
                "floors_error": None,
            }
        twin = self.twin if kind is torch.float32 else self._converted(kind)
        kwargs = twin.inputs(case, kind)[1]
        watcher = self._lockstep(case, twin, asked, reference, chosen, kwargs, owned, in_order)
        try:
            result, error = self._run_native(twin, kwargs, watcher, watcher.substituting)
        finally:
            watcher.finish()
        if kind is torch.float32:
            for reading in watcher.readings.values():
                if reading.found is not None and not reading.found.reorders:
                    self._layouts[case, reading.pair] = reading.found
        own: Mapping[Address, Reading] = {}
        floors_error = None
        if asked and (kind is not torch.float32 or floors):
            own, floors_error = self._own_rounding(case, asked, reference, kind)
        return {
            "readings": [
                _with_floor(
                    watcher.readings.get(pair.number, Reading(pair.number, "absent")),
                    own.get(pair.official),
                    kind,
                )
                for pair in asked
            ],
            "outputs": self._outputs(twin, reference, result, error),
            "error": error,
            "floors_error": floors_error,
        }

    def operations(
        self,
        case: str,
        pairs: Sequence[Mapping[str, Any]],
        goal: int,
        dtype: str = "float32",
        replace: bool | Sequence[int] = True,
        owned: Sequence[int] = (),
        in_order: Sequence[int] = (),
    ) -> dict[str, Any]:
        """The operations of both sides that lead to one pair, back to the other aligned taps.

        `replace`: which pairs are put right on the way, and so count as aligned, as for `lockstep`, like
        `owned` and `in_order`. Raises Stopped where a model fails before the goal, or never comes to it.
        """
        asked = _pairs(pairs)
        wanted = next((pair for pair in asked if pair.number == goal), None)
        if wanted is None:
            raise _bad(f"there is no pair {goal} to lead to")
        chosen = _chosen(asked, replace)
        kind = _dtype(dtype)
        reference = self._reference(case)
        candidates = (pair for pair in asked if pair.number in chosen)
        aligned = aligned_besides(candidates, wanted, reference.recorder.numbers())
        twin = self.twin if kind is torch.float32 else self._converted(kind)
        official_kwargs, native_kwargs = twin.inputs(case, kind)
        native_log = Log(known_objects(twin.port, native_kwargs))
        numbers = [pair.number for pair in aligned]
        lockstep = self._lockstep(case, twin, aligned, reference, numbers, native_kwargs, owned, in_order)
        native = NativeTaps(lockstep, native_log, wanted.native)

        def run_native() -> Any:
            with lockstep.substituting():
                return twin.run_native(native_kwargs)

        try:
            error = self._run_logged("native", twin.port, native, native_log, run_native)
        finally:
            lockstep.finish()
        self._must_be_met(native.goal_value, wanted.native, error)
        official_log = Log(known_objects(twin.official, official_kwargs))
        by_address = {
            pair.official: pair.number for pair in reversed(aligned) if pair.number in lockstep.readings
        }
        official = OfficialTaps(by_address, native.outer, official_log, wanted.official)
        error = self._run_logged(
            "official", twin.official, official, official_log, lambda: twin.run_official(official_kwargs)
        )
        self._must_be_met(official.goal_value, wanted.official, error)
        assert native.goal_value is not None
        assert official.goal_value is not None
        ways = way_back(official_log, official.goal_value), way_back(native_log, native.goal_value)
        schemas = Schemas()
        goal_error = _goal_error(wanted, ways)
        same = equal_values(*ways, goal_error)
        return {
            "pair": goal,
            "official": ways[0].as_json(schemas),
            "native": ways[1].as_json(schemas),
            "same": same,
            "repairs": _repaired(wanted, ways, same) if kind is torch.float32 else [],
        }

    # ----------------------------------------------------------------------- runs

    def _reference(self, case: str) -> Reference:
        known = self._references.get(case)
        if known is None:
            if case not in self.twin.cases:
                raise _bad(f"there is no case {case!r}; there are {', '.join(self.twin.cases)}")
            recorder = Recorder()
            kwargs = self.twin.inputs(case, torch.float32)[0]
            result, error = self._run(
                "official", self.twin.official, recorder, lambda: self.twin.run_official(kwargs)
            )
            known = self._references[case] = Reference(recorder, recorder.taps(), result, error)
        return known

    def _lockstep(
        self,
        case: str,
        twin: Twin,
        pairs: Sequence[Pair],
        reference: Reference,
        replace: Collection[int],
        kwargs: Arguments,
        owned: Sequence[int],
        in_order: Sequence[int],
    ) -> Lockstep:
        """The port's watcher for a run with these arguments."""
        keys = {pair.number: (case, pair.number) for pair in pairs}
        return Lockstep(
            pairs,
            reference.taps,
            replace,
            [*_state(twin.official), *_state(twin.port), *_given(kwargs)],
            {number: self._layouts[key] for number, key in keys.items() if key in self._layouts},
            owned=frozenset(owned),
            in_order=frozenset(in_order),
        )

    def _run_logged(
        self,
        side: Literal["official", "native"],
        model: torch.nn.Module,
        watcher: Watcher,
        log: Log,
        run: Callable[[], Any],
    ) -> Problem | None:
        """Run with every operation kept; what the model raised."""
        torch.manual_seed(0)
        try:
            with watching(model, Unlogged(log, watcher)) as log.under, logging(log):
                run()
        except Exception as error:  # noqa: BLE001 - the user's model runs: what it raises is the answer
            return self._problem(error, side)
        return None

    def _must_be_met(self, value: int | None, goal: Address, error: Problem | None) -> None:
        if value is None:
            raise Stopped(error) if error is not None else _bad(f"the model never comes to {goal}")

    def _own_rounding(
        self,
        case: str,
        pairs: Sequence[Pair],
        reference: Reference,
        dtype: torch.dtype,
    ) -> tuple[dict[Address, Reading], Problem | None]:
        """The official model in another dtype (for float32: in float64), in lockstep with its own float32
        values."""
        addresses = list(dict.fromkeys(pair.official for pair in pairs))
        in_float64 = dtype is torch.float32
        model = self._in_float64() if in_float64 else self._converted(dtype).official
        kwargs = self.twin.inputs(case, torch.float64 if in_float64 else dtype)[0]

        def run() -> Any:
            if not in_float64:
                return self._converted(dtype).run_official(kwargs)
            with Widened():
                return self.twin.run_official(kwargs, model=model)

        watcher = Lockstep(
            to_themselves(addresses),
            reference.taps,
            range(len(addresses)),
            [*_state(model), *_given(kwargs)],
            search_layouts=False,
        )
        try:
            _, error = self._run("official", model, watcher, run)
        finally:
            watcher.finish()
        return {addresses[number]: reading for number, reading in watcher.readings.items()}, error

    def _run_native(
        self,
        twin: Twin,
        kwargs: Arguments,
        watcher: Watcher,
        within: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> tuple[Any, Problem | None]:
        def run() -> Any:
            with within():
                return twin.run_native(kwargs)

        return self._run("native", twin.port, watcher, run)

    def _run(
        self,
        side: Literal["official", "native"],
        model: torch.nn.Module,
        watcher: Watcher,
        run: Callable[[], Any],
    ) -> tuple[Any, Problem | None]:
        """The result, or what the model raised. Random numbers are the same in every run."""
        torch.manual_seed(0)
        try:
            with watching(model, watcher), torch.no_grad():
                return run(), None
        except Exception as error:  # noqa: BLE001 - the user's model runs: what it raises is the answer
            return None, self._problem(error, side)

    def _problem(self, error: Exception, side: Literal["official", "native"]) -> Problem:
        if isinstance(error, Stopped):
            return error.problem
        found = from_exception(error, _SIDES[side], "forward", self.twin.inside)
        if found["path"] is None and side == "official":
            # An installed package is not the user's, but its own line says what it did with the inputs.
            own = sys.modules[type(self.twin.official).__module__].__file__
            found["path"], found["line"] = innermost_in(error, own)
        if side == "native":
            # A layer that many models share is rarely wrong; what this one gave it is.
            own = sys.modules[type(self.twin.port).__module__].__file__
            path, line = innermost_below(error, os.path.dirname(own)) if own else (None, None)  # noqa: PTH120
            if path is not None:
                found["path"], found["line"] = path, line
        return found

    def _converted(self, dtype: torch.dtype) -> Twin:
        if dtype not in self._twins:
            self._twins[dtype] = self.twin.to(dtype)
        return self._twins[dtype]

    def _in_float64(self) -> torch.nn.Module:
        if not self._wide:
            self._wide.append(copy.deepcopy(self.twin.official).double())
        return self._wide[0]

    def _outputs(
        self, twin: Twin, reference: Reference, result: Any, error: Problem | None
    ) -> list[dict[str, Any]]:
        if reference.error is not None or error is not None:
            return []
        official, native = twin.outputs(reference.result, result)
        return _outputs(dict(tensors(official)), dict(tensors(native)))


def _state(model: torch.nn.Module) -> Iterator[torch.Tensor]:
    yield from model.parameters()
    yield from model.buffers()


def _given(kwargs: Arguments) -> list[torch.Tensor]:
    return [tensor for key, value in kwargs.items() for _, tensor in tensors(value, key)]


def _goal_error(goal: Pair, ways: tuple[Way, Way]) -> float | None:
    """How far apart the two goals are; None where their shapes differ."""
    right, left = (way.log.values.copies[way.goal] for way in ways)
    if goal.part is not None and left.dim() and not left.shape[-1] % goal.part[1]:
        left = left.chunk(goal.part[1], dim=-1)[goal.part[0]]
    return difference(right, left).error if right.shape == left.shape else None


def _repaired(goal: Pair, ways: tuple[Way, Way], same: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    with torch.no_grad():
        return repairs(*ways, same, _goal_error(goal, ways), goal.part)


# --------------------------------------------------------------------------- arguments


def _pairs(told: Sequence[Mapping[str, Any]]) -> list[Pair]:
    try:
        pairs = [
            Pair(
                int(pair["number"]),
                _address(pair["official"]),
                _address(pair["native"]),
                None if pair.get("part") is None else (int(pair["part"][0]), int(pair["part"][1])),
            )
            for pair in told
        ]
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise _bad(f"a pair cannot be read ({type(error).__name__}: {error})") from error
    for pair in pairs:
        if pair.part is not None and not 0 <= pair.part[0] < pair.part[1]:
            raise _bad(f"pair {pair.number} has part {list(pair.part)}")
    if len({pair.number for pair in pairs}) != len(pairs):
        raise _bad("two pairs have one number")
    return pairs


def _address(told: Sequence[Any]) -> Address:
    module, index, end, label = told
    if end not in ("in", "out"):
        raise ValueError(f"an end is in or out, not {end!r}")
    return Address(str(module), int(index), end, str(label))


def _chosen(pairs: Sequence[Pair], replace: bool | Sequence[int]) -> Collection[int]:
    numbers = {pair.number for pair in pairs}
    if isinstance(replace, bool):
        return numbers if replace else set()
    unknown = set(replace) - numbers
    if unknown:
        raise _bad(f"there is no pair {min(unknown)} to replace")
    return set(replace)


def _dtype(name: str) -> torch.dtype:
    if name not in _DTYPES or name == "float64":
        raise _bad(f"dtype {name!r} is not one of float32, bfloat16, float16")
    return _DTYPES[name]


def _bad(message: str) -> Stopped:
    return Stopped(problem("code base", "trace", "BadRequest", message))


# --------------------------------------------------------------------------- answers


def _calls(recorder: Recorder) -> list[dict[str, Any]]:
    told = {}

    def tap(held: Held) -> dict[str, Any]:
        if held.value not in told:
            tensor = recorder.values.copies[held.value]
            told[held.value] = {
                "value": held.value,
                "shape": list(tensor.shape),
                "dtype": dtype_name(tensor),
                **vars(statistics(tensor)),
            }
        return {"label": held.label, **told[held.value]}

    def call(recorded: Recorded) -> dict[str, Any]:
        made = recorded.call
        return {
            "number": made.number,
            "module": made.module,
            "index": made.index,
            "parent": made.parent,
            "inputs": [tap(held) for held in recorded.inputs],
            "outputs": [tap(held) for held in recorded.outputs],
            "site": line_json(made.site),
        }

    return [call(recorded) for recorded in recorder.calls]


def line_json(line: CodeLine | None) -> list[Any] | None:
    """`[path, line, function]`."""
    return None if line is None else list(line)


def _with_floor(reading: Reading, own: Reading | None, dtype: torch.dtype) -> dict[str, Any]:
    if own is None:
        return reading.as_json()
    return reading.as_json(own.error, None if dtype is torch.float32 else own.dtypes[1])


def _outputs(right: Mapping[str, torch.Tensor], left: Mapping[str, torch.Tensor]) -> list[dict[str, Any]]:
    """Outputs of equal label together; without such, in their order. What has no partner is told alone."""
    if right.keys() & left.keys():
        couples = [(label, label) for label in right if label in left]
    else:
        couples = list(zip(right, left, strict=False))
    found = [_output(a, b, right[a], left[b]) for a, b in couples]
    lone_right = [label for label in right if label not in {a for a, _ in couples}]
    lone_left = [label for label in left if label not in {b for _, b in couples}]
    found += [_output(label, "", right[label], None) for label in lone_right]
    found += [_output("", label, None, left[label]) for label in lone_left]
    return found


def _output(
    official: str, native: str, reference: torch.Tensor | None, value: torch.Tensor | None
) -> dict[str, Any]:
    both = [reference, value]
    told: dict[str, Any] = {
        "official": official,
        "native": native,
        "max_abs": None,
        "mean_abs": None,
        "rel_l2": None,
        "shapes": [[] if tensor is None else list(tensor.shape) for tensor in both],
        "dtypes": ["" if tensor is None else dtype_name(tensor) for tensor in both],
        "nonfinite": [0 if tensor is None else nonfinite(tensor) for tensor in both],
    }
    if reference is not None and value is not None and reference.shape == value.shape:
        apart = difference(reference, value)
        told.update(max_abs=apart.max_abs, mean_abs=apart.mean_abs, rel_l2=apart.error)
    return told
