"""State dicts without their values: names, shapes and dtypes, and where they come from."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, TypeAlias

Origin: TypeAlias = Literal["checkpoint", "dump", "class"]
"""`checkpoint`: headers of safetensors files. `dump`: a `*_keys.json` file. `class`: a model built on the
meta device."""


@dataclass(frozen=True)
class Tensor:
    """One entry of a state dict.

    `shape`: dimensions in the tensor's own order, None where the source tells none. `dtype`: the code that
    safetensors uses (`F32`, `BF16`, `F8_E4M3`, `I64`, ...), None where the source tells none. `buffer`: a
    persistent buffer, not a parameter. `tied`: the name of an earlier entry that is the same storage.
    `reshapes`: the port's own `weight_loader` may take a tensor of another shape.
    """

    name: str
    shape: tuple[int, ...] | None = None
    dtype: str | None = None
    buffer: bool = False
    tied: str | None = None
    reshapes: bool = False


@dataclass(frozen=True)
class StateDict:
    """The entries of one side in the order in which a loader meets them, each name once.

    `source`: what a user calls it (`diffusers:WanTransformer3DModel`, a path).
    """

    source: str
    origin: Origin
    tensors: tuple[Tensor, ...]

    @cached_property
    def by_name(self) -> Mapping[str, Tensor]:
        """The entries by name."""
        return {tensor.name: tensor for tensor in self.tensors}

    @cached_property
    def names(self) -> tuple[str, ...]:
        """All names, in order."""
        return tuple(tensor.name for tensor in self.tensors)

    @cached_property
    def digest(self) -> str:
        """Equal for equal entries in equal order, whatever the source; to key what is derived."""
        text = repr([(t.name, t.shape, t.dtype, t.buffer, t.tied, t.reshapes) for t in self.tensors])
        return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


@dataclass(frozen=True)
class GatedNames:
    """What one setting of the arch config adds: `field` set to `value` (as text).

    `tensors`: to the port. `official`: to the official class, None where that has no such setting or could
    not be built with it.
    """

    field: str
    value: str
    tensors: tuple[Tensor, ...]
    official: tuple[Tensor, ...] | None = None


@dataclass(frozen=True)
class PortState:
    """All that is known of the names of one port and of what fills it.

    `native`: the port's own state dict, None where it could not be built. `official`: the other side, None
    where it is not known. `gated`: what further configurations of the port would have. `mapping`,
    `reverse`, `lora`: the class's rules as they were when it was built (pattern, target, merge), None where
    nothing was built. `dropped`: names of the official configuration that the arch config has no field for,
    with their values as text. `ignored`: patterns of names that a checkpoint may hold beside those of the
    official class (diffusers' `_keys_to_ignore_on_load_unexpected`).
    `contradicted`: those of the mappings (attribute names) of which the sources, as they were when the class
    was built, said something else than the class held, so that reading them tells nothing.
    """

    native: StateDict | None = None
    official: StateDict | None = None
    gated: tuple[GatedNames, ...] = ()
    mapping: tuple[RuleText, ...] | None = None
    reverse: tuple[RuleText, ...] | None = None
    lora: tuple[RuleText, ...] | None = None
    dropped: tuple[tuple[str, str], ...] = ()
    ignored: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    contradicted: frozenset[str] = frozenset()

    @cached_property
    def digest(self) -> str:
        """Equal for equal knowledge."""
        sides = [side.digest if side is not None else None for side in (self.native, self.official)]
        rules = (self.mapping, self.reverse, self.lora, sorted(self.contradicted))
        text = repr((sides, self.gated, rules, self.dropped, self.ignored, self.notes))
        return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


RuleText: TypeAlias = "tuple[str, str, tuple[int, int] | None]"
"""Pattern, target, and (index, n) of a merge."""
