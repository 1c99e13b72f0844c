"""A conversation about the two models of a parity test, held when the body of the test has ended.

The test's own verdict is made by then: nothing that is run here can change it. The models are those that
the test built and loaded, the inputs those that it gave them. They are kept from the second model's forward
to the end of the test, if as much memory is free as they take; else only if the test itself still has them.

What is asked comes as files, `<asks>/<n>.json`, numbered through the whole run and written at once; what is
answered goes to the records. An ask is a method of `Holding`.
"""

from __future__ import annotations

import importlib
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ditproof_probe.problems import Inside, Stopped, Unbuildable, problem
from ditproof_probe.records import RecordWriter

if TYPE_CHECKING:
    import torch

    from ditproof_probe.taps.instrument import Instrument
    from ditproof_probe.taps.live import Given, LiveTwin
    from ditproof_probe.tiny.construction import Sites

_POLL = 0.01
_MOST_BYTES = 32 << 30
_UNKNOWN_FREE = 4 << 30


class Mailbox:
    """The asks of a run, in order."""

    def __init__(self, folder: str, silence: float) -> None:
        self._folder = Path(folder)
        self._silence = silence
        self._next = 0

    def hear(self) -> dict[str, Any] | None:
        """The next ask; None where none comes for as long as was agreed."""
        path = self._folder / f"{self._next}.json"
        end = time.monotonic() + self._silence
        while time.monotonic() < end:
            if path.exists():
                self._next += 1
                told: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
                return told
            time.sleep(_POLL)
        return None


def converse(writer: RecordWriter, mailbox: Mailbox, test: str, holding: Holding) -> None:
    """Say that the models of a test can be asked about, and answer until the end is asked for."""
    session: Any = importlib.import_module("ditproof_probe.tiny.session")
    writer.write("held", test=test, bytes=holding.bytes, free=holding.free)

    def say(kind: str, **fields: object) -> None:
        writer.write(kind, test=test, **fields)

    with _random_state():
        why = session.answer_all(holding, holding.inside, say, mailbox.hear)
    writer.write("released", test=test, problem=why)


