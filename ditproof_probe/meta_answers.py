"""Requests as the client writes them, and answers as it reads them.

What follows here is common to the server that forks and to the one that cannot.
"""

from __future__ import annotations

import json
import os
import re
import sys
from typing import Any

from ditproof_probe.messages import Message
from ditproof_probe.problems import Inside, Problem, Side, Stage, problem

STARTING = "importing torch"
IMPORTING = "importing the code base"
OFFICIAL = "building the official model"
PORT = "building the port"
GATES = "trying gates"
LOADING = "loading the weights"
RUNNING = "running both models"

_SIDES: dict[str, tuple[Side, Stage]] = {
    OFFICIAL: ("official", "build"),
    PORT: ("port", "build"),
    GATES: ("port", "build"),
    LOADING: ("port", "load"),
    RUNNING: ("code base", "trace"),
}
_FIELDS: dict[str, dict[str, Any]] = {
    "ready": {"python": str, "torch": str, "seconds": (int, float)},
    "no-torch": {"type": str, "message": str},
    "log": {"text": str},
    "stage": {"id": object, "stage": str},
    "part": {"id": object, "name": str, "value": object},
    "answer": {"id": object, "n": int},
    "done": {"id": object},
    "ended": {"id": object, "code": (int, type(None)), "signal": (str, type(None))},
}
_PARTS: dict[str, Any] = {
    "port": dict,
    "official": dict,
    "dropped": list,
    "gated": list,
    "files": list,
    "problems": list,
}
_KINDS = ("state", "tiny", "ask", "cancel")
_NAMED = {"port": ("module", "class", "path"), "official": ("ref",)}
_FRAME = re.compile(r'^  File "(.+)", line (\d+) in ', re.MULTILINE)


def checked(line: bytes) -> Message:
    """A line from the client as a request. Raises ValueError where it is none."""
    message = json.loads(line)
    if not isinstance(message, dict) or message.get("kind") not in _KINDS or "id" not in message:
        raise ValueError('a request is {"kind": "state", "tiny", "ask" or "cancel", "id": ...}')
    if message["kind"] == "ask":
        _check_ask(message)
    elif message["kind"] != "cancel":
        _check_models(message)
        if message["kind"] == "tiny":
            _check_tiny(message)
    return message


def _check_models(message: Message) -> None:
    for name, fields in _NAMED.items():
        part = message.get(name)
        if part is not None and not (
            isinstance(part, dict) and all(isinstance(part.get(field), str) for field in fields)
        ):
            raise ValueError(f"{name} needs {', '.join(fields)}")
    for config in (message.get("config"), (message.get("official") or {}).get("config")):
        if config is not None and not isinstance(config, dict):
            raise ValueError("config is an object, or null")
    if message.get("port") is None and message.get("official") is None:
        raise ValueError("neither port nor official is named")


def _check_tiny(message: Message) -> None:
    if message.get("port") is None:
        raise ValueError("a tiny comparison needs a port")
    if not isinstance(message.get("recipe"), (str, type(None))):
        raise ValueError("recipe is a path, or null")
    if not isinstance(message.get("device"), str) or type(message.get("seed")) is not int:
        raise ValueError("device is a text and seed a whole number")
    overlay = message.get("overlay")
    if overlay is not None and not (
        isinstance(overlay, dict)
        and all(os.path.isabs(path) and isinstance(text, str) for path, text in overlay.items())  # noqa: PTH117
    ):
        raise ValueError("overlay gives texts by absolute path, or is null")


def _check_ask(message: Message) -> None:
    if type(message.get("n")) is not int or message["n"] < 1 or not isinstance(message.get("ask"), str):
        raise ValueError("an ask needs n, a number from 1, and ask, a text")
    if not isinstance(message.get("arguments", {}), dict):
        raise ValueError("arguments is an object")


def new_answer(request_id: Any) -> Message:
    """The answer to a request, of which nothing is known yet."""
    return {
        "id": request_id,
        "port": None,
        "official": None,
        "dropped": [],
        "gated": [],
        "files": [],
        "problems": [],
    }


