"""What a child prints: its last part kept, its lines handed on, both redacted."""

from __future__ import annotations

import codecs

from lsp_server.checks.redact import redact

_KEPT = 64 << 10  # characters
_LONGEST_LINE = 4000


class OutputTail:
    """Takes bytes as they come. Memory stays bounded whatever comes."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._line = ""
        self._lines: list[str] = []
        self._size = 0
        self._dropped = False

    def feed(self, chunk: bytes) -> list[str]:
        """The lines that this chunk completes, redacted; the rest of a very long line is dropped."""
        *whole, rest = (self._line + self._decoder.decode(chunk)).split("\n")
        # Redaction needs whole lines: a token must not be split. Of a line without end, the head stays.
        self._line = rest[: _LONGEST_LINE * 2]
        done = [_shown(line) for line in whole]
        self._keep(done)
        return done

    def text(self) -> str:
        """The end of everything that came, redacted, at most 64 K characters."""
        lines = [*self._lines, *([_shown(self._line)] if self._line else [])]
        return "\n".join((["..."] if self._dropped else []) + lines)

    def _keep(self, lines: list[str]) -> None:
        self._lines.extend(lines)
        self._size += sum(len(line) + 1 for line in lines)
        drop = 0
        while self._size > _KEPT and drop < len(self._lines) - 1:
            self._size -= len(self._lines[drop]) + 1
            drop += 1
        if drop:
            del self._lines[:drop]
            self._dropped = True


def _shown(line: str) -> str:
    # A progress bar overwrites its own line: what would be seen is what follows the last return.
    line = redact(line.rstrip("\r").rpartition("\r")[2])
    return line if len(line) <= _LONGEST_LINE else line[:_LONGEST_LINE] + " ..."
