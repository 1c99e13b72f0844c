"""A trace of a small port as its parts would have told it, for the tests of its texts."""

from __future__ import annotations

from analyzers.findings import Location, Span
from analyzers.numeric.records import Address, Built, OutputReading, Pair, Reading
from analyzers.numeric.verdicts import Divergence, Mismatch, NumericVerdict, Spot
from lsp_server.checks.trace_result import Compared, TraceResult

PORT_FILE = "fastvideo/models/dits/sound.py"
OFFICIAL_FILE = "/site-packages/official/sound.py"
PORT_TEXT = """\
class SoundTransformer3DModel(CachableDiT):
    def __init__(self, dim: int) -> None:
        self.norm = LayerNorm(dim, eps=1e-5)
        self.proj = ReplicatedLinear(
            dim,
            dim,
        )
"""
OFFICIAL_TEXT = """\
class Sound(nn.Module):
    def __init__(self, dim):
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
"""


def pair(number: int, module: str, official: str | None = None) -> Pair:
    """The outputs of two modules."""
    names = (official if official is not None else module, module)
    ends = [Address(name, 0, "out", "out") for name in names]
    return Pair(number, ends[0], ends[1], None, "weights")


def reading(number: int, error: float | None, floor: float | None = 2e-7) -> Reading:
    """A pair that was compared."""
    shapes = ((2, 8), (2, 8))
    dtypes = ("float32", "float32")
    return Reading(
        number, "compared", error, error, error, 1.0, floor, None, False, dtypes, shapes, (0, 0), True
    )


PAIRS = (pair(0, "embed"), pair(1, "blocks.0.norm", "blocks.0.norm1"), pair(2, "proj", "proj_out"))

EPS = Divergence(
    kind="inside",
    pair=PAIRS[1],
    native=Spot("blocks.0.norm", PORT_FILE, 2, 2),
    official=Spot("blocks.0.norm1", OFFICIAL_FILE, 2, 2),
    error=2.2e-6,
    floor=2e-7,
    after=("embed",),
    message="layer_norm takes eps 1e-05, the official model 1e-06",
    mismatch=Mismatch(
        "constant",
        "aten.layer_norm.default(x, eps=1e-05)",
        "aten.layer_norm.default(x, eps=1e-06)",
        Spot("blocks.0.norm", PORT_FILE, 2, 2),
        Spot("blocks.0.norm1", OFFICIAL_FILE, 2, 2),
    ),
    also=(Spot("blocks.1.norm", PORT_FILE, 2, 2),),
    calls=2,
)
PROJ = Divergence(
    kind="between",
    pair=PAIRS[2],
    native=Spot("proj", PORT_FILE, 3, 6),
    official=Spot("proj_out", None, None, None),
    error=float("inf"),
    floor=None,
    after=(),
    message="the projection gets another input",
)
OUTPUT = OutputReading(
    "sample", "out", 0.012, 0.001, 3.1e-3, ((1, 4), (1, 4)), ("float32", "float32"), (0, 0)
)
FAILED = NumericVerdict(
    status="failed",
    reason="2 places compute something else, and the outputs differ.",
    outputs=(OUTPUT,),
    divergences=(EPS, PROJ),
    reaches_outputs=True,
    drifting=("out",),
    unlocated=False,
    layouts=("attn has its heads flattened",),
    unaligned=(("official", "pos_embed"), ("native", "rotary")),
    not_fired=("blocks.0.mlp",),
    taps=40,
    aligned=3,
    drift=(
        (reading(0, 0.0), reading(0, 0.0)),
        (reading(1, 2.2e-6), reading(1, 2.2e-6)),
        (reading(2, 3.1e-3), reading(2, float("inf"), None)),
    ),
    notes=("case batch was compared too",),
)
COMPARED = Compared(
    official="diffusers:Sound",
    official_because="a test takes it",
    recipe="sound",
    recipe_because="built in",
    device="cpu",
    dtype="bfloat16",
    seed=0,
    cases=("plain", "batch"),
    port_place=Location(PORT_FILE, Span(0, 6, 0, 29)),
    official_place=Location(OFFICIAL_FILE, Span(0, 6, 0, 11)),
    dropped=(("qk_norm", "no field of the arch config"),),
)
BUILT = Built((), (), (), ("proj.bias",), (), ("plain", "batch"))


def failed() -> TraceResult:
    """Two errors; the first one is a constant."""
    return TraceResult(
        port="SoundTransformer3DModel",
        status="failed",
        reason=FAILED.reason,
        next_step="",
        seconds=1.234,
        compared=COMPARED,
        verdict=FAILED,
        built=BUILT,
        pairs=PAIRS,
        notes=("seen on the CPU",),
        parts={"building": 0.5, "running": 0.7},
    )


def passed() -> TraceResult:
    """No error, and an output that is equal in every bit."""
    verdict = NumericVerdict(
        status="passed",
        reason="every aligned place agrees",
        outputs=(OutputReading("sample", "out", 0.0, 0.0, 0.0, ((1,), (1,)), ("f", "f"), (0, 0)),),
        divergences=(),
        reaches_outputs=False,
        unlocated=False,
        layouts=(),
        unaligned=(),
        not_fired=(),
        taps=40,
        aligned=3,
        drift=((reading(0, 0.0), reading(0, 0.0)),),
    )
    return TraceResult(
        port="SoundTransformer3DModel",
        status="passed",
        reason=verdict.reason,
        next_step="",
        seconds=0.5,
        compared=COMPARED,
        verdict=verdict,
        pairs=PAIRS,
    )
