"""The report of the weights as text that can be pasted into a review: aligned columns, no ornament."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Sequence

from analyzers.findings import Location, Severity
from analyzers.weights.verdicts import Fault, KeyPlacement, RuleUse, ShapeFault, Verdict
from lsp_server.checks.judging import missing, renamed_natives, unexpected
from lsp_server.checks.numbered_names import numbered_once
from lsp_server.checks.weights import WeightReport
from lsp_server.checks.weights_json import NAMES
from lsp_server.commands.report import count
from lsp_server.commands.terminal import printable, styled, width

VERDICT_STYLES: dict[Verdict, str] = {"proven": "help", "broken": "error", "unknown": "warning"}

_EXAMPLES = 2
_MOST_FAULTS = 8
"""So many faults are written out without `verbose`; a port against another family's names has hundreds."""

_MOST_LISTED = 12
"""So many names left out by design, or words that cannot be told apart are written."""

_LABEL = 9


def report_text(
    report: WeightReport,
    *,
    colour: bool,
    columns: int | None,
    verbose: bool = False,
    keys: bool = False,
    quiet: bool = False,
) -> str:
    """The whole report, with a line end. `columns`: the terminal's width, None for a pipe.

    What is to be mended comes first. Without `verbose` the rules are those that a fault concerns or that do
    nothing. `quiet` leaves out what changes no verdict.
    """
    page = _Page(report, colour, columns)
    out = [
        *page.head(),
        *page.faults(verbose=verbose),
        *page.rules(verbose=verbose),
        *page.others(verbose=verbose),
    ]
    if keys:
        out += page.keys()
    if not quiet:
        out += page.remarks()
    return "".join(f"{line.rstrip()}\n" for line in out)


