"""DIT602 oracle-ambiguous: no official counterpart of a port is known, or several are."""

from __future__ import annotations

from collections.abc import Iterator

from analyzers.findings import Finding, Related, Severity
from analyzers.project.conventions import is_registered
from analyzers.project.index import Project
from analyzers.project.oracles import takes_an_original
from analyzers.project.ports import Port
from analyzers.rules.base import Context, Example, Expected, Rule, Tier


def check(context: Context) -> Iterator[Finding]:
    """Looks at the ports of a model file; silent in a tree that has no parity tests to learn from."""
    project = context.project
    ports = [p for p in project.ports if p.cls.path == context.file.path]
    if not ports or not _has_tests(project):
        return
    for port in ports:
        if port.cls.fact.partial or project.is_helper_base(port):
            continue
        if not port.oracles:
            if _inherits_everything(project, port) or project.sources.is_installed():
                continue
            if _was_never_compared(project, port) or _is_compared(project, port):
                continue
            yield context.finding(
                port.location,
                f"no setting, state file or test names the official class that {port.name} reproduces, so "
                "nothing can be compared with it",
                symbol=port.name,
                port=port.name,
            )
        elif len(port.oracles) > 1:
            names = " and ".join(f"'{oracle.ref}'" for oracle in port.oracles)
            yield context.finding(
                port.location,
                f"{names} are all named as the official counterpart of {port.name}: they may compute "
                "different numbers, and nothing says which one counts",
                symbol=port.name,
                port=port.name,
                related=tuple(Related(o.location, f"names '{o.ref}'") for o in port.oracles),
            )


def _has_tests(project: Project) -> bool:
    return any(project.profile.is_parity_test(path) for path in project.checked_files)


def _was_never_compared(project: Project, port: Port) -> bool:
    """Whether the port has landed without parity tests or a state file: there is no comparison that could
    be one with the wrong original."""
    return not port.parity_tests and port.status_file is None and is_registered(project, port.family)


def _is_compared(project: Project, port: Port) -> bool:
    """Whether a test of the port takes its original from a factory, a builder or a pipeline."""
    folders = tuple(f"{folder}/{port.family}/" for folder in project.profile.parity_folders)
    beside = tuple(
        path
        for root in project.profile.parity_folders
        for path in sorted(project.sources.walk(root))
        if path.startswith(folders) and project.profile.is_test(path)
    )
    for path in (*port.parity_tests, *beside):
        facts = project.file(path)
        text = project.sources.text(path) or ""
        if facts is not None and takes_an_original(facts, text, project.sources, project.profile):
            return True
    return False


def _inherits_everything(project: Project, port: Port) -> bool:
    """Whether the port only renames another one, whose counterpart is its own."""
    if any(port.cls.fact.method(name) is not None for name in ("__init__", "forward")):
        return False
    above = {project.names.qualified_class(c) for c in project.names.ancestry(port.cls).classes[1:]}
    return any(project.names.qualified_class(other.cls) in above for other in project.ports)


_NOISE = "fastvideo/models/dits/noise.py"
_STATUS = "tests/local_tests/noise/PORT_STATUS.md"
_TEST = "tests/local_tests/noise/test_noise_transformer_parity.py"
_OTHER = "tests/local_tests/noise/test_noise_block_parity.py"
_PORT = """\
from fastvideo.configs.models.dits import SoundConfig
from fastvideo.models.dits.base import BaseDiT


class NoiseTransformer3DModel(BaseDiT):
    param_names_mapping = SoundConfig().param_names_mapping

    def forward(self, hidden_states, encoder_hidden_states, timestep, guidance=None, **kwargs):
        return hidden_states


EntryClass = NoiseTransformer3DModel
"""


def _test(imports: str) -> str:
    return f"""\
import torch
{imports}

from fastvideo.models.dits.noise import NoiseTransformer3DModel


def test_noise_parity():
    torch.testing.assert_close(NoiseTransformer3DModel(), Official())
"""


def _status(*rows: str) -> str:
    return "\n".join(
        [
            "# Noise Port Status",
            "",
            "## Component Matrix",
            "",
            "| Component | Type | Official Definition | FastVideo Target | Parity |",
            "|---|---|---|---|---|",
            *rows,
            "",
        ]
    )


_ROW = "| transformer | dit | `noise/model.py::Noise` | `fastvideo/models/dits/noise.py` | non_skip_pass |"

