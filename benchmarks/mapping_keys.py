"""What a key costs the language server while a mapping is typed whose names are known.

    python benchmarks/mapping_keys.py [--rounds N] [--json]

Rules are written key by key, and taken back, into a `param_names_mapping` of 40 rules in a copy of a real
tree; the port and its official model have 3,510 names each. The names come from an interpreter of our own
making (nothing is imported), everything else is the real server over standard input and output. At each key
an editor asks for diagnostics and for the hints of the whole mapping, and both are waited for; at a rest for
its lenses too. The round trip is that of the diagnostics, for which `ruff server` is asked in the same run.
CPU is that of the whole server process (Linux only).
"""

from __future__ import annotations

import argparse
import ast
import json
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from keystroke import find_file
from server_keys import BUDGET, BURST, OURS, PAUSE, RATIO, RUFF, SHORT_PAUSE, Client, Measured

CONFIG = "fastvideo/configs/models/dits/wanvideo.py"
MODEL = "WanTransformer3DModel"
RULES = 40
NAMES = 3510

SESSION = r"""
            r"^blocks\.(\d+)\.attn1\.to_q\.(.*)$": r"blocks.\1.to_queery⌫⌫⌫⌫ry.\2",
            r"^blocks\.(\d+)\.extra_⌫⌫⌫⌫⌫⌫attn3\.to_(q|k|v)\.(.*)$": (r"blocks.\1.to_qkv.\3", 0, 3),
            r"^(.*)_embedder\.linear_1\.(weight|bias)$": r"\1_embedder.fc_in.\2","""
"""One rule that shadows others, a merge, one that takes names of several others. `⌫` is a backspace.

Typed twice. Above the last rule as written: most states do not parse. Above the first rule, in an editor that
has a rule's quotes in place before the words: every state parses, and nearly every one takes names from the
rules below, which makes thousands of them wrong.
"""

_WORKER = """#!{python}
import json, sys
def say(message):
    print(json.dumps(dict(v=1, **message)), flush=True)
answer = json.load(open({answer!r}))
say(dict(kind="ready", python="3", torch="2", seconds=0.0))
for line in sys.stdin:
    request = json.loads(line)
    if request["kind"] == "state":
        say(dict(answer, kind="state", id=request["id"]))
"""


def mapping_in(text: str) -> tuple[ast.Dict, dict[str, str]]:
    """The display of `param_names_mapping`, and its rules."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == "param_names_mapping":
            display = next(inner for inner in ast.walk(node) if isinstance(inner, ast.Dict))
            return display, {
                ast.literal_eval(k): ast.literal_eval(v)
                for k, v in zip(display.keys, display.values, strict=True)
                if k
            }
    raise SystemExit(f"there is no mapping in {CONFIG}")


def longer(text: str) -> str:
    """The config with more rules of its kind, up to `RULES`."""
    display, rules = mapping_in(text)
    lines = text.split("\n")
    more = [
        f'            r"^blocks\\.(\\d+)\\.attn{n}\\.to_out\\.0\\.(.*)$": r"blocks.\\1.attn{n}.to_out.\\2",'
        for n in range(10, 10 + RULES - len(rules))
    ]
    at = (display.end_lineno or 0) - 1
    return "\n".join([*lines[:at], *more, *lines[at:]])


def names_for(rules: dict[str, str]) -> tuple[list[str], list[str]]:
    """Official names that the rules take, as many blocks of them as it needs, and what becomes of them."""
    stems = [pattern.removeprefix("^").removesuffix(r"\.(.*)$").replace(r"\.", ".") for pattern in rules]
    plain = [f"{stem}.{end}" for stem in stems if "(" not in stem for end in ("weight", "bias")]
    blocks = [stem for stem in stems if stem.count("(") == 1 and r"(\d+)" in stem]
    repeated = [f"{stem}.{end}" for stem in blocks for end in ("weight", "bias")]
    official = list(plain)
    block = 0
    while len(official) < NAMES:
        official += [
            name.replace(r"(\d+)", str(block)) for name in repeated if "(" not in name.replace(r"(\d+)", "")
        ]
        block += 1
    official = official[:NAMES]
    return official, [_renamed(name, rules) for name in official]


def _renamed(name: str, rules: dict[str, str]) -> str:
    for pattern, target in rules.items():
        if re.match(pattern, name):
            return re.sub(pattern, target, name)
    return name


def states(text: str) -> Iterator[str]:
    """The text after each key of the session typed at the end of the mapping, then as it was."""
    display, _ = mapping_in(text)
    for typed in _typed(SESSION):
        yield _with(text, (display.values[-1].end_lineno or 0) - 1, typed)
    yield text


def states_above(text: str) -> Iterator[str]:
    """The text while the session's rules are typed between quotes that stand already, above all others."""
    display, _ = mapping_in(text)
    first = display.keys[0]
    assert first is not None
    for pattern, target in re.findall(r'r"([^"]*)": \(?r"([^"]*)"', SESSION):
        for written in _typed(pattern):
            yield _with(text, first.lineno - 1, f'            r"{written}": r"",')
        *_, pattern = _typed(pattern)
        for written in _typed(target):
            yield _with(text, first.lineno - 1, f'            r"{pattern}": r"{written}",')
    yield text


