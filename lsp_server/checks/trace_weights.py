"""A trace with real weights: the port's own parity test, both of its models recorded, judged and looked into.

The test runs as it is. Each model's first forward is recorded in sketches, and when the body of a test has
ended, both models are asked about while they live (`held_models`): the questions are those of the tiny tier
(`checks.trace`), on the inputs and weights of the test. So an error is held against what rounding was
measured to do: the official module in float32 against float64, and in a lower dtype against its own loss.
Where there is no memory for whole models, the module that holds the first difference of the sketches is asked
about alone.

Where the models cannot be asked, the sketches of the free runs are all there is. How far rounding takes two
free runs apart is assumed then, and not measured: such a difference explains a test that fails, and accuses
no test that passes.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from analyzers.findings import JsonValue, Location
from analyzers.numeric.records import Address, Pair
from analyzers.numeric.trace_diff import Row, TraceDiff, describe, diff
from analyzers.numeric.trace_files import TraceFile, TraceFileError, read_trace
from analyzers.numeric.trace_names import Rename, by_mapping
from analyzers.numeric.verdicts import Divergence, DivergenceKind, NumericStatus, NumericVerdict, Spot
from analyzers.project.profiles.base import MappingSemantics
from lsp_server.checks.against import Against
from lsp_server.checks.errors import CheckError
from lsp_server.checks.executor import Executor
from lsp_server.checks.held_models import Extent, HeldModels, HeldRun, joined, widened, widened_pair
from lsp_server.checks.meta import AskFailed, OnStage, PortName
from lsp_server.checks.parity_traces import inputs_apart
from lsp_server.checks.recipes import Recipe
from lsp_server.checks.requests import CheckRequest, CheckResult
from lsp_server.checks.results import build_result
from lsp_server.checks.run import could_not_start
from lsp_server.checks.strict import MalformedAnswer, Places
from lsp_server.checks.trace import measured
from lsp_server.checks.trace_question import TraceQuestion
from lsp_server.checks.trace_result import TraceResult

MOST_TESTS = 4
"""So many tests of one run are asked about, until one of them shows a difference."""

ROUNDING = {"bfloat16": 2.0**-9, "float16": 2.0**-11}


@dataclass(frozen=True)
class WeightsQuestion:
    """One parity run to be traced. `request` has a `trace` with `hold`. `rename`: the port's mapping as its
    sources tell it; the port that runs tells its own, which counts. `place`: where the port's class stands.
    `semantics`: how the code base applies a mapping. `operations`: look into modules that differ."""

    request: CheckRequest
    code_base: str
    port: PortName
    place: Location
    rename: Rename
    semantics: MappingSemantics
    official: str
    official_because: str
    operations: bool = True
    timeout: float = 300.0


async def trace_weights(
    question: WeightsQuestion, executor: Executor, on_stage: OnStage | None = None
) -> TraceResult:
    """The answer. Raises UntrustedWorkspaceError; a cancelled task ends the run first."""
    began = time.monotonic()
    watching = _Watching(question, executor, on_stage or _silent)
    check = await watching.run()
    result = _concluded(question, check, watching.looks)
    return replace(
        result,
        tier="weights",
        check=check,
        seconds=time.monotonic() - began,
        notes=(*result.notes, *check.notes),
    )


def _silent(stage: str) -> None:
    """Nobody listens to what is being done."""


@dataclass(frozen=True)
class _Look:
    """What was seen of one test. `found`: the sketches of its free runs compared. `result`: what asking its
    models came to, with full names; `extent`: about which modules. `notes`: what there is to say."""

    test: str
    found: TraceDiff | None = None
    files: tuple[TraceFile, TraceFile] | None = None
    result: TraceResult | None = None
    extent: Extent = field(default_factory=Extent)
    notes: tuple[str, ...] = ()

    @property
    def verdict(self) -> NumericVerdict | None:
        """The verdict of the models that were asked."""
        return self.result.verdict if self.result is not None else None


class _Watching:
    """One run, listened to from its start to its end."""

    def __init__(self, question: WeightsQuestion, executor: Executor, on_stage: OnStage) -> None:
        self.question = question
        self.executor = executor
        self.on_stage = on_stage
        self.looks: list[_Look] = []
        self._files: dict[tuple[str, str], list[str]] = {}

    async def run(self) -> CheckResult:
        request = self.question.request
        try:
            job = await self.executor.submit(request)
        except CheckError as error:
            return could_not_start(request, error)
        held = HeldRun(self.executor, job, request.root, self.question.timeout)
        talks: list[asyncio.Task[None]] = []
        try:
            async for event in self.executor.events(job):
                if event.kind == "answer":
                    held.take(event.data)
                elif event.kind == "traced":
                    key = str(event.data["test"]), str(event.data["side"])
                    if event.data.get("forwards"):
                        self._files.setdefault(key, []).append(str(event.data["file"]))
                elif event.kind == "held":
                    talks.append(asyncio.create_task(self._talk(held, event.data)))
                elif event.kind == "unheld":
                    talks.append(asyncio.create_task(self._unheld(event.data)))
                elif event.kind in ("phase", "outcome"):
                    self.on_stage(event.message)
            held.over()
            await asyncio.gather(*talks)
            return build_result(request, await self.executor.fetch(job))
        except BaseException:
            for talk in talks:
                talk.cancel()
            await asyncio.shield(self.executor.cancel(job))
            raise

    async def _unheld(self, told: Mapping[str, JsonValue]) -> None:
        test = str(told["test"])
        look = await self._recorded(test, self.question.rename)
        text = f"the models of {test} were not asked about: {told['message']}"
        self.looks.append(replace(look, notes=(*look.notes, text)))

    async def _talk(self, held: HeldRun, told: Mapping[str, JsonValue]) -> None:
        """Everything about one test whose models are held; they are let go in any case."""
        test = str(told["test"])
        try:
            if len(self.looks) < MOST_TESTS and not any(_differs(look) for look in self.looks):
                self.looks.append(await self._look(held, test, told))
        finally:
            try:
                await held.release()
            except CheckError as error:
                # The run has ended, with or without our doing; its own result says how.
                self.on_stage(error.reason)

    async def _look(self, held: HeldRun, test: str, told: Mapping[str, JsonValue]) -> _Look:
        self.on_stage(f"comparing the models of {test}")
        rename = self.question.rename
        look = await self._recorded(test, rename)
        if look.notes:
            return look
        extent: Extent | None = Extent()
        size, free = told.get("bytes"), told.get("free")
        if isinstance(size, (int, float)) and isinstance(free, (int, float)) and size > free:
            extent = _first_block(look, rename)
            text = f"the models of {test} are too large to be compared as a whole in the memory that is free"
            if extent is None:
                return replace(look, notes=(text,))
            text += f": only {extent.native}, where the recorded values first differ, was looked into"
            look = replace(look, extent=extent, notes=(text,))
        assert extent is not None
        try:
            models = await HeldModels.open(held, extent, rename, self.question.semantics)
            loaded = await self._weights(held, models, extent)
            result = await measured(self._as_question(test, models), models, self.on_stage)
        except AskFailed as error:
            text = f"the models of {test} were not asked about: {error.problem.message}"
            return replace(look, notes=(*look.notes, text))
        except (CheckError, MalformedAnswer) as error:
            return replace(look, notes=(*look.notes, f"the models of {test} gave no answer: {error}"))
        if result.verdict is None:
            text = f"the models of {test} could not be compared in float32: {result.reason}"
            return replace(look, notes=(*look.notes, *loaded, text))
        kept, rounded = _beyond_buffers(result.verdict, models)
        loaded += rounded
        verdict = widened(kept, extent)
        pairs = tuple(widened_pair(pair, extent) for pair in result.pairs)
        notes = (*look.notes, *loaded)
        return replace(look, result=replace(result, verdict=verdict, pairs=pairs), notes=notes)

    async def _weights(self, held: HeldRun, models: HeldModels, extent: Extent) -> tuple[str, ...]:
        """What the port holds that the official model does not, in words."""
        outer = {"official": extent.official, "native": extent.native}
        told = await held.ask(
            "weights",
            fillings=[
                [joined(outer["native"], native), [joined(outer["official"], name) for name in sources]]
                for native, sources in models.built["fillings"]
            ],
        )
        differing, shapes = told.get("differing"), told.get("shapes")
        if not isinstance(differing, list) or not isinstance(shapes, list):
            raise MalformedAnswer("weights: lists are expected")
        names = [*(str(name) for name, _ in differing), *map(str, shapes)]
        if not names:
            return ()
        shown = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
        return (
            f"in this test the port does not hold the official weights: {shown}. What differs may follow "
            "from that; look at how the test loads them.",
        )

    async def _recorded(self, test: str, rename: Rename) -> _Look:
        """The sketches of a test's free runs, compared."""
        files = [self._files.get((test, side), []) for side in ("official", "native")]
        if any(len(found) != 1 for found in files):
            return _Look(test)
        try:
            left, right = [await asyncio.to_thread(read_trace, Path(found[0])) for found in files]
        except TraceFileError as error:
            return _Look(test, notes=(error.reason,))
        apart = inputs_apart(left, right)
        if apart:
            return _Look(test, files=(left, right), notes=(f"{test}: {apart}",))
        found = await asyncio.to_thread(diff, left, right, by_mapping(left, right, rename))
        return _Look(test, found, (left, right))

    def _as_question(self, test: str, models: HeldModels) -> TraceQuestion:
        """The question of the tiny tier that asks the same of these models."""
        question, request = self.question, self.question.request
        dtype = str(models.built.get("dtype"))
        return TraceQuestion(
            root=request.root,
            code_base=question.code_base,
            port=question.port,
            place=question.place,
            officials=(Against("class", question.official, question.official_because),),
            recipe=Recipe(Path(request.root, request.test.partition("::")[0]), test, "the test's own inputs"),
            python=request.python,
            trusted=request.trusted,
            device=str(models.built.get("device")),
            dtype=dtype if dtype in ("bfloat16", "float16") else None,
            operations=question.operations,
            timeout=question.timeout,
        )


