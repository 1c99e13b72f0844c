"""DIT313 mapping-crossed: a rule whose source and target disagree in what tells siblings apart."""

from __future__ import annotations

from collections.abc import Iterator

from analyzers.findings import Finding, Related, Severity
from analyzers.project.mappings import MappingTable
from analyzers.rules.base import Context, Example, Expected, Rule, Tier
from analyzers.weights.mapping.crossings import CrossedMerge, CrossedRule
from analyzers.weights.mapping.tables import collisions_in, crossed_in, crossed_merges_in

_UNSEEN = "where the shapes agree the load succeeds all the same, and the model computes something else"


def check(context: Context) -> Iterator[Finding]:
    """Compares what a rule matches with what it makes of it, and the order of every merge."""
    if not context.file.path.startswith((context.profile.dits + "/", context.profile.dit_configs + "/")):
        return
    for table in context.project.mappings.in_file(context.file):
        # Two names that meet in one target are DIT309's, which knows which of the two is crossed.
        met = {place for c in collisions_in(context.project, table) for place in (c.rule, c.other)}
        for crossed in crossed_in(context.project, table):
            if table.owns(table.rules[crossed.rule]) and crossed.rule not in met:
                yield _crossed(context, table, crossed)
        for merge in crossed_merges_in(context.project, table):
            yield from _merged(context, table, merge)


def _crossed(context: Context, table: MappingTable, crossed: CrossedRule) -> Finding:
    rule = table.rules[crossed.rule]
    pair = f"'{crossed.crossing.source}' becomes '{crossed.crossing.target}'"
    if crossed.other is None:
        related: tuple[Related, ...] = ()
        unseen = _UNSEEN
    else:
        related = (
            Related(table.rules[crossed.other].key, "the rule that it seems to have changed places with"),
        )
        unseen = "the second of two layers stands before the first"
    return context.finding(
        rule.key,
        f"'{crossed.source}' is sent to '{crossed.target}': {pair}, and {unseen}",
        symbol=table.name,
        related=related,
    )


def _merged(context: Context, table: MappingTable, merge: CrossedMerge) -> Iterator[Finding]:
    rules = [table.rules[place] for place in merge.rules]
    misplaced = [table.rules[place] for place in merge.misplaced]
    own = next((rule for rule in misplaced if table.owns(rule)), None)
    if own is None:
        return  # the display that writes it down is looked at by itself
    given, expected = ", ".join(merge.given), ", ".join(merge.expected)
    yield context.finding(
        own.key,
        f"the merge into '{own.target}' puts {given} together where {expected} is the order: {_UNSEEN}",
        symbol=table.name,
        related=tuple(Related(rule.key, "in the same merge") for rule in rules if rule is not own),
    )


_FILE = "fastvideo/configs/models/dits/echo.py"


def _config(rules: str) -> str:
    return f"""\
from dataclasses import dataclass, field

from fastvideo.configs.models.dits.base import DiTArchConfig


@dataclass
class EchoArchConfig(DiTArchConfig):
    param_names_mapping: dict = field(
        default_factory=lambda: {{
{rules}        }})
"""


def _rule(source: str, target: str) -> str:
    return rf'            r"^blocks\.(\d+)\.{source}\.(.*)$": r"blocks.\1.{target}.\2",' + "\n"


def _merge(source: str, index: int, target: str, count: int = 3) -> str:
    value = rf'(r"blocks.\1.{target}.\2", {index}, {count})'
    return rf'            r"^blocks\.(\d+)\.attn\.{source}\.(.*)$": {value},' + "\n"


