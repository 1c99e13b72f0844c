"""What an instrument has measured on the two sides of a port, as the judge reads it.

The *official* side is the model that is ported, the *native* side the port. Paths are relative to the
project's root with `/` where they lie inside it, else absolute. Lines count from 0. Errors are relative L2
norms, `|native - official| / |official|`, unless said otherwise.

A *value* is one tensor as it was at one moment; equal numbers of one side are the same object. A *tap* is
a value at the entry or the exit of a module's call.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple, TypeAlias

Side: TypeAlias = Literal["official", "native"]

End: TypeAlias = Literal["in", "out"]


class CodeLine(NamedTuple):
    """A line of code, and the function that it stands in."""

    path: str
    line: int
    function: str


@dataclass(frozen=True)
class Module:
    """One submodule of a side.

    `name`: as in `named_modules` (the empty text for the model). `path` and `line`: where its class defines
    `forward`. `built_at`: the frames that constructed it, innermost first, without those of torch and of
    `nn.Module` subclasses' own `super().__init__` chains. `parameters`: its own, not those of its children.
    `settings`: plain attributes (`eps`, `approximate`, `normalized_shape`, ...) as text.
    """

    name: str
    cls: str
    path: str | None
    line: int | None
    built_at: tuple[CodeLine, ...]
    parameters: tuple[str, ...]
    settings: Mapping[str, str]


@dataclass(frozen=True)
class Filling:
    """Which official tensors fill one of the port's, in merge order, as FastVideo's own functions did it."""

    native: str
    sources: tuple[str, ...]


@dataclass(frozen=True)
class Tap:
    """A value at one end of a module's call.

    `label`: for `in` the parameter's name in `forward` (`hidden_states`, `args[1]` for starred ones), for
    `out` `out`, `out[0]`, `out.sample`; nested ones go on (`out[0].x`). `norm`: L2 norm in float64.
    """

    label: str
    value: int
    shape: tuple[int, ...]
    dtype: str
    norm: float
    minimum: float
    maximum: float
    nonfinite: int


@dataclass(frozen=True)
class Call:
    """One call of a module. `number`: the order in which calls began. `index`: how many calls of this module
    came before. `parent`: the number of the call that it happened in. `site`: the line that called it."""

    number: int
    module: str
    index: int
    parent: int | None
    inputs: tuple[Tap, ...]
    outputs: tuple[Tap, ...]
    site: CodeLine | None


@dataclass(frozen=True)
class Address:
    """One tap by its address: which module's which call, which end, which label."""

    module: str
    index: int
    end: End
    label: str


@dataclass(frozen=True)
class Pair:
    """Two taps that should hold the same value.

    `part`: (i, n) where the official value is the i-th of n equal slices of the native one along its last
    axis (a merged projection). `why`: how it is known (`weights`, `slice`, `block`, `place`), for a person.
    """

    number: int
    official: Address
    native: Address
    part: tuple[int, int] | None
    why: str


@dataclass(frozen=True)
class Reading:
    """One pair as it was measured in one run.

    `status`: `equal` and `differs` are judged by the reader against `floor`, so the instrument says
    `compared` for both; `layout`: all values are there in another order; `absent`: a side was not called
    that often; `incomparable`: other shapes, and no layout brings them together. `error`: relative L2 after
    `layout` was undone. `plain_error`: before; None where the shapes differ. `max_abs`: largest absolute
    difference. `norm`: of the official value. `floor`: error that rounding alone makes here (the official
    module in float32 against float64, on the same inputs), None where it was not measured.
    `layout`: the order that was found, in words (`axes (0, 2, 1, 3)`, `heads flattened`, `tokens reversed`);
    `reorders`: it exchanges values of equal shape, so it is no mere matter of form.
    `replaced`: the native value was replaced by the official one, so that what comes later is judged alone.
    """

    pair: int
    status: Literal["compared", "layout", "absent", "incomparable"]
    error: float | None
    plain_error: float | None
    max_abs: float | None
    norm: float | None
    floor: float | None
    layout: str | None
    reorders: bool
    dtypes: tuple[str, str]
    shapes: tuple[tuple[int, ...], tuple[int, ...]]
    nonfinite: tuple[int, int]
    replaced: bool


