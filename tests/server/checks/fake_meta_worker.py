"""Stands in for the meta worker: speaks its protocol without torch, and does what the class's name says.

Started as the worker is: `python <bundle> SPEC.json` in the project's root.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from pathlib import Path

SPEC = json.loads(Path(sys.argv[1]).read_text())
CANCELLED: set[int] = set()
ENDED = threading.Event()


def say(**told: object) -> None:
    sys.stdout.write(json.dumps({"v": 1, **told}) + "\n")
    sys.stdout.flush()


def side(name: str, source: str) -> dict[str, object]:
    return {
        "source": source,
        "class": name,
        "path": os.path.join(os.getcwd(), "pkg", "port.py"),  # noqa: PTH109, PTH118
        "line": 3,
        "tensors": [
            ["a.weight", [4, 2], "F32", ""],
            ["a.inv_freq", [2], "F32", "b"],
            ["b.weight", [4, 2], "F32", "w", "a.weight"],
        ],
        "config": {"dim": 4},
        "mapping": [["^x$", "a", None, None], ["^q$", "qkv", 0, 3]],
        "reverse": None,
        "lora": [],
        "ignored": ["extra"],
        "parameters": 8,
    }


def answer(request: dict[str, object]) -> None:
    number = request["id"]
    assert isinstance(number, int)
    port = request["port"]
    name = str(port["class"]) if isinstance(port, dict) else ""
    counted = Path("calls")
    calls = int(counted.read_text()) + 1 if counted.exists() else 1
    counted.write_text(str(calls))
    say(kind="progress", id=number, stage="building the port")
    if request["kind"] == "tiny":
        build(number, name, calls, request)
        return
    if name == "Slow" or (name == "SlowOnce" and calls == 1):
        Path("working").write_text(str(os.getpid()))
        deadline = time.monotonic() + 60
        while number not in CANCELLED and time.monotonic() < deadline:
            time.sleep(0.01)
        return
    if name == "Crash" or (name == "CrashOnce" and calls == 1):
        print("the last words, token=hf_abcdefghijklmnopqrstuvwxyz012345", file=sys.stderr, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    if name == "Prints":
        print("no answer", flush=True)
        time.sleep(60)
    if name == "Greedy":
        held = bytearray(os.urandom(1 << 20) * 64)
        time.sleep(60)
        del held
    told = {
        "kind": "state",
        "id": number,
        "port": side(name, f"{name} of the tree"),
        "official": side(name, str(request["official"]["ref"])) if request["official"] else None,  # type: ignore[index]
        "dropped": [["theta", "10000.0"]],
        "gated": [{"field": "image", "value": "True", "tensors": [["i.weight", [1], "BF16", ""]]}],
        "files": [os.path.join(os.getcwd(), "pkg/port.py"), "/usr/lib/other.py"],  # noqa: PTH109, PTH118
        "problems": [
            {
                "side": "official",
                "stage": "build",
                "type": "ValueError",
                "message": "password=hunter2hunter2 is wrong",
                "missing": None,
                "path": "/elsewhere/official.py",
                "line": 7,
                "next_step": None,
            }
        ],
        "seconds": 0.25,
    }
    if name == "Malformed":
        del told["files"]
    say(**told)


def failure(type: str, message: str, **more: object) -> dict[str, object]:
    known = {"missing": None, "path": None, "line": None, "next_step": None}
    return {"side": "port", "stage": "forward", "type": type, "message": message, **known, **more}


def build(number: int, name: str, calls: int, request: dict[str, object]) -> None:
    if name == "Crash" or (name == "CrashOnce" and calls == 1):
        os.kill(os.getpid(), signal.SIGKILL)
    if name == "NoRecipe":
        problem = failure("NoRecipe", "There is none.", stage="recipe", next_step="Write one.")
        say(kind="ended", id=number, problem=problem, seconds=0.1)
        return
    say(kind="progress", id=number, stage="running both models")
    say(kind="answer", id=number, n=0, value={"request": request})


def reply(message: dict[str, object]) -> None:
    number, asked = message["id"], message["ask"]
    to = {"kind": "answer", "id": number, "n": message["n"]}
    if asked == "end":
        say(kind="ended", id=number, problem=None, seconds=0.1)
    elif asked == "echo":
        say(**to, value=message["arguments"])
    elif asked == "fail":
        path = os.path.join(os.getcwd(), "pkg", "port.py")  # noqa: PTH109, PTH118
        say(**to, problem=failure("KeyError", "no such case", path=path, line=7))
    elif asked == "malformed":
        say(**to, value=1)
    elif asked == "child crash":
        say(kind="ended", id=number, problem=failure("Crash", "It was ended by SIGSEGV."), seconds=0.1)
    elif asked == "crash":
        os.kill(os.getpid(), signal.SIGKILL)
    elif asked == "greedy":
        held.append(bytearray(os.urandom(1 << 20) * 64))
    elif asked == "sleep":
        Path("sleeping").write_text(str(os.getpid()))


held: list[bytearray] = []


def read() -> None:
    for line in sys.stdin:
        request = json.loads(line)
        with Path("sent").open("a") as sent:
            sent.write(str(request.get("ask", request["kind"])) + "\n")
        if request["kind"] == "ask":
            reply(request)
        elif request["kind"] == "cancel":
            CANCELLED.add(request["id"])
            Path("cancelled").write_text(str(request["id"]))
        else:
            threading.Thread(target=answer, args=(request,), daemon=True).start()
    ENDED.set()


def main() -> None:
    Path("environment").write_text(json.dumps(dict(os.environ)))
    Path("spec").write_text(json.dumps(SPEC))
    say(kind="ready", python="3", torch="2.0", seconds=0.1)
    threading.Thread(target=read, daemon=True).start()
    ENDED.wait()


main()
