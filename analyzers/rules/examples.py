"""The small FastVideo-shaped tree that rule examples are laid over.

It has what rules resolve against: the DiT base, the config bases, the linear layers, a registry
with one legacy table, and one sound port (`fastvideo/models/dits/sound.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

TREE: Mapping[str, str] = {
    "fastvideo/__init__.py": "",
    "fastvideo/models/__init__.py": "",
    "fastvideo/models/dits/__init__.py": "",
    "fastvideo/models/dits/base.py": """\
from abc import ABC, abstractmethod

from torch import nn

from fastvideo.configs.models import DiTConfig


class BaseDiT(nn.Module, ABC):
    _fsdp_shard_conditions: list = []
    _compile_conditions: list = []
    param_names_mapping: dict
    hidden_size: int
    num_attention_heads: int
    num_channels_latents: int

    def __init_subclass__(cls) -> None:
        required_class_attrs = ["_fsdp_shard_conditions", "param_names_mapping", "_compile_conditions"]
        super().__init_subclass__()
        for attr in required_class_attrs:
            if not hasattr(cls, attr):
                raise AttributeError(f"Subclasses of BaseDiT must define '{attr}' class variable")

    def __init__(self, config: DiTConfig, hf_config: dict, **kwargs) -> None:
        super().__init__()
        self.config = config
        self.hf_config = hf_config

    @abstractmethod
    def forward(self, hidden_states, encoder_hidden_states, timestep, guidance=None, **kwargs):
        pass

    def __post_init__(self) -> None:
        for attr in ("hidden_size", "num_attention_heads", "num_channels_latents"):
            if not hasattr(self, attr):
                raise AttributeError(attr)
""",
    "fastvideo/models/dits/sound.py": """\
import torch
from torch import nn

from fastvideo.configs.models.dits import SoundConfig
from fastvideo.layers.linear import ReplicatedLinear
from fastvideo.models.dits.base import BaseDiT


class SoundBlock(nn.Module):

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.to_q = ReplicatedLinear(dim, dim)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        query, _ = self.to_q(x)
        return x + query


class SoundTransformer3DModel(BaseDiT):
    _fsdp_shard_conditions = SoundConfig()._fsdp_shard_conditions
    _compile_conditions = SoundConfig()._compile_conditions
    param_names_mapping = SoundConfig().param_names_mapping

    def __init__(self, config: SoundConfig, hf_config: dict) -> None:
        super().__init__(config=config, hf_config=hf_config)
        self.hidden_size = config.hidden_size
        self.num_attention_heads = config.num_attention_heads
        self.num_channels_latents = config.num_channels_latents
        self.blocks = nn.ModuleList([SoundBlock(self.hidden_size) for _ in range(config.num_layers)])
        self.__post_init__()

    def forward(self, hidden_states, encoder_hidden_states, timestep, guidance=None, **kwargs):
        for block in self.blocks:  # guidance is unused
            hidden_states = block(hidden_states * timestep)
        return hidden_states + encoder_hidden_states


EntryClass = SoundTransformer3DModel
""",
    "fastvideo/models/registry.py": """\
_TEXT_TO_VIDEO_DIT_MODELS = {
    "SoundTransformer3DModel": ("dits", "sound", "SoundTransformer3DModel"),
}

_LEGACY_FAST_VIDEO_MODELS = {
    **_TEXT_TO_VIDEO_DIT_MODELS,
}
""",
    "fastvideo/layers/__init__.py": "",
    "fastvideo/layers/linear.py": """\
import torch
from torch import nn


class LinearBase(nn.Module):
    pass


class ReplicatedLinear(LinearBase):

    def __init__(self, input_size, output_size, bias=True, skip_bias_add=False, params_dtype=None,
                 quant_config=None, prefix=""):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(output_size, input_size))

    def forward(self, x):
        return nn.functional.linear(x, self.weight), None


class ColumnParallelLinear(LinearBase):

    def forward(self, x):
        return x, None


