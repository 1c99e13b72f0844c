"""The flow through a function claims nothing that a run contradicts."""

from __future__ import annotations

import ast
import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest

from analyzers.facts.bodies import Body
from analyzers.facts.flow import Flow, flow_of
from analyzers.facts.flow_names import Given, Known
from analyzers.facts.walking import walk_tree

PARAMETERS = ("p0", "p1", "p2")
LOCALS = ("v0", "v1", "v2")
NAMES = PARAMETERS + LOCALS


class Program:
    """A random function: `p*` come in, `act` and `boom` leave a trace, `choose` decides branches."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        start = "\n".join(f"    {name} = Box({n})" for n, name in enumerate(LOCALS))
        body = self.block(1, 4, in_loop=False)
        # A name that a comprehension loops over cannot be set by `:=` inside it.
        body = body if ":=" not in body or " for " not in body else body.replace(":=", "+")
        self.text = f"def f({', '.join(PARAMETERS)}):\n{start}\n{body}\n    return {self.expression(1)}\n"

    def block(self, depth: int, most: int, *, in_loop: bool) -> str:
        count = self.random.randint(1, most)
        return "\n".join(self.statement(depth, in_loop=in_loop) for _ in range(count))

    def statement(self, depth: int, *, in_loop: bool) -> str:
        pad = "    " * depth
        kinds = ["assign"] * 6 + ["pair", "augment", "act", "del", "store", "display", "same", "module"]
        if depth < 4:
            kinds += ["if", "if", "for", "while", "try", "with", "match", "def", "lambda"]
        if in_loop:
            kinds += ["break", "continue"]
        kinds += ["return", "raise"] if depth > 1 else []
        kind = self.random.choice(kinds)
        name, other = self.random.choice(NAMES), self.random.choice(NAMES)
        value = self.expression(2)

        def inner(*, loop: bool = in_loop) -> str:
            return self.block(depth + 1, 3, in_loop=loop)

        if kind == "assign":
            return f"{pad}{name} = {value}"
        if kind == "pair":
            return f"{pad}{name}, {other} = {value}, {self.expression(1)}"
        if kind == "augment":
            return f"{pad}{name} += {value}"
        if kind == "act":
            return f"{pad}act({value})"
        if kind == "module":
            return f"{pad}{name} = head({value})"
        if kind == "del":
            # What reads a deleted name raises, whoever decides that it is read.
            return f"{pad}del {name}\n{pad}{name} = Box(4)"
        if kind == "store":
            return f"{pad}{name}.value = {value}.value"
        if kind == "display":
            return f"{pad}d{depth}_{self.random.randint(0, 10**6)} = ({value}, {name})"
        if kind == "same":
            line = f"{name} = {value}"
            test = self.expression(1)
            return f"{pad}if {test}:\n{pad}    {line}\n{pad}else:\n{pad}    {line}"
        if kind == "if":
            orelse = f"\n{pad}else:\n{inner()}" if self.random.random() < 0.5 else ""
            return f"{pad}if {self.test()}:\n{inner()}{orelse}"
        if kind == "for":
            orelse = f"\n{pad}else:\n{inner()}" if self.random.random() < 0.3 else ""
            return f"{pad}for {name} in rounds({self.random.randint(0, 2)}):\n{inner(loop=True)}{orelse}"
        if kind == "while":
            return f"{pad}while choose():\n{inner(loop=True)}"
        if kind == "try":
            text = f"{pad}try:\n{inner()}\n{pad}    boom({name})\n{inner()}"
            parts = self.random.choice(["except", "finally", "both", "else"])
            if parts != "finally":
                text += f"\n{pad}except ValueError:\n{inner()}"
            if parts == "else":
                text += f"\n{pad}else:\n{inner()}"
            if parts in ("finally", "both"):
                text += f"\n{pad}finally:\n{inner(loop=False)}"
            return text
        if kind == "with":
            return f"{pad}with suppress(ValueError):\n{inner()}\n{pad}    boom({name})\n{inner()}"
        if kind == "match":
            first, second = (self.block(depth + 2, 2, in_loop=in_loop) for _ in range(2))
            return f"{pad}match {name}.value:\n{pad}    case 1:\n{first}\n{pad}    case {other}n:\n{second}"
        if kind == "def":
            define = f"{pad}def g(x):\n{pad}    return x + {name}"
            return f"{define}\n{pad}{other} = {value}\n{pad}{name} = g({value})"
        if kind == "lambda":
            return f"{pad}g = lambda x: x + {name}\n{pad}{other} = {value}\n{pad}{name} = g({value})"
        if kind == "return":
            return f"{pad}return {value}"
        if kind == "raise":
            return f"{pad}raise ValueError(str({value}))"
        return f"{pad}{kind}"

    def test(self) -> str:
        return self.random.choice(["choose()", "choose()", "True", "False", "not False", self.expression(1)])

    def expression(self, depth: int) -> str:
        name = self.random.choice(NAMES)
        if depth == 0 or self.random.random() < 0.3:
            return self.random.choice([name, name, f"Box({self.random.randint(0, 3)})"])
        first, second = self.expression(depth - 1), self.expression(depth - 1)
        return self.random.choice(
            [
                f"({first} + {second})",
                f"{first}.to(1)",
                f"({first} if {self.test()} else {second})",
                f"({first} if {second} else {first})",
                f"act({first})",
                f"({first}, {second})[{self.random.randint(0, 1)}]",
                f"({name} := {first})",
                f"sum([{name} + {first} for {name} in [{self.random.choice(NAMES)}]], {first})",
                f"sum(({name} + x for x in [{self.random.choice(NAMES)}]), {first})",
                f"({first} and {second})",
                f"idle({first}, {name})",
                f"max({first}, {second})",
                f"head({first})",
            ]
        )


class Box:
    """A number that can be changed in place, as a tensor can."""

    def __init__(self, value: int) -> None:
        self.value = value

    def __add__(self, other: Box) -> Box:
        return Box(self.value + other.value)

    def __radd__(self, other: Box) -> Box:
        return Box(self.value + other.value)

    def __iadd__(self, other: Box) -> Box:
        self.value += other.value
        return self

    def __gt__(self, other: Box) -> bool:
        return self.value > other.value

    def __bool__(self) -> bool:
        return self.value % 2 == 1

    def __str__(self) -> str:
        return str(self.value)

    def to(self, _: int) -> Box:
        return self


class Endless(Exception):
    """The program runs for too long."""


def run(text: str, values: dict[str, int], choices: int) -> tuple[str, list[str]]:
    """What a program gives (or raises) for these inputs, and the trace that it leaves."""
    trace: list[str] = []
    chance = random.Random(choices)

    def act(value: Box) -> Box:
        if len(trace) > 200:
            raise Endless
        trace.append(str(value))
        return value

    def boom(value: Box) -> None:
        act(value)
        if value.value % 3 == 0:
            raise ValueError(str(value))

    def choose() -> bool:
        act(Box(-1))
        return chance.random() < 0.5

    scope: dict[str, Any] = {
        "Box": Box,
        "act": act,
        "boom": boom,
        "choose": choose,
        "head": lambda value: Box(value.value * 7),
        "idle": lambda value, _: act(value),
        "rounds": lambda count: [Box(n) for n in range(count)],
        "suppress": suppress,
    }
    exec(compile(text, "program", "exec"), scope)
    function: Callable[..., object] = scope["f"]
    try:
        result = str(function(**{name: Box(value) for name, value in values.items()}))
    except (ValueError, NameError, Endless) as error:
        # What is read and unbound raises whatever the inputs are.
        result = f"{type(error).__name__} {error}"
    return result, trace


KNOWN = Known(frozenset({"head"}), frozenset({Given("idle", 1)}))


def flow(text: str, known: Known = KNOWN) -> Flow:
    tree = ast.parse(text).body[0]
    assert isinstance(tree, ast.FunctionDef)
    return flow_of(Body(tree, text, tuple(walk_tree(tree))), known)


@pytest.mark.parametrize("block", range(8))
def test_a_dead_parameter_makes_no_difference_to_any_run(block: int) -> None:
    dead = 0
    for seed in range(block * 250, block * 250 + 250):
        text = Program(seed).text
        for parameter in flow(text).dead:
            dead += 1
            for choices in range(6):
                values = {"p0": choices, "p1": 2 + choices, "p2": 5}
                others = [run(text, {**values, parameter.name: n}, choices) for n in (0, 1, 6, 10)]
                assert all(other == others[0] for other in others), f"program {seed}, {parameter.name}"
    assert dead > 40, "the programs must be such that something is claimed"


@pytest.mark.parametrize("block", range(4))
def test_a_dropped_value_makes_no_difference_to_any_run(block: int) -> None:
    dropped = 0
    for seed in range(block * 250, block * 250 + 250):
        text = Program(seed).text
        for value in flow(text).dropped:
            if value.callee != "head":
                continue
            dropped += 1
            lines = text.split("\n")
            line = lines[value.span.line]
            call = line[value.span.column : value.span.end_column]
            lines[value.span.line] = (
                f"{line[: value.span.column]}({call} + Box(1)){line[value.span.end_column :]}"
            )
            other = "\n".join(lines)
            for choices in range(6):
                values = {"p0": choices, "p1": 2 + choices, "p2": 5}
                assert run(text, values, choices) == run(other, values, choices), f"program {seed}, {value}"
    assert dropped > 10, "the programs must be such that something is claimed"


def dead(text: str, known: Known = KNOWN) -> list[tuple[str, str]]:
    return [(d.name, d.how) for d in flow(text, known).dead]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("return 1 + 1", [("p", "unread")]),
        ("p = None\nreturn g(p)", [("p", "overwritten")]),
        ("for p in x:\n    g(p)", [("p", "overwritten")]),
        ("with open(x) as p:\n    g(p)", [("p", "overwritten")]),
        ("q, p = x, 1\nreturn g(p)", [("p", "overwritten")]),
        ("if x:\n    p = 1\nelse:\n    p = 2\nreturn g(p)", [("p", "overwritten")]),
        ("try:\n    p = 1\nfinally:\n    g(p)", []),
        ("try:\n    g(x)\nexcept E:\n    p = 1\nreturn p + 1", []),
        ("with torch.no_grad():\n    p = 1\nreturn g(p)", [("p", "overwritten")]),
        ("with suppress(E):\n    p = g(x)\nreturn p + 1", []),
        ("y = p.shape[0]\nreturn g(x)", [("p", "idle")]),
        ("if p is None:\n    p = 1\nreturn g(x)", [("p", "idle")]),
        ("y = p if False else x\nreturn g(y)", [("p", "idle")]),
        ("if False:\n    return p\nreturn g(x)", [("p", "idle")]),
        ("return idle(x, p)", [("p", "idle")]),
        ("return idle(*x, p)", []),
        ("y = [p for p in x]\nreturn y", [("p", "unread")]),
        ("y = [p for p in p]\nreturn y", []),
        ("y = [z for z in x if z > p]\nreturn y", []),
        ("return (y := p) + 1", []),
        ("p: int = 3\nreturn g(p)", [("p", "overwritten")]),
        ("p[0] = x\nreturn g(x)", []),
        ("p.a = x\nreturn g(x)", []),
        ("p += x\nreturn g(x)", []),
        ("x[p] = 1\nreturn g(x)", []),
        ("assert p is None\nreturn g(x)", []),
        ("raise ValueError(p)", []),
        ("yield p", []),
        ("global p2\np2 = p\nreturn g(x)", []),
        ("return eval('p')", []),
        ("return f'{p}' + x", []),
        ("while True:\n    x = g(x)\n    if x:\n        break\nreturn x", [("p", "unread")]),
        ("while x:\n    x = g(x)\nelse:\n    x = p\nreturn x", []),
    ],
)
def test_what_is_claimed_of_small_functions(body: str, expected: list[tuple[str, str]]) -> None:
    lines = "\n".join(f"    {line}" for line in body.split("\n"))
    assert [d for d in dead(f"def f(x, p):\n{lines}\n") if d[0] == "p"] == expected


def test_what_a_function_does_is_known() -> None:
    assert flow("def f(x):\n    y = head(x)\n    return y.to(1)\n").silent
    assert not flow("def f(x):\n    x.add_(1)\n    return x + 1\n").silent
    assert not flow("def f(x):\n    y = store(x)\n    return y\n", replace(KNOWN, quiet=frozenset())).silent
    assert not flow("def f(x):\n    x[0] = 1\n    return x + 1\n").silent
