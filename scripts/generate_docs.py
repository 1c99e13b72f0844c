"""Writes docs/rules from the rules themselves; `--check` only says what is out of date."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from lsp_server.rule_pages import all_pages, index_markdown, page_markdown

FOLDER = Path(__file__).resolve().parent.parent / "docs" / "rules"


def documents() -> dict[str, str]:
    """File name -> text, of every page and the index."""
    pages = all_pages()
    return {"index.md": index_markdown(pages)} | {f"{page.code}.md": page_markdown(page) for page in pages}


def out_of_date(folder: Path = FOLDER) -> list[str]:
    """The names of files that differ from what the rules say, are missing, or should not be there."""
    wanted = documents()
    found = {file.name: file.read_text(encoding="utf-8") for file in folder.glob("*.md")}
    return sorted(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name))


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
    changed = out_of_date() if check else write()
    for name in changed:
        print(f"{'out of date' if check else 'written'}: docs/rules/{name}")
    return int(check and bool(changed))


if __name__ == "__main__":
    sys.exit(main())