def _beyond_buffers(verdict: NumericVerdict, models: HeldModels) -> tuple[NumericVerdict, tuple[str, ...]]:
    """The verdict without what buffers of the official model can explain that the test itself rounded.

    `model.to(bfloat16)` rounds them too (RoPE tables), and float32 copies do not bring their digits back.
    A port that computes them anew has the better ones.
    """
    names = models.built.get("rounded")
    if not isinstance(names, list) or not names:
        return verdict, ()
    limit = 4 * ROUNDING.get(str(models.built.get("dtype")), ROUNDING["bfloat16"])
    kept = tuple(
        found
        for found in verdict.divergences
        if found.kind in ("dtype", "nonfinite") or found.error is None or found.error > limit
    )
    note = (
        f"the test rounded buffers of the official model ({', '.join(map(str, names[:5]))}): differences up "
        f"to {limit:.1g} are not held against the port"
    )
    if len(kept) == len(verdict.divergences):
        return verdict, (note,)
    left = len(verdict.divergences) - len(kept)
    note += f"; {left} of that size {'is' if left == 1 else 'are'} left out"
    if kept:
        return replace(verdict, divergences=kept), (note,)
    reason = "all aligned values agree to what these rounded buffers do"
    # What the outputs differ by is put down to the buffers as well: nothing of the port's reaches them.
    passed = replace(
        verdict, status="passed", divergences=(), reason=reason, reaches_outputs=False, drifting=()
    )
    return passed, (note,)


