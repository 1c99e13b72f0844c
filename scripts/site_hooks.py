"""Hooks of the site: what the navigation lists of rules and findings comes from what is there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lsp_server.rule_pages import GROUPS, all_pages


def on_config(config: Any) -> Any:
    """Puts every rule's page below its group's heading, and the pages on findings below their overview."""
    for entry in config.nav:
        if isinstance(entry, dict) and entry.get("Rules") == "rules/index.md":
            entry["Rules"] = ["rules/index.md", *_groups()]
        if isinstance(entry, dict) and entry.get("Accuracy") == "accuracy.md":
            pages = sorted((Path(config.docs_dir) / "accuracy").glob("*.md"))
            entry["Accuracy"] = ["accuracy.md", *(f"accuracy/{page.name}" for page in pages)]
    return config


def _groups() -> list[dict[str, list[dict[str, str]]]]:
    pages = all_pages()
    return [
        {
            title: [
                {f"{page.code} {page.name}": f"rules/{page.code}.md"}
                for page in pages
                if page.code.startswith(prefix)
            ]
        }
        for prefix, title in GROUPS.items()
        if any(page.code.startswith(prefix) for page in pages)
    ]
