"""The proof of a port's weights from the question to the report: sides measured, rules chosen, verdict.

`measure` runs the user's code (in the meta worker) or reads headers; `report_on` only thinks.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from analyzers.findings import Location
from analyzers.project.index import Project
from analyzers.project.official import Official
from analyzers.project.ports import Port
from analyzers.project.profile import Profile
from analyzers.weights.deciding import DecidingRules, Written, contradicted, deciding_rules, written_rules
from analyzers.weights.faults import SHADOWED, code_of, keeps_out
from analyzers.weights.files.checkpoints import NotACheckpoint, read_checkpoint
from analyzers.weights.files.dumps import MalformedDump, find_dumps, read_dump
from analyzers.weights.files.headers import Checkpoint
from analyzers.weights.known import is_stale
from analyzers.weights.layout.findings import LayoutFinding, findings, settle
from analyzers.weights.layout.kept_dtypes import KeptModules, kept_by_official, kept_by_port
from analyzers.weights.layout.probing import LayoutReport, probe_layout
from analyzers.weights.proving.proof import prove
from analyzers.weights.proving.proof_of_lora import LoraProof, prove_lora
from analyzers.weights.proving.proof_of_reverse import ReverseProof, prove_reverse
from analyzers.weights.state import PortState, StateDict
from analyzers.weights.verdicts import Fault, Verdict, WeightProof
from lsp_server.checks.against import (
    Against,
    known_officials,
    named_checkpoint,
    named_official,
    no_counterpart,
)
from lsp_server.checks.errors import CheckError
from lsp_server.checks.judging import foreign_names, judged
from lsp_server.checks.meta import (
    DEFAULT_TIMEOUT,
    MetaWorker,
    OnStage,
    PortName,
    StateAnswer,
    StateProblem,
    StateRequest,
)


@dataclass(frozen=True)
class Question:
    """What is to be proved, and how.

    `official` and `checkpoint` as a user writes them, their paths counting from `here`. `config`: what
    configures both sides. `python`: the project's interpreter. `timeout` in seconds for each model.
    """

    python: str
    here: Path
    trusted: bool
    official: str | None = None
    checkpoint: str | None = None
    config: Mapping[str, Any] | None = None
    gates: bool = True
    timeout: float = DEFAULT_TIMEOUT


@dataclass(frozen=True)
class Subject:
    """A port as it is measured: all that has to be read in the tree before the worker is asked.

    `officials`: what may be the official side where the user names nothing, the best first. `dump`: the
    port's own key dump, where it has one that is not out of date. `written`: its mappings as its files on
    disk tell them.
    """

    port: Port
    root: Path
    profile: Profile
    name: PortName
    dump: StateDict | None = None
    officials: tuple[Against, ...] = ()
    written: Written = field(default_factory=dict)


@dataclass(frozen=True)
class Measured:
    """The two sides, and how they were had.

    `configuration`: what both were built from, for a person. `checkpoint`: the official side, where it is
    one; `converted`: the checkpoint beside it, where both are given. `notes`: what holds and is worth
    saying. `problems`: what the worker could not do and the proof did not need. `apart`: why the two sides
    were built from different configurations, "" where they were not. `python`: the interpreter that built
    them. `gates`: whether it tried further configurations of the port.
    """

    port: Port
    against: Against
    state: PortState
    configuration: str
    answer: StateAnswer
    checkpoint: Checkpoint | None = None
    converted: Checkpoint | None = None
    notes: tuple[str, ...] = ()
    problems: tuple[StateProblem, ...] = ()
    apart: str = ""
    python: str = ""
    gates: bool = True


@dataclass(frozen=True)
class WeightReport:
    """The verdict with all that it rests on; `seconds` from the question to the answer.

    `layout`: what the rows of two checkpoints say, and `loading`: whether the names of the converted one load
    into the port; None where only one side is a checkpoint. `reverse` and
    `lora`: the proofs of the other mappings, where they were asked for.
    """

    measured: Measured
    deciding: DecidingRules
    proof: WeightProof
    verdict: Verdict
    because: str
    seconds: float
    layout: LayoutReport | None = None
    layout_findings: tuple[LayoutFinding, ...] = ()
    loading: WeightProof | None = None
    reverse: ReverseProof | None = None
    lora: LoraProof | None = None

    @property
    def overall(self) -> Verdict:
        """The worst of all verdicts that were asked for."""
        asked = [self.verdict, *(proof.verdict for proof in (self.reverse, self.lora) if proof is not None)]
        order: tuple[Verdict, ...] = ("broken", "unknown", "proven")
        return next(verdict for verdict in order if verdict in asked)

    @property
    def port(self) -> Port:
        """The port that was asked about."""
        return self.measured.port

    def code_of(self, fault: Fault) -> str:
        """The rule that reports a fault, the same as in an editor."""
        if fault.kind == "layout":
            return "DIT705"
        return SHADOWED if self._kept_out(fault) is not None else code_of(self.measured.state, fault)

    def place_of(self, fault: Fault) -> Location:
        """Where a fault is shown: at its rule, else at the mapping, else at the class. At the rule that is
        left no name, where another one takes them all."""
        place = self.deciding.places[fault.rule] if fault.rule is not None else None
        place = self._kept_out(fault) or place
        if place is not None:
            return place
        mapping = self.port.mapping
        return mapping.location if mapping is not None else self.port.location

    def _kept_out(self, fault: Fault) -> Location | None:
        """The place of the rule that a fault leaves no name."""
        if fault.other is None or not keeps_out(self.proof, fault):
            return None
        return self.deciding.places[fault.other]


async def measure(
    project: Project, port: Port, question: Question, worker: MetaWorker, on_stage: OnStage | None = None
) -> Measured:
    """Builds the port and has the official side. Raises CheckError where either cannot be had."""
    asking = _Asking(_subject(project, port), question, worker, on_stage)
    if question.checkpoint is not None:
        against = named_checkpoint(project, question.checkpoint, question.here)
        if question.official is None:
            return await asking.checkpoint(against)
        official = named_official(project, port, question.official, question.here)
        if official.kind != "checkpoint":
            raise CheckError(
                f"--official {question.official} and --checkpoint are both something to prove {port.name} "
                "against.",
                "Name one of them; --config with the checkpoint's config.json builds an official class as "
                "the checkpoint has it. Two checkpoints are compared with each other.",
            )
        measured = await asking.checkpoint(official)
        return replace(measured, converted=await asyncio.to_thread(_read, against, project.profile))
    if question.official is not None:
        return await asking.one(named_official(project, port, question.official, question.here))
    return await asking.first_of(subject_of(project, port).officials)


def subject_of(project: Project, port: Port) -> Subject:
    """A port with what may be its official side. Raises CheckError where what the tree names as such cannot
    be used."""
    officials = known_officials(project, port, _official_dump(project, port))
    return replace(_subject(project, port), officials=officials)


def _subject(project: Project, port: Port) -> Subject:
    cls = port.cls
    name = PortName(project.names.module_name(cls.path), cls.fact.name, cls.path)
    dump, written = _own_dump(project, port), written_rules(project, port)
    return Subject(port, project.root, project.profile, name, dump, written=written)


def _own_dump(project: Project, port: Port) -> StateDict | None:
    path = find_dumps(project, port).native
    if path is None:
        return None
    try:
        dump = _read_dump(project.root / path, path)
    except OfficialUnusable:
        return None  # it would only take the place of a port that cannot be built, and that is told
    return None if is_stale(project, port.cls, dump) else dump


async def measure_subject(
    subject: Subject, question: Question, worker: MetaWorker, on_stage: OnStage | None = None
) -> Measured:
    """The same as `measure` for whoever has left the project to another thread. Of the question neither
    `official` nor `checkpoint` counts."""
    return await _Asking(subject, question, worker, on_stage).first_of(subject.officials)


def report_on(
    project: Project, measured: Measured, began: float, *, reverse: bool = False, lora: bool = False
) -> WeightReport:
    """The proof, judged. `began`: a `time.monotonic()`. `reverse`, `lora`: prove these mappings too."""
    deciding = deciding_rules(project, measured.port, measured.state)
    profile = project.profile

    def proved(state: PortState) -> WeightProof:
        return prove(
            state,
            deciding.rules,
            semantics=profile.mapping_semantics,
            loading=profile.loading,
            cls=measured.port.name,
        )

    proof = proved(measured.state)
    if not measured.gates and any(use.state == "dead" for use in proof.rules):
        left_out = "a rule called dead may serve another configuration: --no-gates left these out"
        proof = replace(proof, notes=(*proof.notes, left_out))
    layout: LayoutReport | None = None
    found: tuple[LayoutFinding, ...] = ()
    loading: WeightProof | None = None
    if measured.checkpoint is not None and measured.converted is not None:
        # The loader sends the names of any file through the mapping, converted or not.
        loading = proved(replace(measured.state, official=measured.converted.state_dict()))
        layout = probe_layout(measured.checkpoint, measured.converted, proof)
        proof = settle(proof, layout)
        found = findings(
            layout,
            official_keeps=_kept_by_official(project, measured),
            port_keeps=_kept_by_port(project, measured.port),
        )
    verdict, because = judged(
        (measured.checkpoint, measured.converted), measured.apart, proof, loading, found
    )
    foreign = foreign_names(proof, deciding.rules)
    if foreign is not None:
        because = f"{because}; {foreign}"
        step = (
            "should these be the names of another release: name the one that is loaded, with --official or "
        )
        proof = replace(proof, notes=(f"{step}--checkpoint", *proof.notes))
    other = _loaded_instead(project, measured.port)
    if verdict == "proven" and other is not None:
        verdict, because = "unknown", other
    back = _reverse(project, measured, proof) if reverse else None
    adapter = _lora(project, measured, deciding) if lora else None
    seconds = time.monotonic() - began
    return WeightReport(
        measured, deciding, proof, verdict, because, seconds, layout, found, loading, back, adapter
    )


def _reverse(project: Project, measured: Measured, proof: WeightProof) -> ReverseProof:
    own = deciding_rules(project, measured.port, measured.state, "reverse_param_names_mapping")
    patterns = own.rules if own.known else ()
    return prove_reverse(measured.state, proof, patterns, semantics=project.profile.mapping_semantics)


def _lora(project: Project, measured: Measured, deciding: DecidingRules) -> LoraProof:
    own = deciding_rules(project, measured.port, measured.state, "lora_param_names_mapping")
    adapter = prove_lora(
        measured.state, deciding.rules, own.rules, semantics=project.profile.mapping_semantics
    )
    if own.known:
        return adapter
    missing = "the class has no lora_param_names_mapping, which is read where an adapter is loaded"
    return replace(adapter, because=missing)


def _loaded_instead(project: Project, port: Port) -> str | None:
    """Why a proof about this class is none about what is loaded by its name; None where it is, and where the
    registry does not know the name, which is another finding.

    The worker takes the class from its own module: what the registry makes of the name is known without
    running it.
    """
    spec = project.registry.spec(port.name)
    cls = project.port_index.class_of_spec(spec) if spec is not None else None
    if cls is None or project.names.qualified_class(cls) == project.names.qualified_class(port.cls):
        return None
    return (
        f"the registry leads the name {port.name} to {cls.path}::{cls.fact.name}, so a checkpoint that names "
        f"it builds that class, and the one in {port.cls.path} is the one looked at; rename one of them"
    )


def _kept_by_port(project: Project, port: Port) -> KeptModules | None:
    """What the port keeps in float32; None where its file cannot be read."""
    text = project.sources.text(port.cls.path)
    try:
        return kept_by_port(text, port.name) if text is not None else None
    except SyntaxError:
        return None


def _kept_by_official(project: Project, measured: Measured) -> KeptModules | None:
    """What the class of the official checkpoint keeps in float32; None where its source is not at hand.

    The class that the checkpoint's `config.json` names is one of diffusers; else the port's counterpart.
    """
    config = measured.checkpoint.config if measured.checkpoint is not None else None
    name = config.get("_class_name") if config is not None else None
    references = [f"diffusers:{name}"] if isinstance(name, str) else []
    references += [oracle.ref for oracle in measured.port.oracles]
    official = Official(project.sources, replace(project.settings, python=measured.python))
    for reference in references:
        cls = official.cls(reference)
        text = project.sources.text(cls.path) if cls is not None else None
        try:
            if cls is not None and text is not None:
                return kept_by_official(text, cls.fact.name)
        except SyntaxError:
            continue
    return None


class _Asking:
    """One question, put to the worker and the disk."""

    def __init__(
        self, subject: Subject, question: Question, worker: MetaWorker, on_stage: OnStage | None
    ) -> None:
        self.subject = subject
        self.port = subject.port
        self.question = question
        self.worker = worker
        self.on_stage = on_stage
        self.notes: list[str] = []

    async def first_of(self, candidates: Sequence[Against]) -> Measured:
        """The first that can be had; why the earlier ones cannot is a note."""
        notes: list[str] = []
        for number, against in enumerate(candidates):
            try:
                measured = await self.one(against)
            except OfficialUnusable as error:
                if number == len(candidates) - 1:
                    raise
                notes.append(f"{against.ref} was left out: {error.reason}")
            else:
                return replace(measured, notes=(*notes, *measured.notes))
        raise AssertionError("there is a candidate, and the last one returns or raises")

    async def one(self, against: Against) -> Measured:
        if against.kind == "checkpoint":
            return await self.checkpoint(against)
        if against.kind == "dump":
            return await self.dump(against)
        return await self.cls(against)

    async def cls(self, against: Against) -> Measured:
        answer = await self._ask(against.ref, self.question.config)
        if answer.state.official is None:
            wrong = [p for p in answer.problems if p.side == "official"]
            if not wrong:  # it did not come so far
                raise self._cannot_be_built(answer)
            if against.assumed and wrong[0].stage == "import" and wrong[0].missing is None:
                raise no_counterpart(self.port)
            reason = _told(wrong, f"The official class {against.ref} cannot be had", self.question)
            raise OfficialUnusable(*reason, wrong)
        if answer.state.native is None:
            if self.question.config is not None:
                raise self._cannot_be_built(answer)
            return await self._apart(against, answer)
        configuration = (
            "the configuration given with --config"
            if self.question.config is not None
            else f"the defaults of {against.ref}"
        )
        return self._measured(against, answer, answer.state, configuration)

    async def _apart(self, against: Against, answer: StateAnswer) -> Measured:
        """The port from its own defaults, where it cannot be built from the official configuration."""
        wrong = [p for p in answer.problems if p.side == "port"]
        alone = await self._port(None)
        reason, _ = _told(
            wrong, f"{self.port.name} cannot be built from the configuration of {against.ref}", self.question
        )
        state = replace(alone.state, official=answer.state.official, ignored=answer.state.ignored)
        answer = replace(alone, official=answer.official, problems=(*answer.problems, *alone.problems))
        measured = self._measured(against, answer, state, "the defaults of each side")
        return replace(measured, apart=reason.rstrip("."))

    async def checkpoint(self, against: Against) -> Measured:
        read = await asyncio.to_thread(_read, against, self.subject.profile)
        config = self.question.config if self.question.config is not None else read.config
        if config is None:
            _refuse_unread_config(read)
        answer = await self._port(config)
        # The folder's own patterns are not those of a class that ignores names.
        state = replace(answer.state, official=replace(read.state_dict(), source=against.ref))
        if self.question.config is not None:
            configuration = "the configuration given with --config"
        elif config is not None:
            configuration = "the checkpoint's config.json"
        else:
            configuration = "the port's defaults (there is no config.json beside the checkpoint)"
            self.notes.append(
                "should the checkpoint be of another size or variant than the port's defaults: --config with "
                "its config.json builds the port as it needs it"
            )
        measured = self._measured(against, answer, state, configuration)
        return replace(measured, checkpoint=read, notes=(*read.notes, *measured.notes))

    async def dump(self, against: Against) -> Measured:
        assert against.path is not None
        official = await asyncio.to_thread(_read_dump, against.path, against.ref)
        answer = await self._port(self.question.config)
        given = self.question.config is not None
        configuration = "the configuration given with --config" if given else "the port's defaults"
        return self._measured(against, answer, replace(answer.state, official=official), configuration)

    async def _ask(self, official: str | None, config: Mapping[str, Any] | None) -> StateAnswer:
        subject = self.subject
        return await self.worker.state(
            StateRequest(
                root=str(subject.root),
                python=self.question.python,
                trusted=self.question.trusted,
                code_base=subject.profile.name,
                port=subject.name,
                official=official,
                config=config,
                gates=self.question.gates,
                timeout=self.question.timeout,
            ),
            self.on_stage,
        )

    async def _port(self, config: Mapping[str, Any] | None) -> StateAnswer:
        """The port alone; without a configuration, its key dump where it cannot be built and the dump is not
        out of date. Raises CheckError."""
        answer = await self._ask(None, config)
        if answer.state.native is not None:
            return answer
        error = self._cannot_be_built(answer)
        dump = self.subject.dump
        if dump is None or config is not None:
            raise error
        self.notes.append(f"{error.reason.rstrip('.')}: its key dump {dump.source} took its place")
        return replace(answer, state=replace(answer.state, native=dump))

    def _cannot_be_built(self, answer: StateAnswer) -> CheckError:
        wrong = [p for p in answer.problems if p.side in ("port", "code base")]
        return Unbuildable(*_told(wrong, f"{self.port.name} cannot be built", self.question), wrong)

    def _measured(
        self, against: Against, answer: StateAnswer, state: PortState, configuration: str
    ) -> Measured:
        notes = list(self.notes)
        if against.others:
            others = ", ".join(against.others)
            notes.append(
                f"{others} {'is' if len(against.others) == 1 else 'are'} named as official counterpart too: "
                f"the first one counts here, and --official chooses another"
            )
        state = replace(state, contradicted=contradicted(self.subject.written, state))
        return Measured(
            self.port,
            against,
            state,
            configuration,
            answer,
            notes=tuple(notes),
            problems=answer.problems,
            python=self.question.python,
            gates=self.question.gates,
        )


class Unbuildable(CheckError):
    """A side cannot be had; `problems` are what the worker says of it."""

    def __init__(self, reason: str, next_step: str, problems: Sequence[StateProblem] = ()) -> None:
        super().__init__(reason, next_step)
        self.problems = tuple(problems)


class OfficialUnusable(Unbuildable):
    """The official side cannot be had; another one may be."""


_OWN_TYPES = ("Unbuildable", "Exit", "Crash")
"""Types of problems that the worker found itself, and no exception of the user's code."""


