"""DIT801 parity-test-missing: a port that no parity test exercises."""

from __future__ import annotations

import re
from collections.abc import Iterator

from analyzers.facts.model import ClassFacts, Placed
from analyzers.findings import Finding, Severity
from analyzers.project.index import Project
from analyzers.project.ports import Port
from analyzers.rules.base import Context, Example, Expected, Rule, Tier

_COMPARES = re.compile(
    r"(assert_|all|is)close|diffs?(?![a-z])|differences?(?![a-z])|reference|golden|parity|run_gate",
    re.IGNORECASE,
)
"""Words of tests that compare numbers without being called parity tests."""


def check(context: Context) -> Iterator[Finding]:
    """Looks at the ports of the file; stays silent where the tree comes without parity tests."""
    project = context.project
    untested = [
        p
        for p in project.ports
        if p.cls.path == context.file.path and not _is_compared(project, p.parity_tests)
    ]
    if not untested:
        return
    tests = _tests(project)
    if not any(project.profile.is_parity_test(path) for path in tests):
        return
    for port in untested:
        if not any(_is_exercised(project, relative, tests) for relative in _relatives(project, port)):
            yield context.finding(
                port.location,
                f"no parity test exercises {port.name}: nothing compares it with its official counterpart",
                symbol=port.name,
                port=port.name,
            )


def _tests(project: Project) -> tuple[str, ...]:
    """Every Python file below the test roots, helpers included."""
    return tuple(path for root in project.profile.test_roots for path in project.sources.walk(root))


def _relatives(project: Project, port: Port) -> Iterator[Port]:
    """The port, the ports that build on it, and, where it changes nothing, the ones it builds on.

    Their tests run its code too.
    """
    yield port
    name = project.names.qualified_class(port.cls)
    above = {project.names.qualified_class(c) for c in project.names.ancestry(port.cls).classes[1:]}
    changes = any(port.cls.fact.method(m) is not None for m in ("__init__", "forward"))
    for other in project.ports:
        below = project.names.ancestry(other.cls).classes[1:]
        if any(project.names.qualified_class(c) == name for c in below) or (
            not changes and project.names.qualified_class(other.cls) in above
        ):
            yield other


def _is_exercised(project: Project, port: Port, tests: tuple[str, ...]) -> bool:
    if _is_compared(project, port.parity_tests):
        return True
    names = _names(project, port)
    family = port.family.replace("_", "").lower()
    module = project.names.module_name(port.cls.path)
    for path in tests:
        words = project.sources.words(path)
        named = not names.isdisjoint(words) or (
            words.issuperset(w for w in module.split(".") if len(w) > 3)
            and re.search(rf"{re.escape(module)}\b", project.sources.text(path) or "") is not None
        )
        if project.profile.is_parity_test(path):
            named = named or port.family in words or family in path.replace("_", "").lower()
        if named and _is_compared(project, (path,)):
            return True
    return False


def _is_compared(project: Project, tests: tuple[str, ...]) -> bool:
    """Whether one of these tests compares numbers, as far as its name and its words tell."""
    return any(
        project.profile.claims_parity(path)
        or any(_COMPARES.search(word) for word in project.sources.words(path))
        for path in tests
    )


def _names(project: Project, port: Port) -> frozenset[str]:
    """What only this port is called: its class, its architectures, its own configs and modules."""
    facts = project.file(port.cls.path)
    found = {port.name} | {c.fact.name for c in (facts.classes if facts is not None else ())}
    found |= {name for name, spec in project.registry.models.items() if spec[2] == port.name}
    found |= {c.fact.name for c in (port.config, port.arch_config) if c is not None}
    return frozenset(found - _shared_names(project, port))


def _shared_names(project: Project, port: Port) -> set[str]:
    """Names of this port that mean something else too: a config of two ports, a class of two modules."""
    shared: set[str] = set()
    for other in project.ports:
        if other.cls.path != port.cls.path:
            shared |= {c.fact.name for c in (other.config, other.arch_config) if c is not None}
    for path in project.sources.walk(project.profile.dits):
        if path != port.cls.path and (facts := project.file(path)) is not None:
            shared |= {c.fact.name for c in facts.classes}
    return shared - _own_configs(port)


def _own_configs(port: Port) -> set[str]:
    """Configs in the config module of the port's family are its own, whoever else uses them."""
    held: tuple[Placed[ClassFacts] | None, ...] = (port.config, port.arch_config)
    return {c.fact.name for c in held if c is not None and c.path.endswith(f"/{port.family}.py")}


