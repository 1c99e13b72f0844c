"""Small records of two models, made by hand: modules, calls, and readings that say what differs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from analyzers.numeric.alignment import Alignment
from analyzers.numeric.records import (
    Built,
    Call,
    CodeLine,
    Filling,
    Module,
    Observation,
    OutputReading,
    Pair,
    Reading,
    Tap,
)

PORT = "fastvideo/models/dits/toy.py"
OFFICIAL = "/site/toy.py"
FLOOR = 1e-7


def module(
    name: str, cls: str, parameters: Sequence[str] = (), path: str = PORT, line: int = 10, **settings: str
) -> Module:
    """A module built at the line after its `forward`."""
    return Module(name, cls, path, line, (CodeLine(path, line + 1, "__init__"),), tuple(parameters), settings)


def tap(label: str, value: int, shape: Sequence[int] = (2, 8), norm: float | None = None) -> Tap:
    return Tap(label, value, tuple(shape), "float32", float(value) if norm is None else norm, -1.0, 1.0, 0)


@dataclass
class Side:
    """The calls of one side, written down in the order in which they began."""

    path: str
    calls: list[Call] = field(default_factory=list)

    def call(
        self,
        name: str,
        inputs: Sequence[Tap],
        outputs: Sequence[Tap],
        within: int | None = None,
        line: int = 0,
    ) -> int:
        index = sum(call.module == name for call in self.calls)
        number = len(self.calls)
        site = CodeLine(self.path, line or 100 + number, "forward")
        self.calls.append(Call(number, name, index, within, tuple(inputs), tuple(outputs), site))
        return number


def one_to_one(names: Mapping[str, str]) -> tuple[Filling, ...]:
    """Weight and bias of each of the port's modules from an official one."""
    return tuple(
        Filling(f"{native}.{own}", (f"{official}.{own}",))
        for native, official in names.items()
        for own in ("weight", "bias")
    )


def output(error: float | None, label: str = "out") -> OutputReading:
    return OutputReading(label, "out", error, error, error, ((2, 8), (2, 8)), ("float32", "float32"), (0, 0))


def reading(pair: Pair, error: float | None = 0.0, **changes: object) -> Reading:
    """A pair that was compared and put right."""
    measured = Reading(
        pair=pair.number,
        status="compared",
        error=error,
        plain_error=error,
        max_abs=error,
        norm=1.0,
        floor=FLOOR,
        layout=None,
        reorders=False,
        dtypes=("float32", "float32"),
        shapes=((2, 8), (2, 8)),
        nonfinite=(0, 0),
        replaced=True,
    )
    return replace(measured, **changes)  # type: ignore[arg-type]


def readings(alignment: Alignment, errors: Mapping[tuple[str, str], float] | None = None) -> list[Reading]:
    """All pairs equal to rounding, but for those of these native modules and ends."""
    wrong = errors or {}
    return [reading(pair, wrong.get((pair.native.module, pair.native.end), 5e-8)) for pair in alignment.pairs]


def blocks(count: int = 2) -> tuple[Built, Observation]:
    """A model of blocks: `norm` (no weights), `to_q` and `to_k` on its output, `to_out`; then `proj_out`.

    In the official model the projections lie in an `attn` of their own; the port has them in the block, and
    its linear layers give (output, None), which is one tensor `out[0]`.
    """
    official = [module("", "Toy", path=OFFICIAL), module("blocks", "ModuleList", path=OFFICIAL)]
    native = [module("", "Toy"), module("blocks", "ModuleList")]
    filled: dict[str, str] = {}
    sides = Side(OFFICIAL), Side(PORT)
    roots = (
        sides[0].call("", [tap("x", 1)], [tap("out", 900)]),
        sides[1].call("", [tap("x", 1)], [tap("out", 900)]),
    )
    for number in range(count):
        block, base = f"blocks.{number}", 100 * (number + 1)
        official += [
            module(block, "Block", path=OFFICIAL),
            module(f"{block}.norm1", "LayerNorm", path=OFFICIAL, eps="1e-06"),
            module(f"{block}.attn", "Attention", path=OFFICIAL),
            *(
                module(f"{block}.attn.{name}", "Linear", ("weight", "bias"), OFFICIAL)
                for name in ("to_q", "to_k", "to_out")
            ),
        ]
        native += [
            module(block, "Block", line=20),
            module(f"{block}.norm1", "FP32LayerNorm", line=30, eps="1e-05"),
            *(
                module(f"{block}.{name}", "ReplicatedLinear", ("weight", "bias"), line=line)
                for name, line in (("to_q", 40), ("to_k", 42), ("to_out", 44))
            ),
        ]
        filled.update({f"{block}.{name}": f"{block}.attn.{name}" for name in ("to_q", "to_k", "to_out")})
        entered = sides[0].call(block, [tap("x", base)], [tap("out", base + 99)], roots[0])
        sides[0].call(f"{block}.norm1", [tap("input", base)], [tap("out", base + 1)], entered)
        attn = sides[0].call(f"{block}.attn", [tap("x", base + 2)], [tap("out", base + 6)], entered)
        sides[0].call(f"{block}.attn.to_q", [tap("input", base + 2)], [tap("out", base + 3)], attn)
        sides[0].call(f"{block}.attn.to_k", [tap("input", base + 2)], [tap("out", base + 4)], attn)
        sides[0].call(f"{block}.attn.to_out", [tap("input", base + 5)], [tap("out", base + 6)], attn)
        entered = sides[1].call(block, [tap("hidden_states", base)], [tap("out", base + 99)], roots[1])
        sides[1].call(f"{block}.norm1", [tap("input", base)], [tap("out", base + 1)], entered, 201)
        sides[1].call(f"{block}.to_q", [tap("input_", base + 2)], [tap("out[0]", base + 3)], entered, 202)
        sides[1].call(f"{block}.to_k", [tap("input_", base + 2)], [tap("out[0]", base + 4)], entered, 203)
        sides[1].call(f"{block}.to_out", [tap("input_", base + 5)], [tap("out[0]", base + 6)], entered, 204)
    official.append(module("proj_out", "Linear", ("weight", "bias"), OFFICIAL))
    native.append(module("proj_out", "ReplicatedLinear", ("weight", "bias"), line=50))
    filled["proj_out"] = "proj_out"
    sides[0].call("proj_out", [tap("input", 800)], [tap("out", 900)], roots[0])
    sides[1].call("proj_out", [tap("input_", 800)], [tap("out[0]", 900)], roots[1])
    built = Built(tuple(official), tuple(native), one_to_one(filled), (), (), ("plain",))
    return built, Observation("plain", tuple(sides[0].calls), tuple(sides[1].calls), (output(0.0),))
