"""A small official transformer and its port, clean or with errors. Runs under the project's torch."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

from ditproof_probe.problems import Inside

WIDTH, HEADS = 32, 2


@dataclass
class Output:
    sample: torch.Tensor


class OfficialAttention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.to_q, self.to_k, self.to_v = (nn.Linear(WIDTH, WIDTH) for _ in range(3))
        self.norm_q, self.norm_k = (nn.LayerNorm(WIDTH // HEADS, eps=1e-6) for _ in range(2))
        self.to_out = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: torch.Tensor, rope: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        heads = [f(x).unflatten(-1, (HEADS, -1)).transpose(1, 2) for f in (self.to_q, self.to_k, self.to_v)]
        q, k, v = self.norm_q(heads[0]), self.norm_k(heads[1]), heads[2]
        q, k = (
            (t * rope[0] + torch.cat([-t[..., 8:], t[..., :8]], -1) * rope[1]).to(v.dtype) for t in (q, k)
        )
        out = F.scaled_dot_product_attention(q, k, v)
        return self.to_out(out.transpose(1, 2).flatten(2))


class OfficialBlock(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.mod = nn.Linear(WIDTH, 3 * WIDTH)
        self.norm1, self.norm2 = (nn.LayerNorm(WIDTH, eps=1e-6) for _ in range(2))
        self.attn = OfficialAttention()
        self.up, self.down = nn.Linear(WIDTH, 64), nn.Linear(64, WIDTH)

    def forward(self, x: torch.Tensor, temb: torch.Tensor, rope: Any) -> torch.Tensor:
        shift, scale, gate = self.mod(temb)[:, None].chunk(3, dim=-1)
        attention = self.attn(self.norm1(x) * (1 + scale) + shift, rope)
        x = x + gate * attention
        return x + self.down(F.gelu(self.up(self.norm2(x)), approximate="tanh"))


class Official(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.time = nn.Linear(8, WIDTH), nn.Linear(4, WIDTH)
        self.blocks = nn.ModuleList(OfficialBlock() for _ in range(2))
        self.head = nn.Linear(WIDTH, 8)
        self.act = nn.SiLU()

    def forward(self, hidden_states: torch.Tensor, timestep: torch.Tensor) -> Output:
        angles = torch.arange(hidden_states.shape[1])[:, None] / 10 ** (torch.arange(8) / 8)[None]
        rope = (angles.cos().repeat(1, 2), angles.sin().repeat(1, 2))
        temb = self.act(self.time(timestep))
        x = self.embed(hidden_states)
        for block in self.blocks:
            x = block(x, temb, rope)
        return Output(self.head(self.act(x)))


class TupleLinear(nn.Linear):
    """As FastVideo's ReplicatedLinear: the output, and a bias that is not added."""

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, None]:  # type: ignore[override]
        return F.linear(x, self.weight, self.bias), None


def rotated(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, error: str) -> torch.Tensor:
    first, second = x.chunk(2, dim=-1)
    turned = torch.cat([-second, first], dim=-1)
    if error == "rope sign":
        turned = torch.cat([second, -first], dim=-1)
    return (x * cos[:, None] + turned * sin[:, None]).to(x.dtype)


class PortBlock(nn.Module):
    def __init__(self, error: str) -> None:
        super().__init__()
        self.error = error
        self.modulation = TupleLinear(WIDTH, 3 * WIDTH)
        self.norm1 = nn.LayerNorm(WIDTH, eps=1e-4 if error == "eps" else 1e-6)
        self.norm2 = nn.LayerNorm(WIDTH, eps=1e-6)
        self.qkv = TupleLinear(WIDTH, 3 * WIDTH)
        self.norm_q, self.norm_k = (nn.LayerNorm(WIDTH // HEADS, eps=1e-6) for _ in range(2))
        self.proj = TupleLinear(WIDTH, WIDTH)
        self.fc1, self.fc2 = TupleLinear(WIDTH, 64), TupleLinear(64, WIDTH)

    def forward(self, hidden: torch.Tensor, vec: torch.Tensor, cos: Any, sin: Any) -> torch.Tensor:
        chunks = self.modulation(vec)[0].unsqueeze(1).chunk(3, dim=-1)
        if self.error == "swapped chunks":
            scale, shift, gate = chunks
        else:
            shift, scale, gate = chunks
        normed = self.norm1(hidden)
        normed.mul_(1 + scale).add_(shift)
        q, k, v = (t.unflatten(-1, (HEADS, -1)) for t in self.qkv(normed)[0].chunk(3, dim=-1))
        q, k = self.norm_q(q), self.norm_k(k)
        q, k = rotated(q, cos, sin, self.error), rotated(k, cos, sin, self.error)
        given = {"scale": 0.3} if self.error == "softmax scale" else {}
        out = F.scaled_dot_product_attention(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), **given)
        out, _ = self.proj(out.transpose(1, 2).flatten(2))
        hidden = hidden + out if self.error == "no gate" else hidden + gate * out
        up = F.gelu(self.fc1(self.norm2(hidden))[0], approximate="none" if self.error == "gelu" else "tanh")
        return hidden + self.fc2(up)[0]


class Port(nn.Module):
    def __init__(self, errors: dict[int, str]) -> None:
        super().__init__()
        self.x_embedder, self.time_in = TupleLinear(8, WIDTH), TupleLinear(4, WIDTH)
        self.layers = nn.ModuleList(PortBlock(errors.get(place, "")) for place in range(2))
        self.final = TupleLinear(WIDTH, 8)
        self.silu = nn.SiLU()
        self.error = errors.get(-1, "")
        self.cache: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}

    def rope(self, length: int) -> tuple[torch.Tensor, torch.Tensor]:
        if length not in self.cache:
            base = 20 if self.error == "theta" else 10
            angles = torch.arange(length)[:, None] / base ** (torch.arange(8) / 8)[None]
            self.cache[length] = (angles.cos().repeat(1, 2), angles.sin().repeat(1, 2))
        return self.cache[length]

    def forward(self, x: torch.Tensor, t: torch.Tensor) -> tuple[torch.Tensor]:
        if self.error == "raises":
            raise RuntimeError("no such kernel")
        vec = self.silu(self.time_in(t)[0])
        hidden, _ = self.x_embedder(x)
        if self.error == "rolled tokens":
            hidden = hidden.roll(2, dims=1)
        cos, sin = self.rope(x.shape[1])
        for layer in self.layers[1:] if self.error == "skipped block" else self.layers:
            hidden = layer(hidden, vec, cos=cos, sin=sin)
        return (self.final.forward(self.silu(hidden))[0],)


