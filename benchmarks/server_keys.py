"""What a key costs the language server: someone types in the largest class of a real DiT.

    python benchmarks/server_keys.py [--keys N] [--rounds N] [--json]

Server processes are driven over their standard input and output, in one run: ours for a client that asks
for diagnostics (pull), ours for one that waits for them (push), and `ruff server` (pull). The session of
`keystroke.py` is typed into `fastvideo/models/dits/ltx2.py`, a key at a time, in turn into each server.

CPU is that of the whole server process, all threads that it ever had (its CPU clock, so Linux only),
from one key to the next. The full look that ours puts off until the typist rests is counted apart: after
every `BURST` keys there is a rest, and what it costs is "a rest". The round trip is the wall time
from the key to the diagnostics of its version; of those that are pushed it holds the delay that gathers
keys.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from keystroke import FILE, REPOSITORY, find_file, percentile, states

BUDGET = 15.0
"""Milliseconds of the server's CPU, at the 95th percentile."""
RATIO = 2.0
"""What a round trip may take, in those of `ruff server`."""
PAUSE = 0.5
"""Seconds after a key in which the work that was put off for it is done; longer than the server's rest."""
SHORT_PAUSE = 0.12
BURST = 20
"""Keys from one rest to the next."""
_SCHEDULED = 2
"""With a process's complement above it: the CPU clock of that process (`clock_getcpuclockid`)."""

OURS = (sys.executable, "-c", "from lsp_server.serve import run_stdio; run_stdio()")
RUFF = (sys.executable, "-m", "ruff", "server")

Message = dict[str, Any]


