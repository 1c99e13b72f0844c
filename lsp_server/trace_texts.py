"""What an editor shows of a trace: a lens, and what a hover tells of the port and of a line that differs.

Pure: results in, texts out. Nothing here says more than the verdict does; what it does not know is said.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

from analyzers.numeric.records import Reading
from analyzers.numeric.verdicts import Divergence, NumericVerdict, Spot
from lsp_server.checks.trace_result import TraceResult

Link = Callable[[Spot], "str | None"]
"""The address of a place; None where it has no line."""

_MOST_NAMES = 3


# ---------------------------------------------------------------------- the lens


def summary(result: TraceResult) -> str:
    """The verdict in one line, as a lens shows it."""
    verdict = result.verdict
    if verdict is None or result.status not in ("passed", "failed"):
        return f"not traced: {_first_line(result.reason)}"
    if verdict.divergences:
        return _differs(verdict)
    if result.status == "failed":
        return f"differs from {_official(result)}: {_first_line(result.reason)}"
    return f"agrees with {_official(result)} in fp32 ({measured(verdict)})"


def _differs(verdict: NumericVerdict) -> str:
    meaning = [found for found in verdict.divergences if found.kind != "dtype"]
    first = (meaning or verdict.divergences)[0]
    others = len(verdict.divergences) - 1
    more = f" and at {others} more place{'' if others == 1 else 's'}" if others else ""
    if not meaning:
        return f"agrees in fp32, loses accuracy in a lower dtype at {module_of(first)}{more}"
    silent = "" if verdict.reaches_outputs else " (the outputs agree)"
    return f"differs at {module_of(first)}{more}{silent}"


def measured(verdict: NumericVerdict) -> str:
    """How many places were compared, and the largest error that was measured at one."""
    taps = f"{verdict.aligned} tap{'' if verdict.aligned == 1 else 's'}"
    errors = [own.error for _, own in verdict.drift if own.error is not None and math.isfinite(own.error)]
    if not errors:
        return taps
    largest = max(errors)
    return f"{taps}, all exact" if largest == 0 else f"{taps}, max error {number(largest)}"


def module_of(divergence: Divergence) -> str:
    """The place in the port that a divergence is about, as a person names it."""
    return divergence.native.module or divergence.pair.native.module or "the model itself"


# ---------------------------------------------------------------------- hovers


def card_of_result(result: TraceResult) -> str:
    """What a trace came to, for the hover of the port's class, as Markdown."""
    lines = [f"**Trace** {_sentence(summary(result))}"]
    if result.next_step:
        lines.append(_sentence(result.next_step))
    verdict, compared = result.verdict, result.compared
    facts: list[str] = []
    if verdict is not None:
        for output in verdict.outputs[:_MOST_NAMES]:
            error = "incomparable" if output.max_abs is None else f"max error {number(output.max_abs)}"
            facts.append(f"Output `{output.native}`: {error}")
        if verdict.unaligned:
            facts.append(f"{_many(len(verdict.unaligned), 'module')} without a counterpart: not compared")
        if verdict.not_fired:
            facts.append(f"{_many(len(verdict.not_fired), 'module')} called around the hooks: not compared")
    if compared is not None:
        cases = ", ".join(compared.cases) or "none ran"
        facts.append(
            f"Small models, random weights, seed {compared.seed}, {compared.device}; recipe "
            f"`{compared.recipe}`, cases: {cases}"
        )
    parts = ["  \n".join(lines), "\n".join(f"- {fact}" for fact in facts)]
    return "\n\n".join(part for part in parts if part)


def card_of_divergence(result: TraceResult, divergence: Divergence, link: Link) -> str:
    """The numbers of both sides at a line that differs, as Markdown."""
    head = f"`{module_of(divergence)}` **{_KINDS[divergence.kind]}** `{_official(result)}`"
    parts = [head, " ".join(_explained(divergence)), _table(result, divergence, link)]
    return "\n\n".join(part for part in parts if part)


