"""Requests as the client writes them, and answers as it reads them.

What follows here is common to the server that forks and to the one that cannot.
"""

from __future__ import annotations

import json
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

_SIDES: dict[str, tuple[Side, Stage]] = {
    OFFICIAL: ("official", "build"),
    PORT: ("port", "build"),
    GATES: ("port", "build"),
}
_FIELDS: dict[str, dict[str, Any]] = {
    "ready": {"python": str, "torch": str, "seconds": (int, float)},
    "no-torch": {"type": str, "message": str},
    "log": {"text": str},
    "stage": {"id": object, "stage": str},
    "part": {"id": object, "name": str, "value": object},
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
_FRAME = re.compile(r'^  File "(.+)", line (\d+) in ', re.MULTILINE)


def checked(line: bytes) -> Message:
    """A line from the client as a request. Raises ValueError where it is none."""
    message = json.loads(line)
    if not isinstance(message, dict) or message.get("kind") not in ("state", "cancel") or "id" not in message:
        raise ValueError('a request is {"kind": "state" or "cancel", "id": ...}')
    if message["kind"] == "state":
        for name, fields in (("port", ("module", "class", "path")), ("official", ("ref",))):
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
    return message


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
    if message["kind"] == "part" and not isinstance(message["value"], _PARTS.get(message["name"], ())):
        sys.stderr.write(f"not a part of an answer: {line[:200]!r}\n")
        return None
    found: Message = message
    return found


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
    answer = new_answer(asked)
    add_part(answer, "problems", [problem("code base", "config", "BadRequest", reason)])
    return {**answer, "seconds": 0.0}


def cancelled_in_line(request_id: Any) -> Message:
    """The answer to a request that was cancelled before its turn came."""
    answer = new_answer(request_id)
    text = f"Request {request_id} was cancelled."
    add_part(answer, "problems", [problem("code base", "import", "Cancelled", text)])
    return answer


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
