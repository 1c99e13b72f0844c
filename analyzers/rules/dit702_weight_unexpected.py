"""DIT702 weight-unexpected: a name of the checkpoint that has no place in the port."""

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
    dumped,
)
from analyzers.rules.weight_findings import weight_findings

_OPEN_ENDED = RULES.replace(HEAD, r'            r"^head\.weight": r"proj_out.weight",' + "\n")
_SCALED = {**OFFICIAL_NAMES, "head.weight_scale": (16,)}
_SCALE = "        self.head = Scaled(16)\n"

RULE = Rule(
    code="DIT702",
    name="weight-unexpected",
    severity=Severity.ERROR,
    tier=Tier.WEIGHTS,
    summary="a name of the checkpoint that has no place in the port",
    what=(
        "Puts every name of a checkpoint, or of a dump of one, through the mapping as the loader does, and "
        "reports the names that lead to no parameter of the port: once for each cause, at the rule that "
        "writes the wrong target, with the parameters that stay empty for want of them; else at the mapping "
        "that has no rule for them. Where the names come from, DIT701 says."
    ),
    why=(
        "No rule that matches is no error: the name stays as it is. A strict load fails over it after "
        "minutes; a lenient one drops the tensor without a word."
    ),
    how=(
        "Correct the target, or write the rule that is missing. Where the port leaves a part of the original "
        "out on purpose, the converter has to drop its tensors."
    ),
    exceptions=(
        "What the loader passes over (`_extra_state`), and classes that it loads leniently (Cosmos 2.5). "
        "Names that are held against a class and not a checkpoint (DIT609). Collisions and merges that do "
        "not complete (DIT309, DIT310), and names that a rule takes from a later one that would place them "
        "(DIT307). Ports for which names of one side are not known, and dumps that are out of date (see "
        "DIT701)."
    ),
    source="`fastvideo/models/loader/fsdp_load.py`, `load_model_from_full_model_state_dict`",
    fixable=Applicability.UNSAFE,
    check=weight_findings,
    reports_missing=True,
    valid=(
        Example("every name has its place", dumped()),
        Example(
            "state that the loader passes over", dumped(official={**OFFICIAL_NAMES, "norm._extra_state": ()})
        ),
    ),
    invalid=(
        Example(
            "a typing error in a target",
            dumped(RULES.replace(r"blocks.\1.to_v", r"block.\1.to_v")),
            findings=(Expected(CONFIG, 12, "layers.0.attn.v.weight", Severity.ERROR),),
            fixed={CONFIG: config()},
        ),
        Example(
            "a rule that is missing, and what it would fill",
            dumped(RULES.replace(K, "")),
            findings=(Expected(MODEL, 14, "no rule takes 4 official names (layers.0.attn.k.weight, "),),
            fixed={CONFIG: config(Q + V + K + TABLE + HEAD)},
        ),
        Example(
            "a pattern without an end, which takes a name that needs no rule",
            dumped(_OPEN_ENDED, official=_SCALED, native={**NATIVE_NAMES, "head.weight_scale": (16,)})
            | {MODEL: PORT.replace("        self.proj_out =", _SCALE + "        self.proj_out =")},
            findings=(Expected(CONFIG, 14, "takes 1 name (head.weight_scale) that needs no rule"),),
            fixed={CONFIG: config(_OPEN_ENDED.replace(r'head\.weight"', r'head\.weight$"'))},
        ),
        Example(
            "a pattern with a slip",
            dumped(RULES.replace(r"attn\.k", r"attn\.key")),
            findings=(Expected(CONFIG, 11, "4 parameters (blocks.0.to_k.weight, "),),
        ),
        Example(
            "a pattern that takes one block only",
            dumped(RULES.replace(Q, Q.replace(r"(\d+)", "(0)"))),
            findings=(Expected(CONFIG, 10, "misses 3 official names (layers.1.attn.q.weight, "),),
        ),
        Example(
            "names that no rule is for",
            dumped(official={**OFFICIAL_NAMES, "camera.weight": (64, 6), "camera.bias": (64,)}),
            findings=(Expected(CONFIG, 9, "no rule takes 2 official names (camera.weight, camera.bias)"),),
        ),
        Example(
            "a general target that does not fit all of its names",
            dumped(
                RULES.replace(V, "").replace(
                    HEAD, HEAD + r'            r"^layers\.(\d+)\.attn\.(.*)$": r"blocks.\1.attn.\2",' + "\n"
                )
            ),
            findings=(Expected(CONFIG, 14, "layers.0.attn.v.weight"),),
        ),
    ),
)
