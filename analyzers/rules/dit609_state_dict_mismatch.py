"""DIT609 state-dict-mismatch: the names or shapes of the official class do not fit the port."""

from __future__ import annotations

from analyzers.findings import Applicability, Severity
from analyzers.rules.base import Example, Expected, Rule, Tier
from analyzers.rules.weight_examples import (
    CONFIG,
    HEAD,
    MODEL,
    NATIVE_NAMES,
    OFFICIAL_NAMES,
    PORT,
    RULES,
    TABLE,
    K,
    Q,
    V,
    config,
    measured,
)
from analyzers.rules.weight_findings import weight_findings

_WITH_GATE = PORT.replace(
    "        self.to_v =", "        self.to_gate = ReplicatedLinear(dim, dim)\n        self.to_v ="
)
_GATED_NAMES = {**NATIVE_NAMES, "blocks.0.to_gate.weight": (64, 64), "blocks.1.to_gate.weight": (64, 64)}
_TREE: dict[str, str | None] = {MODEL: PORT, CONFIG: config()}

RULE = Rule(
    code="DIT609",
    name="state-dict-mismatch",
    severity=Severity.ERROR,
    tier=Tier.ORACLE,
    summary="the names or shapes of the official class do not fit the port",
    what=(
        "Puts every name of the official class, built on the meta device from the same configuration as the "
        "port, through the mapping as the loader does, and reports what then differs from the port: "
        "parameters that stay empty, names without a place, shapes that disagree. Once for each cause, at "
        "the rule that caused it, else at the line that builds the module which stays empty, else at the "
        "mapping. In the editor the names are measured when a port is opened or saved, and every key typed "
        "in the mapping is judged against them."
    ),
    why=(
        "A checkpoint of the official class then cannot be loaded, or fills the port with what belongs "
        "elsewhere. It also says that the definitions differ: a module that one side lacks is no renaming."
    ),
    how=(
        "Correct the rule, or write the one that is missing. Where a module is really there on one side "
        "only, port it, or say in the port's state file why not and suppress this with that reason."
    ),
    exceptions=(
        "What DIT701 to DIT703 leave alone, and names that the official class says itself a checkpoint may "
        "hold. Ports whose official class is not known or could not be built: nothing was compared, and "
        "nothing is said. Sides that are a checkpoint or a key dump (DIT701, DIT702, DIT703)."
    ),
    source="`fastvideo/models/loader/fsdp_load.py`, `load_model_from_full_model_state_dict`",
    fixable=Applicability.UNSAFE,
    check=weight_findings,
    reports_missing=True,
    valid=(
        Example("both sides have the same names and shapes", _TREE, states=measured()),
        Example("nothing was measured", {MODEL: _WITH_GATE, CONFIG: config()}),
    ),
    invalid=(
        Example(
            "a typing error in a target",
            {MODEL: PORT, CONFIG: config(RULES.replace(r"blocks.\1.to_v", r"block.\1.to_v"))},
            findings=(Expected(CONFIG, 12, "layers.0.attn.v.weight", Severity.ERROR),),
            fixed={CONFIG: config()},
            states=measured(),
        ),
        Example(
            "a module that the original does not have",
            {MODEL: _WITH_GATE, CONFIG: config()},
            findings=(Expected(MODEL, 15, "blocks.0.to_gate.weight"),),
            states=measured(native=_GATED_NAMES),
        ),
        Example(
            "a rule that is missing, and what it would fill",
            {MODEL: PORT, CONFIG: config(RULES.replace(K, ""))},
            findings=(Expected(MODEL, 14, "4 parameters (blocks.0.to_k.weight, "),),
            fixed={CONFIG: config(Q + V + K + TABLE + HEAD)},
            states=measured(),
        ),
        Example(
            "another shape",
            _TREE,
            findings=(Expected(CONFIG, 14, "proj_out.weight is [16, 64] and gets [32, 64]"),),
            states=measured(official={**OFFICIAL_NAMES, "head.weight": (32, 64)}),
        ),
    ),
)
