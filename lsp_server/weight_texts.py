"""What an editor shows of a proof of the weights: a lens, a hint at each rule, and what a hover tells.

Pure: proofs in, texts out. Nothing here says more than the proof does; what it does not know is said.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from dataclasses import dataclass

from analyzers.weights.state import PortState, Tensor
from analyzers.weights.verdicts import Fault, RuleUse, WeightProof
from lsp_server.name_ranges import compressed

MOST_ROWS = 8
"""Kinds of keys that a hover lists."""

MOST_FAULTS = 4

LineOf = Callable[[int], str]
"""Where a rule of the same mapping stands: `line 41`."""


# ---------------------------------------------------------------------- the lens


def summary(proof: WeightProof, state: PortState) -> str:
    """The verdict in one line, as a lens shows it."""
    against = state.official.source if state.official is not None else "the official names"
    total = len(proof.placements)
    if proof.verdict == "proven":
        placed = sum(1 for placement in proof.placements if not placement.excluded)
        left = f", {total - placed} left out by the loader" if placed < total else ""
        return f"{placed} of {total} keys proven against {against}{left}"
    if proof.verdict == "broken":
        return f"weights broken: {', '.join(_broken(proof))} (against {against})"
    return f"weights unknown: {proof.because}"


def _broken(proof: WeightProof) -> Iterator[str]:
    """What is broken, each tensor once."""
    homeless = {name for fault in _of(proof, "unexpected") for name in fault.official}
    empty = {name for fault in _of(proof, "missing", "unexpected") for name in fault.native}
    shapes = {shape.native for fault in _of(proof, "shape") for shape in fault.shapes}
    if homeless:
        yield f"{_many(len(homeless), 'key')} {_have(homeless)} no place"
    if empty:
        yield f"{_many(len(empty), 'parameter')} {_stay(empty)} empty"
    if shapes:
        yield f"{_many(len(shapes), 'parameter')} {_get(shapes)} another shape"
    for kind, one, several in (
        ("collision", "parameter is filled twice", "parameters are filled twice"),
        ("merge", "merge is wrong", "merges are wrong"),
        ("dtype", "parameter gets another dtype", "parameters get another dtype"),
    ):
        names = {name for fault in _of(proof, kind) for name in (fault.native or fault.official)}
        if names:
            yield f"{len(names)} {one if len(names) == 1 else several}"


def _of(proof: WeightProof, *kinds: str) -> Iterator[Fault]:
    return (fault for fault in proof.faults if fault.kind in kinds)


# ---------------------------------------------------------------------- the hint


def label(use: RuleUse, wrong: Container[str], state: PortState, line_of: LineOf) -> str:
    """What one rule does, in a word or two. `wrong`: the keys that do not come out right (`Survey.wrong`)."""
    if use.state == "shadowed":
        return f"shadowed by {line_of(use.by[0])}" if use.by else "shadowed"
    if use.state == "gated":
        fields = dict.fromkeys(gate.field for gate in state.gated)
        named = [name for name in fields if re.search(rf"(?<!\w){re.escape(name)}(?!\w)", use.why)]
        return f"gated by {', '.join(named)}" if named else "gated"
    if use.state == "dead":
        return "dead"
    if use.state == "unknown":
        return "not tried"
    lost = sum(name in wrong for name in use.matches)
    taken = f"→ {_many(len(use.matches), 'key')}"
    return f"{taken}, {lost if lost < len(use.matches) else 'all'} wrong" if lost else taken


# ---------------------------------------------------------------------- the hover


def card_of_use(
    proof: WeightProof, state: PortState, use: RuleUse, line_of: LineOf, *, faults: bool = True
) -> str:
    """Which keys a rule takes and where they go, as Markdown; with `faults` also what is wrong with it."""
    parts = [_headline(proof, state, use)]
    rows = list(_rows(proof, state, use))
    if rows:
        parts.append("```text\n" + "\n".join(_listed(rows)) + "\n```")
    parts += _explained(use, line_of)
    if faults:
        parts += _faults(proof, use)
    return "\n\n".join(parts)


def _headline(proof: WeightProof, state: PortState, use: RuleUse) -> str:
    against = f" of `{state.official.source}`" if state.official is not None else ""
    if use.matches:
        return f"**{len(use.matches)} of {_many(len(proof.placements), 'key')}**{against}"
    what = {"shadowed": "Shadowed", "gated": "Gated", "dead": "Dead", "unknown": "Not tried"}
    all_keys = _many(len(proof.placements), "key")
    return f"**{what.get(use.state, 'No key')}**: it takes none of {all_keys}{against}"


def _explained(use: RuleUse, line_of: LineOf) -> Iterator[str]:
    """Why a rule takes nothing."""
    if use.state == "shadowed":
        by = ", ".join(line_of(rule) for rule in use.by) or "an earlier rule"
        yield f"{_many(use.reaches, 'key')} would match, and {by} {_take(use.by)} them first."
    if use.why:
        yield _sentence(use.why)


def _faults(proof: WeightProof, use: RuleUse) -> Iterator[str]:
    faults = [fault for fault in proof.faults if use.rule in (fault.rule, fault.other)]
    for fault in faults[:MOST_FAULTS]:
        yield f"⚠ {_sentence(fault.message)}"
    if len(faults) > MOST_FAULTS:
        yield f"… and {_many(len(faults) - MOST_FAULTS, 'more fault')}."


@dataclass(frozen=True)
class _Row:
    """A key and its target as a reader sees them; `mark` tells what is wrong."""

    source: str
    target: str
    source_shape: str
    target_shape: str
    merge: str
    mark: str


def _rows(proof: WeightProof, state: PortState, use: RuleUse) -> Iterator[_Row]:
    taken = frozenset(use.matches)
    placed = {p.tensor.name: p for p in proof.placements if p.tensor.name in taken}
    native = state.native.by_name if state.native is not None else {}
    for name in use.matches:
        placement = placed.get(name)
        if placement is None:
            continue
        target = native.get(placement.target)
        nowhere = state.native is not None and target is None and not placement.excluded
        yield _Row(
            source=name,
            target=placement.target,
            source_shape=_shape(placement.tensor),
            target_shape=_shape(target),
            merge=f"part {placement.merge[0] + 1} of {placement.merge[1]}" if placement.merge else "",
            mark="no such parameter" if nowhere else "wrong" if placement.verdict == "broken" else "",
        )


def _listed(rows: Sequence[_Row]) -> Iterator[str]:
    """Two lines for each kind of row: the keys, and below them where they go."""
    kinds: dict[tuple[str, str, str, str], list[_Row]] = {}
    for row in rows:
        kinds.setdefault((row.source_shape, row.target_shape, row.merge, row.mark), []).append(row)
    lines = [
        (found.names, found.count, kind)
        for kind, same in kinds.items()
        for found in compressed((row.source, row.target) for row in same)
    ]
    for (source, target), count, (source_shape, target_shape, merge, mark) in lines[:MOST_ROWS]:
        times = f"  ×{count}" if count > 1 else ""
        yield _joined(source, source_shape) + times
        yield "  → " + _joined(target, target_shape, merge and f"({merge})", mark and f"⚠ {mark}")
    rest = sum(count for _, count, _ in lines[MOST_ROWS:])
    if rest:
        yield f"… and {_many(rest, 'more key')}"


def _shape(tensor: Tensor | None) -> str:
    return str(list(tensor.shape)) if tensor is not None and tensor.shape is not None else ""


def _joined(*parts: str) -> str:
    return "  ".join(part for part in parts if part)


# ---------------------------------------------------------------------- names of a port


def uncovered(state: PortState) -> str:
    """Why there is no proof although something was measured."""
    if state.native is None:
        return "the port could not be built"
    if state.official is None:
        return "no official counterpart is known"
    return "the rules of the mapping cannot be read"


def _many(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def _have(names: Iterable[str]) -> str:
    return _verb(names, "has", "have")


def _stay(names: Iterable[str]) -> str:
    return _verb(names, "stays", "stay")


def _get(names: Iterable[str]) -> str:
    return _verb(names, "gets", "get")


def _take(rules: Sequence[int]) -> str:
    return "takes" if len(rules) <= 1 else "take"


def _verb(names: Iterable[str], one: str, several: str) -> str:
    return one if len(list(names)) == 1 else several


def _sentence(text: str) -> str:
    return text if text.endswith((".", "!", "?")) else f"{text}."
