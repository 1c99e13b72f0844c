"""Quick fixes, "suppress with a comment", fix-all; on a port its handoff, and a recipe where it has none.

A fix is offered only when the edit worker has verified it for the document's present version, so
what is offered works; what the worker has not answered yet is offered at the next request.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lsprotocol import types
from pygls.exceptions import JsonRpcException

from analyzers.findings import Finding, Span
from analyzers.rules.suppressions import directive_for
from lsp_server.documents import Document, uri_of
from lsp_server.edit_client import EditRefused
from lsp_server.edits import text_edits
from lsp_server.features import handoff
from lsp_server.features.recipes import action_for, port_without_recipe
from lsp_server.plain import as_mapping
from lsp_server.positions import to_range, to_span
from lsp_server.session import Session
from lsp_server.verdicts import with_measured

if TYPE_CHECKING:
    from lsp_server.server import Server
    from lsp_server.workspace import Tree

FIX_ALL = "source.fixAll.ditproof"
PATIENCE = {True: 15.0, False: 0.35}
"""Seconds that an answer waits for the edit worker: when somebody asked, and when the editor did. Whoever
asks rather waits for a worker that is still reading the tree than hears that there is no fix; but not as
long as a hung worker is given (`edit_client.LIMIT`)."""
MOST_FIXES = 8
CONTENT_MODIFIED = -32801

_Key = tuple[str, str, Span]


def register(server: Server) -> None:
    """Adds the handlers."""
    fixes = Fixes(server)

    @server.feature(
        types.TEXT_DOCUMENT_CODE_ACTION,
        types.CodeActionOptions(
            code_action_kinds=[types.CodeActionKind.QuickFix, FIX_ALL], resolve_provider=True
        ),
    )
    async def code_actions(params: types.CodeActionParams) -> list[types.CodeAction]:
        return await fixes.actions(params)

    @server.feature(types.CODE_ACTION_RESOLVE)
    async def resolve(action: types.CodeAction) -> types.CodeAction:
        return await fixes.resolve(action)


class Fixes:
    """Verified fixes of the present state of each tree."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._known: dict[Tree, tuple[int, dict[_Key, asyncio.Task[dict[str, str]]]]] = {}

    # ------------------------------------------------------------------ requests

    async def actions(self, params: types.CodeActionParams) -> list[types.CodeAction]:
        """What can be done about the findings in a range."""
        document = self._server.documents.get(params.text_document.uri)
        placed = self._server.place(params.text_document.uri)
        if document is None or placed is None:
            return []
        tree, path = placed
        version, context = document.version, params.context
        findings = await self._findings(tree, path)
        if document.version != version:
            return []
        actions: list[types.CodeAction] = []
        span = to_span(params.range, document.lines, document.encoding)
        touched = [finding for finding in findings if _touches(finding.location.span, span)]
        if _asked(context, types.CodeActionKind.QuickFix):
            explicit = context.trigger_kind is not types.CodeActionTriggerKind.Automatic
            actions += await self._fixes(tree, document, touched, context, PATIENCE[explicit])
        if _asked(context, FIX_ALL) and any(finding.has_safe_fix for finding in findings):
            actions.append(await self._fix_all(tree, document, path))
        if _asked(context, types.CodeActionKind.QuickFix):
            actions += await self._suppressions(tree, document, path, touched, context)
            port = await tree.ask(lambda session: port_without_recipe(session, path, span))
            if port is not None:
                actions.append(action_for(port))
            if context.trigger_kind is not types.CodeActionTriggerKind.Automatic:
                port = await tree.ask(lambda session: handoff.port_at(session, path, span))
                actions += [handoff.action_for(port)] if port is not None else []
        return actions if document.version == version else []

    async def resolve(self, action: types.CodeAction) -> types.CodeAction:
        """Fills in the edit of an action. Raises ContentModified where the document has gone on."""
        data = as_mapping(action.data) or {}
        document = self._server.documents.get(str(data.get("uri")))
        placed = self._server.place(str(data.get("uri")))
        if document is None or placed is None or document.version != data.get("version"):
            raise JsonRpcException("the document has changed since this was offered", CONTENT_MODIFIED)
        tree, path = placed
        try:
            if data.get("what") == "fix-all":
                texts = await self._server.edits.fix_all(tree.root, self._texts(tree), path)
            else:
                findings = await self._findings(tree, path)
                wanted = [f for f in findings if f.fix and _identity(f) == data.get("finding")]
                if not wanted:
                    raise JsonRpcException("the finding is gone", CONTENT_MODIFIED)
                texts = await self._verified(tree, wanted[0])
        except EditRefused as refusal:
            raise JsonRpcException(str(refusal), CONTENT_MODIFIED) from refusal
        if document.version != data.get("version"):
            raise JsonRpcException("the document has changed meanwhile", CONTENT_MODIFIED)
        action.edit = await self._edit(tree, texts)
        return action

    # ------------------------------------------------------------------ actions

    async def _fixes(
        self,
        tree: Tree,
        document: Document,
        findings: Sequence[Finding],
        context: types.CodeActionContext,
        patience: float,
    ) -> list[types.CodeAction]:
        fixable = sorted((f for f in findings if f.fix), key=lambda f: (not f.has_safe_fix, f.sort_key))
        asked = {_key(finding): self._verified(tree, finding) for finding in fixable[:MOST_FIXES]}
        if asked:
            await asyncio.wait(asked.values(), timeout=patience)
        found = []
        for finding in fixable[:MOST_FIXES]:
            task = asked[_key(finding)]
            assert finding.fix is not None
            if not task.done() or task.cancelled() or task.exception() is not None:
                continue
            action = types.CodeAction(
                title=finding.fix.title,
                kind=types.CodeActionKind.QuickFix,
                diagnostics=_diagnostics(finding, document, context),
                is_preferred=True if finding.has_safe_fix else None,
                data={
                    "uri": document.uri,
                    "version": document.version,
                    "what": "fix",
                    "finding": _identity(finding),
                },
            )
            if not self._resolves:
                action.edit = await self._edit(tree, task.result())
            found.append(action)
        return found

    async def _suppressions(
        self,
        tree: Tree,
        document: Document,
        path: str,
        findings: Sequence[Finding],
        context: types.CodeActionContext,
    ) -> list[types.CodeAction]:
        by_code = {finding.code: finding for finding in reversed(findings) if _can_be_suppressed(finding)}

        def places(session: Session) -> list[tuple[Finding, tuple[Span, str]]]:
            facts, text = session.project.file(path), session.sources.text(path)
            if facts is None or text is None:
                return []
            chosen = [by_code[code] for code in sorted(by_code)]
            return [(finding, directive_for(finding, facts, text)) for finding in chosen]

        found = []
        for finding, (span, text) in await tree.ask(places) if by_code else []:
            newline = "\r\n" if "\r\n" in document.text else "\n"
            edit = types.TextEdit(
                to_range(span, document.lines, document.encoding), text.replace("\n", newline)
            )
            found.append(
                types.CodeAction(
                    title=f"Suppress {finding.code} with a comment",
                    kind=types.CodeActionKind.QuickFix,
                    diagnostics=_diagnostics(finding, document, context),
                    edit=self._workspace_edit({document.uri: (document.version, [edit])}),
                )
            )
        return found

    async def _fix_all(self, tree: Tree, document: Document, path: str) -> types.CodeAction:
        action = types.CodeAction(
            title="Apply all safe ditproof fixes",
            kind=FIX_ALL,
            data={"uri": document.uri, "version": document.version, "what": "fix-all"},
        )
        if not self._resolves:
            try:
                texts = await self._server.edits.fix_all(tree.root, self._texts(tree), path)
            except EditRefused:
                texts = {}
            action.edit = await self._edit(tree, texts)
        return action

    # ------------------------------------------------------------------ what there is to fix

    async def _findings(self, tree: Tree, path: str) -> list[Finding]:
        """What rules find in the present text of a file, and what runs have found there."""

        def found(session: Session) -> list[Finding]:
            of_runs = [*self._server.verdicts.findings(tree.root, path, session.sources.text)]
            return with_measured(session.findings(path), of_runs)

        return await tree.ask(found)

    # ------------------------------------------------------------------ edits

    def _verified(self, tree: Tree, finding: Finding) -> asyncio.Task[dict[str, str]]:
        """The edit of a finding's fix, under way or done; one for each state of the tree."""
        revision, known = self._known.get(tree, (-1, {}))
        if revision != tree.revision:
            for task in known.values():
                task.cancel()
            known = {}
            self._known[tree] = (tree.revision, known)
        key = _key(finding)
        if key not in known:
            work = self._server.edits.fix(tree.root, self._texts(tree), finding)
            known[key] = asyncio.ensure_future(work)
            known[key].add_done_callback(_look_at)
        return known[key]

    def _texts(self, tree: Tree) -> dict[str, str]:
        return {path: document.text for document, path in self._server.opened(tree)}

    async def _edit(self, tree: Tree, texts: Mapping[str, str]) -> types.WorkspaceEdit:
        opened = {path: document for document, path in self._server.opened(tree)}
        closed = [path for path in texts if path not in opened]
        on_disk = await tree.ask(lambda session: {path: session.sources.text(path) or "" for path in closed})
        edits: dict[str, tuple[int | None, list[types.TextEdit]]] = {}
        for path, text in texts.items():
            document = opened.get(path)
            if document is not None:
                changes = text_edits(document.text, text, self._server.encoding)
                edits[document.uri] = (document.version, changes)
            else:
                changes = text_edits(on_disk[path], text, self._server.encoding)
                edits[uri_of(tree.root, path)] = (None, changes)
        return self._workspace_edit(edits)

    def _workspace_edit(
        self, edits: Mapping[str, tuple[int | None, list[types.TextEdit]]]
    ) -> types.WorkspaceEdit:
        workspace = self._server.client_capabilities.workspace
        if (
            workspace is None
            or workspace.workspace_edit is None
            or not workspace.workspace_edit.document_changes
        ):
            return types.WorkspaceEdit(changes={uri: changes for uri, (_, changes) in edits.items()})
        return types.WorkspaceEdit(
            document_changes=[
                types.TextDocumentEdit(types.OptionalVersionedTextDocumentIdentifier(uri, version), changes)
                for uri, (version, changes) in edits.items()
            ]
        )

    @property
    def _resolves(self) -> bool:
        """Whether the client asks for an action's edit later."""
        document = self._server.client_capabilities.text_document
        support = document.code_action.resolve_support if document and document.code_action else None
        return support is not None and "edit" in support.properties


