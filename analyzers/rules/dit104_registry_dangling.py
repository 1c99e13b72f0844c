"""DIT104 registry-dangling: a path in the model registry that leads nowhere."""

from __future__ import annotations

import re
from collections.abc import Iterator
from difflib import get_close_matches

from analyzers.facts.model import Call, Collection, Constant, Expr
from analyzers.findings import Applicability, Finding, Fix, JsonValue, Location, Related, Severity
from analyzers.project.bindings import absence, missing_module
from analyzers.project.discovery import defined_in, spec_of
from analyzers.project.registry import LegacyRow
from analyzers.rules.base import Context, Example, Expected, Rule, Tier

_LOADERS = ("import_module", "find_spec", "resolve_name", "register_model")
"""Functions whose string argument is a module, or `module:Class`."""


def check(context: Context) -> Iterator[Finding]:
    """Looks at the registry file alone."""
    if context.file.path != context.profile.registry or context.file.broken:
        return
    for row in context.project.registry.rows:
        yield from _row(context, row)
    for text, location in _paths(context):
        yield from _path(context, text, location)


def _row(context: Context, row: LegacyRow) -> Iterator[Finding]:
    module = context.project.port_index.module_of_spec(row.spec)
    missing = _missing(context, module, row.spec[2])
    if missing is None:
        return
    discovered = context.project.registry.discovered.get(row.architecture)
    related: tuple[Related, ...] = ()
    close = _close(context, module, row.spec[2])
    note = f"; did you mean '{close}'?" if close is not None else "; a checkpoint that names it fails to load"
    dead = discovered is not None and context.project.port_index.class_of_spec(discovered.spec) is not None
    if discovered is not None and dead:
        note = "; discovery registers the name, so the row is dead"
        related = (Related(discovered.location, "what discovery registers under the name"),)
    yield context.finding(
        row.location,
        f"'{row.architecture}' leads nowhere: {missing}{note}",
        symbol=row.architecture,
        related=related,
        fix=_fix(context, row, close, dead=dead),
    )


def _missing(context: Context, module: str, name: str) -> str | None:
    """Why the module or the class does not exist; None where it does or may."""
    names = context.names
    path = names.module_path(module)
    if path is None:
        gone = missing_module(names, module)
        return str(gone) if gone is not None else None
    # Most rows are right, and reading the text is cheaper than the facts of a large model.
    text = context.project.sources.text(path)
    if text is None or re.search(rf"^class[ \t]+{re.escape(name)}\b", text, re.MULTILINE):
        return None
    absent = absence(names, path, name)
    if absent is None:
        return None
    if absent.path == path:
        return str(absent)
    return f"{path} imports '{name}', but {absent}"


def _close(context: Context, module: str, name: str) -> str | None:
    """The only class of the module whose name is close: the row's was misspelt, or it was renamed."""
    path = context.names.module_path(module)
    facts = context.project.file(path) if path is not None else None
    known = [c.fact.name for c in facts.classes] if facts is not None else []
    found = get_close_matches(name, known, n=2, cutoff=0.85)
    return found[0] if len(found) == 1 else None


def _fix(context: Context, row: LegacyRow, close: str | None, *, dead: bool) -> Fix:
    """Points the row to the only class of that name in the models folder, or close to it, or drops it."""
    profile = context.profile
    arguments: dict[str, JsonValue] = {
        "path": profile.registry,
        "table": row.table,
        "architecture": row.architecture,
        "spec": list(row.spec),
    }
    found = defined_in(context.project, profile.models, row.spec[2])
    spec = spec_of(profile, found[0]) if len(found) == 1 else None
    if not dead and spec is not None:
        to: list[JsonValue] = list(spec)
        title = f"Point the row to {found[0].path}"
        return Fix(title, "retarget-registry-row", {**arguments, "to": to}, Applicability.SAFE)
    if not dead and close is not None and not found:
        arguments["to"] = [row.spec[0], row.spec[1], close]
        return Fix(f"Point the row to {close}", "retarget-registry-row", arguments, Applicability.SAFE)
    return Fix(f"Drop the row '{row.architecture}'", "drop-registry-row", arguments, Applicability.SAFE)


# ------------------------------------------------------------------ other paths


def _paths(context: Context) -> Iterator[tuple[str, Location]]:
    """Strings of the registry file that are imported or run as modules of the code base."""
    facts = context.file
    for assignment in facts.assignments:
        value = assignment.fact.value
        if isinstance(value, Collection):
            for text, expr in _run_as_modules(value):
                yield text, assignment.at(expr.span)
    for call in facts.calls:
        for text, expr in _loaded(call.fact.call):
            yield text, call.at(expr.span)
    for _, function in facts.all_functions():
        for item in function.fact.calls:
            for text, expr in _loaded(item.call):
                yield text, function.at(expr.span)


def _run_as_modules(command: Collection) -> Iterator[tuple[str, Expr]]:
    """What follows `-m` in a command line."""
    for option, target in zip(command.items, command.items[1:], strict=False):
        runs = isinstance(option, Constant) and option.value == "-m"
        if runs and isinstance(target, Constant) and isinstance(target.value, str):
            yield target.value, target


def _loaded(call: Call) -> Iterator[tuple[str, Expr]]:
    if (call.callee or "").rpartition(".")[2] in _LOADERS:
        for argument in (*call.arguments, *(k.value for k in call.keywords)):
            if isinstance(argument, Constant) and isinstance(argument.value, str):
                yield argument.value, argument


def _path(context: Context, text: str, location: Location) -> Iterator[Finding]:
    module, _, name = text.partition(":")
    if re.fullmatch(rf"{re.escape(context.profile.package)}(\.\w+)+", module) is None:
        return
    gone = missing_module(context.names, module)
    missing = str(gone) if gone is not None else _missing(context, module, name) if name else None
    if missing is not None:
        yield context.finding(location, f"'{text}' leads nowhere: {missing}", symbol=text)


