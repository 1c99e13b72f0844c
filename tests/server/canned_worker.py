"""A project's interpreter that answers for the meta worker, so that a test decides what was measured.

It reads `answer.json` anew at each request, notes the request in `requests`, and waits while there is a file
`hold`. What the worker itself does, tests/probe and the test with the real Wan show.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

_PROGRAM = """#!{python}
import json, pathlib, sys, threading, time
folder = pathlib.Path({folder!r})
ended = set()

def say(message):
    sys.stdout.write(json.dumps(dict(v=1, **message)) + "\\n")
    sys.stdout.flush()

def answer(request):
    number = request["id"]
    with (folder / "requests").open("a") as requests:
        requests.write(json.dumps(request) + "\\n")
    say(dict(kind="progress", id=number, stage="importing torch"))
    while (folder / "hold").exists() and number not in ended:
        time.sleep(0.02)
    if number not in ended:
        say(dict(json.loads((folder / "answer.json").read_text()), kind="state", id=number))

with (folder / "starts").open("a") as starts:
    starts.write("started\\n")
say(dict(kind="ready", python="3.11", torch="2.13", seconds=0.1))
for line in sys.stdin:
    request = json.loads(line)
    if request["kind"] == "cancel":
        ended.add(request["id"])
    else:
        threading.Thread(target=answer, args=(request,), daemon=True).start()
"""

Tensors = list[list[Any]]


class CannedWorker:
    """The interpreter (`python`), what it answers, and what it was asked (`requests`)."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        self.python = folder / "python"
        self.python.write_text(_PROGRAM.format(python=sys.executable, folder=str(folder)))
        self.python.chmod(0o755)
        self.answers()

    @property
    def requests(self) -> list[dict[str, Any]]:
        file = self.folder / "requests"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    @property
    def starts(self) -> int:
        """How often it was started to measure."""
        return len((self.folder / "starts").read_text().splitlines())

    def hold(self, on: bool) -> None:
        """Whether an answer lets itself be waited for."""
        if on:
            (self.folder / "hold").touch()
        else:
            (self.folder / "hold").unlink()

    def answers(
        self,
        *,
        blocks: int = 2,
        files: tuple[str, ...] = (),
        problems: tuple[dict[str, Any], ...] = (),
        built: bool = True,
        official_file: Path | None = None,
    ) -> None:
        """The sound port and its official model with so many blocks; a side with a problem is not there,
        and neither is without `built`."""
        own = [[f"blocks.{n}.to_q.weight", [64, 64], "BF16", ""] for n in range(blocks)]
        official = [[f"blocks.{n}.attn.to_q.weight", [64, 64], "F32", ""] for n in range(blocks)]
        without = {problem["side"] for problem in problems} if built else {"port", "official"}
        answer: dict[str, Any] = {
            "port": None if "port" in without else _side("SoundTransformer3DModel", own),
            "official": None if "official" in without else _side("official:SoundTransformer", official),
            "dropped": [],
            "gated": [],
            "files": list(files),
            "problems": list(problems),
            "seconds": 0.1,
        }
        if official_file is not None and answer["official"] is not None:
            answer["official"].update(path=str(official_file), line=0)
        (self.folder / "answer.json").write_text(json.dumps(answer))


def problem(side: str, message: str, **known: Any) -> dict[str, Any]:
    """A problem of one side."""
    blank = {"missing": None, "path": None, "line": None, "next_step": None}
    return {"side": side, "stage": "import", "type": "ImportError", "message": message, **blank, **known}


def _side(source: str, tensors: Tensors) -> dict[str, Any]:
    return {
        "source": source,
        "class": source.rpartition(":")[2],
        "path": None,
        "line": None,
        "tensors": tensors,
        "config": {},
        "mapping": None,
        "reverse": None,
        "lora": None,
        "ignored": [],
        "parameters": 1,
    }
