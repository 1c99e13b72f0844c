"""What the parts of weight names mean, and how much two names mean the same.

Ports and official models call the same module differently: `attn1.to_q`, `self_attn.q`, `attn.q_proj`. A
name is taken apart into *concepts*; two names are alike as far as their concepts are, the telling ones
(q or k, norm, text or image stream) more than the others (`proj`, `linear`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from difflib import SequenceMatcher
from functools import cache
from typing import TypeAlias

from analyzers.weights.proposing.families import INDEX, Path

Concepts: TypeAlias = "frozenset[str]"

_SYNONYMS: Mapping[str, tuple[str, ...]] = {
    "attn": ("attention", "attentions", "sa", "msa"),
    "cross": ("xattn", "crossattn"),
    "self": ("selfattn",),
    "q": ("query", "wq", "qs"),
    "k": ("key", "wk"),
    "v": ("value", "wv"),
    "q k v": ("qkv", "wqkv"),
    "k v": ("kv", "wkv"),
    "q k": ("qk",),
    "out": ("o", "output", "wo", "final", "last", "head"),
    "in": ("input",),
    "text": (
        "txt",
        "context",
        "ctx",
        "add",
        "added",
        "caption",
        "cap",
        "prompt",
        "c",
        "encoder",
        "t5",
        "byt5",
    ),
    "image": ("img", "visual", "video", "vid", "x", "latent", "latents", "vision", "patch", "patchify"),
    "time": ("timestep", "timesteps", "t", "temb"),
    "embed": ("embedder", "embedding", "embeddings", "emb", "embeds"),
    "norm": ("ln", "layernorm", "rms", "rmsnorm", "normalization", "norms"),
    "modulate": ("mod", "modulation", "ada", "adaln", "scaleshifttable", "table"),
    "mlp": ("ff", "ffn", "feedforward", "feed"),
    "gate": ("w1",),
    "up": ("w3",),
    "linear": ("proj", "projection", "fc", "dense", "lin", "layer", "projector"),
    "position": ("pos", "rope"),
    "audio": ("aud",),
    "pre": ("preprocess",),
    "post": ("postprocess",),
}

_CONCEPTS = {word: concept for concept, words in _SYNONYMS.items() for word in (*words, concept)}

_WEIGHTS: Mapping[str, float] = {
    **dict.fromkeys(("q", "k", "v", "norm", "text", "cross", "time", "guidance", "gate", "up"), 2.0),
    **dict.fromkeys(("in", "out", "modulate", "scale", "shift", "audio", "image"), 1.5),
    **dict.fromkeys(("embed", "mlp", "attn", "self", "single", "double"), 0.6),
    **dict.fromkeys(("linear", "net", "block", "blocks", "module", "model", "transformer", "feed"), 0.25),
    **dict.fromkeys(("forward", "0", "layers", "layer", "weight", "bias"), 0.15),
}
_UNKNOWN = 1.0
_NUMBER = 1.5

_KEPT = 2
"""A word comes along where it does so at least twice, and in so many more names than not."""

STREAMS: Concepts = frozenset({"text", "audio", "guidance"})
"""What marks the twin of a module that carries no mark (`norm1_context` beside `norm1`)."""

_FIRST = re.compile(
    r"(?:^|[._])(?:net\.0(?:\.proj)?|mlp\.0|ff\.0|ffn\.0|linear_?1|fc_?1|fc_in|lin_?1|layer_?1|in_layer|0)$"
)
_SECOND = re.compile(
    r"(?:^|[._])(?:net\.2|mlp\.2|ff\.2|ffn\.2|linear_?2|fc_?2|fc_out|lin_?2|layer_?2|out_layer|2)$"
)
_OUTPUT = re.compile(r"(?:^|\.)(?:to_out|to_add_out|out|o|out_proj)\.0$")
"""An output projection in a Sequential with its dropout: the number says nothing."""

_SELF, _CROSS = re.compile(r"\battn_?1\b"), re.compile(r"\battn_?2\b")
_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")

_ALIKE = 0.72
"""Unknown words as similar as this are taken for each other (`refiner`, `refine`)."""


@cache
def concepts(path: Path) -> Concepts:
    """What the components of a path say."""
    text = ".".join(part.rstrip(INDEX) for part in path if part != INDEX)
    extra: set[str] = set()
    if _OUTPUT.search(text):
        text = text[:-2]
    for pattern, concept in ((_FIRST, "in"), (_SECOND, "out")):
        found = pattern.search(text)
        if found is not None:
            text = text[: found.start()]
            extra |= {concept, "linear"}
            text += ".mlp" if found[0].startswith((".net", "net")) else ""
            break
    text = _SELF.sub("self.attn", text)
    text = _CROSS.sub("cross.attn", text)
    for part in re.split(r"[._]", text):
        for word in _WORDS.findall(part) if part.lower() not in _CONCEPTS else [part]:
            extra.update(_CONCEPTS.get(word.lower(), word.lower()).split())
    return frozenset(extra)


_EXCLUSIVE: tuple[tuple[Concepts, bool], ...] = (
    (frozenset({"q", "k", "v", "out"}), True),
    (frozenset({"in", "out"}), True),
    (frozenset({"gate", "up"}), True),
    (frozenset({"scale", "shift"}), True),
    (frozenset({"h", "w"}), True),
    (frozenset({"pre", "post"}), True),
    (frozenset({"self", "cross"}), False),
    (frozenset({"text", "image", "time", "guidance", "audio"}), False),
)
"""What is one of these is none of the others; whether it must stand in one of the last components to say
so."""

_NUMBERED = re.compile(r"([A-Za-z]+)_?(\d+)")


def contradict(one: Path, other: Path, *, fused: bool = False) -> bool:
    """Whether two names say that they are not the same thing: q and k, first and second, `norm1` and
    `norm2`. `fused`: `one` is only part of `other`, so that q may well go to what holds k too."""
    said, meant = _innermost(one), _innermost(other)
    if fused:
        wide = [place for place, (_, near) in enumerate(_EXCLUSIVE) if not near]
        return any(said[i] and meant[i] and not said[i] & meant[i] for i in wide)
    if any(a and b and not a & b for a, b in zip(said, meant, strict=True)):
        return True
    numbers, others = _numbers(one), _numbers(other)
    return any(numbers[word] != others[word] for word in numbers.keys() & others.keys())


@cache
def _innermost(path: Path) -> tuple[Concepts, ...]:
    """What a path says of each kind of what excludes each other, at the innermost place that says one."""
    # `0` alone says nothing without the component before it (`to_out.0`, `net.0.proj`).
    places = [place for place in range(len(path) - 1, -1, -1) if not path[place].isdigit()]
    found: list[Concepts] = []
    for kind, near in _EXCLUSIVE:
        tails = (concepts(path[place:]) & kind for place in (places[:2] if near else places))
        found.append(next((said for said in tails if said), frozenset()))
    return tuple(found)


@cache
def _numbers(path: Path) -> Mapping[str, str]:
    """The words with a number behind them, the innermost of each; not those where the number has a name
    of its own (`attn1`, `fc1`)."""
    found: dict[str, str] = {}
    for part in path:
        if not (_FIRST.search(part) or _SECOND.search(part) or _SELF.search(part) or _CROSS.search(part)):
            for word, number in _NUMBERED.findall(part):
                found[_CONCEPTS.get(word.lower(), word.lower())] = number
    return found


def weight(concept: str) -> float:
    """How much a concept tells."""
    if concept in _WEIGHTS:
        return _WEIGHTS[concept]
    return _NUMBER if concept.isdigit() else _UNKNOWN


def similarity(one: Concepts, other: Concepts, learned: Learned | None = None) -> float:
    """How much two names mean the same: 0 (nothing in common) to 1 (all)."""
    shared = sum(map(weight, one & other))
    left, right = sorted(one - other, key=weight), sorted(other - one, key=weight)
    spare, lost = list(right), 0.0
    for concept in reversed(left):
        best = max(spare, key=lambda word: _likeness(concept, word, learned), default=None)
        degree = _likeness(concept, best, learned) if best is not None else 0.0
        if best is not None and degree > 0:
            spare.remove(best)
            shared += degree * max(weight(concept), weight(best))
            lost += (1 - degree) * max(weight(concept), weight(best))
        else:
            lost += weight(concept) * (1 - (learned.dropped(concept) if learned is not None else 0.0))
    for concept in spare:
        lost += weight(concept) * (1 - (learned.added(concept) if learned is not None else 0.0))
    return shared / (shared + lost) if shared + lost else 1.0


def _likeness(one: str, other: str, learned: Learned | None) -> float:
    known = learned.said(one, other) if learned is not None else 0.0
    return max(known, _spelled_alike(one, other))


@cache
def _spelled_alike(one: str, other: str) -> float:
    if one in _WEIGHTS or other in _WEIGHTS or one.isdigit() or other.isdigit():
        return 0.0
    ratio = SequenceMatcher(None, one, other, autojunk=False).ratio()
    return ratio if ratio >= _ALIKE else 0.0


class Learned:
    """What pairs that are known to belong together teach: which concept of one side stands for which of the
    other, and which have no counterpart."""

    def __init__(self, pairs: Iterable[tuple[Path, Path]]) -> None:
        self._together: dict[tuple[str, str], float] = {}
        self._official: dict[str, int] = {}
        self._native: dict[str, int] = {}
        self._all_official: dict[str, int] = {}
        self._all_native: dict[str, int] = {}
        for official, native in pairs:
            one, other = concepts(official), concepts(native)
            left, right = one - other, other - one
            for concept in one:
                self._all_official[concept] = self._all_official.get(concept, 0) + 1
            for concept in other:
                self._all_native[concept] = self._all_native.get(concept, 0) + 1
            for concept in left:
                self._official[concept] = self._official.get(concept, 0) + 1
            for concept in right:
                self._native[concept] = self._native.get(concept, 0) + 1
            for a in left:
                for b in right:
                    self._together[a, b] = self._together.get((a, b), 0.0) + 1.0

    def said(self, official: str, native: str) -> float:
        """How far `official` is known to be called `native`."""
        count = self._together.get((official, native), 0.0)
        if not count:
            return 0.0
        either = max(self._all_official[official], self._all_native[native])
        return _trust(count) * count / either

    def keeps(self, concept: str) -> bool:
        """Whether names of both sides have a concept, or neither, but for few exceptions."""
        alone = self._official.get(concept, 0) + self._native.get(concept, 0)
        both = self._all_official.get(concept, 0) - self._official.get(concept, 0)
        return both >= _KEPT and both >= _KEPT * alone

    def dropped(self, official: str) -> float:
        """How far a concept of official names is known to have no counterpart."""
        return self._alone(self._official, self._all_official, official)

    def added(self, native: str) -> float:
        """How far a concept of the port's names is known to have no counterpart."""
        return self._alone(self._native, self._all_native, native)

    def _alone(self, alone: Mapping[str, int], among: Mapping[str, int], concept: str) -> float:
        count = alone.get(concept, 0)
        return _trust(count) * count / among[concept] if count else 0.0


def _trust(count: float) -> float:
    """One example may be a coincidence; several are a habit."""
    return count / (count + 1.0)
