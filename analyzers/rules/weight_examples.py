"""The small port that the examples about weights are laid over: a model, its config, and two key dumps."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Final

from analyzers.weights.state import PortState, StateDict, Tensor

MODEL: Final = "fastvideo/models/dits/echo.py"
CONFIG: Final = "fastvideo/configs/models/dits/echo.py"
OFFICIAL: Final = "converted_weights/echo/_mapping/transformer_official_keys.json"
NATIVE: Final = "converted_weights/echo/_mapping/transformer_fastvideo_keys.json"

PORT: Final = """\
import torch
from torch import nn

from fastvideo.configs.models.dits.echo import EchoConfig
from fastvideo.layers.linear import ReplicatedLinear
from fastvideo.models.dits.base import BaseDiT


class EchoBlock(nn.Module):

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.to_q = ReplicatedLinear(dim, dim)
        self.to_k = ReplicatedLinear(dim, dim)
        self.to_v = ReplicatedLinear(dim, dim)

    def forward(self, x):
        return x + self.to_v(self.to_k(self.to_q(x)[0])[0])[0]


class EchoTransformer3DModel(BaseDiT):
    _fsdp_shard_conditions = EchoConfig()._fsdp_shard_conditions
    _compile_conditions = EchoConfig()._compile_conditions
    param_names_mapping = EchoConfig().param_names_mapping

    def __init__(self, config: EchoConfig, hf_config: dict) -> None:
        super().__init__(config=config, hf_config=hf_config)
        self.hidden_size = config.hidden_size
        self.num_attention_heads = config.num_attention_heads
        self.num_channels_latents = config.num_channels_latents
        self.blocks = nn.ModuleList([EchoBlock(self.hidden_size) for _ in range(4)])
        self.scale_shift_table = nn.Parameter(torch.zeros(2, self.hidden_size))
        self.proj_out = ReplicatedLinear(self.hidden_size, self.num_channels_latents)
        self.__post_init__()

    def forward(self, hidden_states, encoder_hidden_states, timestep, guidance=None, **kwargs):
        for block in self.blocks:
            hidden_states = block(hidden_states)
        return self.proj_out(hidden_states * self.scale_shift_table[0])[0]


EntryClass = EchoTransformer3DModel
"""

NATIVE_NAMES: Final[Mapping[str, tuple[int, ...]]] = {
    **{f"blocks.{number}.to_{part}.weight": (64, 64) for number in range(4) for part in "qkv"},
    "scale_shift_table": (2, 64),
    "proj_out.weight": (16, 64),
}

OFFICIAL_NAMES: Final[Mapping[str, tuple[int, ...]]] = {
    **{f"layers.{number}.attn.{part}.weight": (64, 64) for number in range(4) for part in "qkv"},
    "head.modulation": (2, 64),
    "head.weight": (16, 64),
}

Q: Final = r'            r"^layers\.(\d+)\.attn\.q\.(.*)$": r"blocks.\1.to_q.\2",' + "\n"
K: Final = r'            r"^layers\.(\d+)\.attn\.k\.(.*)$": r"blocks.\1.to_k.\2",' + "\n"
V: Final = r'            r"^layers\.(\d+)\.attn\.v\.(.*)$": r"blocks.\1.to_v.\2",' + "\n"
TABLE: Final = r'            r"^head\.modulation$": r"scale_shift_table",' + "\n"
HEAD: Final = r'            r"^head\.(.*)$": r"proj_out.\1",' + "\n"
RULES: Final = Q + K + V + TABLE + HEAD


def config(rules: str = RULES) -> str:
    """The text of the config, the first rule on line 10."""
    return f"""\
from dataclasses import dataclass, field

from fastvideo.configs.models.dits.base import DiTArchConfig, DiTConfig


@dataclass
class EchoArchConfig(DiTArchConfig):
    param_names_mapping: dict = field(
        default_factory=lambda: {{
{rules}        }})


@dataclass
class EchoConfig(DiTConfig):
    arch_config: DiTArchConfig = field(default_factory=EchoArchConfig)
"""


def dump(names: Mapping[str, tuple[int, ...]]) -> str:
    """The text of a key dump."""
    lines = [f'  "{name}": {{"shape": {json.dumps(list(shape))}}}' for name, shape in names.items()]
    return "{\n" + ",\n".join(lines) + "\n}\n"


def dumped(
    rules: str = RULES,
    *,
    official: Mapping[str, tuple[int, ...]] = OFFICIAL_NAMES,
    native: Mapping[str, tuple[int, ...]] = NATIVE_NAMES,
) -> dict[str, str | None]:
    """The port with these rules and both dumps, as files of an example."""
    return {MODEL: PORT, CONFIG: config(rules), OFFICIAL: dump(official), NATIVE: dump(native)}


def measured(
    *,
    official: Mapping[str, tuple[int, ...]] = OFFICIAL_NAMES,
    native: Mapping[str, tuple[int, ...]] = NATIVE_NAMES,
) -> dict[str, PortState]:
    """What would be known of the port if both sides had been built on the meta device."""
    sides = [
        StateDict(source, "class", tuple(Tensor(name, shape, "F32") for name, shape in names.items()))
        for source, names in ((f"{MODEL}::EchoTransformer3DModel", native), ("diffusers:EchoModel", official))
    ]
    return {f"{MODEL}::EchoTransformer3DModel": PortState(native=sides[0], official=sides[1])}
