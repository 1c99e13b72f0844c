"""What `ditproof check` costs on FastVideo's DiT folder, against ruff and transformers-mlinter.

    python benchmarks/check.py [--rounds N] [--mlinter PROGRAM] [--json]

CPU time of whole processes, start-up included, all in one run; each counts with its best round.
`transformers-mlinter` is not one of our dependencies: unless `--mlinter` names it, it is installed
into a folder of its own under the system's temporary folder, and left out (with a word) where that
is not possible.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import venv
from collections.abc import Sequence
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
MLINTER = "transformers-mlinter==0.1.5"
DITS = "fastvideo/models/dits"


def cpu_of(command: Sequence[str], folder: Path) -> float:
    """Seconds of CPU (user and system) of a command; its findings do not matter, a crash does."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode not in (0, 1):
        raise SystemExit(f"{' '.join(command[:4])} ... failed with {done.returncode}:\n{done.stderr[-2000:]}")
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def install_mlinter(folder: Path) -> Path | None:
    """mlinter in an environment of its own; None where it cannot be had."""
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    done = subprocess.run(
        [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", MLINTER],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        print(f"{MLINTER} cannot be installed, so it is left out: {done.stderr[-300:]}", file=sys.stderr)
        return None
    return folder / "bin" / "mlinter"


def commands(mlinter: Path | None, renamed: Path) -> dict[str, list[str]]:
    """What is run, by name."""
    ditproof = [sys.executable, "-c", "from lsp_server.cli import main; main()", "check", DITS]
    ruff = [sys.executable, "-m", "ruff", "check", "--no-cache", "--isolated", "--quiet", DITS]
    found = {"ditproof, cold": [*ditproof, "--no-cache"], "ditproof, cached": ditproof, "ruff": ruff}
    if mlinter is not None:
        found["mlinter"] = [str(mlinter), "--no-cache", "--no-progress", str(renamed)]
    return found


def rename_for_mlinter(root: Path, folder: Path) -> Path:
    """Copies of the DiT files under names that mlinter's rules apply to (`modeling_*.py`)."""
    folder.mkdir()
    for path in sorted((root / DITS).rglob("*.py")):
        name = path.relative_to(root / DITS).as_posix().replace("/", "_")
        (folder / f"modeling_{name}").write_bytes(path.read_bytes())
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description="What `ditproof check` costs.")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--mlinter", type=Path, help="the mlinter program")
    parser.add_argument("--json", action="store_true", help="the numbers as JSON")
    options = parser.parse_args()
    root = Path(os.environ.get("DITPROOF_REAL_FASTVIDEO", REPOSITORY / ".real" / "fastvideo-0.2.1"))
    if not (root / DITS).is_dir():
        raise SystemExit(f"there is no {DITS} in {root}: run `make setup` first")
    with tempfile.TemporaryDirectory(prefix="ditproof-benchmark-") as scratch:
        mlinter = options.mlinter or install_mlinter(Path(scratch) / "mlinter")
        renamed = rename_for_mlinter(root, Path(scratch) / "renamed")
        seconds: dict[str, float] = {}
        for turn in range(options.rounds):
            for name, command in commands(mlinter, renamed).items():
                if turn == 0 and name == "ditproof, cached":
                    cpu_of(command, root)  # fills the cache
                spent = cpu_of(command, root)
                seconds[name] = min(spent, seconds.get(name, spent))
    cold = seconds["ditproof, cold"]
    ratios = {name: spent / cold for name, spent in seconds.items() if name != "ditproof, cold"}
    if options.json:
        print(json.dumps({"cpu_seconds": seconds, "times_ours_cold": ratios}, indent=2))
        return
    print(f"check of {DITS}, CPU of the whole process")
    for name, spent in seconds.items():
        print(f"  {name:17} {spent:6.2f} s")
    print(f"  ditproof cold costs {1 / ratios['ruff']:.1f} times ruff (budget 15)")
    if "mlinter" in ratios:
        print(f"  mlinter costs {ratios['mlinter']:.1f} times ditproof cold (budget: at least 10)")
    print(f"  cached {seconds['ditproof, cached']:.2f} s (budget 0.5)")


if __name__ == "__main__":
    main()