def _told(problems: Sequence[StateProblem], what: str, question: Question) -> tuple[str, str]:
    """Reason and next step of the first problem."""
    if not problems:
        return f"{what}: the worker gives no reason.", "Report this; --timeout and --config may help."
    problem = problems[0]
    path = problem.path
    place = f" ({path}:{(problem.line or 0) + 1})" if path and not path.startswith("<") else ""
    message = " ".join(problem.message.split()).rstrip(".")
    kind = f"{problem.type}: " if problem.type not in _OWN_TYPES else ""
    reason = f"{what}: {kind}{message}{place}."
    if problem.next_step:
        if (
            problem.stage in ("config", "build")
            and question.config is None
            and "onfiguration" in problem.next_step
        ):
            return reason, f"{problem.next_step.rstrip('.')} (--config FILE)."
        return reason, problem.next_step
    if problem.missing:
        return reason, f"Run `{question.python} -m pip install {problem.missing.partition('.')[0]}`."
    if problem.side == "official":
        return reason, "Mend it there, or name another with --official or --checkpoint."
    return reason, "Mend it there; `python -c` with the same import shows the whole traceback."


def _refuse_unread_config(read: Checkpoint) -> None:
    """Raises CheckError where a `config.json` lies beside a checkpoint and cannot be read: a port of any
    other configuration would prove nothing."""
    for problem in read.problems:
        if problem.path.name == "config.json":
            raise OfficialUnusable(
                f"{problem.message}: the checkpoint does not say how to build the port.",
                f"{problem.next_step[:1].upper()}{problem.next_step[1:]}, or name another with --config.",
            )


def _read(against: Against, profile: Profile) -> Checkpoint:
    assert against.path is not None
    try:
        read = read_checkpoint(against.path, loader=profile.title, by_index=profile.loading.by_index)
    except NotACheckpoint as error:
        raise OfficialUnusable(f"{error.message}.", f"{error.next_step}.") from error
    except FileNotFoundError as error:
        raise OfficialUnusable(f"{against.ref} does not exist.", "Check the spelling.") from error
    if read.problems and not read.tensors and not read.names_only:
        problem = read.problems[0]
        raise OfficialUnusable(f"{problem.message}.", f"{problem.next_step}.")
    return read


def _read_dump(path: Path, source: str) -> StateDict:
    again = "Write it anew with `ditproof weights --dump`."
    try:
        return read_dump(path.read_text(encoding="utf-8"), source)
    except MalformedDump as error:
        raise OfficialUnusable(f"{error}.", f"{error.next_step}.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise OfficialUnusable(f"The key dump {source} cannot be read: {error}.", again) from error


def _official_dump(project: Project, port: Port) -> Path | None:
    path = find_dumps(project, port).official
    return project.root / path if path is not None else None
