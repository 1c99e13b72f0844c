"""What was said about an injected error, against what was injected and what an oracle knows of it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from injections.source import Injection, Lines

BRACKET = 6
"""Lines of the widest bracket that still counts as one."""

PORTS = "fastvideo/models/dits/"
"""Where the ports' own lines are: those of layers that they use are no answer."""

LOSS = 2.0
"""So many times further from float64 than the clean port is a clear loss of accuracy at the outputs."""

Outputs: TypeAlias = Literal["same", "differ", "bfloat16"]
"""`differ`: the outputs of the mutated port, in the highest precision. `bfloat16`: only where it runs in
bfloat16, a matter of casts: other values, or an exception. `same`: to the last bit or to rounding."""

Outcome: TypeAlias = Literal[
    "exact",
    "bracket",
    "later",
    "wrong-module",
    "wrong-line",
    "wrong-place",
    "missed",
    "cast-silent",
    "unlocated",
    "equivalent-said",
    "equivalent-silent",
    "false-alarm",
    "load-refused",
    "crash-told",
    "crash-untold",
    "error",
]
"""
* `exact`: the first divergence is the edited statement, in a module whose code it is.
* `bracket`: at most `BRACKET` lines that hold it whole. `later`: another divergence, not the first, is it.
* `wrong-module`: its lines, in another module. `wrong-line`: another line of the right module. `wrong-place`.
* `missed`: passed, although the outputs differ, or lose `LOSS` times the accuracy in bfloat16; `cast-silent`:
  though they differ in bfloat16, where this cast costs less: neither right nor wrong. `unlocated`: they
  differ, it is said, and no place is named.
* `equivalent-said`: the outputs are the same, and it is said that a difference inside does not reach them;
  `equivalent-silent`: passed, which is right too. `false-alarm`: said to reach outputs that are the same.
* `load-refused`: the strict load fails, and the right parameter is named.
* `crash-told`: the port raises, and its own innermost line is given, or the edited one; `crash-untold`:
  another one or none.
* `error`: no verdict where there should be one.
"""

Hit: TypeAlias = Literal["exact", "bracket", "later", "wrong-module", "wrong-line", "wrong-place"]
_IS_IT: frozenset[Hit] = frozenset({"exact", "bracket", "later"})
PLACED: frozenset[Outcome] = frozenset({"exact", "bracket"})
"""Right places of errors that load, run and change the outputs."""
NAMED: frozenset[Outcome] = PLACED | {"equivalent-said", "equivalent-silent", "load-refused", "crash-told"}
"""Right answers of every sort."""


@dataclass(frozen=True)
class Spot:
    """A place that was named. `module`: its name in the port."""

    module: str
    path: str | None
    lines: Lines | None


@dataclass(frozen=True)
class Told:
    """What was said. `divergences`: the spots of each, its own first. `names`: parameters that the load
    refused. `frames`: lines of an exception. `reaches`: the outputs are said to differ."""

    status: Literal["passed", "failed", "error"]
    divergences: tuple[tuple[Spot, ...], ...] = ()
    reaches: bool = False
    unlocated: bool = False
    names: tuple[str, ...] = ()
    frames: tuple[tuple[str, int], ...] = ()
    reason: str = ""


@dataclass(frozen=True)
class Truth:
    """What is so, found without hooks. `refused`: names that the strict load refuses. `raised`: the tree's
    frames of the exception that it ends with, None where it runs; of a run in bfloat16 where `outputs` says
    so. `error`: of the outputs, relative L2. `loss`: how many times further from float64 the outputs in
    bfloat16 are than the clean port's; None where they were not looked at."""

    outputs: Outputs
    error: float
    refused: tuple[str, ...] = ()
    raised: tuple[tuple[str, int], ...] | None = None
    loss: float | None = None


@dataclass(frozen=True)
class ModuleKind:
    """One submodule of the port. `classes`: its class and the classes that this is made of. `built_at`:
    lines that constructed it."""

    classes: frozenset[str]
    built_at: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Score:
    """`false`: divergences that are not the error."""

    outcome: Outcome
    false: int

    @property
    def right(self) -> bool:
        return self.outcome in NAMED


