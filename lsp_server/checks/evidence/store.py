"""The runs of a project, in `.ditproof/evidence.sqlite3`.

Invariants
----------
* Every write is one transaction: a process that is killed leaves the old state or the new one.
* Several processes may read and write; a writer waits its turn up to `_BUSY` seconds.
* A store that cannot be read (torn by the disk, no database at all) is moved aside, never deleted, and a new
  one is begun. One that a newer version wrote is left alone.
* What is kept is bounded by age and size; the newest pass of each test outlives both bounds.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
import time
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from lsp_server.checks.errors import CheckError
from lsp_server.checks.evidence.model import Evidence, evidence_from

FOLDER = ".ditproof"
FILE = "evidence.sqlite3"
VERSION = 1
MAXIMUM_AGE = 180 * 86400.0
"""Seconds that a run is kept."""
MAXIMUM_BYTES = 64 << 20
"""Of the records, before the oldest go."""
MOST_LOOKED_AT = 50

_BUSY = 10.0
_SCHEMA = """
CREATE TABLE runs (
    id TEXT PRIMARY KEY, asked TEXT NOT NULL, key TEXT NOT NULL, port TEXT NOT NULL, tier TEXT NOT NULL,
    subject TEXT NOT NULL, status TEXT NOT NULL, ended REAL NOT NULL, record BLOB NOT NULL
) WITHOUT ROWID;
CREATE INDEX runs_asked ON runs (asked, ended);
CREATE INDEX runs_port ON runs (port, tier, subject, ended);
"""


class EvidenceError(CheckError):
    """Evidence cannot be read or written."""


class EvidenceStore:
    """The runs below one root. Holds no connection: any thread and any process may use it at any time."""

    def __init__(
        self, root: Path, *, maximum_age: float = MAXIMUM_AGE, maximum_bytes: int = MAXIMUM_BYTES
    ) -> None:
        self.folder = root / FOLDER
        self.file = self.folder / FILE
        self.moved_aside: Path | None = None
        self._maximum_age = maximum_age
        self._maximum_bytes = maximum_bytes

    # ------------------------------------------------------------------ writing

    def add(self, evidence: Evidence) -> None:
        """Keeps a run, and lets go of what is beyond the bounds. Raises EvidenceError."""
        record = zlib.compress(json.dumps(evidence.to_json(), default=str).encode())
        with self._writing() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO runs VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    *(evidence.id, evidence.asked, evidence.key, evidence.port, evidence.tier),
                    *(evidence.subject, evidence.status, evidence.ended, record),
                ),
            )
            self._prune(connection)

    def clear(self, port: str | None = None) -> int:
        """Forgets the runs of a port (`path::Class`), or all of them; how many. Raises EvidenceError."""
        if not self.file.exists():
            return 0
        with self._writing() as connection:
            if port is None:
                return connection.execute("DELETE FROM runs").rowcount
            return connection.execute("DELETE FROM runs WHERE port = ?", (port,)).rowcount

    def _prune(self, connection: sqlite3.Connection) -> None:
        """Beyond the bounds the oldest go first. `kept`: the newest pass of each test."""
        kept = (
            "SELECT id FROM (SELECT id, max(ended) FROM runs WHERE status = 'passed' "
            "GROUP BY port, tier, subject)"
        )
        connection.execute(
            f"DELETE FROM runs WHERE ended < ? AND id NOT IN ({kept})",
            (time.time() - self._maximum_age,),
        )
        connection.execute(
            f"DELETE FROM runs WHERE id NOT IN ({kept}) AND id IN (SELECT id FROM (SELECT id, "
            "sum(length(record)) OVER (ORDER BY ended DESC, id) AS so_far FROM runs) WHERE so_far > ?)",
            (self._maximum_bytes,),
        )

    # ------------------------------------------------------------------ reading

    def same_question(self, asked: str) -> list[Evidence]:
        """The last runs that were asked the same, newest first. Raises EvidenceError."""
        return self._select("asked = ?", (asked,), MOST_LOOKED_AT)

    def history(self, port: str, tier: str | None = None, subject: str | None = None) -> list[Evidence]:
        """The runs of a port (`path::Class`), newest first. Raises EvidenceError."""
        conditions, values = ["port = ?"], [port]
        for column, value in (("tier", tier), ("subject", subject)):
            if value is not None:
                conditions.append(f"{column} = ?")
                values.append(value)
        return self._select(" AND ".join(conditions), values)

    def latest(self, port: str | None = None) -> list[Evidence]:
        """The last run of each check of a port, or of every port; by port, tier and subject. Raises
        EvidenceError."""
        return self._last_of(port, "")

    def passes(self, port: str | None = None) -> list[Evidence]:
        """The last pass of each check. Raises EvidenceError."""
        return self._last_of(port, "status = 'passed'")

    def _last_of(self, port: str | None, condition: str) -> list[Evidence]:
        where = " AND ".join(part for part in ("port = ?" if port else "", condition) if part)
        inner = (
            f"SELECT id FROM (SELECT id, max(ended) FROM runs {'WHERE ' + where if where else ''} "
            "GROUP BY port, tier, subject)"
        )
        found = self._select(f"id IN ({inner})", [port] if port else [])
        return sorted(found, key=lambda e: (e.port, e.tier, e.subject))

    def _select(self, where: str, values: Sequence[object], most: int = -1) -> list[Evidence]:
        if not self.file.exists():
            return []
        with self._connected() as connection:
            rows = connection.execute(
                f"SELECT record FROM runs WHERE {where} ORDER BY ended DESC, id LIMIT ?",
                (*values, most),
            ).fetchall()
        found = []
        for (record,) in rows:
            # A record that cannot be read says nothing; the others still do.
            with contextlib.suppress(ValueError, zlib.error):
                found.append(evidence_from(json.loads(zlib.decompress(record))))
        return found

    # ------------------------------------------------------------------ the file

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        try:
            self.folder.mkdir(exist_ok=True)
            ignored = self.folder / ".gitignore"
            if not ignored.exists():
                # Recipes are the user's own work; everything else below is this machine's.
                ignored.write_text("*\n!.gitignore\n!recipes/\n!recipes/**\n", encoding="utf-8")
        except OSError as error:
            raise self._refused(error) from error
        with self._connected() as connection:
            connection.execute("BEGIN IMMEDIATE")
            yield connection
            connection.execute("COMMIT")

    @contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        """A connection to a store of this version. Raises EvidenceError."""
        try:
            with contextlib.closing(self._opened()) as connection:
                yield connection
        except sqlite3.Error as error:
            raise self._refused(error) from error

    def _opened(self) -> sqlite3.Connection:
        try:
            return self._prepared()
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError):
                raise
        self._move_aside()
        return self._prepared()

    def _prepared(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.file, timeout=_BUSY, isolation_level=None)
        try:
            version = self._version(connection)
            if version == 0:
                connection.execute("BEGIN IMMEDIATE")
                if self._version(connection) == 0:  # another process may have been first
                    for statement in _SCHEMA.split(";"):
                        connection.execute(statement)
                    connection.execute(f"PRAGMA user_version = {VERSION}")
                connection.execute("COMMIT")
            elif version != VERSION:
                raise EvidenceError(
                    f"{self.file} was written by another version of ditproof (format {version}).",
                    "Use that version, or move the file aside to begin anew.",
                )
        except BaseException:
            connection.close()
            raise
        return connection

    @staticmethod
    def _version(connection: sqlite3.Connection) -> int:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        return int(version)

    def _move_aside(self) -> None:
        aside = self.file.with_name(f"evidence.broken-{time.time_ns()}.sqlite3")
        try:
            self.file.replace(aside)
        except OSError as error:
            raise self._refused(error) from error
        self.moved_aside = aside

    def _refused(self, error: Exception) -> EvidenceError:
        text = str(getattr(error, "strerror", None) or error)
        if "full" in text or "No space" in text:
            step = "Make room on the disk; the verdict itself stands."
        elif "locked" in text or "busy" in text:
            step = "Another process holds it: try again when its run has ended."
        else:
            step = "Make that folder writable; the verdict itself stands."
        return EvidenceError(f"Evidence cannot be kept in {self.file}: {text}.", step)
