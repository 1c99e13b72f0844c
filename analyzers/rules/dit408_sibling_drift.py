"""DIT408 sibling-drift: two copies of a function that differ in one numeric detail."""

from __future__ import annotations

import re
from collections.abc import Iterator

from analyzers.findings import Finding, Related, Severity
from analyzers.project.comments import comments_about
from analyzers.project.siblings import Drift, drifts
from analyzers.rules.base import Context, Example, Expected, Rule, Tier

_EXPLAINED = re.compile(
    r"unlike|in contrast|differ|deliberate|intention|on purpose|instead of|official|upstream"
    r"|original (model|code|repo|implementation)|released|reference|checkpoint|parity|swapped|here only",
    re.IGNORECASE,
)


_CONTRASTS = re.compile(
    r"unlike|in contrast|differs? from|difference (to|from|with)|deliberate|intentional|on purpose",
    re.IGNORECASE,
)
"""A docstring speaks of the official model anyway: it has to speak of the difference."""


def check(context: Context) -> Iterator[Finding]:
    """Reports on the copy that stands alone, or on the later one of two."""
    if not context.file.path.startswith(context.profile.dits + "/"):
        return
    for drift in drifts(context.project, context.file.path):
        if _is_explained(context, drift):
            continue
        detail, there = drift.detail, drift.there
        others = f" (as in {drift.siblings - 1} more)" if drift.siblings > 1 else ""
        yield context.finding(
            drift.at,
            f"'{drift.here.name}' is a copy of '{there.name}' in {drift.other.path}{others}, {drift.same} "
            f"statements agree, but {detail.kind} differs: `{detail.here}` here, `{detail.there}` there; "
            "shapes match either way, so only numbers would show a mistake",
            symbol=drift.here.name,
            related=(Related(drift.other, f"`{detail.there}` in '{there.name}'"),),
        )


def _is_explained(context: Context, drift: Drift) -> bool:
    """Whether a comment at either place, or a docstring around it, speaks of the difference."""
    other = context.project.file(drift.other.path)
    for site in (drift.here, drift.there):
        for docstring in (site.function.fact.docstring, site.cls.fact.docstring if site.cls else None):
            if docstring and _CONTRASTS.search(docstring):
                return True
    told = list(comments_about(context.file, drift.at.span))
    told += comments_about(other, drift.other.span) if other is not None else ()
    return any(map(_EXPLAINED.search, told))


_SOUND = "fastvideo/models/dits/sound_blocks.py"
_COPY = "fastvideo/models/dits/sound_copy.py"


def _block(
    name: str,
    *,
    eps: str = "1e-6",
    modulation: str = "x * (1 + scale) + shift",
    chunk: str = "shift, scale, gate",
    comment: str = "",
    activation: str = "nn.GELU(approximate='tanh')",
    result: str = "residual + gate * x",
) -> str:
    """A modulated block of 19 lines."""
    return f"""\
class {name}(nn.Module):

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim, eps={eps})
        self.table = nn.Parameter(torch.zeros(3, dim))
        self.act = {activation}
        self.proj = ReplicatedLinear(dim, dim)

    def forward(self, x: torch.Tensor, temb: torch.Tensor) -> torch.Tensor:
        residual = x
        {chunk} = (self.table + temb).chunk(3, dim=1)
        x = self.norm(x)
{comment}        x = {modulation}
        x, _ = self.proj(self.act(x))
        return {result}


"""


_HEAD = "import torch\nfrom torch import nn\n\nfrom fastvideo.layers.linear import ReplicatedLinear\n\n\n"

