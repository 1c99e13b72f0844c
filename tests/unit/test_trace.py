"""What a trace makes of what the session answers: the verdict, and each way in which there is none."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import tiny_answers
from tiny_answers import PORT_FILE, TinyAnswers, problem

from analyzers.findings import START_OF_FILE, Location
from analyzers.numeric.verdicts import NumericVerdict
from lsp_server.checks import trace_comparing, trace_following
from lsp_server.checks.against import Against
from lsp_server.checks.errors import CheckError
from lsp_server.checks.meta import MetaWorker, PortName, SupersededError
from lsp_server.checks.recipes import Recipe
from lsp_server.checks.trace import trace
from lsp_server.checks.trace_question import TraceQuestion
from lsp_server.checks.trace_result import TraceResult
from lsp_server.commands import trace as trace_command

PORT_TEXT = """\
class Sound:
    def __init__(self):
        super().__init__()
        self.proj = Linear(8, 8)
    def forward(self, x): return F.layer_norm(x, eps=1e-5)
"""


@pytest.fixture
def root(tmp_path: Path) -> str:
    file = tmp_path.resolve() / PORT_FILE
    file.parent.mkdir(parents=True)
    file.write_text(PORT_TEXT)
    return str(tmp_path.resolve())


@pytest.fixture
def question(root: str) -> TraceQuestion:
    return TraceQuestion(
        root=root,
        code_base="fastvideo",
        port=PortName("fastvideo.models.dits.sound", "Sound", PORT_FILE),
        place=Location(PORT_FILE, START_OF_FILE),
        officials=(Against("class", "diffusers:Sound", "a test takes it"),),
        recipe=Recipe(Path("/recipes/sound.py"), "sound", "built in"),
        python="python3",
        trusted=True,
    )


def traced(question: TraceQuestion, answers: TinyAnswers) -> TraceResult:
    return asyncio.run(trace(question, cast("MetaWorker", answers)))


def asks(answers: TinyAnswers, name: str) -> list[dict[str, Any]]:
    return [arguments for ask, arguments in answers.asked if ask == name]


# --------------------------------------------------------------------------- verdicts


def test_what_agrees_passes_and_nothing_is_followed(question: TraceQuestion, root: str) -> None:
    answers = TinyAnswers(root)
    result = traced(question, answers)
    assert (result.status, result.next_step, result.divergences) == ("passed", "", ())
    assert asks(answers, "operations") == []
    assert answers.asked[-1] == ("end", {})
    (request,) = answers.requests
    assert (request.official, request.recipe, request.seed) == ("diffusers:Sound", "/recipes/sound.py", 0)
    assert result.compared is not None
    assert result.compared.cases == ("plain", "batch")
    assert result.files == (PORT_FILE,)


def test_a_difference_is_followed_to_its_line(question: TraceQuestion, root: str) -> None:
    answers = TinyAnswers(root, wrong=frozenset({"plain", "batch"}))
    result = traced(question, answers)
    assert result.status == "failed"
    (found,) = result.divergences
    assert (found.kind, found.pair.native.module) == ("inside", "proj")
    assert found.mismatch is not None
    assert found.mismatch.what == "constant"
    assert (found.native.path, found.native.line) == (PORT_FILE, 4)
    (asked,) = asks(answers, "operations")
    assert (asked["case"], asked["goal"], asked["dtype"]) == ("plain", found.pair.number, "float32")


def test_the_case_that_shows_it_is_followed(question: TraceQuestion, root: str) -> None:
    answers = TinyAnswers(root, wrong=frozenset({"batch"}))
    assert traced(question, answers).status == "failed"
    assert [asked["case"] for asked in asks(answers, "operations")] == ["batch"]


def test_lockstep_replaces_what_is_aligned_and_a_free_run_nothing(question: TraceQuestion, root: str) -> None:
    answers = TinyAnswers(root)
    traced(question, answers)
    runs = [
        (a["case"], a["replace"] is not False, a["dtype"], a["floors"]) for a in asks(answers, "lockstep")
    ]
    assert ("plain", True, "float32", True) in runs
    assert ("batch", True, "float32", True) in runs
    assert ("plain", False, "float32", False) in runs
    assert ("plain", True, "bfloat16", False) in runs


def test_without_lockstep_nothing_is_replaced(question: TraceQuestion, root: str) -> None:
    answers = TinyAnswers(root, wrong=frozenset({"plain"}))
    traced(replace(question, lockstep=False, operations=False), answers)
    assert {a["replace"] for a in asks(answers, "lockstep")} == {False}
    assert asks(answers, "operations") == []


def test_float32_alone_asks_for_no_other_dtype(question: TraceQuestion, root: str) -> None:
    answers = TinyAnswers(root)
    result = traced(replace(question, dtype="float32"), answers)
    assert {a["dtype"] for a in asks(answers, "lockstep")} == {"float32"}
    assert result.compared is not None
    assert result.compared.dtype is None


def test_a_dtype_in_which_a_model_does_not_run_is_a_note(question: TraceQuestion, root: str) -> None:
    raised = problem("official", "forward", "no kernel for BFloat16")
    result = traced(question, TinyAnswers(root, raising={("bfloat16", "plain"): raised}))
    assert result.status == "passed"
    assert any("nothing is said about bfloat16" in n and "no kernel" in n for n in result.notes)


def test_what_the_port_alone_raises_in_a_low_dtype_is_an_error_at_its_line(
    question: TraceQuestion, root: str
) -> None:
    raised = problem("port", "forward", "expected BFloat16", path=f"{root}/{PORT_FILE}", line=4)
    result = traced(question, TinyAnswers(root, raising={("bfloat16", "batch"): raised}))
    assert result.status == "failed"
    (found,) = result.divergences
    assert found.kind == "dtype"
    assert (found.native.path, found.native.line) == (PORT_FILE, 4)
    assert found.message == (
        "the port raises RuntimeError in bfloat16, where the official model runs: expected BFloat16"
    )
    assert result.reason == "the same in float32; in a lower dtype the port raises"


def test_what_the_official_model_raises_in_a_low_dtype_too_is_no_error_of_the_port(
    question: TraceQuestion, root: str
) -> None:
    raised = problem("port", "forward", "no kernel", path=f"{root}/{PORT_FILE}", line=4)
    official = problem("official", "forward", "no kernel")
    answers = TinyAnswers(root, raising={("bfloat16", "plain"): raised, ("floors", "plain"): official})
    result = traced(question, answers)
    assert result.status == "passed"
    assert result.divergences == ()
    assert any("nothing is said about bfloat16 in the case plain" in note for note in result.notes)


def test_operations_that_cannot_be_had_leave_the_place_and_a_note(question: TraceQuestion, root: str) -> None:
    failing = {("operations", "plain"): problem("code base", "trace", "too deep")}
    result = traced(question, TinyAnswers(root, wrong=frozenset({"plain"}), failing=failing))
    assert result.status == "failed"
    assert result.divergences[0].mismatch is None
    assert any("operations of proj could not be had" in n and "too deep" in n for n in result.notes)


# --------------------------------------------------------------------------- no verdict


def test_a_port_that_raises_is_shown_at_its_line(question: TraceQuestion, root: str) -> None:
    raised = problem("port", "forward", "shapes do not fit", path=f"{root}/{PORT_FILE}", line=4)
    result = traced(question, TinyAnswers(root, raising={("native", "plain"): raised}))
    assert result.status == "error"
    assert result.reason == f"the port raises RuntimeError: shapes do not fit ({PORT_FILE}:5)."
    assert result.place is not None
    assert (result.place.path, result.place.span.line) == (PORT_FILE, 4)
    assert "port_inputs" in result.next_step


def test_an_official_model_that_raises_points_to_the_inputs(question: TraceQuestion, root: str) -> None:
    raised = problem("official", "forward", "missing a mask")
    result = traced(question, TinyAnswers(root, raising={("official", "plain"): raised}))
    assert result.status == "error"
    assert "the official model raises RuntimeError: missing a mask" in result.reason
    assert "recipe sound" in result.next_step


def test_a_port_that_raises_in_another_case_does_not_pass(question: TraceQuestion, root: str) -> None:
    raised = problem("port", "forward", "no batches", path=f"{root}/{PORT_FILE}", line=4)
    result = traced(question, TinyAnswers(root, raising={("native", "batch"): raised}))
    assert result.status == "error"
    assert "no batches" in result.reason
    assert result.compared is not None
    assert result.compared.cases == ("plain",)
    assert result.verdict is not None
    assert any("case batch was left out" in note for note in result.notes)


def test_an_official_model_that_refuses_a_case_is_no_fault_of_the_port(
    question: TraceQuestion, root: str
) -> None:
    raised = problem("official", "forward", "no batches")
    result = traced(question, TinyAnswers(root, raising={("official", "batch"): raised}))
    assert result.status == "passed"
    assert any("case batch was left out" in note for note in result.notes)


def test_the_next_official_class_is_tried_where_one_cannot_be_had(question: TraceQuestion, root: str) -> None:
    second = Against("class", "diffusers:Other", "a test takes it")
    two = replace(question, officials=(*question.officials, second))
    absent = problem("official", "import", "no module named x", missing="x")
    answers = TinyAnswers(root, unbuildable={"diffusers:Sound": absent})
    result = traced(two, answers)
    assert result.status == "passed"
    assert [request.official for request in answers.requests] == ["diffusers:Sound", "diffusers:Other"]
    assert result.compared is not None
    assert result.compared.official == "diffusers:Other"
    assert any("diffusers:Sound was left out" in note for note in result.notes)
    alone = traced(question, answers)
    assert alone.status == "error"
    assert "python3 -m pip install x" in alone.next_step


@pytest.mark.parametrize(
    ("told", "reason", "step"),
    [
        (
            problem("port", "recipe", "no inputs", type="BadRecipe"),
            "the recipe cannot be used: no inputs",
            "recipe sound",
        ),
        (
            problem("port", "load", "shape [8] does not fit"),
            "the port does not take the official weights: RuntimeError: shape [8]",
            "ditproof weights Sound",
        ),
        (
            problem("code base", "import", "the process was ended by SIGSEGV", type="Crash"),
            "the process was ended by SIGSEGV",
            "",
        ),
        (problem("port", "build", "no dim", next_step="Give one."), "the port cannot be built", "Give one."),
    ],
)
def test_what_keeps_a_side_from_being_built(
    question: TraceQuestion, root: str, told: dict[str, Any], reason: str, step: str
) -> None:
    result = traced(question, TinyAnswers(root, unbuildable={"diffusers:Sound": told}))
    assert result.status == "error"
    assert reason in result.reason
    assert step in result.next_step
    assert result.next_step
    assert [p.message for p in result.problems] == [told["message"]]


def test_a_newer_request_cancels_and_a_worker_that_fails_says_how(question: TraceQuestion, root: str) -> None:
    cancelled = traced(question, TinyAnswers(root, error=SupersededError("Sound")))
    assert cancelled.status == "cancelled"
    late = traced(question, TinyAnswers(root, error=CheckError("took too long.", "Raise --timeout.")))
    assert (late.status, late.reason, late.next_step) == ("error", "took too long.", "Raise --timeout.")


@pytest.mark.parametrize("ask", ["observe", "lockstep"])
def test_an_answer_that_is_none_is_refused(question: TraceQuestion, root: str, ask: str) -> None:
    result = traced(question, TinyAnswers(root, malformed=ask))
    assert result.status == "error"
    assert "cannot be read" in result.reason


def broken(change: Callable[[dict[str, Any]], None], root: str) -> dict[str, Any]:
    document = tiny_answers.built(root)
    change(document)
    return document


@pytest.mark.parametrize(
    "change",
    [
        lambda b: b.pop("cases"),
        lambda b: b.update(fillings=[["a"]]),
        lambda b: b.update(official=None),
        lambda b: b["native"]["modules"].append(b["native"]["modules"][0]),
        lambda b: b["native"]["modules"][0].update(line=-1),
        lambda b: b["native"]["modules"][0].update(built_at=[["a", 1]]),
        lambda b: b.update(problems=[{"side": "nobody"}]),
    ],
)
def test_what_was_built_is_read_strictly(
    question: TraceQuestion, root: str, change: Callable[[dict[str, Any]], None]
) -> None:
    result = traced(question, TinyAnswers(root, built=broken(change, root)))
    assert result.status == "error"
    assert "cannot be read" in result.reason


def test_what_of_the_weights_does_not_fit_is_a_note(question: TraceQuestion, root: str) -> None:
    told = tiny_answers.built(root, shapes=[["proj.bias", [8], [4]]], filled=["image.weight"])
    notes = traced(question, TinyAnswers(root, built=told)).notes
    assert "a strict load refuses the shape of proj.bias ([8], and [4] comes)" in notes
    assert any("image.weight; they have random values here" in note for note in notes)
    told["shapes"] = [["proj.bias", [8]]]
    assert traced(question, TinyAnswers(root, built=told)).status == "error"


def test_a_whole_run_has_its_limit(question: TraceQuestion, monkeypatch: pytest.MonkeyPatch) -> None:
    async def endless(question: TraceQuestion, worker: object, on_stage: Callable[[str], None]) -> None:
        on_stage("building the port")
        await asyncio.Event().wait()

    monkeypatch.setattr(trace_command, "trace", endless)
    result = trace_command.run(replace(question, timeout=0.05), quiet=True)
    assert (result.status, result.place) == ("error", question.place)
    assert result.reason == "there is no verdict after 0.05 s: building the port was not over."
    assert "--timeout" in result.next_step


def test_losses_of_accuracy_do_not_use_up_what_is_followed(
    question: TraceQuestion, root: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = trace_comparing.judge

    def with_losses(*asked: Any) -> NumericVerdict:
        verdict = real(*asked)
        (wrong,) = verdict.divergences
        pairs = [replace(wrong.pair, number=100 + number) for number in range(trace_following.MOST_FOLLOWED)]
        losses = (replace(wrong, kind="dtype", pair=pair) for pair in pairs)
        return replace(verdict, divergences=(*losses, wrong))

    monkeypatch.setattr(trace_comparing, "judge", with_losses)
    monkeypatch.setattr(trace_following, "merged", lambda found, begun: tuple(found))
    answers = TinyAnswers(root, wrong=frozenset({"plain"}))
    result = traced(question, answers)
    followed = [asked["goal"] for asked in asks(answers, "operations")]
    assert len(followed) == trace_following.MOST_FOLLOWED
    assert followed[-1] == result.divergences[-1].pair.number
    assert any("mend these first" in note for note in result.notes)