class RowParallelLinear(LinearBase):

    def forward(self, x):
        return x, None
""",
    "fastvideo/configs/__init__.py": "",
    "fastvideo/configs/models/__init__.py": """\
from fastvideo.configs.models.base import ModelConfig
from fastvideo.configs.models.dits.base import DiTConfig
""",
    "fastvideo/configs/models/base.py": """\
from dataclasses import dataclass, field


@dataclass
class ArchConfig:
    stacked_params_mapping: list = field(default_factory=list)


@dataclass
class ModelConfig:
    arch_config: ArchConfig = field(default_factory=ArchConfig)

    def __getattr__(self, name):
        return getattr(self.arch_config, name)
""",
    "fastvideo/configs/models/dits/base.py": """\
from dataclasses import dataclass, field

from fastvideo.configs.models.base import ArchConfig, ModelConfig


@dataclass
class DiTArchConfig(ArchConfig):
    _fsdp_shard_conditions: list = field(default_factory=list)
    _compile_conditions: list = field(default_factory=list)
    param_names_mapping: dict = field(default_factory=dict)
    reverse_param_names_mapping: dict = field(default_factory=dict)
    lora_param_names_mapping: dict = field(default_factory=dict)
    hidden_size: int = 0
    num_attention_heads: int = 0
    num_channels_latents: int = 0

    def __post_init__(self) -> None:
        if not self._compile_conditions:
            self._compile_conditions = self._fsdp_shard_conditions.copy()


@dataclass
class DiTConfig(ModelConfig):
    arch_config: DiTArchConfig = field(default_factory=DiTArchConfig)
    prefix: str = ""
""",
    "fastvideo/configs/models/dits/sound.py": """\
from dataclasses import dataclass, field

from fastvideo.configs.models.dits.base import DiTArchConfig, DiTConfig


def is_block(name: str, module) -> bool:
    return "blocks" in name and name.split(".")[-1].isdigit()


@dataclass
class SoundArchConfig(DiTArchConfig):
    _fsdp_shard_conditions: list = field(default_factory=lambda: [is_block])
    param_names_mapping: dict = field(
        default_factory=lambda: {
            r"^blocks\\.(\\d+)\\.attn\\.to_q\\.(.*)$": r"blocks.\\1.to_q.\\2",
        })
    hidden_size: int = 64
    num_attention_heads: int = 4
    num_channels_latents: int = 16
    num_layers: int = 2


@dataclass
class SoundConfig(DiTConfig):
    arch_config: DiTArchConfig = field(default_factory=SoundArchConfig)
""",
    "fastvideo/configs/models/dits/__init__.py": """\
from fastvideo.configs.models.dits.sound import SoundConfig

__all__ = ["SoundConfig"]
""",
    "tests/local_tests/sound/test_sound_transformer_parity.py": """\
import pytest
import torch
from official_sound import SoundTransformer
from torch.testing import assert_close

from fastvideo.configs.models.dits import SoundConfig
from fastvideo.models.dits.sound import SoundTransformer3DModel

PARITY_SCOPE = "implementation_subcomponent"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_sound_transformer_parity():
    official = SoundTransformer()
    port = SoundTransformer3DModel(SoundConfig(), {})
    x = torch.randn(1, 16, 4, 4, 4)
    assert_close(port(x, x, x), official(x), atol=1e-2, rtol=1e-2)
""",
    "tests/local_tests/sound/PORT_STATUS.md": """# Sound

## Summary

The transformer is ported and compared.

## Component Matrix

| Component | Official definition | FastVideo target | Parity |
|---|---|---|---|
| transformer | `official_sound.py::SoundTransformer` | `SoundTransformer3DModel` | PASS |
""",
}


def write_tree(root: Path, files: Mapping[str, str | None]) -> None:
    """Writes `TREE` with `files` laid over it below `root`; a text of None leaves the file out."""
    for path, text in {**TREE, **files}.items():
        if text is not None:
            target = root / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text, encoding="utf-8")
