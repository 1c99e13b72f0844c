"""What probes of the bytes say of a converted checkpoint: tensor by tensor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from analyzers.weights.layout.arrangements import LayoutKind

CastKind: TypeAlias = Literal["same", "narrowed", "widened", "changed"]


@dataclass(frozen=True)
class LayoutVerdict:
    """How one tensor of the converted checkpoint lies.

    `native`: the port's parameter. `official`: what the mapping makes it of, in merge order. `converted`:
    its name in the converted checkpoint, '' where it is not there. `detail`: one sentence without a full
    stop: what was expected and found, what the port computes with it, what mends it.

    `rows`: samples (up to 16 neighbouring elements) that were compared; `agreeing`: of these, how many lie
    as `kind` says; `runner_up`: the most on which another order agreed. `ambiguous`: the samples do not
    single `kind` out (rows repeat, other tensors are equal); `alternatives` tells what else explains them.

    `reference`, `dtype`: safetensors codes of the official and of the converted tensor. `cast`: what that
    does to values (`narrowed` can lose digits or range); `exact`: whether it kept every value in the samples.
    `rounded`: the dtype whose precision the values have although neither of the two is it. `came_from`:
    official names, for `other tensor` and `located`.
    """

    native: str
    official: tuple[str, ...]
    kind: LayoutKind
    detail: str
    rows: int
    ambiguous: bool
    converted: str = ""
    agreeing: int = 0
    runner_up: int = 0
    alternatives: tuple[str, ...] = ()
    reference: str | None = None
    dtype: str | None = None
    cast: CastKind = "same"
    rounded: str | None = None
    exact: bool = True
    came_from: tuple[str, ...] = ()

    @property
    def as_expected(self) -> bool:
        """Whether all samples lie as the mapping says."""
        return self.kind in ("identical", "concatenated")

    @property
    def settled(self) -> bool:
        """Whether the samples prove the mapping for this tensor."""
        return self.as_expected and not self.ambiguous

    @property
    def contradicts(self) -> bool:
        """Whether the samples prove that the tensor holds something else than the mapping says."""
        return not self.as_expected and self.kind not in ("located", "shape", "absent", "unread", "values")


@dataclass(frozen=True)
class LayoutReport:
    """What the probes of a pair of checkpoints say. `bytes_read` of `total_bytes`: of both, with what their
    headers cost. `named`: the names that the converted checkpoint uses. `unplaced`: its tensors that belong
    to no parameter."""

    verdicts: tuple[LayoutVerdict, ...]
    bytes_read: int
    total_bytes: int
    named: Literal["native", "official"]
    unplaced: tuple[str, ...] = ()