_KINDS = {
    "inside": "computes something else than",
    "between": "gets another input than in",
    "layout": "holds its values in another order than",
    "dtype": "loses more accuracy than",
    "nonfinite": "has the first NaN or infinity, and not",
}


def _table(result: TraceResult, divergence: Divergence, link: Link) -> str:
    rows = [("", "port", "official")]
    mismatch = divergence.mismatch
    if mismatch is not None:
        rows.append(("operation", _code(mismatch.native), _code(mismatch.official)))
    native = mismatch.native_spot if mismatch is not None else None
    official = mismatch.official_spot if mismatch is not None else None
    rows.append(
        ("line", _placed(native or divergence.native, link), _placed(official or divergence.official, link))
    )
    rows.append(("module", f"`{divergence.native.module}`", f"`{divergence.official.module}`"))
    reading = _reading(result, divergence)
    if reading is not None:
        rows.append(("value", _value(reading, 1), _value(reading, 0)))
    head, *body = (f"| {' | '.join(row)} |" for row in rows)
    return "\n".join([head, "|---|---|---|", *body])


def _value(reading: Reading, side: int) -> str:
    bad = f", {reading.nonfinite[side]} not finite" if reading.nonfinite[side] else ""
    return f"{reading.dtypes[side]} {list(reading.shapes[side])}{bad}"


def _reading(result: TraceResult, divergence: Divergence) -> Reading | None:
    """What the lockstep run measured there."""
    rows = (row.own for row in result.drift if row.pair.number == divergence.pair.number)
    return next(rows, None)


def _explained(divergence: Divergence) -> Iterator[str]:
    said = []
    if divergence.error is not None:
        said.append(f"Error {number(divergence.error)} of the official norm")
    if divergence.floor is not None:
        times = _times(divergence)
        said.append(f"rounding alone makes {number(divergence.floor)}{times}")
    if said:
        yield f"{', '.join(said)}."
    if divergence.reaches_outputs is not None:
        size = f" ({number(divergence.output_error)})" if divergence.output_error is not None else ""
        yield (
            f"It reaches the outputs{size}."
            if divergence.reaches_outputs
            else "It does not reach the outputs beyond rounding."
        )
    if divergence.after:
        names = ", ".join(f"`{name}`" for name in divergence.after[:_MOST_NAMES])
        rest = len(divergence.after) - _MOST_NAMES
        yield f"It is computed from {names}{f' and {rest} more' if rest > 0 else ''}, which agree."
    if divergence.calls > 1:
        yield f"The same cause shows at {divergence.calls} places."
    if divergence.hypothesis is not None:
        yield _sentence(divergence.hypothesis.message)


def _times(divergence: Divergence) -> str:
    if not divergence.floor or divergence.error is None or not math.isfinite(divergence.error):
        return ""
    return f": {divergence.error / divergence.floor:.3g} times as much"


def _placed(spot: Spot, link: Link) -> str:
    if spot.path is None:
        return "unknown"
    name = spot.path.rpartition("/")[2]
    if spot.line is None:
        return f"`{name}`"
    told, address = f"{name}:{spot.line + 1}", link(spot)
    return f"[{told}]({address})" if address is not None else f"`{told}`"


def _code(text: str | None) -> str:
    """Code in a cell of a table."""
    return f"`{text.replace('|', chr(92) + '|')}`" if text is not None else "none"


# ---------------------------------------------------------------------- words


def number(value: float) -> str:
    """As the command line writes it."""
    return "0" if value == 0 else f"{value:.1e}"


def _official(result: TraceResult) -> str:
    return result.compared.official if result.compared is not None else "the official model"


def _first_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[0].rstrip(".") if lines else "no reason is known"


def _many(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def _sentence(text: str) -> str:
    return text if text.endswith((".", "!", "?")) else f"{text}."