def score(injection: Injection, truth: Truth, told: Told, modules: Mapping[str, ModuleKind]) -> Score:
    """How good an answer is."""
    if truth.raised is not None:
        own = [frame for frame in truth.raised if frame[0].startswith(PORTS) or frame[0] == injection.path]
        hit = any(_at(injection, path, line) for path, line in told.frames)
        hit = hit or (bool(own) and own[-1] in told.frames)
        return Score("crash-told" if hit and told.status != "passed" else "crash-untold", 0)
    hits = [_hit(injection, spots, modules) for spots in told.divergences]
    false = sum(hit not in _IS_IT for hit in hits)
    if truth.refused:
        named = set(told.names) & set(truth.refused)
        if named:
            return Score("load-refused", sum(hit == "wrong-place" for hit in hits))
    if told.status == "error":
        return Score("error", false)
    if truth.outputs == "same":
        if told.reaches or told.unlocated:
            return Score("false-alarm", false)
        return Score("equivalent-said" if hits else "equivalent-silent", false)
    if not hits:
        cheap = truth.outputs == "bfloat16" and (truth.loss is None or truth.loss < LOSS)
        silent: Outcome = "cast-silent" if cheap else "missed"
        return Score("unlocated" if told.status == "failed" else silent, false)
    if hits[0] in ("exact", "bracket"):
        return Score(hits[0], false)
    return Score("later" if _IS_IT & set(hits) else hits[0], false)


def score_several(
    errors: Sequence[Injection], told: Told, modules: Mapping[str, ModuleKind]
) -> tuple[int, int]:
    """Of several errors at once: (how many are named, how many divergences are none of them)."""
    named, false = set(), 0
    for spots in told.divergences:
        hits = [n for n, error in enumerate(errors) if _hit(error, spots, modules) in _IS_IT]
        named.update(hits)
        false += not hits
    return len(named), false


def _hit(injection: Injection, spots: Sequence[Spot], modules: Mapping[str, ModuleKind]) -> Hit:
    """Where a divergence's own spot lies; `later` where only one of its further spots is the error."""
    first, *further = (_place(injection, spot, modules) for spot in spots)
    if first not in ("exact", "bracket") and any(hit in ("exact", "bracket") for hit in further):
        return "later"
    return first


def _place(injection: Injection, spot: Spot, modules: Mapping[str, ModuleKind]) -> Hit:
    right_module = _owns(injection, spot.module, modules)
    if spot.path == injection.path and spot.lines is not None:
        for lines in injection.after:
            if lines.holds(spot.lines) or spot.lines.holds(lines):
                if not right_module:
                    return "wrong-module"
                if lines.holds(spot.lines):
                    return "exact"
                return "bracket" if _length(spot.lines) <= BRACKET else "wrong-line"
    return "wrong-line" if right_module else "wrong-place"


def _length(lines: Lines) -> int:
    return lines.last - lines.first + 1


def _owns(injection: Injection, name: str, modules: Mapping[str, ModuleKind]) -> bool:
    """Whether a module's code is the edited one: its class, a module around or in such a one, or a module
    that the edited statement constructs. Functions of a file belong to every module."""
    if injection.owner is None:
        return True
    owners = [
        other
        for other, kind in modules.items()
        if injection.owner in kind.classes or any(_at(injection, p, at) for p, at in kind.built_at)
    ]
    return any(_around(name, owner) or _around(owner, name) for owner in owners) or not owners


def _around(outer: str, inner: str) -> bool:
    return outer in ("", inner) or inner.startswith(f"{outer}.")


def _at(injection: Injection, path: str, line: int) -> bool:
    return path == injection.path and any(x.first <= line <= x.last for x in injection.after)


def class_bases(text: str) -> Mapping[str, frozenset[str]]:
    """Each class of a file with the names of its bases in this file, and of theirs."""
    import ast

    direct = {
        node.name: {base.id for base in node.bases if isinstance(base, ast.Name)}
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.ClassDef)
    }

    def closure(name: str) -> frozenset[str]:
        found = {name}
        for base in direct.get(name, ()):
            found |= closure(base) if base != name else set()
        return frozenset(found)

    return {name: closure(name) for name in direct}


def frames_in(text: str) -> tuple[tuple[str, int], ...]:
    """Places that a text speaks of (`path.py:12`), with lines from 0."""
    return tuple((path, int(line) - 1) for path, line in re.findall(r"([\w./-]+\.py):(\d+)", text))