RULE = Rule(
    code="DIT313",
    name="mapping-crossed",
    severity=Severity.WARNING,
    tier=Tier.FILE,
    summary="a rule whose source and target disagree in what tells siblings apart",
    what=(
        "Reports a rule that sends a tensor to the place of its sibling: `to_q` to `to_k`, `gate` to `up`, a "
        "scale to a shift, a weight to a bias, `img` to `txt`, `self_attn` to `attn2`, a block to the one "
        "after it, two indices that changed places; a pair of rules that leads the first of two layers to "
        "`fc_out` and the second to `fc_in`; and a merge that puts q, k, v (or what its target spells: "
        "`kv`, `gate_up`) together in another order. It is decided on the texts of the rules alone."
    ),
    why=(
        "Siblings have the same shape. Every name finds a place, every parameter is filled, a strict load "
        "succeeds, and so does any proof by names and shapes; only the numbers are wrong."
    ),
    how="Correct the target, or the index of the merge. Where it is meant, say why in a suppression.",
    exceptions=(
        "Names in which no two opposed words stand: `linear_1` and `fc_in`, `norm2` and `norm3`, `net.0` and "
        "`net.2`. Other words for the same (`self_attn` and `attn1`, `lora_down` and `lora_A`). Tensors of "
        "a joint attention that a port splits (`self_attn.add_q_proj` to `cross_attention.to_qkv`). A scale "
        "that is called a gate. Blocks that a whole mapping counts from another number. Merges of gate and "
        "up whose target does not spell the order, since both are in use. Pairs that meet in one target, "
        "and merges that are incomplete (DIT309, DIT310)."
    ),
    source="`fastvideo/models/loader/utils.py`, `get_param_names_mapping` and `hf_to_custom_state_dict`",
    check=check,
    valid=(
        Example(
            "renamed, each to its own",
            {
                _FILE: _config(
                    _rule(r"self_attn\.q", "attn1.to_q")
                    + _rule(r"self_attn\.o", "attn1.to_out.0")
                    + _rule("norm2", "norm3")
                    + _rule(r"ffn\.net\.0\.proj", "ffn.fc_in")
                    + _rule(r"ffn\.net\.2", "ffn.fc_out")
                    + _rule(r"ffn\.linear_1", "ffn.layers.3")
                    + _rule(r"attn\.add_k_proj", "txt_attn.to_k")
                    + _rule("layer_scale", "layer_gate")
                    + _rule("cross_attn_norm", "self_attn_residual_norm")
                )
            },
        ),
        Example(
            "a joint attention that is split",
            {
                _FILE: _config(
                    _rule(r"self_attn\.add_q_proj", "cross_attn.to_q")
                    + _rule(r"self_attn\.norm_added_q", "cross_attn.norm_q")
                )
            },
        ),
        Example(
            "merges in order, one with a part that has no such word",
            {
                _FILE: _config(
                    _merge("to_q", 0, "linear1", 4)
                    + _merge("to_k", 1, "linear1", 4)
                    + _merge("to_v", 2, "linear1", 4)
                    + _merge("proj_mlp", 3, "linear1", 4)
                    + _merge("value", 1, "kv", 2)
                    + _merge("key", 0, "kv", 2)
                    + _merge("up_proj", 0, "fc1", 2)
                    + _merge("gate_proj", 1, "fc1", 2)
                )
            },
        ),
        Example(
            "blocks that are counted from elsewhere",
            {
                _FILE: _config(
                    r'            r"^blocks\.1\.(.*)$": r"blocks.0.\1",' + "\n"
                    r'            r"^blocks\.2\.(.*)$": r"blocks.1.\1",' + "\n"
                )
            },
        ),
        Example(
            "words that a group carries over",
            {
                _FILE: _config(
                    r'            r"^(.*)\.attn\.to_(q|k|v)\.(.*)$": r"\1.\2_proj.\3",' + "\n"
                    r'            r"^(.*)$": r"model.\1",' + "\n"
                )
            },
        ),
        Example(
            "both go to one place, which is a collision",
            {_FILE: _config(_rule(r"attn\.to_q", "to_q") + _rule(r"attn\.to_k", "to_q"))},
        ),
    ),
    invalid=(
        Example(
            "two targets changed places",
            {
                _FILE: _config(
                    _rule(r"attn\.to_q", "to_k") + _rule(r"attn\.to_k", "to_q") + _rule(r"attn\.to_v", "to_v")
                )
            },
            findings=(
                Expected(
                    _FILE,
                    10,
                    "'blocks.0.attn.to_q.weight' is sent to 'blocks.0.to_k.weight': 'to_q' becomes 'to_k'",
                    Severity.WARNING,
                ),
                Expected(_FILE, 11, "'to_k' becomes 'to_q'"),
            ),
        ),
        Example(
            "a gate and a shift, a leaf, a stream, an attention",
            {
                _FILE: _config(
                    _rule(r"mlp\.gate_proj", "mlp.up")
                    + _rule(r"norm\.scale_msa", "norm.shift_msa")
                    + r'            r"^head\.norm\.gamma$": r"head.norm.bias",'
                    + "\n"
                    + _rule(r"img_mod", "txt_mod")
                    + _rule(r"self_attn\.norm_q", "attn2.norm_q")
                    + _rule(r"audio_to_video_attn", "video_to_audio_attn")
                )
            },
            findings=(
                Expected(_FILE, 10, "'gate_proj' becomes 'up'"),
                Expected(_FILE, 11, "'scale_msa' becomes 'shift_msa'"),
                Expected(_FILE, 12, "'gamma' becomes 'bias'"),
                Expected(_FILE, 13, "'img_mod' becomes 'txt_mod'"),
                Expected(_FILE, 14, "'self_attn' becomes 'attn2'"),
                Expected(_FILE, 15, "'audio_to_video_attn' becomes 'video_to_audio_attn'"),
            ),
        ),
        Example(
            "a block, and two indices",
            {
                _FILE: _config(
                    r'            r"^blocks\.0\.(.*)$": r"blocks.1.\1",' + "\n"
                    r'            r"^stages\.(\d+)\.layers\.(\d+)\.(.*)$": r"stages.\2.layers.\1.\3",' + "\n"
                )
            },
            findings=(
                Expected(_FILE, 10, "'blocks.0' becomes 'blocks.1'"),
                Expected(_FILE, 11, "'layers.N' becomes 'stages.N'"),
            ),
        ),
        Example(
            "one of several words",
            {
                _FILE: _config(
                    r'            r"^blocks\.(\d+)\.attn\.to_(?:q|query)\.(.*)$": r"blocks.\1.key.\2",' + "\n"
                )
            },
            findings=(Expected(_FILE, 10, "'to_q' becomes 'key'"),),
        ),
        Example(
            "the first layer leads out",
            {_FILE: _config(_rule(r"mlp\.linear_1", "mlp.fc_out") + _rule(r"mlp\.linear_2", "mlp.fc_in"))},
            findings=(
                Expected(_FILE, 10, "'linear_1' becomes 'fc_out', and the second of two layers"),
                Expected(_FILE, 11, "'linear_2' becomes 'fc_in'"),
            ),
        ),
        Example(
            "merged in another order",
            {
                _FILE: _config(
                    _merge("to_q", 0, "to_qkv")
                    + _merge("to_k", 2, "to_qkv")
                    + _merge("to_v", 1, "to_qkv")
                    + _merge(r"mlp\.up", 0, "gate_up_proj", 2)
                    + _merge(r"mlp\.gate", 1, "gate_up_proj", 2)
                )
            },
            findings=(
                Expected(_FILE, 12, "puts q, v, k together where q, k, v is the order"),
                Expected(_FILE, 13, "puts up, gate together where gate, up is the order"),
            ),
        ),
    ),
)
