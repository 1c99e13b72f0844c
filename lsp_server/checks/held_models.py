"""The models of a parity test, asked about while the test's process holds them
(`ditproof_probe.parity_holding`).

A session of the tiny tier from the driver's point of view: `open` gives what a `TinySession` has built.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from analyzers.findings import JsonValue
from analyzers.numeric.records import Address, Pair
from analyzers.numeric.trace_names import Rename
from analyzers.numeric.verdicts import Divergence, Mismatch, NumericVerdict, Spot
from analyzers.project.profiles.base import MappingSemantics
from analyzers.weights.mapping.renaming import rename
from analyzers.weights.mapping.symbolic import SymbolicRule
from lsp_server.checks.errors import CheckError
from lsp_server.checks.executor import Executor
from lsp_server.checks.meta import AskFailed
from lsp_server.checks.state_records import read_problem
from lsp_server.checks.strict import MalformedAnswer


@dataclass
class HeldRun:
    """One parity run whose models are asked about: its asks are numbered through the whole run."""

    executor: Executor
    job: str
    root: str
    timeout: float
    _next: int = 0
    _answers: dict[int, asyncio.Future[Mapping[str, JsonValue]]] = field(default_factory=dict)

    async def ask(self, ask: str, **arguments: Any) -> Mapping[str, Any]:
        """The answer, JSON values. Raises AskFailed where it is a problem, CheckError where there is none in
        time or the run has ended, MalformedAnswer."""
        number, self._next = self._next, self._next + 1
        answer: asyncio.Future[Mapping[str, JsonValue]] = asyncio.get_running_loop().create_future()
        self._answers[number] = answer
        message = {"n": number, "ask": ask, "arguments": arguments}
        try:
            await self.executor.tell(self.job, number, message)
            told = await asyncio.wait_for(answer, self.timeout)
        except asyncio.TimeoutError as error:
            raise CheckError(
                f"The test's models gave no answer to `{ask}` in {self.timeout:g} s.", "Raise the time limit."
            ) from error
        finally:
            del self._answers[number]
        if told.get("problem") is not None:
            raise AskFailed(read_problem(told["problem"], self.root))
        value = told.get("value")
        if not isinstance(value, dict):
            raise MalformedAnswer(f"answer {number} has neither a value nor a problem")
        return value

    async def release(self) -> None:
        """Nothing more is asked about this test's models: the run goes on."""
        number, self._next = self._next, self._next + 1
        await self.executor.tell(self.job, number, {"n": number, "ask": "end"})

    def take(self, record: Mapping[str, JsonValue]) -> None:
        """An answer has come."""
        number = record.get("n")
        answer = self._answers.get(number) if isinstance(number, int) else None
        if answer is not None and not answer.done():
            answer.set_result(record)

    def over(self) -> None:
        """The run has ended: whoever waits for an answer gets none."""
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(CheckError("The run ended before it answered.", "Run it again."))


@dataclass(frozen=True)
class Extent:
    """Which modules are looked at, with the number of the call of each: the whole models, or one module."""

    official: str = ""
    native: str = ""
    calls: tuple[int, int] = (0, 0)


class HeldModels:
    """Both models of one test, or one module of each: a session of the driver (`trace_session.Session`)."""

    def __init__(self, run: HeldRun, built: Mapping[str, Any]) -> None:
        self.built = built
        self._run = run

    @classmethod
    async def open(
        cls, run: HeldRun, extent: Extent, renaming: Rename, semantics: MappingSemantics
    ) -> HeldModels:
        """`renaming`: the mapping as the sources tell it, for a port that does not tell its own. Raises as
        `HeldRun.ask`."""
        told = await run.ask("open", official=extent.official, native=extent.native, calls=list(extent.calls))
        own = _own_mapping(told.get("mapping"), semantics)
        return cls(run, {**told, "fillings": fillings(told, extent, own or renaming)})

    async def ask(self, ask: str, **arguments: Any) -> Mapping[str, Any]:
        """As `HeldRun.ask`."""
        return await self._run.ask(ask, **arguments)

    async def end(self) -> None:
        """Nothing: the run releases the models when everything is known about them."""


def _own_mapping(told: object, semantics: MappingSemantics) -> Rename | None:
    """The mapping of the class that runs: [[pattern, target, index, n]]."""
    if not isinstance(told, list):
        return None
    rules = tuple(
        SymbolicRule(str(pattern), str(target), None if index is None else (int(index), int(count)))
        for pattern, target, index, count in told
    )
    return lambda name: rename(name, rules, semantics)


def fillings(built: Mapping[str, Any], extent: Extent, renaming: Rename) -> list[list[Any]]:
    """Which official parameters fill the port's, by its mapping: [native, [sources in merge order]].

    Names count from the modules that are looked at. A merged parameter that lacks a part is left out.
    """
    whole: dict[str, str] = {}
    parts: dict[str, dict[int, str]] = {}
    counts: dict[str, int] = {}
    for module in built["official"]["modules"]:
        for parameter in module["parameters"]:
            name = joined(module["name"], parameter)
            renamed = renaming(joined(extent.official, name))
            target = _below(renamed.target, extent.native)
            if target is None:
                continue
            if renamed.merge is None:
                whole[target] = name
            else:
                parts.setdefault(target, {})[renamed.merge[0]] = name
                counts[target] = renamed.merge[1]
    merged = [
        [target, [found[place] for place in sorted(found)]]
        for target, found in parts.items()
        if len(found) == counts[target]
    ]
    return [*([target, [source]] for target, source in whole.items()), *merged]


def joined(outer: str, name: str) -> str:
    """A name below a module by its full one."""
    return f"{outer}.{name}" if outer and name else outer or name


def _below(name: str, outer: str) -> str | None:
    if not outer:
        return name
    return name[len(outer) + 1 :] if name.startswith(outer + ".") else None


# --------------------------------------------------------------------------- full names


def widened(verdict: NumericVerdict, extent: Extent) -> NumericVerdict:
    """A verdict about one module with the names that its modules have in the whole models."""
    if extent == Extent():
        return verdict
    return replace(
        verdict,
        divergences=tuple(_divergence(found, extent) for found in verdict.divergences),
        unaligned=tuple(
            (side, joined(extent.official if side == "official" else extent.native, name))
            for side, name in verdict.unaligned
        ),
        not_fired=tuple(joined(extent.native, name) for name in verdict.not_fired),
    )


def widened_pair(pair: Pair, extent: Extent) -> Pair:
    """A pair with full names."""
    return replace(
        pair,
        official=_address(pair.official, extent.official, extent.calls[0]),
        native=_address(pair.native, extent.native, extent.calls[1]),
    )


def _divergence(found: Divergence, extent: Extent) -> Divergence:
    return replace(
        found,
        pair=widened_pair(found.pair, extent),
        native=_spot(found.native, extent.native),
        official=_spot(found.official, extent.official),
        after=tuple(joined(extent.native, name) for name in found.after),
        also=tuple(_spot(spot, extent.native) for spot in found.also),
        mismatch=None if found.mismatch is None else _mismatch(found.mismatch, extent),
    )


def _mismatch(found: Mismatch, extent: Extent) -> Mismatch:
    native, official = found.native_spot, found.official_spot
    return replace(
        found,
        native_spot=None if native is None else _spot(native, extent.native),
        official_spot=None if official is None else _spot(official, extent.official),
    )


def _spot(spot: Spot, outer: str) -> Spot:
    return replace(spot, module=joined(outer, spot.module))


def _address(address: Address, outer: str, call: int) -> Address:
    index = call if not address.module else address.index
    return replace(address, module=joined(outer, address.module), index=index)
