"""The proof that a mapping brings every tensor of a checkpoint to its place in the port.

What the loader does is FastVideo's `load_model_from_full_model_state_dict`
(`fastvideo/models/loader/fsdp_load.py`): after renaming and merging, a name that the model has not is an
error unless it ends in `_extra_state` or the load is lenient; a name of the model (parameter, persistent
buffer, or a second name of a tied one) that nothing fills is an error in any case, unless the loader's
list of new parameters allows it; shapes must agree.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from analyzers.project.profiles.base import Loading, MappingSemantics
from analyzers.weights.mapping.patterns import parse_pattern
from analyzers.weights.mapping.renaming import Renaming, positions, rename_all
from analyzers.weights.mapping.symbolic import SymbolicRule
from analyzers.weights.proving.attribution import Evidence, attribute
from analyzers.weights.proving.fault_texts import main_fact
from analyzers.weights.proving.landing import Landed, Part, Sides, broken_in, land, parts_of
from analyzers.weights.proving.rule_uses import uses_of
from analyzers.weights.proving.telling import Disagreement, disagreements, interchangeable
from analyzers.weights.recent import Keep, Recent, no_keeping
from analyzers.weights.state import PortState, StateDict, Tensor
from analyzers.weights.verdicts import (
    Fault,
    KeyPlacement,
    ParameterFilling,
    RuleUse,
    Verdict,
    WeightProof,
)

__all__ = ["Survey", "prove", "survey"]

_MAY_COMPLETE = "its group lacks others, which may be among the names that could not be followed"
_NOTHING = "nothing fills it"
_MAY_BE_HELD = (
    "the official class lacks it, and says itself that a checkpoint may hold it: the loader stops with an "
    "error where one does not"
)


def prove(
    state: PortState,
    rules: Sequence[SymbolicRule],
    *,
    semantics: MappingSemantics,
    loading: Loading,
    cls: str,
    keep: Keep = no_keeping,
) -> WeightProof:
    """What a mapping makes of the official names, against the names of the port.

    `cls`: the port's class, which decides whether it is loaded leniently. `keep`: gives what was found
    out about the same sides before, so that an edit costs the rule that was edited (see `Recent`).
    Never raises for what rules hold: a rule that `re` rejects is a fault, one too costly to run makes
    the names unknown that it might take.
    """
    if state.official is None:
        return _without_official(state, rules)
    found = survey(state, state.official, rules, semantics=semantics, loading=loading, cls=cls, keep=keep)
    return found.proof


def survey(
    state: PortState,
    official: StateDict,
    rules: Sequence[SymbolicRule],
    *,
    semantics: MappingSemantics,
    loading: Loading,
    cls: str,
    keep: Keep = no_keeping,
) -> Survey:
    """The same, as far as every key that is typed asks for it; `Survey.proof` goes on from there.

    `official`: the official names of `state`. Otherwise as `prove`.
    """
    sides = Sides(official, state.native, loading, cls, semantics)
    question = ("weight proof", sides.key, semantics, state.gated)
    recent = keep(question, Recent)
    recent.begin()
    renaming = rename_all(
        official.names,
        official.digest,
        rules,
        semantics,
        valid=sides.natives.keys() if semantics == "chained" and sides.native is not None else None,
        keep=recent,
    )
    parts = parts_of(renaming.shares, recent)
    # What only proofs ask for has its own rounds: between two of them lie many keys.
    proved = keep((*question, "faults"), Recent)
    return Survey(state, sides, rules, renaming, parts, recent, proved)


def _without_official(state: PortState, rules: Sequence[SymbolicRule]) -> WeightProof:
    because = "the official names are not known"
    fillings = tuple(
        ParameterFilling(tensor, (), "unknown", because)
        for tensor in (state.native.tensors if state.native else ())
    )
    uses = tuple(RuleUse(position, (), 0, "unknown", why=because) for position in range(len(rules)))
    if state.native is None:
        because = "neither the official names nor those of the port are known"
    groups = interchangeable(state.native, (), no_keeping)
    return WeightProof("unknown", because, "names", (), fillings, uses, (), groups, (), 0)


@dataclass(frozen=True)
class Survey:
    """Where all names go, and what is made of it when it is asked for.

    `rules` and `wrong` cost a key what the edited rule decides. `proof` finds causes for everything that
    is wrong, which may be thousands of names, and is for when the typist rests.
    """

    state: PortState
    sides: Sides
    symbolic: Sequence[SymbolicRule]
    renaming: Renaming
    parts: Sequence[Part]
    keep: Recent
    keep_of_proofs: Recent

    @cached_property
    def rules(self) -> tuple[RuleUse, ...]:
        """What each rule does."""
        natives = self.sides.natives
        return uses_of(self.renaming, self.symbolic, self.state.gated, natives, self.keep, self.sides.key)

    @cached_property
    def wrong(self) -> frozenset[str]:
        """The official names that do not come out right: those whose placement in the proof is broken."""
        broken = broken_in(self.sides, self.parts, self.keep)
        stopped = self._stopped
        if stopped:
            broken.difference_update(self._waiting(), stopped)
            broken.update(place for place, (_, verdict) in stopped.items() if verdict == "broken")
        return frozenset(map(self.sides.official.names.__getitem__, broken))

    @cached_property
    def landed(self) -> Sequence[Landed]:
        """Where the names land, each with the reason."""
        return land(self.sides, self.parts, self.keep_of_proofs)

    @cached_property
    def proof(self) -> WeightProof:
        """The verdict, with a cause for everything that is wrong."""
        self.keep_of_proofs.begin()
        stopped = self._stopped
        excused = self._excused()
        filled: dict[str, ParameterFilling] = {}
        for part in self.landed:
            filled.update(part.filled)
        natives = self.sides.natives
        empty = tuple(name for name in natives if name not in filled and name not in excused)
        faults = attribute(
            Evidence(self.sides, self.symbolic, self.renaming, self.landed, empty, self.rules, bool(stopped)),
            self.keep_of_proofs,
        )
        placements = self._placements(stopped)
        fillings = self._fillings(filled, excused, bool(stopped))
        verdict, because = self._verdict(faults, empty, stopped, fillings)
        by_name = self.sides.native is None or any(part.by_name for part in self.landed)
        return WeightProof(
            verdict,
            because,
            "names" if by_name else "names and shapes",
            placements,
            fillings,
            self.rules,
            faults,
            interchangeable(self.sides.native, self._opposed, self.keep_of_proofs),
            self._exclusions(excused, filled),
            sum(part.merged for part in self.landed),
            (*self.state.notes, *self._notes()),
        )

    @cached_property
    def _opposed(self) -> Sequence[Disagreement]:
        sides = self.sides
        return disagreements(sides.official, sides.natives, self.renaming.shares, self.keep_of_proofs)

    # ------------------------------------------------------------------ keys

    @cached_property
    def _stopped(self) -> dict[int, tuple[str, Verdict]]:
        """The names that a rule keeps from being decided, or at which the loader stops."""
        found: dict[int, tuple[str, Verdict]] = {}
        for rule, mask in self.renaming.undecided.items():
            because = f"rule {rule + 1} might take it: {self.renaming.why[rule]}"
            found.update(dict.fromkeys(positions(mask), (because, "unknown")))
        for rule, (mask, error) in self.renaming.raising.items():
            because = f"the loader stops at rule {rule + 1} with re.error: {error}"
            found.update(dict.fromkeys(positions(mask), (because, "broken")))
        return found

    def _placements(self, stopped: Mapping[int, tuple[str, Verdict]]) -> tuple[KeyPlacement, ...]:
        tensors = self.sides.official.tensors
        placed: dict[int, KeyPlacement] = {}
        for part in self.landed:
            placed.update(part.placed)
        for place in self._waiting() if stopped else ():
            if place in placed:
                placed[place] = placed[place]._replace(verdict="unknown", because=_MAY_COMPLETE)
        for place, (because, verdict) in stopped.items():
            tensor = tensors[place]
            placed[place] = KeyPlacement(tensor, tensor.name, (), None, verdict, because)
        placements = list(map(placed.__getitem__, range(len(tensors))))  # every name has one
        if self._opposed:
            doubts = self._doubts()
            for place, placement in enumerate(placements):
                doubt = doubts.get((placement.rules, placement.target))
                if doubt is not None and placement.verdict == "proven":
                    placements[place] = placement._replace(verdict="unknown", because=doubt)
        return tuple(placements)

    def _waiting(self) -> Iterator[int]:
        """The sources of groups that only lack others, which may be among the undecided names."""
        for part in self.landed:
            for tangle in part.tangles:
                if tangle.assembly.only_waits:
                    yield from tangle.assembly.waiting

    def _doubts(self) -> dict[tuple[tuple[int, ...], str], str]:
        """The targets whose names speak against their sources, with the ways that lead there."""
        kinds: dict[tuple[int, ...], list[Disagreement]] = {}
        for disagreement in self._opposed:
            kinds.setdefault(disagreement.path, []).append(disagreement)
        doubts: dict[tuple[tuple[int, ...], str], str] = {}
        names = self.sides.official.names
        for share in self.renaming.shares:
            for told in kinds.get(share.path, ()):
                for place in positions(share.mask):
                    if told.concerns(names[place], share.targets[place]):
                        doubts[share.path, share.targets[place]] = told.text
        return doubts

    # ------------------------------------------------------------------ parameters

    def _excused(self) -> Mapping[str, str]:
        """The parameters that may stay empty, with the reason."""
        return self.keep_of_proofs(("excused", self.sides.key, self.state.ignored), self._all_excused)

    def _all_excused(self) -> Mapping[str, str]:
        excused: dict[str, str] = {}
        allowed = self.sides.loading.may_be_absent
        patterns = [parsed for text in self.state.ignored if (parsed := parse_pattern(text)) is not None]
        patterns = [pattern for pattern in patterns if not pattern.is_costly]
        if not allowed and not patterns:
            return excused
        for name in self.sides.natives:
            part = next((part for part in allowed if part in name), None)
            if part is not None:
                excused[name] = (
                    f"the loader allows parameters named {part} to be absent and sets them to zero"
                )
            elif any(pattern.compiled.search(name) for pattern in patterns):
                excused[name] = _MAY_BE_HELD
        return excused

    def _fillings(
        self, filled: Mapping[str, ParameterFilling], excused: Mapping[str, str], stopped: bool
    ) -> tuple[ParameterFilling, ...]:
        question = ("empty", self.sides.key, self.state.ignored, stopped)
        natives = self.sides.natives
        empty = self.keep_of_proofs(
            question, lambda: {n: self._empty(t, excused, stopped) for n, t in natives.items()}
        )
        return tuple({**empty, **filled}.values())  # the order of the first one's keys, which are all

    def _empty(self, tensor: Tensor, excused: Mapping[str, str], stopped: bool) -> ParameterFilling:
        if tensor.name in excused:
            return ParameterFilling(tensor, (), "proven", excused[tensor.name], excluded=True)
        if stopped:
            because = "nothing that is known fills it, but not every rule could be tried"
            return ParameterFilling(tensor, (), "unknown", because)
        because = _NOTHING
        if tensor.tied is not None:
            because = f"{_NOTHING}: it is one with {tensor.tied}, but the loader asks for both names"
        elif tensor.buffer:
            because = f"{_NOTHING}: a persistent buffer, which the loader asks for like a parameter"
        return ParameterFilling(tensor, (), "broken", because)

    # ------------------------------------------------------------------ verdict

    def _verdict(
        self,
        faults: Sequence[Fault],
        empty: Sequence[str],
        stopped: Mapping[int, object],
        fillings: Sequence[ParameterFilling],
    ) -> tuple[Verdict, str]:
        names, natives = len(self.sides.official.tensors), len(self.sides.natives)
        if faults:
            return "broken", main_fact(self.sides, self.renaming, self.landed, empty, faults)
        if stopped:
            rule = min(self.renaming.undecided)
            return "unknown", f"{len(stopped)} of {names} names: rule {rule + 1}: {self.renaming.why[rule]}"
        if self.sides.native is None:
            return "unknown", "the names of the port are not known"
        if self._opposed:
            first = self._opposed[0]
            return "unknown", first.text
        doubtful = next((filling for filling in fillings if filling.verdict == "unknown"), None)
        if doubtful is not None:
            return "unknown", f"{doubtful.tensor.name}: {doubtful.because}"
        return (
            "proven",
            f"all {names} official names have their place, and all {natives} of the port are filled",
        )

    def _exclusions(self, excused: Mapping[str, str], filled: Container[str]) -> tuple[tuple[str, str], ...]:
        left_out = [item for part in self.landed for item in part.left_out]
        return (*left_out, *((name, why) for name, why in excused.items() if name not in filled))

    def _notes(self) -> list[str]:
        notes: list[str] = []
        left = self.renaming.left.bit_count()
        if left and self.symbolic:
            some = "1 official name is left as it is: no rule matches it"
            many = f"{left} official names are left as they are: no rule matches them"
            notes.append(some if left == 1 else many)
        if self.state.dropped:
            fields = ", ".join(f"{name} = {value}" for name, value in self.state.dropped)
            notes.append(f"the arch config has no field for {fields}: update_model_arch drops them")
        official = self.sides.official
        notes.extend(self.keep_of_proofs(("tied", official.digest), lambda: _tied(official)))
        return notes


def _tied(official: StateDict) -> list[str]:
    tied = [tensor.name for tensor in official.tensors if tensor.tied is not None]
    if not tied:
        return []
    return [
        f"{len(tied)} official names are tied to others ({tied[0]}): a safetensors checkpoint may hold one "
        "name of each pair only"
    ]
