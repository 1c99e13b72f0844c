"""The caches: the same answers as without them, whatever happened to the tree or to the entries."""

from __future__ import annotations

import gc
import os
import pickle
import threading
from pathlib import Path

import pytest
from cli_testing import COPY, DUPLICATE, REGISTRY, SOUND, Cli, cli, tree_at
from hypothesis import given
from hypothesis import strategies as st

from analyzers.facts.file import analyse
from analyzers.project.sources import Sources
from lsp_server import entries
from lsp_server.commands import check
from lsp_server.entries import Entries, collector_paused
from lsp_server.facts_cache import DiskFactsCache
from lsp_server.results_cache import TracedSources

__all__ = ["cli"]

TEXT = '''\
"""A module."""
import torch  # why

NUMBERS = (1, 2.5, 3j, None, ..., b"x", {"a": {1, 2}})


class Model(Base, metaclass=Meta):
    size: int = 4

    def forward(self, x, *args, key=1, **kwargs):
        y, _ = self.layer(x)[0]
        return f(y) if x else [g(z) for z in y]


EntryClass = [Model, "日本"]
'''


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Appended to whenever findings are computed rather than read back."""
    runs: list[int] = []
    real = check.compute_result

    def counting(*arguments: object) -> object:
        runs.append(1)
        return real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(check, "compute_result", counting)
    return runs


# --------------------------------------------------------------------------- facts


def test_facts_come_back_as_they_were(tmp_path: Path) -> None:
    first = DiskFactsCache(tmp_path)
    assert first.facts("a.py", TEXT) == analyse("a.py", TEXT)
    assert (first.hits, first.misses) == (0, 1)
    second = DiskFactsCache(tmp_path)
    assert second.facts("other/b.py", TEXT) == analyse("other/b.py", TEXT)
    assert (second.hits, second.misses, second.problem) == (1, 0, None)


def test_line_ends_are_told_apart(tmp_path: Path) -> None:
    cache = DiskFactsCache(tmp_path)
    for text in (TEXT, TEXT.replace("\n", "\r\n"), TEXT.replace("\n", "\r"), "\ufeff" + TEXT):
        for _ in range(2):
            assert cache.facts("a.py", text) == analyse("a.py", text)
    assert cache.hits == 4


@given(st.text(alphabet="ab=()[]:,.'\"#\n\r\t 1é😀", max_size=60))
def test_any_text_has_the_facts_it_has_without_a_cache(text: str) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        for _ in range(2):
            assert DiskFactsCache(Path(folder)).facts("a.py", text) == analyse("a.py", text)


def test_a_broken_text_is_not_kept(tmp_path: Path) -> None:
    for _ in range(2):
        cache = DiskFactsCache(tmp_path)
        assert cache.facts("a.py", "def f(:\n").broken
        assert (cache.hits, cache.misses) == (0, 1)
    assert not list(tmp_path.rglob("facts/*/*"))


def _only_entry(folder: Path) -> Path:
    (entry,) = [p for p in folder.rglob("*") if p.is_file()]
    return entry


@pytest.mark.parametrize("damage", ["cut", "flip", "empty", "garbage"])
def test_a_damaged_entry_is_dropped(tmp_path: Path, damage: str) -> None:
    DiskFactsCache(tmp_path).facts("a.py", TEXT)
    entry = _only_entry(tmp_path)
    content = entry.read_bytes()
    middle = len(content) // 2
    entry.write_bytes(
        {
            "cut": content[:middle],
            "flip": content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :],
            "empty": b"",
            "garbage": os.urandom(200),
        }[damage]
    )
    cache = DiskFactsCache(tmp_path)
    assert cache.facts("a.py", TEXT) == analyse("a.py", TEXT)
    assert (cache.hits, cache.misses) == (0, 1)
    assert cache.problem is not None
    assert "dropped" in cache.problem
    healed = DiskFactsCache(tmp_path)
    healed.facts("a.py", TEXT)
    assert (healed.hits, healed.problem) == (1, None)


class _Attack:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.marker),)


def test_an_entry_never_runs_code(tmp_path: Path) -> None:
    import hashlib
    import zlib

    DiskFactsCache(tmp_path / "cache").facts("a.py", TEXT)
    payload = pickle.dumps(_Attack(tmp_path / "marker"))
    digest = hashlib.blake2b(payload, digest_size=16).digest()
    _only_entry(tmp_path / "cache").write_bytes(digest + zlib.compress(payload))
    cache = DiskFactsCache(tmp_path / "cache")
    assert cache.facts("a.py", TEXT) == analyse("a.py", TEXT)
    assert not (tmp_path / "marker").exists()
    assert cache.problem is not None
    assert "does not belong into an entry" in cache.problem


def test_another_version_of_the_code_has_entries_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    DiskFactsCache(tmp_path).facts("a.py", TEXT)
    monkeypatch.setattr("lsp_server.facts_cache.facts_version", lambda: "another")
    cache = DiskFactsCache(tmp_path)
    cache.facts("a.py", TEXT)
    assert (cache.hits, cache.misses) == (0, 1)


def test_the_version_follows_every_source(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a/one.py").write_text("x = 1\n")
    (tmp_path / "b.py").write_text("y = 1\n")
    first = entries.code_version(tmp_path / "a", tmp_path / "b.py")
    assert entries.code_version(tmp_path / "a", tmp_path / "b.py") == first
    (tmp_path / "b.py").write_text("y = 2\n")
    second = entries.code_version(tmp_path / "a", tmp_path / "b.py")
    (tmp_path / "a/two.py").write_text("")
    third = entries.code_version(tmp_path / "a", tmp_path / "b.py")
    assert len({first, second, third}) == 3


def test_a_disk_that_is_full_costs_only_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    attempts: list[Path] = []

    def full(target: Path, content: bytes, mode: int | None = None) -> None:
        attempts.append(target)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(entries, "write_atomically", full)
    cache = DiskFactsCache(tmp_path)
    assert cache.facts("a.py", TEXT) == analyse("a.py", TEXT)
    assert cache.facts("b.py", "x = 1\n") == analyse("b.py", "x = 1\n")
    assert len(attempts) == 1
    assert cache.problem is not None
    assert "No space left on device" in cache.problem


def test_a_folder_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "facts").write_text("")
    cache = DiskFactsCache(tmp_path)
    assert cache.facts("a.py", TEXT) == analyse("a.py", TEXT)
    assert cache.problem is not None


@pytest.mark.skipif(os.name == "nt", reason="POSIX permissions")
def test_a_folder_that_others_may_write_to_is_not_used(tmp_path: Path) -> None:
    DiskFactsCache(tmp_path).facts("a.py", TEXT)
    (tmp_path / "facts").chmod(0o777)
    cache = DiskFactsCache(tmp_path)
    assert cache.facts("a.py", TEXT) == analyse("a.py", TEXT)
    assert cache.problem is not None
    assert "not this user's alone" in cache.problem
    assert cache.hits == 0


def test_the_size_is_bounded_and_the_longest_unused_go_first(tmp_path: Path) -> None:
    folder = Entries(tmp_path, "v", ())
    for number in range(10):
        folder.write(str(number), os.urandom(1000))
        os.utime(folder.folder / str(number), (2e9 + number, 2e9 + number))
    small = Entries(tmp_path, "v", (), maximum_bytes=4500)
    small.write("new", b"x")
    os.utime(small.folder / "new", (3e9, 3e9))
    small.prune()
    assert sorted(p.name for p in small.folder.iterdir()) == ["6", "7", "8", "9", "new"]


def test_entries_that_nobody_reads_any_more_are_dropped(tmp_path: Path) -> None:
    old = Entries(tmp_path, "old version", ())
    old.write("a", b"x")
    os.utime(old.folder / "a", (1e9, 1e9))
    new = Entries(tmp_path, "new version", ())
    new.prune()  # wrote nothing: looks at nothing
    assert (old.folder / "a").exists()
    new.write("b", b"x")
    new.prune()
    assert not (old.folder / "a").exists()
    assert (new.folder / "b").exists()


def test_writers_and_readers_at_once_never_meet_half_an_entry(tmp_path: Path) -> None:
    problems: list[str] = []
    expected = analyse("a.py", TEXT)

    def work() -> None:
        for _ in range(30):
            cache = DiskFactsCache(tmp_path)
            if cache.facts("a.py", TEXT) != expected or cache.problem:
                problems.append(str(cache.problem))
            _only_or_none(tmp_path)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []


def _only_or_none(folder: Path) -> None:
    for entry in folder.glob("facts/*/[0-9a-f]*"):
        entry.unlink(missing_ok=True)


def test_the_collector_runs_again_afterwards() -> None:
    assert gc.isenabled()
    with collector_paused():
        assert not gc.isenabled()
        with collector_paused():
            pass
        assert not gc.isenabled()
    assert gc.isenabled()


# --------------------------------------------------------------------------- results


def test_an_unchanged_tree_is_not_checked_again(cli: Cli, tmp_path: Path, counted: list[int]) -> None:
    tree_at(tmp_path, {COPY: DUPLICATE})
    first = cli("check", "--root", tmp_path)
    second = cli("check", "--root", tmp_path)
    assert first == second
    assert len(counted) == 1


def _rename(root: Path) -> None:
    (root / COPY).rename(root / "fastvideo/models/dits/renamed.py")


def _edit_other(root: Path) -> None:
    (root / REGISTRY).write_text((root / REGISTRY).read_text() + "\n# comment\n")


def _create_module(root: Path) -> None:
    # Was looked for in vain before: `torch` would now be a module of the tree.
    (root / "torch.py").write_text("class nn: pass\n")


def _not_utf8(root: Path) -> None:
    (root / SOUND).write_bytes(b"\xff")


@pytest.mark.parametrize(
    "change",
    [
        lambda root: (root / COPY).unlink(),
        lambda root: (root / "fastvideo/models/dits/new.py").write_text("x = 1\n"),
        lambda root: (root / "ditproof.toml").write_text('ignore = ["DIT106"]\n'),
        _rename,
        _edit_other,
        _create_module,
        _not_utf8,
    ],
    ids=["removed", "added", "settings", "renamed", "another file", "a name that was missing", "unreadable"],
)
def test_whatever_changes_the_tree_is_noticed(
    cli: Cli, tmp_path: Path, counted: list[int], change: object
) -> None:
    tree_at(tmp_path, {COPY: DUPLICATE})
    cli("check", "--root", tmp_path)
    assert callable(change)
    change(tmp_path)
    changed = cli("check", "--root", tmp_path)
    assert len(counted) == 2
    assert changed == cli("check", "--root", tmp_path, "--no-cache")


@pytest.mark.parametrize(
    "arguments", [["--select", "DIT101"], ["--ignore", "DIT106"], [SOUND]], ids=["select", "ignore", "paths"]
)
def test_another_question_has_another_answer(
    cli: Cli, tmp_path: Path, counted: list[int], arguments: list[str]
) -> None:
    tree_at(tmp_path, {COPY: DUPLICATE})
    everything = cli("check", "--root", tmp_path)
    other = cli("check", "--root", tmp_path, *arguments)
    assert len(counted) == 2
    assert other != everything


def test_no_cache_neither_reads_nor_writes(cli: Cli, tmp_path: Path, counted: list[int]) -> None:
    folder = Path(os.environ["DITPROOF_CACHE_DIR"])
    tree_at(tmp_path, {COPY: DUPLICATE})
    for _ in range(2):
        cli("check", "--root", tmp_path, "--no-cache")
    assert len(counted) == 2
    assert list(folder.iterdir()) == []


def test_nothing_is_written_into_the_tree(cli: Cli, tmp_path: Path) -> None:
    tree_at(tmp_path, {COPY: DUPLICATE})
    before = sorted(tmp_path.rglob("*"))
    cli("check", "--root", tmp_path)
    cli("ports", "--root", tmp_path)
    assert sorted(tmp_path.rglob("*")) == before


def test_every_question_to_the_disk_is_traced() -> None:
    """A new way of asking must be traced too, or an entry would count although its answer changed."""
    asked = {name for name, value in vars(Sources).items() if callable(value) and not name.startswith("_")}
    traced = {name for name, value in vars(TracedSources).items() if callable(value) and name[0] != "_"}
    built_on_those = {"facts", "problem", "words"}
    no_questions = {"open", "close", "refresh", "is_open", "hold_for"}
    nothing_is_open = {"saved"}  # which then gives these very sources
    assert asked - no_questions - nothing_is_open - built_on_those == traced


def test_without_open_files_what_is_saved_is_traced(tmp_path: Path) -> None:
    sources = TracedSources(tmp_path)
    assert sources.saved() is sources


def test_a_cache_that_cannot_be_written_is_told_once(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("DITPROOF_CACHE_DIR", str(tmp_path / "file"))
    root = tree_at(tmp_path / "tree", {COPY: DUPLICATE})
    outcome = cli("check", "--root", root)
    assert outcome.code == 1
    assert outcome.out.count("DIT106") == 2
    assert outcome.err.count("warning: the cache") == 1
