"""The report of a trace as text: the verdict, the first line that computes something else with the official
line beside it, what the two do there, then the others shortly."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator, Sequence

from analyzers.findings import Location
from analyzers.numeric.records import Built, OutputReading
from analyzers.numeric.verdicts import Divergence, Hypothesis, NumericStatus, Spot
from lsp_server.checks.requests import Output
from lsp_server.checks.trace_result import DriftRow, TraceResult
from lsp_server.commands.report import MOST_COLUMNS, count
from lsp_server.commands.terminal import printable, styled, width
from lsp_server.payloads import LinesOf

STATUS_STYLES: dict[NumericStatus, str] = {
    "passed": "help",
    "failed": "error",
    "error": "error",
    "skipped": "warning",
    "cancelled": "warning",
}

_LABEL = 10
_MOST_LINES = 4
"""So many lines of one statement are shown."""

_MOST_LISTED = 6
"""So many names of a list are written without `verbose`."""

_BARS = "▁▂▃▄▅▆▇█"
_LEAST, _MOST = -8.0, 0.0  # log10 of the relative errors that the smallest and the tallest bar stand for
_SPARKS = 72  # columns
_TAB = "    "

_KINDS = {
    "inside": "differs inside",
    "between": "differs before",
    "layout": "another order in",
    "dtype": "loses accuracy in",
    "nonfinite": "first NaN or infinity in",
}


def trace_text(
    result: TraceResult,
    lines: LinesOf,
    *,
    colour: bool,
    columns: int | None,
    verbose: bool = False,
    quiet: bool = False,
) -> str:
    """The whole report, with a line end. `columns`: the terminal's width, None for a pipe.

    `verbose`: every divergence in full, all names, and the drift over the depth of the model. `quiet`: only
    the verdict and the divergences.
    """
    page = _Page(result, lines, colour, columns, verbose)
    out = [*page.head(quiet=quiet), *page.trouble(), *page.divergences()]
    if not quiet:
        out += page.drift() if verbose else ()
        out += page.remarks()
    return "".join(f"{line.rstrip()}\n" for line in out)


class _Page:
    """One report on one width."""

    def __init__(
        self, result: TraceResult, lines: LinesOf, colour: bool, columns: int | None, verbose: bool
    ) -> None:
        self.result = result
        self.lines = lines
        self.colour = colour
        self.columns = columns
        self.verbose = verbose

    # ------------------------------------------------------------------ the head

    def head(self, *, quiet: bool) -> Iterator[str]:
        """The port, what it was compared with, and the verdict."""
        result, compared = self.result, self.result.compared
        place = compared.port_place if compared is not None else result.place
        where = f"  {_at(place)}" if place is not None else ""
        yield f"{self._styled(printable(result.port), 'place')}{where}"
        if compared is not None and not quiet:
            yield from self._labelled("against", f"{compared.official} ({compared.official_because})")
            cases = f": {', '.join(compared.cases)}" if compared.cases else ""
            third = f", {compared.dtype} beside it" if compared.dtype is not None else ""
            yield from self._labelled(
                "inputs",
                self._inputs_of_tests()
                if result.check is not None
                else f"recipe {compared.recipe} ({compared.recipe_because}){cases}; float32 on "
                f"{compared.device}{third}, seed {compared.seed}",
            )
        status = self._styled(result.status, STATUS_STYLES[result.status])
        yield from self._labelled("verdict", f": {result.reason}", (status, result.status))
        if result.built is not None and (result.built.missing or result.built.unexpected):
            yield from self._labelled("loading", self._refused(result.built))
        if result.check is not None:
            for compared_output in result.check.outputs:
                yield from self._labelled("output", _compared_output(compared_output))
        else:
            for output in self._outputs():
                yield from self._labelled("output", self._output(output))
        if result.verdict is not None and not quiet:
            yield from self._labelled("traced", self._traced())

    def _inputs_of_tests(self) -> str:
        compared = self.result.compared
        assert compared is not None
        third = f", {compared.dtype} beside it" if compared.dtype is not None else ""
        return f"weights and inputs of {', '.join(compared.cases)}; float32 on {compared.device}{third}"

    def _refused(self, built: Built) -> str:
        parts = []
        if built.missing:
            parts.append(f"no official tensor fills {self._listed(built.missing)}")
        if built.unexpected:
            parts.append(f"the port has no place for {self._listed(built.unexpected)}")
        return (
            f"{'; '.join(parts)}: a strict load refuses that, and the rest was loaded for this comparison. "
            f"`ditproof weights {self.result.port}` proves the mapping"
        )

    def _outputs(self) -> Iterator[OutputReading]:
        """Each output once, of the plainest case; the notes name the other cases in which it differs."""
        known: set[str] = set()
        for output in self.result.verdict.outputs if self.result.verdict is not None else ():
            if self.verbose or output.native not in known:
                yield output
            known.add(output.native)

    def _output(self, output: OutputReading) -> str:
        name = output.native or "the output"
        if output.rel_l2 is None or output.max_abs is None:
            official, native = output.shapes
            return f"{name}: cannot be compared, {_shape(native)} against {_shape(official)}"
        if output.max_abs == 0:
            return f"{name}: equal in every bit"
        said = "agrees to rounding" if self.result.agrees(output) else "differs"
        return f"{name}: {said}, relative error {_short(output.rel_l2)} (at most {_short(output.max_abs)})"

    def _traced(self) -> str:
        verdict = self.result.verdict
        assert verdict is not None
        text = f"{count(verdict.taps, 'value')} looked at, {count(verdict.aligned, 'place')} aligned"
        if verdict.unaligned:
            text += f"; {count(len(verdict.unaligned), 'module')} without a counterpart"
        if verdict.not_fired:
            text += f"; {count(len(verdict.not_fired), 'aligned module')} called around the hooks"
        return text

    def trouble(self) -> Iterator[str]:
        """What kept the trace from being had, with the line where it happened."""
        result = self.result
        if result.verdict is None and result.place is not None and result.status == "error":
            yield ""
            yield f"{self._styled(_at(result.place), 'place')}"
            span = result.place.span
            yield from self._excerpt(Spot("", result.place.path, span.line, span.line), "error")
        if result.next_step:
            yield from self._labelled("next", result.next_step)

    # ------------------------------------------------------------------ divergences

    def divergences(self) -> Iterator[str]:
        """The first in full, the others shortly."""
        found = self.result.divergences
        for number, divergence in enumerate(found):
            yield ""
            if number == 0 or self.verbose:
                yield from self._full(divergence)
            else:
                yield from self._opening(divergence)
                yield from self._excerpt(divergence.native, "error")
        if len(found) > 1 and not self.verbose:
            yield ""
            yield from self._labelled(
                "more", "-v shows the others as the first, and the drift over the depth"
            )

    def _full(self, found: Divergence) -> Iterator[str]:
        yield from self._opening(found)
        yield from self._excerpt(found.native, "error")
        official = found.official
        if official.path is not None and official.line is not None:
            arrow = self._styled("=", "gutter")
            at = f"{printable(official.path)}:{official.line + 1}"
            yield f"  {arrow} official: {self._styled(at, 'place')}"
            yield from self._excerpt(official, "help")
        yield from self._operation(found)
        if found.error is not None:
            yield from self._labelled("error", _against_floor(found))
        if found.after:
            names = self._listed(found.after)
            yield from self._labelled("after", f"{names}, which agree{'s' if len(found.after) == 1 else ''}")
        if found.hypothesis is not None:
            yield from self._labelled("cause", f"{found.hypothesis.message} It was tried in a run.")
            yield from self._edit(found.hypothesis)
        if found.also or found.calls > 1:
            yield from self._labelled("also", self._also(found))

    def _edit(self, hypothesis: Hypothesis) -> Iterator[str]:
        if hypothesis.edit is None:
            return
        arguments = hypothesis.edit[1]
        line = arguments["line"]
        assert isinstance(line, int)
        at = f"{printable(str(arguments['path']))}:{line + 1}"
        yield f"  {self._styled('=', 'gutter')} would be mended by: {self._styled(at, 'place')}"
        for sign, name, style in (("-", "old", "error"), ("+", "new", "help")):
            for text in str(arguments[name]).split("\n"):
                yield self._styled(f"      {sign} {printable(text)}", style)

    def _opening(self, found: Divergence) -> Iterator[str]:
        spot = found.native
        at = _at_spot(spot) or "no line is known"
        module = spot.module or "the model's own forward"
        kind = self._styled(_KINDS[found.kind], "error")
        yield f"{self._styled(at, 'place')}: {kind} {printable(module)}"
        yield from ("    " + line for line in _folded(printable(found.message), self.columns, 4))

    def _operation(self, found: Divergence) -> Iterator[str]:
        mismatch = found.mismatch
        if mismatch is None:
            return
        texts = [
            f"port      {printable(mismatch.native)}" if mismatch.native is not None else "port      nothing",
            f"official  {printable(mismatch.official)}"
            if mismatch.official is not None
            else "official  nothing",
        ]
        yield from self._labelled(mismatch.what, texts[0])
        yield from (" " * (2 + _LABEL) + line for line in _folded(texts[1], self.columns, 2 + _LABEL))

    def _also(self, found: Divergence) -> str:
        places = [at for at in (_at_spot(spot) for spot in found.also) if at is not None]
        modules = [spot.module for spot in found.also if spot.module]
        parts = []
        if found.calls > 1:
            parts.append(f"at {count(found.calls, 'aligned place')}")
        if modules:
            parts.append(f"in {self._listed(modules)}")
        own = _at_spot(found.native)
        elsewhere = [at for at in dict.fromkeys(places) if at != own]
        if elsewhere:
            parts.append(self._listed(elsewhere))
        return "; ".join(parts)

    def _excerpt(self, spot: Spot, style: str) -> Iterator[str]:
        """The statement, marked where it is one line."""
        if spot.path is None or spot.line is None:
            return
        index = self.lines(spot.path)
        last = spot.line if spot.end_line is None else max(spot.end_line, spot.line)
        shown = range(spot.line, min(last, spot.line + _MOST_LINES - 1) + 1)
        texts = [index.line(number).rstrip().replace("\t", _TAB) for number in shown]
        if not texts[0].strip():
            return
        margin = min(len(text) - len(text.lstrip()) for text in texts if text.strip())
        margin = max(margin - 4, 0)
        digits = len(str(shown[-1] + 1))
        bar = self._styled("|", "gutter")
        yield f"  {' ' * digits} {bar}"
        for number, text in zip(shown, texts, strict=True):
            label = self._styled(f"{number + 1:>{digits}}", "gutter")
            yield f"  {label} {bar} {_clipped(printable(text[margin:]))}"
        if len(texts) == 1:
            text = printable(texts[0][margin:])
            indent = len(text) - len(text.lstrip())
            marks = "^" * max(min(width(text.strip()), MOST_COLUMNS - indent), 1)
            yield f"  {' ' * digits} {bar} {' ' * indent}{self._styled(marks, style)}"
        elif last > shown[-1]:
            yield f"  {' ' * digits} {bar} {self._styled('    ...', 'code')}"

    # ------------------------------------------------------------------ drift

    def drift(self) -> Iterator[str]:
        """How the error grows over the depth, and what each aligned place adds to it."""
        rows = [row for row in self.result.drift if row.pair.native.end == "out"]
        if not rows:
            return
        yield ""
        yield from self._labelled("drift", f"{_sparkline([row.free.error for row in rows])}  free run")
        yield from self._labelled("", f"{_sparkline([row.own.error for row in rows])}  each by itself")
        yield from self._labelled("", f"a bar is a power of ten from 1e-08 to 1; {_NONE} is 0")
        names = max(width(_named(row)) for row in rows)
        yield ""
        title = f"  {'PORT':<{names}}  {'FREE RUN':>9}  {'BY ITSELF':>9}  {'FLOOR':>9}"
        yield self._styled(title, "place")
        for row in rows:
            figures = (row.free.error, row.own.error, row.own.floor)
            cells = "  ".join(f"{_cell(figure):>9}" for figure in figures)
            layout = f"  {row.own.layout}" if row.own.layout is not None else ""
            missing = f"  {row.own.status}" if row.own.status in ("absent", "incomparable") else ""
            name = _named(row)
            padding = " " * (names - width(name))
            yield f"  {printable(name)}{padding}  {cells}{printable(layout)}{missing}"

    # ------------------------------------------------------------------ remarks

    def remarks(self) -> Iterator[str]:
        """What changes no verdict, and is worth saying."""
        result, verdict = self.result, self.result.verdict
        yield ""
        if verdict is not None:
            for layout in verdict.layouts if self.verbose else verdict.layouts[:_MOST_LISTED]:
                yield from self._labelled("layout", layout)
            if len(verdict.layouts) > _MOST_LISTED and not self.verbose:
                yield from self._labelled("", f"and {len(verdict.layouts) - _MOST_LISTED} more: -v lists all")
            for side, title in (("native", "the port's"), ("official", "official")):
                names = [name or "the model" for of, name in verdict.unaligned if of == side]
                if names:
                    yield from self._labelled("unaligned", f"{title} {self._listed(names)}")
            if verdict.not_fired:
                text = f"{self._listed(verdict.not_fired)}: called around the hooks (`.forward` directly)"
                yield from self._labelled("not fired", text)
        if result.compared is not None:
            dropped = [f"{name} ({text})" for name, text in result.compared.dropped]
            if dropped:
                yield from self._labelled("dropped", self._listed(dropped))
        for note in (*(verdict.notes if verdict is not None else ()), *result.notes):
            yield from self._labelled("note", note)
        parts = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in result.parts.items())
        yield from self._labelled("took", f"{result.seconds:.1f} s{f' ({parts})' if parts else ''}")

    # ------------------------------------------------------------------ lines

    def _listed(self, names: Sequence[str]) -> str:
        """Names of numbered blocks, each once; all of them with `verbose`."""
        found = list(dict.fromkeys(names))
        if self.verbose or len(found) <= _MOST_LISTED:
            return ", ".join(found)
        return f"{', '.join(found[:_MOST_LISTED])} and {len(found) - _MOST_LISTED} more"

    def _labelled(self, label: str, text: str, opening: tuple[str, str] = ("", "")) -> Iterator[str]:
        """A line with its label; `opening`: a word that begins it, styled and plain."""
        styled_word, plain = opening
        indent = " " * (2 + _LABEL)
        first, *others = _folded(printable(plain + text), self.columns, len(indent))
        yield f"  {self._styled(f'{label:<{_LABEL}}', 'gutter')}{styled_word}{first[len(plain) :]}"
        yield from (indent + line for line in others)

    def _styled(self, text: str, style: str) -> str:
        return styled(text, style, on=self.colour)


# --------------------------------------------------------------------------- numbers


_NONE = "·"
_NOT_FINITE = "!"


def _compared_output(output: Output) -> str:
    """A comparison of the test, with the test's own tolerance."""
    numbers = (output.max_abs, output.rel_l2, output.tolerance)
    largest, relative, allowed = ("?" if number is None else _short(number) for number in numbers)
    said = "agrees for the test" if output.passed else "drifts"
    return f"{output.name}: {said}, at most {largest}, relative error {relative} (atol {allowed})"


