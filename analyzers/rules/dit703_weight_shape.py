"""DIT703 weight-shape: a parameter whose shape differs from what arrives after mapping and merging."""

from __future__ import annotations

from analyzers.findings import Severity
from analyzers.rules.base import Example, Expected, Rule, Tier
from analyzers.rules.weight_examples import CONFIG, MODEL, NATIVE_NAMES, OFFICIAL_NAMES, PORT, RULES, dumped
from analyzers.rules.weight_findings import weight_findings

_FUSED = PORT.replace("self.to_q = ReplicatedLinear(dim, dim)\n        self.to_k", "self.to_qk")
_FUSED_NAMES = {
    name.replace("to_q", "to_qk"): (128, 64) if "to_q" in name else shape
    for name, shape in NATIVE_NAMES.items()
    if "to_k" not in name
}


def _merge(source: str, index: int) -> str:
    value = rf'(r"blocks.\1.to_qk.\2", {index}, 2)'
    return rf'            r"^layers\.(\d+)\.attn\.{source}\.(.*)$": {value},' + "\n"


_MERGED = _merge("q", 0) + _merge("k", 1) + RULES.split("\n", 2)[2]

RULE = Rule(
    code="DIT703",
    name="weight-shape",
    severity=Severity.ERROR,
    tier=Tier.WEIGHTS,
    summary="a parameter whose shape differs from what arrives after mapping and merging",
    what=(
        "Puts every name of a checkpoint, or of a dump of one, through the mapping as the loader does, "
        "concatenates what is merged along dimension 0, and reports the parameters of the port that get "
        "another shape than their own, or numbers of another kind: once for each cause, at the rule that "
        "brings them there, else at the line that builds the module. Where the names come from, DIT701 says."
    ),
    why=(
        "The loader fails at the first of them, after minutes. Where shapes differ, a rule sends a tensor to "
        "the wrong place, a fused tensor should be split, or the port was built with another configuration."
    ),
    how=(
        "Correct the target or the merge, or the dimensions that the arch config gives; both shapes are in "
        "the message."
    ),
    exceptions=(
        "Parameters whose own `weight_loader` may take another shape. Sides that tell no shapes. Names that "
        "are held against a class and not a checkpoint (DIT609). Ports for which names of one side are not "
        "known, and dumps that are out of date (see DIT701)."
    ),
    source="`fastvideo/models/loader/fsdp_load.py`, `load_model_from_full_model_state_dict`",
    check=weight_findings,
    reports_missing=True,
    valid=(
        Example("all shapes agree", dumped()),
        Example("two that make the third", dumped(_MERGED, native=_FUSED_NAMES) | {MODEL: _FUSED}),
        Example(
            "a dump without shapes is one of names",
            dumped()
            | {
                "converted_weights/echo/_mapping/transformer_official_keys.json": str(
                    [*OFFICIAL_NAMES]
                ).replace("'", '"')
            },
        ),
    ),
    invalid=(
        Example(
            "a rule that sends two tensors to each other's place",
            dumped(
                RULES.replace('r"scale_shift_table"', r'r"proj_out.weight"').replace(
                    r'r"^head\.(.*)$": r"proj_out.\1"', r'r"^head\.weight$": r"scale_shift_table"'
                )
            ),
            findings=(
                Expected(CONFIG, 13, "is [16, 64] and gets [2, 64]", Severity.ERROR),
                Expected(CONFIG, 14, "is [2, 64] and gets [16, 64]"),
            ),
        ),
        Example(
            "another configuration",
            dumped(official={**OFFICIAL_NAMES, "head.weight": (32, 64)}),
            findings=(Expected(CONFIG, 14, "proj_out.weight is [16, 64] and gets [32, 64]"),),
        ),
    ),
)
