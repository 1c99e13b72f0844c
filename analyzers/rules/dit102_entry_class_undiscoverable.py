"""DIT102 entry-class-undiscoverable: an `EntryClass` that registry discovery skips."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from analyzers.facts.entries import DISCOVERED_NAME
from analyzers.facts.model import Call, ClassFacts, Collection, Constant, Expr, Placed, Reference
from analyzers.findings import Applicability, Finding, Fix, JsonValue, Location, Related, Severity
from analyzers.project.discovery import (
    annotated_entries,
    below_component,
    can_register,
    changed_entries,
    in_component,
    named,
)
from analyzers.project.registry import entry_names
from analyzers.rules.base import Context, Example, Expected, Rule, Tier


@dataclass(frozen=True)
class _Skipped:
    """An assignment, or an element of one, that discovery does not read.

    `alone`: it is no change of what another statement assigns.
    """

    location: Location
    value: Expr
    because: str
    alone: bool = True


def check(context: Context) -> Iterator[Finding]:
    """Silent while the file does not parse: discovery skips it whole, and nobody meant that."""
    facts = context.file
    if facts.broken or not below_component(context.profile, facts.path):
        return
    for skipped in _skipped(context):
        mentioned = list(named(context.project, facts.path, skipped.value))
        classes = [cls for _, cls in mentioned if cls is not None]
        severity, consequence = _reach(context, classes)
        yield context.finding(
            skipped.location,
            f"discovery skips this EntryClass: {skipped.because}{consequence}",
            severity=severity,
            symbol=classes[0].fact.name if len(classes) == 1 else None,
            port=classes[0].fact.name if len(classes) == 1 else None,
            related=tuple(
                Related(c.at(c.fact.name_span), f"'{c.fact.name}' is defined here") for c in classes
            ),
            fix=_fix(context) if skipped.alone else None,
        )


def _skipped(context: Context) -> Iterator[_Skipped]:
    facts = context.file
    for entry in facts.entries:
        where = entry.at(entry.fact.span)
        value = entry.fact.value
        if not in_component(context.profile, facts.path):
            yield _Skipped(where, value, "it looks at the files of a component's folder, and no deeper")
        elif not facts.has_class:
            yield _Skipped(where, value, "the file defines no class")
        elif entry is not facts.entries[-1]:
            continue
        elif isinstance(value, Collection) and value.kind in ("list", "tuple"):
            for item in value.items:
                if not _is_read(item):
                    why = f"an element has to be a name or a string, not {_describe(item)}"
                    yield _Skipped(entry.at(item.span), item, why)
        elif not _is_read(value) or isinstance(value, Constant):
            why = f"the value has to be a name, a list or a tuple, not {_describe(value)}"
            yield _Skipped(where, value, why)
    for annotated in annotated_entries(facts):
        if annotated.fact.value is not None:
            where = annotated.at(annotated.fact.span)
            yield _Skipped(where, annotated.fact.value, "it looks at plain assignments, not annotated ones")
    if in_component(context.profile, facts.path) and facts.has_class:
        for changed in changed_entries(facts):
            if changed.fact.value is not None:
                why = "it looks at plain assignments to the name, not at what is added to it or unpacked"
                yield _Skipped(changed.at(changed.fact.span), changed.fact.value, why, alone=False)


def _is_read(expr: Expr) -> bool:
    if isinstance(expr, Constant):
        return isinstance(expr.value, str)
    return isinstance(expr, Reference) and "." not in expr.dotted


def _describe(expr: Expr) -> str:
    if isinstance(expr, Reference):
        return "an attribute"
    if isinstance(expr, Collection):
        return f"a {expr.kind}"
    if isinstance(expr, Constant):
        return "a string" if isinstance(expr.value, str) else repr(expr.value)
    return {
        "Call": "a call",
        "Starred": "a starred one",
        "Mapping": "a dict",
        "Subscript": "a subscript",
        "Attribute": "an attribute",
    }.get(type(expr).__name__, "an expression")


def _reach(context: Context, classes: list[Placed[ClassFacts]]) -> tuple[Severity, str]:
    """How bad it is, and the end of the message."""
    ports = context.project.port_index
    reach = [(cls.fact.name, ports.reachable(cls)) for cls in classes]
    lost = [name for name, how in reach if how == "unreachable"]
    if lost and context.project.registry.legacy_known:
        return Severity.ERROR, f"; nothing else reaches {_quoted(lost)}"
    legacy = [name for name, how in reach if how == "legacy"]
    if legacy:
        return Severity.WARNING, f"; only legacy rows reach {_quoted(legacy)}"
    if reach and not lost:
        names = _quoted([name for name, _ in reach])
        return Severity.INFORMATION, f"; {names} is discovered where it is defined, so this has no effect"
    return Severity.WARNING, ""


def _quoted(names: list[str]) -> str:
    return " and ".join(f"'{name}'" for name in dict.fromkeys(names))


def _fix(context: Context) -> Fix | None:
    """Rewrites the assignment where its file can hold it, else moves it to where the classes are.

    Only where every name is certain: each means a class of the tree under its own name, no class
    would be registered twice, and no other class loses the name.
    """
    facts, project = context.file, context.project
    if not in_component(context.profile, facts.path):
        return None
    annotated = annotated_entries(facts)
    if len(facts.entries) + len(annotated) != 1 or changed_entries(facts):
        return None
    if annotated:
        if annotated[0].fact.conditional:
            return None
        value: Expr | None = annotated[0].fact.value
    else:
        if facts.entries[0].fact.depth != 1:
            return None
        value = facts.entries[0].fact.value
    here: list[JsonValue] = []
    elsewhere: dict[str, JsonValue] = {}
    mentioned = list(dict.fromkeys((name, cls) for name, cls in named(project, facts.path, value)))
    for name, cls in mentioned:
        if cls is None or name.rpartition(".")[2] != cls.fact.name or not can_register(project, cls):
            return None
        own = project.names.class_of(facts.path, cls.fact.name)
        if facts.has_class and own is not None and own == cls:
            here.append(cls.fact.name)
        elif not in_component(context.profile, cls.path):
            return None
        else:
            there = elsewhere.setdefault(cls.path, [])
            if isinstance(there, list):
                there.append(cls.fact.name)
    if not mentioned:
        return None
    for path in elsewhere:
        other = project.file(path)
        if path == facts.path or other is None or annotated_entries(other) or len(other.entries) > 1:
            return None
    if not elsewhere:
        shown = str(here[0]) if len(here) == 1 else f"[{', '.join(map(str, here))}]"
        title = f"Write '{DISCOVERED_NAME} = {shown}'"
        if annotated and isinstance(value, Collection) and all(map(_is_read, value.items)):
            title = f"Drop the annotation of {DISCOVERED_NAME}"
    elif not _all_there(context, elsewhere):
        title = f"Move {DISCOVERED_NAME} to {' and '.join(elsewhere)}"
    else:
        title = f"Remove this {DISCOVERED_NAME}"
    arguments: dict[str, JsonValue] = {"path": facts.path, "here": here, "elsewhere": elsewhere}
    wrapped = isinstance(value, Call) and value.callee not in _COLLECTING
    safety = Applicability.UNSAFE if wrapped else Applicability.SAFE
    return Fix(title, "move-entry-class", arguments, safety)


_COLLECTING = ("frozenset", "list", "set", "sorted", "tuple")
"""Calls that only gather what they are given; any other may do something of its own."""


def _all_there(context: Context, elsewhere: dict[str, JsonValue]) -> bool:
    for path, names in elsewhere.items():
        facts = context.project.file(path)
        present = {n for e in facts.entries for n, _ in entry_names(e)} if facts is not None else set()
        if isinstance(names, list) and not present.issuperset(map(str, names)):
            return False
    return True


_INIT = "fastvideo/models/dits/vivid/__init__.py"
_MODEL = "fastvideo/models/dits/vivid/model.py"
_FLAT = "fastvideo/models/dits/vivid.py"
_REGISTRY = "fastvideo/models/registry.py"
_EXPORT = 'from .model import VividTransformer3DModel\n\n__all__ = ["VividTransformer3DModel"]\n'
_ENTRY = "EntryClass = VividTransformer3DModel\n"
_SOURCE = """\
from fastvideo.models.dits.base import BaseDiT


