"""Talks to the meta worker as the server does, and lays out small trees that look like FastVideo."""

from __future__ import annotations

import json
import os
import select
import subprocess
import time
from pathlib import Path
from typing import Any

Answer = dict[str, Any]


class Worker:
    """A worker in `root`. `progress` holds the stages of the last request, `lines` all it ever said."""

    def __init__(self, python: str, bundle: Path, root: Path, run_dir: Path, **spec: Any) -> None:
        run_dir.mkdir(parents=True)
        self.run_dir = run_dir
        self.log = run_dir.parent / f"{run_dir.name}.log"
        specification = run_dir.parent / f"{run_dir.name}.json"
        specification.write_text(
            json.dumps(
                {
                    "serve": "meta",
                    "bundle": str(bundle),
                    "run_dir": str(run_dir),
                    "code_base": "fastvideo",
                    "idle_seconds": 300,
                    **spec,
                }
            )
        )
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [python, str(bundle), str(specification)],
                cwd=root,
                env={k: v for k, v in os.environ.items() if k != "PYTHONPATH"},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
            )
        self.number = 0
        self.ready: Answer | None = None
        self.progress: list[str] = []
        self._rest = b""

    def send(self, message: Any) -> None:
        assert self.process.stdin is not None
        line = message if isinstance(message, bytes) else json.dumps(message).encode()
        self.process.stdin.write(line + b"\n")
        self.process.stdin.flush()

    def ask(
        self, port: str | None = None, official: str | None = None, timeout: float = 60, **more: Any
    ) -> Answer:
        """The answer about `module:Class` and the official class."""
        return self.answer(self.start(port, official, **more), timeout)

    def start(self, port: str | None = None, official: str | None = None, **more: Any) -> int:
        self.number += 1
        named = None
        if port is not None:
            module, _, cls = port.partition(":")
            named = {"module": module, "class": cls, "path": module.replace(".", "/") + ".py"}
        config = more.pop("official_config", None)
        self.send(
            {
                "id": self.number,
                "kind": "state",
                "port": named,
                "official": None if official is None else {"ref": official, "config": config},
                "config": None,
                "gates": False,
                **more,
            }
        )
        return self.number

    def begin(self, port: str, **more: Any) -> int:
        """Begin a tiny comparison of `module:Class`; its number."""
        self.number += 1
        module, _, cls = port.partition(":")
        named = {"module": module, "class": cls, "path": module.replace(".", "/") + ".py"}
        given = {"official": None, "recipe": None, "device": "cpu", "seed": 0, **more}
        self.send({"id": self.number, "kind": "tiny", "port": named, **given})
        return self.number

    def put(self, number: int, n: int, ask: str, **arguments: Any) -> None:
        """Ask something of a comparison."""
        self.send({"id": number, "kind": "ask", "n": n, "ask": ask, "arguments": arguments})

    def told(self, number: int, timeout: float = 60) -> Answer:
        """The next thing said of a comparison that is no progress."""
        deadline = time.monotonic() + timeout
        while True:
            message = self.line(deadline)
            if message["kind"] == "ready":
                self.ready = message
            elif message["kind"] == "progress":
                self.progress.append(message["stage"])
            elif message["id"] == number:
                return message

    def answer(self, number: int, timeout: float = 60) -> Answer:
        self.progress = []
        deadline = time.monotonic() + timeout
        while True:
            message = self.line(deadline)
            if message["kind"] == "ready":
                assert self.ready is None, "ready is said once"
                self.ready = message
            elif message["kind"] == "progress":
                self.progress.append(message["stage"])
            elif message["id"] == number:
                assert message["kind"] == "state"
                return message

    def wait_for_stage(self, stage: str, timeout: float = 60) -> None:
        deadline = time.monotonic() + timeout
        while self.line(deadline).get("stage") != stage:
            continue

    def line(self, deadline: float) -> Answer:
        """The next line of the channel; every one must be a message."""
        assert self.process.stdout is not None
        while b"\n" not in self._rest:
            left = deadline - time.monotonic()
            ready, _, _ = select.select([self.process.stdout], [], [], max(left, 0))
            assert ready, f"nothing came; the log ends with {self.tail()}"
            data = os.read(self.process.stdout.fileno(), 1 << 16)
            assert data, f"the channel ended; the log ends with {self.tail()}"
            self._rest += data
        line, _, self._rest = self._rest.partition(b"\n")
        message: Answer = json.loads(line)
        assert message["v"] == 1
        return message

    def tail(self) -> str:
        return self.log.read_text(errors="replace")[-2000:]

    def end(self) -> int:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        code = self.process.wait(30)
        self.process.stdout.close()
        return code

    def processes(self) -> set[int]:
        """Every process of the worker's session."""
        found = set()
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    state, *_ = stat = (entry / "stat").read_text().rpartition(")")[2].split()
                except OSError:
                    continue
                if int(stat[3]) == self.process.pid and state != "Z":
                    found.add(int(entry.name))
        return found


