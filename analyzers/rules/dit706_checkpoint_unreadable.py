"""DIT706 checkpoint-unreadable: a checkpoint, or a dump of its names, that cannot be read."""

from __future__ import annotations

from collections.abc import Iterator

from analyzers.findings import Finding, Location, Severity, Span
from analyzers.rules.base import Context, Example, Expected, Rule, Tier
from analyzers.rules.weight_examples import OFFICIAL, OFFICIAL_NAMES, dump, dumped
from analyzers.weights.files.dumps import MalformedDump, dump_in


def check(context: Context) -> Iterator[Finding]:
    """Reads every key dump as the proof of the weights does."""
    path = context.file.path
    if not context.profile.is_key_dump(path):
        return
    try:
        names = dump_in(context.project, path)
    except MalformedDump as error:
        yield _unreadable(context, error.line or 0, error.message, error.next_step)
        return
    if names is not None and not names.tensors:
        yield _unreadable(
            context, 0, "it holds no names", "it may have been written before the model was built"
        )


def _unreadable(context: Context, line: int, what: str, next_step: str) -> Finding:
    written = context.text.rstrip().count("\n")
    line = min(line, written)  # what is cut off ends behind its last line
    return context.finding(
        Location(context.file.path, Span(line, 0, line, 1)),
        f"this dump of weight names cannot be used, so nothing is proved by it: {what}; {next_step}, or have "
        "`ditproof weights --dump` write it anew",
        severity=Severity.WARNING,
    )


def _written(text: str) -> dict[str, str | None]:
    return {OFFICIAL: text}


RULE = Rule(
    code="DIT706",
    name="checkpoint-unreadable",
    severity=Severity.ERROR,
    tier=Tier.WEIGHTS,
    summary="a checkpoint, or a dump of its names, that cannot be read or contradicts itself",
    what=(
        "Reports, as a warning, a key dump (`*_official_keys.json`, `*_fastvideo_keys.json` below "
        "`converted_weights/`, `official_weights/` and `tests/local_tests/`) that is no JSON, gives a name "
        "twice or none at all, or says of a name what is neither a shape nor a dtype, at the line where "
        "reading ends. And, after `ditproof weights` with a checkpoint, as an error, what is wrong with its "
        "files: a header that is cut off, malformed or too large to be one, tensors that overlap or lie "
        "beyond the end of the file, a name in two shards, a shard that the index names and that is missing, "
        "an index that lies, and a format that is never unpickled (`.bin`, `.pt`)."
    ),
    why=(
        "A proof over half of the names would be worth nothing, so a dump that cannot be read is left aside: "
        "DIT701 to DIT703 are silent, and that looks as if all were well. Of a checkpoint, the loader fails "
        "after minutes, or fills a parameter from the wrong shard."
    ),
    how=(
        "Write the dump again (`ditproof weights PORT --dump`), or correct it: a list of names, or an object "
        "from each name to its shape, or to shape and dtype. Download a checkpoint again, or convert it. The "
        "message names the file and the next step."
    ),
    exceptions=(
        "Every form of a dump that says its meaning: shapes as lists or as text, dtypes as torch or "
        "safetensors writes them, names under `keys` or `weight_map`. Other JSON files. Bytes between the "
        "tensors of a checkpoint, and further entries of its metadata."
    ),
    source=(
        "`.agents/skills/add-model/contracts/component_context.md` (prototype_key_dumps); "
        "https://github.com/huggingface/safetensors, Format"
    ),
    check=check,
    suffixes=(".json",),
    valid=(
        Example("names with shapes", _written(dump(OFFICIAL_NAMES))),
        Example("of both sides, and proved", dumped()),
        Example("names alone, and shapes as text", dumped() | {OFFICIAL: '["a.weight", "b.weight"]\n'}),
        Example("another JSON file beside it", {"converted_weights/echo/_mapping/report.json": "[1,"}),
    ),
    invalid=(
        Example(
            "cut off",
            _written('{\n  "head.weight": {"shape": [16, 64]},\n  "head.bias": {"shape": [16,\n'),
            findings=(Expected(OFFICIAL, 3, "it is not JSON", Severity.WARNING),),
        ),
        Example(
            "a name that is there twice",
            _written('{\n  "head.weight": [16, 64],\n  "head.weight": [16, 64]\n}\n'),
            findings=(Expected(OFFICIAL, 3, "'head.weight' is there more than once"),),
        ),
        Example(
            "what is no shape",
            _written('{\n  "head.weight": [16, 64],\n  "head.bias": [16, -1]\n}\n'),
            findings=(Expected(OFFICIAL, 3, "is no shape"),),
        ),
        Example("no names", _written("[]\n"), findings=(Expected(OFFICIAL, 1, "it holds no names"),)),
    ),
)
