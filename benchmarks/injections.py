"""Errors written into real ports, one at a time: how many are named, by family and by kind.

    python benchmarks/injections.py --results FILE [--split building|held-out|all] [--count N] [--seed N]
        [--families NAME,...] [--kinds NAME,...] [--clean N] [--together N] [--shard I/N]
        [--failures DIR] [--summary]

Each error gets a JSON line in the results file; a run goes on where one was stopped. `--count`: errors a
family. `--clean`: so many runs of clean ports in all, families in turn, each with a seed of its own; none may
be accused. `--together`: so many ports in all with three errors at once. `--shard 1/2`: every other one of
all these, so that two processes share a run, each with a results file of its own. `--failures`: a file for
each wrong answer of the building split. Of what is held out (docs/accuracy/trace.md) sums alone are printed.
`--summary`: only sums, of what the files hold already; `--results` takes several then.

The trees that are edited lie in a temporary folder; the unpacked package is read alone.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(REPOSITORY / "tests"), str(REPOSITORY)]

from injections.failures import write_failure  # noqa: E402
from injections.families import COSMOS, FAMILIES, Family, is_held_out  # noqa: E402
from injections.kinds import KINDS  # noqa: E402
from injections.oracle import Clean, NoAnswer, Oracle, copied_tree, written  # noqa: E402
from injections.sampling import drawn, found, together  # noqa: E402
from injections.scoring import Told, score, score_several  # noqa: E402
from injections.source import Injection, SourceFile  # noqa: E402
from injections.sums import summary  # noqa: E402
from injections.tracing import Answer, Tracer  # noqa: E402

TREE = Path(os.environ.get("DITPROOF_REAL_FASTVIDEO", REPOSITORY / ".real" / "fastvideo-0.2.1"))
PYTHON = os.environ.get("DITPROOF_PROJECT_PYTHON", str(REPOSITORY / ".project-venv/bin/python"))
ATTEMPTS = 60
"""So many draws for three errors that load, run and change the outputs, each by itself and together."""

Row = dict[str, Any]


def main() -> None:
    """Run what is asked for and print the sums."""
    options = _options()
    results = Results(options.results)
    if not options.summary:
        asyncio.run(_run(options, results))
    print("\n".join(summary(results.rows)))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--results", type=Path, required=True, nargs="+")
    parser.add_argument("--split", choices=("building", "held-out", "all"), default="building")
    parser.add_argument("--count", type=int, default=45)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--families", default="")
    parser.add_argument("--kinds", default="")
    parser.add_argument("--clean", type=int, default=0)
    parser.add_argument("--together", type=int, default=0)
    parser.add_argument("--shard", type=_shard, default=(0, 1), help="this process's share, as 1/2")
    parser.add_argument("--failures", type=Path)
    parser.add_argument("--summary", action="store_true")
    parser.add_argument("--dtype", default="bfloat16", help="of the runs that dtypes are judged in")
    parser.add_argument("--work", type=Path, help="folder of the edited trees; a temporary one by default")
    options = parser.parse_args()
    if len(options.results) > 1 and not options.summary:
        parser.error("several results files can only be summed: --summary")
    return options


def _shard(text: str) -> tuple[int, int]:
    share, _, count = text.partition("/")
    if not (share.isdigit() and count.isdigit() and 1 <= int(share) <= int(count)):
        raise argparse.ArgumentTypeError(f"{text!r} is no share such as 1/2")
    return int(share) - 1, int(count)


class Results:
    """The results files: a JSON line each. What is new goes to the first."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._path = paths[0]
        lines = [line for p in paths if p.exists() for line in p.read_text(encoding="utf-8").splitlines()]
        self.rows: list[Row] = [json.loads(line) for line in lines]
        self._known = {self._key(row) for row in self.rows}

    @staticmethod
    def _key(row: Mapping[str, Any]) -> tuple[str, str, int]:
        return row["family"], row["key"], row["seed"]

    def has(self, family: str, key: str, seed: int) -> bool:
        """Whether it was run."""
        return (family, key, seed) in self._known

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
            families = _families(options)
            for number, family in enumerate(families):
                together = len(range(number, options.together, len(families)))
                run = _Family(family, options, results, tracer, oracle, work / "trace", number)
                await run.errors(together)
            ports = [*families, COSMOS] if options.clean and not options.families else families
            for number, family in enumerate(ports):
                run = _Family(family, options, results, tracer, oracle, work / "trace", number)
                await run.clean(len(range(number, options.clean, len(ports))))
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
        number: int,
    ) -> None:
        self.family, self.options, self.results = family, options, results
        self.tracer, self.oracle, self.tree, self.number = tracer, oracle, tree, number
        self.question = tracer.question(family)

    async def errors(self, together: int) -> None:
        """Each error by itself; so many ports with three of them."""
        clean = self.oracle.clean(self.family)
        if self.family.apart_from is not None:
            clean = _apart(clean, self.oracle.clean(_named(self.family.apart_from)))
        pool = found(clean.files, [kind for kind in KINDS if self._is_wanted(kind)])
        for number, injection in enumerate(drawn(pool, self.options.count, self.options.seed)):
            if self._is_own(number) and not self.results.has(self.family.name, injection.key, 0):
                await self._one(injection, clean)
        if not self.family.held_out:  # three of a building family are scored with what was used
            pool = {kind: some for kind, some in pool.items() if not is_held_out(self.family, kind)}
        for number in range(together):
            seed = self.options.seed + number
            if self._is_own(number) and not self.results.has(self.family.name, "together", seed):
                await self._together(pool, clean, seed)
        if self.family.held_out:
            print(f"{self.family.name}: done", flush=True)

    async def clean(self, count: int) -> None:
        """So many runs of the clean port."""
        for seed in range(count):
            if self._is_own(seed) and not self.results.has(self.family.name, "clean", seed):
                await self._clean(seed)

    def _is_own(self, number: int) -> bool:
        share, count = self.options.shard
        return (number + self.number) % count == share

    def _is_wanted(self, kind: str) -> bool:
        named = [name for name in self.options.kinds.split(",") if name]
        if named and kind not in named:
            return False
        held_out = is_held_out(self.family, kind)
        return self.options.split == "all" or held_out == (self.options.split == "held-out")

    async def _one(self, injection: Injection, clean: Clean) -> None:
        held_out = is_held_out(self.family, injection.kind)
        known = {"kind": injection.kind, "held_out": held_out, "line": injection.after[0].first + 1}
        try:
            truth = self.oracle.truth(self.family, [injection])
        except NoAnswer as error:
            row = {"what": "untried", "family": self.family.name, "key": injection.key, "seed": 0}
            self.results.add({**row, **known, "reason": str(error)})
            return
        answer = await self._asked([injection])
        scored = score(injection, truth, answer.told, clean.modules)
        row = self._row("error", injection.key, 0, answer)
        row |= {**known, "outcome": scored.outcome, "false": scored.false, "truth": asdict(truth)}
        self.results.add(row)
        if not held_out:
            print(
                f"{scored.outcome:18} {self.family.name:13} {injection.kind:21} "
                f"{Path(injection.path).name}:{row['line']} {injection.what[:70]}",
                flush=True,
            )
            if self.options.failures is not None and (not scored.right or scored.false):
                name = f"{row['outcome']}-{row['family']}-{injection.kind}-{row['line']}"
                write_failure(self.options.failures, name, [injection], truth, answer, clean)

    async def _clean(self, seed: int) -> None:
        answer = await self._asked([], seed)
        spots = [spots[0] for spots in answer.told.divergences]
        wanted = self._differing_lines()
        hits = [
            spot.path == self.family.path and spot.lines is not None and spot.lines.first in wanted
            for spot in spots
        ]
        accused = not all(hits) or answer.told.status != ("failed" if spots else "passed")
        row = self._row("clean", "clean", seed, answer)
        self.results.add({**row, "wanted": self.family.differs_at, "named": any(hits), "accused": accused})
        if accused or (wanted and not any(hits)):
            print(f"clean {self.family.name} seed {seed}: {answer.told.reason}", flush=True)

    def _differing_lines(self) -> frozenset[int]:
        if self.family.differs_at is None:
            return frozenset()
        lines = (self.tree / self.family.path).read_text(encoding="utf-8").splitlines()
        return frozenset(n for n, line in enumerate(lines) if line.strip() == self.family.differs_at)

    async def _together(self, pool: Mapping[str, Sequence[Injection]], clean: Clean, seed: int) -> None:
        """Three errors, each of which runs, loads and changes the outputs by itself."""
        errors = self._three(pool, seed)
        if errors is None:
            row = {"what": "untried", "family": self.family.name, "key": "together", "seed": seed}
            self.results.add({**row, "reason": f"no three errors in {ATTEMPTS} draws"})
            return
        answer = await self._asked(errors)
        named, false = score_several(errors, answer.told, clean.modules)
        row = self._row("together", "together", seed, answer)
        held_out = any(is_held_out(self.family, error.kind) for error in errors)
        keys = [error.key for error in errors]
        self.results.add({**row, "named": named, "false": false, "held_out": held_out, "keys": keys})
        if not held_out:
            print(f"together: {named} of 3, {false} false: {self.family.name} {seed}", flush=True)
            if self.options.failures is not None and (named < 3 or false):
                name = f"three-{named}-{false}-{self.family.name}-{seed}"
                write_failure(self.options.failures, name, errors, None, answer, clean)

    def _three(self, pool: Mapping[str, Sequence[Injection]], seed: int) -> tuple[Injection, ...] | None:
        for attempt in range(ATTEMPTS):
            errors = together(pool, 3, 1000 * seed + attempt)
            if errors is not None and all(self._shows(some) for some in (*([e] for e in errors), errors)):
                return errors
        return None

    def _shows(self, errors: Sequence[Injection]) -> bool:
        try:
            truth = self.oracle.truth(self.family, errors)
        except NoAnswer:
            return False
        return truth.outputs == "differ" and truth.raised is None and not truth.refused

    async def _asked(self, errors: Sequence[Injection], seed: int = 0) -> Answer:
        """What is said, or that asking raised: no answer is one too."""
        began = time.monotonic()
        try:
            if not errors:
                return await self.tracer.ask(self.question, seed)
            with written(self.tree, errors):
                return await self.tracer.ask(self.question, seed)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is what the user would get
            reason = f"asking raised {type(error).__name__}: {traceback.format_exc()[-1500:]}"
            return Answer(Told("error", reason=reason), (), time.monotonic() - began)

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


if __name__ == "__main__":
    main()
