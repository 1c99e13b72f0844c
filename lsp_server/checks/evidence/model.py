"""One run as it is kept.

Everything is plain JSON inside, so that a record outlives the classes that made it: what a later version
does not know is left aside, and what an earlier one did not write has a default.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, cast

from lsp_server.checks.contents import Contents
from lsp_server.checks.requests import Output, Status

Tier = Literal["meta", "tiny", "weights"]
TIERS: tuple[Tier, ...] = ("meta", "tiny", "weights")
CONCLUSIVE: tuple[Status, ...] = ("passed", "failed")
"""The outcomes that hang on the recorded inputs alone. A skip or an error also hangs on the machine."""


@dataclass(frozen=True)
class WeightsFile:
    """A file of weights that a run read. `header`: SHA-256 (hex) of a safetensors file's header, which names
    every tensor with its shape, dtype and place; of other kinds, of the first and the last MiB. `size` in
    bytes. `path` is absolute."""

    path: str
    size: int
    header: str


@dataclass(frozen=True)
class Revision:
    """The state of the tree in git. `dirty`: a hash of what is not committed, None where nothing is."""

    commit: str
    dirty: str | None = None


@dataclass(frozen=True)
class Evidence:
    """A finished run of one check. Only `passed` is evidence; the others are kept for history.

    `port`: `path::Class`. `subject`: of the weights tier the test's node id, of the others what the port was
    compared with. `question`: what was asked beside that (interpreter, device, options, the environment
    variables that a test may read). `sources`: path -> digest of every file that was loaded, relative to the
    root or absolute outside of it. `environments`: folder of installed packages -> digest of what is
    installed there. `weights`: the checkpoint files that were read. `ended`: seconds since the epoch.
    `document`: the JSON that the command line prints of this run. `findings`: what an editor shows of it, as
    `kept_findings` writes them.
    """

    id: str
    port: str
    tier: Tier
    subject: str
    status: Status
    reason: str
    ended: float
    seconds: float
    question: Mapping[str, Any] = field(default_factory=dict)
    sources: Contents = field(default_factory=dict)
    environments: Mapping[str, str] = field(default_factory=dict)
    weights: tuple[WeightsFile, ...] = ()
    revision: Revision | None = None
    conditions: Mapping[str, Any] = field(default_factory=dict)
    outputs: tuple[Output, ...] = ()
    document: Mapping[str, Any] = field(default_factory=dict)
    findings: tuple[Mapping[str, Any], ...] = ()

    @property
    def port_class(self) -> str:
        """The class name of the port."""
        return self.port.rpartition("::")[2]

    @property
    def asked(self) -> str:
        """A hash of what was asked, whatever the files held."""
        return digest_of([self.port, self.tier, self.subject, dict(self.question)])

    @property
    def key(self) -> str:
        """A hash of everything that the outcome hangs on. The same key is not run twice."""
        weights = sorted((file.path, file.size, file.header) for file in self.weights)
        return digest_of([self.asked, dict(self.sources), dict(self.environments), weights])

    @property
    def worst(self) -> Output | None:
        """The output that is furthest from what its tolerance allows, or drifts most where none is set."""
        return max(self.outputs, key=_badness, default=None)

    def to_json(self) -> dict[str, Any]:
        """Everything, as it is kept."""
        plain = asdict(self)
        for name in ("question", "sources", "environments", "conditions", "document"):
            plain[name] = dict(getattr(self, name))
        return plain


def evidence_from(plain: Mapping[str, Any]) -> Evidence:
    """What `to_json` wrote. Raises ValueError where it is no record of a run."""
    try:
        revision = plain.get("revision")
        return Evidence(
            id=str(plain["id"]),
            port=str(plain["port"]),
            tier=cast("Tier", _one_of(plain["tier"], TIERS)),
            subject=str(plain["subject"]),
            status=cast("Status", _one_of(plain["status"], ("passed", "failed", "skipped", "error"))),
            reason=str(plain.get("reason", "")),
            ended=float(plain["ended"]),
            seconds=float(plain["seconds"]),
            question=dict(plain.get("question", {})),
            sources=dict(plain.get("sources", {})),
            environments=dict(plain.get("environments", {})),
            weights=tuple(
                WeightsFile(str(f["path"]), int(f["size"]), str(f["header"]))
                for f in plain.get("weights", ())
            ),
            revision=Revision(str(revision["commit"]), revision.get("dirty")) if revision else None,
            conditions=dict(plain.get("conditions", {})),
            outputs=tuple(_output(item) for item in plain.get("outputs", ())),
            document=dict(plain.get("document", {})),
            findings=tuple(dict(finding) for finding in plain.get("findings", ())),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"no record of a run: {error}") from error


def digest_of(value: object) -> str:
    """A hash of a JSON value, whatever the order of its keys."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _one_of(value: object, known: tuple[str, ...]) -> str:
    if value not in known:
        raise ValueError(f"{value!r} is none of {', '.join(known)}")
    return str(value)


def _output(plain: Mapping[str, Any]) -> Output:
    numbers = ("max_abs", "mean_abs", "rel_l2", "tolerance", "needed_tolerance")
    return Output(
        name=str(plain["name"]),
        passed=bool(plain["passed"]),
        **{name: None if plain.get(name) is None else float(plain[name]) for name in numbers},
    )


def _badness(output: Output) -> tuple[bool, float]:
    needed = output.needed_tolerance
    if needed is None:
        return (not output.passed, float("inf") if not output.passed else output.max_abs or 0.0)
    return (not output.passed, needed / output.tolerance if output.tolerance else needed)
