"""Whether the keys of a LoRA adapter reach the layers of a port.

An adapter names the official linear layers: `LAYER.lora_A.weight`, `LAYER.lora_B.weight` and often
`LAYER.alpha`. FastVideo's `LoRAPipeline.set_lora_adapter` (`fastvideo/pipelines/lora_pipeline.py`) brings
the spellings to `LAYER.lora_A`, `LAYER.lora_B` and `LAYER.lora_alpha`, puts the first two to
`lora_param_names_mapping` and then to `param_names_mapping` *with* that ending, and the name of the
layer alone for the alpha. Two matrices A for one target stop it with a ValueError; a key that leads to no
layer is passed over.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from analyzers.project.profiles.base import MappingSemantics
from analyzers.weights.mapping.renaming import positions, rename, rename_all
from analyzers.weights.mapping.symbolic import SymbolicRule
from analyzers.weights.recent import Keep, no_keeping
from analyzers.weights.state import PortState, StateDict
from analyzers.weights.verdicts import RuleUse, Verdict

_A, _B, _ALPHA = ".lora_A", ".lora_B", ".lora_alpha"
_MOST_CHOICES = 12


@dataclass(frozen=True)
class LostLayer:
    """An official layer whose adapter leads to no layer of the port, and where it leads instead."""

    official: str
    target: str


@dataclass(frozen=True)
class LoraProof:
    """What becomes of an adapter that covers every official linear layer.

    `layers`: official linear layers; `reached`: those whose A and B come to a layer of the port. `lost`:
    the others. `colliding`: layers of the port with the official layers whose A all lead there, at which
    loading stops with a ValueError. `alphas`: layers that are reached, and whose alpha is not, so that
    their scale is silently another. `rules`: the rules of the LoRA mapping; one is `dead` where no name
    that it takes can come to a layer of the port.
    """

    verdict: Verdict
    because: str
    layers: int
    reached: int
    lost: tuple[LostLayer, ...]
    colliding: tuple[tuple[str, tuple[str, ...]], ...]
    alphas: tuple[str, ...]
    rules: tuple[RuleUse, ...]


def prove_lora(
    state: PortState,
    rules: Sequence[SymbolicRule],
    lora: Sequence[SymbolicRule],
    *,
    semantics: MappingSemantics = "first-match",
    keep: Keep = no_keeping,
) -> LoraProof:
    """What becomes of the keys of an adapter. `rules`: the weight mapping; `lora`: the LoRA mapping.

    Layers are the names that end in `.weight` and have two dimensions; a state dict without shapes makes
    the verdict unknown, as does a rule that cannot be read, or run.
    """
    unknown = _why_unknown(state, (*lora, *rules))
    if unknown or state.official is None or state.native is None:
        uses = tuple(RuleUse(i, (), 0, "unknown", why=unknown) for i in range(len(lora)))
        return LoraProof("unknown", unknown, 0, 0, (), (), (), uses)
    layers, native = linear_layers(state.official), frozenset(linear_layers(state.native))
    both = _Both(lora, rules, semantics, keep)
    matrices = both.targets([layer + _A for layer in layers])
    others = both.targets([layer + _B for layer in layers])
    alphas = both.targets(layers)
    lost: list[LostLayer] = []
    lost_alphas: list[str] = []
    together: dict[str, list[str]] = {}
    for layer, a, b, alpha in zip(layers, matrices, others, alphas, strict=True):
        if not (_leads(a, _A, native) and _leads(b, _B, native)):
            lost.append(LostLayer(layer, (b if _leads(a, _A, native) else a).removesuffix(_A)))
            continue
        together.setdefault(a, []).append(layer)
        if alpha + _ALPHA != a.removesuffix(_A) + _ALPHA:
            lost_alphas.append(layer)
    colliding = tuple((a.removesuffix(_A), tuple(same)) for a, same in together.items() if len(same) > 1)
    uses = tuple(_uses(lora, both, native))
    verdict, because = _verdict(len(layers), lost, colliding, lost_alphas)
    reached = len(layers) - len(lost)
    return LoraProof(verdict, because, len(layers), reached, tuple(lost), colliding, tuple(lost_alphas), uses)


def linear_layers(state: StateDict) -> list[str]:
    """The modules with a weight of two dimensions."""
    return [
        tensor.name.removesuffix(".weight")
        for tensor in state.tensors
        if tensor.name.endswith(".weight") and tensor.shape is not None and len(tensor.shape) == 2
    ]


def _why_unknown(state: PortState, rules: Sequence[SymbolicRule]) -> str:
    if state.official is None:
        return "the official names are not known"
    if state.native is None:
        return "the names of the port are not known"
    if any(t.shape is None for side in (state.official, state.native) for t in side.tensors):
        return "without shapes it cannot be told which names are linear layers"
    if any(rule.parsed is None or rule.target is None or rule.template is None for rule in rules):
        return "a rule cannot be read, or `re` rejects it, or it may take too long"
    return ""


def _leads(target: str, ending: str, native: frozenset[str]) -> bool:
    return target.endswith(ending) and target.removesuffix(ending) in native


@dataclass(frozen=True)
class _Both:
    """The LoRA mapping, then the weight mapping."""

    lora: Sequence[SymbolicRule]
    rules: Sequence[SymbolicRule]
    semantics: MappingSemantics
    keep: Keep

    def targets(self, names: Sequence[str]) -> list[str]:
        """What both make of names."""
        return self._made(self._made(names, self.lora), self.rules)

    def target(self, name: str) -> tuple[str, tuple[int, ...]]:
        """What both make of one name, and the rules of the LoRA mapping that took it."""
        first = rename(name, self.lora, self.semantics)
        return rename(first.target, self.rules, self.semantics).target, first.rules

    def _made(self, names: Sequence[str], rules: Sequence[SymbolicRule]) -> list[str]:
        digest = hashlib.blake2b(
            "\n".join(names).encode("utf-8", "surrogatepass"), digest_size=16
        ).hexdigest()
        renaming = rename_all(tuple(names), f"lora {digest}", rules, self.semantics, keep=self.keep)
        made = list(names)
        for share in renaming.shares:
            for place in positions(share.mask):
                made[place] = share.targets[place]
        return made


def _uses(lora: Sequence[SymbolicRule], both: _Both, native: frozenset[str]) -> Iterator[RuleUse]:
    """Each rule put to names that its own pattern spells out, with the indices that the port has."""
    largest = max((int(part) for name in native for part in name.split(".") if part.isdecimal()), default=0)
    for position, rule in enumerate(lora):
        names = list(_spelled(rule, largest))
        taken = [(name, *both.target(name)) for name in names]
        own = [(name, target) for name, target, rules in taken if position in rules]
        good = tuple(name.removesuffix(_A) for name, target in own if _leads(target, _A, native))
        if good:
            yield RuleUse(position, good, len(names), "live")
        elif not names:
            yield RuleUse(position, (), 0, "unknown", why="no name could be made that its pattern matches")
        elif not own:
            by = tuple(sorted({r for _, _, rules in taken for r in rules}))
            yield RuleUse(position, (), len(names), "shadowed", by)
        else:
            name, target = own[0]
            layer, place = name.removesuffix(_A), target.removesuffix(_A)
            why = f"{layer} leads to {place}, which is no linear layer of the port"
            yield RuleUse(position, (), len(names), "dead", why=why)


_ZERO = re.compile(r"(?<=\.)0(?=\.)")


def _spelled(rule: SymbolicRule, largest: int) -> Iterator[str]:
    """Keys of an adapter that the rule's pattern matches."""
    pattern = rule.parsed
    if pattern is None:
        return
    seen: set[str] = set()
    for choice in pattern.choices[:_MOST_CHOICES]:
        stem = choice.removesuffix(".weight") if choice.endswith(".weight") else choice
        for layer in (stem, _ZERO.sub(str(largest), stem)):
            for name in (layer + _A, layer):
                if name not in seen and pattern.takes(name):
                    seen.add(name)
                    yield name


def _verdict(
    layers: int,
    lost: Sequence[LostLayer],
    colliding: Sequence[tuple[str, tuple[str, ...]]],
    alphas: Sequence[str],
) -> tuple[Verdict, str]:
    said: list[str] = []
    if colliding:
        target, sources = colliding[0]
        said.append(
            f"{len(colliding)} merged layers get several matrices A ({', '.join(sources)} for {target}): an "
            "adapter that has them stops loading with a ValueError"
        )
    if lost:
        said.append(
            f"{len(lost)} of {layers} layers lead to no layer of the port ({lost[0].official} to "
            f"{lost[0].target}): their part of an adapter is passed over"
        )
    if alphas:
        some = f"{len(alphas)} layers" if len(alphas) > 1 else "1 layer"
        said.append(
            f"the alpha of {some} gets lost ({alphas[0]}): the adapter acts there with scale 1 in place of "
            "alpha / rank, which is wrong unless the two are equal"
        )
    if said:
        return "broken", "; ".join(said)
    return "proven", f"adapters of all {layers} official linear layers reach a layer of the port"
