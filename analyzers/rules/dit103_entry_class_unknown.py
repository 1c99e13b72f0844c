"""DIT103 entry-class-unknown: `EntryClass` names what the file neither defines nor imports."""

from __future__ import annotations

from collections.abc import Iterator
from difflib import get_close_matches

from analyzers.facts.model import Collection, Constant, EntryAssignment, Expr, FileFacts, Placed
from analyzers.findings import Applicability, Finding, Fix, Location, Severity
from analyzers.project.bindings import binds
from analyzers.project.discovery import can_register, in_component
from analyzers.project.registry import entry_names
from analyzers.rules.base import Context, Example, Expected, Rule, Tier


def check(context: Context) -> Iterator[Finding]:
    """Only where the file provably binds no such name."""
    facts = context.file
    if facts.broken or not in_component(context.profile, facts.path):
        return
    for entry in facts.entries:
        present = {name for name, _ in entry_names(entry)}
        for name, location in entry_names(entry):
            if binds(context.names, facts, name) is not False and not _for_checkers(facts, name):
                continue
            candidates = [n for n in _candidates(context) if n not in present]
            close = get_close_matches(name, candidates, n=2, cutoff=0.8)
            hint = f"; did you mean '{close[0]}'?" if len(close) == 1 else ""
            yield context.finding(
                location,
                f"EntryClass names '{name}', which this file neither defines nor imports: "
                f"{_consequence(entry.fact.value, location, entry)}{hint}",
                symbol=name,
                fix=_fix(context, name, close[0]) if len(close) == 1 else None,
            )


def _for_checkers(facts: FileFacts, name: str) -> bool:
    """Whether all that binds the name is an import under `TYPE_CHECKING`, which does not run."""
    imports = [i.fact for i in facts.imports if i.fact.bound == name]
    return (
        bool(imports)
        and all(i.type_checking for i in imports)
        and facts.class_named(name) is None
        and facts.function_named(name) is None
        and not any(name in a.fact.names for a in facts.assignments)
    )


def _consequence(value: Expr, location: Location, entry: Placed[EntryAssignment]) -> str:
    items = value.items if isinstance(value, Collection) else (value,)
    quoted = any(isinstance(i, Constant) and entry.at(i.span) == location for i in items)
    return "it is registered, and loading it fails" if quoted else "importing the module raises NameError"


def _candidates(context: Context) -> list[str]:
    """The classes that an `EntryClass` here can mean: the file's DiT classes, else all its classes."""
    own = [c.fact.name for c in context.project.port_index.dit_classes if c.path == context.file.path]
    return list(dict.fromkeys(own or [c.fact.name for c in context.file.classes]))


def _fix(context: Context, name: str, close: str) -> Fix | None:
    cls = context.file.class_named(close)
    if cls is None or not can_register(context.project, cls):
        return None
    arguments = {"path": context.file.path, "old": name, "new": close}
    return Fix(f"Write '{close}'", "rename-entry-class", arguments, Applicability.SAFE)


_SOUND = "fastvideo/models/dits/sound.py"
_NEW = "fastvideo/models/dits/vivid.py"
_SOURCE = """\
from fastvideo.models.dits.base import BaseDiT


class VividTransformer3DModel(BaseDiT):
    param_names_mapping = {}

    def forward(self, hidden_states, encoder_hidden_states, timestep, guidance=None, **kwargs):
        return hidden_states


"""

RULE = Rule(
    code="DIT103",
    name="entry-class-unknown",
    severity=Severity.ERROR,
    tier=Tier.PROJECT,
    summary="`EntryClass` names what the file neither defines nor imports",
    what="Reports a name in `EntryClass` that the file neither defines nor imports.",
    why=(
        "A bare name raises `NameError` as soon as the module is imported. A string passes the import and "
        "is registered; loading the model then fails on the missing attribute."
    ),
    how="Write the name of the class as it is defined.",
    exceptions="Files that bind names in ways that cannot be read off the text: star imports, `globals()`.",
    source="`fastvideo/models/registry.py`, `_discover_and_register_models`, `_LazyRegisteredModel`",
    fixable=Applicability.SAFE,
    check=check,
    valid=(
        Example("a class of the file", {}),
        Example(
            "a name from a star import",
            {_NEW: "from torch.nn import *\n\nclass A:\n    pass\n\nEntryClass = Linear\n"},
        ),
        Example("an alias", {_NEW: _SOURCE + "Vivid = VividTransformer3DModel\nEntryClass = [Vivid]\n"}),
    ),
    invalid=(
        Example(
            "a misspelt name",
            {_NEW: _SOURCE + "EntryClass = VividTransfomer3DModel\n"},
            findings=(Expected(_NEW, 11, "did you mean 'VividTransformer3DModel'?"),),
            fixed={_NEW: _SOURCE + "EntryClass = VividTransformer3DModel\n"},
        ),
        Example(
            "a string that names nothing near",
            {_NEW: _SOURCE + 'EntryClass = [VividTransformer3DModel, "Other"]\n'},
            findings=(Expected(_NEW, 11, "'Other', which this file neither defines nor imports: it is reg"),),
        ),
        Example(
            "a name that is imported for type checkers alone",
            {
                _NEW: "from typing import TYPE_CHECKING\n\nif TYPE_CHECKING:\n"
                "    from .sound import SoundBlock\n\n\n"
                + _SOURCE
                + "EntryClass = [VividTransformer3DModel, SoundBlock]\n"
            },
            findings=(Expected(_NEW, 17, "importing the module raises NameError"),),
        ),
    ),
)
