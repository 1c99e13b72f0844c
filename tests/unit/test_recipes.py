"""Which recipe a port gets: what the user names, then the project's own, then a built-in one; no guess."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from cli_testing import tree_at

from analyzers.project.index import Project
from analyzers.project.profile import find_profile
from analyzers.project.settings import load_settings
from analyzers.project.sources import Sources
from lsp_server.checks.errors import CheckError
from lsp_server.checks.recipes import FOLDER, BrokenRecipe, NoRecipe, Recipe, built_in_names, find_recipe

PORT = "SoundTransformer3DModel"
SERVES = f'PORT = "{PORT}"\n'


class Tree:
    """The sound tree with recipes laid into it, and a folder of built-in ones."""

    def __init__(self, folder: Path) -> None:
        self.root = tree_at(folder / "project")
        self.built_in = folder / "built_in"
        self.built_in.mkdir()

    def recipe(self, name: str, text: str) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def found(self, named: str | None = None, here: Path | None = None) -> Recipe:
        settings = load_settings(self.root)
        profile = find_profile(self.root, None)
        assert profile is not None
        project = Project(Sources(self.root), profile, settings)
        port = next(p for p in project.ports if p.name == PORT)
        return find_recipe(project, port, named, here or self.root, self.built_in)


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path.resolve())


def test_without_any_the_next_step_is_named(tree: Tree) -> None:
    with pytest.raises(NoRecipe) as raised:
        tree.found()
    assert PORT in raised.value.reason
    assert f"ditproof trace {PORT} --scaffold" in raised.value.next_step


def test_a_built_in_one_by_the_class_that_it_names(tree: Tree) -> None:
    (tree.built_in / "_shared.py").write_text(SERVES)
    (tree.built_in / "other.py").write_text('PORT = ("A", "B")\n')
    (tree.built_in / "sound.py").write_text(f'OFFICIAL = "diffusers:Sound"\nPORT = ("A", "{PORT}")\n')
    (tree.built_in / "sound_long.py").write_text(SERVES)
    found = tree.found()
    assert (found.path, found.shown, found.because) == (tree.built_in / "sound.py", "sound", "built in")
    assert found.official == "diffusers:Sound"
    assert found.serves == ("A", PORT)
    assert found.others == ("sound_long",)
    assert built_in_names(tree.built_in) == ("other", "sound", "sound_long")


def test_the_projects_own_comes_before_a_built_in_one(tree: Tree) -> None:
    (tree.built_in / "sound.py").write_text(SERVES)
    scanned = tree.recipe(f"{FOLDER}/mine.py", SERVES)
    assert tree.found().path == scanned
    family = tree.recipe(f"{FOLDER}/sound.py", "")
    assert tree.found().path == family
    family.write_text('PORT = "AnotherOfTheFamily"\n')
    assert tree.found().path == scanned
    own = tree.recipe(f"{FOLDER}/{PORT}.py", "")
    found = tree.found()
    assert (found.path, found.shown) == (own, f"{FOLDER}/{PORT}.py")
    assert found.because == "the project's own"


def test_the_settings_come_before_the_folder(tree: Tree) -> None:
    tree.recipe(f"{FOLDER}/{PORT}.py", "")
    chosen = tree.recipe("tools/sound_inputs.py", "")
    tree.recipe("ditproof.toml", f'[recipes]\n{PORT} = "tools/sound_inputs.py"\n')
    found = tree.found()
    assert (found.path, found.shown, found.because) == (
        chosen,
        "tools/sound_inputs.py",
        "the settings say so",
    )


def test_the_option_comes_first_and_counts_from_here(tree: Tree, tmp_path: Path) -> None:
    tree.recipe("ditproof.toml", f'[recipes]\n{PORT} = "gone.py"\n')
    elsewhere = tmp_path.resolve() / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "mine.py").write_text("")
    found = tree.found("mine.py", elsewhere)
    assert (found.path, found.shown) == (elsewhere / "mine.py", str(elsewhere / "mine.py"))
    (tree.built_in / "sound.py").write_text("")
    assert tree.found("sound").shown == "sound"


def test_one_that_is_named_and_not_there_is_told(tree: Tree) -> None:
    (tree.built_in / "sound.py").write_text(SERVES)
    tree.recipe("ditproof.toml", f'[recipes]\n{PORT} = "gone.py"\n')
    with pytest.raises(CheckError) as raised:
        tree.found()
    assert "gone.py (the settings say so)" in raised.value.reason
    assert "one of sound" in raised.value.next_step


def test_a_broken_one_is_told_with_its_line_and_a_scanned_one_is_passed_over(tree: Tree) -> None:
    (tree.built_in / "sound.py").write_text(SERVES)
    tree.recipe(f"{FOLDER}/mine.py", f"{SERVES}def inputs(:\n")
    assert tree.found().shown == "sound"
    tree.recipe(f"{FOLDER}/{PORT}.py", "\ndef inputs(:\n")
    with pytest.raises(BrokenRecipe, match=r"does not parse: .* \(line 2\)") as raised:
        tree.found()
    assert (raised.value.place.path, raised.value.place.span.line) == (f"{FOLDER}/{PORT}.py", 1)


def test_what_is_computed_is_not_known(tree: Tree) -> None:
    tree.recipe(f"{FOLDER}/{PORT}.py", 'OFFICIAL = "diffusers:" + name\nPORT: str = "Sound" + "X"\n')
    found = tree.found()
    assert found == replace(found, official=None, serves=())
