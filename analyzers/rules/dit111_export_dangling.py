"""DIT111 export-dangling: an exported name that its module does not define."""

from __future__ import annotations

from collections.abc import Iterator
from difflib import SequenceMatcher, get_close_matches

from analyzers.facts.model import FileFacts, Import, Placed
from analyzers.findings import Applicability, Finding, Fix, JsonValue, Related, Severity
from analyzers.project.bindings import Absence, binds, import_absence, listed
from analyzers.project.discovery import defined_in
from analyzers.rules.base import Context, Example, Expected, Rule, Tier


def check(context: Context) -> Iterator[Finding]:
    """Looks at what packages of models and configs re-export, and at every `__all__` there."""
    facts, profile = context.file, context.profile
    if facts.broken or not facts.path.startswith((profile.dits + "/", profile.dit_configs + "/")):
        return
    if facts.path.endswith("/__init__.py"):
        for item in facts.imports:
            if item.fact.function is None:
                yield from _import(context, item)
    for name, location in listed(facts) or ():
        if binds(context.names, facts, name) is False:
            yield context.finding(
                location,
                f"__all__ lists '{name}', which this file neither defines nor imports: "
                "'from ... import *' of it fails",
                symbol=name,
                fix=_fix_listed(context, name),
            )


def _import(context: Context, item: Placed[Import]) -> Iterator[Finding]:
    missing = import_absence(context.names, context.file.path, item.fact)
    if missing is None:
        return
    there = context.project.file(missing.path) if missing.name is not None else None
    yield context.finding(
        item.at(item.fact.span),
        f"'{item.fact.bound}' is exported here, but {missing}: importing this package fails",
        symbol=item.fact.bound,
        related=(Related(there.top, "would have to define it"),) if there is not None else (),
        fix=_fix_import(context, item.fact, missing),
    )


def _fix_import(context: Context, item: Import, missing: Absence) -> Fix | None:
    """Import it from where it is, else correct the spelling, else drop it."""
    facts, bound = context.file, item.bound
    if _binds_twice(facts, bound):
        return None
    moved = _only_module(context, bound)
    if moved is not None:
        return _repair(facts, f"Import '{bound}' from {moved}", {"name": bound, "module": moved})
    if item.name != bound:
        return _drop(facts, bound)
    source = context.project.file(missing.path) if missing.name is not None else None
    target = context.names.absolute(facts.path, "." * item.level + item.module)
    direct = source is not None and target == context.names.module_name(source.path)
    if source is not None and direct:
        # An export that another one already makes is no correction of this one.
        known = [c.fact.name for c in source.classes if c.fact.name not in facts.aliases]
        close = _close(bound, known)
        if close is not None:
            return _repair(facts, f"Import '{close}' instead", {"name": bound, "to": close})
    return _drop(facts, bound)


def _fix_listed(context: Context, name: str) -> Fix:
    facts = context.file
    if facts.path.endswith("/__init__.py"):
        moved = _only_module(context, name)
        if moved is not None:
            return _repair(facts, f"Import '{name}' from {moved}", {"name": name, "module": moved})
    names = [n for n, _ in listed(facts) or ()]
    known = [n for n in (*facts.aliases, *(c.fact.name for c in facts.classes)) if n not in names]
    close = _close(name, known)
    if close is not None:
        return _repair(facts, f"List '{close}' instead", {"name": name, "to": close})
    return _drop(facts, name)


def _close(name: str, known: list[str]) -> str | None:
    """The one name that is close, and closer than any other by what a letter makes."""
    found = get_close_matches(name, known, n=2, cutoff=0.85)
    ratios = [SequenceMatcher(None, other, name).ratio() for other in found]
    if not found or (len(found) == 2 and ratios[0] - ratios[1] < 0.5 / len(name)):
        return None
    return found[0]


def _only_module(context: Context, name: str) -> str | None:
    """The only module beside this package's `__init__` that defines a class of that name."""
    folder = context.file.path.rpartition("/")[0]
    found = [c for c in defined_in(context.project, folder, name) if c.path != context.file.path]
    return context.names.module_name(found[0].path) if len(found) == 1 else None


def _binds_twice(facts: FileFacts, name: str) -> bool:
    return sum(i.fact.bound == name for i in facts.imports) > 1


def _repair(facts: FileFacts, title: str, arguments: dict[str, JsonValue]) -> Fix:
    return Fix(title, "repair-export", {"path": facts.path, **arguments}, Applicability.SAFE)


def _drop(facts: FileFacts, name: str) -> Fix:
    arguments = {"path": facts.path, "name": name}
    return Fix(f"Drop the export of '{name}'", "drop-export", arguments, Applicability.SAFE)


_INIT = "fastvideo/configs/models/dits/__init__.py"
_SOUND = "from fastvideo.configs.models.dits.sound import SoundConfig\n"

