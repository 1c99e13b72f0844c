"""DIT106 registry-duplicate: one architecture name discovered in two files."""

from __future__ import annotations

from collections.abc import Iterator

from analyzers.findings import Finding, Related, Severity
from analyzers.rules.base import Context, Example, Expected, Rule, Tier


def check(context: Context) -> Iterator[Finding]:
    """Reports every place once, since any of them may be the one to rename."""
    registry, names = context.project.registry, context.names
    pairs = [(a, b) for a, b in registry.duplicates if a.path != b.path]
    for name in dict.fromkeys(overwritten.name for overwritten, _ in pairs):
        entries = {entry.path: entry for pair in pairs for entry in pair if entry.name == name}
        here, winner = entries.pop(context.file.path, None), registry.discovered[name]
        if here is None:
            continue
        meant = {names.class_of(entry.path, name) for entry in (here, *entries.values())}
        fate = (
            "overwrites what comes before" if here.path == winner.path else f"is overwritten by {winner.path}"
        )
        decides = "only the order in which the disk lists the files decides; rename one"
        if len(meant) == 1 and None not in meant:
            decides = "all lead to the same class; drop the EntryClass of the file that re-exports it"
        twice = len(entries) == 1
        often = "twice" if twice else f"{len(entries) + 1} times"
        yield context.finding(
            here.location,
            f"'{name}' is registered {often}: this entry {fate}, and {decides}",
            symbol=name,
            related=tuple(
                Related(entry.location, "the other entry" if twice else "another entry")
                for entry in entries.values()
            ),
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
            {_COPY: "class SoundTransformer3DModel:\n    pass\n\n\nEntryClass = SoundTransformer3DModel\n"},
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
                Expected(_COPY, 8, "all lead to the same class"),
                Expected("fastvideo/models/dits/sound.py", 39, "all lead to the same class"),
            ),
        ),
    ),
)