def _first_block(look: _Look, rename: Rename) -> Extent | None:
    """The innermost aligned module with parts around the first difference of the sketches; the module itself
    where there is none."""
    if look.found is None or look.found.first is None or look.files is None:
        return None
    row = look.found.first
    official, native = look.files
    partners = {c.module: (name, c) for name, c in by_mapping(official, native, rename).items()}
    name = row.native.module
    while name:
        name = name.rpartition(".")[0]
        found = partners.get(name)
        if name and found is not None and found[1].part is None and _same_calls(look, found[0], name):
            return Extent(found[0], name, (0, 0))
    own = partners.get(row.native.module)
    if row.native.module and own is not None and own[1].part is None:
        return Extent(own[0], row.native.module, (row.official[0].call, row.native.call))
    return None


def _same_calls(look: _Look, official: str, native: str) -> bool:
    """Whether both modules are called once, so that there is no question which call is meant."""
    assert look.files is not None
    for trace, name in zip(look.files, (official, native), strict=True):
        if {tap.call for tap in trace.taps if tap.module == name and tap.step == 0} != {0}:
            return False
    return True


def _differs(look: _Look) -> bool:
    return look.verdict is not None and look.verdict.status == "failed"


# --------------------------------------------------------------------------- the conclusion


def _concluded(question: WeightsQuestion, check: CheckResult, looks: Sequence[_Look]) -> TraceResult:
    """One result from the test's own verdict and from what was seen of its models."""
    notes = tuple(dict.fromkeys(note for look in looks for note in look.notes))
    bare = TraceResult(question.port.cls, check.status, check.reason, check.next_step, 0.0, place=check.place)
    if check.status not in ("passed", "failed"):
        return replace(bare, notes=notes)
    deciding = next((look for look in looks if _differs(look)), None)
    deciding = deciding or next((look for look in looks if look.verdict is not None), None)
    if deciding is not None:
        assert deciding.result is not None
        told = _judged(check, deciding, looks)
        return replace(told, notes=(*notes, *deciding.result.notes))
    failing = {outcome.test for outcome in check.outcomes if outcome.outcome == "failed"}
    seen = [look for look in looks if look.found is not None]
    look = next((look for look in seen if look.test in failing), seen[0] if seen else None)
    if look is None:
        return replace(bare, notes=notes)
    return replace(
        bare,
        verdict=_from_sketches(check, look, question.request.root),
        notes=(*notes, _assumed(check, look)),
    )