def _against_floor(found: Divergence) -> str:
    """The error as a multiple of what rounding does here."""
    assert found.error is not None
    text = f"{_short(found.error)} (relative L2 norm)"
    if found.kind == "dtype":
        return (
            f"{text} against float32{f'; the official model: {_short(found.floor)}' if found.floor else ''}"
        )
    if found.floor is None:
        return f"{text}; what rounding alone does here was not measured"
    if found.floor == 0:
        return f"{text}; rounding does nothing here"
    times = found.error / found.floor
    factor = f"{times:.1e}" if times >= 1e4 else f"{times:.0f}" if times >= 10 else f"{times:.1f}"
    return f"{text}, {factor} times what rounding does here ({_short(found.floor)})"


def _short(number: float) -> str:
    return f"{number:.2g}" if math.isfinite(number) else str(number)


def _cell(number: float | None) -> str:
    return "-" if number is None else "0" if number == 0 else f"{number:.1e}"


def _sparkline(errors: Sequence[float | None]) -> str:
    """The errors on a log scale, one column each; where there are too many, the largest of each stretch."""
    step = max(1, math.ceil(len(errors) / _SPARKS))
    return "".join(_bar(errors[start : start + step]) for start in range(0, len(errors), step))


def _bar(errors: Sequence[float | None]) -> str:
    known = [error for error in errors if error is not None]
    if not known:
        return " "
    if not all(map(math.isfinite, known)):
        return _NOT_FINITE
    largest = max(known)
    if largest <= 0:
        return _NONE
    share = (math.log10(largest) - _LEAST) / (_MOST - _LEAST)
    return _BARS[min(max(int(share * len(_BARS)), 0), len(_BARS) - 1)]


# --------------------------------------------------------------------------- texts


def _named(row: DriftRow) -> str:
    address = row.pair.native
    call = f" #{address.index + 1}" if address.index else ""
    label = f" {address.label}" if address.label != "out" else ""
    return f"{address.module or '(the model)'}{call}{label}"


def _at(place: Location) -> str:
    return f"{printable(place.path)}:{place.span.line + 1}"


def _at_spot(spot: Spot) -> str | None:
    if spot.path is None:
        return None
    return printable(spot.path) + (f":{spot.line + 1}" if spot.line is not None else "")


def _shape(shape: Sequence[int]) -> str:
    return f"[{', '.join(map(str, shape))}]"


def _clipped(text: str) -> str:
    return text if width(text) <= MOST_COLUMNS else text[: MOST_COLUMNS - 1] + "…"


def _folded(text: str, columns: int | None, used: int) -> list[str]:
    """The text in lines that leave `used` columns free."""
    if columns is None:
        return [text]
    room = max(columns - used, 30)
    return textwrap.wrap(text, room, break_long_words=False, break_on_hyphens=False) or [""]
