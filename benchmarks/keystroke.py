"""What a key costs: facts of a file while someone types in the largest class of a real DiT.

    python benchmarks/keystroke.py [--rounds N] [--json]

A session that was recorded once (`SESSION` below, backspaces included) is typed into
`fastvideo/models/dits/ltx2.py`. For each state of the text the CPU time is taken of

* ours: `FileAnalysis.update` and the facts that rules ask for first,
* whole: `ast.parse` of the whole file and the same extraction,
* tree-sitter: a parse of the whole file, incremental parsing not used (its edits are not known here).

All in one process and one run; what matters is the ratio. The budget is for ours alone.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import tree_sitter
import tree_sitter_python

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY))

from analyzers.facts.extract import extract_tree  # noqa: E402
from analyzers.facts.file import FileAnalysis  # noqa: E402
from analyzers.facts.model import FileFacts  # noqa: E402

BUDGET = 11.0
"""Milliseconds of CPU at the 95th percentile: the server's whole work on a key may take 15."""

FILE = "fastvideo/models/dits/ltx2.py"
BACKSPACE = "\b"

SESSION = '''
    def _apply_gate(self, hidden_stats\b\b\btates: torch.Tensor, scale: float = 1.0) -> torch.Tensor:
        """Gates (and scales) the hidden states: `x * (1 + g)`."""
        gate = torch.sigmoid(self.gate_proj(hidden_states)[..., None] * scale)
        if self.training and not isinstance(gate, torch.Tenso\b\b\b\b\bTensor):
            raise TypeError(f"expected a tensor, got {type(gate)!r}")
        outputs = {"gate": gate, 'scaled': [g * scale for g in gate.unbind(-1)]}
        query, _ = self.to_q(hidden_states)  # a tuple
        return query * (1 + outputs["gate"])
'''
"""Typed above the second method of the class, key by key."""


def states(text: str) -> Iterator[str]:
    """The text after each key of the session."""
    classes = [n for n in ast.parse(text).body if isinstance(n, ast.ClassDef)]
    largest = max(classes, key=lambda n: (n.end_lineno or n.lineno) - n.lineno)
    methods = [n for n in largest.body if isinstance(n, ast.FunctionDef)]
    lines = text.split("\n")
    begin = methods[1].lineno - 2
    before, after = "\n".join(lines[:begin]), "\n".join(lines[begin:])
    typed = ""
    for key in SESSION:
        typed = typed[:-1] if key == BACKSPACE else typed + key
        yield before + typed + after


def ours(path: str, text: str) -> Callable[[str], bool]:
    """The analysis of a session; tells whether a state is broken."""
    analysis = FileAnalysis(path)
    ask(analysis.update(text))

    def update(state: str) -> bool:
        return ask(analysis.update(state))

    return update


def ask(facts: FileFacts) -> bool:
    """What every rule begins with."""
    assert facts.classes
    assert facts.aliases is not None
    assert facts.comments is not None
    return facts.broken


def whole(state: str) -> bool:
    """The file without chunks: nothing is known where it does not parse."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            extract_tree(ast.parse(state), state)
        except SyntaxError:
            return True
    return False


def tree_sitter_parse() -> Callable[[str], bool]:
    """tree-sitter on the whole file."""
    parser = tree_sitter.Parser(tree_sitter.Language(tree_sitter_python.language()))
    return lambda state: parser.parse(state.encode()).root_node.has_error


def measured(run: Callable[[str], bool], texts: list[str]) -> tuple[list[float], int]:
    """Milliseconds of CPU of each state, and how many states were broken."""
    times = []
    broken = 0
    for text in texts:
        begin = time.process_time()
        broken += run(text)
        times.append((time.process_time() - begin) * 1000)
    return times, broken


def percentile(times: list[float], share: float) -> float:
    ordered = sorted(times)
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)]


def find_file() -> Path:
    """The real file; ends the run where it is not there."""
    root = Path(os.environ.get("DITPROOF_REAL_FASTVIDEO", REPOSITORY / ".real" / "fastvideo-0.2.1"))
    if not (root / FILE).is_file():
        raise SystemExit(f"there is no {FILE} in {root}: run `make setup` first")
    return root / FILE


def main() -> None:
    parser = argparse.ArgumentParser(description="What a key costs.")
    parser.add_argument("--rounds", type=int, default=3, help="each key counts with its best of so many")
    parser.add_argument("--json", action="store_true", help="the numbers as JSON")
    options = parser.parse_args()
    text = find_file().read_text(encoding="utf-8")
    texts = list(states(text))
    best: dict[str, list[float]] = {}
    broken = 0
    for _ in range(options.rounds):
        for name, run in (("ours", ours(FILE, text)), ("whole", whole), ("tree-sitter", tree_sitter_parse())):
            times, count = measured(run, texts)
            if name == "ours":
                broken = count
            best[name] = [min(a, b) for a, b in zip(best.get(name, times), times, strict=True)]
    result = {
        name: {
            "median_ms": round(percentile(times, 0.5), 2),
            "p95_ms": round(percentile(times, 0.95), 2),
            "max_ms": round(max(times), 2),
        }
        for name, times in best.items()
    }
    mine = percentile(best["ours"], 0.95)
    ratios = {
        name: round(percentile(times, 0.95) / mine, 2) for name, times in best.items() if name != "ours"
    }
    if options.json:
        print(
            json.dumps({"keys": len(texts), "broken": broken, "cpu": result, "times_ours": ratios}, indent=2)
        )
    else:
        print(f"{len(texts)} keys in {FILE}, {broken / len(texts):.0%} of the states do not parse")
        for name, numbers in result.items():
            print(
                f"  {name:12} "
                + "  ".join(f"{k.removesuffix('_ms')} {v:6.2f} ms" for k, v in numbers.items())
            )
        print(
            "  at the 95th percentile: " + ", ".join(f"{n} costs {r} times ours" for n, r in ratios.items())
        )
        print(f"  budget {BUDGET} ms: {'kept' if mine <= BUDGET else 'MISSED'}")


if __name__ == "__main__":
    main()
