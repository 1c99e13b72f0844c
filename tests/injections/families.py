"""The real ports that errors are written into, and what is kept apart until the end.

The split was written down before anything was run (docs/accuracy/trace.md). Of the held-out families and
kinds no single result is looked at while the comparison is built: they are counted, apart.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Family:
    """One pair of models. `port`: module and class. `recipe`: the built-in recipe where it is not the one of
    the class. `apart_from`: a building family whose lines in the same file are not edited here. `differs_at`:
    a line of the clean port that computes something else, as its comparison has to say."""

    name: str
    module: str
    cls: str
    official: str
    recipe: str | None = None
    held_out: bool = False
    apart_from: str | None = None
    differs_at: str | None = None

    @property
    def path(self) -> str:
        """The port's file, relative to the root of the tree."""
        return self.module.replace(".", "/") + ".py"


def _family(name: str, file: str, cls: str, official: str | None = None, **more: object) -> Family:
    reference = f"diffusers:{official or cls}"
    return Family(name, f"fastvideo.models.dits.{file}", cls, reference, **more)  # type: ignore[arg-type]


FAMILIES = (
    _family("wan", "wanvideo", "WanTransformer3DModel"),
    _family("flux", "flux", "FluxTransformer2DModel"),
    _family("hunyuanvideo", "hunyuanvideo", "HunyuanVideoTransformer3DModel"),
    _family("sd3", "sd3", "SD3Transformer2DModel"),
    _family("flux2", "flux_2", "Flux2Transformer2DModel", held_out=True),
    _family("zimage", "zimage", "ZImageTransformer2DModel"),
    _family("hunyuanvideo15", "hunyuanvideo15", "HunyuanVideo15Transformer3DModel"),
    _family(
        "wan_i2v", "wanvideo", "WanTransformer3DModel", recipe="wan_i2v", held_out=True, apart_from="wan"
    ),
)

COSMOS = _family("cosmos", "cosmos", "CosmosTransformer3DModel", differs_at="fps = 16")
"""Run clean alone: it leaves aside the `fps` that its caller gives."""

HELD_OUT_KINDS = frozenset(
    {
        "softmax-scale",
        "gate-order",
        "rope-offset",
        "head-order",
        "constant-conditioning",
        "wrong-residual",
    }
)


def is_held_out(family: Family, kind: str) -> bool:
    """Whether single results of this family and kind stay unseen until the end."""
    return family.held_out or kind in HELD_OUT_KINDS
