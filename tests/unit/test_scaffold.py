"""A recipe to begin with: what names tell is filled in, what they do not tell is said to lack."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from cli_testing import tree_at

from analyzers.project.index import Project
from analyzers.project.profile import find_profile
from analyzers.project.settings import load_settings
from analyzers.project.sources import Sources
from lsp_server.checks.errors import CheckError
from lsp_server.checks.scaffold import Argument, Signature, scaffold, write_scaffold

PORT = "SoundTransformer3DModel"
OFFICIAL = """\
class Official3D:
    def __init__(self, in_channels: int = 4, text_dim: int = 8):
        pass

    def forward(self, hidden_states: torch.Tensor, timestep: torch.LongTensor, notes: torch.Tensor,
                encoder_hidden_states: torch.Tensor, return_dict: bool = True):
        pass
"""


def arguments(*names: str) -> tuple[Argument, ...]:
    return tuple(Argument(name, "torch.Tensor", None) for name in names)


def inputs_of(text: str) -> dict[str, str]:
    """The values of the dictionary that `inputs` returns."""
    function = next(n for n in ast.parse(text).body if isinstance(n, ast.FunctionDef) and n.name == "inputs")
    returned = function.body[-1]
    assert isinstance(returned, ast.Return)
    assert isinstance(returned.value, ast.Dict)
    keys = [key.value for key in returned.value.keys if isinstance(key, ast.Constant)]
    return dict(zip(map(str, keys), map(ast.unparse, returned.value.values), strict=True))


def test_what_names_tell_is_filled_in_and_the_rest_is_commented_out() -> None:
    official = Signature("a.py", 3, arguments("hidden_states", "timestep", "encoder_hidden_states", "notes"))
    text = scaffold(PORT, "diffusers:Sound3D", official, official, ("in_channels", "text_dim"))
    assert inputs_of(text) == {
        "hidden_states": "case.randn(batch, config['in_channels'], case.frames, case.height, case.width)",
        "timestep": "case.uniform(1.0, 1000.0, batch)",
        "encoder_hidden_states": "case.randn(batch, case.text, config['text_dim'])",
    }
    assert '        # "notes": needed, torch.Tensor\n' in text
    assert "import torch" not in text
    assert "def port_inputs" not in text


def test_a_width_that_the_configuration_lacks_is_not_made_up() -> None:
    official = Signature("a.py", 3, arguments("hidden_states", "encoder_hidden_states"))
    text = scaffold(PORT, "diffusers:Sound3D", official, official, ("width",))
    assert inputs_of(text) == {}
    assert '# "encoder_hidden_states": needed' in text


def test_packed_tokens_and_their_positions_bring_torch() -> None:
    official = Signature("a.py", 3, arguments("hidden_states", "img_ids"))
    text = scaffold(PORT, "diffusers:Sound2D", official, official, ("in_channels",))
    assert inputs_of(text)["hidden_states"].startswith("case.randn(batch, case.height * case.width,")
    assert "\nimport torch\n" in text


def test_arguments_that_the_port_has_not_are_left_out_and_named() -> None:
    official = Signature("a.py", 3, arguments("hidden_states", "pooled"))
    port = Signature("b.py", 3, arguments("hidden_states", "own"))
    text = scaffold(PORT, "diffusers:Sound", official, port, ("in_channels",))
    assert "no argument called pooled." in text
    assert "Of its own it has own." in text
    found: dict[str, object] = {}
    exec(compile(text, "recipe", "exec"), found)
    port_inputs = found["port_inputs"]
    assert callable(port_inputs)
    assert port_inputs({"hidden_states": 1, "pooled": 2}, None) == {"hidden_states": 1}
    open_ended = Signature("b.py", 3, arguments("hidden_states"), open_ended=True)
    assert "port_inputs" not in scaffold(PORT, "diffusers:Sound", official, open_ended, ("in_channels",))


@pytest.fixture
def project(tmp_path: Path) -> Project:
    root = tree_at(tmp_path.resolve() / "project", {"official_sound.py": OFFICIAL})
    (root / "python").touch()
    profile = find_profile(root, None)
    assert profile is not None
    return Project(Sources(root), profile, load_settings(root))


def written(project: Project) -> str:
    port = next(port for port in project.ports if port.name == PORT)
    return write_scaffold(
        project,
        port,
        official="official_sound.py::Official3D",
        python=str(project.root / "python"),
        here=project.root,
    )


def test_it_is_written_from_the_sources_and_never_over_another(project: Project) -> None:
    path = written(project)
    assert path == f".ditproof/recipes/{PORT}.py"
    text = (project.root / path).read_text()
    assert 'OFFICIAL = "official_sound.py::Official3D"\n' in text
    assert "Official forward, official_sound.py:5\n" in text
    assert "    timestep: torch.LongTensor\n" in text
    assert set(inputs_of(text)) == {"hidden_states", "timestep", "encoder_hidden_states"}
    (project.root / path).write_text("mine")
    with pytest.raises(CheckError, match="is there already"):
        written(project)
    assert (project.root / path).read_text() == "mine"


def test_an_official_source_that_is_not_there_is_told(project: Project) -> None:
    port = next(port for port in project.ports if port.name == PORT)
    with pytest.raises(CheckError) as raised:
        write_scaffold(
            project,
            port,
            official="diffusers:Sound3D",
            python=str(project.root / "python"),
            here=project.root,
        )
    assert "diffusers:Sound3D" in raised.value.reason
    assert "--official" in raised.value.next_step
    assert not (project.root / ".ditproof").exists()


def test_what_the_docstring_tells_stands_beside_what_lacks(project: Project) -> None:
    (project.root / "official_sound.py").write_text(
        OFFICIAL.replace(
            "return_dict: bool = True):\n        pass",
            """return_dict: bool = True):
        '''
        Args:
            hidden_states (`torch.Tensor`): The latents.
            notes (`torch.Tensor` of shape `(batch_size, notes)`, *optional*):
                Pitches, as numbers of "keys".

        Returns:
            A sample of shape `(1,)`.
        '''
""",
        )
    )
    text = (project.root / written(project)).read_text()
    assert '# "notes": needed, torch.Tensor; (batch_size, notes): ' in text
    assert "numbers of 'keys'" in text
    assert "case.config has\n    in_channels, text_dim\n" in text
    ast.parse(text)