def _typed(keys: str) -> Iterator[str]:
    typed = ""
    for key in keys:
        typed = typed[:-1] if key == "⌫" else typed + key
        yield typed


def _with(text: str, line: int, typed: str) -> str:
    lines = text.split("\n")
    return "\n".join([*lines[:line], *typed.removeprefix("\n").split("\n"), *lines[line:]])


def prepared(scratch: Path) -> tuple[Path, Path, str]:
    """A tree with the longer mapping, the interpreter that knows its names, and the config's text."""
    source = find_file().parents[3]
    root = scratch / "tree"
    shutil.copytree(source / "fastvideo", root / "fastvideo")
    (root / "ditproof.toml").write_text(f'[oracles]\n{MODEL} = "diffusers:{MODEL}"\n')
    text = longer((root / CONFIG).read_text(encoding="utf-8"))
    (root / CONFIG).write_text(text, encoding="utf-8")
    _, rules = mapping_in(text)
    official, native = names_for(rules)

    def side(names: list[str]) -> dict[str, object]:
        blank: dict[str, object] = {
            "mapping": None,
            "reverse": None,
            "lora": None,
            "ignored": [],
            "config": {},
            "parameters": 1,
        }
        tensors = [[name, [8, 8], "BF16", ""] for name in dict.fromkeys(names)]
        return {"source": MODEL, "class": MODEL, "path": None, "line": None, "tensors": tensors, **blank}

    answer = scratch / "answer.json"
    told = {"port": side(native), "official": side(official), "dropped": [], "gated": [], "files": []}
    answer.write_text(json.dumps({**told, "problems": [], "seconds": 0.0}))
    python = scratch / "python"
    python.write_text(_WORKER.format(python=sys.executable, answer=str(answer)))
    python.chmod(0o755)
    return root, python, text


def until_proven(client: Client) -> str:
    """Waits for the lens that tells the verdict."""
    for _ in range(200):
        titles = [str(lens["command"]["title"]) for lens in client.about_file("textDocument/codeLens")]
        told = [title for title in titles if "keys proven" in title]
        if told:
            return told[0]
        time.sleep(0.1)
    raise SystemExit(f"the mapping was not proven: {titles}")


