"""What is asked of a check, what it says while it runs, and what comes of it.

Paths: `root` is absolute; `test` is relative to the root, with `/`, and may be a node id
(`path::Class::test[param]`). Lines count from 0, as in `analyzers.findings`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from analyzers.findings import JsonValue, Location
from lsp_server.checks.conditions import Conditions

Status = Literal["passed", "failed", "skipped", "error", "cancelled"]
EventKind = Literal[
    "phase",
    "collected",
    "comparison",
    "outcome",
    "output",
    "done",
    "traced",
    "held",
    "unheld",
    "answer",
    "released",
]

DEFAULT_TIMEOUT = 1800.0
DEFAULT_MEMORY = 64 << 30


@dataclass(frozen=True)
class TraceOption:
    """Trace both models of a parity run. `folder`: absolute, made if absent. `port_class` and `port_path`
    (relative to the root): which model is the port. `official`: class names of the other side. `forwards`:
    how many forwards of each model are recorded. `hold`: after each test both models can be asked about
    (`ditproof_probe.parity_holding`); whoever sets it has to answer to every event `held`. `hold_bytes`: the
    most memory that may be used for that beside the test's own (None: half of what is free)."""

    folder: str
    port_class: str
    port_path: str
    official: tuple[str, ...]
    forwards: int = 1
    hold: bool = False
    hold_bytes: int | None = None


@dataclass(frozen=True)
class CheckRequest:
    """One parity run: one test, or the tests of one file, under the project's interpreter.

    `line` narrows a file to the test that stands there. `timeout` is in seconds, `memory_limit` in
    bytes of private memory of the whole process group (None: no limit; only Linux can watch it).
    `allowed_environment` adds names or patterns to the allow-list. `device` is the slot that the
    run takes in the queue: `cpu`, or the UUID of the one GPU that it sees. `port` names the DiT class it
    belongs to, if known. `trace`: record both models.
    """

    root: str
    python: str
    test: str
    trusted: bool
    line: int | None = None
    port: str | None = None
    tier: str = "weights"
    device: str = "cpu"
    timeout: float = DEFAULT_TIMEOUT
    memory_limit: int | None = DEFAULT_MEMORY
    allowed_environment: tuple[str, ...] = ()
    trace: TraceOption | None = None

    @property
    def key(self) -> str:
        """What a newer request supersedes: the same port, else the same test file."""
        return self.port or self.test.split("::", 1)[0]


@dataclass(frozen=True)
class CheckEvent:
    """One sign of life: `message` is a line for a person, `data` the record behind it."""

    kind: EventKind
    message: str
    data: dict[str, JsonValue] = field(default_factory=dict)


@dataclass(frozen=True)
class Output:
    """Drift of one output. `tolerance` is the `atol` in force, `needed_tolerance` the smallest
    `atol` that would have passed with the same `rtol` (None: no tolerance would)."""

    name: str
    max_abs: float | None
    mean_abs: float | None
    rel_l2: float | None
    tolerance: float | None
    needed_tolerance: float | None
    passed: bool


@dataclass(frozen=True)
class Comparison:
    """One pair of values that a test compared: an `Output` with everything behind it. `through`: the function
    that compared them. What `torch.allclose` and its like deny fails no test by itself."""

    output: Output
    test: str | None
    location: Location | None
    actual: str | None
    expected: str | None
    shape_actual: tuple[int, ...] | None
    shape_expected: tuple[int, ...] | None
    dtype_actual: str | None
    dtype_expected: str | None
    device_actual: str | None
    device_expected: str | None
    rtol: float | None
    equal_nan: bool
    elements: int | None
    mismatched: int | None
    nonfinite_actual: int | None
    nonfinite_expected: int | None
    nonfinite_mismatched: int | None
    problem: str | None
    message: str | None
    through: str = "torch.testing.assert_close"


@dataclass(frozen=True)
class Outcome:
    """What became of one test. `definition` is its name in its `def` line, `failed_at` the deepest
    place in the project that its exception passed."""

    test: str
    outcome: Literal["passed", "failed", "skipped", "error", "xfailed", "xpassed"]
    reason: str
    skip_class: str | None
    seconds: float
    exception: str | None
    definition: Location | None
    failed_at: Location | None
    in_test: Location | None


@dataclass(frozen=True)
class ModelTrace:
    """The trace of one model in one test: a file (absolute) with that many forwards."""

    test: str
    side: Literal["official", "native"]
    model: str
    file: str
    forwards: int


@dataclass(frozen=True)
class Loaded:
    """What a run hung on. `files`: relative to the root with `/`, or absolute outside of it. `packages`: the
    folders of installed packages, `weights` the checkpoint files that were opened (both absolute)."""

    files: tuple[str, ...]
    packages: tuple[str, ...]
    weights: tuple[str, ...] = ()


@dataclass(frozen=True)
class CheckResult:
    """The verdict of a run. Only `passed` is evidence.

    `reason` and `next_step` are for a person; `notes` are remarks that change no verdict;
    `place` is where to show a check that could not run. `traces`: of the models that were recorded, where
    the request asked for that. `loaded` and `conditions`: None where the run did not come to its end.
    """

    port: str | None
    tier: str
    status: Status
    reason: str
    next_step: str
    test: str
    outputs: tuple[Output, ...]
    comparisons: tuple[Comparison, ...]
    outcomes: tuple[Outcome, ...]
    notes: tuple[str, ...]
    log_tail: str
    seconds: float
    place: Location | None = None
    traces: tuple[ModelTrace, ...] = ()
    loaded: Loaded | None = None
    conditions: Conditions | None = None

    @property
    def skips(self) -> tuple[Outcome, ...]:
        """The tests that did not count: skipped, or expected to fail."""
        return tuple(o for o in self.outcomes if o.outcome in ("skipped", "xfailed"))

    def to_json(self) -> dict[str, Any]:
        """The shape that `ditproof parity --format json` prints; lines and columns count from 1."""
        return {
            "port": self.port,
            "tier": self.tier,
            "status": self.status,
            "reason": self.reason,
            "outputs": [asdict(output) for output in self.outputs],
            "first": None,
            "others": [],
            "taps": 0,
            "aligned": 0,
            "unaligned": [],
            "not_fired": [],
            "evidence": None,
            "seconds": round(self.seconds, 3),
            "next_step": self.next_step,
            "test": self.test,
            "skips": [
                {"test": skip.test, "class": skip.skip_class, "reason": skip.reason} for skip in self.skips
            ],
            "outcomes": [
                {"test": o.test, "outcome": o.outcome, "reason": o.reason, "seconds": round(o.seconds, 3)}
                for o in self.outcomes
            ],
            "comparisons": [_comparison_json(comparison) for comparison in self.comparisons],
            "traces": [asdict(trace) for trace in self.traces],
            "conditions": self.conditions.to_json() if self.conditions is not None else None,
            "notes": list(self.notes),
            "log_tail": self.log_tail,
        }


def _comparison_json(comparison: Comparison) -> dict[str, Any]:
    plain = asdict(comparison)
    output = plain.pop("output")
    plain.pop("location")
    place = comparison.location
    return {
        **output,
        **plain,
        "path": place.path if place else None,
        "line": place.span.line + 1 if place else None,
        "end_line": place.span.end_line + 1 if place else None,
    }
