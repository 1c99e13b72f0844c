"""Pages that a person reads hold no marks of a merge."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
MARK = re.compile(r"^(<{7} .*|={7}|>{7} .*)$", re.MULTILINE)


def marked(root: Path) -> list[str]:
    """The pages with a mark: those of the root and its folders of documentation."""
    pages = [*root.glob("*.md"), *root.glob("docs/**/*.md"), *root.glob("*/*.md")]
    texts = {page.relative_to(root).as_posix(): page.read_text(encoding="utf-8") for page in pages}
    return sorted(page for page, text in texts.items() if MARK.search(text))


def test_no_page_has_marks_of_a_merge() -> None:
    assert marked(ROOT) == []


def test_marks_of_a_merge_are_seen(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "page.md").write_text("a\n<<<<<<< HEAD\nb\n=======\nc\n>>>>>>> other\n")
    (tmp_path / "README.md").write_text("Heading\n========\n")
    assert marked(tmp_path) == ["docs/page.md"]
