"""What many results come to: by family and kind, and what of it counts as named."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from injections.scoring import LOSS, NAMED, PLACED

Row = Mapping[str, Any]

COLUMNS = {
    "exact": ("exact",),
    "bracket": ("bracket",),
    "equivalent": ("equivalent-said", "equivalent-silent"),
    "load": ("load-refused",),
    "crash": ("crash-told",),
    "cast": ("cast-silent",),
    "later": ("later",),
    "line": ("wrong-line", "wrong-module"),
    "place": ("wrong-place",),
    "missed": ("missed", "unlocated"),
    "other": ("false-alarm", "crash-untold", "error"),
}


def summary(rows: Sequence[Row]) -> Iterator[str]:
    """The lines of a report in Markdown. What is held out is summed by itself."""
    for held_out in (False, True):
        part = "held out" if held_out else "building"
        errors = [row for row in rows if row["what"] == "error" and row["held_out"] == held_out]
        if errors:
            yield f"\n## {part}: {len(errors)} errors\n"
            for by in ("family", "kind"):
                names = sorted({row[by] for row in errors})
                yield from _table(by, [(name, [row for row in errors if row[by] == name]) for name in names])
            yield from _table("", [("all", errors)])
            yield from _shares(errors)
        three = [row for row in rows if row["what"] == "together" and row["held_out"] == held_out]
        if three:
            yield (
                f"\nthree at once ({part}): {len(three)} ports, {sum(row['named'] for row in three)} of "
                f"{3 * len(three)} errors named; all three in {_count(three, lambda r: r['named'] == 3)}, "
                f"at most one false in {_count(three, lambda r: r['false'] < 2)}, "
                f"both in {_count(three, lambda r: r['named'] == 3 and r['false'] < 2)}"
            )
    yield from _clean([row for row in rows if row["what"] == "clean"])
    untried = _count(rows, lambda r: r["what"] == "untried")
    if untried:
        yield f"left out, as the oracle had no answer: {untried}"
    seconds = sorted(row["seconds"] for row in rows if "seconds" in row)
    if seconds:
        yield f"seconds a trace: median {seconds[len(seconds) // 2]}, largest {seconds[-1]}"


def _shares(errors: Sequence[Row]) -> Iterator[str]:
    """The share that is right, without and with what needs no comparison of numbers."""
    numeric = [row for row in errors if _is_numeric(row)]
    placed = [row for row in numeric if row["outcome"] in PLACED]
    alone = [row for row in placed if row["false"] == 0]
    yield (
        f"- load, run and change the outputs: {len(numeric)}; the right statement or a bracket named first: "
        f"{_share(placed, numeric)}; and nothing else accused: {_share(alone, numeric)}"
    )
    same = [row for row in errors if row["truth"]["outputs"] == "same" and not _is_stopped(row)]
    if same:
        said = [row for row in same if row["outcome"] in NAMED]
        off = _count(said, lambda r: r["false"] > 0)
        alarms = _count(same, lambda r: r["outcome"] == "false-alarm")
        yield (
            f"- change no output: {len(same)}; said so or passed: {_share(said, same)} (of these {off} also "
            f"speak of a place that is not the error), said to reach them: {alarms}"
        )
    for name, some in (
        ("refused by the strict load", [row for row in errors if row["truth"]["refused"]]),
        ("raise", [row for row in errors if row["truth"]["raised"] is not None]),
    ):
        if some:
            yield f"- {name}: {len(some)}; told: {_share([r for r in some if r['outcome'] in NAMED], some)}"
    silent = _count(errors, lambda r: r["outcome"] == "cast-silent")
    judged = [row for row in errors if row["outcome"] != "cast-silent"]
    right = [row for row in judged if row["outcome"] in NAMED]
    yield f"- casts unsaid that lose less than {LOSS:g} times, left out of all shares: {silent}"
    yield f"- all together: {_share(right, judged)}"


def _clean(rows: Sequence[Row]) -> Iterator[str]:
    if not rows:
        return
    plain = [row for row in rows if row["wanted"] is None]
    accused = [row for row in rows if row["accused"]]
    families = len({row["family"] for row in rows})
    yield f"\nclean: {len(rows)} runs of {families} ports, {len(accused)} accused of what is none of theirs"
    if len(plain) < len(rows):
        differing = [row for row in rows if row["wanted"] is not None]
        named = _count(differing, lambda r: r["named"])
        yield f"of these {len(differing)} of ports that do differ, the line named in {named}"


def _is_stopped(row: Row) -> bool:
    return row["truth"]["raised"] is not None or bool(row["truth"]["refused"])


def _is_numeric(row: Row) -> bool:
    changes = row["truth"]["outputs"] != "same" and row["outcome"] != "cast-silent"
    return changes and not _is_stopped(row)


def _count(rows: Iterable[Row], holds: Callable[[Row], bool]) -> int:
    return sum(holds(row) for row in rows)


def _share(some: Sequence[Row], of: Sequence[Row]) -> str:
    return f"{len(some)} of {len(of)}" + (f" ({100 * len(some) / len(of):.1f} %)" if of else "")


def _table(by: str, groups: Iterable[tuple[str, Sequence[Row]]]) -> Iterator[str]:
    yield f"| {by} | n | right | {' | '.join(COLUMNS)} | false |"
    yield "|" + "---|" * (len(COLUMNS) + 4)
    for name, rows in groups:
        counts = Counter(row["outcome"] for row in rows)
        judged = len(rows) - counts["cast-silent"]
        right = sum(counts[outcome] for outcome in NAMED)
        share = f"{100 * right / judged:.0f} %" if judged else "-"
        cells = [str(sum(counts[o] for o in outcomes) or "") for outcomes in COLUMNS.values()]
        yield f"| {name} | {len(rows)} | {share} | {' | '.join(cells)} | {sum(r['false'] for r in rows)} |"
    yield ""
