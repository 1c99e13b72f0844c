"""How much looser a tolerance is than what a run needed: DIT808 with the measured margin, and its fix.

Speaks only of a run that passed, and of a tolerance that is written down as a number: at the comparison, or
as a constant of the module that no other code reads. A comparison that ran several times counts with its
worst need, a constant with the worst of every comparison that takes it.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from analyzers.findings import Applicability, Finding, Fix, Location, Severity, Span
from lsp_server.checks.requests import CheckResult, Comparison

LOOSE = 10.0
"""A tolerance so many times what was needed is told."""
ROOM = 3.0
"""What a tightened tolerance leaves above the need: other machines and kernels round otherwise."""
FLOORS = {"float64": 1e-10, "float32": 1e-6, "bfloat16": 1e-2, "float16": 1e-3}
"""The tightest tolerance that is proposed, by the coarser dtype of the two sides: a few of its roundings."""

_CODE, _NAME = "DIT808", "tolerance-loose"


@dataclass(frozen=True)
class _Written:
    """A tolerance as a number in the text: where, and its value."""

    span: Span
    value: float


def margins(result: CheckResult, texts: Mapping[str, str]) -> list[Finding]:
    """One finding for each number that is far looser than the run needed. `texts`: of the tests' files."""
    if result.status != "passed":
        return []
    measured: dict[tuple[str, _Written], list[Comparison]] = {}
    for path, comparisons in _by_file(result.comparisons).items():
        module = _parsed(texts.get(path))
        if module is not None:
            for written, those in _written(module, comparisons):
                measured.setdefault((path, written), []).extend(those)
    found = (_finding(result, path, w, those, texts[path]) for (path, w), those in measured.items())
    return sorted((f for f in found if f is not None), key=lambda finding: finding.sort_key)


def tightened(need: float, floor: float) -> float:
    """The need with room, rounded up to 1, 2 or 5 times a power of ten, and no less than the floor."""
    wanted = max(need * ROOM, floor)
    power = 10.0 ** math.floor(math.log10(wanted))
    step = next(step for step in (1, 2, 5, 10) if step * power >= wanted * (1 - 1e-9))
    return float(f"{step * power:.0e}")


def _by_file(comparisons: Iterable[Comparison]) -> dict[str, list[Comparison]]:
    found: dict[str, list[Comparison]] = {}
    for comparison in comparisons:
        if comparison.location is not None:
            found.setdefault(comparison.location.path, []).append(comparison)
    return found


def _parsed(text: str | None) -> ast.Module | None:
    try:
        return ast.parse(text) if text is not None else None
    except SyntaxError:
        return None


def _written(
    module: ast.Module, comparisons: list[Comparison]
) -> Iterator[tuple[_Written, list[Comparison]]]:
    """The numbers that these comparisons take as `atol`, each with all that take it."""
    at: dict[tuple[int, int], list[Comparison]] = {}
    for comparison in comparisons:
        assert comparison.location is not None
        span = comparison.location.span
        at.setdefault((span.line + 1, span.column), []).append(comparison)
    by_name: dict[str, list[Comparison]] = {}
    for call in ast.walk(module):
        if not isinstance(call, ast.Call) or (call.lineno, call.col_offset) not in at:
            continue
        those = at[call.lineno, call.col_offset]
        given = next((keyword.value for keyword in call.keywords if keyword.arg == "atol"), None)
        if isinstance(given, ast.Constant) and (number := _number(given)) is not None:
            yield number, those
        elif isinstance(given, ast.Name):
            by_name.setdefault(given.id, []).extend(those)
    for name, those in by_name.items():
        constant = _constant(module, name, set(at))
        if constant is not None:
            yield constant, those


def _constant(module: ast.Module, name: str, measured: set[tuple[int, int]]) -> _Written | None:
    """The number of a module's constant; None where it is set twice, or read by anything that this run did
    not measure."""
    stores = [n for n in ast.walk(module) if isinstance(n, ast.Name) and n.id == name and _stores(n)]
    values = [
        statement.value
        for statement in module.body
        if isinstance(statement, ast.Assign)
        and len(statement.targets) == 1
        and isinstance(statement.targets[0], ast.Name)
        and statement.targets[0].id == name
    ]
    if len(stores) != 1 or len(values) != 1:
        return None
    reads = sum(isinstance(n, ast.Name) and n.id == name and not _stores(n) for n in ast.walk(module))
    taken = sum(
        isinstance(keyword.value, ast.Name) and keyword.value.id == name and keyword.arg == "atol"
        for call in ast.walk(module)
        if isinstance(call, ast.Call) and (call.lineno, call.col_offset) in measured
        for keyword in call.keywords
    )
    return _number(values[0]) if reads == taken else None


def _stores(name: ast.Name) -> bool:
    return not isinstance(name.ctx, ast.Load)


def _number(node: ast.expr) -> _Written | None:
    """A literal on one line."""
    if not isinstance(node, ast.Constant) or isinstance(node.value, bool):
        return None
    if not isinstance(node.value, (int, float)) or node.end_lineno != node.lineno:
        return None
    line = node.lineno - 1
    return _Written(Span(line, node.col_offset, line, node.end_col_offset or 0), float(node.value))


def _finding(
    result: CheckResult, path: str, written: _Written, comparisons: list[Comparison], text: str
) -> Finding | None:
    needs = [c.output.needed_tolerance for c in comparisons if c.output.passed and c.elements]
    if not needs or len(needs) < len(comparisons) or any(need is None for need in needs):
        return None
    need = max(need for need in needs if need is not None)
    wanted = tightened(need, max(_floor(comparison) for comparison in comparisons))
    if wanted * LOOSE > written.value:
        return None
    needed = f"{need:.3g} ({written.value / need:.3g} times less)" if need else "none"
    more = f", the worst of {len(comparisons)} comparisons" if len(comparisons) > 1 else ""
    lines = text.split("\n")
    old = lines[written.span.line]
    columns = (written.span.column, written.span.end_column)
    begin, end = (len(old.encode()[:column].decode()) for column in columns)
    return Finding(
        _CODE,
        _NAME,
        Severity.INFORMATION,
        Location(path, written.span),
        f"A difference of {written.value:g} is allowed and this run needed {needed}{more}: an error of that "
        f"size would stay unnoticed. {wanted:g} leaves room for other kernels.",
        symbol=result.port,
        port=result.port,
        fix=Fix(
            f"Tighten the tolerance to {wanted:g}, as measured",
            "replace-lines",
            {
                "path": path,
                "line": written.span.line,
                "old": old,
                "new": f"{old[:begin]}{wanted:g}{old[end:]}",
            },
            Applicability.UNSAFE,
        ),
    )


def _floor(comparison: Comparison) -> float:
    dtypes = (comparison.dtype_actual, comparison.dtype_expected)
    return max(FLOORS.get(dtype or "", FLOORS["float32"]) for dtype in dtypes)