def measure(ours: Client, ruff: Client, texts: list[str]) -> tuple[Measured, Measured]:
    """Types every text into both, and asks ours for what an editor shows."""
    measured, rival = Measured(), Measured()
    whole = {"start": {"line": 0, "character": 0}, "end": {"line": 100000, "character": 0}}
    before = ours.cpu()
    for number, text in enumerate(texts, start=1):
        begin = time.perf_counter()
        ruff.type(text)
        rival.round_trip.append((time.perf_counter() - begin) * 1000)
        begin = time.perf_counter()
        ours.type(text)
        measured.round_trip.append((time.perf_counter() - begin) * 1000)
        ours.about_file("textDocument/inlayHint", range=whole)
        time.sleep(SHORT_PAUSE)
        now = ours.cpu()
        measured.cpu.append(now - before)
        before = now
        if number % BURST == 0:
            time.sleep(PAUSE)
            ours.diagnostics()
            ours.about_file("textDocument/codeLens")
            now = ours.cpu()
            measured.rest.append(now - before)
            before = now
    return measured, rival


@dataclass(frozen=True)
class Typed:
    """What one way of typing cost."""

    keys: int
    ours: Measured
    ruff: Measured

    def summary(self) -> dict[str, float]:
        numbers = self.ours.summary()
        ratio = numbers["round_trip_p95_ms"] / self.ruff.summary()["round_trip_p95_ms"]
        return {"keys": self.keys, **numbers, "worst_ms": max(self.ours.cpu), "round_trip_in_ruffs": ratio}


def run(rounds: int) -> tuple[str, dict[str, Typed]]:
    """What is proven, and what each way of typing cost."""
    with tempfile.TemporaryDirectory(prefix="ditproof-benchmark-") as folder:
        scratch = Path(folder).resolve()
        root, python, text = prepared(scratch)
        settings = {"trusted": True, "python": str(python)}
        ours = Client(OURS, root, scratch / "cache", pull=True, file=CONFIG, settings=settings)
        ruff = Client(RUFF, root, scratch / "cache", pull=True, file=CONFIG)
        for client in (ours, ruff):
            client.open(text)
        ours.until_indexed()
        proven = until_proven(ours)
        ruff.diagnostics()
        found = {}
        ways = {"at the end": list(states(text)), "above all rules": list(states_above(text))}
        for way, texts in ways.items():
            time.sleep(PAUSE)
            measured, rival = measure(ours, ruff, texts)
            for _ in range(rounds - 1):
                time.sleep(PAUSE)
                again, of_rival = measure(ours, ruff, texts)
                measured, rival = measured.better(again), rival.better(of_rival)
            found[way] = Typed(len(texts), measured, rival)
        for client in (ours, ruff):
            client.close()
    return proven, found


def main() -> None:
    parser = argparse.ArgumentParser(description="What a key in a mapping costs the language server.")
    parser.add_argument("--rounds", type=int, default=2, help="each key counts with its best of so many")
    parser.add_argument("--json", action="store_true", help="the numbers as JSON")
    options = parser.parse_args()
    proven, found = run(options.rounds)
    numbers = {way: typed.summary() for way, typed in found.items()}
    if options.json:
        print(json.dumps({"rules": RULES, "proven": proven, **numbers}, indent=2))
        return
    print(f"a mapping of {RULES} rules: {proven}")
    for way, of_way in numbers.items():
        kept = "kept" if of_way["cpu_p95_ms"] <= BUDGET else "MISSED"
        print(f"  {of_way['keys']:.0f} keys {way}")
        print(
            f"    CPU {of_way['cpu_median_ms']:.1f} ms median, {of_way['cpu_p95_ms']:.1f} at the 95th "
            f"percentile (budget {BUDGET:g} {kept}), {of_way['worst_ms']:.1f} at worst; "
            f"a rest {of_way['rest_median_ms']:.1f} ms"
        )
        print(
            f"    diagnostics after {of_way['round_trip_p95_ms']:.1f} ms at the 95th percentile, "
            f"{of_way['round_trip_in_ruffs']:.1f} times ruff's (budget {RATIO:g})"
        )


if __name__ == "__main__":
    main()