class _Page:
    """One report on one width."""

    def __init__(self, report: WeightReport, colour: bool, columns: int | None) -> None:
        self.report = report
        self.proof = report.proof
        self.colour = colour
        self.columns = columns
        self.targets = {p.tensor.name: p for p in report.proof.placements}
        self.shapes = {f.tensor.name: f.tensor.shape for f in report.proof.fillings}

    # ------------------------------------------------------------------ the head

    def head(self) -> Iterator[str]:
        report, measured = self.report, self.report.measured
        against = measured.against
        where = _at(report.port.location)
        yield f"{self._styled(printable(report.port.name), 'place')}  {where}"
        named = f", {_at(against.place)}" if against.place is not None else ""
        yield from self._labelled("against", f"{against.ref} ({against.because}{named})")
        torch = f"; torch {measured.answer.torch}" if measured.answer.torch else ""
        yield from self._labelled("built on", f"{measured.configuration}{torch}")
        verdict = self._styled(report.verdict, VERDICT_STYLES[report.verdict])
        yield from self._labelled(
            "verdict", f" by {self.proof.by}: {report.because}.", (verdict, report.verdict)
        )
        yield from self._labelled("counts", self._counts())
        for label, proof in (("reverse", report.reverse), ("lora", report.lora)):
            if proof is not None:
                word = self._styled(proof.verdict, VERDICT_STYLES[proof.verdict])
                yield from self._labelled(label, f": {proof.because}.", (word, proof.verdict))
        yield ""

    def _counts(self) -> str:
        measured, proof = self.report.measured, self.proof
        official, native = measured.state.official, measured.state.native
        parts = []
        if official is not None:
            parts.append(f"{len(official.tensors)} official")
        mapped = sum(p.verdict == "proven" and not p.excluded for p in proof.placements)
        parts.append(f"{mapped} mapped")
        if proof.merged:
            parts.append(f"{proof.merged} merged")
        if native is not None:
            parts.append(f"{len(native.tensors)} native")
        states = [use.state for use in proof.rules]
        told = [f"{states.count(s)} {s}" for s in dict.fromkeys(states)]
        return f"{', '.join(parts)}; {count(len(states), 'rule')}: {', '.join(told) or 'none'}"

    # ------------------------------------------------------------------ rules

    def rules(self, *, verbose: bool) -> Iterator[str]:
        """The table of rules."""
        concerned = {rule for fault in self.proof.faults for rule in (fault.rule, fault.other)}
        shown = [
            use
            for use in self.proof.rules
            if verbose
            or use.rule in concerned
            or use.state not in (("live", "gated") if concerned else ("live",))
        ]
        if not shown:
            return
        rows = [self._rule(use) for use in shown]
        lines = max(len(line) for line, _, _, _, _ in rows)
        patterns = max(width(pattern) for _, pattern, _, _, _ in rows)
        targets = max(width(target) for _, _, target, _, _ in rows)
        states = max(width(state) for _, _, _, state, _ in rows)
        beside = self.columns is None or lines + patterns + targets + states + 10 <= self.columns
        yield f"{self._title(shown, concerned, verbose=verbose)}:"
        for line, pattern, target, state, style in rows:
            number = self._styled(f"{line:>{lines}}", "gutter")
            said = self._styled(state, style) if style else state
            if beside:
                yield f"  {number}  {_padded(pattern, patterns)}  →  {_padded(target, targets)}  {said}"
                continue
            yield f"  {number}  {pattern}"
            second = f"  {' ' * lines}    → {target}"
            if width(second) + 2 + width(state) <= (self.columns or 0):
                yield f"{second}  {said}"
            else:
                yield second
                yield f"  {' ' * lines}      {said}"
        left = len(self.proof.rules) - len(shown)
        if left:
            yield f"  {' ' * lines}  ({left} more: -v lists all)"
        yield ""

    def _title(self, shown: Sequence[RuleUse], concerned: set[int | None], *, verbose: bool) -> str:
        title = (
            "rules" if verbose else "rules concerned" if concerned - {None} else "rules that do nothing here"
        )
        places = [self.report.deciding.places[use.rule] for use in shown]
        paths = {place.path for place in places if place is not None}
        return f"{title}, {' and '.join(sorted(map(printable, paths)))}" if paths else title

    def _rule(self, use: RuleUse) -> tuple[str, str, str, str, str | None]:
        rule, place = self.report.deciding.rules[use.rule], self.report.deciding.places[use.rule]
        pattern = "(cannot be read)" if rule.pattern is None else printable(rule.pattern)
        target = "(cannot be read)" if rule.target is None else printable(rule.target)
        if rule.merge is not None:
            target += f" [{rule.merge[0]} of {rule.merge[1]}]"
        line = str(place.span.line + 1) if place is not None else "-"
        if use.state == "live":
            return line, pattern, target, count(len(use.matches), "key"), None
        return line, pattern, target, printable(self._state(use)), "warning"

    def _state(self, use: RuleUse) -> str:
        if use.state == "shadowed":
            return f"shadowed by {self._lines(use.by)}"
        if use.state == "gated" and use.why:
            return f"gated: {use.why}"
        if use.state == "unknown":
            return use.why or "not tried"
        return use.state

    def _lines(self, rules: Sequence[int]) -> str:
        """The lines of rules, or their numbers where they are written nowhere."""
        places = [self.report.deciding.places[rule] for rule in rules]
        if all(place is not None for place in places):
            numbers = [str(place.span.line + 1) for place in places if place is not None]
            return f"{'line' if len(numbers) == 1 else 'lines'} {', '.join(numbers)}"
        return f"{'rule' if len(rules) == 1 else 'rules'} {', '.join(str(rule + 1) for rule in rules)}"

    # ------------------------------------------------------------------ faults

    def faults(self, *, verbose: bool) -> Iterator[str]:
        """Each fault with its place, two examples and what may mend it."""
        faults = [fault for fault in self.proof.faults if fault.kind != "layout"]
        shown = faults if verbose else faults[:_MOST_FAULTS]
        for fault in shown:
            examples = list(self._examples(fault))
            mends = [f"suspected fix: {fault.suspected}"] if fault.suspected != "unknown" else []
            code = self.report.code_of(fault)
            place = _at(self.report.place_of(fault))
            yield from self._fault(place, f"{code} {NAMES[code]}", fault.message, [*examples, *mends])
        if len(faults) > len(shown):
            yield f"{len(faults) - len(shown)} more faults: -v lists them"
            yield ""
        yield from self._layout(verbose=verbose)
        for read in (self.report.measured.checkpoint, self.report.measured.converted):
            for problem in read.problems if read is not None else ():
                place, rule = printable(str(problem.path)), "DIT706 checkpoint-unreadable"
                yield from self._fault(place, rule, problem.message, [f"next: {problem.next_step}"])

    def _layout(self, *, verbose: bool) -> Iterator[str]:
        """What the rows of the two checkpoints say."""
        converted = self.report.measured.converted
        if converted is None:
            return
        yield from self._not_loaded(printable(str(converted.path)), verbose=verbose)
        found = self.report.layout_findings
        shown = [f for f in found if verbose or f.severity is not Severity.INFORMATION]
        for finding in shown[: None if verbose else _MOST_FAULTS]:
            yield from self._fault(
                printable(str(converted.path)), f"{finding.code} {NAMES[finding.code]}", finding.message, ()
            )
        left = len(found) - len(shown[: None if verbose else _MOST_FAULTS])
        if left:
            yield f"{count(left, 'more finding')} about rows and dtypes: -v lists them"
            yield ""

    def _not_loaded(self, place: str, *, verbose: bool) -> Iterator[str]:
        """What of the converted checkpoint finds no place, as far as the mapping itself is no cause of it."""
        loading = self.report.loading
        if loading is None or self.proof.verdict == "broken":
            return
        own = renamed_natives(loading)
        lacking = [name for name in missing(loading) if name not in own]
        strangers = [name for name in unexpected(loading) if name not in own]
        shapes = [shape for fault in loading.faults for shape in fault.shapes]
        sent = {placement.tensor.name: _placed(placement) for placement in loading.placements}
        ways: tuple[tuple[str, list[str], str], ...] = (
            (
                "DIT702",
                [sent[name] for name in own],
                "the converted checkpoint has the port's own names for {}, and the mapping renames these",
            ),
            (
                "DIT701",
                [f"{name} {_shape(self.shapes.get(name))} ← nothing" for name in lacking],
                "the converted checkpoint lacks {} of the port",
            ),
            (
                "DIT702",
                [sent[name] for name in strangers],
                "the port has no place for {} of the converted checkpoint",
            ),
            (
                "DIT703",
                [self._misshapen(shape) for shape in shapes],
                "the converted checkpoint has another shape than the port for {}",
            ),
        )
        for code, examples, text in ways:
            if examples:
                left = len(examples) - _EXAMPLES if not verbose else 0
                more = [f"and {left} more"] if left > 0 else []
                rule, shown = f"{code} {NAMES[code]}", examples[: None if verbose else _EXAMPLES]
                told = f"{text.format(count(len(examples), 'tensor'))}: loading stops with an error"
                yield from self._fault(place, rule, told, [*shown, *more])

    def _fault(self, place: str, rule: str, message: str, more: Sequence[str]) -> Iterator[str]:
        code, _, name = rule.partition(" ")
        yield f"{self._styled(place, 'place')}  {self._styled(code, 'error')} {name}"
        text = printable(message.rstrip("."))
        yield from (f"    {line}" for line in _folded(f"{text}.", self.columns, 4))
        for line in more:
            yield from (f"      {part}" for part in self._parted(printable(line)))
        yield ""

    def _parted(self, line: str) -> tuple[str, ...]:
        """A line that is too long, before its arrow and from there on."""
        arrow = max(line.find(" → "), line.find(" ← "))
        if self.columns is None or arrow < 0 or width(line) + 6 <= self.columns:
            return (line,)
        return line[:arrow], f" {line[arrow:]}"

    def others(self, *, verbose: bool) -> Iterator[str]:
        """What the reverse and the LoRA mapping get wrong, name by name."""
        report = self.report
        lines: dict[str, list[str]] = {}
        if report.reverse is not None:
            back = report.reverse
            lines["not saved"] = list(numbered_once(back.lost))
            lines["saved under strange names"] = list(numbered_once(back.strange))
            lines["reverse patterns that lead elsewhere"] = [
                f"{wrong.native} → {wrong.made} (made from {', '.join(wrong.sources)})"
                for wrong in back.patterns
            ]
        if report.lora is not None:
            adapter = report.lora
            lost = numbered_once(layer.official for layer in adapter.lost)
            lines["official layers whose adapter leads to no layer of the port"] = list(lost)
            lines["layers that several adapters reach"] = [
                f"{native} ← {', '.join(official)}" for native, official in adapter.colliding
            ]
            lines[
                "official layers whose alpha is lost (no rule takes the bare name of the layer to its place)"
            ] = list(numbered_once(adapter.alphas))
        for title, names in lines.items():
            shown = names if verbose else names[:_MOST_FAULTS]
            if names:
                yield f"{title}:"
                yield from (f"    {printable(name)}" for name in shown)
                if len(names) > len(shown):
                    yield f"    ({len(names) - len(shown)} more: -v lists all)"
                yield ""

    def _examples(self, fault: Fault) -> Iterator[str]:
        if fault.shapes:
            yield from (self._misshapen(shape) for shape in fault.shapes[:_EXAMPLES])
            return
        placed = [self.targets[name] for name in fault.official if name in self.targets]
        for placement in placed[:_EXAMPLES]:
            yield _placed(placement)
        for native in fault.native[: max(_EXAMPLES - len(placed), 0) if placed else _EXAMPLES]:
            yield f"{native} {_shape(self.shapes.get(native))} ← nothing"

    def _misshapen(self, shape: ShapeFault) -> str:
        found = _shape(shape.found) if shape.found is not None else "no common shape"
        return f"{shape.native} {_shape(shape.expected)} ← {found} {' + '.join(shape.official)}"

    # ------------------------------------------------------------------ keys

    def keys(self) -> Iterator[str]:
        """Every official name and what becomes of it."""
        yield "keys:"
        for placement in self.proof.placements:
            excluded = " (left out by design)" if placement.excluded else ""
            verdict = "" if placement.verdict == "proven" else f"  {placement.verdict}: {placement.because}"
            yield f"  {printable(_placed(placement))}{excluded}{printable(verdict)}"
        yield ""

    # ------------------------------------------------------------------ what changes no verdict

    def remarks(self) -> Iterator[str]:
        """Exclusions, what cannot be told apart, notes, and the time."""
        proof, measured = self.proof, self.report.measured
        by_reason: dict[str, list[str]] = {}
        for name, reason in proof.exclusions:
            by_reason.setdefault(reason, []).append(name)
        for reason, excluded in by_reason.items():
            yield from self._labelled("left out", f"{_listed(excluded)}: {reason}")
        agreeing = [group.telling for group in proof.interchangeable if group.agree]
        if agreeing:
            words = _listed(["/".join(telling) for telling in dict.fromkeys(agreeing)])
            text = f"names and shapes alone cannot tell {words} apart; the names agree on both sides"
            yield from self._labelled("alike", text)
        for group in proof.interchangeable:
            if not group.agree:
                names = _listed(group.natives)
                text = f"{names}: their shapes are equal, and the names of their sources do not say which"
                yield from self._labelled("alike", text)
        if self.report.deciding.built:
            text = "the rules are those of the built class: its sources do not spell all of them out"
            yield from self._labelled("note", text)
        for note in (*measured.notes, *proof.notes):
            yield from self._labelled("note", note)
        for problem in measured.problems:
            text = f"{problem.side}, {problem.stage}: {problem.type}: {' '.join(problem.message.split())}"
            yield from self._labelled("problem", text)
        layout, read = self.report.layout, measured.checkpoint
        if layout is not None:
            text = f"{layout.bytes_read:,} of {layout.total_bytes:,} bytes of both checkpoints"
            if layout.bytes_read >= layout.total_bytes:  # so small that some were read again
                text = f"all {layout.total_bytes:,} bytes of both checkpoints"
            yield from self._labelled("read", text)
        elif read is not None and read.total_bytes:
            text = f"{read.bytes_read:,} of {read.total_bytes:,} bytes in {count(len(read.files), 'file')}"
            yield from self._labelled("read", text)
        yield from self._labelled("took", f"{self.report.seconds:.1f} s")

    # ------------------------------------------------------------------ words

    def _labelled(self, label: str, text: str, opening: tuple[str, str] = ("", "")) -> Iterator[str]:
        """A line with its label; `opening`: a word that begins it, styled and plain."""
        styled_word, plain = opening
        indent = " " * (2 + _LABEL)
        first, *others = _folded(printable(plain + text), self.columns, len(indent))
        yield f"  {self._styled(f'{label:<{_LABEL}}', 'gutter')}{styled_word}{first[len(plain) :]}"
        yield from (indent + line for line in others)

    def _styled(self, text: str, style: str) -> str:
        return styled(text, style, on=self.colour)


def _placed(placement: KeyPlacement) -> str:
    merge = f" [{placement.merge[0]} of {placement.merge[1]}]" if placement.merge is not None else ""
    return f"{placement.tensor.name} {_shape(placement.tensor.shape)} → {placement.target}{merge}"


def _shape(shape: Sequence[int] | None) -> str:
    return "[?]" if shape is None else f"[{', '.join(map(str, shape))}]"


def _listed(names: Iterable[str]) -> str:
    found = list(names)
    more = f" and {len(found) - _MOST_LISTED} more" if len(found) > _MOST_LISTED else ""
    return ", ".join(found[:_MOST_LISTED]) + more


def _at(place: Location) -> str:
    return f"{printable(place.path)}:{place.span.line + 1}"


def _folded(text: str, columns: int | None, used: int) -> list[str]:
    """The text in lines that leave `used` columns free."""
    if columns is None:
        return [text]
    room = max(columns - used, 40)
    return textwrap.wrap(text, room, break_long_words=False, break_on_hyphens=False) or [""]


def _padded(text: str, columns: int) -> str:
    return text + " " * (columns - width(text))
