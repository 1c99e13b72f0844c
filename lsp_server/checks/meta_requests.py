"""What is asked of the meta worker, and how it can fail."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from lsp_server.checks.errors import CheckError
from lsp_server.checks.state_records import StateProblem
from lsp_server.checks.strict import MalformedAnswer

DEFAULT_TIMEOUT = 120.0
"""Seconds for one request: the imports of a cold worker on a busy machine, and two models."""

DEFAULT_MEMORY = 16 << 30
"""Bytes. Meta tensors have none; a constructor that makes real ones for a model of 33 B has to be ended."""

OFFICIAL_STAGE = "building the official model"
RUNNING_STAGE = "running both models"
"""As `ditproof_probe.meta_answers` calls them."""

OnStage = Callable[[str], None]
"""Told what the worker is at (`importing torch`, `building the port`)."""


class SupersededError(CheckError):
    """A newer request for the same port took this one's place."""

    def __init__(self, name: str) -> None:
        super().__init__(f"A newer check of {name} replaced this one.", "Wait for its result.")


class AskFailed(CheckError):
    """The answer to what was asked of a tiny comparison is a problem. `over`: the comparison has ended with
    it, as where nothing could be built, or the code that ran ended its process."""

    def __init__(self, problem: StateProblem, over: bool = False) -> None:
        step = problem.next_step
        if step is None and problem.path is not None:
            step = f"See {problem.path}{'' if problem.line is None else f':{problem.line + 1}'}."
        super().__init__(problem.message, step or "Try again; if it stays, report it.")
        self.problem = problem
        self.over = over


@dataclass(frozen=True)
class PortName:
    """A port's class: its module's dotted name, its own, and its file relative to the root."""

    module: str
    cls: str
    path: str

    def message(self) -> dict[str, str]:
        """As the worker reads it."""
        return {"module": self.module, "class": self.cls, "path": self.path}


@dataclass(frozen=True)
class StateRequest:
    """What is to be built, and where.

    `root` is absolute. `official`: `diffusers:Class`, `package.module:Class`, or
    `path/in/clone/file.py::Class`. `config`: what configures both sides, `official_config` the official
    side alone (None: `config`); without either the official class's own defaults do. `gates`: build the
    port's further configurations too. `timeout` in seconds, `memory_limit` in bytes of private memory of
    the worker and what it starts (None: no limit; only Linux can watch it).
    """

    root: str
    python: str
    trusted: bool
    code_base: str
    port: PortName | None
    official: str | None
    official_config: Mapping[str, Any] | None = None
    config: Mapping[str, Any] | None = None
    gates: bool = False
    timeout: float = DEFAULT_TIMEOUT
    memory_limit: int | None = DEFAULT_MEMORY

    @property
    def key(self) -> str:
        """What a newer request supersedes."""
        return f"{self.port.path}::{self.port.cls}" if self.port is not None else str(self.official)

    @property
    def supersedes(self) -> tuple[str, ...]:
        """The keys of older requests that this one makes needless."""
        return (self.key,)

    @property
    def name(self) -> str:
        """The class that it is about."""
        return self.key.rpartition("::")[2]

    def message(self, number: int) -> dict[str, Any]:
        """The request as the worker reads it."""
        return {
            "id": number,
            "kind": "state",
            "port": None if self.port is None else self.port.message(),
            "official": None
            if self.official is None
            else {"ref": self.official, "config": self.official_config},
            "config": self.config,
            "gates": self.gates,
        }


@dataclass(frozen=True)
class TinyRequest:
    """Which two models are to be compared with real numbers, from one shrunken configuration.

    `official` as in `StateRequest`; None: the one that the recipe names. `official_config`: what is shrunken
    (None: the official class's defaults). `recipe`: an absolute path; None: the one that comes with the probe
    for this class. `device`: `cpu` or `cuda`. `timeout`: seconds until both are built, with the wait for
    other checks, and again for each ask. `memory_limit` as in `StateRequest`. `overlay`: texts by absolute
    path, which the port's modules are imported from in the place of the files.
    """

    root: str
    python: str
    trusted: bool
    code_base: str
    port: PortName
    official: str | None
    official_config: Mapping[str, Any] | None = None
    recipe: str | None = None
    device: str = "cpu"
    seed: int = 0
    timeout: float = DEFAULT_TIMEOUT
    memory_limit: int | None = DEFAULT_MEMORY
    overlay: Mapping[str, str] | None = None

    @property
    def key(self) -> str:
        """What a newer request supersedes: none for names, as both are asked for after a save."""
        return f"tiny{' trial' if self.overlay else ''} {self.port.path}::{self.port.cls}"

    @property
    def supersedes(self) -> tuple[str, ...]:
        """The keys of older requests that this one makes needless. One with an overlay is a trial of other
        code: it takes no other place, but gives way to a comparison of what was saved meanwhile."""
        return (self.key,) if self.overlay else (self.key, replace(self, overlay={"": ""}).key)

    @property
    def name(self) -> str:
        """The class that it is about."""
        return self.port.cls

    def message(self, number: int) -> dict[str, Any]:
        """The request as the worker reads it."""
        return {
            "id": number,
            "kind": "tiny",
            "port": self.port.message(),
            "official": None
            if self.official is None
            else {"ref": self.official, "config": self.official_config},
            "recipe": self.recipe,
            "device": self.device,
            "seed": self.seed,
            "overlay": None if self.overlay is None else dict(self.overlay),
        }


MetaRequest: TypeAlias = "StateRequest | TinyRequest"


def too_long(request: MetaRequest, what: str, stage: str | None = None) -> CheckError:
    """`stage`: what the worker was doing, None where it had not begun."""
    doing = f", while {stage}" if stage is not None else ""
    if stage == OFFICIAL_STAGE:
        step = f"or see what the import and the constructor of {request.official} do."
    elif stage == RUNNING_STAGE:
        step = "or see what the two forwards do that takes so long on a small model."
    elif isinstance(request, TinyRequest):
        step = "or see what its constructor does."
    else:
        step = "or see what its constructor does on the meta device."
    return CheckError(
        f"The answer about {request.name} {what} after {request.timeout:g} s{doing}.",
        f"Try again with a longer limit (--timeout), {step}",
    )


def too_much(request: MetaRequest) -> CheckError:
    """It takes more memory than it may."""
    if request.memory_limit is None:
        raise ValueError("there is no limit")
    size = f"more than {request.memory_limit / (1 << 30):.3g} GiB of memory"
    if isinstance(request, TinyRequest):
        return CheckError(
            f"The tiny comparison of {request.name} takes {size}.",
            "Make the configuration or the inputs smaller in its recipe.",
        )
    return CheckError(
        f"Building {request.name} takes {size}: a constructor makes real tensors although the model is built "
        "on the meta device.",
        "Make them without a device of their own, or build from a smaller configuration (--config).",
    )


def unreadable(error: MalformedAnswer) -> CheckError:
    """The worker wrote what is no answer."""
    return CheckError(
        f"The worker that builds the models gave an answer that cannot be read: {error}.",
        "Reinstall ditproof; if it stays, report it.",
    )