def toy_tree(root: Path) -> Path:
    """The least that the worker needs of a FastVideo: platforms, distributed state, a base config, layers."""
    for path, text in _FILES.items():
        file = root / "fastvideo" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return root


def toy_port(root: Path, name: str, *, before: str = "", init: str = "", body: str = "") -> str:
    """A port with two layers in a module of its own; its reference."""
    (root / f"fastvideo/models/dits/{name}.py").write_text(
        _PORT.format(before=before, init=init or "pass", body=body or "pass")
    )
    return f"fastvideo.models.dits.{name}:Toy"


_FILES = {
    "__init__.py": "raise RuntimeError('the generator is not executed')\n",
    "utils.py": "",
    "models/__init__.py": "",
    "models/dits/__init__.py": "",
    "layers/__init__.py": "",
    "layers/linear.py": "from pathlib import Path\n\nWIDTH = 4\n",
    "platforms/__init__.py": "_current_platform = None\n",
    "platforms/cpu.py": "class CpuPlatform:\n    pass\n",
    "distributed/__init__.py": "",
    "distributed/parallel_state.py": "def init_distributed_environment(**_):\n    pass\n\n\n"
    "def initialize_model_parallel(*_):\n    pass\n",
    "configs/__init__.py": "",
    "configs/models/__init__.py": "",
    "configs/models/dits/__init__.py": "",
    "configs/models/dits/base.py": """from dataclasses import dataclass, field, fields


@dataclass
class DiTArchConfig:
    hidden_size: int = 0


@dataclass
class DiTConfig:
    arch_config: DiTArchConfig = field(default_factory=DiTArchConfig)

    def __getattr__(self, name):
        return getattr(self.arch_config, name)

    def __getstate__(self):
        return self.__dict__

    def __setstate__(self, state):
        self.__dict__.update(state)

    def update_model_arch(self, values):
        names = {each.name for each in fields(self.arch_config)}
        for key, value in values.items():
            if key in names:
                setattr(self.arch_config, key, value)
""",
    "configs/models/dits/toy.py": """from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from fastvideo.configs.models.dits.base import DiTArchConfig, DiTConfig


@dataclass
class ToyArchConfig(DiTArchConfig):
    hidden_size: int = 8
    num_layers: int = 2
    guidance: bool = False
    image_dim: int | None = None
    kind: Literal["plain", "rich"] = "plain"


@dataclass
class ToyConfig(DiTConfig):
    arch_config: ToyArchConfig = field(default_factory=ToyArchConfig)
""",
}

_PORT = """import os
import sys

import torch
from torch import nn

from fastvideo.configs.models.dits.toy import ToyConfig
from fastvideo.layers import linear

{before}


class Toy(nn.Module):
    param_names_mapping = {{
        r"^old\\.(\\d+)\\.(.*)$": r"blocks.\\1.\\2",
        r"^q\\.weight$": ("qkv.weight", 0, 3),
    }}

    def __init__(self, config: ToyConfig, hf_config):
        super().__init__()
        {init}
        size = config.hidden_size
        self.blocks = nn.ModuleList(nn.Linear(size, linear.WIDTH) for _ in range(config.num_layers))
        self.head = nn.Linear(size, 2, bias=False)
        self.tail = nn.Linear(size, 2, bias=False)
        self.tail.weight = self.head.weight
        self.register_buffer("steps", torch.arange(3))
        if config.guidance:
            self.guidance = nn.Linear(1, size)
        if config.image_dim is not None:
            self.image = nn.Linear(config.image_dim, size)
        if config.kind == "rich":
            self.rich = nn.Linear(1, 1)

    {body}
"""