RULE = Rule(
    code="DIT602",
    name="oracle-ambiguous",
    severity=Severity.INFORMATION,
    tier=Tier.PROJECT,
    summary="no official counterpart of a port is known, or several are",
    what=(
        "Reports a port for which nothing in the repository names the official class that it reproduces, or "
        "for which the best source names several. Asked are, in this order: `[oracles]` in the settings, the "
        "component matrix of `PORT_STATUS.md`, the parity tests that name the port (`OFFICIAL_MODULE` and "
        "`OFFICIAL_CLASS`, or the official class that they import), and tests that import a diffusers class "
        "of the same name."
    ),
    why=(
        "Official repositories, diffusers and forks publish classes of one name that compute different "
        "numbers. "
        "A port that was compared with the wrong one passes its parity test and fails with the released "
        "weights."
    ),
    how=(
        "Say which one counts: in the settings, `[tool.ditproof.oracles]`, "
        '`NoiseTransformer3DModel = "noise.model:Noise"`; or in the Official Definition column of the '
        "port's "
        "component matrix."
    ),
    exceptions=(
        "Base classes that no checkpoint names; subclasses that redefine neither `__init__` nor `forward`; "
        "ports "
        "in the pipeline registry that no test and no state file claims to have compared; ports whose tests "
        "take the original from a factory or a pipeline of another package; trees "
        "without parity tests; installed packages, whose state files were not installed. Several definitions "
        "in less trusted sources do not matter once a better one "
        "names one."
    ),
    source="`.agents/skills/add-model/contracts/component_context.md` (`official_definition_files`)",
    check=check,
    reports_missing=True,
    valid=(
        Example(
            "imported by its parity test",
            {_NOISE: _PORT, _TEST: _test("from noise.model import NoiseDiT as Official")},
        ),
        Example("in the component matrix", {_NOISE: _PORT, _STATUS: _status(_ROW), _TEST: _test("")}),
        Example(
            "several tests, one named by the state file",
            {
                _NOISE: _PORT,
                _STATUS: _status(_ROW),
                _TEST: _test("from noise.model import NoiseTransformer3DModel as Official"),
                _OTHER: _test("from diffusers import NoiseTransformer3DModel as Official"),
            },
        ),
        Example(
            "the template's constants",
            {
                _NOISE: _PORT,
                _TEST: _test('OFFICIAL_MODULE = "noise.model"\nOFFICIAL_CLASS = "Noise"'),
            },
        ),
        Example(
            "a diffusers class that another test imports",
            {
                _NOISE: _PORT,
                "fastvideo/tests/transformers/test_noise.py": _test(
                    "from diffusers import NoiseTransformer3DModel as Official"
                ),
            },
        ),
        Example(
            "taken from the package",
            {_NOISE: _PORT, _TEST: _test("import diffusers\n\nOfficial = diffusers.NoiseTransformer3DModel")},
        ),
        Example(
            "taken from a factory of the original's package",
            {_NOISE: _PORT, _TEST: _test("from noise.load import build as Official")},
        ),
        Example(
            "imported by its module's name",
            {
                _NOISE: _PORT,
                _TEST: _test(
                    "import importlib\n\n"
                    'Official = getattr(importlib.import_module("noise.model"), "NoiseTransformer3DModel")'
                ),
            },
        ),
        Example(
            "landed, and compared with nothing",
            {_NOISE: _PORT, "fastvideo/registry.py": "from fastvideo.pipelines.basic.noise import presets\n"},
        ),
    ),
    invalid=(
        Example(
            "not registered yet, compared with nothing",
            {_NOISE: _PORT, "fastvideo/registry.py": "from fastvideo.pipelines.basic.sound import presets\n"},
            findings=(Expected(_NOISE, 5, "names the official class that NoiseTransformer3DModel"),),
        ),
        Example(
            "landed, and compared with a scheduler only",
            {
                _NOISE: _PORT,
                _TEST: _test("from diffusers import FlowMatchEulerDiscreteScheduler"),
                "fastvideo/registry.py": "from fastvideo.pipelines.basic.noise import presets\n",
            },
            findings=(Expected(_NOISE, 5, "names the official class that NoiseTransformer3DModel"),),
        ),
        Example(
            "none",
            {_NOISE: _PORT, _TEST: _test("from tests.local_tests.golden import Official")},
            findings=(
                Expected(
                    _NOISE, 5, "names the official class that NoiseTransformer3DModel", Severity.INFORMATION
                ),
            ),
        ),
        Example(
            "two tests, two originals",
            {
                _NOISE: _PORT,
                _TEST: _test("from noise.model import NoiseTransformer3DModel as Official"),
                _OTHER: _test("from diffusers import NoiseTransformer3DModel as Official"),
            },
            findings=(Expected(_NOISE, 5, "'diffusers:NoiseTransformer3DModel' and 'noise.model:Noise"),),
        ),
        Example(
            "two rows of the matrix",
            {
                _NOISE: _PORT,
                _STATUS: _status(_ROW, _ROW.replace("noise/model.py::Noise", "noise/causal.py::CausalNoise")),
                _TEST: _test(""),
            },
            findings=(Expected(_NOISE, 5, "'noise/model.py::Noise' and 'noise/causal.py::CausalNoise'"),),
        ),
    ),
)
