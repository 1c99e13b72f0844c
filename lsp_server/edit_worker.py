"""The edit worker: computes and verifies fixes in a process of its own.

libcst holds the interpreter for up to half a second at a time; here it stalls nobody. The worker
reads requests (see `wire`) from standard input and answers on standard output, one after the other,
and it ends when its input ends: with the server, however that ended.

Requests: {"id", "root", "texts": {path: text | null}, "files": [path], "everything": bool, "states":
{"path::Class": measured names | null}} and either "finding" (apply its fix) or "path" (apply every safe
fix that stays within that file), or neither (get ready).
Answers: {"id", "texts": {path: new text}}, or {"id", "refused": why}.
"""

from __future__ import annotations

import os
import queue
import sys
import threading
import traceback
from pathlib import Path

from analyzers.findings import Finding
from analyzers.fixes.base import Refused
from analyzers.fixes.verify import apply_fix
from analyzers.project.index import Project
from analyzers.project.sources import Sources
from analyzers.rules.engine import check_file
from lsp_server import wire
from lsp_server.session import Changes, Session

MOST_FIXES = 200
"""In one fix-all; a fix that brings its finding back in another shape must not go on for ever."""


def main() -> None:
    """Answers until standard input ends."""
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever prints must not get between the messages
    requests: queue.SimpleQueue[wire.Message] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(requests,), daemon=True).start()
    worker = Worker()
    while True:
        request = requests.get()
        out.write(wire.encode({"id": request["id"], **worker.answer(request)}))
        out.flush()


def _read(requests: queue.SimpleQueue[wire.Message]) -> None:
    """Reads on a thread of its own: the end of the input ends the process in the middle of an edit."""
    try:
        while (request := wire.read(sys.stdin.buffer)) is not None:
            requests.put(request)
    except wire.BrokenStream as error:
        print(f"edit worker: {error}", file=sys.stderr)
    os._exit(0)


class Worker:
    """One session for each root; texts of open documents come with the requests."""

    def __init__(self) -> None:
        self._sessions: dict[str, Session] = {}

    def answer(self, request: wire.Message) -> wire.Message:
        """The answer to one request, without its id. An error in an edit is a refusal, with its trace
        on standard error."""
        try:
            session = self._session(request)
            if "finding" in request:
                return {"texts": self._fix(session, wire.finding_from(request["finding"]))}
            if "path" in request:
                return {"texts": self._fix_all(session, request["path"])}
            import libcst  # noqa: F401 - the first edit need not wait for it

            for _ in session.warm_up():
                pass
            # What the rules ask of other files for a document is what its first fix would wait for.
            for path in request["texts"]:
                check_file(session.project, path)
        except Refused as refusal:
            return {"refused": str(refusal)}
        except Exception as error:  # noqa: BLE001 - one bad edit must not end the worker
            traceback.print_exc()
            return {"refused": f"the edit failed: {type(error).__name__}: {error}"}
        return {"texts": {}}

    def _session(self, request: wire.Message) -> Session:
        root = request["root"]
        if root not in self._sessions:
            self._sessions[root] = Session(Path(root))
        session = self._sessions[root]
        states = {port: wire.state_from(state) for port, state in request["states"].items()}
        session.apply(Changes(request["texts"], set(request["files"]), request["everything"], states))
        return session

    def _fix(self, session: Session, finding: Finding) -> dict[str, str]:
        assert finding.fix is not None
        return dict(apply_fix(session.project, finding, finding.fix).texts)

    def _fix_all(self, session: Session, path: str) -> dict[str, str]:
        """Safe fixes one after the other, each verified on what the ones before it left."""
        project = session.project
        refused: set[tuple[str, str, int]] = set()
        texts: dict[str, str] = {}
        for _ in range(MOST_FIXES):
            found = check_file(project, path)
            finding = next((f for f in found if f.has_safe_fix and _key(f) not in refused), None)
            if finding is None or finding.fix is None:
                break
            try:
                result = apply_fix(project, finding, finding.fix)
                if set(result.texts) != {path}:
                    raise Refused("it reaches into other files")
            except Refused:
                refused.add(_key(finding))
                continue
            texts.update(result.texts)
            sources = Sources.overlaid(project.sources, result.texts)
            project = Project(sources, project.profile, project.settings, project.states)
        return texts


def _key(finding: Finding) -> tuple[str, str, int]:
    return (finding.code, finding.message, finding.location.span.line)


if __name__ == "__main__":
    main()
