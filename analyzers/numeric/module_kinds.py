"""Kinds of modules, by the names of their classes, which the code bases name apart.

FastVideo's layers end in the names of the torch layers that they stand for (`ReplicatedLinear`,
`FP32LayerNorm`), diffusers' too.
"""

from __future__ import annotations

import re

_WITH_PARAMETERS = (
    ("linear", re.compile(r"Linear(\d+bit(Lt)?|NF4|FP4)?$")),
    ("convolution", re.compile(r"Conv(Transpose)?[123]d$")),
    ("norm", re.compile(r"(Layer|RMS|Rms|Group|Batch|Instance)Norm([123]d|NoWeight)?$")),
    ("embedding", re.compile(r"^(nn)?(VocabParallel|Parallel)?Embedding$")),
)

_ACTIVATIONS = frozenset(
    (
        "SiLU",
        "Swish",
        "GELU",
        "NewGELU",
        "QuickGELU",
        "FastGELU",
        "ApproximateGELU",
        "TanhGELU",
        "GELUTanh",
        "FP32SiLU",
        "ReLU",
        "LeakyReLU",
        "ELU",
        "Mish",
        "Sigmoid",
        "Tanh",
        "Softplus",
        "Hardswish",
        "SiluAndMul",
        "GeluAndMul",
        "SwiGLU",
        "GEGLU",
        "ReLUSquaredActivation",
    )
)

_NO_WORK = frozenset(
    {"Dropout", "Identity", "ModuleList", "ModuleDict", "Dropout1d", "Dropout2d", "Dropout3d"}
)


def kind_of(cls: str) -> str | None:
    """`linear`, `convolution`, `norm`, `embedding` or `activation`; None for anything else.

    A class of such a kind takes one tensor and gives one, so its calls begin and end at the same places
    whatever code base it comes from.
    """
    name = cls.rpartition(".")[2]
    if name in _ACTIVATIONS:
        return "activation"
    return next((kind for kind, pattern in _WITH_PARAMETERS if pattern.search(name)), None)


def works(cls: str) -> bool:
    """Whether a module of this class computes something: dropout in evaluation and containers do not."""
    return cls.rpartition(".")[2] not in _NO_WORK