class Client:
    """As much of an editor as typing needs."""

    def __init__(
        self,
        command: tuple[str, ...],
        root: Path,
        cache: Path,
        *,
        pull: bool,
        file: str = FILE,
        settings: Message | None = None,
    ) -> None:
        environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "DITPROOF_CACHE_DIR": str(cache)}
        self.pull = pull
        self.process = subprocess.Popen(
            command,
            cwd=root,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        self._uri = (root / file).as_uri()
        # The default is for ruff: whatever settings lie around the tree, the file is looked at.
        self._settings = settings or {"configurationPreference": "editorOnly"}
        self._version = 1
        self._text = ""
        self._last_id = 0
        self._initialise(root)

    def _initialise(self, root: Path) -> None:
        text_document: Message = {"publishDiagnostics": {"versionSupport": True}}
        workspace: Message = {"workspaceFolders": True}
        if self.pull:
            text_document["diagnostic"] = {}
            workspace["diagnostics"] = {"refreshSupport": True}
        self.ask(
            "initialize",
            {
                "processId": os.getpid(),
                "rootUri": root.as_uri(),
                "workspaceFolders": [{"uri": root.as_uri(), "name": root.name}],
                "capabilities": {"textDocument": text_document, "workspace": workspace},
                "initializationOptions": {"settings": self._settings},
            },
        )
        self._tell("initialized", {})

    # ------------------------------------------------------------------ what an editor does

    def open(self, text: str) -> None:
        """Opens the file."""
        self._text = text
        document = {"uri": self._uri, "languageId": "python", "version": 1, "text": text}
        self._tell("textDocument/didOpen", {"textDocument": document})

    def until_indexed(self) -> None:
        """Waits until the server has read the tree."""
        self._until(lambda m: m.get("method") == "ditproof/status" and m["params"]["state"] == "ready")

    def type(self, text: str) -> None:
        """Makes the text that one, as the smallest change, and waits for its diagnostics."""
        self._version += 1
        self._tell(
            "textDocument/didChange",
            {
                "textDocument": {"uri": self._uri, "version": self._version},
                "contentChanges": [smallest_change(self._text, text)],
            },
        )
        self._text = text
        self.diagnostics()

    def diagnostics(self) -> list[Message]:
        """The diagnostics of the present version."""
        if self.pull:
            answer = self.ask("textDocument/diagnostic", {"textDocument": {"uri": self._uri}})
            return list(answer["items"])
        told = self._until(
            lambda m: (
                m.get("method") == "textDocument/publishDiagnostics"
                and m["params"]["uri"] == self._uri
                and m["params"].get("version") == self._version
            )
        )
        return list(told["params"]["diagnostics"])

    def about_file(self, method: str, **more: object) -> list[Message]:
        """Asks for what an editor shows in the file beside diagnostics: hints, lenses."""
        answer = self.ask(method, {"textDocument": {"uri": self._uri}, **more})
        return list(answer) if isinstance(answer, list) else []

    def close(self) -> None:
        """Ends the server."""
        self.ask("shutdown", None)
        self._tell("exit", None)
        self.process.wait(10)

    def cpu(self) -> float:
        """Milliseconds of CPU that the server has used so far, all its threads together."""
        return time.clock_gettime_ns(~self.process.pid << 3 | _SCHEDULED) / 1e6

    # ------------------------------------------------------------------ messages

    def ask(self, method: str, params: object) -> Message:
        """A request's result; an error ends the run."""
        self._last_id += 1
        number = self._last_id
        self._send({"id": number, "method": method, "params": params})
        answer = self._until(lambda m: m.get("id") == number and "method" not in m)
        if "error" in answer:
            raise SystemExit(f"{method} failed: {answer['error']}")
        return answer["result"] or {}

    def _tell(self, method: str, params: object) -> None:
        self._send({"method": method, "params": params})

    def _send(self, message: Message) -> None:
        assert self.process.stdin is not None
        body = json.dumps({"jsonrpc": "2.0", **message}).encode()
        self.process.stdin.write(b"Content-Length: %d\r\n\r\n" % len(body) + body)
        self.process.stdin.flush()

    def _until(self, met: Callable[[Message], bool]) -> Message:
        """Reads on until a message is the one; requests of the server are answered with nothing."""
        while True:
            message = self._read()
            if "method" in message and "id" in message:
                self._send({"id": message["id"], "result": None})
            if met(message):
                return message

    def _read(self) -> Message:
        assert self.process.stdout is not None
        length = 0
        while line := self.process.stdout.readline().strip():
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        if not length:
            raise SystemExit(f"{' '.join(map(str, self.process.args))} has ended")
        message: Message = json.loads(self.process.stdout.read(length))
        return message


def smallest_change(before: str, after: str) -> Message:
    """What turns one text into the other, as a change of one range."""
    limit = min(len(before), len(after))
    head = next((i for i in range(limit) if before[i] != after[i]), limit)
    tail = 0
    while tail < limit - head and before[-1 - tail] == after[-1 - tail]:
        tail += 1
    return {
        "range": {"start": position(before, head), "end": position(before, len(before) - tail)},
        "text": after[head : len(after) - tail],
    }


def position(text: str, offset: int) -> Message:
    """Line and UTF-16 column of an offset."""
    start = text.rfind("\n", 0, offset) + 1
    return {
        "line": text.count("\n", 0, offset),
        "character": len(text[start:offset].encode("utf-16-le")) // 2,
    }


@dataclass
class Measured:
    """Milliseconds of each key."""

    cpu: list[float] = field(default_factory=list)
    round_trip: list[float] = field(default_factory=list)
    rest: list[float] = field(default_factory=list)

    def better(self, other: Measured) -> Measured:
        """Each key with the better of two rounds."""
        return Measured(
            [min(pair) for pair in zip(self.cpu, other.cpu, strict=True)],
            [min(pair) for pair in zip(self.round_trip, other.round_trip, strict=True)],
            [min(pair) for pair in zip(self.rest, other.rest, strict=True)],
        )

    def summary(self) -> dict[str, float]:
        return {
            f"{name}_{label}_ms": round(percentile(times, share), 2)
            for name, times in (("cpu", self.cpu), ("round_trip", self.round_trip), ("rest", self.rest))
            for label, share in (("median", 0.5), ("p95", 0.95))
            if times
        }


def measure(clients: dict[str, Client], texts: list[str]) -> dict[str, Measured]:
    """Types every text into every server."""
    measured = {name: Measured() for name in clients}
    before = {name: client.cpu() for name, client in clients.items()}
    for number, text in enumerate(texts, start=1):
        for name, client in clients.items():
            begin = time.perf_counter()
            client.type(text)
            measured[name].round_trip.append((time.perf_counter() - begin) * 1000)
        time.sleep(SHORT_PAUSE)
        for name, client in clients.items():
            now = client.cpu()
            measured[name].cpu.append(now - before[name])
            before[name] = now
        if number % BURST == 0:
            time.sleep(PAUSE)
            for name, client in clients.items():
                now = client.cpu()
                measured[name].rest.append(now - before[name])
                before[name] = now
    return measured


def run(count: int, rounds: int) -> tuple[int, dict[str, Measured]]:
    """Starts the servers, types, ends them; how many keys there were, and what each cost."""
    file = find_file()
    text = file.read_text(encoding="utf-8")
    texts = list(states(text))[:count]
    root = file.parents[len(Path(FILE).parts) - 1]
    with tempfile.TemporaryDirectory(prefix="ditproof-benchmark-") as scratch:
        cache = Path(scratch)
        clients = {
            "ours, pull": Client(OURS, root, cache, pull=True),
            "ours, push": Client(OURS, root, cache, pull=False),
            "ruff": Client(RUFF, root, cache, pull=True),
        }
        for name, client in clients.items():
            client.open(text)
            if name.startswith("ours"):
                client.until_indexed()
            client.diagnostics()
        time.sleep(PAUSE)  # the edit workers get ready beside
        measured = measure(clients, texts)
        for _ in range(rounds - 1):
            for client in clients.values():
                client.type(text)
            time.sleep(PAUSE)
            for name, found in measure(clients, texts).items():
                measured[name] = measured[name].better(found)
        for client in clients.values():
            client.close()
    return len(texts), measured


def main() -> None:
    parser = argparse.ArgumentParser(description="What a key costs the language server.")
    parser.add_argument("--keys", type=int, default=300, help="how much of the session is typed")
    parser.add_argument("--rounds", type=int, default=2, help="each key counts with its best of so many")
    parser.add_argument("--json", action="store_true", help="the numbers as JSON")
    options = parser.parse_args()
    keys, measured = run(options.keys, options.rounds)
    numbers = {name: found.summary() for name, found in measured.items()}
    ratio = numbers["ours, pull"]["round_trip_p95_ms"] / numbers["ruff"]["round_trip_p95_ms"]
    if options.json:
        result = {"keys": keys, "servers": numbers, "round_trip_in_ruffs": round(ratio, 2)}
        print(json.dumps(result, indent=2))
        return
    print(f"{keys} keys in {FILE}, whole server processes")
    for name, found in numbers.items():
        shown = "  ".join(f"{k.removesuffix('_ms').replace('_', ' ')} {v:6.1f}" for k, v in found.items())
        print(f"  {name:11} {shown} ms")
    for name in ("ours, pull", "ours, push"):
        kept = numbers[name]["cpu_p95_ms"] <= BUDGET
        print(f"  {name}: budget {BUDGET:g} ms of CPU at the 95th percentile {'kept' if kept else 'MISSED'}")
    print(f"  a round trip takes {ratio:.1f} times ruff's (budget {RATIO:g})")


if __name__ == "__main__":
    main()
