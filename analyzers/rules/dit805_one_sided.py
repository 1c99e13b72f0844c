"""DIT805 one-sided: both sides of a parity test from the same code, or one side against a constant."""

from __future__ import annotations

import re
from collections.abc import Iterator

from analyzers.facts.model import Constant
from analyzers.findings import Finding, Severity
from analyzers.project.sides import Comparison, comparisons
from analyzers.project.tests import Member, collected
from analyzers.rules.base import Context, Example, Expected, Rule, Tier

_MODES = re.compile(
    r"determin|idempot|repeat|round_?trip|compil|eager|cache|chunk|til(ed|ing)|stream|distrib|parallel|sharded|fsdp"
    r"|offload|batch|invarian|(?<!dif)fus(ed|ion)|quant|backend|_sp\d?_|_tp\d?_|_sp$|_tp$|legacy"
    r"|lora|merge|autocast|checkpointing|mixed_precision|(bf16|fp16|fp32|half|dtype)_?(vs|against)"
    r"|(vs|against)_?(bf16|fp16|fp32|half)"
)
"""Tests that compare the code with itself in two modes say so in their names."""

_SETTINGS = re.compile(r"config|shape|mapping|keys|schema|preset|registry|surface|metadata|defaults")
"""Tests of settings, for which constants are what there is to compare with."""

_RECORDED = re.compile(
    r"golden|record(ed|ing)|captured|dump(ed)?\b|reference (run|value|output|latent|number)"
    r"|generated (by|with|from)|(from|of) the (official|original|upstream|reference)"
    r"|(official|original|upstream) (run|output|value|number)",
    re.IGNORECASE,
)
"""Words with which a test says that its constants come from the original."""


def check(context: Context) -> Iterator[Finding]:
    """Looks at the tests that claim parity; a value compared with itself is reported in any test."""
    facts = context.file
    if not context.profile.is_parity_test(facts.path) or facts.broken:
        return
    yield from _constant(context)
    tests = context.project.tests.claimants(facts)
    own_claims = any(test.claims_parity for test in tests)
    faults = [(test, _fault(context, test)) for test in tests]
    if tests and not own_claims and not all(fault is not None for _, fault in faults):
        faults = []  # the claim is the file's, and one of its tests is enough for it
    reported = set()
    for test, fault in faults if own_claims else faults[:1]:
        if fault is not None:
            reported.add(test.function.fact.name_span)
            yield _finding(context, test, fault)
    for test in collected(facts):
        for comparison in comparisons(context.project, test) or ():
            here = comparison.location.path == facts.path
            if comparison.same and here and test.function.fact.name_span not in reported:
                yield _finding(context, test, comparison)


def _constant(context: Context) -> Iterator[Finding]:
    """The template's constant for the official module, where it names the code base's own."""
    name = context.profile.parity.oracle_constants[0]
    assigned = context.file.assignment_of(name)
    value = assigned.fact.value if assigned is not None else None
    if assigned is None or not isinstance(value, Constant) or not isinstance(value.value, str):
        return
    if context.profile.owns(value.value):
        yield context.finding(
            assigned.at(value.span),
            f"{name} is '{value.value}', a module of {context.profile.title} itself: the test compares the "
            "port with the port",
        )


def _fault(context: Context, test: Member) -> Comparison | None:
    """The first of a test's comparisons where all of them are one-sided; None where one is not."""
    found = comparisons(context.project, test)
    if not found or any(c.fault is None for c in found):
        return None
    first = next((c for c in found if c.fault != "constant"), found[0])
    if first.location.path != context.file.path:
        return None
    modes = _MODES.search(test.name) or _MODES.search(context.file.path.rpartition("/")[2])
    if modes or _changes_mode(test):
        return None
    if first.fault == "constant" and (_SETTINGS.search(test.name) or _says_recorded(context, test)):
        return None
    return first


def _changes_mode(test: Member) -> bool:
    """Whether the test switches something between its two sides (environment, backend, patches)."""
    calls = {c.call.callee or "" for c in test.function.fact.calls}
    return any(
        name.rpartition(".")[2]
        in ("setenv", "delenv", "setattr", "patch", "update", "sdpa_kernel", "compile", "object")
        and name.partition(".")[0] in ("monkeypatch", "mock", "patch", "os", "torch", "mocker")
        for name in calls
    )


