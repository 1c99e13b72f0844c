"""A real client that speaks to a real server process over its standard input and output."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from lsprotocol import types
from pygls.protocol import default_converter
from pytest_lsp import LanguageClient
from pytest_lsp.client import register_lsp_features

SERVER = (sys.executable, "-c", "from lsp_server.serve import run_stdio; run_stdio()")
WAIT = 30.0


def converter() -> Any:
    """lsprotocol 2025.0.0 takes every code action that carries a command for a command (on this side
    only): structure by the type of the field instead."""
    made = default_converter()

    def one(plain: Any) -> Any:
        return made.structure(
            plain, types.Command if isinstance(plain.get("command"), str) else types.CodeAction
        )

    made.register_structure_hook(types.Command | types.CodeAction, lambda plain, _: one(plain))
    made.register_structure_hook(
        Sequence[types.Command | types.CodeAction] | None,
        lambda plain, _: None if plain is None else [one(item) for item in plain],
    )
    return made


def plain(value: Any) -> Any:
    """JSON that no type describes, as dicts and lists: pygls makes named tuples of it."""
    if hasattr(value, "_asdict"):
        value = value._asdict()
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value


class Editor:
    """What an editor does, and what it was told: `status`, `verdicts`, `log`, `refreshes`.

    While `settings_held` is there and not set, answers about settings wait, and are those of when they were
    asked for."""

    def __init__(self, client: LanguageClient, root: Path) -> None:
        self.client = client
        self.root = root
        self.versions: dict[str, int] = {}
        self.status: list[Any] = []
        self.verdicts: list[Any] = []
        self.refreshes = 0
        self.client_encoding = "utf-16"
        self.offered = types.ServerCapabilities()
        self.settings: dict[str, Any] = {"trusted": False, "python": None}
        self.settings_asked = 0
        self.settings_held: asyncio.Event | None = None
        self.registered: list[types.Registration] = []
        self.published: dict[str, list[types.PublishDiagnosticsParams]] = {}
        self._news = asyncio.Event()

    def uri(self, path: str) -> str:
        return (self.root / path).as_uri()

    def text(self, path: str) -> str:
        return (self.root / path).read_bytes().decode()

    # -------------------------------------------------------------- documents

    def open(self, path: str, text: str | None = None, *, uri: str | None = None) -> str:
        uri = uri or self.uri(path)
        self.versions[uri] = 1
        content = self.text(path) if text is None else text
        self.client.text_document_did_open(
            types.DidOpenTextDocumentParams(types.TextDocumentItem(uri, "python", 1, content))
        )
        return uri

    def change(self, path: str, text: str, place: types.Range | None = None) -> int:
        """Replaces the whole text, or a range of it; the new version."""
        uri = self.uri(path)
        self.versions[uri] += 1
        change: types.TextDocumentContentChangeEvent = (
            types.TextDocumentContentChangeWholeDocument(text)
            if place is None
            else types.TextDocumentContentChangePartial(place, text)
        )
        self.client.text_document_did_change(
            types.DidChangeTextDocumentParams(
                types.VersionedTextDocumentIdentifier(uri=uri, version=self.versions[uri]), [change]
            )
        )
        return self.versions[uri]

    def close(self, path: str) -> None:
        self.client.text_document_did_close(
            types.DidCloseTextDocumentParams(types.TextDocumentIdentifier(self.uri(path)))
        )

    def saved_outside(self, path: str, text: str | None) -> None:
        """Another program writes (or deletes) a file, and the editor's watcher sees it."""
        file = self.root / path
        kind = types.FileChangeType.Changed if file.exists() else types.FileChangeType.Created
        if text is None:
            file.unlink()
            kind = types.FileChangeType.Deleted
        else:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(text.encode())
        self.client.workspace_did_change_watched_files(
            types.DidChangeWatchedFilesParams([types.FileEvent(self.uri(path), kind)])
        )

    # -------------------------------------------------------------- answers

    async def until(self, met: Callable[[], Any], what: str) -> Any:
        """Waits until a condition on what the server has told holds; its value."""
        deadline = asyncio.get_running_loop().time() + WAIT
        while not (value := met()):
            left = deadline - asyncio.get_running_loop().time()
            if left <= 0:
                raise AssertionError(f"{what}; last told: {self.published}, {self.status[-3:]}")
            self._news.clear()
            try:
                await asyncio.wait_for(self._news.wait(), left)
            except asyncio.TimeoutError:
                pass
        return value

    async def indexed(self) -> None:
        await self.until(lambda: any(s["state"] == "ready" for s in self.status), "the tree is not indexed")

    async def diagnostics(
        self, path: str, met: Callable[[list[types.Diagnostic]], Any] = lambda found: True
    ) -> list[types.Diagnostic]:
        """Waits for pushed diagnostics of which a condition holds; the last ones."""
        uri = self.uri(path)

        def last() -> list[types.Diagnostic]:
            told = self.published.get(uri)
            return list(told[-1].diagnostics) if told else []

        await self.until(lambda: uri in self.published and met(last()), f"diagnostics of {path}")
        return last()

    async def pull(self, path: str, previous: str | None = None) -> Any:
        return await self.client.text_document_diagnostic_async(
            types.DocumentDiagnosticParams(
                types.TextDocumentIdentifier(self.uri(path)), previous_result_id=previous
            )
        )

    async def until_gone(self, process: int) -> None:
        """Waits until a process has ended."""
        deadline = asyncio.get_running_loop().time() + WAIT
        while _lives(process):
            assert asyncio.get_running_loop().time() < deadline, f"process {process} is still there"
            await asyncio.sleep(0.05)

    async def actions(
        self, path: str, found: types.Diagnostic | types.Range, only: Sequence[str] | None = None
    ) -> list[types.CodeAction]:
        place = found.range if isinstance(found, types.Diagnostic) else found
        answer = await self.client.text_document_code_action_async(
            types.CodeActionParams(
                types.TextDocumentIdentifier(self.uri(path)),
                place,
                types.CodeActionContext(
                    diagnostics=[found] if isinstance(found, types.Diagnostic) else [],
                    only=list(only) if only is not None else None,
                    trigger_kind=types.CodeActionTriggerKind.Invoked,
                ),
            )
        )
        return [action for action in answer or () if isinstance(action, types.CodeAction)]

    async def command(self, name: str, *arguments: Any) -> Any:
        return plain(
            await self.client.workspace_execute_command_async(
                types.ExecuteCommandParams(name, list(arguments))
            )
        )

    async def request(self, method: str, params: Any = None) -> Any:
        return plain(await self.client.protocol.send_request_async(method, params))

    def heard(self) -> None:
        self._news.set()


