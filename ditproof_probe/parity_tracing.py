"""Traces of both models inside a parity run: each side's forwards, written beside the test's own verdict.

The specification's `trace` holds `folder` (absolute, exists), `native` ({class, path}: the port's class, and
the end of the path of the file that defines it), `official` (class names) and `forwards` (how many of each
model). While a test runs, `torch.nn.Module.__call__` looks at the class of what is called; a model of one of
these classes is traced from its first call on. Without `trace` nothing of this is imported, and a forward
runs as it always did.

A `traced` record holds: test, side, class, path, file, forwards. What is never called is not there.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Generator, Mapping
from typing import Any

import pytest

from ditproof_probe.records import RecordWriter


class TracePlugin:
    """A pytest plugin that traces the two models of each test."""

    def __init__(self, writer: RecordWriter, spec: Mapping[str, Any]) -> None:
        self._writer = writer
        self._folder: str = spec["folder"]
        self._native: Mapping[str, str] = spec["native"]
        self._official = frozenset(spec["official"])
        self._forwards: int = spec["forwards"]
        self._count = 0

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

        traced: dict[int, Any] = {}
        original = torch.nn.Module.__call__

        def call(module: Any, *args: Any, **kwargs: Any) -> Any:
            __tracebackhide__ = True
            side = self._side(module)
            if side is not None and id(module) not in traced:
                traced[id(module)] = self._begin(module, side, item.nodeid)
            return original(module, *args, **kwargs)

        torch.nn.Module.__call__ = call
        try:
            yield
        finally:
            torch.nn.Module.__call__ = original
            for trace in traced.values():
                trace.end(self._writer)

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


class _Trace:
    """One model under way. It is kept alive, so that its id stays its own."""

    def __init__(self, module: Any, side: str, test: str, path: str, forwards: int) -> None:
        from ditproof_probe.taps.trace_file import TraceWriter
        from ditproof_probe.taps.tracing import Tracer

        self._told = {"test": test, "side": side, "class": type(module).__name__, "path": _file_of(module)}
        self._file = path
        self._model = module
        self._writer = TraceWriter(path, side, module, test=test)
        self._tracer = Tracer(module, self._writer.rows, parts=merged_outputs(module), limit=forwards)
        self._tracer.attach()

    def end(self, writer: RecordWriter) -> None:
        """Take the hooks off and say what was written."""
        self._tracer.detach()
        self._writer.close()
        writer.write("traced", **self._told, file=self._file, forwards=self._tracer.forwards)


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
