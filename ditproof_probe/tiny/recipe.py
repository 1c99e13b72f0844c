"""A recipe: the few lines that a family of models needs for its tiny comparison (docs/recipes.md).

A recipe is a Python file that imports nothing of ours. Everything that it may define is read here once, and
what is wrong with it is told by the file and line.
"""

from __future__ import annotations

import ast
import inspect
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

import torch

from ditproof_probe.problems import Inside, Stopped, from_exception, problem
from ditproof_probe.tiny.randomising import generator

CASES: Mapping[str, Mapping[str, Any]] = {
    "plain": {},
    "batch": {"batch": 2},
    "odd": {"frames": 5, "height": 6, "width": 10, "text": 7},
    "seed": {"seed": 1},
}
"""What is run where a recipe says nothing: after the plain case a batch, odd sizes, and another seed."""

SIZES: Mapping[str, int] = {"batch": 1, "frames": 3, "height": 8, "width": 12, "text": 9, "seed": 0}
"""Sizes of the plain case: latents [batch, channels, frames, height, width], `text` tokens. No two agree, so
that exchanged axes are seen."""

_DRAWS = ("config", "randn", "uniform", "randint", "arange", "mask")
_CALLABLES = ("config", "inputs", "port_config", "port_inputs", "outputs", "port_outputs")
_VALUES = ("OFFICIAL", "PORT", "CASES", "LIMITS")
_T = TypeVar("_T")


