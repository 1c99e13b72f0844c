"""What the client decided: the project's interpreter, trust, and where rule pages are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lsp_server.plain import as_mapping

SECTION = "ditproof"
_SHIPPED_PAGES = Path(__file__).resolve().parent.parent / "docs" / "rules"


@dataclass(frozen=True)
class ClientSettings:
    """`python`: the project's interpreter, None to look for one. `trusted`: whether checks may run
    the workspace's code. `docs`: base of the rule pages' addresses, None for the pages shipped.
    `weights_on_save`: whether the names of a port are measured when it is opened or saved. `trace_on_save`:
    whether a port that has a recipe is traced when it is saved. `parity_on_save`: whether its parity tests
    are run then. Where the project's own settings name a tier (`on-save`), those decide."""

    python: str | None = None
    trusted: bool = False
    weights_on_save: bool = True
    trace_on_save: bool = True
    parity_on_save: bool = False
    docs: str | None = None

    def runs_after_save(self, tier: str, project: Mapping[str, bool]) -> bool:
        """Whether a tier (`meta`, `tiny`, `weights`) runs after a save. `project`: its own settings."""
        own = {"meta": self.weights_on_save, "tiny": self.trace_on_save, "weights": self.parity_on_save}
        return project.get(tier, own[tier])

    def updated(self, given: object) -> ClientSettings:
        """These settings with what a client sent laid over; what has the wrong type is left out."""
        given = as_mapping(given)
        if given is None:
            return self
        changes: dict[str, Any] = {}
        if "python" in given and (given["python"] is None or isinstance(given["python"], str)):
            changes["python"] = given["python"] or None
        if isinstance(given.get("trusted"), bool):
            changes["trusted"] = given["trusted"]
        if isinstance(given.get("docs"), str):
            changes["docs"] = given["docs"] or None
        for check in ("weights", "trace", "parity"):
            on_save = (as_mapping(given.get(check)) or {}).get("onSave")
            if isinstance(on_save, bool):
                changes[f"{check}_on_save"] = on_save
        return replace(self, **changes)

    def page_of(self, code: str) -> str | None:
        """The address of a rule's page, None where there is none."""
        if self.docs is not None:
            return f"{self.docs.rstrip('/')}/{code}.md"
        page = _SHIPPED_PAGES / f"{code}.md"
        return page.as_uri() if page.is_file() else None
