"""DIT807 scope-undeclared: a component parity test that does not say what it covers."""

from __future__ import annotations

import re
from collections.abc import Iterator

from analyzers.facts.model import Constant
from analyzers.findings import Finding, Severity
from analyzers.project.conventions import folder_of
from analyzers.project.tests import collected
from analyzers.rules.base import Context, Example, Expected, Rule, Tier

_DECLARED = re.compile(
    r"production[ _-]?loader|implementation[ _/-]*sub[ _-]?component|scope\W+both\b", re.IGNORECASE
)


def check(context: Context) -> Iterator[Finding]:
    """Looks at component parity tests; those of whole pipelines have one scope only."""
    facts, profile = context.file, context.profile
    constant = profile.parity.scope_constant
    if constant is None or not profile.declares_scope(facts.path):
        return
    tests = collected(facts)
    if not tests or not profile.parity.pipeline_entries.isdisjoint(context.project.sources.words(facts.path)):
        return
    assigned = facts.assignment_of(constant)
    if assigned is not None:
        value = assigned.fact.value
        if isinstance(value, Constant) and value.value not in profile.parity.scopes:
            yield context.finding(
                assigned.at(value.span),
                f"{constant} is {value.value!r}, which is none of {', '.join(profile.parity.scopes)}: a "
                "handoff "
                "cannot tell what the test covers",
            )
        return
    if constant in facts.aliases or any(constant in a.fact.names for a in facts.assignments):
        return
    said = [facts.docstring, *(t.function.fact.docstring for t in tests)]
    said += [c.fact.docstring for c in facts.classes]
    said += [c.fact.text for c in facts.comments if re.search("scope|cover", c.fact.text, re.IGNORECASE)]
    if any(text and _DECLARED.search(text) for text in said):
        return
    folder = folder_of(context.project, facts.path)
    if folder is not None and not folder.owes_scopes:
        return
    yield context.finding(
        facts.top,
        f"neither {constant} nor the docstring says whether this test covers the production "
        "loader, the implementation or both: a green run may be taken for evidence that it is not",
    )


_TEST = "tests/local_tests/sound/test_sound_vae_parity.py"
_BODY = """\
import torch
from official_sound import SoundVAE
from torch.testing import assert_close

from fastvideo.models.vaes.soundvae import FVSoundVAE

{scope}

def test_sound_vae_parity():
    x = torch.randn(1, 3, 8, 8)
    assert_close(FVSoundVAE()(x), SoundVAE()(x), atol=1e-4, rtol=1e-4)
"""


def _test(scope: str = "", docstring: str = "Sound VAE against the official one.") -> str:
    return f'"""{docstring}"""\n' + _BODY.format(scope=scope)


RULE = Rule(
    code="DIT807",
    name="scope-undeclared",
    severity=Severity.INFORMATION,
    tier=Tier.PROJECT,
    summary="a component parity test does not declare its scope",
    what=(
        "Reports a component parity test (`*parity*.py` below `tests/local_tests/`) that declares its "
        "scope neither in a module constant `PARITY_SCOPE` nor in a docstring or comment "
        "(`production_loader`, `implementation_subcomponent` or `both`), and a `PARITY_SCOPE` with "
        "another value."
    ),
    why=(
        "A test that builds the class by hand passes while the production loader drops a key. The "
        "scope says which of the two a green run speaks for; without it, implementation parity is "
        "taken for evidence that the pipeline loads the model correctly."
    ),
    how=(
        'Add `PARITY_SCOPE = "production_loader"` where the FastVideo side comes through the loader '
        'that the pipeline uses, `"implementation_subcomponent"` where the test builds classes or '
        'remaps tensors itself, `"both"` where it does both.'
    ),
    exceptions=(
        "Tests of registered ports whose files never speak of scopes or of a `PORT_STATUS.md`: they "
        "are older than the convention. Pipeline parity tests (by their name, or since they start a "
        "`VideoGenerator`), which have no choice of scope; tests outside `tests/local_tests/`; files "
        "there whose names do not claim parity; a scope that is imported or computed."
    ),
    source="`.agents/skills/add-model-02-parity/SKILL.md`, Early Scaffold Rules",
    check=check,
    reports_missing=True,
    valid=(
        Example("a constant", {_TEST: _test('PARITY_SCOPE = "implementation_subcomponent"\n')}),
        Example("annotated", {_TEST: _test('PARITY_SCOPE: str = "both"\n')}),
        Example("in the docstring", {_TEST: _test(docstring="Coverage scope: production_loader.")}),
        Example("in the docstring, in words", {_TEST: _test(docstring="Sound VAE parity (scope: both).")}),
        Example(
            "a pipeline, a test beside, a smoke test",
            {
                "tests/local_tests/pipelines/test_sound_pipeline_parity.py": _test(),
                "tests/local_tests/sound/test_sound_edit_parity.py": _test(
                    "from fastvideo import VideoGenerator"
                ),
                "fastvideo/tests/vaes/test_sound_vae_parity.py": _test(),
                "tests/local_tests/sound/test_sound_smoke.py": _test(),
            },
        ),
        Example(
            "a registered port that never spoke of scopes",
            {
                "tests/local_tests/noise/test_noise_vae_parity.py": _test(),
                "tests/local_tests/noise/test_noise_dit_parity.py": _test(),
                "fastvideo/registry.py": "from fastvideo.pipelines.basic.noise import presets\n",
            },
        ),
    ),
    invalid=(
        Example(
            "a registered port with a state file, in a shared folder too",
            {
                "tests/local_tests/noise/PORT_STATUS.md": "# Noise\n",
                "tests/local_tests/noise/test_noise_vae_parity.py": _test(),
                "tests/local_tests/transformers/test_noise_dit_parity.py": _test(),
                "fastvideo/registry.py": "from fastvideo.pipelines.basic.noise import presets\n",
            },
            findings=(
                Expected("tests/local_tests/noise/test_noise_vae_parity.py", 1, "neither PARITY_SCOPE"),
                Expected(
                    "tests/local_tests/transformers/test_noise_dit_parity.py", 1, "neither PARITY_SCOPE"
                ),
            ),
        ),
        Example(
            "a registered port, another test of which says so",
            {
                "tests/local_tests/noise/test_noise_vae_parity.py": _test(),
                "tests/local_tests/noise/test_noise_dit_parity.py": _test('PARITY_SCOPE = "both"\n'),
                "fastvideo/registry.py": "from fastvideo.pipelines.basic.noise import presets\n",
            },
            findings=(
                Expected("tests/local_tests/noise/test_noise_vae_parity.py", 1, "neither PARITY_SCOPE"),
            ),
        ),
        Example(
            "no word about it",
            {_TEST: _test()},
            findings=(Expected(_TEST, 1, "neither PARITY_SCOPE nor the docstring", Severity.INFORMATION),),
        ),
        Example(
            "another word",
            {_TEST: _test('PARITY_SCOPE = "transformer"\n')},
            findings=(Expected(_TEST, 8, "PARITY_SCOPE is 'transformer'"),),
        ),
    ),
)