_NOISE = "fastvideo/models/dits/noise.py"
_TEST = "tests/local_tests/noise/test_transformer_parity.py"


def _port(base: str = "BaseDiT", imports: str = "fastvideo.models.dits.base", body: str = "") -> str:
    return f"""\
from fastvideo.configs.models.dits import SoundConfig
from {imports} import {base}


class NoiseTransformer3DModel({base}):
    param_names_mapping = SoundConfig().param_names_mapping
{body}

EntryClass = NoiseTransformer3DModel
"""


_FORWARD = """
    def forward(self, hidden_states, encoder_hidden_states, timestep, guidance=None, **kwargs):
        return hidden_states
"""

RULE = Rule(
    code="DIT801",
    name="parity-test-missing",
    severity=Severity.WARNING,
    tier=Tier.PROJECT,
    summary="no parity test exercises the port",
    what=(
        "Reports a port that no test under `tests/` or `fastvideo/tests/` exercises. A parity test "
        "counts (one with `parity` in its file name, or a test below `tests/local_tests/` that "
        "compares numbers) when its path or text names the port's family, class, config, "
        "architecture, module or one of the module's classes; any other test counts when it names one "
        "of these and compares numbers. Tests of a port that derives from this one count too."
    ),
    why=(
        "Shapes and a clean load prove nothing about numbers: a wrong RoPE order or modulation order "
        "passes both. Without a parity test nobody notices when a change makes the port differ."
    ),
    how=(
        "Add `tests/local_tests/<family>/test_<family>_transformer_parity.py`, which loads the "
        "official model and the port, gives both the same inputs and compares the outputs with "
        "`torch.testing.assert_close`."
    ),
    exceptions=(
        "Trees that hold no parity test at all (an installed package without its tests). A subclass "
        "that redefines neither `__init__` nor `forward` is exercised by its base's tests."
    ),
    source="`.agents/skills/add-model/shared/common_rules.md`, Verification Semantics",
    check=check,
    reports_missing=True,
    valid=(
        Example("named by a parity test", {}),
        Example(
            "named by its family's folder alone",
            {_NOISE: _port(body=_FORWARD), _TEST: "def test_parity():\n    compare('noise-ai/model')\n"},
        ),
        Example(
            "a block of its module compared by another test",
            {
                _NOISE: _port(body=_FORWARD).replace(
                    "class Noise", "class NoiseBlock:\n    pass\n\n\nclass Noise", 1
                ),
                "fastvideo/tests/golden_gate/test_blocks.py": (
                    "from fastvideo.models.dits.noise import NoiseBlock\n\n\n"
                    "def test_block():\n    run_gate(NoiseBlock())\n"
                ),
            },
        ),
        Example(
            "a subclass that changes nothing of what runs",
            {_NOISE: _port("SoundTransformer3DModel", "fastvideo.models.dits.sound")},
        ),
        Example(
            "a tree without parity tests",
            {
                _NOISE: _port(body=_FORWARD),
                "tests/local_tests/sound/test_sound_transformer_parity.py": None,
            },
        ),
    ),
    invalid=(
        Example(
            "a port that no test names",
            {_NOISE: _port(body=_FORWARD)},
            findings=(Expected(_NOISE, 5, "no parity test exercises NoiseTransformer3DModel"),),
        ),
        Example(
            "a registry test in its folder, a word in another port's test",
            {
                _NOISE: _port(body=_FORWARD),
                "tests/local_tests/noise/test_noise_registry.py": (
                    "from fastvideo.models.dits.noise import NoiseTransformer3DModel\n\n\n"
                    "def test_known():\n    assert NoiseTransformer3DModel\n"
                ),
                "tests/local_tests/sound/test_sound_registry.py": (
                    "# NoiseTransformer3DModel is next.\n\n\ndef test_known():\n    assert 1 + 1\n"
                ),
            },
            findings=(Expected(_NOISE, 5, "no parity test exercises NoiseTransformer3DModel"),),
        ),
        Example(
            "a test that only loads it",
            {
                _NOISE: _port(body=_FORWARD),
                "fastvideo/tests/train/test_load.py": (
                    "from fastvideo.models.dits.noise import NoiseTransformer3DModel\n\n\n"
                    "def test_load():\n    assert NoiseTransformer3DModel\n"
                ),
            },
            findings=(Expected(_NOISE, 5),),
        ),
        Example(
            "a subclass with a forward of its own",
            {_NOISE: _port("SoundTransformer3DModel", "fastvideo.models.dits.sound", _FORWARD)},
            findings=(Expected(_NOISE, 5),),
        ),
    ),
)
