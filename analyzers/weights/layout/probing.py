"""Whether a converted checkpoint holds the numbers of the official one where the mapping says, and if not,
how they lie: decided on a few ranges of bytes of each tensor.

What the mapping means: a parameter is its sources, one after the other on dimension 0
(`hf_to_custom_state_dict` in FastVideo's `models/loader/utils.py`). Every other order that is conceivable
(`arrangements`) is checked on the same samples, so that an answer is either the only one that explains them
or says that it is not.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from analyzers.weights.files.headers import Checkpoint, TensorPlace
from analyzers.weights.files.rows import TensorBytes
from analyzers.weights.layout.arrangements import Heads, heads_in
from analyzers.weights.layout.decision import Prober, Task
from analyzers.weights.layout.laid import RangeReader
from analyzers.weights.layout.verdicts import LayoutReport, LayoutVerdict
from analyzers.weights.verdicts import WeightProof

__all__ = ["LayoutReport", "LayoutVerdict", "probe_layout"]

SHARE = 0.001
"""Of the bytes of both checkpoints, what reading headers and samples may cost together."""

LEAST_BUDGET = 4 << 20
"""Bytes that may be read of checkpoints so small that their share says nothing."""


def probe_layout(
    official: Checkpoint,
    converted: Checkpoint,
    proof: WeightProof,
    *,
    heads: Heads | None = None,
    budget: int | None = None,
    source: TensorBytes | None = None,
) -> LayoutReport:
    """Compares samples of every parameter that the converted checkpoint holds, under its native name or under
    its official ones, with what the mapping of `proof` makes it of.

    `heads`: what is known of attention heads, by default what the two `config.json` say. `budget`: bytes
    that may be read, by default a thousandth of both checkpoints (4 MiB at least). `source`: what
    reads, by default the files on this machine. A file that cannot be read becomes a verdict `unread`.
    """
    total = official.total_bytes + converted.total_bytes
    spent = official.bytes_read + converted.bytes_read
    if budget is None:
        budget = max(int(total * SHARE) - spent, LEAST_BUDGET)
    sources = {place.name: place for place in official.tensors}
    found = {place.name: place for place in converted.tensors}
    named = _naming(proof, found)
    tasks, verdicts = _tasks(proof, sources, found, named)
    with RangeReader(budget, source) as reader:
        prober = Prober(sources, reader, heads or heads_in(official.config, converted.config), tasks)
        verdicts += prober.run()
        spent += reader.spent
    used = {verdict.converted for verdict in verdicts}
    order = {filling.tensor.name: index for index, filling in enumerate(proof.fillings)}
    verdicts.sort(key=lambda verdict: order[verdict.native])
    return LayoutReport(tuple(verdicts), spent, total, named, tuple(n for n in found if n not in used))


def _naming(proof: WeightProof, found: Mapping[str, TensorPlace]) -> Literal["native", "official"]:
    """Whose names a converted checkpoint has, told by those on which the two differ."""
    native = official = 0
    for filling in proof.fillings:
        name = filling.tensor.name
        if filling.sources != (name,):
            native += name in found
            official += any(source in found for source in filling.sources)
    return "official" if official > native else "native"


def _tasks(
    proof: WeightProof, sources: Mapping[str, TensorPlace], found: Mapping[str, TensorPlace], named: str
) -> tuple[list[Task], list[LayoutVerdict]]:
    """What can be compared, and verdicts about what cannot."""
    tasks: list[Task] = []
    verdicts: list[LayoutVerdict] = []
    taken = {source for filling in proof.fillings for source in filling.sources}
    for filling in proof.fillings:
        native, official = filling.tensor.name, filling.sources
        own = native in found and (named == "native" or native not in taken or official == (native,))
        places: list[tuple[tuple[str, ...], str]] = []
        if own:
            places.append((official, native))
        elif any(source in found for source in official):
            places += [((source,), source) for source in official]
        elif official and not filling.excluded:
            places.append((official, native))
        for names, converted in places:
            missing = [name for name in names if name not in sources]
            if converted not in found:
                verdicts.append(_absent(native, names, f"the converted checkpoint has no {converted}"))
            elif missing:
                verdicts.append(_absent(native, names, f"the official checkpoint has no {missing[0]}"))
            else:
                pieces = tuple(sources[name] for name in names)
                tasks.append(Task(native, names, pieces, found[converted]))
    return tasks, verdicts


def _absent(native: str, official: tuple[str, ...], detail: str) -> LayoutVerdict:
    return LayoutVerdict(native, official, "absent", detail, rows=0, ambiguous=False)
