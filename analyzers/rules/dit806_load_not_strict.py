"""DIT806 load-not-strict: a non-strict load whose missing and unexpected keys nobody checks."""

from __future__ import annotations

from collections.abc import Iterator

from analyzers.facts.loads import loose_loads
from analyzers.findings import Finding, Location, Severity
from analyzers.project.tests import every_function
from analyzers.rules.base import Context, Example, Expected, Rule, Tier


def check(context: Context) -> Iterator[Finding]:
    """Looks at every function of parity tests and of the helpers beside them."""
    path = context.file.path
    if not context.profile.is_parity_test(path) and not context.profile.is_parity_helper(path):
        return
    for member in every_function(context.file):
        function = member.function
        if not any(
            (c.call.callee or "").rpartition(".")[2] in _LOADS for c in function.fact.calls
        ) and not any(getattr(c.call.function, "name", None) in _LOADS for c in function.fact.calls):
            continue
        start = context.project.sources.bodies.start(function)
        for load in context.project.derived("loose loads", function, loose_loads) or ():
            span = load.span.shifted(start)
            if load.kept is None:
                fate = "drops the missing and unexpected keys"
            else:
                fate = f"only prints the missing and unexpected keys ({', '.join(load.kept)})"
            yield context.finding(
                Location(path, span),
                f"{load.function}(strict=False) {fate}: weights that find no place stay random, and the "
                "comparison does not say why",
                symbol=function.fact.name,
            )


_LOADS = frozenset({"load_state_dict", "load_model", "set_model_state_dict"})

_TEST = "tests/local_tests/sound/test_sound_vae_parity.py"
_HELPER = "tests/local_tests/helpers/sound_upstream.py"
_HEAD = '''\
"""Sound VAE parity. Coverage scope: implementation_subcomponent."""
import torch
from official_sound import SoundVAE
from safetensors.torch import load_file, load_model
from torch.testing import assert_close

from fastvideo.models.vaes.soundvae import FVSoundVAE


'''
_REST = """

def test_sound_vae_parity():
    official, port = _load(SoundVAE(), "official"), _load(FVSoundVAE(), "port")
    x = torch.randn(1, 3, 8, 8)
    assert_close(port(x), official(x), atol=1e-4, rtol=1e-4)
"""

RULE = Rule(
    code="DIT806",
    name="load-not-strict",
    severity=Severity.WARNING,
    tier=Tier.FILE,
    summary="a non-strict load whose missing and unexpected keys nobody checks",
    what=(
        "Reports `load_state_dict(..., strict=False)` (also `safetensors.torch.load_model` and "
        "`set_model_state_dict` with `StateDictOptions(strict=False)`) in a parity test or a helper beside "
        "it, where the result is dropped or only printed and logged."
    ),
    why=(
        "A key that the mapping misses leaves a random tensor behind. Where the tolerance is wide or the "
        "tensor hardly matters for the test's input, the test passes on weights that were never loaded; "
        "where it fails, nobody learns that the load was the reason."
    ),
    how=(
        "Load with `strict=True`, or name what may be left out: `missing, unexpected = "
        "model.load_state_dict(state, strict=False)`, then `assert not missing and not unexpected`, or "
        "compare with the exact list of allowed keys."
    ),
    exceptions=(
        "Results that are asserted, raised on, returned, or handed to a function; a function that compares "
        "the keys itself before it loads; a load whose `strict` is no literal."
    ),
    source="`.agents/skills/add-model/contracts/component_skill_handoff.md` (`production_loader_strictness`)",
    check=check,
    valid=(
        Example(
            "strict, asserted, raised on, returned",
            {
                _TEST: _HEAD
                + """\
def _load(model, side):
    state = load_file(f"{side}.safetensors")
    if side == "strict":
        model.load_state_dict(state)
        return model
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert not missing and not unexpected, missing
    result = model.load_state_dict(state, strict=False)
    if result.missing_keys:
        raise RuntimeError(result.missing_keys)
    left = model.load_state_dict(state, strict=False)
    allowed = [k for k in left.missing_keys if not k.endswith("_extra_state")]
    assert allowed == []
    return model


def _counted(model, state):
    return model.load_state_dict(state, strict=False)
"""
                + _REST
            },
        ),
        Example(
            "keys compared by hand before the load",
            {
                _TEST: _HEAD
                + """\
def _load(model, side):
    weights = load_file(f"{side}.safetensors")
    own = model.state_dict()
    filtered = {k: v for k, v in weights.items() if k in own}
    missing = [k for k in own if k not in filtered]
    print(f"{len(missing)} missing")
    model.load_state_dict(filtered, strict=False)
    return model, missing
"""
                + _REST
            },
        ),
        Example(
            "sizes compared",
            {
                _TEST: _HEAD
                + """\
def _load(model, side):
    weights = load_file(f"{side}.safetensors")
    assert set(weights) == set(model.state_dict())
    model.load_state_dict(weights, strict=False)
    return model
"""
                + _REST
            },
        ),
    ),
    invalid=(
        Example(
            "dropped",
            {
                _TEST: _HEAD
                + """\
def _load(model, side):
    state = load_file(f"{side}.safetensors")
    assert state, "no weights"
    model.load_state_dict(state, strict=False)
    return model.eval()
"""
                + _REST
            },
            findings=(Expected(_TEST, 13, "drops the missing and unexpected keys", Severity.WARNING),),
        ),
        Example(
            "only printed and logged",
            {
                _TEST: _HEAD
                + """\
def _load(model, side):
    state = load_file(f"{side}.safetensors")
    missing, unexpected = model.load_state_dict(state, strict=False)
    print(f"missing {len(missing)}")
    if unexpected:
        for key in unexpected:
            logger.warning("unexpected %s", key)
    return model.eval()
"""
                + _REST
            },
            findings=(
                Expected(_TEST, 12, "only prints the missing and unexpected keys (missing, unexpected)"),
            ),
        ),
        Example(
            "in a helper, in other words",
            {
                _HELPER: """\
from safetensors.torch import load_model
from torch.distributed.checkpoint.state_dict import StateDictOptions, set_model_state_dict


class Official:

    def build(self, model, state):
        load_model(model, "official.safetensors", strict=False)
        set_model_state_dict(model, state, options=StateDictOptions(strict=False))
        _ = model.load_state_dict(state, False)
        return model
"""
            },
            findings=(
                Expected(_HELPER, 8, "load_model(strict=False)"),
                Expected(_HELPER, 9, "set_model_state_dict(strict=False)"),
                Expected(_HELPER, 10, "drops"),
            ),
        ),
    ),
)
