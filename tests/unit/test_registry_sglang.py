"""The simulated registry against SGLang's own code, run on the same trees.

`sglang/multimodal_gen/runtime/models/registry.py` cannot be imported without torch; its discovery
and what that needs are taken from the file and executed by themselves. Names that are no strings
(`EntryClass = [1]` registers the number) are left out: no checkpoint can ask for them.
"""

from __future__ import annotations

import ast
import os
import tempfile
import warnings
from collections import deque
from collections.abc import Iterator, Mapping
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from registry_texts import NAMES, OTHERS, STATEMENTS, emptied, texts, write

from analyzers.project.profile import SGLANG
from analyzers.project.registry import Registry, simulate
from analyzers.project.sources import Sources

TABLES = ("COMPONENT_DIRS", "_IMAGE_ENCODER_MODELS", "_ALIAS_TO_MODEL")
FUNCTIONS = ("_parse_aliases_from_ast", "_discover_and_register_models")
Models = dict[str, tuple[str, str, str]]


class Logger:
    """SGLang formats its messages itself."""

    def __init__(self) -> None:
        self.duplicates: list[str] = []

    def warning(self, message: str) -> None:
        if message.startswith("Duplicate architecture found: "):
            self.duplicates.append(message.partition(": ")[2].removesuffix(". It will be overwritten."))


def is_needed(node: ast.stmt) -> bool:
    if isinstance(node, ast.FunctionDef):
        return node.name in FUNCTIONS
    if isinstance(node, ast.Assign):
        return ast.unparse(node.targets[0]) in TABLES
    return isinstance(node, ast.AnnAssign) and ast.unparse(node.target) in TABLES


@cache
def needed_code(source: str) -> Any:
    parsed = ast.parse(source)
    parsed.body = [node for node in parsed.body if is_needed(node)]
    assert len(parsed.body) == len(TABLES) + len(FUNCTIONS)
    return compile(parsed, "registry.py", "exec")


