"""Right values in the wrong order: permutations, dimensions, and the order of tokens, heads and pairs."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from itertools import combinations

from analyzers.numeric.hypotheses.edits import Candidate, Replacement
from analyzers.numeric.hypotheses.evidence import Evidence, Place

_TAKE_SIZES = frozenset(
    {"reshape", "view", "permute", "transpose", "unflatten", "expand", "meshgrid", "swapaxes"}
)
_REORDER = frozenset({"flip", "transpose", "permute", "roll", "swapaxes", "t"})
_GROUP = re.compile(r"\(([^()]+)\)")


def candidates(evidence: Evidence) -> Iterator[Candidate]:
    """Other orders in the likely statements. They come first where all values were found, reordered."""
    first = 0.6 if evidence.divergence.kind == "layout" else 1.6
    for place in evidence.places:
        for node in place.nodes:
            if isinstance(node, ast.Call):
                yield from _sizes(place, node, first)
                yield from _needless(place, node, first)
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and "->" in node.value:
                yield from _pattern(place, node, first)
            if isinstance(node, ast.Slice):
                yield from _interleaved(place, node, first)


def _sizes(place: Place, node: ast.Call, rank: float) -> Iterator[Candidate]:
    """Two neighbouring sizes or dimensions exchanged."""
    name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    if name not in _TAKE_SIZES:
        return
    parts = node.args
    if len(parts) == 1 and isinstance(parts[0], (ast.Tuple, ast.List)):
        parts = parts[0].elts
    for (i, one), (j, other) in combinations(enumerate(parts), 2):
        first, second = place.code.code(one), place.code.code(other)
        if first == second or j - i > 2:
            continue
        yield Candidate(
            "order",
            f"`{first}` and `{second}` have to be exchanged in `{name}`",
            place.code.path,
            (place.code.replacing(one, second), place.code.replacing(other, first)),
            place.near * 1.2 + rank + 0.2 * (j - i - 1),
        )


def _needless(place: Place, node: ast.Call, rank: float) -> Iterator[Candidate]:
    if isinstance(node.func, ast.Attribute) and node.func.attr in _REORDER:
        method = place.code.method(node)
        assert method is not None, "it is an attribute"
        yield Candidate(
            "order",
            f"`{method[0]}` is too much: the official model keeps the order",
            place.code.path,
            (method[1],),
            place.near * 1.2 + rank + 0.1,
        )


def _pattern(place: Place, node: ast.Constant, rank: float) -> Iterator[Candidate]:
    """Two names of a group of an einops pattern exchanged (`(t h w)` against `(t w h)`)."""
    text = place.code.code(node)
    start = place.code.span(node)[0]
    for group in _GROUP.finditer(text):
        names = group.group(1).split()
        for i, j in combinations(range(len(names)), 2):
            other = list(names)
            other[i], other[j] = other[j], other[i]
            begin = start + len(text[: group.start(1)].encode())
            yield Candidate(
                "order",
                f"the group `({' '.join(names)})` has to be `({' '.join(other)})`",
                place.code.path,
                (Replacement(begin, begin + len(group.group(1).encode()), " ".join(other)),),
                place.near * 1.2 + rank,
            )


def _interleaved(place: Place, node: ast.Slice, rank: float) -> Iterator[Candidate]:
    """Even against odd elements."""
    if node.step is None or not isinstance(node.step, ast.Constant) or node.step.value != 2:
        return
    code = place.code
    text = code.code(node)
    other = re.sub(r"^1\s*:", ":", text) if text.startswith("1") else f"1{text}"
    around = code.parents.get(node)
    yield Candidate(
        "rope-pairs",
        f"`{text}` has to be `{other}`",
        code.path,
        (Replacement(*code.span(node), other),),
        place.near * 1.2 + rank + (0.1 if isinstance(around, ast.Tuple) else 0.3),
    )