def _asked(context: types.CodeActionContext, kind: str) -> bool:
    """Whether a client wants actions of a kind; no wish means all."""
    only: Sequence[Any] = context.only or ()
    wanted = [str(getattr(k, "value", k)) for k in only]
    return not wanted or any(kind == w or kind.startswith(f"{w}.") or not w for w in wanted)


def _touches(finding: Span, asked: Span) -> bool:
    begin, end = (finding.line, finding.column), (finding.end_line, finding.end_column)
    return begin <= (asked.end_line, asked.end_column) and (asked.line, asked.column) <= end


def _can_be_suppressed(finding: Finding) -> bool:
    """Rules can; syntax errors, faults of suppressions and what a run found cannot."""
    return not finding.code.startswith(("DIT0", "DIT9"))


def _key(finding: Finding) -> _Key:
    return (finding.code, finding.message, finding.location.span)


def _identity(finding: Finding) -> list[Any]:
    """The key as JSON."""
    span = finding.location.span
    return [finding.code, finding.message, span.line, span.column, span.end_line, span.end_column]


def _diagnostics(
    finding: Finding, document: Document, context: types.CodeActionContext
) -> list[types.Diagnostic] | None:
    """The client's own diagnostics of that finding."""
    place = to_range(finding.location.span, document.lines, document.encoding)
    same = [d for d in context.diagnostics if d.code == finding.code and d.range == place]
    return same or None


def _look_at(task: asyncio.Task[dict[str, str]]) -> None:
    """A refusal nobody waits for any more is no error."""
    if not task.cancelled():
        task.exception()