RULE = Rule(
    code="DIT408",
    name="sibling-drift",
    severity=Severity.INFORMATION,
    tier=Tier.PROJECT,
    summary="two copies of a block differ in one numeric detail",
    what=(
        "Compares the functions of a file with each other and with those of the other ports, statement by "
        "statement, whatever the local names, comments and annotations. Where at least three quarters of "
        "two functions agree and one or two statements differ in a numeric detail alone, reports that "
        "detail: a constant, `eps`, a scale factor, `1 + scale` against `scale`, a cast or dtype, the order "
        "of arguments or of what is unpacked, the activation, a sign, an operator. Of several copies the "
        "one that stands alone is reported, of two the later one."
    ),
    why=(
        "Ports grow by copying. A detail that was changed in one copy only (a fix that the sibling never "
        "got, an order that the other checkpoint does not have) keeps every shape and every key, so nothing "
        "fails: only the numbers drift."
    ),
    how=(
        "Look at both official implementations. Where they agree, mend the copy that does not. Where they "
        "differ, say so in a comment at the place (`unlike ...`, `the official ...`)."
    ),
    exceptions=(
        "Functions of fewer than four statements. Sizes, axes and indices, which change shapes. Defaults of "
        "parameters. Copies that differ in more than two details or in a quarter of their statements. Two "
        "forms that each have several copies. Places where a comment or the docstring speaks of the "
        "difference."
    ),
    source="`docs/contributing/`; `.agents/skills/add-model-03-port-dit/SKILL.md`, Implementation Rules",
    check=check,
    valid=(
        Example(
            "moved to a device in one of them",
            {
                _SOUND: _HEAD
                + _block("SoundSelf")
                + _block("SoundCross", result="residual + gate * x.to(device=temb.device)")
            },
        ),
        Example("equal copies", {_SOUND: _HEAD + _block("SoundSelf") + _block("SoundCross")}),
        Example(
            "explained by a comment",
            {
                _SOUND: _HEAD
                + _block("SoundSelf")
                + _block(
                    "SoundCross",
                    modulation="x * scale + shift",
                    comment="        # Unlike SoundSelf, the table holds 1 + scale.\n",
                )
            },
        ),
        Example(
            "another width, another number of chunks",
            {
                _SOUND: _HEAD
                + _block("SoundSelf")
                + _block("SoundCross").replace("zeros(3, dim)", "zeros(6, dim)").replace("chunk(3", "chunk(6")
            },
        ),
        Example(
            "a block that does something else",
            {
                _SOUND: _HEAD
                + _block("SoundSelf")
                + _block("SoundCross", modulation="x + shift").replace("self.act(x)", "x")
                + "    def gate(self, x):\n        return x\n"
            },
        ),
        Example(
            "two forms that each have copies",
            {
                _SOUND: _HEAD + _block("SoundA") + _block("SoundB", eps="1e-5"),
                _COPY: _HEAD + _block("SoundC") + _block("SoundD", eps="1e-5"),
            },
        ),
        Example(
            "another default of a parameter",
            {
                _SOUND: _HEAD
                + _block("SoundSelf")
                .replace("dim: int", "dim: int, eps: float = 1e-6")
                .replace("=1e-6)", "=eps)")
                + _block("SoundCross")
                .replace("dim: int", "dim: int, eps: float = 1e-5")
                .replace("=1e-6)", "=eps)")
            },
        ),
    ),
    invalid=(
        Example(
            "the scale without its one",
            {_SOUND: _HEAD + _block("SoundSelf") + _block("SoundCross", modulation="x * scale + shift")},
            findings=(Expected(_SOUND, 38, "an added constant differs: `scale` here, `1 + scale` there"),),
        ),
        Example(
            "another eps, in a copy of another port",
            {_SOUND: _HEAD + _block("SoundBlock"), _COPY: _HEAD + _block("CopyBlock", eps="1e-5")},
            findings=(Expected(_COPY, 11, "'eps' differs: `1e-05` here, `1e-06` there"),),
        ),
        Example(
            "the order of what is unpacked",
            {_SOUND: _HEAD + _block("SoundSelf") + _block("SoundCross", chunk="scale, shift, gate")},
            findings=(Expected(_SOUND, 36, "the order differs: `(scale, shift, gate)` here"),),
        ),
        Example(
            "the one copy of three that differs, though it comes first",
            {
                _SOUND: _HEAD
                + _block("SoundA", result="residual + gate * x.float()")
                + _block("SoundB")
                + _block("SoundC")
            },
            findings=(Expected(_SOUND, 22, "(as in 1 more)"),),
        ),
        Example(
            "another activation, a sign",
            {
                _SOUND: _HEAD + _block("SoundSelf"),
                _COPY: _HEAD
                + _block("CopyBlock", activation="nn.GELU()", result="residual - gate * x").replace(
                    "temb", "t"
                ),
            },
            findings=(
                Expected(_COPY, 13, "'approximate' differs: `no approximate` here"),
                Expected(_COPY, 22, "an operator differs"),
            ),
        ),
        Example(
            "renamed, and without a cast",
            {
                _SOUND: _HEAD + _block("SoundSelf", result="residual + gate.float() * x"),
                _COPY: _HEAD
                + _block("CopyBlock").replace("residual", "skip").replace("temb", "emb").replace("gate", "g"),
            },
            findings=(Expected(_COPY, 22, "a cast differs: `g` here"),),
        ),
    ),
)
