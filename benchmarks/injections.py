"""Errors written into real ports, one at a time: how many are named, by family and by kind.

    python benchmarks/injections.py --results FILE [--split building|held-out|all] [--count N] [--seed N]
        [--families NAME,...] [--kinds NAME,...] [--clean N] [--together N] [--failures DIR] [--summary]

Each error gets a JSON line in the results file; a run goes on where one was stopped. `--count`: errors a
family. `--clean`: so many runs of each clean port, each with a seed of its own; none may be accused.
`--together`: so many ports of each family with three errors at once. `--failures`: a file for each wrong
answer of the building split. Of what is held out (docs/accuracy/trace.md) sums alone are printed.
`--summary`: only sums, of what the file holds already.

The trees that are edited lie in a temporary folder; the unpacked package is read alone.
"""

from __future__ import annotations

import argparse
import asyncio
import difflib
import json
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(REPOSITORY / "tests"), str(REPOSITORY)]

from injections.families import FAMILIES, Family, is_held_out  # noqa: E402
from injections.kinds import KINDS  # noqa: E402
from injections.oracle import Clean, Oracle, copied_tree, written  # noqa: E402
from injections.sampling import drawn, found, together  # noqa: E402
from injections.scoring import NAMED, Truth, score, score_several  # noqa: E402
from injections.source import Injection, SourceFile  # noqa: E402
from injections.tracing import Answer, Tracer  # noqa: E402

TREE = Path(os.environ.get("DITPROOF_REAL_FASTVIDEO", REPOSITORY / ".real" / "fastvideo-0.2.1"))
PYTHON = os.environ.get("DITPROOF_PROJECT_PYTHON", str(REPOSITORY / ".project-venv/bin/python"))

Row = dict[str, Any]


def main() -> None:
    """Run what is asked for and print the sums."""
    options = _options()
    results = Results(options.results)
    if not options.summary:
        asyncio.run(_run(options, results))
    _print_sums(results.rows)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--results", type=Path, required=True)
    parser.add_argument("--split", choices=("building", "held-out", "all"), default="building")
    parser.add_argument("--count", type=int, default=45)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--families", default="")
    parser.add_argument("--kinds", default="")
    parser.add_argument("--clean", type=int, default=0)
    parser.add_argument("--together", type=int, default=0)
    parser.add_argument("--failures", type=Path)
    parser.add_argument("--summary", action="store_true")
    parser.add_argument("--dtype", default="bfloat16", help="of the runs that dtypes are judged in")
    parser.add_argument("--work", type=Path, help="folder of the edited trees; a temporary one by default")
    return parser.parse_args()


