"""Traces of both models inside a parity run: each side's forwards, written beside the test's own verdict.

The specification's `trace` holds `folder` (absolute, exists), `native` ({class, path}: the port's class, and
the end of the path of the file that defines it), `official` (class names), `forwards` (how many of each
model) and `hold` (None, or {asks: a folder, silence: seconds, bytes: the most to use, or None}: both models
can be asked about after the test, see `ditproof_probe.parity_holding`). While a test runs,
`torch.nn.Module.__call__` looks at the class of what is called; a model of one of these classes is traced
from its first call on. Without `trace` nothing of this is imported, and a forward runs as it always did.
Recording keeps no model alive; holding does, see there.

A `traced` record holds: test, side, class, path, file, forwards. What is never called is not there.
"""

from __future__ import annotations

import os
import sys
import weakref
from collections.abc import Generator, Mapping
from typing import TYPE_CHECKING, Any

import pytest

from ditproof_probe.records import RecordWriter

if TYPE_CHECKING:
    from ditproof_probe.taps.live import Given
    from ditproof_probe.taps.tracing import Row


class TracePlugin:
    """A pytest plugin that traces the two models of each test."""

    def __init__(self, writer: RecordWriter, spec: Mapping[str, Any], root: str) -> None:
        self._writer = writer
        self._root = root
        self._folder: str = spec["folder"]
        self._native: Mapping[str, str] = spec["native"]
        self._official = frozenset(spec["official"])
        self._forwards: int = spec["forwards"]
        self._count = 0
        self._sites: Any = None
        self._mailbox: Any = None
        self._most: int | None = None
        hold = spec.get("hold")
        if hold is not None:
            from ditproof_probe.parity_holding import Mailbox

            self._mailbox = Mailbox(hold["asks"], float(hold["silence"]))
            self._most = hold["bytes"]

    def pytest_collection_finish(self) -> None:
        """From here on models may be built: by fixtures, or in a test. A test that imports torch only in its
        body builds models whose construction is not known."""
        if self._mailbox is not None and "torch" in sys.modules:
            from ditproof_probe.tiny.construction import Sites

            self._sites = Sites()
            self._sites.begin()

    def pytest_sessionfinish(self) -> None:
        """Nothing is constructed any more that has to be known."""
        if self._sites is not None:
            self._sites.end()

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, Any, None]:
        """Around the body of a test. torch is not imported here: a test may set variables first."""
        if "torch" not in sys.modules:
            self._writer.write(
                "untraced",
                test=item.nodeid,
                message="torch is imported in the test's body: too late to trace",
            )
            yield
            return
        import torch

        models = _Models()
        original = torch.nn.Module.__call__

        def call(module: Any, *args: Any, **kwargs: Any) -> Any:
            __tracebackhide__ = True
            side = self._side(module)
            if side is None or models.knows(module):
                return original(module, *args, **kwargs)
            trace = models.add(module, self._begin(module, side, item.nodeid))
            if self._sites is not None:
                trace.take(module, args, kwargs)
            result = original(module, *args, **kwargs)
            if self._sites is not None:
                models.keep()
            return result

        torch.nn.Module.__call__ = call
        try:
            yield
        finally:
            torch.nn.Module.__call__ = original
            for trace in models.traces:
                trace.end(self._writer)
        if self._sites is not None:
            self._converse(item.nodeid, models)
        elif self._mailbox is not None:
            text = "torch was not imported yet when the tests were collected"
            self._writer.write("unheld", test=item.nodeid, message=text)

    def _side(self, module: Any) -> str | None:
        name = type(module).__name__
        if name == self._native["class"]:
            path = _file_of(module)
            if path is not None and path.replace(os.sep, "/").endswith("/" + self._native["path"]):
                return "native"
        return "official" if name in self._official else None

    def _begin(self, module: Any, side: str, test: str) -> _Trace:
        self._count += 1
        path = os.path.join(self._folder, f"{self._count:03}-{side}.jsonl")  # noqa: PTH118
        return _Trace(module, side, test, path, self._forwards)

    def _converse(self, test: str, models: _Models) -> None:
        from ditproof_probe.parity_holding import Holding, converse
        from ditproof_probe.problems import Inside

        held = models.pair()
        if isinstance(held, str):
            self._writer.write("unheld", test=test, message=held)
            return
        pair, given, elements = held
        models.let_go()
        inside = Inside((self._root,))
        holding = Holding(pair, given, self._sites, inside, elements, self._most)
        converse(self._writer, self._mailbox, test, holding)


