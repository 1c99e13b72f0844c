"""`ditproof rule`: what a rule does, why, and how to fix it; without a code, all rules."""

from __future__ import annotations

import sys
from difflib import get_close_matches
from typing import Any

import click

from analyzers.rules.retired import find_retired
from lsp_server.commands.exits import CommandError, ExitCode
from lsp_server.commands.options import format_option
from lsp_server.commands.terminal import rendered, write, write_json
from lsp_server.rule_pages import Page, all_pages, find_page, page_markdown, switched_off


@click.command("rule")
@click.argument("code", required=False)
@format_option
def command(code: str | None, output_format: str) -> int:
    """Explain the rule of that CODE or name; without one, list all rules."""
    if code is None:
        if output_format == "json":
            write_json([_json(page) for page in all_pages()])
        else:
            write(_table())
        return ExitCode.CLEAN
    page = find_page(code)
    retired = find_retired(code)
    if retired is not None:
        raise CommandError(
            f"{retired.told}.",
            f"`ditproof rule {retired.instead}` explains that one."
            if retired.instead
            else "remove it where it is named.",
        )
    if page is None:
        known = [word for p in all_pages() for word in (p.code, p.name)]
        close = get_close_matches(code.upper(), known, n=1) or get_close_matches(code.lower(), known, n=1)
        raise CommandError(
            f"there is no rule '{code}'." + (f" Did you mean {close[0]}?" if close else ""),
            "`ditproof rule` lists every rule.",
        )
    if output_format == "json":
        write_json(_json(page))
    elif sys.stdout.isatty():
        from rich.markdown import Markdown

        write(rendered(Markdown(page_markdown(page), code_theme="ansi_dark")))
    else:
        write(page_markdown(page))
    return ExitCode.CLEAN


def _json(page: Page) -> dict[str, Any]:
    return {
        "code": page.code,
        "name": page.name,
        "severity": page.severity.value,
        "tier": page.tier,
        "fix": None if page.fixable is None else page.fixable.value,
        "summary": page.summary,
        "what": page.what,
        "why": page.why,
        "how": page.how,
        "exceptions": page.exceptions,
        "source": page.source,
        "off": switched_off(page.code),
    }


def _table() -> str:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("CODE", no_wrap=True)
    table.add_column("NAME", no_wrap=True)
    table.add_column("SEVERITY", no_wrap=True)
    table.add_column("FIX", no_wrap=True)
    table.add_column("REPORTS", overflow="fold")
    styles = {"error": "bold red", "warning": "bold yellow", "information": "bold cyan"}
    for page in all_pages():
        severity = page.severity.value
        fix = "" if page.fixable is None else page.fixable.value
        table.add_row(page.code, page.name, Text(severity, style=styles[severity]), fix, page.summary)
    return rendered(table)