_REGISTRY = "fastvideo/models/registry.py"
_TABLE = """\
_TEXT_TO_VIDEO_DIT_MODELS = {
    "SoundTransformer3DModel": ("dits", "sound", "SoundTransformer3DModel"),
%s}

_LEGACY_FAST_VIDEO_MODELS = {
    **_TEXT_TO_VIDEO_DIT_MODELS,
}
"""
_KEPT = _TABLE % '    # older checkpoints\n    "Sound": ("dits", "sound", "SoundTransformer3DModel"),\n'

RULE = Rule(
    code="DIT104",
    name="registry-dangling",
    severity=Severity.ERROR,
    tier=Tier.PROJECT,
    summary="a path in the model registry leads nowhere",
    what=(
        "Reports a row of a legacy table whose module does not exist or does not define the class, and other "
        "module paths in the registry file that do not exist: what follows `-m` in a command, what is passed "
        "to `import_module` or `register_model`."
    ),
    why=(
        "The registry imports lazily. The architecture is listed as supported, and only loading a checkpoint "
        "that names it shows that there is nothing behind the row."
    ),
    how="Point the row to where the class is now, or drop it.",
    exceptions=(
        "Classes that a module binds in ways that cannot be read off the text (star imports from outside "
        "the tree, `globals()`, a module-level `__getattr__`), imports that are guarded or conditional, and "
        "tables that are computed. The fix points the row to the only class of that name below "
        "`fastvideo/models`, else to the only class of the module whose name is close; where there is "
        "none, or several, or discovery registers the name anyway, it drops the row. Comments on lines of "
        "their own stay."
    ),
    source="`fastvideo/models/registry.py`, `_LEGACY_FAST_VIDEO_MODELS`, `_SUBPROCESS_COMMAND`",
    fixable=Applicability.SAFE,
    check=check,
    valid=(
        Example("a row that leads to its class", {}),
        Example("a second name for a class", {_REGISTRY: _KEPT}),
        Example(
            "a class that the package re-exports",
            {
                _REGISTRY: _TABLE % '    "Loud": ("dits", "loud", "LoudTransformer3DModel"),\n',
                "fastvideo/models/dits/loud/__init__.py": "from .model import *\n",
                "fastvideo/models/dits/loud/model.py": "class LoudTransformer3DModel:\n    pass\n",
            },
        ),
        Example(
            "a class that is an alias",
            {
                _REGISTRY: _TABLE % '    "Loud": ("schedulers", "loud", "LoudScheduler"),\n',
                "fastvideo/models/schedulers/loud.py": "from diffusers import X\n\nLoudScheduler = X\n",
            },
        ),
        Example(
            "a star import from outside",
            {
                _REGISTRY: _TABLE % '    "Loud": ("vaes", "loud", "LoudVAE"),\n',
                "fastvideo/models/vaes/loud.py": "from diffusers import *\n",
            },
        ),
    ),
    invalid=(
        Example(
            "a module that is gone",
            {
                _REGISTRY: _KEPT.replace(
                    "    # older",
                    '    "Gone":\n    ("dits", "gone", "GoneTransformer3DModel"),  # phase 1\n    # older',
                )
            },
            findings=(Expected(_REGISTRY, 3, "there is no module 'fastvideo.models.dits.gone'"),),
            fixed={_REGISTRY: _KEPT},
        ),
        Example(
            "a class that moved",
            {
                _REGISTRY: _TABLE % '    "Loud": ("dits", "sound", "LoudTransformer3DModel"),  # moved\n',
                "fastvideo/models/dits/loud/model.py": "class LoudTransformer3DModel:\n    pass\n",
            },
            findings=(Expected(_REGISTRY, 3, "does not define 'LoudTransformer3DModel'"),),
            fixed={
                _REGISTRY: _TABLE % '    "Loud": ("dits", "loud.model", "LoudTransformer3DModel"),  # moved\n'
            },
        ),
        Example(
            "a package that imports what is not there",
            {
                _REGISTRY: _TABLE % '    "Loud": ("vaes", "loud", "LoudVAE"),\n',
                "fastvideo/models/vaes/loud/__init__.py": "from .model import LoudVAE\n",
                "fastvideo/models/vaes/loud/model.py": "class QuietVAE:\n    pass\n",
            },
            findings=(Expected(_REGISTRY, 3, "imports 'LoudVAE', but"),),
            fixed={_REGISTRY: _TABLE % ""},
        ),
        Example(
            "the only row of a table",
            {_REGISTRY: '_LEGACY_FAST_VIDEO_MODELS = {"Gone": ("dits", "gone", "Gone")}\n'},
            findings=(Expected(_REGISTRY, 1, "leads nowhere"),),
            fixed={_REGISTRY: "_LEGACY_FAST_VIDEO_MODELS = {}\n"},
        ),
        Example(
            "a command that runs a module that is gone",
            {_REGISTRY: _TABLE % "" + '_COMMAND = ["python", "-m", "fastvideo.models.dits.registry"]\n'},
            findings=(Expected(_REGISTRY, 8, "'fastvideo.models.dits.registry' leads nowhere"),),
        ),
        Example(
            "a misspelt class",
            {_REGISTRY: _TABLE % '    "Loud": ("dits", "sound", "SoundTransfomer3DModel"),  # by hand\n'},
            findings=(Expected(_REGISTRY, 3, "did you mean 'SoundTransformer3DModel'?"),),
            fixed={
                _REGISTRY: _TABLE % '    "Loud": ("dits", "sound", "SoundTransformer3DModel"),  # by hand\n'
            },
        ),
    ),
)
