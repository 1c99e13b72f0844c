"""Who reads a config's field, and what the official side configures."""

from __future__ import annotations

from pathlib import Path

import pytest

from analyzers.project.index import Project
from analyzers.project.profile import FASTVIDEO
from analyzers.project.settings import Settings
from analyzers.project.sources import Sources
from analyzers.rules.catalogue import all_rules
from analyzers.rules.engine import check_files
from analyzers.rules.examples import write_tree

FILE = "fastvideo/models/dits/asked.py"
CONFIG = "fastvideo/configs/models/dits/sound.py"
MODEL = "fastvideo/models/dits/sound.py"


def project_at(root: Path, settings: Settings | None = None) -> Project:
    return Project(Sources(root), FASTVIDEO, settings or Settings())


@pytest.mark.parametrize(
    ("line", "bases"),
    [
        ("x = config.fps", ["config"]),
        ("x = self.config.arch_config.fps + 1", ["self.config.arch_config"]),
        ("x = make().fps", [")"]),
        ("x = (config\n     .fps)", ["config"]),
        ("x = config.fps == 24", ["config"]),
        ("x = getattr(config, 'fps', 24)", ["config"]),
        ('x = hf_config["fps"]', [""]),
        ("config.fps = 24", []),
        ("config.fps  =  24", []),
        ("fps = 24  # config.fps", []),
        ("x = config.fps_max + config.max_fps", []),
        ("fps = 24", []),
        ("x = '#' + config.fps", ["config"]),
        ("# Überschrift\nx = 'ü', config.fps, arch.fps", ["config", "arch"]),
    ],
)
def test_reads_are_told_from_stores_comments_and_longer_names(
    line: str, bases: list[str], tmp_path: Path
) -> None:
    write_tree(tmp_path, {FILE: line + "\n"})
    reads = project_at(tmp_path).readers.reads_in(FILE, "fps")
    assert [read.base for read in reads] == bases


def test_a_read_has_its_place_in_bytes(tmp_path: Path) -> None:
    write_tree(tmp_path, {FILE: "a = 1\nx = 'ü', config.fps\n"})
    (read,) = project_at(tmp_path).readers.reads_in(FILE, "fps")
    assert (read.location.span.line, read.location.span.column) == (1, len("x = 'ü', config.".encode()))
    assert read.of_model_config


@pytest.mark.parametrize(
    "base", ["batch", "pipeline_config", "self.vae.config", "self.scheduler.config", "args"]
)
def test_other_owners_are_not_taken_for_the_models_config(base: str, tmp_path: Path) -> None:
    write_tree(tmp_path, {FILE: f"x = {base}.fps\n"})
    (read,) = project_at(tmp_path).readers.reads_in(FILE, "fps")
    assert not read.of_model_config


@pytest.mark.parametrize(
    ("line", "whole"),
    [
        ("asdict(config)", True),
        ("vars(self.config.arch_config)", True),
        ("Block(**hf_config)", True),
        ("config.__dict__.items()", True),
        ("Block(**action_config)", False),
        ("Block(**config.rope)", False),
        ("vars(parser)", False),
    ],
)
def test_a_config_that_is_taken_apart_may_have_any_reader(line: str, whole: bool, tmp_path: Path) -> None:
    write_tree(tmp_path, {FILE: line + "\n"})
    assert project_at(tmp_path).readers.hands_on_whole([FILE]) is whole


def test_a_models_files_are_what_it_imports_from_the_models_folder(tmp_path: Path) -> None:
    files = {
        "fastvideo/models/rope.py": "from fastvideo.models.table import build\n",
        "fastvideo/models/table.py": "def build(): ...\n",
        "fastvideo/models/other.py": "",
        "fastvideo/models/loader/load.py": "",
        FILE: """\
from fastvideo.layers.linear import ReplicatedLinear
from fastvideo.models import rope
from fastvideo.models.dits.sound import SoundTransformer3DModel
from fastvideo.models.loader import load


class AskedTransformer3DModel(SoundTransformer3DModel):
    pass
""",
    }
    write_tree(tmp_path, files)
    project = project_at(tmp_path)
    port = next(p for p in project.ports if p.name == "AskedTransformer3DModel")
    assert set(project.readers.model_files(port)) == {
        FILE,
        MODEL,
        "fastvideo/models/dits/base.py",
        "fastvideo/models/rope.py",
        "fastvideo/models/table.py",
    }


CLONE = """\
class Base:
    def __init__(self, hidden_size=64, rope_theta=10000.0, **kwargs):
        pass


class Official(Base):
    pass
"""


def dropped(project: Project) -> list[str]:
    rules = [rule for rule in all_rules() if rule.code == "DIT303"]
    return [f.message.split("'")[1] for f in check_files(project, [CONFIG], rules)]


@pytest.mark.parametrize("where", ["inside", "absolute"])
def test_a_clone_named_in_the_settings_is_read(where: str, tmp_path: Path) -> None:
    root = tmp_path / "project"
    write_tree(root, {})
    clone = (root if where == "inside" else tmp_path) / "clone" / "model.py"
    clone.parent.mkdir(parents=True)
    clone.write_text(CLONE, encoding="utf-8")
    path = "clone/model.py" if where == "inside" else clone.as_posix()
    settings = Settings(oracles={"SoundTransformer3DModel": f"{path}::Official"})
    project = project_at(root, settings)
    assert dropped(project) == ["rope_theta"]

    changed = CLONE.replace("rope_theta", "rope_base")
    project.sources.open(path, changed)
    assert dropped(Project(project.sources, FASTVIDEO, settings)) == ["rope_base"]


def test_a_package_is_found_below_the_interpreter_and_its_links_end(tmp_path: Path) -> None:
    site = "env/lib/python3.12/site-packages"
    files = {
        f"{site}/diffusers/__init__.py": "from .models import SoundTransformer3DModel, Turning\n",
        f"{site}/diffusers/models/__init__.py": "from diffusers.models.sound import *\n"
        "from diffusers.models.sound import SoundTransformer3DModel\n"
        "from .. import Turning\n",
        f"{site}/diffusers/models/sound.py": CLONE.replace("Official", "SoundTransformer3DModel"),
    }
    write_tree(tmp_path, files)
    project = project_at(tmp_path, Settings(python="env/bin/python"))
    found = project.official.constructor("diffusers:SoundTransformer3DModel")
    assert found is not None
    assert [p.name for p in found.parameters] == ["hidden_size", "rope_theta"]
    assert found.open_ended
    assert project.official.constructor("diffusers:Turning") is None
    assert project.official.constructor("diffusers:Missing") is None
    assert project.official.constructor("nowhere:Class") is None
    assert project.official.constructor("gone.py::Class") is None
    assert project_at(tmp_path).official.constructor("diffusers:SoundTransformer3DModel") is None
