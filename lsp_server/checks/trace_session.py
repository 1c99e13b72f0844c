"""Measuring one case: what two models that are built can be asked, each answer read into its records."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from analyzers.numeric.records import Operations, Pair, Reading
from analyzers.numeric.repairs import Repairs
from lsp_server.checks.state_records import StateProblem
from lsp_server.checks.trace_records import (
    BuiltAnswer,
    LockstepAnswer,
    ObserveAnswer,
    pair_json,
    read_built,
    read_lockstep,
    read_observation,
    read_operations,
)

FLOAT32 = "float32"


class Session(Protocol):
    """Two models in another process, and what is asked of them: a `TinySession`, or one inside a test."""

    built: Mapping[str, Any]

    async def ask(self, ask: str, **arguments: Any) -> Mapping[str, Any]:
        """As `TinySession.ask`."""
        ...

    async def end(self) -> None:
        """Nothing more is asked."""
        ...


class ModelRaised(Exception):
    """A model raised in a run that the comparison needs."""

    def __init__(self, problem: StateProblem) -> None:
        super().__init__(problem.message)
        self.problem = problem


class Measuring:
    """The asks of one session, each with its answer read. All raise as `Session.ask`, and MalformedAnswer."""

    def __init__(self, session: Session, answer: BuiltAnswer, root: str) -> None:
        self.session = session
        self.answer = answer
        self.root = root

    @classmethod
    async def of(cls, session: Session, root: str) -> Measuring:
        """`root`: what the paths of its answers count from. Raises MalformedAnswer."""
        return cls(session, await asyncio.to_thread(read_built, session.built, root), root)

    async def observe(self, case: str) -> ObserveAnswer:
        """A free run of both sides."""
        told = await self.session.ask("observe", case=case)
        return await asyncio.to_thread(read_observation, told, case, self.root)

    async def free(self, case: str, pairs: Sequence[Pair]) -> tuple[Reading, ...]:
        """The pairs where nothing is put right. Raises ModelRaised."""
        return await self.lockstep(case, pairs, False, floors=False)

    async def lockstep(
        self,
        case: str,
        pairs: Sequence[Pair],
        replaced: bool | Sequence[int],
        *,
        dtype: str = FLOAT32,
        floors: bool = False,
        repairs: Repairs | None = None,
    ) -> tuple[Reading, ...]:
        """The pairs of one run. `replaced`: at which of them the port is put right.

        Raises ModelRaised where a model does.
        """
        answer = await self.answered(case, pairs, replaced, dtype=dtype, floors=floors, repairs=repairs)
        if answer.error is not None:
            raise ModelRaised(answer.error)
        return answer.readings

    async def answered(
        self,
        case: str,
        pairs: Sequence[Pair],
        replaced: bool | Sequence[int],
        *,
        dtype: str = FLOAT32,
        floors: bool = False,
        repairs: Repairs | None = None,
    ) -> LockstepAnswer:
        """As `lockstep`, with what a model raised."""
        told = await self.session.ask(
            "lockstep",
            case=case,
            pairs=[pair_json(pair) for pair in pairs],
            replace=replaced if isinstance(replaced, bool) else list(replaced),
            dtype=dtype,
            floors=floors,
            **_repairs_json(repairs),
        )
        return await asyncio.to_thread(read_lockstep, told, self.root)

    async def operations(
        self, case: str, pairs: Sequence[Pair], goal: Pair, dtype: str, repairs: Repairs
    ) -> Operations:
        """What both sides compute between the last agreeing values and the goal's wrong one."""
        told = await self.session.ask(
            "operations",
            case=case,
            pairs=[pair_json(pair) for pair in pairs],
            goal=goal.number,
            dtype=dtype,
            **_repairs_json(repairs),
        )
        return await asyncio.to_thread(read_operations, told, self.root)


def _repairs_json(repairs: Repairs | None) -> dict[str, list[int]]:
    if repairs is None:
        return {}
    return {"owned": sorted(repairs.owned), "in_order": sorted(repairs.in_order)}
