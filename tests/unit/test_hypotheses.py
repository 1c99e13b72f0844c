"""Edits for known causes: that the right one is among those tried, where it comes, and what is refused."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyzers.findings import Applicability, Finding, Fix, Location, Severity, Span
from analyzers.fixes.base import Refused
from analyzers.fixes.replace_lines import edit as replace_lines
from analyzers.fixes.verify import apply_fix
from analyzers.numeric.hypotheses.proposals import proposals
from analyzers.numeric.records import (
    Address,
    Built,
    CodeLine,
    Module,
    Operand,
    Operation,
    Operations,
    Pair,
    Same,
    Slice,
    Value,
)
from analyzers.numeric.verdicts import Divergence, DivergenceKind, Hypothesis, NumericVerdict, Spot
from analyzers.project.index import Project
from analyzers.project.profile import FASTVIDEO
from analyzers.project.settings import Settings
from analyzers.project.sources import Sources
from analyzers.rules.examples import write_tree
from lsp_server.checks.errors import CheckError
from lsp_server.checks.meta import AskFailed, PortName, TinyRequest
from lsp_server.checks.state_records import StateProblem
from lsp_server.checks.trace_findings import findings_of_trace
from lsp_server.checks.trace_hypotheses import MOST_TRIALS, Followed, explained, lines_apart
from lsp_server.checks.trace_json import divergence_json

PORT, OFFICIAL = "models/dits/port.py", "official/model.py"
HEAD = "class Block(nn.Module):\n    def forward(self, x, y, shift, scale, gate, temb, fps=None):\n"
OFFICIAL_HEAD = "class OBlock(nn.Module):\n    def forward(self, x, y, shift, scale, gate, temb, fps):\n"
VALUE = Value(0, "pair", None, None, (2, 8), "float32", 1.0, 0)
PAIR = Pair(0, Address("", 0, "out", "out"), Address("", 0, "out", "out"), None, "weights")


def built(**settings: Mapping[str, str]) -> Built:
    def side(path: str, own: Mapping[str, str]) -> tuple[Module, ...]:
        return (Module("", "Block", path, 1, (), (), own),)

    return Built(
        side(OFFICIAL, settings.get("official", {})),
        side(PORT, settings.get("native", {})),
        (),
        (),
        (),
        ("plain",),
    )


def operations(
    native: Slice | None = None, official: Slice | None = None, same: tuple[Same, ...] = ()
) -> Operations:
    empty = Slice(0, (), {0: VALUE})
    return Operations(0, official or empty, native or empty, same)


def divergence(lines: str, official: str, kind: DivergenceKind = "inside") -> Divergence:
    def spot(path: str, head: str, text: str) -> Spot:
        first = head.count("\n")
        return Spot("", path, first, first + text.rstrip("\n").count("\n"))

    return Divergence(
        kind, PAIR, spot(PORT, HEAD, lines), spot(OFFICIAL, OFFICIAL_HEAD, official), 0.1, None, (), "differs"
    )


def made(
    lines: str,
    theirs: str,
    *,
    kind: DivergenceKind = "inside",
    measured: Operations | None = None,
    at_most: int = 200,
    **settings: Mapping[str, str],
) -> list[tuple[str, str]]:
    """(cause, the lines that an edit makes of `lines`), in order."""
    lines, theirs = (f"        {text}\n" for text in (lines, theirs))
    rest = "        return x\n"
    texts = {PORT: HEAD + lines + rest, OFFICIAL: OFFICIAL_HEAD + theirs}
    trials = proposals(
        divergence(lines, theirs, kind), measured or operations(), built(**settings), texts.get, at_most
    )
    for trial in trials:
        assert trial.text.startswith(HEAD)
    return [(trial.candidate.cause, trial.text[len(HEAD) :].removesuffix(rest).strip()) for trial in trials]


@pytest.mark.parametrize(
    ("wrong", "official", "right", "cause"),
    [
        ("x = norm(x, eps=1e-5)", "x = norm(x, eps=1e-6)", "x = norm(x, eps=1e-6)", "eps"),
        (
            'x = MLP(8, act_type="gelu")',
            "x = gelu(x)",
            'x = MLP(8, act_type="gelu_pytorch_tanh")',
            "gelu-approximate",
        ),
        ("x = rope(x, theta=256)", "x = rope(x, rope_theta=1e4)", "x = rope(x, theta=10000)", "theta"),
        ("x = rope(x, is_neox_style=True)", "x = rope(x)", "x = rope(x, is_neox_style=False)", "rope-pairs"),
        ("x = rope(x, use_real_unbind_dim=-2)", "x = rope(x, y)", "x = rope(x)", "rope-pairs"),
        ("x = x * scale", "x = x * (1 + scale)", "x = x * (1 + scale)", "one-plus-scale"),
        ("x = x * (1 + scale)", "x = x * scale", "x = x * scale", "one-plus-scale"),
        (
            "scale, shift = temb.chunk(2)",
            "shift, scale = temb.chunk(2)",
            "shift, scale = temb.chunk(2)",
            "chunk-order",
        ),
        ("x = silu(shift) * gate", "x = silu(gate) * shift", "x = silu(gate) * shift", "swapped-operands"),
        ("x = torch.cat([x, y])", "x = torch.cat([y, x])", "x = torch.cat([y, x])", None),
        ("x = x - gate", "x = x + gate", "x = x + gate", None),
        ("x = torch.cat([y, x])", "x = torch.cat([-y, x])", "x = torch.cat([-y, x])", "as-official"),
        ("x = x + gate * y", "x = x + y", "x = x + y", None),
        ("x = x * y", "x = x * gate", "x = x * gate", None),
        ('x = f(x, "b (t h w) -> b t h w")', "x = f(x)", 'x = f(x, "b (t w h) -> b t h w")', "order"),
        ("x = x.flip(1)", "x = f(x)", "x = x", None),
        ("x = x.permute(0, 2, 1)", "x = x.permute(2, 0, 1)", "x = x.permute(2, 0, 1)", "order"),
        ("x = rotate(x[..., 1::2])", "x = f(x)", "x = rotate(x[..., ::2])", None),
        ("fps = 16", "x = x / fps", "", "overridden-argument"),
        ("x -= y", "x = x + y", "x += y", "sign"),
    ],
)  # fmt: skip
def test_the_right_edit_is_tried(wrong: str, official: str, right: str, cause: str | None) -> None:
    found = made(wrong, official)
    assert right in [text for _, text in found]
    if cause is not None:
        assert (cause, right) in found


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("x = norm(x).to(y.dtype)", "x = norm(x.to(y.dtype))"),
        ("x = (x * y).float()", "x = (x.float() * y.float())"),
        ("x = norm(x.float())", "x = norm(x).float()"),
        ("x = silu(y)", "x = silu(y.float())"),
    ],
)
def test_casts_are_moved_where_dtypes_differ(wrong: str, right: str) -> None:
    assert right in [text for _, text in made(wrong, "x = norm(x)", kind="dtype")]
    assert right not in [text for _, text in made(wrong, "x = norm(x)")]


def test_a_setting_that_differs_is_tried_early() -> None:
    native, official = {"approximate": "'none'"}, {"approximate": "'tanh'"}
    found = made("x = nn.GELU()", "x = f(x)", native=native, official=official, at_most=3)
    assert ("gelu-approximate", 'x = nn.GELU(approximate="tanh")') in found


def frame(path: str) -> tuple[CodeLine, ...]:
    return (CodeLine(path, 2, "forward"),)


def one(name: str, path: str, *operands: Operand, goal: int) -> Slice:
    values = {number: Value(number, "pair", None, None, (2, 8), "float32", 1.0, 0) for number in range(goal)}
    values[goal] = Value(goal, "op", 0, None, (2, 8), "float32", 1.0, 0)
    return Slice(goal, (Operation(0, name, operands, (goal,), "", frame(path)),), values)


def held(value: int, name: str) -> Operand:
    return Operand(value, name, None, None, (name,))


def test_the_literal_of_the_wrong_constant_is_tried_first() -> None:
    ours = one("aten.add.Scalar", PORT, held(0, "x"), Operand(None, None, "1e-05"), goal=1)
    theirs = one("aten.add.Scalar", OFFICIAL, held(0, "x"), Operand(None, None, "1e-06"), goal=1)
    measured = operations(ours, theirs, (Same(0, 0, None, 0.0),))
    found = made("x = rsqrt(x + 1e-5) * 2", "x = rsqrt(x + 1e-6)", measured=measured, at_most=1)
    assert [text for _, text in found] == ["x = rsqrt(x + 1e-6) * 2"]


def test_the_variable_that_holds_the_official_value_is_tried_first() -> None:
    ours = one("aten.mul.Tensor", PORT, held(0, "x"), held(1, "scale"), goal=3)
    other = Operation(1, "aten.silu.default", (held(2, "gate"),), (4,), "", frame(PORT))
    values = {**ours.values, 4: Value(4, "op", 1, None, (2, 8), "float32", 1.0, 0)}
    ours = Slice(3, (*ours.operations, other), values)
    theirs = one("aten.mul.Tensor", OFFICIAL, held(0, "x"), held(2, "g"), goal=3)
    same = (Same(0, 0, None, 0.0), Same(2, 2, None, 0.0))
    found = made("x = x * scale", "x = x * g", measured=operations(ours, theirs, same), at_most=1)
    assert found == [("wrong-variable", "x = x * gate")]


def test_every_edit_parses_and_is_another_text() -> None:
    found = made("x, _ = self.f(x, é=-1, scale=2 * y, *temb)[0] - (y @ x)", "x = (x - y) / 3.5")
    assert len(found) == len({text for _, text in found}) > 5
    assert all("é=" in text or "scale=" in text or "self.f" in text for _, text in found[:3])


def test_files_of_libraries_are_left_alone() -> None:
    moved = Spot("", "site-packages/other/layers.py", 2, 2)
    texts = {PORT: f"{HEAD}        return x\n", "site-packages/other/layers.py": f"{HEAD}        x = x * 2\n"}
    elsewhere = Divergence("inside", PAIR, moved, moved, 0.1, None, (), "differs")
    assert proposals(elsewhere, operations(), built(), texts.get, 50) == ()


# --------------------------------------------------------------------------- trying


def problem() -> StateProblem:
    return StateProblem("port", "forward", "RuntimeError", "no such shape")


def search(attempt: Any) -> tuple[NumericVerdict, str | None, list[str]]:
    lines = "        x = x * scale + shift\n"
    texts = {PORT: HEAD + lines, OFFICIAL: OFFICIAL_HEAD + "        x = x * (1 + scale) + shift\n"}
    first = divergence(lines, "x")
    verdict = NumericVerdict("failed", "", (), (first,), True, False, (), (), (), 1, 1, ())
    followed = Followed(built(), {0: operations()}, texts.get, "/tree")
    stages: list[str] = []
    found, note = asyncio.run(explained(verdict, followed, attempt, stages.append))
    return found, note, stages


def test_the_edit_that_mends_is_named_with_its_lines() -> None:
    async def attempt(texts: Mapping[str, str], _: Divergence) -> float | None:
        ((path, text),) = texts.items()
        assert path == f"/tree/{PORT}"
        if "@" in text or "- shift" in text:
            raise AskFailed(problem())
        return 1e-8 if "(1 + scale)" in text else None

    found, note, stages = search(attempt)
    assert note is None
    assert stages
    assert found.first is not None
    named = found.first.hypothesis
    assert named is not None
    assert (named.cause, named.error) == ("one-plus-scale", 1e-8)
    assert named.edit == (
        "replace-lines",
        {
            "path": PORT,
            "line": 2,
            "old": "        x = x * scale + shift",
            "new": "        x = x * (1 + scale) + shift",
        },
    )


def test_nothing_is_named_where_nothing_mends() -> None:
    tried = []

    async def attempt(texts: Mapping[str, str], _: Divergence) -> float | None:
        tried.append(texts)

    found, note, _ = search(attempt)
    assert found.first is not None
    assert (found.first.hypothesis, note) == (None, None)
    assert 1 < len(tried) <= MOST_TRIALS


def test_a_worker_that_fails_ends_the_search() -> None:
    async def attempt(_: Mapping[str, str], __: Divergence) -> float | None:
        raise CheckError("The worker crashed.", "Try again.")

    found, note, _ = search(attempt)
    assert found.first is not None
    assert found.first.hypothesis is None
    assert note == "the search for a cause ended: The worker crashed."


# --------------------------------------------------------------------------- the fix


_LINES = st.lists(st.sampled_from(["a", "b", "c", "  d", ""]), min_size=1, max_size=8)


@given(_LINES, _LINES)
def test_lines_apart_make_the_other_text(before: list[str], after: list[str]) -> None:
    old, new = "\n".join(before), "\n".join(after)
    if old == new:
        return
    arguments = lines_apart("a.py", old, new)
    assert replace_lines(arguments, {"a.py": old}.get) == {"a.py": new}


ARGUMENTS: dict[str, Any] = {"path": "a.py", "line": 1, "old": "    b = 1", "new": "    b = 2"}


def test_lines_that_moved_are_found_again() -> None:
    moved = "# more\r\ndef f():\r\n    b = 1\r\n"
    assert replace_lines(ARGUMENTS, {"a.py": moved}.get) == {"a.py": "# more\r\ndef f():\r\n    b = 2\r\n"}


@pytest.mark.parametrize("text", ["def f():\n    b = 3\n", "\n\ndef f():\n    b = 1\n    b = 1\n"])
def test_lines_that_changed_are_refused(text: str) -> None:
    with pytest.raises(Refused, match="have changed"):
        replace_lines(ARGUMENTS, {"a.py": text}.get)


def test_a_finding_of_a_run_carries_an_unsafe_fix() -> None:
    edit = ("replace-lines", ARGUMENTS)
    found = divergence("        x = 1\n", "        x = 2\n")
    mended = replace(found, hypothesis=Hypothesis("eps", "`1` has to be `2`.", 0.0, edit))
    verdict = NumericVerdict("failed", "", (), (mended,), True, False, (), (), (), 1, 1, ())
    place = Location(PORT, Span(0, 6, 0, 11))
    (finding,) = findings_of_trace(verdict, "Port", place, lambda path: None)
    assert finding.fix is not None
    assert finding.fix.applicability is Applicability.UNSAFE
    assert (finding.fix.operation, finding.fix.arguments) == edit
    assert finding.fix.title == "Mend the eps, as tried: `1` has to be `2`"


def test_the_document_counts_lines_from_1() -> None:
    named = Hypothesis("eps", "`1` has to be `2`.", 0.0, ("replace-lines", ARGUMENTS))
    document = divergence_json(replace(divergence("        x = 1\n", ""), hypothesis=named))
    assert document["hypothesis"] == {
        "cause": "eps",
        "message": "`1` has to be `2`.",
        "error": 0.0,
        "fix": True,
        "edit": {**ARGUMENTS, "line": 2},
    }


def test_a_fix_that_was_tried_is_verified_without_its_run(tmp_path: Path) -> None:
    write_tree(tmp_path, {"fastvideo/models/dits/tried.py": "def f():\n    b = 1\n    return b\n"})
    project = Project(Sources(tmp_path), FASTVIDEO, Settings())
    path = "fastvideo/models/dits/tried.py"

    def offered(new: str) -> Finding:
        fix = Fix("", "replace-lines", {**ARGUMENTS, "path": path, "new": new}, Applicability.UNSAFE)
        place = Location(path, Span(1, 4, 1, 9))
        return Finding("DIT903", "diverges-here", Severity.ERROR, place, "differs", fix=fix)

    good = offered("    b = 2")
    assert good.fix is not None
    assert apply_fix(project, good, good.fix).texts == {path: "def f():\n    b = 2\n    return b\n"}
    bad = offered("    b = (")
    assert bad.fix is not None
    with pytest.raises(Refused, match="would not parse"):
        apply_fix(project, bad, bad.fix)


def test_a_trial_gives_way_and_takes_no_place_but_its_own() -> None:
    port = PortName("m", "Port", "m.py")
    saved = TinyRequest("/tree", "python", True, "fastvideo", port, None)
    trial = replace(saved, overlay={"/tree/m.py": "x"})
    assert saved.key != trial.key
    assert trial.supersedes == (trial.key,)
    assert set(saved.supersedes) == {saved.key, trial.key}
    assert trial.message(1)["overlay"] == {"/tree/m.py": "x"}
    assert saved.message(1)["overlay"] is None
