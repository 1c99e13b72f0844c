"""`ditproof.check`, and the requests under `ditproof/` that carry the command line's JSON."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections import Counter
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from lsp_server.checks.evidence.tiers import evidence_by_tier
from lsp_server.payloads import findings_json, ports_json
from lsp_server.plain import as_mapping
from lsp_server.session import Changes, Session

if TYPE_CHECKING:
    from lsp_server.server import Server
    from lsp_server.workspace import Tree

CHECK = "ditproof.check"
PORTS = "ditproof/ports"
STATE = "ditproof/state"


def register(server: Server) -> None:
    """Adds the command and the request."""

    @server.command(CHECK)
    async def check(arguments: list[Any]) -> list[dict[str, Any]]:
        """Reads everything again, refreshes what is shown, and answers with all findings of each tree."""
        answers = []
        for tree in _trees(server, arguments[0] if arguments else None):
            server.note(tree, Changes(everything=True))
            answers.append(await _check(tree))
            server.diagnoser.schedule(tree)
        return answers

    @server.feature(STATE)
    def state(params: Any) -> dict[str, Any]:
        """For a report of what is wrong with the server itself: its processes, trees and open files."""
        return {
            "server": os.getpid(),
            "editWorker": server.edits.pid,
            "trees": [{"root": str(tree.root), "ready": tree.ready} for tree in server.trees.trees],
            "documents": [{"uri": d.uri, "version": d.version} for d in server.documents],
            "heavy": sorted(set(sys.modules) & {"torch", "libcst", "numpy"}),
        }

    @server.feature(PORTS)
    async def ports(params: Any) -> list[dict[str, Any]]:
        answers: list[dict[str, Any]] = []
        for tree in _trees(server, params):
            kept = await asyncio.to_thread(evidence_by_tier, tree.root)
            answers += await tree.ask(partial(_ports, kept))
        return answers


def _ports(kept: Mapping[str, Mapping[str, Any]], session: Session) -> list[dict[str, Any]]:
    return ports_json(session.project.ports, kept)


def _trees(server: Server, argument: Any) -> tuple[Tree, ...]:
    """The tree of the URI that an argument names, else all."""
    uri = (as_mapping(argument) or {}).get("uri")
    if isinstance(uri, str):
        placed = server.place(uri)
        return (placed[0],) if placed is not None else ()
    return server.trees.trees


async def _check(tree: Tree) -> dict[str, Any]:
    started = time.monotonic()
    found = await tree.step_through(Session.all_findings)
    findings = [finding for _, inside in found for finding in inside]
    ports = await tree.ask(lambda session: len(session.project.ports))
    listed = await tree.ask(lambda session: findings_json(findings, session.sources))
    profile = await tree.ask(lambda session: session.profile.name)
    return {
        "version": 1,
        "root": str(tree.root),
        "profile": profile,
        "findings": listed,
        "summary": {
            "files": len(found),
            "ports": ports,
            "by_rule": dict(sorted(Counter(f.code for f in findings).items())),
            "seconds": round(time.monotonic() - started, 3),
        },
    }
