"""DIT106 registry-duplicate: one architecture name discovered in two files."""

from __future__ import annotations

from collections.abc import Iterator

from analyzers.findings import Finding, Related, Severity
from analyzers.project.registry import Discovered
from analyzers.rules.base import Context, Example, Expected, Rule, Tier


def check(context: Context) -> Iterator[Finding]:
    """Reports every place once, since any of them may be the one to rename."""
    registry = context.project.registry
    for name in dict.fromkeys(overwritten.name for overwritten, _ in registry.duplicates):
        entries: dict[str, Discovered] = {}
        for pair in registry.duplicates:
            entries.update({entry.path: entry for entry in pair if entry.name == name})
        here = entries.get(context.file.path)
        if here is None or len(entries) < 2:
            continue
        winner = registry.discovered[name]
        others = [entry for path, entry in entries.items() if path != here.path]
        if here.path == winner.path:
            fate = f"overwrites the one in {' and '.join(entry.path for entry in others)}"
        else:
            fate = f"is overwritten by the one in {winner.path}"
        meant = [context.names.class_of(entry.path, name) for entry in entries.values()]
        same = None not in meant and len({context.names.qualified_class(cls) for cls in meant if cls}) == 1
        if same:
            consequence = "both lead to the same class; drop the EntryClass of the file that re-exports it"
        else:
            consequence = (
                "only the order in which the disk lists the files decides; rename one, or drop its EntryClass"
            )
        times = "twice" if len(entries) == 2 else f"{len(entries)} times"
        yield context.finding(
            here.location,
            f"'{name}' is registered {times}: this entry {fate}, and {consequence}",
            symbol=name,
            related=tuple(Related(other.location, "the other entry") for other in others),
        )


_COPY = "fastvideo/models/dits/copy.py"

RULE = Rule(
    code="DIT106",
    name="registry-duplicate",
    severity=Severity.WARNING,
    tier=Tier.PROJECT,
    summary="one architecture name is discovered in two files",
    what="Reports an `EntryClass` name that registry discovery finds in more than one file.",
    why=(
        "Discovery overwrites the earlier entry with a warning and keeps the later one. Which file comes "
        "later is the order of `os.walk`, so another machine may load the other class."
    ),
    how="Rename one of the classes, or remove the `EntryClass` of the file that should not be loaded.",
    exceptions="A name that one file lists twice: both entries are the same.",
    source="`fastvideo/models/registry.py`, `_discover_and_register_models`",
    check=check,
    valid=(Example("each name once", {}),),
    invalid=(
        Example(
            "a copied file that kept its class name",
            {
                _COPY: "class SoundTransformer3DModel:\n    pass\n\n\nEntryClass = SoundTransformer3DModel\n",
            },
            findings=(
                Expected(_COPY, 5, "registered twice"),
                Expected("fastvideo/models/dits/sound.py", 39, "registered twice"),
            ),
        ),
        Example(
            "three files with one name, each told once",
            {
                _COPY: "class SoundTransformer3DModel:\n    pass\n\n\nEntryClass = SoundTransformer3DModel\n",
                "fastvideo/models/dits/other.py": "class SoundTransformer3DModel:\n    pass\n\n\n"
                'EntryClass = ["SoundTransformer3DModel"]\n',
            },
            findings=(
                Expected(_COPY, 5, "registered 3 times"),
                Expected("fastvideo/models/dits/other.py", 5, "registered 3 times"),
                Expected("fastvideo/models/dits/sound.py", 39, "registered 3 times"),
            ),
        ),
        Example(
            "a file that registers what it imports",
            {
                _COPY: "from fastvideo.models.dits.sound import SoundTransformer3DModel\n\n\n"
                "class Helper:\n    pass\n\n\nEntryClass = SoundTransformer3DModel\n"
            },
            findings=(
                Expected(_COPY, 8, "both lead to the same class"),
                Expected("fastvideo/models/dits/sound.py", 39, "both lead to the same class"),
            ),
        ),
    ),
)
