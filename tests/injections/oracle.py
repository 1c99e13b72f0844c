"""Asks `oracle_child.py` what an error does, from any interpreter."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from injections.families import Family
from injections.scoring import ModuleKind, Outputs, Truth
from injections.source import Injection, SourceFile, replaced

REPOSITORY = Path(__file__).resolve().parents[2]
ROUNDING = 1e-10
"""As in `oracle_child.py`."""


def copied_tree(root: Path, target: Path) -> Path:
    """A copy of the package that may be edited."""
    if not (target / "fastvideo").is_dir():
        shutil.copytree(
            root / "fastvideo", target / "fastvideo", ignore=shutil.ignore_patterns("__pycache__")
        )
    return target


@contextmanager
def written(tree: Path, errors: Sequence[Injection]) -> Iterator[None]:
    """The tree with some errors, all in one file, for as long as the context lasts."""
    (path,) = {error.path for error in errors}
    file = tree / path
    clean = file.read_text(encoding="utf-8")
    _write(file, replaced(clean, [r for error in errors for r in error.replacements]))
    try:
        yield
    finally:
        _write(file, clean)


def _write(file: Path, text: str) -> None:
    """A new file each time, so that whoever watches it sees a change within the same second."""
    new = file.with_suffix(".new")
    new.write_text(text, encoding="utf-8")
    new.replace(file)


class NoAnswer(Exception):
    """The oracle's child was killed: what the errors do is not known."""


@dataclass(frozen=True)
class Clean:
    """What the clean port of a family runs and is made of."""

    files: tuple[SourceFile, ...]
    modules: Mapping[str, ModuleKind]


class Oracle:
    """One child process over a tree of its own. `folder`: for the outputs of clean ports."""

    def __init__(self, python: str, tree: Path, folder: Path, probe: Path = REPOSITORY) -> None:
        self.tree, self._folder, self._probe = tree, folder, probe
        folder.mkdir(parents=True, exist_ok=True)
        self._process = subprocess.Popen(
            [python, str(Path(__file__).with_name("oracle_child.py")), str(tree)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(probe), "OMP_NUM_THREADS": "1"},
        )
        self.ready = self._read()

    def close(self) -> None:
        """End the child."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(30)

    def clean(self, family: Family, seed: int = 0) -> Clean:
        """Run the clean port and keep its outputs. Raises RuntimeError where it does not run."""
        answer = self._ask(family, seed, record=True)
        if "executed" not in answer or not answer["finite"] or answer["refused"]:
            raise RuntimeError(f"{family.name}: the clean port does not run: {json.dumps(answer)[:2000]}")
        files = tuple(
            SourceFile(path, (self.tree / path).read_text(encoding="utf-8"), frozenset(lines))
            for path, lines in answer["executed"].items()
            if Path(path).name not in ("base.py", "__init__.py")
        )
        modules = {
            name: ModuleKind(frozenset(kind["classes"]), tuple((p, line) for p, line in kind["built_at"]))
            for name, kind in answer["modules"].items()
        }
        return Clean(files, modules)

    def truth(self, family: Family, errors: Sequence[Injection], seed: int = 0) -> Truth:
        """What the errors do, all at once. `clean` was called before with that seed. Raises NoAnswer."""
        with written(self.tree, errors):
            answer = self._ask(family, seed, record=False)
        refused = tuple(answer.get("refused", ()))
        if "raised" in answer:
            frames = tuple((path, line) for path, line in answer["raised"])
            if answer["raised_in"] == "bfloat16":
                return Truth("bfloat16", 0.0, refused, frames)
            return Truth("differ", 1e9, refused, frames)
        if "error" not in answer:
            raise NoAnswer(f"{family.name}: {answer}")
        return Truth(_outputs(answer), answer["error"], refused, loss=answer.get("loss"))

    def _ask(self, family: Family, seed: int, record: bool) -> dict[str, Any]:
        request = {
            "module": family.module,
            "class": family.cls,
            "official": family.official,
            "recipe": self._recipe(family),
            "seed": seed,
            "clean": str(self._folder / f"{family.name}-{seed}.pt"),
            "record": record,
        }
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return self._read()

    def _recipe(self, family: Family) -> str | None:
        folder = self._probe / "ditproof_probe" / "recipes"
        return None if family.recipe is None else str(folder / f"{family.recipe}.py")

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        while True:
            line = self._process.stdout.readline()
            if not line:
                raise RuntimeError(f"the oracle ended with {self._process.wait()}")
            if line.startswith("{"):
                answer: dict[str, Any] = json.loads(line)
                return answer


def _outputs(answer: Mapping[str, Any]) -> Outputs:
    """Values that are the same to the last bit in float64 and not in bfloat16 are a matter of casts; those
    that are the same to rounding alone were summed in another order, which bfloat16 shows too."""
    if answer["error"] >= ROUNDING:
        return "differ"
    return "bfloat16" if answer["error"] == 0.0 and answer["bfloat16"] > 0.0 else "same"
