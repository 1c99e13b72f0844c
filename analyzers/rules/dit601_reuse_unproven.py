"""DIT601 reuse-unproven: a component that a state file calls reused or ported, with no recorded proof."""

from __future__ import annotations

from collections.abc import Iterator

from analyzers.findings import Finding, Severity
from analyzers.project.port_status import Component, said, status_of
from analyzers.rules.base import Context, Example, Expected, Rule, Tier


def check(context: Context) -> Iterator[Finding]:
    """Looks at the rows of component matrices."""
    path = context.file.path
    if path.rpartition("/")[2] != context.profile.parity.state_file:
        return
    status = status_of(context.project.sources, path)
    for component in status.components if status is not None else ():
        if component.is_proven is not False or _is_out_of_scope(component):
            continue
        recorded = said(component.parity or "")
        kind = "is reused" if component.claims_reuse else "is ported"
        says = f"its parity is recorded as '{recorded}'" if recorded else "no parity result is recorded"
        assert status is not None
        yield context.finding(
            status.at(component.line),
            f"{_plain(component.name)} {kind}, but {says}: nothing shows that it computes what the original "
            "does",
            symbol=_plain(component.name),
        )


def _plain(text: str) -> str:
    return text.replace("`", "").replace("*", "").strip()


def _is_out_of_scope(component: Component) -> bool:
    """Whether the row is put off, or one of the template's."""
    name, decision = said(component.name), said(component.decision or "")
    if not name or name in ("-", "none"):
        return True
    later = ("deferred", "out of scope", "dropped", "not_required", "not required", "unknown", "n/a")
    parity = said(component.parity or "")
    return any(word in f"{decision} {said(component.kind or '')}" for word in later) or any(
        word in parity
        for word in ("not_required", "not required", "not_needed", "n/a", "out of scope", "outside")
    )


_STATUS = "tests/local_tests/sound/PORT_STATUS.md"


def _status(*rows: str, header: str = "Parity") -> str:
    return "\n".join(
        [
            "# Sound Port Status",
            "",
            "## Component Matrix",
            "",
            f"| Component | Type | Reuse/Port | Official Definition | FastVideo Target | {header} |",
            "|---|---|---|---|---|---|",
            *rows,
            "",
        ]
    )


RULE = Rule(
    code="DIT601",
    name="reuse-unproven",
    severity=Severity.INFORMATION,
    tier=Tier.PROJECT,
    summary="a reused or ported component with no recorded proof",
    what=(
        "Reports a row of a port's component matrix (`PORT_STATUS.md`) whose parity column records no pass: "
        "it "
        "is empty, or says `not_started`, `scaffold_skip`, `debug_red`, `blocked` or the like. Without "
        "a state file nothing is claimed, and nothing is reported: DIT801 and DIT810 speak of that."
    ),
    why=(
        "The same class built with other arguments is not reuse. A row that says `reuse` stops everybody "
        "from "
        "looking again, although nobody compared the component's definition and instantiation with the "
        "original's."
    ),
    how=(
        "Run the component's parity test against the official implementation and record the result in the "
        "row; "
        "put off what is out of scope explicitly (`deferred`)."
    ),
    exceptions=(
        "Rows that are deferred, dropped or out of scope; tables without a column for results; rows of the "
        "template that are not filled in (DIT809)."
    ),
    source="`.agents/skills/add-model/contracts/parity_status.md`",
    check=check,
    suffixes=(".md",),
    valid=(
        Example(
            "passes, in all the words for it, and what is put off",
            {
                _STATUS: _status(
                    "| transformer | dit | port | `m.py` | `sound.py` | non_skip_pass |",
                    "| vae | vae | reuse | `v.py` | `vae.py` | PASS (A40, 2026-05-11) |",
                    "| text | encoder | reused | `t.py` | `t5.py` | exact |",
                    "| wan vae | vae | reuse | `w.py` | `wan.py` | non-skip pass (`2/2`) |",
                    "| clip | encoder | reuse | `c.py` | `c.py` | reuse_proven |",
                    "| rope | generic | reuse | `r.py` | `r.py` | PASS; was blocked on I003 |",
                    "| audio | vae | reuse | `a.py` | `a.py` | 3 passed, 0 failures |",
                    "| cut short | vae |",
                    "| vision | encoder | deferred | `q.py` | `q.py` | not_started |",
                    "| scheduler | scheduler | reuse | `s.py` | `s.py` | not_required |",
                    "| `<component>` | `<type>` | `<reuse>` | `<path>` | `<file>` | `<not_started>` |",
                )
            },
        ),
        Example(
            "no such column",
            {_STATUS: _status("| vae | vae | reuse | `v.py` | `vae.py` | none |", header="Notes")},
        ),
    ),
    invalid=(
        Example(
            "no pass",
            {
                _STATUS: _status(
                    "| transformer | dit | port | `m.py` | `sound.py` | debug_red |",
                    "| vae | vae | reuse | `v.py` | `vae.py` | |",
                    "| text | encoder | reused | `t.py` | `t5.py` | `scaffold_skip` |",
                    "| audio | vae | reuse | `a.py` | `a.py` | not_started |",
                )
            },
            findings=(
                Expected(_STATUS, 7, "transformer is ported, but its parity is recorded as 'debug_red'"),
                Expected(_STATUS, 8, "vae is reused, but no parity result is recorded", Severity.INFORMATION),
                Expected(_STATUS, 9, "'scaffold_skip'"),
                Expected(_STATUS, 10, "'not_started'"),
            ),
        ),
    ),
)
