"""The simulated registry against FastVideo's own code, run on the same trees.

FastVideo's `fastvideo/models/registry.py` cannot be imported without torch; its discovery function
and the statements that combine the tables are taken from the file and executed by themselves.
"""

from __future__ import annotations

import ast
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from registry_texts import NAMES, OTHERS, STATEMENTS, SilentLogger, emptied, texts, write

from analyzers.project.profile import FASTVIDEO
from analyzers.project.registry import Registry, simulate
from analyzers.project.sources import Sources

REGISTRY = "fastvideo/models/registry.py"
Models = dict[str, tuple[str, str, str]]


def is_needed(node: ast.stmt) -> bool:
    """The imports that discovery uses, tables, the function, and the loop that combines them."""
    if isinstance(node, ast.Import):
        return all(alias.name in ("ast", "os") for alias in node.names)
    if isinstance(node, ast.ImportFrom):
        return node.module == "functools"
    if isinstance(node, ast.FunctionDef):
        return node.name == "_discover_and_register_models"
    if isinstance(node, ast.For):
        return "_FAST_VIDEO_MODELS" in ast.unparse(node)
    target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
    if not isinstance(node, (ast.Assign, ast.AnnAssign)) or not isinstance(target, ast.Name):
        return False
    return target.id not in ("MODELS_PATH", "logger", "_T", "_SUBPROCESS_COMMAND", "ModelRegistry")


@cache
def needed_code(source: str) -> Any:
    tree = ast.parse(source)
    tree.body = [node for node in tree.body if is_needed(node)]
    return compile(tree, "registry.py", "exec")


def original(root: Path, source: str) -> tuple[Models, Models, list[str]]:
    """(discovered, combined, overwritten names) by FastVideo's own code, over the tree at `root`."""
    logger = SilentLogger()
    space: dict[str, Any] = {"logger": logger, "MODELS_PATH": str(root / "fastvideo/models")}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exec(needed_code(source), space)
    return space["_DISCOVERED_MODELS"], space["_FAST_VIDEO_MODELS"], logger.duplicates


def assert_same(root: Path, source: str) -> Registry:
    discovered, combined, overwritten = original(root, source)
    found = simulate(Sources(root), FASTVIDEO)
    assert [(n, e.spec) for n, e in found.discovered.items()] == list(discovered.items())
    assert found.legacy_known
    assert list(found.models.items()) == list(combined.items())
    assert [winner.name for _, winner in found.duplicates] == overwritten
    return found


# --------------------------------------------------------------------------- the real package


def test_the_real_registry_is_simulated(fastvideo: Path) -> None:
    source = (fastvideo / REGISTRY).read_text(encoding="utf-8")
    found = assert_same(fastvideo, source)
    assert len(found.discovered) > 20
    assert len(found.models) > len(found.discovered)
    for entry in found.discovered.values():
        line = (fastvideo / entry.path).read_text(encoding="utf-8").split("\n")[entry.location.span.line]
        assert entry.name in line
    lines = source.split("\n")
    for row in found.rows:
        assert f'"{row.architecture}"' in lines[row.key.span.line]


