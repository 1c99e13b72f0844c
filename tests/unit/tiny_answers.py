"""A worker whose tiny session answers from a table: what the driver makes of each answer is tested here.

The models have one projection each, `proj` and `to_out`, which the weights align.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from lsp_server.checks.meta import AskFailed, OnStage, TinyRequest
from lsp_server.checks.state_records import read_problem

PORT_FILE = "fastvideo/models/dits/sound.py"
SMALL, LARGE = 1e-7, 1e-2

Answer = dict[str, Any]
Rule = Callable[[Mapping[str, Any]], Answer | None]


def problem(side: str, stage: str, message: str, **known: Any) -> Answer:
    """A problem as the probe writes it."""
    blank = {"missing": None, "path": None, "line": None, "next_step": None}
    return {"side": side, "stage": stage, "type": "RuntimeError", "message": message, **blank, **known}


def module(name: str, cls: str, root: str, parameters: tuple[str, ...] = ()) -> Answer:
    """One module of `BUILT`."""
    return {
        "name": name,
        "cls": cls,
        "path": f"{root}/{PORT_FILE}",
        "line": 0,
        "built_at": [[f"{root}/{PORT_FILE}", 3, "__init__"]],
        "parameters": list(parameters),
        "settings": {},
    }


def built(root: str, cases: tuple[str, ...] = ("plain", "batch"), **changes: Any) -> Answer:
    """What is built of the two models."""
    sides = {
        side: {
            "modules": [module("", "Sound", root), module(leaf, "Linear", root, ("weight",))],
            "class": "Sound",
            "path": f"{root}/{PORT_FILE}",
            "line": 0,
            "config": {"num_layers": 2},
        }
        for side, leaf in (("official", "to_out"), ("native", "proj"))
    }
    return {
        **sides,
        "fillings": [["proj.weight", ["to_out.weight"]]],
        "missing": [],
        "unexpected": [],
        "cases": list(cases),
        "dropped": [["qk_norm", "null"]],
        "shapes": [],
        "filled": [],
        "recipe": "sound",
        "problems": [],
        "files": [f"{root}/{PORT_FILE}", "/elsewhere/torch.py"],
        "seconds": 0.1,
        **changes,
    }


def tap(label: str, value: int) -> Answer:
    """A tap that is alike on both sides."""
    return {
        "label": label,
        "value": value,
        "shape": [2, 8],
        "dtype": "float32",
        "norm": 4.0 + value,
        "minimum": -1.0,
        "maximum": 1.0,
        "nonfinite": 0,
    }


def calls(leaf: str) -> list[Answer]:
    """The model's call and its projection's."""
    model = {"number": 0, "module": "", "index": 0, "parent": None, "site": None}
    inner = {"number": 1, "module": leaf, "index": 0, "parent": 0, "site": ["/x.py", 4, "forward"]}
    return [
        {**model, "inputs": [tap("hidden_states", 0)], "outputs": [tap("out", 2)]},
        {**inner, "inputs": [tap("input", 0)], "outputs": [tap("out", 1)]},
    ]


def output(error: float) -> Answer:
    """The models' output, so far apart."""
    return {
        "official": "out",
        "native": "out",
        "max_abs": error,
        "mean_abs": error,
        "rel_l2": error,
        "shapes": [[2, 8], [2, 8]],
        "dtypes": ["float32", "float32"],
        "nonfinite": [0, 0],
    }


@dataclass
class TinyAnswers:
    """What the session answers. `wrong`: where and in which cases the port's projection differs."""

    root: str
    wrong: frozenset[str] = frozenset()
    built: Answer = field(default_factory=dict)
    unbuildable: dict[str, Answer] = field(default_factory=dict)
    raising: dict[tuple[str, str], Answer] = field(default_factory=dict)
    failing: dict[tuple[str, str], Answer] = field(default_factory=dict)
    error: Exception | None = None
    malformed: str | None = None
    requests: list[TinyRequest] = field(default_factory=list)
    asked: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    @asynccontextmanager
    async def tiny(self, request: TinyRequest, on_stage: OnStage | None = None) -> AsyncIterator[_Session]:
        """As `MetaWorker.tiny`."""
        self.requests.append(request)
        if on_stage is not None:
            on_stage("building the port")
        if self.error is not None:
            raise self.error
        told = self.unbuildable.get(request.official or "")
        if told is not None:
            raise AskFailed(read_problem(told, self.root), over=True)
        yield _Session(self)

    def answer(self, ask: str, arguments: dict[str, Any]) -> Answer:
        """The answer to one ask."""
        self.asked.append((ask, arguments))
        case = arguments["case"]
        told = self.failing.get((ask, case))
        if told is not None:
            raise AskFailed(read_problem(told, self.root))
        if ask == self.malformed:
            return {"readings": "none"}
        if ask == "observe":
            return self._observation(case)
        if ask == "lockstep":
            key = (arguments["dtype"], case)
            readings = [self._reading(pair, case) for pair in arguments["pairs"]]
            return {
                "readings": readings,
                "outputs": [],
                "error": self.raising.get(key),
                "floors_error": self.raising.get(("floors", case)),
            }
        return self._operations(arguments["goal"])

    def _observation(self, case: str) -> Answer:
        error = LARGE if case in self.wrong else 0.0
        sides = {
            side: {"calls": calls(leaf), "error": self.raising.get((side, case))}
            for side, leaf in (("official", "to_out"), ("native", "proj"))
        }
        return {**sides, "outputs": [output(error)]}

    def _reading(self, pair: Mapping[str, Any], case: str) -> Answer:
        wrong = case in self.wrong and pair["native"][0] == "proj" and pair["native"][2] == "out"
        error = LARGE if wrong else 0.0
        return {
            "pair": pair["number"],
            "status": "compared",
            "error": error,
            "plain_error": error,
            "max_abs": error,
            "norm": 1.0,
            "floor": SMALL,
            "layout": None,
            "reorders": False,
            "dtypes": ["float32", "float32"],
            "shapes": [[2, 8], [2, 8]],
            "nonfinite": [0, 0],
            "replaced": True,
        }

    def _operations(self, goal: int) -> Answer:
        """The port's projection takes another constant."""
        return {
            "pair": goal,
            "official": _slice(self.root, "1e-06"),
            "native": _slice(self.root, "1e-05"),
            "same": [{"official": 0, "native": 0, "layout": None, "error": 0.0}],
        }


class _Session:
    def __init__(self, answers: TinyAnswers) -> None:
        self.answers = answers
        self.built = answers.built or built(answers.root)

    async def ask(self, ask: str, **arguments: Any) -> Answer:
        return self.answers.answer(ask, arguments)

    async def end(self) -> None:
        self.answers.asked.append(("end", {}))


def _slice(root: str, eps: str) -> Answer:
    value = {"maker": None, "name": "x", "shape": [2, 8], "dtype": "float32", "norm": 4.0, "nonfinite": 0}
    operand = {"value": None, "variable": None, "constant": None, "keyword": None, "held": []}
    return {
        "goal": 1,
        "operations": [
            {
                "number": 0,
                "name": "aten.layer_norm.default",
                "operands": [
                    {**operand, "value": 0, "variable": "x", "held": ["x"]},
                    {**operand, "constant": eps, "keyword": "eps"},
                ],
                "outputs": [1],
                "module": "proj",
                "stack": [[f"{root}/{PORT_FILE}", 4, "forward"]],
            }
        ],
        "values": [
            {**value, "number": 0, "source": "input"},
            {**value, "number": 1, "source": "op", "maker": 0, "name": None, "norm": "nan"},
        ],
    }
