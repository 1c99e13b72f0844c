"""A small configuration that keeps what a model's arithmetic depends on.

Two blocks and two heads of the true size: rotary axes, patch sizes, channels of the latents and lengths of
sinusoids stay, since the code has literals that go with them. What becomes smaller is depth, width, what
comes in as text or image embeddings, hidden widths and vocabularies. Numbers that were equal stay equal, and
different ones of a kind stay different, so that an exchanged one still fails.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

BLOCKS = 2
HEADS = 2

_DEPTH = re.compile(r"(?:num|n)_(?:\w+_)?(?:layers|blocks)|depth(?:_\w+)?")
_HEADS = ("num_attention_heads", "num_heads", "n_heads", "heads")
_KEY_HEADS = ("num_key_value_heads", "num_kv_heads", "n_kv_heads")
_HEAD_DIM = ("attention_head_dim", "head_dim")
_ROPE_AXES = ("axes_dims_rope", "rope_axes_dim", "rope_axes_dims", "axes_dims", "axes_dim", "rope_dim_list")
_WIDTH = ("dim", "hidden_size", "model_dim", "inner_dim", "hidden_dim", "d_model", "embed_dim")
_FEED_FORWARD = re.compile(r"ffn_dim|ff_dim|ffn_hidden_size|intermediate_size|mlp_dim|\w+_intermediate_size")
_EMBEDDING = re.compile(
    r"(?:\w*text|\w*caption|cap|context|joint_attention|cross_attention|pooled|image|img|vision|siglip|clip|"
    r"encoder_hidden_states|crossattn|txt)\w*?(?:dim|feat_dim|channels|size)\w*"
)
_VOCABULARY = re.compile(r"\w*(?:vocab_size|codebook_size|num_embeddings)")
_LAYER_NUMBERS = re.compile(r"\w*_(?:layers|blocks)")
_NO_EMBEDDING = re.compile(r"patch_size|image_size|\w*max\w*|\w*num_tokens|in_channels|out_channels|num_\w+")

_EMBEDDING_SIZES = (48, 40, 56, 24, 72, 88)


def shrink(config: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration made small. Keys that are not understood keep their value.

    `config`: as in a `config.json`, or the defaults of a constructor; nested configurations are shrunk by
    themselves.
    """
    small = _Shrunken(config)
    return {key: small.value(key, value) for key, value in config.items()}


def head_dim(config: Mapping[str, Any]) -> int | None:
    """The size of one head: as it is given, else what the rotary axes add up to, else width by heads."""
    given = _first(config, _HEAD_DIM)
    if given is not None:
        return given
    for name in _ROPE_AXES:
        axes = config.get(name)
        if isinstance(axes, (list, tuple)) and axes and all(_is_count(axis) for axis in axes):
            return sum(axes)
    heads, width = _first(config, _HEADS), _first(config, _WIDTH)
    return width // heads if heads and width and width % heads == 0 else None


class _Shrunken:
    def __init__(self, config: Mapping[str, Any]) -> None:
        heads, size, width = _first(config, _HEADS), head_dim(config), _first(config, _WIDTH)
        if width is None and heads is not None and size is not None:
            width = heads * size
        self._heads = heads or (width // size if width and size else None)
        self._width = width
        self._small_width = HEADS * size if size is not None and width is not None else None
        self._embeddings = dict(_embeddings(config, width))

    def value(self, key: str, value: Any) -> Any:
        if isinstance(value, Mapping):
            return shrink(value)
        if isinstance(value, (list, tuple)):
            return self._sequence(key, value)
        if not _is_count(value):
            return value
        if _DEPTH.fullmatch(key):
            return min(value, BLOCKS)
        if key in _HEADS:
            return min(value, HEADS)
        if key in _KEY_HEADS:
            return max(1, HEADS * value // self._heads) if self._heads else min(value, HEADS)
        if key in _HEAD_DIM:
            return value
        if _VOCABULARY.fullmatch(key):
            return min(value, 64)
        return self._size(key, value)

    def _size(self, key: str, value: int) -> int:
        if self._small_width is not None and self._width is not None and self._small_width < self._width:
            if value == self._width and (key in _WIDTH or key.endswith(("_dim", "_size", "_channels"))):
                return self._small_width
            if _FEED_FORWARD.fullmatch(key):
                return max(8, self._small_width * 3 // 2 // 8 * 8)
        return self._embeddings.get(value, value) if _is_embedding(key) else value

    def _sequence(self, key: str, value: Any) -> Any:
        if value and all(isinstance(item, Mapping) for item in value):
            return type(value)(shrink(item) for item in value)
        if _LAYER_NUMBERS.fullmatch(key) and value and all(_is_number(item) for item in value):
            # Which blocks are of another kind: as many of each kind as two blocks can show.
            kept = [item for item in value if item < BLOCKS]
            return type(value)(kept[:1] if len(kept) == BLOCKS else kept or [0])
        return value


def _embeddings(config: Mapping[str, Any], width: int | None) -> Iterator[tuple[int, int]]:
    """Every size of what comes in as an embedding, and a small one for it. Sizes below 256 stay."""
    found: list[int] = []
    for key, value in config.items():
        if _is_count(value) and _is_embedding(key) and value not in found and value != width and value > 96:
            found.append(value)
    for number, value in enumerate(sorted(found)):
        yield value, _EMBEDDING_SIZES[number % len(_EMBEDDING_SIZES)] + 64 * (number // len(_EMBEDDING_SIZES))


def _is_embedding(key: str) -> bool:
    return _EMBEDDING.fullmatch(key) is not None and _NO_EMBEDDING.fullmatch(key) is None


def _first(config: Mapping[str, Any], names: tuple[str, ...]) -> int | None:
    return next((config[name] for name in names if _is_count(config.get(name))), None)


def _is_number(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_count(value: Any) -> bool:
    return _is_number(value) and value > 0
