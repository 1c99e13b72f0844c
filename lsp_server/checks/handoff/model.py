"""The handoff of a component: its fields and their closed vocabularies, as text and as JSON.

The fields, their names and their order are those of `.agents/skills/add-model/contracts/
component_skill_handoff.md`. What no run supports is `not_run`, or None where the vocabulary has no such word.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

Mode = Literal["prototype", "parity-debug"]
ParityStatus = Literal["scaffold_skip", "debug_red", "non_skip_pass", "blocked"]
Strictness = Literal["strict", "non_strict_with_allowed_keys", "stateless"]
StrictLoad = Literal["pass", "pass_with_documented_exclusions", "blocked", "not_run"]
NextStep = Literal[
    "phase_5_conversion", "phase_5_conversion_retry", "phase_6_continue", "ask_user", "blocked"
]

PARITY_STATUSES: tuple[ParityStatus, ...] = get_args(ParityStatus)


@dataclass(frozen=True)
class KeyDumps:
    """The key dumps of a prototype that are there, relative to the root."""

    official: str | None
    fastvideo: str | None


@dataclass(frozen=True)
class PytestOutput:
    """The run of the parity test: how it is repeated, what came of it, its last lines without secrets."""

    command: str
    result: str
    lines: tuple[str, ...]


@dataclass(frozen=True)
class EscapeHatch:
    """A decision that the user owes, as the state file records it."""

    id: str
    question: str
    recommended: str


@dataclass(frozen=True)
class Handoff:
    """One component. Paths are relative to the root with `/`; `official_files_used` may lead out of it."""

    component: str
    mode: Mode
    files_changed: tuple[str, ...]
    official_files_used: tuple[str, ...]
    prototype_key_dumps: KeyDumps | None
    port_state_file: str | None
    concerns_or_unknowns: tuple[str, ...]
    parity_test: str | None
    parity_status: ParityStatus | None
    production_loader_strictness: Strictness | None
    strict_load: StrictLoad
    pytest_output: PytestOutput | None
    blocker: str | None
    conversion_retry_request: Mapping[str, Any] | None
    readme_updated: bool | None
    next_step: NextStep
    escape_hatch: EscapeHatch | None

    def to_json(self) -> dict[str, Any]:
        """The block by name; `schemas/handoff.schema.json` describes it."""
        dumps, output, hatch = self.prototype_key_dumps, self.pytest_output, self.escape_hatch
        return {
            "component": self.component,
            "mode": self.mode,
            "files_changed": list(self.files_changed),
            "official_files_used": list(self.official_files_used),
            "prototype_key_dumps": None
            if dumps is None
            else {"official": dumps.official, "fastvideo": dumps.fastvideo},
            "port_state_file": self.port_state_file,
            "concerns_or_unknowns": list(self.concerns_or_unknowns),
            "parity_test": self.parity_test,
            "parity_status": self.parity_status,
            "production_loader_strictness": self.production_loader_strictness,
            "strict_load": self.strict_load,
            "pytest_output": None
            if output is None
            else {"command": output.command, "result": output.result, "lines": list(output.lines)},
            "blocker": self.blocker,
            "conversion_retry_request": None
            if self.conversion_retry_request is None
            else dict(self.conversion_retry_request),
            "readme_updated": None if self.readme_updated is None else "yes" if self.readme_updated else "no",
            "next_step": self.next_step,
            "escape_hatch": None
            if hatch is None
            else {"id": hatch.id, "question": hatch.question, "recommended": hatch.recommended},
        }


def block_lines(block: Mapping[str, Any]) -> Iterator[str]:
    """The block as the workflow writes it: `key: value`, lists one item a line, `none` for nothing."""
    for name, value in block.items():
        yield from _lines(name, value, "")


def block_text(handoff: Handoff) -> str:
    """The block as text."""
    return "".join(f"{line}\n" for line in block_lines(handoff.to_json()))


def markdown(handoff: Handoff, title: str, after: Iterable[str] = ()) -> str:
    """The block as Markdown, under a title; `after`: further lines."""
    text = block_text(handoff)
    fence = "```"
    while fence in text:
        fence += "`"
    lines = [f"# {title}", "", f"{fence}text", *text.splitlines(), fence, *after]
    return "".join(f"{line}\n" for line in lines)


def _lines(name: str, value: object, indent: str) -> Iterator[str]:
    if isinstance(value, Mapping):
        yield f"{indent}{name}:"
        for inner, part in value.items():
            yield from _lines(inner, part, indent + "  ")
    elif isinstance(value, (list, tuple)):
        if not value:
            yield f"{indent}{name}: none"
            return
        yield f"{indent}{name}:"
        for item in value:
            yield f"{indent}  - {_one_line(item)}"
    else:
        yield f"{indent}{name}: {_one_line(value)}"


def _one_line(value: object) -> str:
    """A value on its line: what goes over several would read as further fields."""
    return "none" if value is None or value == "" else " ".join(str(value).split())