def _says_recorded(context: Context, test: Member) -> bool:
    said = [context.file.docstring or "", test.function.fact.docstring or ""]
    said += [comment.fact.text for comment in context.file.comments]
    said += [name for a in context.file.assignments for name in a.fact.names]
    return any(_RECORDED.search(text.replace("_", " ")) for text in said)


def _finding(context: Context, test: Member, fault: Comparison) -> Finding:
    if fault.fault == "itself":
        says = "compares a value with itself: it passes whatever the value is"
    elif fault.fault == "own":
        whose = ", ".join(sorted(fault.left.own))
        says = f"has '{whose}' on both sides: it compares the port with itself, and an error is on both sides"
    elif fault.fault == "foreign":
        whose = ", ".join(sorted(fault.left.foreign))
        says = f"has '{whose}' on both sides: the port is never run"
    else:
        says = (
            "compares with constants only, never with the original: wrong numbers of the right size pass it"
        )
    return context.finding(fault.location, f"{test.name} {says}", symbol=test.name)


_TEST = "tests/local_tests/sound/test_sound_vae_parity.py"
_VAE = "fastvideo/models/vaes/soundvae.py"
_FILES = {
    "fastvideo/models/vaes/__init__.py": "",
    _VAE: "class FVSoundVAE:\n    def decode(self, z):\n        return z\n\n\ndef normalize(z):\n    pass\n",
}
_HEAD = '''\
"""Sound VAE parity. Coverage scope: implementation_subcomponent."""
import numpy as np
import pytest
import torch
from diffusers import AutoencoderSound
from torch.testing import assert_close

from fastvideo.models.vaes.soundvae import FVSoundVAE, normalize


'''


def _with(body: str) -> dict[str, str | None]:
    return {**_FILES, _TEST: _HEAD + body}


