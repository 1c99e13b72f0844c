"""What the client is told of one request while it is worked on: common to the server that forks and to the
one that cannot.

A request for state dicts gets one answer, put together from parts. A tiny one holds a conversation: what was
built, an answer for each ask, and one line when it is over.
"""

from __future__ import annotations

import sys
import time
from abc import ABC, abstractmethod
from collections import deque
from typing import Any

from ditproof_probe.messages import Message
from ditproof_probe.meta_answers import (
    add_part,
    at_stage,
    is_part,
    new_answer,
    no_such_session,
    refused,
)
from ditproof_probe.problems import Problem, problem

BUILT = 0
"""The number of the answer that says what was built; asks are numbered from 1."""


class Reply(ABC):
    """One request, which waits in line until it is begun, and what was said of it. `over`: nothing more will
    be said."""

    def __init__(self, request: Message) -> None:
        self.request = request
        self.id: Any = request["id"]
        self.stage: str | None = None
        self.over = False
        self._since = time.monotonic()

    def begin(self, stage: str) -> None:
        """It is its turn."""
        self.stage, self._since = stage, time.monotonic()

    def take(self, report: Message) -> list[Message]:
        """What a report from below gives the client to read."""
        if self.over:
            return []
        if report["kind"] == "stage":
            self.stage = report["stage"]
            return [{"kind": "progress", "id": self.id, "stage": self.stage}]
        return self._take(report)

    def close(self, why: Problem | None = None) -> list[Message]:
        """The last thing to say; nothing where it has been said."""
        if self.over:
            return []
        self.over = True
        return [{**self._last(why), "seconds": round(time.monotonic() - self._since, 3)}]

    def cancel(self) -> list[Message]:
        """The last thing to say of a request that the client took back."""
        text = f"Request {self.id} was cancelled."
        if self.stage is None:
            return self.close(problem("code base", "import", "Cancelled", text))
        return self.close(at_stage(self.stage, "Cancelled", text))

    @property
    @abstractmethod
    def can_begin_anew(self) -> bool:
        """Whether the client has heard nothing yet that another process would not know."""

    @abstractmethod
    def begin_anew(self) -> None:
        """Forget what a process said that is gone."""

    @abstractmethod
    def _take(self, report: Message) -> list[Message]: ...

    @abstractmethod
    def _last(self, why: Problem | None) -> Message: ...


class StateReply(Reply):
    """Of a request for state dicts."""

    def __init__(self, request: Message) -> None:
        super().__init__(request)
        self._answer = new_answer(self.id)

    @property
    def can_begin_anew(self) -> bool:
        return not self.over

    def begin_anew(self) -> None:
        self._answer = new_answer(self.id)

    def _take(self, report: Message) -> list[Message]:
        if report["kind"] == "part" and is_part(report):
            add_part(self._answer, report["name"], report["value"])
        elif report["kind"] == "done":
            return self.close()
        return []

    def _last(self, why: Problem | None) -> Message:
        if why is not None:
            add_part(self._answer, "problems", [why])
        return {"kind": "state", **self._answer}


class TinyReply(Reply):
    """Of a conversation. One ask is under way at a time: whoever answers is listening for the next one, so
    that handing it down waits for nobody's code."""

    def __init__(self, request: Message) -> None:
        super().__init__(request)
        self._asks: deque[Message] = deque()
        self._awaited: int | None = BUILT
        self._built = False

    @property
    def can_begin_anew(self) -> bool:
        return not (self.over or self._built)

    def begin_anew(self) -> None:
        pass  # nothing has been kept

    def ask(self, message: Message) -> None:
        """Keep an ask until its turn."""
        self._asks.append(message)

    def next_ask(self) -> Message | None:
        """The ask to hand down now, if there is one; it is under way from then on."""
        if self.over or self._awaited is not None or not self._asks:
            return None
        ask = self._asks.popleft()
        self._awaited = ask["n"]
        return ask

    def _take(self, report: Message) -> list[Message]:
        if report["kind"] == "done":
            return self.close(report.get("problem"))
        if report["kind"] != "answer":
            return []
        if report["n"] != self._awaited:
            sys.stderr.write(f"answer {report['n']} was not asked for\n")
            return []
        self._awaited, self._built = None, True
        return [report]

    def _last(self, why: Problem | None) -> Message:
        return {"kind": "ended", "id": self.id, "problem": why}


def reply_to(request: Message) -> Reply:
    """What is to be said of a request that `ditproof_probe.meta_answers.checked` let through."""
    return TinyReply(request) if request["kind"] == "tiny" else StateReply(request)


def reply_to_nonsense(line: bytes, reason: str) -> list[Message]:
    """What to say of a line that is no request."""
    answer = refused(line, reason)
    return [] if answer is None else [answer]


def reply_to_stray_ask(ask: Message) -> list[Message]:
    """What to say of an ask whose conversation is over, or never was."""
    if ask["ask"] == "end":
        return []  # as good as done
    return [{"kind": "answer", "id": ask["id"], "n": ask["n"], "problem": no_such_session(ask["id"])}]
