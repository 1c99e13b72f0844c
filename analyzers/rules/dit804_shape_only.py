"""DIT804 shape-only: a parity test that compares shapes, keys or importability, never values."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from analyzers.facts.checks import Checks, checks
from analyzers.facts.model import FunctionFacts
from analyzers.findings import Finding, Location, Related, Severity
from analyzers.project.tests import Member
from analyzers.rules.base import Context, Example, Expected, Rule, Tier


def check(context: Context) -> Iterator[Finding]:
    """Looks at the tests of a file that claim parity, through everything that they reach."""
    facts = context.file
    if not context.profile.is_parity_test(facts.path):
        return
    reach = context.project.tests
    judged = [(test, _judge(context, reach.reached(test))) for test in reach.claimants(facts)]
    if context.profile.claims_parity(facts.path) and not any(t.claims_parity for t, _ in judged):
        # The claim is the file's: one test that compares values is enough for it.
        judged = judged[:1] if all(verdict is not None for _, verdict in judged) else []
    for test, verdict in judged:
        if verdict is not None:
            function = test.function
            yield context.finding(
                function.at(function.fact.name_span),
                f"{test.name} {verdict.says}: wrong numbers in the right shape pass it",
                symbol=test.name,
                related=tuple(Related(place, "this is all that it asserts") for place in verdict.weak[:1])
                + tuple(Related(place, "nobody looks at the answer") for place in verdict.dropped[:1]),
            )


@dataclass(frozen=True)
class _Verdict:
    says: str
    weak: tuple[Location, ...]
    dropped: tuple[Location, ...]


def _judge(context: Context, members: tuple[Member, ...]) -> _Verdict | None:
    """What is wrong with a test that runs these functions; None where it compares values, or may."""
    weak: list[Location] = []
    dropped: list[Location] = []
    for member in members:
        found = context.project.derived("checks", member.function, checks)
        if found is None or found.values or _may_compare(context, member, found):
            return None
        start = context.project.sources.bodies.start(member.function)
        weak += [Location(member.function.path, s.shifted(start)) for s in found.weak]
        dropped += [Location(member.function.path, s.shifted(start)) for s in found.dropped]
    if _is_scaffold(members[0].function.fact) or _expects_a_refusal(members[0].function.fact):
        return None
    if dropped:
        says = "computes whether the outputs agree and drops the answer"
    elif weak:
        says = "asserts shapes, keys, types or finiteness, never values"
    else:
        says = "asserts nothing"
    return _Verdict(says, tuple(weak), tuple(dropped))


def _may_compare(context: Context, member: Member, found: Checks) -> bool:
    """Whether a call that the body does not explain may be the comparison."""
    reach = context.project.tests
    for name in found.unknown:
        meant = () if name.startswith("?.") else tuple(reach.meant(member, name))
        if not meant:
            return True
    return False


def _is_scaffold(test: FunctionFacts) -> bool:
    """Whether a test ends in a skip before anything could be compared: DIT802 speaks of that."""
    return any(c.call.callee in ("pytest.skip", "pytest.xfail") and not c.conditional for c in test.calls)


def _expects_a_refusal(test: FunctionFacts) -> bool:
    """Whether a test asserts that something raises: that is about behaviour, not about numbers."""
    callees = {(c.call.callee or "").rpartition(".")[2] for c in test.calls}
    return not callees.isdisjoint({"raises", "warns", "assertRaises", "assertRaisesRegex"})


_TEST = "tests/local_tests/sound/test_sound_vae_parity.py"
_HEAD = '''\
"""Sound VAE parity. Coverage scope: implementation_subcomponent."""
import numpy as np
import pytest
import torch
from official_sound import SoundVAE

from fastvideo.models.vaes.soundvae import FVSoundVAE


'''

RULE = Rule(
    code="DIT804",
    name="shape-only",
    severity=Severity.WARNING,
    tier=Tier.PROJECT,
    summary="a parity test compares shapes, keys or importability, never values",
    what=(
        "Reports a test that claims parity (by its name, or by its file's) and never compares values: all "
        "that it asserts, helpers and fixtures included, are shapes, dtypes, keys, types, existence or "
        "finiteness, or it only prints the difference, or it calls `torch.allclose` and drops the answer. "
        "Where only the file's name claims parity, one test that compares values is enough."
    ),
    why=(
        "Two models with equal shapes and keys can compute different numbers: a wrong RoPE order, a swapped "
        "gate, a missing scale. Such a test passes on all of them and is then cited as parity evidence."
    ),
    how=(
        "Compare the outputs of both sides on identical inputs: `torch.testing.assert_close(port_out, "
        "official_out, atol=..., rtol=...)`. A test that is meant to check loading or shapes should not be "
        "called a parity test."
    ),
    exceptions=(
        "Tests that hand the outputs to a function nobody can look into and whose name sounds like a "
        "comparison, or that start another process; golden gates (`run_gate`); tests that are skipped "
        "unconditionally; files that claim nothing."
    ),
    source="`.agents/skills/add-model-02-parity/SKILL.md`, Non-Skip Activation Checklist",
    check=check,
    reports_missing=True,
    valid=(
        Example("compares values", {}),
        Example(
            "through a helper, a fixture, a golden gate, in own words, in unittest's",
            {
                "tests/local_tests/sound/conftest.py": """\