@dataclass(frozen=True)
class Case:
    """One set of inputs. `config`: of the official tiny model. `settings`: what the recipe's `CASES` says.

    Sizes are attributes (`case.batch`, `case.frames`, `case.height`, `case.width`, `case.text`); further
    ones come by `case.get`. What is drawn depends on the case's seed and on how many draws came before.
    """

    name: str
    settings: Mapping[str, Any]
    config: Mapping[str, Any]
    random: torch.Generator

    def get(self, name: str, default: Any = None) -> Any:
        """A setting of this case."""
        return self.settings.get(name, SIZES.get(name, default))

    def __getattr__(self, name: str) -> int:
        if name in SIZES:
            return int(self.get(name))
        raise AttributeError(
            f"A case has no {name}: it has {', '.join((*SIZES, *_DRAWS))}; what CASES sets comes by "
            f"case.get({name!r})."
        )

    def randn(self, *shape: int) -> torch.Tensor:
        """Normally distributed float32."""
        return torch.randn(*shape, generator=self.random)

    def uniform(self, low: float, high: float, *shape: int) -> torch.Tensor:
        """Evenly distributed float32 in [low, high)."""
        return torch.rand(*shape, generator=self.random) * (high - low) + low

    def randint(self, low: int, high: int, *shape: int) -> torch.Tensor:
        """Integers (int64) from low up to high - 1."""
        return torch.randint(low, high, shape, generator=self.random)

    def arange(self, count: int) -> torch.Tensor:
        """Positions 0, 1, ... count - 1 (int64)."""
        return torch.arange(count)

    def mask(self, *shape: int, dtype: torch.dtype = torch.int64) -> torch.Tensor:
        """[..., length]: ones, then zeros at the end of each row; rows differ, none is all ones or shorter
        than half."""
        length = shape[-1]
        rows = torch.zeros(shape, dtype=dtype).reshape(-1, length)
        for number, row in enumerate(rows):
            row[: max(length - 2 - number, (length + 1) // 2)] = 1
        return rows.reshape(shape)


@dataclass(frozen=True)
class Recipe:
    """What a recipe file says. `source`: its path, or the built-in name. `limits`: setting of a case -> the
    largest value that the port can take, with the reason."""

    source: str
    path: str
    official: str | None
    ports: tuple[str, ...]
    cases: Mapping[str, Mapping[str, Any]]
    limits: Mapping[str, tuple[float, str]]
    functions: Mapping[str, Callable[..., Any]]

    def call(self, name: str, default: _T, *arguments: Any) -> Any | _T:
        """What the recipe's function of that name returns; `default` where it has none.

        Raises Stopped, at the recipe's line, where it raises.
        """
        function = self.functions.get(name)
        if function is None:
            return default
        try:
            return function(*arguments)
        except Exception as error:
            raise Stopped(self._problem_of(error, arguments)) from error

    def wrong(self, message: str, name: str | None = None, next_step: str | None = None) -> Stopped:
        """The recipe returns what cannot be used; at its function `name`."""
        function = None if name is None else self.functions.get(name)
        line = None if function is None else function.__code__.co_firstlineno - 1
        return wrong(self.path, message, line, next_step)

    def refused(self, name: str) -> str | None:
        """Why the port cannot take a case; None where it can."""
        for setting, (most, reason) in self.limits.items():
            value = self.cases[name].get(setting, SIZES.get(setting))
            if isinstance(value, (int, float)) and value > most:
                return f"{setting} {value} is more than the port takes ({most:g}): {reason}"
        return None

    def case(self, name: str, config: Mapping[str, Any], seed: int) -> Case:
        """The case of that name, fresh: equal for equal arguments."""
        settings = self.cases[name]
        own = int(settings.get("seed", SIZES["seed"]))
        return Case(name, settings, config, generator(f"inputs {own}", seed))

    def _problem_of(self, error: Exception, arguments: tuple[Any, ...]) -> dict[str, Any]:
        found = from_exception(error, "port", "recipe", Inside((str(Path(self.path).parent),)))
        if found["path"] is None:
            found["path"] = self.path
        case = next((value for value in arguments if isinstance(value, Case)), None)
        if isinstance(error, KeyError) and case is not None and error.args[:1] != ():
            names = ", ".join(map(str, case.config))
            if error.args[0] not in case.config:
                found["next_step"] = f"The official configuration has {names}."
        return found


def find(path: str | None, port: str) -> Recipe:
    """The recipe in a file, else the one that we bring for the port's class.

    Raises Stopped where there is none, or where it cannot be used.
    """
    if path is not None:
        return read(path, path, port)
    folder = Path(__file__).parents[1] / "recipes"
    for file in sorted(folder.glob("*.py")):
        if file.stem != "__init__" and port in _ports_in(file.read_text(encoding="utf-8")):
            return read(str(file), file.stem, port)
    raise Stopped(
        problem(
            "port",
            "recipe",
            "NoRecipe",
            f"There is no recipe for {port}: what its inputs are cannot be derived.",
            next_step=f"`ditproof trace {port} --scaffold` writes one to fill in; --recipe FILE "
            "gives another.",
        )
    )


def read(path: str, source: str, port: str) -> Recipe:
    """The recipe in a file. Raises Stopped where it cannot be read, run or used for the port."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise wrong(path, f"The recipe cannot be read: {error}") from error
    module = ModuleType("ditproof_recipe")
    module.__file__ = path
    try:
        exec(compile(text, path, "exec"), vars(module))
    except Exception as error:
        raise Stopped(
            from_exception(error, "port", "recipe", Inside((os.path.dirname(path),)))  # noqa: PTH120
        ) from error
    return _checked(vars(module), path, source, port, _lines(text))


def wrong(path: str, message: str, line: int | None = None, next_step: str | None = None) -> Stopped:
    """A recipe cannot be used."""
    return Stopped(
        problem(
            "port",
            "recipe",
            "BadRecipe",
            message,
            path=path,
            line=line,
            next_step=next_step or "`ditproof trace --help` lists what a recipe may define.",
        )
    )


def _checked(found: Mapping[str, Any], path: str, source: str, port: str, lines: Mapping[str, int]) -> Recipe:
    for name in lines:
        close = _meant(name)
        if close is not None:
            raise wrong(
                path, f"The recipe defines {name}, which nothing reads; {close} is meant?", lines[name]
            )
    functions = {}
    for name in _CALLABLES:
        if name not in found:
            continue
        if not inspect.isfunction(found[name]):
            raise wrong(path, f"{name} is no function.", lines.get(name))
        _take_arguments(found[name], name, path)
        functions[name] = found[name]
    if "inputs" not in functions:
        raise wrong(
            path,
            "The recipe has no function inputs(case).",
            next_step="Define inputs(case): a dict from the official forward's arguments to tensors.",
        )
    official = found.get("OFFICIAL")
    if official is not None and not isinstance(official, str):
        raise wrong(path, 'OFFICIAL is no text such as "diffusers:Class".', lines.get("OFFICIAL"))
    ports = found.get("PORT", ())
    ports = (ports,) if isinstance(ports, str) else ports
    if not isinstance(ports, (tuple, list)) or not all(isinstance(name, str) for name in ports):
        raise wrong(path, "PORT is neither a class's name nor a tuple of names.", lines.get("PORT"))
    if ports and port not in ports:
        raise wrong(
            path,
            f"The recipe is for {', '.join(ports)}, not for {port}.",
            lines.get("PORT"),
            f"Name {port} in PORT, or give the recipe of {port}.",
        )
    cases, limits = found.get("CASES", CASES), found.get("LIMITS", {})
    if not _are_cases(cases):
        raise wrong(
            path, 'CASES is no dict such as {"plain": {}, "batch": {"batch": 2}}.', lines.get("CASES")
        )
    if not isinstance(limits, Mapping):
        raise wrong(path, 'LIMITS is no dict such as {"batch": 1}.', lines.get("LIMITS"))
    return Recipe(
        source,
        path,
        official,
        tuple(ports),
        {name: dict(settings) for name, settings in cases.items()},
        {name: _limit(name, value, path, lines.get("LIMITS")) for name, value in limits.items()},
        functions,
    )


def _are_cases(cases: object) -> bool:
    return (
        isinstance(cases, Mapping)
        and len(cases) > 0
        and all(isinstance(name, str) and isinstance(value, Mapping) for name, value in cases.items())
    )


def _limit(name: str, value: object, path: str, line: int | None) -> tuple[float, str]:
    """`1`, or `(1, "why")`."""
    most, reason = value if isinstance(value, tuple) and len(value) == 2 else (value, "a limit of the port")
    if isinstance(most, bool) or not isinstance(most, (int, float)) or not isinstance(reason, str):
        raise wrong(path, f'LIMITS[{name!r}] is neither a number nor (number, "why").', line)
    return most, reason


def _take_arguments(function: Callable[..., Any], name: str, path: str) -> None:
    """Raises Stopped where the function does not take what it is called with."""
    given = {"port_inputs": ("inputs", "case"), "inputs": ("case",), "config": ("tiny",)}
    names = given.get(name, ("arch",) if name == "port_config" else ("out",))
    try:
        inspect.signature(function).bind(*names)
    except TypeError as error:
        raise wrong(
            path,
            f"{name} does not take what it is called with ({', '.join(names)}): {error}.",
            function.__code__.co_firstlineno - 1,
            f"Write def {name}({', '.join(names)}): ...",
        ) from None


def _meant(name: str) -> str | None:
    """The name that a misspelt one stands for: it would be ignored without a word."""
    import difflib

    if name in _CALLABLES + _VALUES or name.startswith("_"):
        return None
    close = difflib.get_close_matches(name, _CALLABLES + _VALUES, 1, 0.85)
    return close[0] if close else None


def _ports_in(text: str) -> tuple[str, ...]:
    """The value of `PORT`, without running the file."""
    for statement in ast.parse(text).body:
        if isinstance(statement, ast.Assign) and any(
            isinstance(target, ast.Name) and target.id == "PORT" for target in statement.targets
        ):
            value = ast.literal_eval(statement.value)
            return (value,) if isinstance(value, str) else tuple(value)
    return ()


def _lines(text: str) -> dict[str, int]:
    """Where a file's own top-level names are defined (from 0)."""
    found: dict[str, int] = {}
    for statement in ast.parse(text).body:
        if isinstance(statement, (ast.FunctionDef, ast.ClassDef)):
            found[statement.name] = statement.lineno - 1
        elif isinstance(statement, ast.Assign):
            for target in statement.targets:
                if isinstance(target, ast.Name):
                    found[target.id] = statement.lineno - 1
    return found
