"""Writes docs/rules and docs/tasks.md from the rules; `--check` only says what is out of date."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from lsp_server.rule_pages import all_pages, index_markdown, page_markdown
from lsp_server.rule_tasks import tasks_markdown

FOLDER = Path(__file__).resolve().parent.parent / "docs" / "rules"
TASKS = FOLDER.parent / "tasks.md"


def documents() -> dict[str, str]:
    """File name -> text, of every page and the index."""
    pages = all_pages()
    return {"index.md": index_markdown(pages)} | {f"{page.code}.md": page_markdown(page) for page in pages}


def out_of_date(folder: Path = FOLDER) -> list[str]:
    """The names of files that differ from what the rules say, are missing, or should not be there."""
    wanted = documents()
    found = {file.name: file.read_text(encoding="utf-8") for file in folder.glob("*.md")}
    return sorted(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name))


def tasks_out_of_date(page: Path = TASKS) -> bool:
    """Whether the overview by task says something else than the rules."""
    return not page.exists() or page.read_text(encoding="utf-8") != tasks_markdown()


def write(folder: Path = FOLDER) -> list[str]:
    """Brings the folder up to date; the names of the files that changed."""
    changed = out_of_date(folder)
    wanted = documents()
    folder.mkdir(parents=True, exist_ok=True)
    for name in changed:
        if name in wanted:
            (folder / name).write_text(wanted[name], encoding="utf-8")
        else:
            (folder / name).unlink()
    return changed


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 where a page is old")
    check = parser.parse_args().check
    changed = [f"rules/{name}" for name in (out_of_date() if check else write())]
    if tasks_out_of_date():
        changed.append(TASKS.name)
        if not check:
            TASKS.write_text(tasks_markdown(), encoding="utf-8")
    for name in changed:
        print(f"{'out of date' if check else 'written'}: docs/{name}")
    return int(check and bool(changed))


if __name__ == "__main__":
    sys.exit(main())
