"""Files and their facts: what the disk can do to us, overlays, refreshing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from analyzers.project.index import Project
from analyzers.project.profile import FASTVIDEO
from analyzers.project.settings import Settings
from analyzers.project.sources import Sources
from analyzers.rules.engine import check_file


def problem_found(sources: Sources, path: str) -> str:
    """The file is reported as unreadable, once, and nothing else is said of it."""
    facts = sources.facts(path)
    assert facts is not None
    assert facts.unreadable == sources.problem(path)
    assert facts.broken
    assert facts.chunks == ()
    assert sources.text(path) is None
    findings = check_file(Project(sources, FASTVIDEO, Settings()), path)
    assert [f.code for f in findings] == ["DIT001"]
    return facts.unreadable or ""


def test_a_file_that_is_not_utf8(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_bytes(b"x = 1\ny = '\xe4'\n")
    assert problem_found(Sources(tmp_path), "a.py") == "not UTF-8 (byte 11): save it as UTF-8"


def test_a_folder_named_like_a_file(tmp_path: Path) -> None:
    (tmp_path / "a.py").mkdir()
    (tmp_path / "a.py/b.py").write_text("x = 1\n", encoding="utf-8")
    sources = Sources(tmp_path)
    assert "not a regular file" in problem_found(sources, "a.py")
    assert not sources.exists("a.py")
    assert sources.walk(".") == ("a.py/b.py",)


@pytest.mark.parametrize("target", ["gone.py", "a.py"], ids=["dangling", "loop"])
def test_links_that_lead_nowhere(tmp_path: Path, target: str) -> None:
    (tmp_path / "a.py").symlink_to(tmp_path / target)
    sources = Sources(tmp_path)
    assert sources.walk(".") == ("a.py",)
    assert "cannot be read" in problem_found(sources, "a.py")
    assert not sources.exists("a.py")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this platform has no named pipes")
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.py")
    assert "not a regular file" in problem_found(Sources(tmp_path), "a.py")


def test_a_file_without_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The refusal is made up: a superuser, as in containers, may read everything."""
    (tmp_path / "a.py").write_text("x = 1\n", encoding="utf-8")

    def refuse(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_bytes", refuse)
    assert problem_found(Sources(tmp_path), "a.py") == "cannot be read: Permission denied"


def test_a_loop_of_folders_ends(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a/x.py").write_text("", encoding="utf-8")
    (tmp_path / "a/b").symlink_to(tmp_path / "a", target_is_directory=True)
    assert Sources(tmp_path).walk("a") == ("a/x.py",)


def test_what_is_not_there(tmp_path: Path) -> None:
    sources = Sources(tmp_path)
    for path in ("gone.py", "no/such/folder/a.py", "a\x00b.py"):
        assert sources.facts(path) is None
        assert sources.text(path) is None
        assert not sources.exists(path)
    assert sources.walk("gone") == ()
    assert check_file(Project(sources, FASTVIDEO, Settings()), "gone.py") == []


def test_one_bad_file_does_not_stop_the_rest(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_bytes(b"\xff")
    (tmp_path / "b.py").write_text("x = 1\n", encoding="utf-8")
    sources = Sources(tmp_path)
    facts = [sources.facts(path) for path in sorted(sources.walk("."))]
    assert [f.broken for f in facts if f is not None] == [True, False]


def test_hidden_and_cache_folders_are_left_out(tmp_path: Path) -> None:
    for path in (".git/a.py", "__pycache__/b.py", "c/.d/e.py", "f/g.py", "f/.h.py", "f/i.pyi"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text("", encoding="utf-8")
    assert sorted(Sources(tmp_path).walk(".")) == ["f/.h.py", "f/g.py"]


def test_the_disk_is_read_again_only_after_a_refresh(tmp_path: Path) -> None:
    file = tmp_path / "a.py"
    file.write_text("x = 1\n", encoding="utf-8")
    sources = Sources(tmp_path)
    first = sources.facts("a.py")
    assert sources.walk(".") == ("a.py",)
    file.write_bytes(b"\xff")
    (tmp_path / "b.py").write_text("", encoding="utf-8")
    assert sources.facts("a.py") is first
    assert sources.walk(".") == ("a.py",)
    before = sources.generation
    sources.refresh(["a.py"])
    assert sources.generation > before
    assert "not UTF-8" in (sources.problem("a.py") or "")
    assert sorted(sources.walk(".")) == ["a.py", "b.py"]
    file.write_text("y = 2\n", encoding="utf-8")
    sources.refresh()
    assert sources.problem("a.py") is None
    found = sources.facts("a.py")
    assert found is not None
    assert found.assignment_of("y") is not None
    file.unlink()
    sources.refresh(["a.py"])
    assert sources.facts("a.py") is None


def test_an_overlay_hides_the_disk_until_it_is_closed(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_bytes(b"\xff")
    sources = Sources(tmp_path)
    assert sources.problem("a.py") is not None
    sources.open("a.py", "x = 1\n")
    assert sources.problem("a.py") is None
    assert sources.text("a.py") == "x = 1\n"
    facts = sources.facts("a.py")
    assert facts is not None
    assert not facts.broken
    sources.refresh()
    assert sources.text("a.py") == "x = 1\n"
    sources.close("a.py")
    assert sources.problem("a.py") is not None
    generation = sources.generation
    sources.close("a.py")
    assert sources.generation == generation, "closing what is not open changes nothing"


def test_an_unsaved_file_exists(tmp_path: Path) -> None:
    sources = Sources(tmp_path)
    sources.open("new.py", "class A: pass\n")
    assert sources.exists("new.py")
    assert sources.facts("new.py") is not None
    sources.close("new.py")
    assert not sources.exists("new.py")
    assert sources.facts("new.py") is None


def test_the_generation_counts_changes_of_text(tmp_path: Path) -> None:
    sources = Sources(tmp_path)
    sources.open("a.py", "x = 1\n")
    generation = sources.generation
    sources.open("a.py", "x = 1\n")
    assert sources.generation == generation
    sources.open("a.py", "x = 2\n")
    assert sources.generation == generation + 1


def test_what_was_read_before_opening_is_the_last_good_state(tmp_path: Path) -> None:
    whole = "class A:\n    def f(self):\n        self.x = 1\n"
    (tmp_path / "a.py").write_text(whole, encoding="utf-8")
    sources = Sources(tmp_path)
    sources.facts("a.py")
    sources.open("a.py", whole.replace("= 1", "= (1"))
    facts = sources.facts("a.py")
    assert facts is not None
    cls = facts.class_named("A")
    assert cls is not None
    assert [a.name for m in cls.fact.methods for a in m.assignments] == ["x"]


def test_other_texts_are_laid_over_a_copy(tmp_path: Path) -> None:
    for name in ("a.py", "b.py"):
        (tmp_path / name).write_text("x = 1\n", encoding="utf-8")
    base = Sources(tmp_path)
    kept, before = base.facts("a.py"), base.facts("b.py")
    copy = Sources.overlaid(base, {"b.py": "y = 2\n", "c.py": "z = 3\n"})
    assert copy.facts("a.py") is kept
    assert copy.text("b.py") == "y = 2\n"
    assert copy.exists("c.py")
    assert copy.facts("b.py") is not before
    assert base.facts("b.py") is before
    assert base.text("b.py") == "x = 1\n"
    assert not base.exists("c.py")


@pytest.mark.parametrize("end", ["\r\n", "\r"])
def test_a_byte_order_mark_and_other_line_ends_are_no_error(tmp_path: Path, end: str) -> None:
    text = "class A:\n    x = 1  # ä\n\n\ny = A()\n"
    (tmp_path / "a.py").write_bytes(b"\xef\xbb\xbf" + text.replace("\n", end).encode())
    (tmp_path / "b.py").write_bytes(text.encode())
    sources = Sources(tmp_path)
    marked, plain = sources.facts("a.py"), sources.facts("b.py")
    assert marked is not None
    assert plain is not None
    assert not marked.broken
    assert marked.chunks == plain.chunks