@pytest.fixture(scope="session")
def real_models(fastvideo: Path) -> Mapping[str, str]:
    """The texts of the real files below `fastvideo/models` that set `EntryClass`, and the registry."""
    found = {REGISTRY: (fastvideo / REGISTRY).read_text(encoding="utf-8")}
    for path in sorted((fastvideo / "fastvideo/models").rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        if "EntryClass =" in text and len(text) < 60_000:
            found[path.relative_to(fastvideo).as_posix()] = text
    return found


# --------------------------------------------------------------------------- made-up trees

SMALL_REGISTRY = """\
import ast
import os
from functools import cache

{tables}

MODELS_PATH = os.path.dirname(__file__)

{discovery}
_DISCOVERED_MODELS = _discover_and_register_models()
_FAST_VIDEO_MODELS = dict(_DISCOVERED_MODELS)
for model_arch, spec in _LEGACY_FAST_VIDEO_MODELS.items():
    if model_arch in _FAST_VIDEO_MODELS:
        continue
    _FAST_VIDEO_MODELS[model_arch] = spec
"""


@pytest.fixture(scope="session")
def discovery(fastvideo: Path) -> str:
    """The text of FastVideo's discovery function."""
    source = (fastvideo / REGISTRY).read_text(encoding="utf-8")
    node = next(
        n
        for n in ast.parse(source).body
        if isinstance(n, ast.FunctionDef) and n.name == "_discover_and_register_models"
    )
    return "@cache\n" + ast.unparse(node).partition("@cache\n")[2]


@pytest.fixture
def tree() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


PATHS = (
    "fastvideo/models/alpha.py",
    "fastvideo/models/__init__.py",
    "fastvideo/models/dits/__init__.py",
    "fastvideo/models/dits/alpha.py",
    "fastvideo/models/dits/beta.py",
    "fastvideo/models/dits/deep/__init__.py",
    "fastvideo/models/dits/deep/deeper/gamma.py",
    "fastvideo/models/dits/deep/deeper/__init__.py",
    "fastvideo/models/dits/.hidden/alpha.py",
    "fastvideo/models/.hidden/alpha.py",
    "fastvideo/models/dits/.alpha.py",
    "fastvideo/models/dits/__pycache__/alpha.py",
    "fastvideo/models/dits/not-a-name.py",
    "fastvideo/models/dits/a.b.py",
    "fastvideo/models/dits/.py",
    "fastvideo/models/dits/stub.pyi",
    "fastvideo/models/dits/ALPHA.PY",
    "fastvideo/models/vaes/é.py",
    "fastvideo/models/vaes/ with blanks.py",
    "fastvideo/models/vaes/folder.py/inner.py",
)
ODDITIES = (
    None,
    "link to file",
    "dangling link",
    "link to itself",
    "loop of folders",
    "linked folder",
    "empty folder",
)


def add_oddity(root: Path, oddity: str | None) -> None:
    dits = root / "fastvideo/models/dits"
    dits.mkdir(parents=True, exist_ok=True)
    link = dits / "linked.py"
    if oddity == "link to file":
        (root / "elsewhere.py").write_text("class Linked: pass\nEntryClass = Linked\n", encoding="utf-8")
        link.symlink_to(root / "elsewhere.py")
    elif oddity == "dangling link":
        link.symlink_to(root / "gone.py")
    elif oddity == "link to itself":
        link.symlink_to(link)
    elif oddity == "loop of folders":
        (dits / "loop").symlink_to(dits, target_is_directory=True)
    elif oddity == "linked folder":
        (root / "outside").mkdir()
        (root / "outside/a.py").write_text("class Outside: pass\nEntryClass = Outside\n", encoding="utf-8")
        (dits / "outside").symlink_to(root / "outside", target_is_directory=True)
    elif oddity == "empty folder":
        (dits / "empty").mkdir()


TABLES = """\
_A = {
    "Alpha": ("dits", "alpha", "Alpha"),
}
_LEGACY_FAST_VIDEO_MODELS = {
    **_A,
    "Omega": ("vaes", "omega", "Omega"),
}
"""


def laid_out(tables: str, discovery: str) -> str:
    return SMALL_REGISTRY.format(tables=tables, discovery=discovery)


@given(st.dictionaries(st.sampled_from(PATHS), texts(), max_size=6), st.sampled_from(ODDITIES))
@settings(max_examples=200)
def test_made_up_trees(tree: Path, discovery: str, files: dict[str, bytes], oddity: str | None) -> None:
    emptied(tree)
    source = laid_out(TABLES, discovery)
    write(tree, {REGISTRY: source.encode(), **files})
    add_oddity(tree, oddity)
    assert_same(tree, source)


@given(STATEMENTS, st.lists(st.one_of(STATEMENTS, OTHERS), max_size=3))
@settings(max_examples=250)
def test_made_up_files(tree: Path, discovery: str, first: str, more: list[str]) -> None:
    emptied(tree)
    source = laid_out(TABLES, discovery)
    text = "\n".join(["class Alpha:\n    pass", first, *more]) + "\n"
    write(tree, {REGISTRY: source.encode(), "fastvideo/models/dits/a.py": text.encode()})
    assert_same(tree, source)


def test_very_long_and_very_deep_files(tree: Path, discovery: str) -> None:
    source = laid_out(TABLES, discovery)
    deep = "".join("    " * n + f"if x{n}:\n" for n in range(90)) + "    " * 90 + "EntryClass = Alpha\n"
    nested = "x = " + "f(" * 80 + ")" * 80 + "\n"
    long = "x = [\n" + "    1,\n" * 20_000 + "]\n"
    files = {
        "a": f"class Alpha: pass\n{deep}",
        "b": f"class Beta: pass\n{nested}EntryClass = Beta\n",
        "c": f"class Gamma: pass\n{long}EntryClass = Gamma\n",
        "d": f"class Delta: pass\nx = {' + '.join(['a'] * 900)}\nEntryClass = Delta\n",
        "e": "class Eta: pass\nEntryClass = [" + "Eta, " * 5_000 + "]\n",
        "f": "class Chi: pass\nif x:\n  pass\n" + "elif y:\n  pass\n" * 200 + "EntryClass = Chi\n",
    }
    write(
        tree,
        {
            REGISTRY: source.encode(),
            **{f"fastvideo/models/dits/{n}.py": t.encode() for n, t in files.items()},
        },
    )
    found = assert_same(tree, source)
    assert set(found.discovered) == {"Alpha", "Beta", "Gamma", "Delta", "Eta", "Chi"}


@given(data=st.data())
@settings(max_examples=60)
def test_mutated_real_files(tree: Path, real_models: Mapping[str, str], data: st.DataObject) -> None:
    """Lines of real files deleted, doubled, swapped, inserted; files cut off, copied and moved."""
    emptied(tree)
    source = real_models[REGISTRY]
    chosen = data.draw(st.lists(st.sampled_from(sorted(real_models)), min_size=1, max_size=3, unique=True))
    files = {path: real_models[path] for path in chosen if path != REGISTRY}
    for path in list(files):
        lines = files[path].split("\n")
        for _ in range(data.draw(st.integers(0, 3))):
            at, other = (data.draw(st.integers(0, max(len(lines) - 1, 0))) for _ in range(2))
            action = data.draw(st.sampled_from(["delete", "double", "swap", "insert", "cut", "end"]))
            if action == "delete":
                del lines[at : at + 1]
            elif action == "double" and lines:
                lines.insert(other, lines[at])
            elif action == "swap" and lines:
                lines[at], lines[other] = lines[other], lines[at]
            elif action == "insert":
                lines.insert(at, data.draw(STATEMENTS))
            elif action == "cut":
                del lines[at:]
            else:
                lines.append(data.draw(STATEMENTS))
        files[path] = "\n".join(lines)
        if data.draw(st.booleans()):
            folder, _, name = path.rpartition("/")
            files[f"{folder}/copy_of/{name}"] = files[path]
    write(tree, {REGISTRY: source.encode(), **{p: t.encode("utf-8", "replace") for p, t in files.items()}})
    assert_same(tree, source)


# --------------------------------------------------------------------------- the legacy tables

ROWS = st.builds(
    lambda name, component, module, cls: f'    "{name}": ("{component}", "{module}", "{cls}"),  # why',
    st.sampled_from(NAMES),
    st.sampled_from(["dits", "vaes"]),
    st.sampled_from(["a", "b", "c.d", ""]),
    st.sampled_from(NAMES),
)
TABLE_NAMES = ("_A", "_B", "_C")


@st.composite
def tables(draw: st.DrawFn) -> str:
    """Tables that hold rows and spread earlier ones, some of them defined twice."""
    parts = []
    for position in range(draw(st.integers(1, 4))):
        name = draw(st.sampled_from(TABLE_NAMES)) if position else "_A"
        annotation = draw(st.sampled_from(["", ": dict[str, tuple]"]))
        rows = draw(st.lists(ROWS, max_size=4))
        parts.append(f"{name}{annotation} = {{\n" + "\n".join(rows) + "\n}\n")
    defined = [n for n in TABLE_NAMES if any(p.startswith(n) for p in parts)]
    items = st.one_of(ROWS, st.sampled_from([f"    **{n}," for n in defined]))
    combined = draw(st.lists(items, max_size=6))
    return "\n".join(parts) + "\n_LEGACY_FAST_VIDEO_MODELS = {\n" + "\n".join(combined) + "\n}\n"


@given(tables(), st.lists(st.sampled_from(NAMES), max_size=3))
@settings(max_examples=200)
def test_legacy_tables_are_merged_as_dicts_are(
    tree: Path, discovery: str, text: str, discovered: list[str]
) -> None:
    emptied(tree)
    source = laid_out(text, discovery)
    model = f"class Alpha: pass\nEntryClass = [{', '.join(discovered)}]\n"
    write(tree, {REGISTRY: source.encode(), "fastvideo/models/dits/a.py": model.encode()})
    assert_same(tree, source)


@given(st.data())
@settings(max_examples=50)
def test_rows_of_the_real_tables_moved_about(
    tree: Path, real_models: Mapping[str, str], data: st.DataObject
) -> None:
    """Only whole rows on one line are touched, so that the file still runs."""
    emptied(tree)
    lines = real_models[REGISTRY].split("\n")
    rows = [n for n, line in enumerate(lines) if line.startswith('    "') and line.rstrip().endswith("),")]
    spreads = [n for n, line in enumerate(lines) if line.startswith("    **_")]
    assert len(rows) > 20
    assert len(spreads) > 5
    for _ in range(data.draw(st.integers(1, 6))):
        kind = data.draw(st.sampled_from([rows, spreads]))
        at, other = data.draw(st.sampled_from(kind)), data.draw(st.sampled_from(kind))
        action = data.draw(st.sampled_from(["swap", "copy", "blank"]))
        if action == "swap":
            lines[at], lines[other] = lines[other], lines[at]
        elif action == "copy":
            lines[at] = lines[other]
        else:
            lines[at] = ""
    source = "\n".join(lines)
    write(tree, {REGISTRY: source.encode()})
    (tree / "fastvideo/models/dits").mkdir()
    assert_same(tree, source)


@pytest.mark.parametrize(
    "change",
    [
        "_A.update(x)\n",
        "_A['Alpha'] = x\n",
        "_LEGACY_FAST_VIDEO_MODELS |= x\n",
        "_LEGACY_FAST_VIDEO_MODELS = dict(_A)\n",
        "_LEGACY_FAST_VIDEO_MODELS = {**f()}\n",
        "_LEGACY_FAST_VIDEO_MODELS = {'A': spec}\n",
        "_LEGACY_FAST_VIDEO_MODELS = {n: ('a', 'b', 'c') for n in x}\n",
        "if x:\n    _LEGACY_FAST_VIDEO_MODELS = {}\n",
        "del _A['Alpha']\n",
        "for n in x:\n    _A[n] = ('a', 'b', n)\n",
        "_A.pop('Alpha')\n",
        "_LEGACY_FAST_VIDEO_MODELS = {**_Z}\n_Z = {}\n",
        "x = (\n",
    ],
)
def test_tables_that_cannot_be_followed_are_left_alone(tree: Path, discovery: str, change: str) -> None:
    write(tree, {REGISTRY: (TABLES + change).encode()})
    found = simulate(Sources(tree), FASTVIDEO)
    assert not found.legacy_known
    assert found.rows == ()
