"""DIT105 registry-shadowed: a legacy row that discovery overrules."""

from __future__ import annotations

from collections.abc import Iterator

from analyzers.findings import Applicability, Finding, Fix, Related, Severity
from analyzers.rules.base import Context, Example, Expected, Rule, Tier


def check(context: Context) -> Iterator[Finding]:
    """Compares the classes that two entries lead to, not the strings that they are written as."""
    if context.file.path != context.profile.registry or context.file.broken:
        return
    ports, registry = context.project.port_index, context.project.registry
    for row in registry.rows:
        entry = registry.discovered.get(row.architecture)
        if entry is None or entry.spec == row.spec:
            continue
        meant, loaded = ports.class_of_spec(row.spec), ports.class_of_spec(entry.spec)
        if meant is None or loaded is None:
            continue
        qualified = context.names.qualified_class
        if qualified(meant) == qualified(loaded):
            continue
        yield context.finding(
            row.location,
            f"this row is dead: discovery registers '{row.architecture}' for {qualified(loaded)}, so "
            f"{qualified(meant)} is never loaded",
            symbol=row.architecture,
            related=(
                Related(entry.location, "discovery takes this entry"),
                Related(meant.at(meant.fact.name_span), "the class that the row means"),
            ),
            fix=Fix(
                f"Drop the dead row '{row.architecture}'",
                "drop-registry-row",
                {
                    "path": context.profile.registry,
                    "table": row.table,
                    "architecture": row.architecture,
                    "spec": list(row.spec),
                },
                Applicability.UNSAFE,
            ),
        )


_REGISTRY = "fastvideo/models/registry.py"
_OTHER = "fastvideo/models/dits/loud.py"
_TABLE = """\
_TEXT_TO_VIDEO_DIT_MODELS = {
%s}

_LEGACY_FAST_VIDEO_MODELS = {
    **_TEXT_TO_VIDEO_DIT_MODELS,
}
"""

RULE = Rule(
    code="DIT105",
    name="registry-shadowed",
    severity=Severity.WARNING,
    tier=Tier.PROJECT,
    summary="a legacy row that discovery overrules",
    what=(
        "Reports a row of a legacy table whose architecture name discovery registers for another class: "
        "the row is dead."
    ),
    why=(
        "Discovered names beat legacy rows. Whoever reads the table believes that the checkpoint loads the "
        "class in the row; it loads the other one, with other numerics, and nothing says so."
    ),
    how=(
        "Decide which class the name means. Drop the row, or take the name out of the other module's "
        "`EntryClass` if the row is right. The fix drops the row, which changes nothing at run time."
    ),
    exceptions=(
        "Rows that lead to the same class, also by another module path (a package that re-exports it); "
        "names that discovery does not know (aliases); rows that lead nowhere (`registry-dangling`)."
    ),
    source="`fastvideo/models/registry.py`, `_FAST_VIDEO_MODELS`",
    fixable=Applicability.UNSAFE,
    check=check,
    valid=(
        Example("an equal row", {}),
        Example(
            "an alias for the same class",
            {_REGISTRY: _TABLE % '    "Sound": ("dits", "sound", "SoundTransformer3DModel"),\n'},
        ),
        Example(
            "the package instead of the module",
            {
                _REGISTRY: _TABLE % '    "LoudTransformer": ("dits", "loud", "LoudTransformer"),\n',
                "fastvideo/models/dits/loud/__init__.py": "from .model import LoudTransformer\n",
                "fastvideo/models/dits/loud/model.py": (
                    "class LoudTransformer:\n    pass\n\n\nEntryClass = LoudTransformer\n"
                ),
            },
        ),
    ),
    invalid=(
        Example(
            "the name leads to two classes",
            {
                _REGISTRY: _TABLE % '    "SoundTransformer3DModel": ("dits", "loud", "LoudTransformer"),\n',
                _OTHER: "class LoudTransformer:\n    pass\n",
            },
            findings=(Expected(_REGISTRY, 2, "this row is dead"),),
            fixed={_REGISTRY: (_TABLE % "").replace("{\n}", "{}", 1)},
        ),
    ),
)