class Results:
    """The results file: a JSON line each."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.rows: list[Row] = []
        if path.exists():
            self.rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        self._known = {self._key(row) for row in self.rows}

    @staticmethod
    def _key(row: Mapping[str, Any]) -> tuple[str, str, str, int]:
        return row["what"], row["family"], row["key"], row["seed"]

    def has(self, what: str, family: str, key: str, seed: int) -> bool:
        """Whether it was run."""
        return (what, family, key, seed) in self._known

    def add(self, row: Row) -> None:
        """Keep a result, on the disk at once."""
        self.rows.append(row)
        self._known.add(self._key(row))
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")


async def _run(options: argparse.Namespace, results: Results) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        work = options.work or Path(temporary)
        dtype = None if options.dtype == "float32" else options.dtype
        tracer = Tracer(PYTHON, copied_tree(TREE, work / "trace"), dtype)
        oracle = Oracle(PYTHON, copied_tree(TREE, work / "oracle"), work / "clean")
        try:
            for family in _families(options):
                await _Family(family, options, results, tracer, oracle, work / "trace").run()
        finally:
            oracle.close()
            await tracer.close()


def _families(options: argparse.Namespace) -> list[Family]:
    named = [name for name in options.families.split(",") if name]
    unknown = set(named) - {family.name for family in FAMILIES}
    if unknown:
        sys.exit(f"unknown families: {', '.join(sorted(unknown))}")
    held_out_too = options.split != "building"
    return [f for f in FAMILIES if (f.name in named if named else held_out_too or not f.held_out)]


class _Family:
    """All that is asked about one family."""

    def __init__(
        self,
        family: Family,
        options: argparse.Namespace,
        results: Results,
        tracer: Tracer,
        oracle: Oracle,
        tree: Path,
    ) -> None:
        self.family, self.options, self.results = family, options, results
        self.tracer, self.oracle, self.tree = tracer, oracle, tree
        self.question = tracer.question(family)

    async def run(self) -> None:
        clean = self.oracle.clean(self.family)
        if self.family.apart_from is not None:
            clean = _apart(clean, self.oracle.clean(_named(self.family.apart_from)))
        pool = found(clean.files, [kind for kind in KINDS if self._is_wanted(kind)])
        for injection in drawn(pool, self.options.count, self.options.seed):
            if not self.results.has("error", self.family.name, injection.key, 0):
                await self._one(injection, clean)
        for seed in range(self.options.clean):
            if not self.results.has("clean", self.family.name, "", seed):
                await self._clean(seed)
        for seed in range(self.options.together):
            if not self.results.has("together", self.family.name, "", seed):
                await self._together(pool, clean, seed)

    def _is_wanted(self, kind: str) -> bool:
        named = [name for name in self.options.kinds.split(",") if name]
        if named and kind not in named:
            return False
        held_out = is_held_out(self.family, kind)
        return self.options.split == "all" or held_out == (self.options.split == "held-out")

    async def _one(self, injection: Injection, clean: Clean) -> None:
        truth = self.oracle.truth(self.family, [injection])
        answer = await self._asked([injection])
        scored = score(injection, truth, answer.told, clean.modules)
        row = {
            **self._row("error", injection.key, 0, answer),
            "kind": injection.kind,
            "held_out": is_held_out(self.family, injection.kind),
            "line": injection.after[0].first + 1,
            "outcome": scored.outcome,
            "false": scored.false,
            "truth": asdict(truth),
        }
        self.results.add(row)
        if not row["held_out"]:
            print(
                f"{scored.outcome:18} {self.family.name:13} {injection.kind:21} "
                f"{Path(injection.path).name}:{row['line']} {injection.what[:70]}",
                flush=True,
            )
            if self.options.failures is not None and (not scored.right or scored.false):
                _write_failure(self.options.failures, injection, truth, answer, row, clean)

    async def _clean(self, seed: int) -> None:
        answer = await self.tracer.ask(self.question, seed)
        row = self._row("clean", "", seed, answer)
        accused = answer.told.status != "passed"
        self.results.add({**row, "accused": accused})
        if accused:
            print(f"ACCUSED clean {self.family.name} seed {seed}: {answer.told.reason}", flush=True)

    async def _together(self, pool: Mapping[str, Sequence[Injection]], clean: Clean, seed: int) -> None:
        """Three errors, each of which runs, loads and changes the outputs by itself."""
        errors = await asyncio.to_thread(self._three, pool, seed)
        answer = await self._asked(errors)
        named, false = score_several(errors, answer.told, clean.modules)
        row = self._row("together", "", seed, answer)
        held_out = any(is_held_out(self.family, error.kind) for error in errors)
        keys = [error.key for error in errors]
        self.results.add({**row, "named": named, "false": false, "held_out": held_out, "keys": keys})
        if not held_out:
            print(f"together: {named} of 3, {false} false: {self.family.name} {seed} {keys}", flush=True)

    def _three(self, pool: Mapping[str, Sequence[Injection]], seed: int) -> tuple[Injection, ...]:
        attempt = 0
        while True:
            errors = together(pool, 3, 1000 * seed + attempt)
            attempt += 1
            truths = [self.oracle.truth(self.family, [error]) for error in errors]
            whole = self.oracle.truth(self.family, errors)
            if all(t.outputs == "differ" and t.raised is None and not t.refused for t in (*truths, whole)):
                return errors

    async def _asked(self, errors: Sequence[Injection]) -> Answer:
        with written(self.tree, errors):
            return await self.tracer.ask(self.question)

    def _row(self, what: str, key: str, seed: int, answer: Answer) -> Row:
        return {
            "what": what,
            "family": self.family.name,
            "key": key,
            "seed": seed,
            "seconds": round(answer.seconds, 2),
            "told": asdict(answer.told),
            "messages": answer.messages,
            "at": round(time.time()),
        }


def _named(name: str) -> Family:
    return next(family for family in FAMILIES if family.name == name)


def _apart(clean: Clean, other: Clean) -> Clean:
    """Without the lines that another family runs."""
    taken = {file.path: file.executed or frozenset() for file in other.files}
    files = tuple(
        SourceFile(file.path, file.text, (file.executed or frozenset()) - taken.get(file.path, frozenset()))
        for file in clean.files
    )
    return Clean(files, clean.modules)


def _write_failure(
    folder: Path, injection: Injection, truth: Truth, answer: Answer, row: Row, clean: Clean
) -> None:
    """One wrong answer with all that it takes to see it again."""
    folder.mkdir(parents=True, exist_ok=True)
    (file,) = (file for file in clean.files if file.path == injection.path)
    diff = difflib.unified_diff(
        file.text.splitlines(), injection.applied(file.text).splitlines(), file.path, file.path, "", "", 2, ""
    )
    name = f"{row['outcome']}-{row['family']}-{injection.kind}-{row['line']}.md"
    spots = [
        f"- {' | '.join(_place(spot) for spot in spots)}\n  {message}"
        for spots, message in zip(answer.told.divergences, answer.messages, strict=True)
    ]
    wanted = ", ".join(f"{lines.first + 1}-{lines.last + 1}" for lines in injection.after)
    text = [
        f"# {row['family']}: {injection.kind}, {row['outcome']}, {row['false']} false",
        f"{injection.path}, right lines {wanted}, in {injection.owner}.{injection.function}",
        f"truth: {truth}",
        "```diff",
        *diff,
        "```",
        f"said: {answer.told.status}, reaches: {answer.told.reaches}, unlocated: {answer.told.unlocated}",
        f"reason: {answer.told.reason}",
        f"names: {answer.told.names[:5]}; frames: {[(p, line + 1) for p, line in answer.told.frames]}",
        *spots,
    ]
    (folder / name).write_text("\n".join(text) + "\n", encoding="utf-8")


def _place(spot: Any) -> str:
    lines = "?" if spot.lines is None else f"{spot.lines.first + 1}-{spot.lines.last + 1}"
    return f"{spot.module or '(the model)'} {spot.path}:{lines}"


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


def _print_sums(rows: Sequence[Row]) -> None:
    errors = [row for row in rows if row["what"] == "error"]
    for held_out in (False, True):
        some = [row for row in errors if row["held_out"] == held_out]
        if some:
            print(f"\n## {'held out' if held_out else 'building'}: {len(some)} errors\n")
            for by in ("family", "kind"):
                names = sorted({row[by] for row in some})
                _table(by, [(name, [row for row in some if row[by] == name]) for name in names])
            _table("", [("all", some)])
    clean = [row for row in rows if row["what"] == "clean"]
    if clean:
        print(f"\nclean: {len(clean)} runs, {sum(row['accused'] for row in clean)} accused")
    for held_out in (False, True):
        three = [r for r in rows if r["what"] == "together" and r["held_out"] == held_out]
        if three:
            all_named, few_false = sum(r["named"] == 3 for r in three), sum(r["false"] < 2 for r in three)
            part = "held out" if held_out else "building"
            print(f"three at once ({part}): {len(three)} ports, all named in {all_named}")
            print(f"at most one false in {few_false}")
    seconds = sorted(row["seconds"] for row in rows)
    if seconds:
        print(f"seconds a trace: median {seconds[len(seconds) // 2]}, largest {seconds[-1]}")


def _table(by: str, groups: Iterable[tuple[str, Sequence[Row]]]) -> None:
    print(f"| {by} | n | right | {' | '.join(COLUMNS)} | false |")
    print("|" + "---|" * (len(COLUMNS) + 4))
    for name, rows in groups:
        counts = Counter(row["outcome"] for row in rows)
        judged = len(rows) - counts["cast-silent"]
        right = sum(counts[outcome] for outcome in NAMED)
        share = f"{100 * right / judged:.0f} %" if judged else "-"
        cells = [str(sum(counts[o] for o in outcomes) or "") for outcomes in COLUMNS.values()]
        print(f"| {name} | {len(rows)} | {share} | {' | '.join(cells)} | {sum(r['false'] for r in rows)} |")
    print()


if __name__ == "__main__":
    main()