def report_of(line: bytes) -> Message | None:
    """A line from below as a report (see `ditproof_probe.meta_levels`); None, with a word in the log, where
    it is none: torn off by a kill, or written by the user's code, which has the same descriptor."""
    try:
        message = json.loads(line)
    except (ValueError, RecursionError):
        message = None
    fields = _FIELDS.get(message["kind"]) if isinstance(message, dict) and _is_kind(message) else None
    if fields is None or not all(isinstance(message.get(name), kind) for name, kind in fields.items()):
        sys.stderr.write(f"not a report: {line[:200]!r}\n")
        return None
    found: Message = message
    if message["kind"] == "answer" and isinstance(message.get("value"), dict) == (
        isinstance(message.get("problem"), dict)
    ):
        sys.stderr.write(f"an answer has a value or a problem: {line[:200]!r}\n")
        return None
    if message["kind"] == "done" and not isinstance(message.get("problem"), (dict, type(None))):
        sys.stderr.write(f"not a problem: {line[:200]!r}\n")
        return None
    return found


def is_part(report: Message) -> bool:
    """Whether a report of the kind `part` holds what its name promises; a word in the log where not."""
    fits = isinstance(report["value"], _PARTS.get(report["name"], ()))
    if not fits:
        sys.stderr.write(f"not a part of an answer: {str(report)[:200]}\n")
    return fits


def _is_kind(message: Message) -> bool:
    return isinstance(message.get("kind"), str)


def add_part(answer: Message, name: str, value: Any) -> None:
    """Put what a report says into an answer."""
    answer[name] = answer[name] + value if name == "problems" else value


def refused(line: bytes, reason: str) -> Message | None:
    """The answer to a line that is no request; None, with a word in the log, where it has no number."""
    try:
        parsed = json.loads(line)
    except ValueError:
        parsed = None
    asked = parsed.get("id") if isinstance(parsed, dict) else None
    if asked is None:
        sys.stderr.write(f"not a request ({reason}): {line[:200]!r}\n")
        return None
    found = problem("code base", "config", "BadRequest", reason)
    if parsed.get("kind") == "ask":
        return {"kind": "answer", "id": asked, "n": parsed.get("n"), "problem": found}
    if parsed.get("kind") == "tiny":
        return {"kind": "ended", "id": asked, "problem": found, "seconds": 0.0}
    answer = new_answer(asked)
    add_part(answer, "problems", [found])
    return {"kind": "state", **answer, "seconds": 0.0}


def no_such_session(request_id: Any) -> Problem:
    """Something was asked of a conversation that is over."""
    return problem(
        "code base",
        "trace",
        "NoSession",
        f"No comparison of the number {request_id} is under way.",
        next_step="Begin it again.",
    )


def no_torch(type: str, message: str) -> Problem:
    """Nothing can be built without torch."""
    missing = "torch" if type == "ModuleNotFoundError" and "'torch'" in message else None
    step = f"Install torch into the project's environment ({sys.executable})." if missing else None
    return problem("code base", "import", type, message, missing=missing, next_step=step)


def at_stage(
    stage: str, type: str, message: str, path: str | None = None, line: int | None = None
) -> Problem:
    """What happened to the process while it was at a stage."""
    side, step = _SIDES.get(stage, ("code base", "import"))
    return problem(side, step, type, f"{message} It was {stage}.", path=path, line=line)


def ended(stage: str, code: int | None, signal: str | None, crash_file: str, root: str) -> Problem:
    """The process that worked on a request ended before it had answered.

    `crash_file`: where `faulthandler` wrote the stack of a process that a signal ended.
    """
    if signal is None:
        text = f"The code ended the process (exit code {code}) before it was done."
        return at_stage(stage, "Exit", text)
    path, line = _crash_place(crash_file, root)
    return at_stage(stage, "Crash", f"The process was ended by {signal}.", path, line)


def _crash_place(crash_file: str, root: str) -> tuple[str | None, int | None]:
    """The innermost line of the project on the stack."""
    try:
        with open(crash_file, encoding="utf-8", errors="replace") as file:  # noqa: PTH123
            text = file.read(1 << 16)
    except OSError:
        return None, None
    inside = Inside((root,))
    for path, line in _FRAME.findall(text):
        if inside.holds(path):
            return path, int(line) - 1
    return None, None