class Holding:
    """The models of one test with the call that the test made of each, as what can be asked about them.

    `elements`: how many came out of a module, by (side, name). `most`: bytes that may be used at most.
    `bytes`: what looking at the whole models would take; `free`: what may be used on their device.
    """

    def __init__(
        self,
        models: tuple[torch.nn.Module, torch.nn.Module],
        given: tuple[Given, Given],
        sites: Sites,
        inside: Inside,
        elements: Mapping[tuple[str, str], int],
        most: int | None = None,
    ) -> None:
        from ditproof_probe.taps import live

        self.inside = inside
        self._live = live
        self._sites = sites
        official, port = models
        self._twin: LiveTwin = live.LiveTwin(official, port, *given, inside, live.dtype_of(port))
        self._instrument: Instrument | None = None
        self._elements = elements
        self.free = min(free_bytes(port), most) if most is not None else free_bytes(port)
        self.bytes = self._bytes(self._twin, "", "")

    def open(self, official: str = "", native: str = "", calls: tuple[int, int] = (0, 0)) -> dict[str, Any]:
        """Look at these two submodules (all: the empty names) in those of their calls; what they are.

        The answer is as that of `ditproof_probe.tiny.building.describe`; names count from the submodule, and
        `fillings` is empty: what fills the port its mapping tells. Raises Stopped where the models do not
        come to these calls, cannot be copied, or there is not enough memory.
        """
        import torch

        from ditproof_probe.taps.instrument import Instrument

        began = time.monotonic()
        twin = self._narrowed(official, native, calls) if official or native else self._twin
        needed = self._bytes(twin, official, native)
        if needed > self.free:
            raise _stopped(
                "official", "NoMemory", f"{_gib(needed)} are needed, and {_gib(self.free)} are free."
            )
        instrument = Instrument(twin if twin.dtype is torch.float32 else twin.to(torch.float32))
        self._instrument = instrument
        return {**self._described(twin), "seconds": round(time.monotonic() - began, 3)}

    def observe(self, **arguments: Any) -> dict[str, Any]:
        """As `Instrument.observe`."""
        return self._opened().observe(**arguments)

    def lockstep(self, **arguments: Any) -> dict[str, Any]:
        """As `Instrument.lockstep`."""
        return self._opened().lockstep(**arguments)

    def operations(self, **arguments: Any) -> dict[str, Any]:
        """As `Instrument.operations`."""
        return self._opened().operations(**arguments)

    def weights(self, fillings: Sequence[tuple[str, Sequence[str]]]) -> dict[str, Any]:
        """Which parameters of the port do not hold what the official ones do: `differing`: [[native, relative
        L2 error]], `shapes`: [native] of those that have another number of elements, `compared`: how many.

        `fillings` as in `ditproof_probe.tiny.building.describe`, with full names; names that a side does not
        have are left out. Official values are rounded to the port's dtype, and merged along the first axis.
        """
        import torch

        from ditproof_probe.taps.fingerprints import difference

        sides = [
            dict((*model.named_parameters(), *model.named_buffers()))
            for model in (self._twin.official, self._twin.port)
        ]
        differing: list[list[Any]] = []
        shapes: list[str] = []
        compared = 0
        with torch.no_grad():
            for native, sources in fillings:
                own, parts = sides[1].get(native), [sides[0].get(name) for name in sources]
                if own is None or any(part is None for part in parts):
                    continue
                merged = parts[0] if len(parts) == 1 else torch.cat(parts)
                assert merged is not None
                compared += 1
                if merged.numel() != own.numel():
                    shapes.append(native)
                    continue
                right = merged.to(device=own.device, dtype=own.dtype).reshape(own.shape)
                if not torch.equal(right, own):
                    differing.append([native, difference(right, own).error])
        return {"differing": differing, "shapes": shapes, "compared": compared}

    def _opened(self) -> Instrument:
        if self._instrument is None:
            raise _stopped("code base", "BadRequest", "Nothing is open.")
        return self._instrument

    def _narrowed(self, official: str, native: str, calls: tuple[int, int]) -> LiveTwin:
        """The twin of two submodules, with what they get in the whole models' runs."""
        twin = self._twin
        parts = []
        for side, model, name, index, run, kwargs in (
            ("official", twin.official, official, calls[0], twin.run_official, twin.official_given),
            ("port", twin.port, native, calls[1], twin.run_native, twin.native_given),
        ):
            try:
                part = model.get_submodule(name)
            except AttributeError as error:
                raise _stopped(side, "BadRequest", f"There is no module {name!r}.") from error
            given = self._given_to(part, index, lambda run=run, given=kwargs: run(given.arguments))
            if given is None:
                raise _stopped(side, "NotCalled", f"{name or 'the model'} is not called {index + 1} times.")
            parts.append((part, given))
        (one, first), (other, second) = parts
        made: LiveTwin = self._live.LiveTwin(
            one, other, first, second, self.inside, self._live.dtype_of(other)
        )
        return made

    def _given_to(self, part: torch.nn.Module, index: int, run: Any) -> Given | None:
        """What a module gets in its call of that number; the run goes no further."""
        caught: list[Given] = []
        count = 0

        def before(module: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            nonlocal count
            count += 1
            if count == index + 1:
                caught.append(self._live.Given.of(module, args, kwargs))
                raise _Enough

        handle = part.register_forward_pre_hook(before, with_kwargs=True)
        try:
            run()
        except _Enough:
            return caught[0]
        finally:
            handle.remove()
        return None

    def _bytes(self, twin: LiveTwin, official: str, native: str) -> int:
        """What copies in float32 take, with the one in float64 that rounding is measured with, and all
        values: the official ones once, the port's in two runs."""
        import torch

        theirs, own = (self._live.state_bytes(model) for model in (twin.official, twin.port))
        size = int(twin.dtype.itemsize)
        copies = theirs * 8 // size + (0 if twin.dtype is torch.float32 else (theirs + own) * 4 // size)
        values = sum(
            4 * count * (1 if side == "official" else 2)
            for (side, name), count in self._elements.items()
            if is_within(name, official if side == "official" else native)
        )
        return copies + values

    def _described(self, twin: LiveTwin) -> dict[str, Any]:
        import torch

        building: Any = importlib.import_module("ditproof_probe.tiny.building")
        from ditproof_probe.meta_request import loaded_files

        return {
            **{
                side: building.side_json(building.Model(model, {}, self._sites.of(model)))
                for side, model in (("official", twin.official), ("native", twin.port))
            },
            "fillings": [],
            "missing": [],
            "unexpected": [],
            "shapes": [],
            "filled": [],
            "cases": list(twin.cases),
            "dropped": [],
            "recipe": "the test",
            "problems": [],
            "files": sorted(loaded_files(self.inside)),
            "mapping": mapping_of(self._twin.port),
            "device": str(next((p.device.type for p in twin.port.parameters()), "cpu")),
            "rounded": [
                name
                for name, buffer in twin.official.named_buffers()
                if buffer.is_floating_point() and buffer.dtype.itemsize < torch.float32.itemsize
            ],
            "dtype": str(twin.dtype).removeprefix("torch."),
        }


def mapping_of(model: torch.nn.Module) -> list[list[Any]] | None:
    """A port's mapping as `port_side.rules_of` has it; None where there is none that can be read."""
    from ditproof_probe import port_side

    try:
        return port_side.rules_of(type(model), "param_names_mapping")
    except Unbuildable:
        return None


def is_within(name: str, outer: str) -> bool:
    """Whether a module is another one, or below it."""
    return not outer or name == outer or name.startswith(outer + ".")


class _Enough(Exception):
    """The call that was waited for has come."""


def free_bytes(model: torch.nn.Module) -> int:
    """Memory that may be used on a model's device: half of what is free."""
    import torch

    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    if device.type == "cuda":
        free = torch.cuda.mem_get_info(device)[0]
        free += torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    else:
        free = _available()
    return min(int(free) // 2, _MOST_BYTES)


def _available() -> int:
    """Of the host, where the system tells it (Linux)."""
    try:
        text = Path("/proc/meminfo").read_text(encoding="ascii")
    except OSError:
        return _UNKNOWN_FREE
    for line in text.splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return _UNKNOWN_FREE


class _random_state:  # noqa: N801 - a context manager, used as a function
    """Random numbers go on afterwards as if nothing had been drawn."""

    def __enter__(self) -> None:
        import torch

        self._host = torch.get_rng_state()
        self._cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else None

    def __exit__(self, *_: object) -> None:
        import torch

        torch.set_rng_state(self._host)
        if self._cuda is not None:
            torch.cuda.set_rng_state_all(self._cuda)


def _stopped(side: Any, type_: str, message: str) -> Stopped:
    return Stopped(problem(side, "trace", type_, message))


def _gib(size: int) -> str:
    return f"{size / (1 << 30):.1f} GiB"
