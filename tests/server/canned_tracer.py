"""A project's interpreter whose small models are two lines of the file that a test saves.

It answers for the meta worker: the names of `canned_worker`, and a tiny comparison in which the sound port's
one layer differs as long as its file says `bias=False` or `eps=1e-05`, and its forward raises as long as it
says `raise`. Of the epsilon, which is 1e-06 on the official side, it knows the operations. An edit that it
is asked to try waits as long as `hold_trials` says.
What the real instrument measures, tests/probe and the trace of the real Wan show.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

_PROGRAM = """#!{python}
import json, os, pathlib, sys, threading, time
folder = pathlib.Path({folder!r})
ended = set()
texts = dict()
LAYER = "blocks.0.to_q"

def say(**message):
    sys.stdout.write(json.dumps(dict(v=1, **message)) + "\\n")
    sys.stdout.flush()

def note(request):
    with (folder / "requests").open("a") as requests:
        requests.write(json.dumps(request) + "\\n")

def held(number, name="hold"):
    while (folder / name).exists() and number not in ended:
        time.sleep(0.02)
    return number in ended

def line_with(text, words):
    return next((n for n, line in enumerate(text.split("\\n")) if words in line), 0)

def module(name, path, text, layer):
    cls = "Linear" if name else "Model"
    built = [[path, line_with(text, "self.to_q"), "__init__"]] if name else []
    return dict(name=name, cls=cls, path=path, line=1, built_at=built, settings=dict(),
                parameters=["weight"] if name else ["scale"])

def side(cls, path, text):
    modules = [module("", path, text, None), module(LAYER, path, text, LAYER)]
    return dict(modules=modules, path=path, line=1, config=dict(), **dict([("class", cls)]))

def tap(label, value):
    return dict(label=label, value=value, shape=[2, 4], dtype="float32", norm=1.0, minimum=-1.0, maximum=1.0,
                nonfinite=0)

def calls():
    inner = dict(number=1, module=LAYER, index=0, parent=0, inputs=[tap("x", 0)], outputs=[tap("out", 1)],
                 site=None)
    # What the model returns is made of the layer's value, and is another one.
    return [dict(inner, number=0, module="", parent=None, outputs=[tap("out", 2)]), inner]

def outputs(error):
    return [dict(official="out", native="out", max_abs=error, mean_abs=error, rel_l2=error,
                 shapes=[[2, 4], [2, 4]], dtypes=["float32", "float32"], nonfinite=[0, 0])]

def reading(pair, error, replace):
    name, _, end, _ = pair["native"]
    # What is put right at the layer arrives right at the end.
    wrong = error if end == "out" and (name == LAYER or replace is False) else 0.0
    return dict(pair=pair["number"], status="compared", error=wrong, plain_error=wrong, max_abs=wrong,
                norm=1.0, floor=1e-7, layout=None, reorders=False, dtypes=["float32", "float32"],
                shapes=[[2, 4], [2, 4]], nonfinite=[0, 0], replaced=True)

def build(request):
    number, port = request["id"], request["port"]
    path = os.path.join(os.getcwd(), port["path"])
    overlay = request.get("overlay") or dict()
    text = texts[number] = overlay.get(path) or pathlib.Path(path).read_text()
    say(kind="progress", id=number, stage="building the port")
    if held(number) or (overlay and held(number, "hold-trials")):
        return
    # A parameter of the model's own: else the layer is told from the model around it by nothing.
    filled = [["scale", ["scale"]], [LAYER + ".weight", [LAYER + ".weight"]]]
    value = dict(official=side("SoundTransformer", "/site-packages/official.py", ""),
                 native=side(port["class"], path, text), fillings=filled, missing=[], unexpected=[],
                 cases=["plain"], dropped=[], shapes=[], filled=[], recipe=request["recipe"], problems=[],
                 files=[path, os.path.join(os.getcwd(), "fastvideo/layers/linear.py")], seconds=0.1)
    say(kind="answer", id=number, n=0, value=value)

def problem(path, line):
    return dict(side="port", stage="forward", type="ValueError", message="too late", missing=None, path=path,
                line=line, next_step=None)

