"""The user documentation of rules as Markdown: the files in `docs/rules`, `ditproof rule`, hovers.

Everything comes from the rules themselves. `REPORTS` describes the few findings that no rule of the
catalogue makes: those of the engine, and those that a finished check leaves.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from analyzers.findings import Applicability, Severity
from analyzers.project.profile import PROFILES
from analyzers.rules.base import Example, Rule
from analyzers.rules.catalogue import all_rules
from analyzers.rules.examples import TREE


@dataclass(frozen=True)
class Page:
    """What a user may read about one code; `rule` is None where no rule of the catalogue makes it."""

    code: str
    name: str
    severity: Severity
    tier: str
    summary: str
    what: str
    why: str
    how: str
    exceptions: str = ""
    source: str = ""
    fixable: Applicability | None = None
    rule: Rule | None = None


REPORTS: tuple[Page, ...] = (
    Page(
        "DIT001",
        "syntax-error",
        Severity.ERROR,
        "file",
        "the file, or a part of it, does not parse",
        "Reports a file that cannot be read (not UTF-8, no permission) and each top-level part that Python "
        "rejects, with Python's own message.",
        "The module cannot be imported. The intact parts are still checked; rules that report "
        "something *missing* stay silent in the broken part, so more findings may appear once it parses.",
        "Correct the syntax, or save the file as UTF-8. This finding cannot be suppressed or ignored.",
    ),
    Page(
        "DIT002",
        "suppression-without-reason",
        Severity.WARNING,
        "file",
        "a suppression gives no reason, or names no rule",
        "Reports `# ditproof: ignore[CODE]` without a reason after the bracket, and a suppression that "
        "names no code: that one has no effect.",
        "Months later nobody can tell a decision from a shortcut.",
        "Write why: `# ditproof: ignore[DIT401] the checkpoint stores this layer unsharded`.",
    ),
    Page(
        "DIT003",
        "suppression-unused",
        Severity.WARNING,
        "file",
        "a suppression that suppresses nothing",
        "Reports a suppression whose rules find nothing at that statement. One that names a rule which "
        "did not run (see `select` and `ignore`) is left alone.",
        "It would hide the finding when it comes back.",
        "Remove the comment.",
    ),
    Page(
        "DIT704",
        "weight-dtype",
        Severity.ERROR,
        "run",
        "a conversion changed the dtype of a tensor that the original keeps",
        "Reports, after `ditproof weights` with the official checkpoint and the converted one, the tensors "
        "whose dtype differs: downcast ones, above all those that the original keeps in fp32 (norms, "
        "embeddings of time, tables), and numbers that became of another kind.",
        "What a downcast cut off does not come back when the loader casts up again. Nothing fails: the "
        "drift is taken for the kernels'.",
        "Convert these tensors again and keep their dtype; the message names them, with both dtypes.",
        "Tensors that the port's loader brings to the same dtype from either side, without loss.",
        "`fastvideo/models/loader/fsdp_load.py`, `load_model_from_full_model_state_dict`",
    ),
    Page(
        "DIT705",
        "weight-layout",
        Severity.ERROR,
        "run",
        "the rows of a converted tensor stand in another order than the rules say",
        "Reports, after `ditproof weights` with the official checkpoint and the converted one, fused, split "
        "and permuted tensors whose bytes contradict the mapping. A few rows of both sides are hashed where "
        "they lie, and the message names the order that fits: concatenated, interleaved by head, gate and "
        "up swapped, transposed, or permuted as rotary embeddings are.",
        "Name and shape are the same in every order, so a strict load succeeds, and the model computes "
        "something else.",
        "Correct the conversion, or the order in which the mapping merges; the message names both orders.",
        "Tensors of which no row tells the orders apart, such as constant ones: they are said to be unknown.",
        "`fastvideo/models/loader/utils.py`, `hf_to_custom_state_dict`",
    ),
    Page(
        "DIT811",
        "evidence-stale",
        Severity.INFORMATION,
        "run",
        "a recorded pass speaks of other sources than there are now",
        "Reports, at a port's class, that the last pass of a parity test was recorded before a file changed "
        "that the run had loaded: the port, its config, a layer, the test itself. The message names them. "
        "Shown in editors; `ditproof evidence` lists the same, and changed weights and packages too.",
        "What was seen says nothing about what is there now: a reviewer would trust a pass of another port.",
        "Run the test again. Taking the change back makes the pass count again.",
        "Edits that are not saved, and runs that did not pass.",
    ),
    Page(
        "DIT901",
        "parity-red",
        Severity.ERROR,
        "run",
        "outputs of a parity test drift beyond their tolerance",
        "Reports, after `ditproof parity` or the editor's parity action, each comparison that failed, with "
        "its drift, its tolerance and the smallest tolerance that would have passed.",
        "The port computes something else than the original.",
        "Find the first place where the two sides part; do not raise the tolerance until it passes.",
    ),
    Page(
        "DIT902",
        "parity-skipped",
        Severity.WARNING,
        "run",
        "a parity test was skipped: that is no evidence",
        "Reports a run in which the test was skipped or expected to fail, with the reason and its kind. "
        "It is information only where other tests of the same run passed.",
        "A skipped test passes continuous integration and proves nothing.",
        "Provide what the reason names: a GPU, the weights, the official clone, an environment variable.",
    ),
    Page(
        "DIT903",
        "diverges-here",
        Severity.ERROR,
        "run",
        "the first module or operation that computes something else than the official model",
        "Reports, after `ditproof trace` or the editor's tiny check, the statement of the port where its own "
        "error begins: its inputs are those of the official model (they are put right before each aligned "
        "module), and its result differs by more than rounding does there. The message gives the error, the "
        "measured floor, the operation or constant that differs, and whether the difference reaches the "
        "outputs; the official line is the related place.",
        "Everything after this line inherits the error. A difference that hardly shows in the outputs of a "
        "tiny model grows over forty blocks and thirty steps.",
        "Make the statement compute what the official line computes, or, where the port is meant to differ, "
        "suppress the finding with the reason.",
        "Other orders of the same values (axes, flattened heads) that are undone before the outputs: they "
        "are stated in the report. A difference that reaches no output is information.",
    ),
    Page(
        "DIT904",
        "layout-here",
        Severity.ERROR,
        "run",
        "the right values in another order: a permutation or packing error",
        "Reports, after `ditproof trace`, the first place where port and official model hold the same values "
        "in another order (tokens, heads, axes, halves against pairs), and the order is not undone before "
        "the outputs. The message names the order that was found on the values.",
        "Sums, means, norms and extremes agree, so nothing but a comparison of the order shows it.",
        "Correct the reshape, permute, roll or concatenation at that statement.",
    ),
    Page(
        "DIT905",
        "dtype-here",
        Severity.WARNING,
        "run",
        "the port computes in another dtype than the official model, and loses accuracy by it",
        "Reports, after `ditproof trace`, a place where the two sides compute in different dtypes when the "
        "models run in bfloat16, and the port's own error against the official float32 result stands above "
        "what the official model loses there itself.",
        "It is invisible in float32, and grows with depth: a residual stream that is rounded to bfloat16 at "
        "every block is the usual cause.",
        "Cast where the official model casts; its line is the related place.",
        "Places where the port keeps more precision than the official model.",
    ),
    Page(
        "DIT906",
        "nonfinite-here",
        Severity.ERROR,
        "run",
        "the first NaN or infinity that the official model does not have",
        "Reports, after `ditproof trace`, the first statement of the port that makes a NaN or an infinity "
        "from finite values where the official model makes none.",
        "One such value fills the whole output within a block.",
        "Look at the division, root, exponential or mask of that statement; the official line is beside it.",
    ),
    Page(
        "DIT907",
        "check-failed",
        Severity.ERROR,
        "run",
        "a check could not run",
        "Reports a run that ended without a verdict: the interpreter does not start, the test cannot be "
        "collected, the process was killed, time or memory ran out. While the weights of an open port are "
        "measured: a port that cannot be built (a warning), or an official model that cannot (information).",
        "No verdict is not a pass.",
        "The message names the reason and the next step; the end of the log shows the rest.",
    ),
)


@cache
def all_pages() -> tuple[Page, ...]:
    """One page for every code that a finding can have, by code."""
    pages = [
        Page(
            code=rule.code,
            name=rule.name,
            severity=rule.severity,
            tier=rule.tier.value,
            summary=rule.summary,
            what=rule.what,
            why=rule.why,
            how=rule.how,
            exceptions=rule.exceptions,
            source=rule.source,
            fixable=rule.fixable,
            rule=rule,
        )
        for rule in all_rules()
    ]
    return tuple(sorted((*pages, *REPORTS), key=lambda page: page.code))


def find_page(wanted: str) -> Page | None:
    """The page of that code or name, or None."""
    return next((p for p in all_pages() if p.code == wanted.upper() or p.name == wanted.lower()), None)


def page_markdown(page: Page) -> str:
    """The whole page."""
    fix = {None: "none", Applicability.SAFE: "safe", Applicability.UNSAFE: "unsafe"}[page.fixable]
    parts = [
        f"# {page.name} ({page.code})",
        f"Severity: {page.severity.value} · needs: {NEEDS[page.tier]} · fix: {fix}",
        "## What it does\n\n" + page.what.strip(),
        "## Why it matters\n\n" + page.why.strip(),
        "## How to fix it\n\n" + page.how.strip(),
    ]
    if page.exceptions:
        parts.append("## What it leaves alone\n\n" + page.exceptions.strip())
    off = [f"- {title}: {reason}" for title, reason in switched_off(page.code).items()]
    if off:
        parts.append("## Where it is switched off\n\n" + "\n".join(off))
    if page.rule is not None:
        shown: dict[str, str] = {}
        parts += _examples("Reported", page.rule.invalid, shown)
        parts += _examples("Not reported", [e for e in page.rule.valid if e.files], shown)
    if page.source:
        parts.append("## Where this is written\n\n" + page.source.strip())
    return "\n\n".join(parts) + "\n"


def switched_off(code: str) -> dict[str, str]:
    """What a code base is called -> why the rule is switched off there."""
    reasons = {profile.title: profile.off(code) for profile in PROFILES}
    return {title: reason for title, reason in reasons.items() if reason is not None}


NEEDS = {
    "file": "the file",
    "project": "the repository",
    "oracle": "the official definition",
    "weights": "the weights' names",
    "run": "a finished check",
}
"""Tier -> what a rule needs to know."""

GROUPS = {
    "DIT0": "Files and suppressions",
    "DIT1": "Discovery and registration",
    "DIT2": "The DiT contract",
    "DIT3": "Configs and mappings",
    "DIT4": "Layers and numerics",
    "DIT5": "Production boundary",
    "DIT6": "Reuse proof",
    "DIT7": "Weights",
    "DIT8": "Parity tests and evidence",
    "DIT9": "What a run found",
}
"""First digit -> heading."""


def index_markdown(pages: Sequence[Page]) -> str:
    """The table of all rules."""
    parts = [
        "# Rules",
        "E error: breaks at import or load, or computes something else. W warning: a rule of the code base "
        "is broken. I information. Fix: S safe (`--fix` takes it), U unsafe (`--unsafe-fixes`).",
    ]
    for prefix, title in GROUPS.items():
        rows = [
            f"| [{p.code}]({p.code}.md) | {p.name} | {p.severity.value[0].upper()} | "
            f"{'' if p.fixable is None else p.fixable.value[0].upper()} | {_cell(p.summary)} |"
            for p in pages
            if p.code.startswith(prefix)
        ]
        if rows:
            head = "| code | name | severity | fix | reports |\n|---|---|---|---|---|\n"
            parts.append(f"## {title}\n\n{head}" + "\n".join(rows))
    return "\n\n".join(parts) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _examples(title: str, examples: Sequence[Example], shown: dict[str, str]) -> list[str]:
    """The first example in full, of the others what they show. `shown`: what stands on the page already, by
    path."""
    if not examples:
        return []
    parts = [f"## {title}", _example(examples[0], shown)]
    if len(examples) > 1:
        parts.append("Also:\n\n" + "\n".join(f"- {example.title}" for example in examples[1:]))
    return parts


def _example(example: Example, shown: dict[str, str]) -> str:
    """An example as what it changes in a sound tree, with the places that are reported."""
    parts = [f"**{example.title}**"]
    for path, text in example.files.items():
        reported = [f for f in example.findings if f.path == path]
        if text is None:
            parts.append(f"`{path}` does not exist.")
            continue
        if shown.get(path) == text and not reported:
            parts.append(f"`{path}` as above.")
            continue
        parts.append(f"`{path}`")
        lines = {f.line: f.message for f in reported}
        if path.endswith(".json"):
            parts.append(_fenced_entries(text, lines))
        else:
            parts.append(_fenced(text, TREE.get(path), lines))
        shown[path] = text
    parts += [
        f"Built on the meta device and held against `{state.official.source}`: `{port}`."
        for port, state in example.states.items()
        if state.official is not None
    ]
    elsewhere = sorted({f"`{f.path}:{f.line}`" for f in example.findings if f.path not in example.files})
    if elsewhere:
        parts.append(f"Reported at {', '.join(elsewhere)}.")
    for path, text in example.fixed.items():
        before = example.files.get(path, TREE.get(path)) or ""
        if before != text:
            parts.append(f"The fix, in `{path}`:")
            parts.append(_diff(before, text))
    return "\n\n".join(parts)


MOST_LINES = 40
"""Lines of an example that are shown whole; of a longer one only what differs from the sound tree."""


def _fenced(text: str, sound: str | None, reported: dict[int, str]) -> str:
    """The text; of one that varies a file of the sound tree only the lines around what differs."""
    lines = text.splitlines()
    if sound is None and len(lines) <= MOST_LINES:
        shown = set(range(len(lines)))
    else:
        changed = {line - 1 for line in reported}
        matcher = difflib.SequenceMatcher(a=(sound or "").splitlines(), b=lines, autojunk=False)
        for tag, _, _, begin, end in matcher.get_opcodes():
            if tag != "equal":
                changed.update(range(begin, max(end, begin + 1)))
        shown = {i for c in changed for i in range(c - 2, c + 3) if 0 <= i < len(lines)}
    out: list[str] = []
    previous = -1
    for number in sorted(shown):
        if number > previous + 1:
            out.append("...")
        line = lines[number]
        out.append(f"{line}  # <- reported" if number + 1 in reported else line)
        previous = number
    if previous + 1 < len(lines):
        out.append("...")
    return "```python\n" + "\n".join(out) + "\n```"


MOST_ENTRIES = 8
"""Lines of JSON that are shown from the beginning of a document."""


def _fenced_entries(text: str, reported: dict[int, str]) -> str:
    """The beginning of a document, and the lines that are reported."""
    lines = text.splitlines()
    out = [
        f"{line}  # <- reported" if number in reported else line
        for number, line in enumerate(lines, 1)
        if number <= MOST_ENTRIES or number in reported
    ]
    if len(lines) > len(out):
        out.append("...")
    return "```json\n" + "\n".join(out) + "\n```"


def _diff(before: str, after: str) -> str:
    body = difflib.unified_diff(before.splitlines(), after.splitlines(), n=2, lineterm="")
    return "```diff\n" + "\n".join(list(body)[2:]) + "\n```"
