"""What a proof of the weights says: key by key, rule by rule, and fault by fault."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

from analyzers.weights.state import Tensor

Verdict: TypeAlias = Literal["proven", "broken", "unknown"]

RuleState: TypeAlias = Literal["live", "dead", "shadowed", "gated", "unknown"]
"""`live`: it decides at least one name. `shadowed`: it matches names, and earlier rules (`by`) take all of
them. `gated`: it matches nothing here, and names that another configuration has. `dead`: neither.
`unknown`: it was not tried (too costly a pattern, or it cannot be read), or an earlier one that was not
keeps names from it."""

FaultKind: TypeAlias = Literal[
    "missing",  # parameters of the port that nothing fills
    "unexpected",  # official names with no place in the port
    "shape",  # shapes that differ after mapping and merging
    "collision",  # two sources for one target, outside a merge
    "merge",  # a group that never completes, gives an index twice, or disagrees on n
    "dtype",  # a dtype that the loader cannot bring back (integers, fp32-keep set)
    "layout",  # rows of a converted checkpoint that contradict the mapping
]


class KeyPlacement(NamedTuple):
    """What becomes of one official name. (A tuple, because thousands are made at a key typed.)

    `target`: the name that the rules make of it. `rules`: the rules that rewrote it, in order (one at most,
    unless they are chained); empty where it falls through as it is. `merge`: index and n. `verdict` and
    `because` (one sentence without a full stop, for a person): proven, broken, or unknown. `excluded`: the
    loader leaves it out by design.
    """

    tensor: Tensor
    target: str
    rules: tuple[int, ...]
    merge: tuple[int, int] | None
    verdict: Verdict
    because: str
    excluded: bool = False


class ParameterFilling(NamedTuple):
    """What fills one entry of the port. `sources`: official names, in merge order. `excluded`: the loader
    allows it to stay empty."""

    tensor: Tensor
    sources: tuple[str, ...]
    verdict: Verdict
    because: str
    excluded: bool = False


@dataclass(frozen=True)
class RuleUse:
    """What one rule does. `matches`: official names that it rewrites (`first-match`: that it decides).
    `reaches`: names that its pattern matches, taken or not. `by`: the rules that take them before it.
    `why`: one sentence where the state needs one (which setting gates it, why it was not tried)."""

    rule: int
    matches: tuple[str, ...]
    reaches: int
    state: RuleState
    by: tuple[int, ...] = ()
    why: str = ""


@dataclass(frozen=True)
class ShapeFault:
    """A parameter whose shape differs from what arrives. `expected`: the port's; `found`: what the
    sources make after merging, None where they cannot be concatenated."""

    native: str
    official: tuple[str, ...]
    expected: tuple[int, ...]
    found: tuple[int, ...] | None


@dataclass(frozen=True)
class Fault:
    """One cause with everything that follows from it.

    `rule`: the rule that caused it, None where no rule speaks of the names (they fall through, or the rule
    that is needed does not exist). `other`: a second rule that takes part (a collision, a shadow).
    `official` and `native`: the names on both sides; a rule that writes a wrong target has both the
    official names it sends away and the parameters that stay empty for want of them. `shapes`: for
    `shape`. `lacks`: for each merge that lacks sources, which ones, in words. `message`: one
    sentence for a person, which names counts, examples and the consequence.
    `suspected`: what mends it (`rename`, `split`, `fuse`, `skip`, `config`, `unknown`: the words of a
    conversion retry request).
    """

    kind: FaultKind
    rule: int | None
    official: tuple[str, ...]
    native: tuple[str, ...]
    message: str
    other: int | None = None
    shapes: tuple[ShapeFault, ...] = ()
    suspected: str = "unknown"
    lacks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Interchangeable:
    """Names and shapes cannot tell these apart: were the sources of two of them swapped, all would still
    fit. `telling`: the parts of their names that differ (`to_q`, `to_k`); `agree`: whether these parts agree
    between each source and its target, as far as such parts can be told."""

    natives: tuple[str, ...]
    telling: tuple[str, ...]
    agree: bool


@dataclass(frozen=True)
class WeightProof:
    """The verdict about a mapping between two state dicts.

    `proven`: every official name has its place and every parameter is filled once, with its shape, but for
    `excluded` ones. `broken`: at least one fault. `unknown`: neither can be said; `because` tells why.
    `by`: what the verdict rests on (`names and shapes`, `names`). `exclusions`: names that the loader
    leaves out or leaves empty by design, with the reason. `notes`: what holds and is worth saying
    (dropped fields, names left as they are, a lenient load).
    """

    verdict: Verdict
    because: str
    by: str
    placements: tuple[KeyPlacement, ...]
    fillings: tuple[ParameterFilling, ...]
    rules: tuple[RuleUse, ...]
    faults: tuple[Fault, ...]
    interchangeable: tuple[Interchangeable, ...]
    exclusions: tuple[tuple[str, str], ...]
    merged: int
    notes: tuple[str, ...] = ()