def _lives(process: int) -> bool:
    try:
        return "Z (zombie)" not in Path(f"/proc/{process}/status").read_text()
    except FileNotFoundError:
        return False


def capabilities(
    *, pull: bool = False, refresh: bool = True, encodings: Sequence[str] = ("utf-16",)
) -> types.ClientCapabilities:
    """What a modern editor can do."""
    return types.ClientCapabilities(
        general=types.GeneralClientCapabilities(
            position_encodings=[types.PositionEncodingKind(e) for e in encodings]
        ),
        window=types.WindowClientCapabilities(work_done_progress=True),
        text_document=types.TextDocumentClientCapabilities(
            publish_diagnostics=types.PublishDiagnosticsClientCapabilities(
                related_information=True, version_support=True, code_description_support=True
            ),
            diagnostic=types.DiagnosticClientCapabilities() if pull else None,
            code_action=types.CodeActionClientCapabilities(
                resolve_support=types.ClientCodeActionResolveOptions(["edit"]), data_support=True
            ),
        ),
        workspace=types.WorkspaceClientCapabilities(
            configuration=True,
            workspace_folders=True,
            workspace_edit=types.WorkspaceEditClientCapabilities(document_changes=True),
            did_change_watched_files=types.DidChangeWatchedFilesClientCapabilities(dynamic_registration=True),
            diagnostics=types.DiagnosticWorkspaceClientCapabilities(refresh_support=refresh),
            code_lens=types.CodeLensWorkspaceClientCapabilities(refresh_support=True),
        ),
    )


@asynccontextmanager
async def editor_at(
    root: Path,
    *,
    folders: Sequence[Path] | None = None,
    able: types.ClientCapabilities | None = None,
    settings: Mapping[str, Any] | None = None,
    command: Sequence[str] = SERVER,
) -> AsyncIterator[Editor]:
    """A server process and a client that has initialised it."""
    client = LanguageClient(converter_factory=converter)
    register_lsp_features(client)
    editor = Editor(client, root)
    editor.settings.update(settings or {})
    _listen(client, editor)
    await client.start_io(*command)
    answer = await client.initialize_session(
        types.InitializeParams(
            capabilities=able or capabilities(),
            workspace_folders=[types.WorkspaceFolder(f.as_uri(), f.name) for f in folders or [root]],
            initialization_options={"settings": editor.settings},
        )
    )
    editor.offered = answer.capabilities
    encoding = answer.capabilities.position_encoding
    editor.client_encoding = str(getattr(encoding, "value", encoding))
    try:
        yield editor
    finally:
        if not client.stopped:
            await client.shutdown_session()
        await client.stop()


def _listen(client: LanguageClient, editor: Editor) -> None:
    for answered in (
        types.TEXT_DOCUMENT_PUBLISH_DIAGNOSTICS,
        types.WORKSPACE_CONFIGURATION,
        types.CLIENT_REGISTER_CAPABILITY,
        types.WORKSPACE_DIAGNOSTIC_REFRESH,
        types.WORKSPACE_CODE_LENS_REFRESH,
    ):
        client.protocol.fm.features.pop(answered, None)  # pytest-lsp's own answer

    @client.feature(types.TEXT_DOCUMENT_PUBLISH_DIAGNOSTICS)
    def published(params: types.PublishDiagnosticsParams) -> None:
        editor.published.setdefault(params.uri, []).append(params)
        editor.heard()

    @client.feature(types.WORKSPACE_CONFIGURATION)
    async def configuration(params: types.ConfigurationParams) -> list[Any]:
        told = dict(editor.settings)
        editor.settings_asked += 1
        editor.heard()
        if (held := editor.settings_held) is not None:
            await held.wait()
        return [told if item.section == "ditproof" else None for item in params.items]

    @client.feature(types.CLIENT_REGISTER_CAPABILITY)
    def register(params: types.RegistrationParams) -> None:
        editor.registered += params.registrations

    @client.feature(types.WORKSPACE_DIAGNOSTIC_REFRESH)
    def refresh(params: Any) -> None:
        editor.refreshes += 1
        editor.heard()

    @client.feature(types.WORKSPACE_CODE_LENS_REFRESH)
    def refresh_lenses(params: Any) -> None:
        editor.heard()

    @client.feature("ditproof/status")
    def status(params: Any) -> None:
        editor.status.append(plain(params))
        editor.heard()

    @client.feature("ditproof/verdict")
    def verdict(params: Any) -> None:
        editor.verdicts.append(plain(params))
        editor.heard()