@dataclass(frozen=True)
class OutputReading:
    """One output of the models in a free run, compared. `official` and `native`: labels."""

    official: str
    native: str
    max_abs: float | None
    mean_abs: float | None
    rel_l2: float | None
    shapes: tuple[tuple[int, ...], tuple[int, ...]]
    dtypes: tuple[str, str]
    nonfinite: tuple[int, int]


@dataclass(frozen=True)
class Value:
    """A value of an operation list.

    `source`: `op` (made by operation `maker`), `pair` (an aligned tap: `maker` is the pair's number; its
    value is the official one on both sides), `parameter`, `buffer` or `input` (`name`), `outside` (made
    where the list does not reach).
    """

    number: int
    source: Literal["op", "pair", "parameter", "buffer", "input", "outside"]
    maker: int | None
    name: str | None
    shape: tuple[int, ...]
    dtype: str
    norm: float
    nonfinite: int


@dataclass(frozen=True)
class Operand:
    """One argument of an operation: a value, with the local variable that held it in the innermost frame of
    the model's code (None: no variable), or a constant as text. `keyword`: None for a positional one. `held`:
    the variable that held it in each frame of the operation's `stack`, in that order."""

    value: int | None
    variable: str | None
    constant: str | None
    keyword: str | None = None
    held: tuple[str | None, ...] = ()


@dataclass(frozen=True)
class Operation:
    """One operation of torch. `name`: `aten.mul.Tensor`. `outputs`: value numbers. `module`: the innermost
    module's call (name). `stack`: frames of the models' own code, innermost first."""

    number: int
    name: str
    operands: tuple[Operand, ...]
    outputs: tuple[int, ...]
    module: str
    stack: tuple[CodeLine, ...]


@dataclass(frozen=True)
class Slice:
    """The operations of one side between aligned taps and the tap `goal`, in order."""

    goal: int
    operations: tuple[Operation, ...]
    values: Mapping[int, Value]

    @cached_property
    def makers(self) -> Mapping[int, Operation]:
        """The operation that made each value."""
        return {value: operation for operation in self.operations for value in operation.outputs}


class Same(NamedTuple):
    """Two values that are equal to rounding. `layout`: in another order or form (in words), None for the
    same. `error`: relative L2 after the layout was undone. `reorders`: the layout exchanges values of equal
    shape, so it is no mere matter of form."""

    official: int
    native: int
    layout: str | None
    error: float
    reorders: bool = False


@dataclass(frozen=True)
class Repair:
    """An exchange of values, tried in the port's way, that made the goal right.

    `exchanged`: pairs (native value, the official one that took its place). `user`: the number of the only
    operation that was given it, None for all that use it. `error`: relative L2 that was left at the goal.
    """

    exchanged: tuple[tuple[int, int], ...]
    user: int | None
    error: float


@dataclass(frozen=True)
class Operations:
    """What both sides did before one pair: the way of its official and of its native value back to aligned
    taps, and which values of the two ways are equal. `repairs`: what mends the goal, the earliest values
    first (not every one that would)."""

    pair: int
    official: Slice
    native: Slice
    same: tuple[Same, ...]
    repairs: tuple[Repair, ...] = ()


@dataclass(frozen=True)
class Built:
    """Both models of one tiny comparison, as they were built.

    `modules`: of each side, parents before children. `fillings`: what loaded the port. `missing` and
    `unexpected`: names that FastVideo's strict load would have refused (empty where it passed). `cases`: the
    names of the input cases, the plainest first.
    """

    official: tuple[Module, ...]
    native: tuple[Module, ...]
    fillings: tuple[Filling, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    cases: tuple[str, ...]

    @cached_property
    def official_by_name(self) -> Mapping[str, Module]:
        """The official modules by name."""
        return {module.name: module for module in self.official}

    @cached_property
    def native_by_name(self) -> Mapping[str, Module]:
        """The port's modules by name."""
        return {module.name: module for module in self.native}


@dataclass(frozen=True)
class Observation:
    """Both sides in a free run of one case: every module call, and the outputs compared."""

    case: str
    official: tuple[Call, ...]
    native: tuple[Call, ...]
    outputs: tuple[OutputReading, ...]