def original(root: Path, source: str) -> tuple[Models, dict[str, str], list[str]]:
    """(models, aliases, overwritten names) by SGLang's own code, over the tree at `root`."""
    logger = Logger()
    space: dict[str, Any] = {"ast": ast, "os": os, "deque": deque, "lru_cache": lru_cache}
    space |= {"logger": logger, "MODELS_PATH": str(root / SGLANG.models)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exec(needed_code(source), space)
        models = space["_discover_and_register_models"]()
    return (
        {n: s for n, s in models.items() if isinstance(n, str)},
        space["_ALIAS_TO_MODEL"],
        logger.duplicates,
    )


def assert_same(root: Path, source: str) -> Registry:
    models, aliases, overwritten = original(root, source)
    found = simulate(Sources(root), SGLANG)
    assert found.legacy_known
    assert list(found.models.items()) == list(models.items())
    assert list(found.aliases.items()) == list(aliases.items())
    # SGLang calls a name of its table that is discovered too a duplicate; such a row is DIT105's.
    tabled = {row.architecture for row in found.rows}
    names = [winner.name for _, winner in found.duplicates]
    assert [n for n in names if n not in tabled] == [
        n for n in overwritten if n in models and n not in tabled
    ]
    return found


@pytest.fixture
def tree() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def source(sglang: Path) -> str:
    """The text of SGLang's registry."""
    return (sglang / SGLANG.registry).read_text(encoding="utf-8")


# --------------------------------------------------------------------------- the real package


def test_the_real_registry_is_simulated(sglang: Path, source: str) -> None:
    found = assert_same(sglang, source)
    assert len(found.discovered) > 100
    assert [row.architecture for row in found.rows] == ["CLIPVisionModelWithProjection"]
    assert found.spec("CosmosTransformer3DModel") == ("dits", "anima", "AnimaTransformer3DModel")
    assert found.spec("WanTransformer3DModel") == ("dits", "wanvideo", "WanTransformer3DModel")
    assert found.spec("NobodysTransformer3DModel") is None
    for entry in found.discovered.values():
        line = (sglang / entry.path).read_text(encoding="utf-8").split("\n")[entry.location.span.line]
        assert entry.name in line


# --------------------------------------------------------------------------- made-up trees

ALIASES = st.sampled_from(
    [
        '_aliases = ["x.One", "Two"]',
        '_aliases = ("Alpha", "Three")',
        "_aliases = []",
        "_aliases = [Two, 1, 'Four', b'Five', f'Six']",
        '_aliases = "Seven"',
        '_aliases = {"Eight"}',
        '_aliases: list = ["Nine"]',
        '_aliases += ["Ten"]',
        '_aliases = other = ["Eleven"]',
        '_aliases = ["Twelve"]\n    _aliases = ["Two"]',
        '_aliases = ["Twelve"]\n    _aliases = []',
        '_aliases = ["Twelve"]\n    _aliases = make()',
        'if x:\n        _aliases = ["Thirteen"]',
        'aliases = ["Fourteen"]',
        '_aliases = [*more, "Fifteen"]',
        '_aliases = ["Six" "teen"]',
        "pass",
    ]
)
CLASSES = st.builds(
    lambda name, aliases: f"class {name}(Base):\n    {aliases}", st.sampled_from(NAMES), ALIASES
)

COMPONENTS = ("dits", "vaes", ".hidden", "__pycache__", "__odd", "with blanks")
FILES = (
    "alpha.py",
    "beta.py",
    "__init__.py",
    ".dotted.py",
    "a.b.py",
    "not-a-name.py",
    "deep/gamma.py",
    "deep/__init__.py",
    "folder.py/inner.py",
    "stub.pyi",
    ".py",
    "é.py",
)
PATHS = (
    *(f"{SGLANG.models}/{c}/{f}" for c in COMPONENTS for f in FILES),
    f"{SGLANG.models}/alpha.py",
    f"{SGLANG.models}/__init__.py",
)


@given(st.dictionaries(st.sampled_from(PATHS), texts(), max_size=6))
@settings(max_examples=200)
def test_made_up_trees(tree: Path, source: str, files: dict[str, bytes]) -> None:
    emptied(tree)
    write(tree, {SGLANG.registry: source.encode(), **files})
    assert_same(tree, source)


@given(st.lists(st.lists(st.one_of(CLASSES, STATEMENTS, OTHERS), min_size=1, max_size=5), max_size=3))
@settings(max_examples=300)
def test_made_up_files_with_aliases(tree: Path, source: str, files: list[list[str]]) -> None:
    emptied(tree)
    made: dict[str, bytes] = {SGLANG.registry: source.encode()}
    for number, parts in enumerate(files):
        text = "\n".join([*parts, "EntryClass = [Alpha, Beta, 'Gamma']"]) + "\n"
        made[f"{SGLANG.models}/dits/f{number}.py"] = text.encode()
    write(tree, made)
    assert_same(tree, source)


@pytest.mark.parametrize("kind", ["link to file", "dangling link", "linked folder below a component"])
def test_links(tree: Path, source: str, kind: str) -> None:
    """Folders of components that are links are the one thing that is left alone (see `registry`)."""
    write(tree, {SGLANG.registry: source.encode(), "out/a.py": b"class Out: pass\nEntryClass = Out\n"})
    dits = tree / SGLANG.models / "dits"
    dits.mkdir()
    if kind == "link to file":
        (dits / "linked.py").symlink_to(tree / "out/a.py")
    elif kind == "dangling link":
        (dits / "linked.py").symlink_to(tree / "gone.py")
    else:
        (dits / "linked").symlink_to(tree / "out", target_is_directory=True)
    found = assert_same(tree, source)
    assert ("Out" in found.discovered) is (kind == "link to file")


@given(data=st.data())
@settings(max_examples=40)
def test_mutated_real_files(
    tree: Path, source: str, real_models: Mapping[str, str], data: st.DataObject
) -> None:
    """Lines of real files deleted, doubled, inserted; files cut off and copied."""
    emptied(tree)
    chosen = data.draw(st.lists(st.sampled_from(sorted(real_models)), min_size=1, max_size=3, unique=True))
    files: dict[str, bytes] = {SGLANG.registry: source.encode()}
    for path in chosen:
        lines = real_models[path].split("\n")
        for _ in range(data.draw(st.integers(0, 3))):
            at = data.draw(st.integers(0, len(lines) - 1))
            action = data.draw(st.sampled_from(["delete", "double", "insert", "cut", "end"]))
            if action == "delete" and len(lines) > 1:
                del lines[at]
            elif action == "double":
                lines.insert(at, lines[at])
            elif action == "insert":
                lines.insert(at, data.draw(STATEMENTS))
            elif action == "cut":
                del lines[at + 1 :]
            else:
                lines.append(data.draw(st.one_of(STATEMENTS, CLASSES)))
        text = "\n".join(lines).encode("utf-8", "replace")
        files[path] = text
        folder, _, name = path.rpartition("/")
        files[f"{folder}/{data.draw(st.sampled_from(['copy_of_', 'deep/', '']))}{name}"] = text
    write(tree, files)
    assert_same(tree, source)


@pytest.fixture(scope="session")
def real_models(sglang: Path) -> Mapping[str, str]:
    """The texts of the smaller real files that set `EntryClass`."""
    found = {}
    for path in sorted((sglang / SGLANG.models).rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        if "EntryClass =" in text and len(text) < 40_000:
            found[path.relative_to(sglang).as_posix()] = text
    return found
