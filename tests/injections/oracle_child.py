"""What is so, found without hooks: run by the project's interpreter, asked over standard input.

A JSON line asks: "module", "class", "official", "recipe", "seed", "clean" (a file), "record". A forked child
imports the port as it lies on the disk, builds it with the weights that the seed gives, and runs it on every
case. With `record` it is taken for the clean one: its outputs go to that file, and the answer holds the lines
of ports that were executed. Without, its outputs are compared with those of the file; in bfloat16 too where
they are the same in float64.
"""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ditproof_probe import fastvideo_side, warm
from ditproof_probe.problems import Inside, Stopped

_DITS = "fastvideo/models/dits/"
_ROUNDING = 1e-10
"""Relative L2 of two outputs in float64 below which they are the same: rounding of float64 is 1e-15, tables
that were made in float32 are the same on both sides, and an epsilon's error is 1e-7."""

_MOST_SECONDS = 180
"""A port that an error keeps from ending is killed then."""


def main(root: str) -> None:
    """Serve until standard input ends."""
    root = str(Path(root).resolve())
    warm.set_environment()
    _, failed = warm.import_packages("fastvideo", root)
    sys.path.insert(0, root)
    failed += warm.import_common("fastvideo", root)
    print(json.dumps({"ready": True, "failed": failed}), flush=True)
    for line in sys.stdin:
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            signal.alarm(_MOST_SECONDS)
            os.close(reading)
            with os.fdopen(writing, "w") as out:
                out.write(json.dumps(_answer(json.loads(line), root)))
            os._exit(0)
        os.close(writing)
        with os.fdopen(reading) as given:
            answer = given.read()
        _, status = os.waitpid(child, 0)
        print(answer or json.dumps({"died": status}), flush=True)


def _answer(request: dict[str, Any], root: str) -> dict[str, Any]:
    import torch

    from ditproof_probe.tiny import building

    sys.dont_write_bytecode = True
    torch.set_num_threads(1)
    fastvideo_side.start_world_of_one()
    executed: dict[str, set[int]] = {}
    inside = Inside((root,))
    asked = {
        "port": {"module": request["module"], "class": request["class"]},
        "official": {"ref": request["official"]},
        "recipe": request["recipe"],
        "seed": request["seed"],
    }
    answer: dict[str, Any] = {}
    running = "float64"
    try:
        with _traced(root, executed, request["record"]):
            twin = building.build(asked, root, "fastvideo", inside, lambda _: None)
            answer["refused"] = _refused(twin)
        outputs = {"float64": _float64(twin)}
        clean = None if request["record"] else torch.load(request["clean"], weights_only=True)
        if request["record"] or _largest(outputs["float64"], clean["float64"]) < _ROUNDING:
            running = "bfloat16"
            outputs["bfloat16"] = _bfloat16(twin)
        if request["record"]:  # last: ports keep tables from one run to the next, in the dtype of the first
            with _traced(root, executed, wanted=True):
                for case in twin.cases:
                    twin.run_native(twin.inputs(case)[1])
    except (Exception, SystemExit) as error:  # noqa: BLE001 - the mutated code may raise anything
        message = f"{type(error).__name__}: {error}"[:500]
        return {**answer, "raised": _frames(error, root), "raised_in": running, "message": message}
    if clean is None:
        torch.save(outputs, request["clean"])
        answer["executed"] = {path: sorted(lines) for path, lines in executed.items()}
        answer["modules"] = _modules(twin, root)
        answer["finite"] = all(bool(t.isfinite().all()) for some in outputs.values() for t in some.values())
    else:
        answer["error"] = _largest(outputs["float64"], clean["float64"])
        if "bfloat16" in outputs:
            answer["bfloat16"] = _largest(outputs["bfloat16"], clean["bfloat16"])
            answer["loss"] = _loss(outputs["bfloat16"], clean)
    return answer


def _refused(twin: Any) -> list[str]:
    loaded = twin.loaded
    return sorted({*loaded.missing, *loaded.unexpected, *(name for name, _, _ in loaded.shapes)})


def _modules(twin: Any, root: str) -> dict[str, Any]:
    """Class and base classes of each submodule of the port, and where it was constructed."""
    sites = twin.native_model.sites
    return {
        name: {
            "classes": [cls.__name__ for cls in type(module).__mro__],
            "built_at": [[os.path.relpath(frame[0], root), frame[1]] for frame in sites.get(id(module), ())],
        }
        for name, module in twin.port.named_modules()
    }