RULE = Rule(
    code="DIT805",
    name="one-sided",
    severity=Severity.WARNING,
    tier=Tier.PROJECT,
    summary="a parity test compares the port with itself, or with constants",
    what=(
        "Reports a test that claims parity and in which every comparison is one-sided: both sides are "
        "computed "
        "by the same class or function of the code base, both by the original (the port is never run), or "
        "one "
        "side consists of literals. Sides are followed through local names, helpers and fixtures. A value "
        "that "
        "is compared with itself (`assert_close(out, out)`) is reported in any parity test."
    ),
    why=(
        "Such a test cannot go red when the port differs from the original, which is the one thing that it "
        "is "
        "for. It happens when an import is changed while a clone is missing, and stays."
    ),
    how=(
        "Build one side from the official implementation and the other from FastVideo, on the same weights "
        "and "
        "inputs. Where the original cannot run in the test, record its output in a file and compare with "
        "that."
    ),
    exceptions=(
        "Comparisons with a recorded result (a file, or constants that a comment or docstring says were "
        "recorded from the original), with a formula written in the test, or with anything whose origin "
        "cannot "
        "be told; tests of settings (`config`, `shape`, ... in their names) against constants; tests whose "
        "name says that they compare two modes of the code (eager and compiled, cached, sharded, two dtypes, "
        "LoRA merged or not, ...)."
    ),
    source="`.agents/skills/add-model-02-parity/SKILL.md`, Non-Skip Activation Checklist",
    check=check,
    valid=(
        Example("official against port", {}),
        Example(
            "through helpers, fixtures and loops",
            _with(
                """\
@pytest.fixture
def official():
    return AutoencoderSound.from_pretrained("sound")


def _load():
    return FVSoundVAE()


def _run(model, z):
    return model.decode(z)


def _compare(ours, theirs):
    diff = (ours - theirs).abs()
    assert diff.max() < 1e-3


def test_decode_parity(official):
    port = _load()
    z = torch.randn(1, 4)
    theirs = official.decode(z)
    ours = port.decode(theirs)
    for a, b in zip(ours, theirs):
        assert_close(a, b)
    _compare(_run(port, z), _run(official, z))
"""
            ),
        ),
        Example(
            "a recorded result, a formula, two modes, a check beside",
            _with(
                """\
EXPECTED = -0.25  # recorded from the official VAE at 1f2e3d


def test_golden_parity():
    assert_close(FVSoundVAE().decode(1), torch.load("golden.pt"))


def test_recorded_parity():
    assert abs(FVSoundVAE().decode(1).mean() - EXPECTED) < 1e-4


def test_formula_parity():
    z = torch.randn(1, 4)
    assert_close(normalize(z), (z - z.mean()) / z.std())


def test_config_matches_official_shape():
    assert FVSoundVAE().scale == 0.5
    assert FVSoundVAE().layers == tuple(range(3))


def test_compile_parity():
    model = FVSoundVAE()
    assert_close(torch.compile(model).decode(1), model.decode(1))


def test_bf16_vs_fp32_parity():
    assert_close(FVSoundVAE().bfloat16().decode(1), FVSoundVAE().float().decode(1))


def test_lora_merge_parity():
    assert_close(FVSoundVAE().decode(1), FVSoundVAE().decode(1))


def test_shape_and_value_parity():
    ours, theirs = FVSoundVAE().decode(1), AutoencoderSound().decode(1)
    assert ours.abs().max() < 5.0
    assert_close(ours, theirs)
"""
            ),
        ),
        Example(
            "units beside a sound test, where only the file claims parity",
            _with(
                """\
def test_zero():
    assert_close(normalize(torch.zeros(2)), torch.zeros(2))


def test_outputs():
    assert_close(FVSoundVAE().decode(1), AutoencoderSound().decode(1))
"""
            ),
        ),
    ),
    invalid=(
        Example(
            "the port under another name",
            _with(
                """\
from fastvideo.models.vaes.soundvae import FVSoundVAE as OfficialVAE


def test_sound_vae_parity():
    assert_close(FVSoundVAE().decode(1), OfficialVAE().decode(1), atol=1e-4, rtol=1e-4)
"""
            ),
            findings=(Expected(_TEST, 15, "'fastvideo.models.vaes.soundvae.FVSoundVAE' on both sides"),),
        ),
        Example(
            "the port on both sides",
            _with(
                """\
def _load_official():
    return FVSoundVAE()


def _load_port():
    return FVSoundVAE()


def test_sound_vae_parity():
    z = torch.randn(1, 4)
    official, port = _load_official(), _load_port()
    theirs = official.decode(z)
    ours = port.decode(z)
    assert ours.shape == theirs.shape
    assert_close(ours, theirs, atol=1e-4, rtol=1e-4)
"""
            ),
            findings=(
                Expected(
                    _TEST, 25, "'fastvideo.models.vaes.soundvae.FVSoundVAE' on both sides", Severity.WARNING
                ),
            ),
        ),
        Example(
            "the original on both sides, through a fixture and a difference",
            _with(
                """\
@pytest.fixture
def official():
    return AutoencoderSound.from_pretrained("official")


@pytest.fixture
def port():
    return AutoencoderSound.from_pretrained("converted")


def test_matches_official(official, port):
    z = torch.randn(1, 4)
    diff = (official.decode(z) - port.decode(z)).abs()
    print(diff.mean())
    assert diff.max().item() < 1e-4
"""
            ),
            findings=(Expected(_TEST, 25, "the port is never run"),),
        ),
        Example(
            "the template's constants, instances that are called",
            {
                **_FILES,
                _TEST: """\
import importlib

from torch.testing import assert_close

from fastvideo.models.vaes import soundvae

OFFICIAL_MODULE = "fastvideo.models.vaes.soundvae"


def test_sound_vae_parity():
    reference = soundvae.FVSoundVAE().eval()
    model = soundvae.FVSoundVAE()
    model.eval()
    with_reference, ours = reference(1), model(1)
    assert_close(ours.sample, with_reference.sample)


def test_module_parity():
    a = importlib.import_module("official.vae").VAE()
    b = importlib.import_module("official.vae").VAE()
    assert_close(a(1), b(1))
""",
            },
            findings=(
                Expected(_TEST, 7, "OFFICIAL_MODULE is 'fastvideo.models.vaes.soundvae'"),
                Expected(_TEST, 15, "FVSoundVAE' on both sides"),
                Expected(_TEST, 21, "the port is never run"),
            ),
        ),
        Example(
            "constants, and a value against itself",
            _with(
                """\
def test_sound_vae_parity():
    out = FVSoundVAE().decode(torch.randn(1, 4))
    assert_close(out.mean(), torch.tensor(0.1234), atol=1e-3, rtol=0.0)
    np.testing.assert_allclose(out.std(), 0.5)


def test_self():
    out = FVSoundVAE().decode(1)
    reference = out
    assert torch.equal(out, reference)
"""
            ),
            findings=(
                Expected(_TEST, 13, "compares with constants only"),
                Expected(_TEST, 20, "compares a value with itself"),
            ),
        ),
    ),
)
