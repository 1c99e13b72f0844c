"""Comparisons that are not made by `assert_close`: numpy's, and torch's predicates.

`torch.allclose` and `torch.equal` only answer: one that says False fails no test by itself. Each is replaced
in its module right after that was imported, and hands on what the original says or raises.
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

from ditproof_probe.patching import on_import
from ditproof_probe.recorder import Recorder

_NUMPY = "numpy.testing._private.utils"
_EXACT = {"rtol": 0.0, "atol": 0.0}

Tolerances = Callable[[Mapping[str, Any]], Mapping[str, Any]]
"""From the bound arguments of a call to rtol, atol and equal_nan."""


def install(recorder: Recorder) -> None:
    """Listens from the moment that torch or numpy's tests are imported."""
    on_import("torch", lambda module: _predicates(module, "torch", recorder))
    on_import("numpy", lambda module: _predicates(module, "numpy", recorder))
    on_import(_NUMPY, lambda module: _assertions(module, recorder))


def _predicates(module: ModuleType, package: str, recorder: Recorder) -> None:
    exact = "equal" if package == "torch" else "array_equal"
    _replace(module, "allclose", f"{package}.allclose", _close, recorder, defaults=_ALLCLOSE)
    _replace(module, exact, f"{package}.{exact}", lambda _: _EXACT, recorder)


def _assertions(module: ModuleType, recorder: Recorder) -> None:
    named = "numpy.testing"
    _replace(module, "assert_allclose", f"{named}.assert_allclose", _close, recorder, defaults=_ASSERT)
    exact: Tolerances = lambda _: {**_EXACT, "equal_nan": True}  # noqa: E731 - a table of small functions
    _replace(module, "assert_array_equal", f"{named}.assert_array_equal", exact, recorder)
    _replace(module, "assert_array_almost_equal", f"{named}.assert_array_almost_equal", _decimal, recorder)


_ALLCLOSE = {"rtol": 1e-5, "atol": 1e-8, "equal_nan": False}
_ASSERT = {"rtol": 1e-7, "atol": 0.0, "equal_nan": True}


def _close(given: Mapping[str, Any]) -> Mapping[str, Any]:
    return {name: given[name] for name in ("rtol", "atol", "equal_nan")}


def _decimal(given: Mapping[str, Any]) -> Mapping[str, Any]:
    """`abs(desired - actual) < 1.5 * 10**-decimal`, as numpy documents it."""
    return {"rtol": 0.0, "atol": 1.5 * 10.0 ** -float(given.get("decimal", 6)), "equal_nan": True}


def _replace(
    module: ModuleType,
    name: str,
    through: str,
    tolerances: Tolerances,
    recorder: Recorder,
    *,
    defaults: Mapping[str, Any] | None = None,
) -> None:
    original: Callable[..., Any] = getattr(module, name)

    @functools.wraps(original)
    def compared(*args: Any, **kwargs: Any) -> Any:
        __tracebackhide__ = True
        frame = sys._getframe(1)
        try:
            answer = original(*args, **kwargs)
        except AssertionError as failure:
            note(args, kwargs, False, str(failure), frame)
            raise
        note(args, kwargs, answer is None or bool(answer), "the values are not close", frame)
        return answer

    def note(args: tuple[Any, ...], kwargs: Mapping[str, Any], passed: bool, text: str, frame: Any) -> None:
        pair, options = _bound(original, args, kwargs)
        if pair is not None:
            given = {**(defaults or {}), **options}
            recorder.note_values(through, *pair, tolerances(given), passed, text, frame)

    setattr(module, name, compared)


def _bound(
    original: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> tuple[tuple[Any, Any] | None, dict[str, Any]]:
    """The two values of a call, and its other arguments by name. A builtin's have the names of `allclose`."""
    try:
        names = list(inspect.signature(original).parameters)
    except (TypeError, ValueError):
        names = ["input", "other", "rtol", "atol", "equal_nan"]
    given = {**dict(zip(names, args, strict=False)), **kwargs}
    known = [given.pop(name) for name in names[:2] if name in given]
    return (known[0], known[1]) if len(known) == 2 else None, given
