"""DIT106 registry-duplicate: one architecture name discovered in two files."""

from __future__ import annotations

from collections.abc import Iterator

from analyzers.findings import Finding, Related, Severity
from analyzers.rules.base import Context, Example, Expected, Rule, Tier


def check(context: Context) -> Iterator[Finding]:
    """Reports both places, since either may be the one to rename."""
    for overwritten, winner in context.project.registry.duplicates:
        if overwritten.path == winner.path:
            continue
        for here, other, fate in (
            (overwritten, winner, "is overwritten by"),
            (winner, overwritten, "overwrites"),
        ):
            if here.path == context.file.path:
                yield context.finding(
                    here.location,
                    f"'{here.name}' is registered twice: this entry {fate} the one in {other.path}, "
                    "and only the order in which the disk lists the files decides",
                    symbol=here.name,
                    related=(Related(other.location, "the other entry"),),
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
    ),
)