def _float64(twin: Any) -> dict[str, Any]:
    """The outputs of every case, all in float64: what the port casts to float32 becomes float64."""
    import torch

    port = twin.port
    state = {name: tensor.clone() for name, tensor in port.state_dict().items()}
    port.double()
    narrow = torch.float32
    torch.set_default_dtype(torch.float64)
    with _InFloat64():
        torch.float32 = torch.float = torch.float64  # what the port's own assertions name
        outputs = _outputs(twin, twin, torch.float64)
        torch.float32 = torch.float = narrow
    torch.set_default_dtype(narrow)
    port.float()
    port.load_state_dict(state, strict=False)
    return outputs


def _bfloat16(twin: Any) -> dict[str, Any]:
    import torch

    return _outputs(twin.to(torch.bfloat16), twin, torch.bfloat16)


def _outputs(runs: Any, twin: Any, dtype: Any) -> dict[str, Any]:
    found = {}
    for case in twin.cases:
        result = runs.run_native(runs.inputs(case, dtype)[1])
        _, own = runs.outputs(result, result)
        for number, tensor in enumerate(_tensors(own)):
            found[f"{case} {number}"] = tensor.detach().double().clone()
    return found


def _tensors(value: Any) -> Iterator[Any]:
    """Every tensor below a result, in order."""
    import torch

    if isinstance(value, torch.Tensor):
        yield value
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        for field in dataclasses.fields(value):
            yield from _tensors(getattr(value, field.name))
    elif isinstance(value, (dict, list, tuple)):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _tensors(item)


def _largest(outputs: dict[str, Any], clean: dict[str, Any]) -> float:
    """The largest relative L2 over all outputs; 1e9 for another shape, a lacking one or a NaN."""
    if outputs.keys() != clean.keys():
        return 1e9
    largest = 0.0
    for name, tensor in outputs.items():
        if tensor.shape != clean[name].shape:
            return 1e9
        error = float((tensor - clean[name]).norm() / clean[name].norm().clamp(min=1e-30))
        largest = max(largest, error if error == error else 1e9)
    return largest


def _loss(outputs: dict[str, Any], clean: dict[str, Any]) -> float:
    """How many times further from float64 the outputs in bfloat16 are than the clean port's: the largest."""
    exact, rounded = clean["float64"], clean["bfloat16"]
    ratios = [
        _largest({name: outputs[name]}, {name: exact[name]})
        / max(_largest({name: rounded[name]}, {name: exact[name]}), 1e-30)
        for name in exact
    ]
    return max(ratios)


def _InFloat64() -> Any:  # noqa: N802 - it stands for a class that needs torch
    import torch
    from torch.overrides import TorchFunctionMode

    wider = {torch.float32: torch.float64, torch.complex64: torch.complex128}

    class InFloat64(TorchFunctionMode):
        """Whatever asks for float32 gets float64."""

        def __torch_function__(
            self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
        ) -> Any:
            if function is torch.Tensor.float:
                function = torch.Tensor.double
            args = tuple(wider.get(a, a) if isinstance(a, torch.dtype) else a for a in args)
            kwargs = {
                k: wider.get(v, v) if isinstance(v, torch.dtype) else v for k, v in (kwargs or {}).items()
            }
            return function(*args, **kwargs)

    return InFloat64()


class _traced:  # noqa: N801 - a context
    """Notes the executed lines (from 0) of ports."""

    def __init__(self, root: str, executed: dict[str, set[int]], wanted: bool) -> None:
        self._folder = f"{root}/{_DITS}"
        self._root, self._executed, self._wanted = root, executed, wanted

    def __enter__(self) -> None:
        if self._wanted:
            threading.settrace(self._call)
            sys.settrace(self._call)

    def __exit__(self, *_: object) -> None:
        if self._wanted:
            sys.settrace(None)
            threading.settrace(None)  # type: ignore[arg-type]

    def _call(self, frame: Any, event: str, argument: object) -> Callable[..., Any] | None:
        path = frame.f_code.co_filename
        if not path.startswith(self._folder) or frame.f_code.co_name == "<module>":
            return None
        lines = self._executed.setdefault(os.path.relpath(path, self._root), set())

        def line(frame: Any, event: str, argument: object) -> Callable[..., Any]:
            if event == "line":
                lines.add(frame.f_lineno - 1)
            return line

        return line


def _frames(error: BaseException, root: str) -> list[list[Any]]:
    """Lines of the tree that an exception went through, outermost first."""
    return [list(place) for place in dict.fromkeys(_places(error, root))]


def _places(error: BaseException, root: str) -> Iterator[tuple[str, int]]:
    cause = error.__cause__ if isinstance(error, Stopped) else error
    for frame in traceback.extract_tb(None if cause is None else cause.__traceback__):
        path = str(Path(frame.filename).resolve())
        if path.startswith(f"{root}/"):
            yield os.path.relpath(path, root), (frame.lineno or 1) - 1


if __name__ == "__main__":
    main(sys.argv[1])
