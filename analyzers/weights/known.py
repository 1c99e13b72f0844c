"""What is known of a port's weights: the names of both sides, the rules between them, and the proof.

Invariants
----------
* What was measured outranks what a file of the tree says: a dump counts only for a side that was not
  measured, and one of the port's own names only as long as the port's code can have every name in it.
* Every file of the tree that is read goes through `Sources`. What was measured is part of the questions
  put to `Memory`, since no file tells when it changes.
* A proof is kept by the texts of the rules: a key typed beside the mapping costs nothing, and one typed
  in a rule only what that rule decides.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import replace
from typing import Generic, TypeAlias, TypeVar

from analyzers.facts.model import ClassFacts, Placed
from analyzers.project.index import Project
from analyzers.project.mappings import MappingTable
from analyzers.project.module_trees import lack
from analyzers.project.ports import Port
from analyzers.weights.deciding import Attribute, deciding_rules
from analyzers.weights.files.dump_forms import MalformedDump
from analyzers.weights.files.dumps import dump_in, find_dumps
from analyzers.weights.mapping.symbolic import SymbolicRule
from analyzers.weights.proposing.proposals import Proposal, propose
from analyzers.weights.proving.proof import Survey, survey
from analyzers.weights.state import PortState, StateDict
from analyzers.weights.verdicts import WeightProof

T = TypeVar("T")

Rules: TypeAlias = "tuple[MappingTable | None, tuple[SymbolicRule, ...]]"


def state_key(port: Port) -> str:
    """The name under which a port's measured names are kept (`Project.states`)."""
    return f"{port.cls.path}::{port.name}"


def state_of(project: Project, port: Port) -> PortState | None:
    """What is known of the names of a port and of what fills it; None where nothing is."""
    measured = project.states.get(state_key(port))
    if measured is not None and measured.native is not None and measured.official is not None:
        return measured
    native, official = _dumped(project, port)
    if measured is not None:
        return replace(measured, native=measured.native or native, official=measured.official or official)
    if native is None and official is None:
        return None
    return PortState(native=native, official=official)


def rules_of(project: Project, port: Port, name: Attribute = "param_names_mapping") -> Rules:
    """The rules that decide, place by place as in the table.

    The table is None where it cannot be found, or is not what decides: then the rules are those that the
    class had when it was built (see `deciding`).
    """
    deciding = deciding_rules(project, port, project.states.get(state_key(port)), name)
    if deciding.built or not deciding.known:
        return None, deciding.rules if deciding.known else ()
    return deciding.table, deciding.rules


def proof_of(project: Project, port: Port) -> WeightProof | None:
    """The proof that the official names fill the port; None where the names of a side, or the rules
    between them, are not known."""
    found = survey_of(project, port)
    return found.proof if found is not None else None


def survey_of(project: Project, port: Port) -> Survey | None:
    """Where the rules bring the official names, which is cheap at every key, with the proof that is made
    of it when it is asked for; None where there is no proof."""
    state = state_of(project, port)
    if state is None or state.native is None or state.official is None:
        return None
    known, official = state, state.official
    if rules_of(project, port)[0] is None and known.mapping is None:
        return None
    cls = port.cls
    key = ("weight proof", cls.path, cls.fact.name, cls.line, known.digest)
    return project.sources.memory.about(
        cls.path, cls.fact, key, lambda: _survey(project, port, known, official)
    )


def _survey(project: Project, port: Port, state: PortState, official: StateDict) -> Survey:
    _, rules = rules_of(project, port)
    profile = project.profile
    keep = project.sources.bodies.derive_texts
    kept = keep(("weight proofs", state_key(port)), _Kept[Survey])
    question = (state.digest, rules, profile.mapping_semantics, profile.loading, port.name)
    return kept.answer(
        question,
        lambda: survey(
            state,
            official,
            rules,
            semantics=profile.mapping_semantics,
            loading=profile.loading,
            cls=port.name,
            keep=keep,
        ),
    )


def proposal_of(project: Project, port: Port) -> Proposal | None:
    """The rules that the mapping of a port lacks, as far as names and shapes tell; None where there is no
    proof."""
    proof, state = proof_of(project, port), state_of(project, port)
    if proof is None or state is None or state.native is None or state.official is None:
        return None
    official, native = state.official.tensors, state.native.tensors
    _, rules = rules_of(project, port)
    semantics = project.profile.mapping_semantics
    kept = project.sources.bodies.derive_texts(("proposals", state_key(port)), _Kept[Proposal])
    excluded = frozenset(name for name, _ in proof.exclusions)
    return kept.answer(
        (state.digest, rules, semantics, excluded),
        lambda: propose(official, native, rules, semantics, excluded),
    )


_PROOFS = 4
"""Proofs kept of one port: an edit and its undoing are free."""


class _Kept(Generic[T]):
    """The last proofs of one port (or proposals for it), by all that they depend on."""

    def __init__(self) -> None:
        self._proofs: OrderedDict[Hashable, T] = OrderedDict()

    def answer(self, question: Hashable, make: Callable[[], T]) -> T:
        """What is kept for a question, else what is made."""
        known = self._proofs.get(question)
        if known is None:
            known = self._proofs[question] = make()
            if len(self._proofs) > _PROOFS:
                self._proofs.popitem(last=False)
        self._proofs.move_to_end(question)
        return known


# --------------------------------------------------------------------------- dumps


def _dumped(project: Project, port: Port) -> tuple[StateDict | None, StateDict | None]:
    """The names of the port and of its official counterpart, as key dumps in the tree tell them."""
    paths = find_dumps(project, port)
    native = _read(project, paths.native) if paths.native is not None else None
    official = _read(project, paths.official) if paths.official is not None else None
    if native is not None and is_stale(project, port.cls, native):
        native = None
    return native, official


def _read(project: Project, path: str) -> StateDict | None:
    """The dump at a path of the tree; None where it cannot be read or holds no names, which DIT706 tells."""
    try:
        names = dump_in(project, path)
    except MalformedDump:
        return None
    return names if names is not None and names.tensors else None


def is_stale(project: Project, cls: Placed[ClassFacts], names: StateDict) -> bool:
    """Whether a dump of a port has a name that the port's code cannot give any more."""
    key = ("stale names", cls.path, cls.fact.name, cls.line, names.digest)
    return project.sources.memory.about(cls.path, cls.fact, key, lambda: _is_stale(project, cls, names))


def _is_stale(project: Project, cls: Placed[ClassFacts], names: StateDict) -> bool:
    paths = {tuple(None if c.isdecimal() else c for c in name.split(".")) for name in names.names}
    return any(lack(project, cls, path) is not None for path in paths)
