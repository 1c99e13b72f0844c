"""DIT701 weight-missing: a parameter of the port that no name of the checkpoint fills."""

from __future__ import annotations

from analyzers.findings import Severity
from analyzers.rules.base import Example, Expected, Rule, Tier
from analyzers.rules.weight_examples import CONFIG, MODEL, NATIVE_NAMES, OFFICIAL_NAMES, PORT, dumped
from analyzers.rules.weight_findings import weight_findings

_WITH_GATE = PORT.replace(
    "        self.to_v =", "        self.to_gate = ReplicatedLinear(dim, dim)\n        self.to_v ="
)
_GATED_NAMES = {**NATIVE_NAMES, "blocks.0.to_gate.weight": (64, 64), "blocks.1.to_gate.weight": (64, 64)}

RULE = Rule(
    code="DIT701",
    name="weight-missing",
    severity=Severity.ERROR,
    tier=Tier.WEIGHTS,
    summary="a parameter of the port that no name of the checkpoint fills",
    what=(
        "Puts every name of a checkpoint, or of a dump of one, through the mapping as the loader does, and "
        "reports the parameters of the port that stay empty: once for each cause, at the rule that caused it "
        "(its pattern matches nothing, or it writes another name), else at the line that builds the module. "
        "The names come from the key dumps of the port workflow "
        "(`converted_weights/<family>/_mapping/<component>_official_keys.json` and "
        "`..._fastvideo_keys.json`), or from what was measured in the editor, which counts more."
    ),
    why=(
        "A strict load fails after minutes and names the parameter, not the rule. A load that is not strict "
        "leaves it as it was initialised, and the picture is noise."
    ),
    how="Correct the rule, or write the one that is missing: the message names what stays empty.",
    exceptions=(
        "What the loader allows to stay empty (`gate_compress`, `proj_l`). A dump of the port that has a "
        "name which the code cannot build any more is out of date and does not count; whether one lacks a "
        "name that the code has since been given cannot be told from the code alone: write the dump again "
        "when the model changes. Ports for which names of one side are not known. Names that are held "
        "against a class and not a checkpoint (DIT609). Parameters that stay empty because of a collision, "
        "an incomplete merge or a shadowed rule (DIT309, DIT310, DIT307)."
    ),
    source="`fastvideo/models/loader/fsdp_load.py`, `load_model_from_full_model_state_dict`",
    check=weight_findings,
    reports_missing=True,
    valid=(
        Example("every parameter is filled", dumped()),
        Example(
            "what the loader allows to stay empty",
            dumped(native={**NATIVE_NAMES, "blocks.0.to_gate_compress.weight": (64, 64)})
            | {MODEL: _WITH_GATE.replace("to_gate", "to_gate_compress")},
        ),
        Example(
            "a dump of the port that is out of date",
            dumped(native={**NATIVE_NAMES, "camera.weight": (64, 64)}),
        ),
        Example("no dumps", {MODEL: _WITH_GATE, CONFIG: dumped()[CONFIG]}),
    ),
    invalid=(
        Example(
            "a module that no name is for: the line that builds it",
            dumped(native=_GATED_NAMES) | {MODEL: _WITH_GATE},
            findings=(
                Expected(MODEL, 15, "nothing fills 2 parameters (blocks.0.to_gate.weight, ", Severity.ERROR),
            ),
        ),
        Example(
            "a rule for it that matches nothing",
            dumped(official={n: shape for n, shape in OFFICIAL_NAMES.items() if n != "head.modulation"}),
            findings=(Expected(CONFIG, 13, "leads there and matches none of the official names"),),
        ),
    ),
)