def reply(request):
    number, n, ask = request["id"], request["n"], request["ask"]
    text = texts.get(number, "")
    error = 0.25 if "bias=False" in text or "eps=1e-05" in text else 0.0
    to = dict(kind="answer", id=number, n=n)
    if ask == "end":
        say(kind="ended", id=number, problem=None, seconds=0.1)
    elif ask == "observe":
        path = os.path.join(os.getcwd(), "fastvideo/models/dits/sound.py")
        raised = problem(path, line_with(text, "raise")) if "raise" in text else None
        say(**to, value=dict(official=dict(calls=calls(), error=None),
                             native=dict(calls=calls(), error=raised), outputs=outputs(error)))
    elif ask == "lockstep":
        low = request["arguments"]["dtype"] != "float32"
        pairs, replace = request["arguments"]["pairs"], request["arguments"]["replace"]
        say(**to, value=dict(readings=[reading(p, 0.0 if low else error, replace) for p in pairs],
                             outputs=outputs(error), error=None))
    elif "eps=1e-05" in text:
        goal, path = request["arguments"]["goal"], os.path.join(os.getcwd(), "fastvideo/models/dits/sound.py")
        say(**to, value=dict(pair=goal, official=slice_of("/site-packages/official.py", 1, "1e-06"),
                             native=slice_of(path, line_with(text, "self.to_q("), "1e-05"),
                             same=[dict(official=0, native=0, layout=None, error=0.0)]))
    else:
        say(**to, problem=dict(problem(None, None), stage="trace", message="no operations here"))

def slice_of(path, line, eps):
    operand = dict(value=None, variable=None, constant=None, keyword=None, held=[])
    operands = [dict(operand, value=0, variable="x", held=["x"]), dict(operand, constant=eps, keyword="eps")]
    value = dict(maker=None, name="x", shape=[2, 4], dtype="float32", norm=4.0, nonfinite=0)
    operation = dict(number=0, name="aten.layer_norm.default", operands=operands, outputs=[1], module=LAYER,
                     stack=[[path, line, "forward"]])
    return dict(goal=1, operations=[operation],
                values=[dict(value, number=0, source="input"),
                        dict(value, number=1, source="op", maker=0, name=None)])

def state(request):
    if not held(request["id"]):
        say(**dict(json.loads((folder / "answer.json").read_text()), kind="state", id=request["id"]))

def work(request):
    note(request)
    say(kind="progress", id=request["id"], stage="importing torch")
    (build if request["kind"] == "tiny" else state)(request)

say(kind="ready", python="3.11", torch="2.13", seconds=0.1)
for line in sys.stdin:
    request = json.loads(line)
    if request["kind"] == "cancel":
        ended.add(request["id"])
        say(kind="ended", id=request["id"], problem=None, seconds=0.1)
    elif request["kind"] == "ask":
        reply(request)
    else:
        threading.Thread(target=work, args=(request,), daemon=True).start()
"""


class CannedTracer:
    """The interpreter (`python`), and what it was asked to build (`requests`, without the asks)."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        self.python = folder / "python"
        self.python.write_text(_PROGRAM.format(python=sys.executable, folder=str(folder)))
        self.python.chmod(0o755)
        tensors = [["blocks.0.to_q.weight", [64, 64], "BF16", ""]]
        side = {"path": None, "line": None, "tensors": tensors, "config": {}, "parameters": 1}
        side |= {"mapping": None, "reverse": None, "lora": None, "ignored": []}
        port = {"source": "SoundTransformer3DModel", "class": "SoundTransformer3DModel", **side}
        official = {"source": "official:SoundTransformer", "class": "SoundTransformer", **side}
        told = {"port": port, "official": official, "dropped": [], "gated": [], "files": [], "problems": []}
        (folder / "answer.json").write_text(json.dumps({**told, "seconds": 0.1}))

    @property
    def requests(self) -> list[dict[str, Any]]:
        file = self.folder / "requests"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    @property
    def kinds(self) -> list[str]:
        """What was asked, in order: `state` for names, `tiny` for a trace."""
        return [request["kind"] for request in self.requests]

    @property
    def trials(self) -> int:
        """So many edits were tried."""
        return sum(bool(request.get("overlay")) for request in self.requests)

    def hold(self, on: bool) -> None:
        """Whether an answer lets itself be waited for."""
        self._hold("hold", on)

    def hold_trials(self, on: bool) -> None:
        """Whether the answer about an edit that is tried does."""
        self._hold("hold-trials", on)

    def _hold(self, name: str, on: bool) -> None:
        if on:
            (self.folder / name).touch()
        else:
            (self.folder / name).unlink()
