"""The real thing: FastVideo's Wan against the official class, green as it is and red when edited."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from analyzers.findings import Location, Span
from analyzers.project.index import Project
from analyzers.project.profile import FASTVIDEO as PROFILE
from analyzers.project.settings import Settings
from analyzers.project.sources import Sources
from analyzers.weights.known import rules_of
from analyzers.weights.mapping.renaming import rename
from analyzers.weights.mapping.symbolic import SymbolicRule
from lsp_server.checks.findings import findings_of
from lsp_server.checks.parity_traces import TracedTest, compare_traces
from lsp_server.checks.requests import CheckRequest, CheckResult, TraceOption

REPOSITORY = Path(__file__).resolve().parents[3]
FASTVIDEO = REPOSITORY / ".real/fastvideo-0.2.1"
FIXTURES = REPOSITORY / "tests/fixtures/parity"
TEST = "tests/local_tests/transformers/test_wan_tiny_parity.py"
PORT = Path("fastvideo/models/dits/wanvideo.py")


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The unpacked package with our parity test beside its own, as a porter's checkout has it."""
    if not FASTVIDEO.is_dir():
        pytest.fail(f"{FASTVIDEO} is missing: run `make setup` (scripts/project_env.sh)")
    root = tmp_path_factory.mktemp("workspace")
    shutil.copytree(FASTVIDEO / "fastvideo", root / "fastvideo")
    shutil.copytree(FASTVIDEO / "tests", root / "tests")
    for source in FIXTURES.glob("*.py"):
        shutil.copyfile(source, root / TEST.rpartition("/")[0] / source.name)
    return root


@pytest.fixture
def port_file(workspace: Path) -> Iterator[Path]:
    path = workspace / PORT
    text = path.read_text()
    yield path
    path.write_text(text)


@pytest.fixture
def request_(workspace: Path, project_python: str) -> CheckRequest:
    return CheckRequest(
        root=str(workspace),
        python=project_python,
        test=TEST,
        trusted=True,
        tier="tiny",
        port="WanTransformer3DModel",
        timeout=120.0,
    )


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert text.count(old) >= 1, f"{old} is not in {path}"
    path.write_text(text.replace(old, new))


def test_green_as_it_is(request_: CheckRequest, check: Callable[..., CheckResult], workspace: Path) -> None:
    result = check(request_)
    assert result.status == "passed", result.log_tail
    assert [o.name for o in result.outputs] == [
        "test_wan_transformer_parity[1-3-8-8]: sample",
        "test_wan_transformer_parity[2-2-4-12]: sample",
    ]
    assert all(o.passed and o.max_abs == 0.0 and o.needed_tolerance == 0.0 for o in result.outputs)
    assert result.comparisons[0].shape_actual == (1, 4, 3, 8, 8)
    assert list(workspace.rglob("__pycache__")) == []
    assert findings_of(result) == []


def test_red_when_a_scale_is_lost(
    request_: CheckRequest, check: Callable[..., CheckResult], port_file: Path
) -> None:
    edit(
        port_file,
        "hidden_states = self.norm_out(hidden_states, shift, scale)",
        ("hidden_states = self.norm_out(hidden_states, shift, scale * 1.01)"),
    )
    result = check(request_, test=f"{TEST}::test_wan_transformer_parity")
    assert result.status == "failed", result.log_tail
    assert len(result.outputs) == 2
    for output in result.outputs:
        assert not output.passed
        assert output.max_abs is not None
        assert output.mean_abs is not None
        assert 1e-3 < output.max_abs < 0.5
        assert 0 < output.mean_abs < output.max_abs
        assert output.needed_tolerance == output.max_abs  # rtol is 0
        assert output.tolerance == 1e-6
    port_class = Location(PORT.as_posix(), Span(584, 6, 584, 27))
    at_class, at_call = findings_of(result, port_class)
    assert at_class.location == port_class
    line = (REPOSITORY / "tests/fixtures/parity/test_wan_tiny_parity.py").read_text().splitlines()
    assert line[at_call.location.span.line].strip().startswith("assert_close(sample")
    assert at_call.location.path == TEST


def test_red_when_an_eps_is_wrong(
    request_: CheckRequest, check: Callable[..., CheckResult], port_file: Path
) -> None:
    edit(port_file, "self.norm_q = RMSNorm(dim, eps=eps)", "self.norm_q = RMSNorm(dim, eps=1e-2)")
    result = check(request_)
    assert result.status == "failed", result.log_tail
    assert "atol" in result.reason


def test_an_error_in_the_port_says_where(
    request_: CheckRequest, check: Callable[..., CheckResult], port_file: Path
) -> None:
    edit(port_file, "class WanTransformerBlock(nn.Module)", "class WanTransformerBlock(nn.Modul)")
    result = check(request_)
    assert result.status == "error", result.log_tail
    assert result.place is not None
    assert result.place.path == PORT.as_posix()


def traced(
    request: CheckRequest, check: Callable[..., CheckResult], folder: Path
) -> tuple[CheckResult, tuple[TracedTest, ...]]:
    option = TraceOption(
        str(folder), "WanTransformer3DModel", PORT.as_posix(), ("WanTransformer3DModel",), forwards=1
    )
    result = check(replace(request, trace=option))
    rules = wan_rules(Path(request.root))
    return result, compare_traces(result, lambda name: rename(name, rules, "first-match"))


def wan_rules(root: Path) -> tuple[SymbolicRule, ...]:
    project = Project(Sources(root), PROFILE, Settings())
    port = next(port for port in project.ports if port.name == "WanTransformer3DModel")
    return rules_of(project, port)[1]


def test_both_models_are_traced_inside_the_test(
    request_: CheckRequest, check: Callable[..., CheckResult], port_file: Path, tmp_path: Path
) -> None:
    result, tests = traced(request_, check, tmp_path / "clean")
    assert result.status == "passed", result.log_tail
    assert [trace.forwards for trace in result.traces] == [1, 1, 1, 1]
    for test in tests:
        assert test.problem == ""
        assert test.found is not None
        assert (test.found.status, test.found.divergent) == ("passed", ())
        assert len(test.found.rows) > 60
    edit(port_file, "self.norm_q = RMSNorm(dim, eps=eps)", "self.norm_q = RMSNorm(dim, eps=1e-2)")
    result, tests = traced(request_, check, tmp_path / "wrong")
    assert result.status == "failed", result.log_tail
    for test in tests:
        assert test.found is not None
        first, after = test.found.first, test.found.after
        assert first is not None
        assert after is not None
        assert (first.native.module, first.native.end, after.native.module) == (
            "blocks.0.norm_q",
            "out",
            "blocks.0.norm_q",
        )
        assert [one.module for one in first.official] == ["blocks.0.attn1.norm_q"]


def test_a_model_that_is_not_run_as_a_whole_is_told(
    request_: CheckRequest, check: Callable[..., CheckResult], tmp_path: Path
) -> None:
    option = TraceOption(str(tmp_path), "WanTransformer3DModel", "elsewhere/wanvideo.py", ("NoSuchModel",))
    result = check(replace(request_, trace=option))
    assert (result.status, result.traces) == ("passed", ())
    (test, _) = compare_traces(result, lambda name: rename(name, (), "first-match"))
    assert test.found is None
    assert test.problem == "the test does not run the official model or the port as a whole"
