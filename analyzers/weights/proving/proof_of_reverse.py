"""What training saves under official names, and whether that is the official checkpoint again.

While it loads, FastVideo notes for each target the source that it saw last
(`fastvideo/models/loader/utils.py`, `hf_to_custom_state_dict`), and sets that as the instance's
`reverse_param_names_mapping`. Saving goes by these notes (`fastvideo/training/training_utils.py`,
`custom_to_hf_state_dict`): of a merged parameter only that one source is written, as one of n equal parts
of dimension 0, and the others are left out without a word. Patterns that the class has under the same
name are thus used by nobody once a checkpoint is loaded; they are proved for what they say.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from analyzers.project.profiles.base import MappingSemantics
from analyzers.weights.mapping.renaming import positions, rename_all
from analyzers.weights.mapping.symbolic import SymbolicRule
from analyzers.weights.recent import Keep, no_keeping
from analyzers.weights.state import PortState
from analyzers.weights.verdicts import ShapeFault, Verdict, WeightProof


@dataclass(frozen=True)
class WrongReverse:
    """A name that the class's own reverse patterns do not lead back: what they make of it, and the official
    names that it is made from. `rule`: the pattern that took it, None where none did."""

    native: str
    made: str
    sources: tuple[str, ...]
    rule: int | None


@dataclass(frozen=True)
class ReverseProof:
    """Whether what training saves is the official state dict.

    `restored`: official names that come back with their shape. `lost`: official names that a saved
    checkpoint lacks. `strange`: names that it has and that are not official. `shapes`: official names
    that come back in another shape (`native` and `official` name the parameter and its source, `expected`
    is the official shape). `patterns`: what the class's own patterns get wrong.
    """

    verdict: Verdict
    because: str
    restored: int
    lost: tuple[str, ...]
    strange: tuple[str, ...]
    shapes: tuple[ShapeFault, ...]
    patterns: tuple[WrongReverse, ...]


def prove_reverse(
    state: PortState,
    proof: WeightProof,
    reverse: Sequence[SymbolicRule] = (),
    *,
    semantics: MappingSemantics = "first-match",
    keep: Keep = no_keeping,
) -> ReverseProof:
    """Whether the names of the port go back to the official ones.

    `proof`: of the forward mapping over the same state. `reverse`: the class's own patterns.
    """
    if state.official is None or state.native is None:
        because = "the official names are not known" if state.official is None else "the port was not built"
        return ReverseProof("unknown", because, 0, (), (), (), ())
    patterns = _wrong_patterns(state, proof, reverse, semantics, keep)
    undecided = any(p.verdict == "unknown" and not p.rules and p.merge is None for p in proof.placements)
    if proof.verdict == "broken" or undecided:
        because = f"nothing is saved of what does not load: {proof.because}"
        return ReverseProof("unknown", because, 0, (), (), (), patterns)
    noted = {p.target: (p.tensor.name, p.merge) for p in proof.placements}
    official = state.official.by_name
    optional = {filling.tensor.name for filling in proof.fillings if filling.excluded}
    lost = dict.fromkeys(official)
    strange: list[str] = []
    shapes: list[ShapeFault] = []
    for tensor in state.native.tensors:
        source, merge = noted.get(tensor.name, (tensor.name, None))
        if source not in official:
            if tensor.name not in optional:
                strange.append(source)
            continue
        lost.pop(source, None)
        found = tensor.shape if merge is None else _part(tensor.shape, merge)
        expected = official[source].shape
        if expected is not None and tensor.shape is not None and found != expected:
            shapes.append(ShapeFault(tensor.name, (source,), expected, found))
    # What the loader passes over by design was never there to be saved.
    left_out = {placement.tensor.name for placement in proof.placements if placement.excluded}
    lost_names = tuple(name for name in lost if name not in left_out)
    restored = len(official) - len(lost) - len(shapes)
    verdict, because = _verdict(len(official), lost_names, strange, shapes)
    return ReverseProof(verdict, because, restored, lost_names, tuple(strange), tuple(shapes), patterns)


def _part(shape: tuple[int, ...] | None, merge: tuple[int, int]) -> tuple[int, ...] | None:
    """The shape of one of n parts as `torch.split` cuts them; None where there is no such part."""
    index, count = merge
    if not shape or count < 1 or shape[0] < count:
        return None
    size = shape[0] // count
    length = min(size, shape[0] - index * size)
    return (length, *shape[1:]) if length > 0 else None


def _verdict(
    names: int, lost: Sequence[str], strange: Sequence[str], shapes: Sequence[ShapeFault]
) -> tuple[Verdict, str]:
    said: list[str] = []
    if lost:
        said.append(
            f"{len(lost)} of {names} official names ({_examples(lost)}) are missing from what training "
            "saves: of a merged parameter only the last source is written"
        )
    if shapes:
        said.append(
            f"{len(shapes)} come back in another shape ({_examples([s.official[0] for s in shapes])}): "
            "saving cuts a merged parameter into equal parts"
        )
    if strange:
        said.append(f"{len(strange)} names are saved that are not official ({_examples(strange)})")
    if said:
        return "broken", "; ".join(said)
    return "proven", f"all {names} official names come back with their shapes"


def _examples(names: Sequence[str]) -> str:
    return ", ".join(names[:2]) + (", ..." if len(names) > 2 else "")


def _wrong_patterns(
    state: PortState,
    proof: WeightProof,
    reverse: Sequence[SymbolicRule],
    semantics: MappingSemantics,
    keep: Keep,
) -> tuple[WrongReverse, ...]:
    if not reverse or state.native is None:
        return ()
    renaming = rename_all(state.native.names, state.native.digest, reverse, semantics, keep=keep)
    sources = {filling.tensor.name: filling.sources for filling in proof.fillings if filling.sources}
    wrong: list[WrongReverse] = []
    for share in renaming.shares:
        for place in positions(share.mask):
            native = renaming.names[place]
            meant = sources.get(native, ())
            if meant and share.targets[place] not in meant:
                rule = share.path[-1] if share.path else None
                wrong.append(WrongReverse(native, share.targets[place], meant, rule))
    return tuple(wrong)
