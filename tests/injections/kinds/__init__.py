"""One function a kind of error: it finds every place of a file where a porter could make it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from injections.kinds import activations, conditioning, dtypes, modules, norms, order, rope, wiring
from injections.source import Injection, Mutator, SourceFile

KINDS: Mapping[str, Mutator] = {
    **norms.KINDS,
    **activations.KINDS,
    **rope.KINDS,
    **modules.KINDS,
    **conditioning.KINDS,
    **wiring.KINDS,
    **order.KINDS,
    **dtypes.KINDS,
}
"""Every kind by its name."""


def injections(file: SourceFile, kind: str) -> Iterator[Injection]:
    """Every error of a kind that can be made in a file, each once."""
    seen = set()
    for found in KINDS[kind](file):
        if found is not None and found.key not in seen:
            seen.add(found.key)
            yield found