import pytest
import torch


@pytest.fixture
def outputs_match():
    def compare(a, b):
        assert (a - b).abs().max() < 1e-3

    return compare
""",
                "tests/local_tests/helpers/compare.py": """\
import numpy as np


def report(a, b):
    np.testing.assert_allclose(a, b, atol=1e-3)
""",
                _TEST: _HEAD
                + """\
import unittest

from golden import run_gate
from tests.local_tests.helpers.compare import report


def test_fixture_parity(outputs_match):
    outputs_match(FVSoundVAE()(1), SoundVAE()(1))


def test_helper_parity():
    report(FVSoundVAE()(1), SoundVAE()(1))


def test_gate_parity():
    run_gate(FVSoundVAE())


def test_own_parity():
    diff = (FVSoundVAE()(1) - SoundVAE()(1)).abs()
    if diff.max() > 1e-3:
        pytest.fail("differs")


def test_relative_parity():
    a, b = FVSoundVAE()(1), SoundVAE()(1)
    close = torch.allclose(a, b)
    assert a.shape == b.shape
    assert close


class TestParity(unittest.TestCase):

    def test_vae_parity(self):
        self._compare(FVSoundVAE()(1), SoundVAE()(1))

    def _compare(self, a, b):
        self.assertTrue(np.allclose(a, b))
""",
            },
        ),
        Example(
            "one test of the file compares, the others look at the configuration",
            {
                _TEST: _HEAD
                + """\
def test_config():
    assert FVSoundVAE().state_dict().keys() == SoundVAE().state_dict().keys()


def test_outputs():
    assert torch.equal(FVSoundVAE()(1), SoundVAE()(1))
"""
            },
        ),
        Example(
            "no claim",
            {
                "tests/local_tests/sound/test_sound_smoke.py": _HEAD
                + "def test_runs():\n    assert FVSoundVAE()(1).shape == (1, 2)\n"
            },
        ),
    ),
    invalid=(
        Example(
            "shapes and finiteness",
            {
                _TEST: _HEAD
                + """\
def test_sound_vae_parity():
    ours, theirs = FVSoundVAE()(1), SoundVAE()(1)
    assert ours.shape == theirs.shape
    assert ours.dtype is theirs.dtype and len(ours) == len(theirs)
    assert torch.isfinite(ours).all()
    print(f"diff {(ours - theirs).abs().max()}")
"""
            },
            findings=(Expected(_TEST, 10, "asserts shapes, keys, types or finiteness", Severity.WARNING),),
        ),
        Example(
            "keys, in a helper; the file's claim",
            {
                "tests/local_tests/helpers/keys.py": """\
def compare_surfaces(ours, theirs):
    own, other = set(ours.state_dict()), set(theirs.state_dict())
    missing = sorted(other - own)
    assert not missing, missing
    torch_shapes = {k: v.shape for k, v in ours.state_dict().items()}
    assert len(torch_shapes) == len(own)
""",
                _TEST: _HEAD
                + """\
from tests.local_tests.helpers.keys import compare_surfaces


def test_surface():
    compare_surfaces(FVSoundVAE(), SoundVAE())


def test_import():
    assert FVSoundVAE is not None
""",
            },
            findings=(Expected(_TEST, 13, "test_surface asserts shapes, keys"),),
        ),
        Example(
            "nothing, and an answer that is dropped",
            {
                _TEST: _HEAD
                + """\
def test_printed_parity():
    ours, theirs = FVSoundVAE()(1), SoundVAE()(1)
    diff = (ours - theirs).abs()
    print("max", diff.max().item())


def test_dropped_parity():
    ours, theirs = FVSoundVAE()(1), SoundVAE()(1)
    torch.allclose(ours, theirs)


class TestParity:

    def test_told_parity(self):
        ok = np.allclose(FVSoundVAE()(1), SoundVAE()(1))
        print("close:", ok)
"""
            },
            findings=(
                Expected(_TEST, 10, "test_printed_parity asserts nothing"),
                Expected(_TEST, 16, "drops the answer"),
                Expected(_TEST, 23, "drops the answer"),
            ),
        ),
    ),
)