class _Models:
    """The models of one test, in the order of their first calls."""

    def __init__(self) -> None:
        self.traces: list[_Trace] = []
        self._kept: list[Any] = []

    def knows(self, module: Any) -> bool:
        """Whether this model is traced already."""
        return any(trace.model() is module for trace in self.traces)

    def add(self, module: Any, trace: _Trace) -> _Trace:
        """A model is called for the first time."""
        self.traces.append(trace)
        return trace

    def keep(self) -> None:
        """Keep both models to the end of the test, if as much memory is free as they take."""
        from ditproof_probe.parity_holding import free_bytes
        from ditproof_probe.taps.live import state_bytes

        alive = [trace.model() for trace in self.traces]
        if self._kept or len({trace.side for trace in self.traces}) < 2 or None in alive:
            return
        if sum(map(state_bytes, alive)) <= free_bytes(alive[-1]):
            self._kept = alive

    def let_go(self) -> None:
        """The models are kept by whoever took them."""
        self._kept = []

    def pair(self) -> tuple[tuple[Any, Any], tuple[Given, Given], dict[tuple[str, str], int]] | str:
        """Both models, their first calls, and how many elements came out of each module, by (side, name); or
        why they cannot be had."""
        sides: dict[str, list[_Trace]] = {"official": [], "native": []}
        for trace in self.traces:
            if trace.elements:
                sides[trace.side].append(trace)
        names = {"official": "the official model", "native": "the port"}
        missing = [names[side] for side, found in sides.items() if not found]
        if missing:
            return f"the test does not run {' or '.join(missing)} as a whole"
        several = [names[side] for side, found in sides.items() if len(found) > 1]
        if several:
            return f"the test runs several models for {' and for '.join(several)}"
        from ditproof_probe.taps.live import unmeasurable

        models, given = [], []
        for trace in (sides["official"][0], sides["native"][0]):
            model = trace.model()
            if model is None:
                return (
                    f"{names[trace.side]} was given up before the test ended, and memory was too short to "
                    "keep it"
                )
            why = unmeasurable(model)
            if why is not None:
                return f"{names[trace.side]} cannot be measured outside of the test: {why}"
            if isinstance(trace.given, str):
                return f"{names[trace.side]} cannot be called again as the test did: {trace.given}"
            models.append(model)
            given.append(trace.given)
        elements = {
            (trace.side, name): count for trace in self.traces for name, count in trace.elements.items()
        }
        return (models[0], models[1]), (given[0], given[1]), elements


class _Trace:
    """One model under way. `given`: its first call, or why that cannot be repeated. `elements`: how many came
    out of each of its modules."""

    def __init__(self, module: Any, side: str, test: str, path: str, forwards: int) -> None:
        from ditproof_probe.taps.trace_file import TraceWriter
        from ditproof_probe.taps.tracing import Tracer

        self.side = side
        self.model = weakref.ref(module)
        self.given: Given | str = "it was not taken"
        self.elements: dict[str, int] = {}
        self._told = {"test": test, "side": side, "class": type(module).__name__, "path": _file_of(module)}
        self._file = path
        self._writer = TraceWriter(path, side, module, test=test)
        self._tracer = Tracer(module, self._take_rows, parts=merged_outputs(module), limit=forwards)
        self._tracer.attach()

    def take(self, module: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        """Copy what the first call is given."""
        from ditproof_probe.taps.live import Given

        try:
            self.given = Given.of(module, args, kwargs)
        except TypeError as error:
            self.given = str(error)

    def end(self, writer: RecordWriter) -> None:
        """Take the hooks off and say what was written."""
        self._tracer.detach()
        self._writer.close()
        writer.write("traced", **self._told, file=self._file, forwards=self._tracer.forwards)

    def _take_rows(self, rows: list[Row]) -> None:
        for row in rows:
            if row.end == "out" and row.part is None:
                self.elements[row.module] = self.elements.get(row.module, 0) + row.measured.elements
        self._writer.rows(rows)


def merged_outputs(module: Any) -> dict[str, int]:
    """Modules whose parameters the port's own mapping puts together, and of how many: {name: n}.

    FastVideo's `param_names_mapping`: {pattern: target or (target, index, n)}, targets as for `re.sub`.
    """
    import re

    mapping = getattr(type(module), "param_names_mapping", None)
    if not isinstance(mapping, Mapping):
        return {}
    found: dict[str, int] = {}
    names = [name for name, _ in module.named_parameters()]
    for target in mapping.values():
        if not (isinstance(target, (tuple, list)) and len(target) == 3 and isinstance(target[0], str)):
            continue
        made = re.compile(
            ".+".join(re.escape(part) for part in re.split(r"\\\d+|\\g<\w+>", target[0])) + r"\Z"
        )
        for name in names:
            if made.match(name):
                found[name.rpartition(".")[0]] = int(target[2])
    return found


def _file_of(module: Any) -> str | None:
    return getattr(sys.modules.get(type(module).__module__), "__file__", None)