RULE = Rule(
    code="DIT111",
    name="export-dangling",
    severity=Severity.ERROR,
    tier=Tier.PROJECT,
    summary="an exported name that its module does not define",
    what=(
        "Reports a name that an `__init__.py` of the DiT models or configs imports from a module of the tree "
        "that does not define it, and a name in `__all__` that the file neither defines nor imports."
    ),
    why=(
        "The import fails with `ImportError`, and with it every import from the package: one stale line in "
        "the bucket of configs takes every port down. A stale `__all__` breaks `from ... import *`."
    ),
    how="Import the name from the module that defines it, correct its spelling, or drop the export.",
    exceptions=(
        "Imports that are conditional, guarded by `try` or only for type checkers; modules that bind names "
        "in ways that cannot be read off the text; submodules; a computed `__all__`. The fix imports the "
        "name from the only module of the package that defines such a class, else corrects the spelling "
        "where exactly one name is close, else drops the export."
    ),
    source="`fastvideo/configs/models/dits/__init__.py`",
    fixable=Applicability.SAFE,
    check=check,
    valid=(
        Example("exports that exist", {}),
        Example(
            "a submodule",
            {_INIT: "from . import sound\n" + _SOUND + '\n__all__ = ["SoundConfig", "sound"]\n'},
        ),
        Example(
            "an optional import",
            {
                _INIT: _SOUND + "\ntry:\n    from .gone import GoneConfig\nexcept ImportError:\n"
                '    GoneConfig = None\n\n__all__ = ["SoundConfig", "GoneConfig"]\n'
            },
        ),
    ),
    invalid=(
        Example(
            "a module that is gone",
            {
                _INIT: "from fastvideo.configs.models.dits.gone import GoneConfig\n"
                + _SOUND
                + '\n__all__ = ["GoneConfig", "SoundConfig"]\n'
            },
            findings=(Expected(_INIT, 1, "there is no module 'fastvideo.configs.models.dits.gone'"),),
            fixed={_INIT: _SOUND + '\n__all__ = ["SoundConfig"]\n'},
        ),
        Example(
            "a name that the module does not define",
            {
                _INIT: "from fastvideo.configs.models.dits.sound import QuietDiTSettings, SoundConfig\n"
                '\n__all__ = [\n    "QuietDiTSettings", "SoundConfig",\n]\n'
            },
            findings=(Expected(_INIT, 1, "does not define 'QuietDiTSettings'"),),
            fixed={_INIT: _SOUND + '\n__all__ = [\n    "SoundConfig",\n]\n'},
        ),
        Example(
            "a misspelt name",
            {_INIT: 'from .sound import SoundConfg\n\n__all__ = ["SoundConfg"]\n'},
            findings=(Expected(_INIT, 1, "does not define 'SoundConfg'"),),
            fixed={_INIT: 'from .sound import SoundConfig\n\n__all__ = ["SoundConfig"]\n'},
        ),
        Example(
            "a class that moved to another module",
            {
                _INIT: 'from .base import SoundConfig\n\n__all__ = ["SoundConfig"]\n',
            },
            findings=(Expected(_INIT, 1, "does not define 'SoundConfig'"),),
            fixed={_INIT: _SOUND + '\n__all__ = ["SoundConfig"]\n'},
        ),
        Example(
            "listed and not imported",
            {_INIT: _SOUND + '\n__all__ = [\n    "SoundConfig",\n    "QuietDiTSettings",  # soon\n]\n'},
            findings=(Expected(_INIT, 5, "__all__ lists 'QuietDiTSettings'"),),
            fixed={_INIT: _SOUND + '\n__all__ = [\n    "SoundConfig",\n]\n'},
        ),
        Example(
            "listed, its import forgotten",
            {_INIT: '__all__ = ["SoundConfig"]\n'},
            findings=(Expected(_INIT, 1, "__all__ lists 'SoundConfig'"),),
            fixed={_INIT: _SOUND + '\n__all__ = ["SoundConfig"]\n'},
        ),
        Example(
            "a submodule that is gone",
            {_INIT: "from . import gone\n" + _SOUND + '\n__all__ = ["SoundConfig"]\n'},
            findings=(Expected(_INIT, 1, "does not define 'gone'"),),
            fixed={_INIT: _SOUND + '\n__all__ = ["SoundConfig"]\n'},
        ),
        Example(
            "a class imported under the name that it has now",
            {_INIT: 'from .sound import SoundCfg as SoundConfig\n\n__all__ = ["SoundConfig"]\n'},
            findings=(Expected(_INIT, 1, "does not define 'SoundCfg'"),),
            fixed={_INIT: _SOUND + '\n__all__ = ["SoundConfig"]\n'},
        ),
    ),
)