def _judged(check: CheckResult, look: _Look, looks: Sequence[_Look]) -> TraceResult:
    """From models that were asked."""
    result = look.result
    assert result is not None
    verdict = result.verdict
    assert verdict is not None
    extent = f"in {look.extent.native}, " if look.extent != Extent() else ""
    if verdict.status == "failed":
        said = "the test passes, and " if check.status == "passed" else ""
        reason, step = f"{said}{extent}{verdict.reason}", ""
    elif check.status == "passed":
        count = sum(other.verdict is not None for other in looks)
        asked = "its models" if count == 1 else f"the models of {count} tests"
        reason, step = f"{check.reason}; of {asked}, {extent}{verdict.reason}", ""
    else:
        where = f"of {look.extent.native} " if look.extent != Extent() else ""
        reason = (
            f"{check.reason}; run again on the test's inputs, all aligned values {where}agree to rounding in "
            "float32"
        )
        step = "Look at what the test does besides: how it makes the inputs, what it compares, its tolerance."
    status: NumericStatus = "failed" if "failed" in (verdict.status, check.status) else "passed"
    compared = result.compared
    return replace(
        result,
        status=status,
        reason=reason,
        next_step=step,
        compared=replace(compared, cases=tuple(o.test for o in looks if o.verdict)) if compared else None,
        verdict=replace(verdict, status=status, reason=reason),
        place=check.place if status == "failed" and not verdict.divergences else result.place,
    )


def _assumed(check: CheckResult, look: _Look) -> str:
    found = look.found
    assert found is not None
    if found.first is None:
        return f"of the recorded values of {look.test}, {found.reason}"
    text = (
        f"{describe(found.first)}: {found.first.message}; the two ran free, and how far rounding takes them "
        "apart is assumed here and was not measured"
    )
    return f"the test passes; the recorded values are apart at {text}" if check.status == "passed" else text


def _from_sketches(check: CheckResult, look: _Look, root: str) -> NumericVerdict:
    """The verdict of two free runs, as far as they tell."""
    found = look.found
    assert found is not None
    assert look.files is not None
    divergences: tuple[Divergence, ...] = ()
    if check.status == "failed" and found.first is not None:
        divergences = (_as_divergence(found, found.first, look.files, root),)
    taps = look.files[1].taps
    return NumericVerdict(
        status="failed" if check.status == "failed" else "passed",
        reason=check.reason,
        outputs=(),
        divergences=divergences,
        reaches_outputs=check.status == "failed",
        unlocated=False,
        layouts=(),
        unaligned=tuple((side, name) for side, name in found.unaligned),
        not_fired=(),
        taps=len(taps),
        aligned=len(found.rows),
        drift=(),
        notes=found.notes,
    )


def _as_divergence(found: TraceDiff, row: Row, files: tuple[TraceFile, TraceFile], root: str) -> Divergence:
    kind: DivergenceKind = "between"
    if row.status == "layout":
        kind = "layout"
    elif row.status == "nonfinite":
        kind = "nonfinite"
    elif _has_good_inputs(found, row):
        kind = "inside"
    tap, one = row.native, row.official[0]
    pair = Pair(
        0,
        Address(one.module, one.call, one.end, one.label),
        Address(tap.module, tap.call, tap.end, tap.label),
        tap.part,
        row.why,
    )
    return Divergence(
        kind=kind,
        pair=pair,
        native=_spot(files[1], tap.module, root),
        official=_spot(files[0], one.module, root),
        error=row.error,
        floor=None,
        after=(found.after.native.module,) if found.after is not None else (),
        message=f"the recorded values first differ at {describe(row)}: {row.message}",
    )


def _has_good_inputs(found: TraceDiff, row: Row) -> bool:
    """Whether all inputs of the call whose output differs were compared and agree."""
    if row.native.end != "out":
        return False
    inputs = [
        other
        for other in found.rows
        if other.native.end == "in"
        and (other.native.module, other.native.call, other.native.step)
        == (row.native.module, row.native.call, row.native.step)
    ]
    return bool(inputs) and all(other.status == "equal" for other in inputs)


def _spot(trace: TraceFile, module: str, root: str) -> Spot:
    """Where a module's class defines its `forward`."""
    found = next((one for one in trace.modules if one.name == module), None)
    if found is None or found.path is None:
        return Spot(module, None, None, None)
    return Spot(module, Places(root).inside(found.path), found.line, found.line)
