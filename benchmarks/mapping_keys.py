"""What a key costs the language server while a mapping is typed whose names are known.

    python benchmarks/mapping_keys.py [--rounds N] [--json]

Rules are written key by key, and taken back, into a `param_names_mapping` of 40 rules in a copy of a real
tree; the port and its official model have 3,510 names each. The names come from an interpreter of our own
making (nothing is imported), everything else is the real server over standard input and output. At each key
an editor asks for diagnostics and for the hints of the whole mapping, and both are waited for; at a rest for
its lenses too. CPU is that of the whole server process (Linux only).
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
from pathlib import Path

from keystroke import BACKSPACE, find_file, percentile
from server_keys import BUDGET, BURST, OURS, PAUSE, SHORT_PAUSE, Client, Measured

CONFIG = "fastvideo/configs/models/dits/wanvideo.py"
MODEL = "WanTransformer3DModel"
RULES = 40
NAMES = 3510

SESSION = r"""
            r"^blocks\.(\d+)\.attn1\.to_q\.(.*)$": r"blocks.\1.to_queery⌫⌫⌫⌫ry.\2",
            r"^blocks\.(\d+)\.extra_⌫⌫⌫⌫⌫⌫attn3\.to_(q|k|v)\.(.*)$": (r"blocks.\1.to_qkv.\3", 0, 3),
            r"^(.*)_embedder\.linear_1\.(weight|bias)$": r"\1_embedder.fc_in.\2",""".replace(r"⌫", BACKSPACE)
"""Typed above the last rule: one that shadows others, a merge, one that takes names of several others."""

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
    """The text after each key of the session, then as it is taken back at once."""
    display, _ = mapping_in(text)
    lines = text.split("\n")
    at = (display.values[-1].end_lineno or 0) - 1
    before, after = "\n".join(lines[:at]), "\n".join(lines[at:])
    typed = ""
    for key in SESSION:
        typed = typed[:-1] if key == BACKSPACE else typed + key
        yield f"{before}{typed}\n{after}"
    yield text


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
        blank = {"mapping": None, "reverse": None, "lora": None, "ignored": [], "config": {}, "parameters": 1}
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


def measure(client: Client, texts: list[str]) -> Measured:
    """Types every text, and asks for what an editor shows."""
    measured = Measured()
    whole = {"start": {"line": 0, "character": 0}, "end": {"line": 100000, "character": 0}}
    before = client.cpu()
    for number, text in enumerate(texts, start=1):
        begin = time.perf_counter()
        client.type(text)
        client.about_file("textDocument/inlayHint", range=whole)
        measured.round_trip.append((time.perf_counter() - begin) * 1000)
        time.sleep(SHORT_PAUSE)
        now = client.cpu()
        measured.cpu.append(now - before)
        before = now
        if number % BURST == 0:
            time.sleep(PAUSE)
            client.diagnostics()
            client.about_file("textDocument/codeLens")
            now = client.cpu()
            measured.rest.append(now - before)
            before = now
    return measured


def run(rounds: int) -> tuple[str, int, Measured]:
    """What is proven, how many keys there were, and what each cost."""
    with tempfile.TemporaryDirectory(prefix="ditproof-benchmark-") as folder:
        scratch = Path(folder).resolve()
        root, python, text = prepared(scratch)
        settings = {"trusted": True, "python": str(python)}
        client = Client(OURS, root, scratch / "cache", pull=True, file=CONFIG, settings=settings)
        client.open(text)
        client.until_indexed()
        proven = until_proven(client)
        texts = list(states(text))
        time.sleep(PAUSE)
        measured = measure(client, texts)
        for _ in range(rounds - 1):
            time.sleep(PAUSE)
            measured = measured.better(measure(client, texts))
        client.close()
    return proven, len(texts), measured


def main() -> None:
    parser = argparse.ArgumentParser(description="What a key in a mapping costs the language server.")
    parser.add_argument("--rounds", type=int, default=2, help="each key counts with its best of so many")
    parser.add_argument("--json", action="store_true", help="the numbers as JSON")
    options = parser.parse_args()
    proven, keys, measured = run(options.rounds)
    numbers = measured.summary()
    kept = numbers["cpu_p95_ms"] <= BUDGET
    if options.json:
        print(json.dumps({"keys": keys, "rules": RULES, "proven": proven, **numbers}, indent=2))
        return
    print(f"{keys} keys in a mapping of {RULES} rules: {proven}")
    shown = "  ".join(f"{k.removesuffix('_ms').replace('_', ' ')} {v:6.1f}" for k, v in numbers.items())
    print(f"  {shown} ms")
    print(
        f"  budget {BUDGET:g} ms of CPU at the 95th percentile {'kept' if kept else 'MISSED'}"
        f" (worst {percentile(measured.cpu, 1.0):.1f} ms)"
    )


if __name__ == "__main__":
    main()
