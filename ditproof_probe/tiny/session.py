"""The conversation of one tiny comparison, in a process that ends with it.

Both models are built once and stay; what is measured on them is asked for. The user's code runs here: what
it raises is the answer to what was asked, and the conversation goes on.
"""

from __future__ import annotations

import importlib
import inspect
import keyword
import os
import sys
import traceback
from collections.abc import Callable, Mapping
from typing import Any

from ditproof_probe import official_side
from ditproof_probe.code_bases import prepare
from ditproof_probe.messages import Message, as_line
from ditproof_probe.meta_answers import IMPORTING, RUNNING
from ditproof_probe.meta_replies import BUILT
from ditproof_probe.problems import Inside, Problem, Side, Stage, Stopped, from_exception, problem, said
from ditproof_probe.tiny.overlay import Overlay

SILENCE = 60.0
"""Seconds without an ask after which the conversation ends by itself: it holds two models in memory."""

Say = Callable[..., None]
"""`say(kind, **fields)`: a report as `ditproof_probe.meta_levels` has them, without its `id`."""

Hear = Callable[[], "Message | None"]
"""The next ask; None after `SILENCE`."""


def hold(request: Mapping[str, Any], root: str, code_base: str, say: Say, hear: Hear) -> None:
    """Build what the request names, say what was built, and answer until the end is asked for.

    An ask is the method of that name of `ditproof_probe.taps.instrument.Instrument`, its arguments are the
    method's. Files of the request's `overlay` are imported from its texts.
    """
    inside = Inside(_folders(request, root))
    try:
        overlay = Overlay(request.get("overlay") or {})
        overlay.install()
        say("stage", stage=IMPORTING)
        prepare(code_base, root, inside)
        # Only now: a process that answers other requests needs none of it.
        building: Any = importlib.import_module("ditproof_probe.tiny.building")
        instruments: Any = importlib.import_module("ditproof_probe.taps.instrument")
        twin = building.build(request, root, code_base, inside, lambda text: say("stage", stage=text))
        overlay.check()
        built = building.describe(twin)
        instrument = instruments.Instrument(twin)
    except BaseException as error:  # noqa: BLE001 - the user's code may raise anything, and is told so
        say("done", problem=_problem_of(error, "port", "build", inside))
        return
    say("stage", stage=RUNNING)
    say("answer", n=BUILT, **encodable(built))
    say("done", problem=answer_all(instrument, inside, say, hear))


def answer_all(instrument: object, inside: Inside, say: Say, hear: Hear) -> Problem | None:
    """Answer every ask; why the conversation ends, None where that was asked for."""
    while True:
        ask = hear()
        if ask is None:
            text = f"Nothing was asked for {SILENCE:g} s."
            return problem("code base", "trace", "Idle", text, next_step="Begin the comparison again.")
        if ask["ask"] == "end":
            return None
        say("answer", n=ask["n"], **_answer(instrument, ask, inside))


def _answer(instrument: object, ask: Message, inside: Inside) -> dict[str, Any]:
    name, arguments = ask["ask"], ask.get("arguments", {})
    attribute = f"{name}_" if keyword.iskeyword(name) else name
    method = None if name.startswith("_") else getattr(instrument, attribute, None)
    if not inspect.ismethod(method):
        return {"problem": problem("code base", "trace", "UnknownAsk", f"There is no ask {name!r}.")}
    try:
        inspect.signature(method).bind(**arguments)
    except TypeError as error:
        return {"problem": problem("code base", "trace", "BadRequest", f"{name}: {error}.")}
    try:
        value = method(**arguments)
    except BaseException as error:  # noqa: BLE001 - as above
        return {"problem": _problem_of(error, "code base", "trace", inside)}
    return encodable(value)


def encodable(value: Any) -> dict[str, Any]:
    """The value as it is said; a problem of our own where it is no object of strict JSON."""
    try:
        if not isinstance(value, dict):
            raise TypeError(f"it is a {type(value).__name__}")
        as_line(value)
    except (TypeError, ValueError, RecursionError) as error:
        text = f"What was measured cannot be sent: {said(error)}."
        return {"problem": problem("code base", "trace", "BadAnswer", text, next_step="Report it.")}
    return {"value": value}


def _problem_of(error: BaseException, side: Side, stage: Stage, inside: Inside) -> Problem:
    if isinstance(error, Stopped):
        return error.problem
    traceback.print_exception(error, file=sys.stderr)  # the record has one line of it, the log all
    return from_exception(error, side, stage, inside)


def _folders(request: Mapping[str, Any], root: str) -> tuple[str, ...]:
    """Where the user's code lies: the project, the official clone, and the recipe's folder."""
    found = [root]
    reference = (request.get("official") or {}).get("ref")
    clone = None if reference is None else official_side.clone_folder(reference, root)
    recipe = request.get("recipe")
    found += [clone] if clone is not None else []
    found += [os.path.dirname(os.path.abspath(recipe))] if recipe is not None else []  # noqa: PTH100, PTH120
    return tuple(found)