def fillings(name: str) -> list[tuple[str, tuple[int, int] | None]]:
    """The port's modules that an official one fills, with the part."""
    for old, new in (("embed", "x_embedder"), ("time", "time_in"), ("head", "final")):
        if name == old:
            return [(new, None)]
    parts = name.split(".")
    if parts[0] != "blocks":
        return []
    names = {
        "mod": ("modulation", None),
        "norm1": ("norm1", None),
        "norm2": ("norm2", None),
        "up": ("fc1", None),
        "down": ("fc2", None),
        "attn.to_q": ("qkv", (0, 3)),
        "attn.to_k": ("qkv", (1, 3)),
        "attn.to_v": ("qkv", (2, 3)),
        "attn.norm_q": ("norm_q", None),
        "attn.norm_k": ("norm_k", None),
        "attn.to_out": ("proj", None),
    }
    found = names.get(".".join(parts[2:]))
    return [] if found is None else [(f"layers.{parts[1]}.{found[0]}", found[1])]


@dataclass
class ToyTwin:
    """As `ditproof_probe.tiny.building.Twin`, for models of our own."""

    official: nn.Module
    port: nn.Module
    named: Callable[..., tuple[dict[str, Any], dict[str, Any]]]
    cases: tuple[str, ...] = ("plain",)
    inside: Inside = field(default_factory=lambda: Inside(("/",)))

    def inputs(self, case: str, dtype: torch.dtype) -> tuple[dict[str, Any], dict[str, Any]]:
        return self.named(case, dtype)

    def run_official(self, kwargs: Any, model: nn.Module | None = None) -> Any:
        with torch.no_grad():
            return (model or self.official)(**kwargs)

    def run_native(self, kwargs: Any) -> Any:
        with torch.no_grad():
            return self.port(**kwargs)

    def outputs(self, official: Any, native: Any) -> tuple[Any, Any]:
        return official, native

    def to(self, dtype: torch.dtype) -> ToyTwin:
        models = copy.deepcopy(self.official).to(dtype), copy.deepcopy(self.port).to(dtype)
        return ToyTwin(*models, self.named, self.cases)


def dit_inputs(case: str, dtype: torch.dtype) -> tuple[dict[str, Any], dict[str, Any]]:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(2, 6, 8, generator=generator).to(dtype)
    t = torch.randn(2, 4, generator=generator).to(dtype)
    return {"hidden_states": x.clone(), "timestep": t.clone()}, {"x": x.clone(), "t": t.clone()}


def dit(errors: dict[int, str] | None = None) -> ToyTwin:
    """The transformer and its port; `errors`: by block, -1 for the model around them."""
    torch.manual_seed(0)
    official, port = Official().eval(), Port(errors or {}).eval()
    with torch.no_grad():
        for parameter in official.parameters():
            parameter.copy_(torch.randn_like(parameter) / max(parameter.shape[-1], 1) ** 0.5)
        for name, module in official.named_modules():
            for target, part in fillings(name):
                for key, parameter in module.named_parameters(recurse=False):
                    into = dict(port.get_submodule(target).named_parameters())[key]
                    into = into if part is None else into.chunk(part[1])[part[0]]
                    into.copy_(parameter)
    return ToyTwin(official, port, dit_inputs)


def pairs(twin: ToyTwin, observed: dict[str, Any]) -> list[dict[str, Any]]:
    """Entries and exits of all filled modules, the k-th tensor with the k-th."""
    calls = {
        side: {call["module"]: call for call in observed[side]["calls"]} for side in ("official", "native")
    }
    found: list[dict[str, Any]] = []
    for name in calls["official"]:
        for target, part in fillings(name):
            if target not in calls["native"]:
                continue
            for end, key in (("in", "inputs"), ("out", "outputs")):
                taps = zip(calls["official"][name][key], calls["native"][target][key], strict=True)
                for right, left in taps:
                    found.append(
                        {
                            "number": len(found),
                            "official": [name, 0, end, right["label"]],
                            "native": [target, 0, end, left["label"]],
                            "part": list(part) if part and end == "out" else None,
                            "why": "weights",
                        }
                    )
    return found
