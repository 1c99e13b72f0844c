"""The arrows of the house: who may import whom."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
OURS = ("analyzers", "lsp_server", "ditproof_probe")


def modules(package: str) -> Iterator[Path]:
    yield from sorted((ROOT / package).rglob("*.py"))


def imported(file: Path) -> set[str]:
    """Every module that a file names in an import, dotted, relative ones made absolute."""
    found: set[str] = set()
    package = list(file.relative_to(ROOT).parent.parts)
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            prefix = ".".join([*base, node.module] if node.module else base)
            found.add(prefix)
            found.update(f"{prefix}.{alias.name}" for alias in node.names)
    return found


def violations(package: str, forbidden: tuple[str, ...], allowed: tuple[str, ...] = ()) -> list[str]:
    """`file imports module` for each import of something forbidden outside the allowed files."""
    return [
        f"{file.relative_to(ROOT).as_posix()} imports {name}"
        for file in modules(package)
        if not file.relative_to(ROOT).as_posix().startswith(allowed)
        for name in sorted(imported(file))
        if any(name == module or name.startswith(f"{module}.") for module in forbidden)
    ]


@pytest.mark.parametrize("package", OURS)
def test_the_packages_are_there(package: str) -> None:
    assert len(list(modules(package))) > 1


def test_analyzers_stand_alone() -> None:
    assert violations("analyzers", ("lsp_server", "ditproof_probe")) == []


def test_analyzers_start_nothing_and_load_nothing_heavy() -> None:
    heavy = ("torch", "numpy", "pygls", "lsprotocol", "subprocess", "multiprocessing", "socket", "asyncio")
    assert violations("analyzers", heavy) == []


def test_libcst_is_for_edits_alone() -> None:
    assert violations("analyzers", ("libcst",), ("analyzers/fixes/",)) == []
    assert violations("lsp_server", ("libcst",), ("lsp_server/edit_worker.py",)) == []


def test_the_server_leaves_edits_to_the_worker() -> None:
    """`analyzers.fixes` brings libcst: only the worker, and a command that edits, may import it."""
    allowed = ("lsp_server/edit_worker.py", "lsp_server/commands/fixing.py")
    assert violations("lsp_server", ("analyzers.fixes",), allowed) == []


def test_the_probe_is_never_imported() -> None:
    assert violations("lsp_server", ("ditproof_probe", "torch")) == []


def test_the_probe_knows_only_itself() -> None:
    assert violations("ditproof_probe", ("analyzers", "lsp_server", "pygls", "libcst")) == []


def test_a_forbidden_import_would_be_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "analyzers" / "inner"
    package.mkdir(parents=True)
    (package / "bad.py").write_text("def f():\n    from ...lsp_server import server\n    import torch.nn\n")
    monkeypatch.setattr("test_architecture.ROOT", tmp_path)
    assert violations("analyzers", ("torch",)) == ["analyzers/inner/bad.py imports torch.nn"]
    assert violations("analyzers", ("lsp_server",)) == [
        "analyzers/inner/bad.py imports lsp_server",
        "analyzers/inner/bad.py imports lsp_server.server",
    ]
