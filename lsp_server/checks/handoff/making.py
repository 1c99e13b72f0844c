"""From a port's facts and its runs to the block that it hands over.

What counts as what
-------------------
* A run counts while nothing that it hung on has changed. A pass that counts no more is no pass; it is told
  as a concern.
* `parity_status` is the worst that the parity tests came to, each in its last run: red, then could not
  run, then skipped, then passed. A run in which one test was skipped is a skip.
* `strict_load` passes where a parity test passed that says it loads as production does, and that read files
  of weights. Names and shapes alone, however well proven, loaded nothing: they leave it at `not_run`. Where
  they are broken, a strict load must fail: `blocked`.
* A loader that is not strict by itself proves no names: then the names have to be proven too.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lsp_server.checks.evidence.model import Evidence
from lsp_server.checks.handoff.model import (
    EscapeHatch,
    Handoff,
    KeyDumps,
    Mode,
    NextStep,
    ParityStatus,
    PytestOutput,
    StrictLoad,
    Strictness,
)
from lsp_server.checks.redact import redact

MOST_LINES = 12
MOST_FILES = 40
_LONGEST_LINE = 200
_LOADS_AS_PRODUCTION = frozenset({"production_loader", "both"})
_PARITY: Mapping[str, ParityStatus] = {
    "failed": "debug_red",
    "error": "blocked",
    "skipped": "scaffold_skip",
    "passed": "non_skip_pass",
}
_WORST_FIRST: tuple[ParityStatus, ...] = ("debug_red", "blocked", "scaffold_skip", "non_skip_pass")
_SOURCES = (".py", ".json", ".yaml", ".yml", ".toml")


@dataclass(frozen=True)
class PortFacts:
    """What is known of a port without its runs. Paths are relative to the root, with `/`.

    `files_changed`: of the port's own, None where git does not know. `readme`: where the README of its tests
    is or would be. `scopes`: parity test -> what it declares to cover. `own`: the folders and files of the
    tree whose sources are no official ones.
    """

    root: Path
    component: str
    strictness: Strictness | None = None
    files_changed: tuple[str, ...] | None = None
    readme: str | None = None
    state_file: str | None = None
    dumps: KeyDumps | None = None
    parity_tests: tuple[str, ...] = ()
    scopes: Mapping[str, str] = field(default_factory=dict)
    oracle_file: str | None = None
    own: tuple[str, ...] = ()
    escape_hatch: EscapeHatch | None = None


@dataclass(frozen=True)
class Kept:
    """A run with what is other than it was."""

    run: Evidence
    changed: tuple[str, ...] = ()

    @property
    def counts(self) -> bool:
        """Whether it still speaks of the files as they are."""
        return not self.changed and bool(self.run.sources)

    @property
    def test(self) -> str:
        """The file of its test."""
        return self.run.subject.partition("::")[0]

    @property
    def parity(self) -> ParityStatus | None:
        """What a run of a parity test came to, None where it counts no more."""
        if not self.counts or self.run.status not in _PARITY:
            return None
        partly = self.run.status == "passed" and bool(self.run.document.get("skips"))
        return "scaffold_skip" if partly else _PARITY[self.run.status]


def handoff_of(facts: PortFacts, runs: Iterable[Kept]) -> Handoff:
    """The block. `runs`: the last of each check of the port, in any order."""
    kept = sorted(runs, key=lambda one: -one.run.ended)
    tests = parity_runs(kept)
    names = next((one for one in kept if one.run.tier == "meta" and one.counts), None)
    status, telling = _parity(tests)
    request = _request(facts, names)
    dumps = facts.dumps
    mode: Mode = "parity-debug" if any(one.run.outputs or _ran(one) for one in tests) else "prototype"
    step = _next_step(facts, mode, status, request, names)
    return Handoff(
        component=facts.component,
        mode=mode,
        files_changed=facts.files_changed or (),
        official_files_used=_official_files(facts, kept),
        prototype_key_dumps=dumps if dumps is not None and (dumps.official or dumps.fastvideo) else None,
        port_state_file=facts.state_file,
        concerns_or_unknowns=tuple(_concerns(facts, kept, tests, names)),
        parity_test=telling.run.subject if telling is not None else _test(facts, tests),
        parity_status=status,
        production_loader_strictness=_strictness(facts, names),
        strict_load=_strict_load(facts, tests, names),
        pytest_output=_output(telling) if telling is not None else None,
        blocker=_blocker(mode, step, status, telling, request, names, dumps),
        conversion_retry_request=request,
        readme_updated=None
        if facts.files_changed is None or facts.readme is None
        else facts.readme in facts.files_changed,
        next_step=step,
        escape_hatch=facts.escape_hatch,
    )


def parity_runs(kept: Iterable[Kept]) -> tuple[Kept, ...]:
    """The runs of parity tests, newest first, without those of single tests that a later run of their whole
    file has made old."""
    tests = sorted((one for one in kept if one.run.tier == "weights"), key=lambda one: -one.run.ended)
    whole = {one.run.subject: one.run.ended for one in tests if "::" not in one.run.subject}
    return tuple(one for one in tests if one.run.ended >= whole.get(one.test, 0.0))


def _test(facts: PortFacts, tests: Sequence[Kept]) -> str | None:
    """The test to run: the last that ran, else one that calls itself a parity test."""
    named = sorted(facts.parity_tests, key=lambda test: "parity" not in test.rpartition("/")[2])
    return tests[0].run.subject if tests else next(iter(named), None)


def _ran(one: Kept) -> bool:
    return one.run.status in ("passed", "failed")


def _parity(tests: Sequence[Kept]) -> tuple[ParityStatus | None, Kept | None]:
    for status in _WORST_FIRST:
        found = next((one for one in tests if one.parity == status), None)
        if found is not None:
            return status, found
    return None, None


# --------------------------------------------------------------------------- the weights


def _request(facts: PortFacts, names: Kept | None) -> Mapping[str, Any] | None:
    if names is None or names.run.status != "failed":
        return None
    request = names.run.document.get("conversion_retry_request")
    if not isinstance(request, Mapping):
        return None
    tests = facts.parity_tests
    return {**request, "component": facts.component, "parity_test": tests[0] if tests else "none"}


def _strictness(facts: PortFacts, names: Kept | None) -> Strictness | None:
    counts = names.run.document.get("counts") if names is not None else None
    if isinstance(counts, Mapping) and counts.get("native") == 0:
        return "stateless"
    return facts.strictness


def _strict_load(facts: PortFacts, tests: Sequence[Kept], names: Kept | None) -> StrictLoad:
    if names is not None and names.run.status == "failed":
        return "blocked"
    loaded = any(
        one.parity == "non_skip_pass"
        and one.run.weights
        and facts.scopes.get(one.test) in _LOADS_AS_PRODUCTION
        for one in tests
    )
    if not loaded:
        return "not_run"
    proven = names is not None and names.run.status == "passed"
    strictness = _strictness(facts, names)
    if strictness == "stateless":
        return "not_run"
    if strictness == "strict":
        return "pass_with_documented_exclusions" if proven and _exclusions(names) else "pass"
    return "pass_with_documented_exclusions" if proven else "not_run"


def _exclusions(names: Kept | None) -> list[str]:
    found = names.run.document.get("exclusions") if names is not None else None
    return [f"{one['name']} ({one['reason']})" for one in found or () if isinstance(one, Mapping)]


# --------------------------------------------------------------------------- what comes next


def _next_step(
    facts: PortFacts,
    mode: Mode,
    status: ParityStatus | None,
    request: Mapping[str, Any] | None,
    names: Kept | None,
) -> NextStep:
    if facts.escape_hatch is not None:
        return "ask_user"
    if request is not None:
        return "phase_5_conversion_retry"
    if names is not None and names.run.status == "failed":
        return "blocked"
    if mode == "prototype":
        dumps = facts.dumps
        return "phase_5_conversion" if dumps and dumps.official and dumps.fastvideo else "blocked"
    return "blocked" if status in ("blocked", "scaffold_skip") else "phase_6_continue"


def _blocker(
    mode: Mode,
    step: NextStep,
    status: ParityStatus | None,
    telling: Kept | None,
    request: Mapping[str, Any] | None,
    names: Kept | None,
    dumps: KeyDumps | None,
) -> str | None:
    """What is in the way and what lifts it; None where nothing is."""
    parts: list[str] = []
    if names is not None and names.run.status == "failed":
        parts.append(f"names and shapes do not fit {names.run.subject}: {names.run.reason}")
        if request is None:
            parts.append("`ditproof weights` says which")
    if telling is not None and status != "non_skip_pass":
        parts += _of_a_test(telling, status)
    if mode == "prototype" and step == "blocked" and not (dumps and dumps.official and dumps.fastvideo):
        parts.append("no key dumps of both sides: `ditproof weights --dump` writes them")
    said = "; ".join(_clean(part).rstrip(".") for part in parts if part)
    return said or None


def _of_a_test(telling: Kept, status: ParityStatus | None) -> Iterator[str]:
    run = telling.run
    if status == "scaffold_skip":
        skips = [skip for skip in run.document.get("skips") or () if isinstance(skip, Mapping)]
        kinds = sorted({str(skip["class"]) for skip in skips if skip.get("class")})
        reason = next((str(skip["reason"]) for skip in skips if skip.get("reason")), run.reason)
        yield f"skipped ({', '.join(kinds) or 'other'}): {reason}"
    else:
        yield run.reason
    step = str(run.document.get("next_step") or "")
    if step:
        yield step


# --------------------------------------------------------------------------- the rest


def _output(telling: Kept) -> PytestOutput:
    document = telling.run.document
    lines = [_clean(line) for line in str(document.get("log_tail") or "").splitlines()]
    return PytestOutput(
        command=f"pytest {telling.run.subject} -v -s",
        result=_clean(f"{telling.run.status}: {telling.run.reason}"),
        lines=tuple(line for line in lines if line)[-MOST_LINES:],
    )


def _clean(text: str) -> str:
    """One line without secrets, bounded."""
    plain = redact(" ".join(text.split()))
    return plain if len(plain) <= _LONGEST_LINE else f"{plain[: _LONGEST_LINE - 4]} ..."


def _concerns(
    facts: PortFacts, kept: Sequence[Kept], tests: Sequence[Kept], names: Kept | None
) -> Iterator[str]:
    for one in kept:
        if one.run.tier == "weights" and one not in tests:
            continue
        if one.run.status == "passed" and not one.counts:
            yield _clean(f"stale: {_said(one)} passed on {_day(one)}: {_why(one)}")
    for test in facts.parity_tests:
        if not any(one.test == test for one in tests):
            yield f"never run here: {test}"
    if facts.files_changed is None:
        yield "which files changed is not known: git does not know this tree"
    if not facts.parity_tests:
        yield "no parity test names this port"
    if names is None:
        yield "names and shapes: not proven (`ditproof weights`)"
    elif names.run.status == "passed":
        left_out = _exclusions(names)
        yield f"names and shapes: proven against {names.run.subject}, which loads no weights" + (
            f"; left out: {', '.join(left_out[:6])}{' and more' if len(left_out) > 6 else ''}"
            if left_out
            else ""
        )
    elif names.run.status == "skipped":
        yield _clean(f"names and shapes: unknown: {names.run.reason}")
    for one in tests:
        if one.parity == "non_skip_pass" and not one.run.outputs:
            yield f"no comparison was recorded: {one.run.subject}"
        elif one.parity == "non_skip_pass" and facts.scopes.get(one.test) not in _LOADS_AS_PRODUCTION:
            yield f"does not say that it loads as production does: {one.test}"
        elif one.parity == "non_skip_pass" and not one.run.weights:
            yield f"read no file of weights: {one.run.subject}"
    yield from _of_small_models(kept)


def _of_small_models(kept: Sequence[Kept]) -> Iterator[str]:
    for one in kept:
        if one.run.tier == "tiny" and one.counts and one.run.status != "passed":
            first = one.run.document.get("first")
            native = first.get("native") if isinstance(first, Mapping) else None
            place = f", first at {native['path']}:{native['line']}" if native and native.get("path") else ""
            yield _clean(f"small models: {one.run.status} against {one.run.subject}: {one.run.reason}{place}")


def _said(one: Kept) -> str:
    return {"meta": "names and shapes", "tiny": "small models"}.get(one.run.tier, one.run.subject)


def _day(one: Kept) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(one.run.ended))


def _why(one: Kept) -> str:
    if not one.changed:
        return "which files it hung on is not known, or they changed while it ran"
    more = f" and {len(one.changed) - 1} more" if len(one.changed) > 1 else ""
    return f"{one.changed[0]}{more}"


def _official_files(facts: PortFacts, kept: Sequence[Kept]) -> tuple[str, ...]:
    """The sources of the other side: what runs loaded from outside of the port's code base."""
    found = {facts.oracle_file} if facts.oracle_file is not None else set()
    for one in kept:
        for path in one.run.sources:
            inside = not os.path.isabs(path)  # noqa: PTH117 - a path of the record, not of this machine
            if path.endswith(_SOURCES) and not (inside and _is_own(path, facts.own)):
                found.add(shown(facts.root, path))
        compared = one.run.document.get("compared")
        place = compared.get("official_place") if isinstance(compared, Mapping) else None
        if isinstance(place, Mapping) and isinstance(place.get("path"), str):
            found.add(shown(facts.root, place["path"]))
    # A file of the root's own folder configures tests; what is official lies in a folder.
    files = sorted(path for path in found if path is not None and "/" in path)
    left = len(files) - MOST_FILES
    return (*files[:MOST_FILES], *([f"and {left} more"] if left > 0 else []))


def _is_own(path: str, own: Iterable[str]) -> bool:
    return any(path == one or path.startswith(f"{one}/") for one in own)


def shown(root: Path, path: str) -> str:
    """A path as it is handed over: relative to the root, from `site-packages` on, or as it is."""
    for mark in ("/site-packages/", "/dist-packages/"):
        if mark in path:
            return path.rpartition(mark)[2]
    if os.path.isabs(path):  # noqa: PTH117
        near = os.path.relpath(path, root).replace(os.sep, "/")
        return near if not near.startswith("../../") else path
    return path