class VividTransformer3DModel(BaseDiT):
    param_names_mapping = {}

    def forward(self, hidden_states, encoder_hidden_states, timestep, guidance=None, **kwargs):
        return hidden_states
"""
_ROW = """\
_TEXT_TO_VIDEO_DIT_MODELS = {
    "VividTransformer3DModel": ("dits", "vivid", "VividTransformer3DModel"),
}

_LEGACY_FAST_VIDEO_MODELS = {
    **_TEXT_TO_VIDEO_DIT_MODELS,
}
"""

RULE = Rule(
    code="DIT102",
    name="entry-class-undiscoverable",
    severity=Severity.WARNING,
    tier=Tier.FILE,
    summary="registry discovery skips an `EntryClass`",
    what=(
        "Reports an `EntryClass` that discovery does not read: the file defines no class (a package "
        "`__init__.py` that only re-exports), the assignment is annotated, the value is no name, list or "
        "tuple, an element is starred, called or an attribute, or classes are added later (`+=`, `.append`) "
        "or unpacked into the name. It is an error where nothing else reaches the class, a warning where a "
        "legacy row does, information where the class is discovered in the file that defines it."
    ),
    why=(
        "Discovery does not import modules, it reads their text, and takes only files with a plain "
        "`EntryClass = ...` *and* a class definition. Everything else is passed over without a word: the "
        "port looks registered, and loading a checkpoint that names it fails."
    ),
    how=(
        "Write `EntryClass = X`, or a list of names, in the file that defines the class, and drop the one "
        "that is skipped. The class stays importable from the package."
    ),
    exceptions=(
        "The fix moves an assignment only when each name in it is a class of the tree under its own name "
        "that the registry does not already load from elsewhere. Moving changes the registered module from "
        "the package to the file (`vivid` to `vivid.model`); a legacy row that names the package leads to "
        "the same class and stays as it is."
    ),
    source="`fastvideo/models/registry.py`, `_discover_and_register_models`",
    fixable=Applicability.SAFE,
    check=check,
    valid=(
        Example("a name beside its class", {}),
        Example(
            "a list of names and strings",
            {_FLAT: _SOURCE + '\n\nEntryClass = [VividTransformer3DModel, "VividTransformer3DModel"]\n'},
        ),
        Example("a package that only re-exports", {_INIT: _EXPORT, _MODEL: _SOURCE + "\n\n" + _ENTRY}),
    ),
    invalid=(
        Example(
            "a package that nothing else registers",
            {_INIT: _EXPORT + "\n# Entry point for model registry\n" + _ENTRY, _MODEL: _SOURCE},
            findings=(Expected(_INIT, 6, "nothing else reaches", Severity.ERROR),),
            fixed={_INIT: _EXPORT, _MODEL: _SOURCE + "\n\n" + _ENTRY},
        ),
        Example(
            "a package that a legacy row reaches",
            {_INIT: _EXPORT + "\n" + _ENTRY, _MODEL: _SOURCE, _REGISTRY: _ROW},
            findings=(Expected(_INIT, 5, "only legacy rows", Severity.WARNING),),
            fixed={_INIT: _EXPORT, _MODEL: _SOURCE + "\n\n" + _ENTRY},
        ),
        Example(
            "a re-export beside the real one",
            {
                _INIT: _EXPORT + "\nEntryClass = [VividTransformer3DModel]\n",
                _MODEL: _SOURCE + "\n\n" + _ENTRY,
            },
            findings=(Expected(_INIT, 5, "has no effect", Severity.INFORMATION),),
            fixed={_INIT: _EXPORT, _MODEL: _SOURCE + "\n\n" + _ENTRY},
        ),
        Example(
            "an annotated assignment",
            {_FLAT: _SOURCE + "\n\nEntryClass: type[BaseDiT] = VividTransformer3DModel  # registry\n"},
            findings=(Expected(_FLAT, 11, "annotated", Severity.ERROR),),
            fixed={_FLAT: _SOURCE + "\n\nEntryClass = VividTransformer3DModel  # registry\n"},
        ),
        Example(
            "a starred element",
            {_FLAT: _SOURCE + "\n\n_ALL = (VividTransformer3DModel, )\nEntryClass = [*_ALL]\n"},
            findings=(Expected(_FLAT, 12, "a starred one", Severity.ERROR),),
            fixed={_FLAT: _SOURCE + "\n\n_ALL = (VividTransformer3DModel, )\n" + _ENTRY},
        ),
        Example(
            "a string alone",
            {_FLAT: _SOURCE + '\n\nEntryClass = "VividTransformer3DModel"\n'},
            findings=(Expected(_FLAT, 11, "a string", Severity.ERROR),),
            fixed={_FLAT: _SOURCE + "\n\n" + _ENTRY},
        ),
        Example(
            "a call",
            {_FLAT: _SOURCE + "\n\nEntryClass = tuple([VividTransformer3DModel])\n"},
            findings=(Expected(_FLAT, 11, "a call", Severity.ERROR),),
            fixed={_FLAT: _SOURCE + "\n\n" + _ENTRY},
        ),
        Example(
            "a call that may do more than gather",
            {_FLAT: _SOURCE + "\n\nEntryClass = register(VividTransformer3DModel)\n"},
            findings=(Expected(_FLAT, 11, "a call", Severity.ERROR),),
            fixed={_FLAT: _SOURCE + "\n\n" + _ENTRY},
        ),
        Example(
            "a class that is added later",
            {
                _FLAT: _SOURCE + "\n\nclass VividI2V(VividTransformer3DModel):\n    pass\n\n\n"
                "EntryClass = [VividTransformer3DModel]\nEntryClass += [VividI2V]\n"
            },
            findings=(Expected(_FLAT, 16, "nothing else reaches 'VividI2V'", Severity.ERROR),),
        ),
        Example(
            "one of two unpacked names",
            {_FLAT: _SOURCE + "\n\nEntryClass, VERSION = VividTransformer3DModel, 1\n"},
            findings=(Expected(_FLAT, 11, "unpacked", Severity.WARNING),),
        ),
        Example(
            "an annotated list keeps its comments",
            {_FLAT: _SOURCE + "\n\nEntryClass: list = [\n    VividTransformer3DModel,  # text to video\n]\n"},
            findings=(Expected(_FLAT, 11, "annotated", Severity.ERROR),),
            fixed={_FLAT: _SOURCE + "\n\nEntryClass = [\n    VividTransformer3DModel,  # text to video\n]\n"},
        ),
    ),
)
