"""The verdict of a numeric comparison: whether the sides agree, and where they first do not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from analyzers.findings import JsonValue
from analyzers.numeric.records import OutputReading, Pair, Reading

DivergenceKind: TypeAlias = Literal["inside", "between", "layout", "dtype", "nonfinite"]
"""`inside`: a module that got the right input gives another output. `between`: what was computed from
agreeing values arrives wrong at the next aligned place. `layout`: the right values in another order. `dtype`:
computed in another dtype than the official model, at the cost of accuracy. `nonfinite`: the first NaN or
infinity."""

NumericStatus: TypeAlias = Literal["passed", "failed", "skipped", "error", "cancelled"]


@dataclass(frozen=True)
class Spot:
    """A place in one side's code. `module`: the submodule concerned. `line` to `end_line` (from 0, both
    included) is the statement; None where no source is known."""

    module: str
    path: str | None
    line: int | None
    end_line: int | None


@dataclass(frozen=True)
class Mismatch:
    """The first operation that differs. `what`: `operation` (another one), `constant` (another argument),
    `operand` (another of the agreeing values), `dtype`, `value` (same operation and operands, another
    result), `lacking` (the official one has no counterpart) or `extra`. `native` and `official`: each as a
    short text (`aten.add(var, 1e-05)`), None where there is none."""

    what: Literal["operation", "constant", "operand", "dtype", "value", "lacking", "extra"]
    native: str | None
    official: str | None
    native_spot: Spot | None
    official_spot: Spot | None


@dataclass(frozen=True)
class Hypothesis:
    """A known cause that, patched into the port for one run, brought the error down to its floor.

    `cause`: its name (`eps`, `gelu-approximate`, `rope-pairs`, ...). `message`: one sentence. `error`: what
    was left of the error. `edit`: operation and arguments of the fix that makes it so, None where no edit is
    mechanical.
    """

    cause: str
    message: str
    error: float
    edit: tuple[str, Mapping[str, JsonValue]] | None = None


@dataclass(frozen=True)
class Divergence:
    """One error of the port by itself: what comes before it was put right.

    `error` and `floor`: relative L2. `after`: aligned modules whose values it was computed from and that
    agree. `also`: further spots of the same cause (a swapped pair's other use, each numbered block).
    `message`: one sentence for a person. `calls`: how many aligned places show the same cause.
    `reaches_outputs`: whether this one changes the outputs beyond rounding, None where that was not told
    apart from other errors; `output_error`: by how much (relative L2, the largest of the outputs).
    """

    kind: DivergenceKind
    pair: Pair
    native: Spot
    official: Spot
    error: float | None
    floor: float | None
    after: tuple[str, ...]
    message: str
    mismatch: Mismatch | None = None
    hypothesis: Hypothesis | None = None
    also: tuple[Spot, ...] = ()
    calls: int = 1
    reaches_outputs: bool | None = None
    output_error: float | None = None


@dataclass(frozen=True)
class NumericVerdict:
    """What a tiny comparison came to.

    `reaches_outputs`: whether the outputs differ beyond their floor in any case. `layouts`: differences of
    mere form between aligned values, each one sentence. `not_fired`: aligned modules that were not called
    through their hooks. `unaligned`: modules with values that found no counterpart (side, name).
    `unlocated`: the outputs differ and no place was found; that is our own error, and is said so.
    `drift`: every reading of the free run and of the lockstep run, in the order of the port's calls.
    `outputs`: of the plainest case, then those of other cases that differ (`notes` name their cases).
    `drifting`: the native labels of the outputs that differ beyond rounding.
    """

    status: NumericStatus
    reason: str
    outputs: tuple[OutputReading, ...]
    divergences: tuple[Divergence, ...]
    reaches_outputs: bool
    unlocated: bool
    layouts: tuple[str, ...]
    unaligned: tuple[tuple[str, str], ...]
    not_fired: tuple[str, ...]
    taps: int
    aligned: int
    drift: tuple[tuple[Reading, Reading], ...]
    notes: tuple[str, ...] = ()
    drifting: tuple[str, ...] = ()

    @property
    def first(self) -> Divergence | None:
        """The divergence that comes first in the port's order of calls."""
        return self.divergences[0] if self.divergences else None
