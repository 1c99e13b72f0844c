"""The client's settings, at the start and whenever they change."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from lsprotocol import types
from pygls.exceptions import JsonRpcException

from lsp_server.config import SECTION, ClientSettings
from lsp_server.plain import as_mapping

if TYPE_CHECKING:
    from lsp_server.server import Server

TRUST_METHOD = "ditproof/trustChanged"

log = logging.getLogger(__name__)


def register(server: Server) -> None:
    """Adds the handlers."""

    @server.feature(types.WORKSPACE_DID_CHANGE_CONFIGURATION)
    async def configuration_changed(params: types.DidChangeConfigurationParams) -> None:
        pushed = (as_mapping(params.settings) or {}).get(SECTION)
        if pushed is not None:
            _take(server, pushed)
        else:
            await ask_for_settings(server)

    @server.feature(TRUST_METHOD)
    async def trust_changed(params: Any) -> None:
        given = as_mapping(params) or {}
        _take(server, {"trusted": given.get("trusted")})
        if not server.settings.trusted:
            server.saves.forget()
            await server.runs.cancel_all()
            await server.weights.cancel_all()
            server.traces.cancel_all()
            server.worker.kill()


async def ask_for_settings(server: Server) -> None:
    """Asks the client for its section, if it can be asked."""
    workspace = server.client_capabilities.workspace
    if workspace is None or not workspace.configuration:
        return
    item = types.ConfigurationItem(section=SECTION)
    while True:
        before = server.settings
        try:
            answers = await server.workspace_configuration_async(types.ConfigurationParams([item]))
        except JsonRpcException as error:
            log.warning("the client did not tell its settings: %s", error)
            return
        if server.settings is before:
            break
        # Told something meanwhile (trust given or taken away): this answer may be older than that.
    if answers:
        _take(server, answers[0])


def _take(server: Server, given: object) -> None:
    before = server.settings
    server.settings = before.updated(given)
    if server.settings.docs != before.docs:
        for tree in server.trees.trees:
            server.diagnoser.schedule(tree)
    if _measures_otherwise(before, server.settings):
        for tree in server.trees.trees:
            server.weights.reconsider(tree)
        server.spawn(server.refresh_lenses())


def _measures_otherwise(before: ClientSettings, now: ClientSettings) -> bool:
    """Whether something may be measured that could not be before, or under another interpreter."""
    return replace(before, docs=now.docs) != now
