"""DIT309 mapping-collision: two sources for one target, outside of a declared merge."""

from __future__ import annotations

from collections.abc import Iterator

from analyzers.findings import Finding, Related, Severity
from analyzers.project.mappings import MappingTable
from analyzers.rules.base import Context, Example, Expected, Rule, Tier
from analyzers.rules.weight_examples import CONFIG, HEAD, OFFICIAL_NAMES, RULES, dumped
from analyzers.rules.weight_findings import faults_about, weight_findings
from analyzers.weights.mapping.symbolic import Collision
from analyzers.weights.mapping.tables import collisions_in, crossed_in


def check(context: Context) -> Iterator[Finding]:
    """Looks for rules that write one name for several tensors of a checkpoint."""
    if not context.file.path.startswith((context.profile.dits + "/", context.profile.dit_configs + "/")):
        return
    yield from weight_findings(context)
    for table in context.project.mappings.in_file(context.file):
        for collision in collisions_in(context.project, table):
            rules = [table.rules[i] for i in (collision.rule, collision.other) if i is not None]
            if table.owns(rules[0]) and not faults_about(context, *rules):
                yield _report(context, table, collision)


def _report(context: Context, table: MappingTable, collision: Collision) -> Finding:
    rule = table.rules[collision.rule]
    if collision.other is None and not collision.index:
        one, two = collision.sources
        message = (
            f"'{rule.target}' does not tell '{one}' from '{two}': the pattern matches both, and the last "
            "tensor overwrites the other"
        )
        return context.finding(rule.key, message, symbol=table.name)
    if collision.other is None:
        message = (
            f"'{rule.target}' leaves out the number behind '{collision.index}': all of them become one "
            "name, and the last tensor overwrites the others"
        )
        return context.finding(rule.key, message, symbol=table.name)
    other = table.rules[collision.other]
    one, two = collision.sources
    crossed = {item.rule for item in crossed_in(context.project, table)}
    if collision.other in crossed and collision.rule not in crossed and table.owns(other):
        # The earlier one is wrong: its target names the tensor that the later one is for.
        rule, other, one, two = other, rule, two, one
    if rule.merge is not None or other.merge is not None:
        plain, merged = (one, two) if rule.merge is not None else (two, one)
        return context.finding(
            rule.key,
            f"'{plain}' becomes '{rule.target}' as it is, and '{merged}' is merged into that name: the "
            "tensor that is written later replaces the other",
            symbol=table.name,
            related=(Related(other.key, f"the rule for '{one}'"),),
        )
    return context.finding(
        rule.key,
        f"'{two}' and '{one}' both become '{rule.target}' outside of a merge: the tensor that is read later "
        "overwrites the other",
        symbol=table.name,
        related=(Related(other.key, f"the rule for '{one}'"),),
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


_TWO_TOPS = {**OFFICIAL_NAMES, "top.weight": (16, 64)}
_Q = r'            r"^blocks\.(\d+)\.attn\.to_q\.(.*)$": r"blocks.\1.to_q.\2",' + "\n"

RULE = Rule(
    code="DIT309",
    name="mapping-collision",
    severity=Severity.ERROR,
    tier=Tier.WEIGHTS,
    summary="two sources for one target, outside of a declared merge",
    what=(
        "Reports two rules that write the same name for tensors that lie side by side in a checkpoint "
        "(`to_q` and `to_k`, `mlp.0` and `mlp.2`, `norm1` and `norm2`), and a rule that matches the number "
        "of a block, or one of several such words (`q|k|v`), and does not write it. It is decided on the "
        "rules alone; where the names of both sides are known (key dumps, or what was measured in the "
        "editor), every pair of names that meet in one target is found, and the message counts them."
    ),
    why=(
        "`hf_to_custom_state_dict` puts each tensor under its new name: of two with one name the later "
        "silently replaces the earlier. The load succeeds with one weight in the wrong place, or fails over "
        "the parameter that got none."
    ),
    how="Correct the target, or declare the merge: `(target, index, n)` for every source.",
    exceptions=(
        "Merge tuples. Rules that serve checkpoints of different origin (`vae2llm` and `proj_in`, `to_q_rot` "
        "and `q_rot`, `model.x` and `x`): their names never stand in one file, or not as siblings; siblings "
        "in a module that the table knows by two layouts (Wan's `self_attn.q` and `norm3`, `attn1.to_q` and "
        "`norm2`). Rules that "
        'are there on some paths only. Targets that are not loaded (`_extra_state`) or dropped (`""`). A '
        "number that is no block's and that no other rule writes: a `Sequential` may hold one layer."
    ),
    source="`fastvideo/models/loader/utils.py`, `hf_to_custom_state_dict`",
    check=check,
    valid=(
        Example(
            "each source has its target",
            {_FILE: _config(_Q + _Q.replace("to_q", "to_k"))},
        ),
        Example(
            "a declared merge",
            {
                _FILE: _config(
                    r'            r"^(blocks\.\d+)\.to_q\.(.*)$": (r"\1.qkv.\2", 0, 2),' + "\n"
                    r'            r"^(blocks\.\d+)\.to_k\.(.*)$": (r"\1.qkv.\2", 1, 2),' + "\n"
                )
            },
        ),
        Example(
            "siblings, each from another layout of the block",
            {
                _FILE: _config(
                    r'            r"^blocks\.(\d+)\.self_attn\.q\.(.*)$": r"blocks.\1.to_q.\2",' + "\n"
                    r'            r"^blocks\.(\d+)\.self_attn\.k\.(.*)$": r"blocks.\1.to_k.\2",' + "\n"
                    r'            r"^blocks\.(\d+)\.norm3\.(.*)$": r"blocks.\1.cross_norm.\2",' + "\n"
                    r'            r"^blocks\.(\d+)\.attn1\.to_q\.(.*)$": r"blocks.\1.to_q.\2",' + "\n"
                    r'            r"^blocks\.(\d+)\.attn1\.to_k\.(.*)$": r"blocks.\1.to_k.\2",' + "\n"
                    r'            r"^blocks\.(\d+)\.norm2\.(.*)$": r"blocks.\1.cross_norm.\2",' + "\n"
                )
            },
        ),
        Example(
            "names of several exports",
            {
                _FILE: _config(
                    r'            r"^model\.(.*)$": r"\1",' + "\n"
                    r'            r"^diffusion_model\.(.*)$": r"\1",' + "\n"
                    r'            r"^vae2llm\.(.*)$": r"proj_in.\1",' + "\n"
                    r'            r"^latent_in\.(.*)$": r"proj_in.\1",' + "\n"
                    r'            r"^blocks\.(\d+)\.to_q_rot$": r"blocks.\1.rot",' + "\n"
                    r'            r"^blocks\.(\d+)\.q_rot$": r"blocks.\1.rot",' + "\n"
                    r'            r"^blocks\.(\d+)\.(?:to_q|q_proj)\.(.*)$": r"blocks.\1.query.\2",' + "\n"
                )
            },
        ),
        Example(
            "a Sequential's only layer, and state that is not loaded",
            {
                _FILE: _config(
                    r'            r"^x_embedder\.proj\.(\d+)\.(.*)$": r"patch_embed.proj.\2",' + "\n"
                    r'            r"^blocks\.(\d+)\.norm\._extra_state$": r"norm._extra_state",' + "\n"
                )
            },
        ),
        Example(
            "one of two layouts, by configuration",
            {
                _FILE: """\
def build_param_names_mapping(old: bool) -> dict:
    mapping = {}
    if old:
        mapping[r"^mlp\\.0\\.(.*)$"] = r"mlp.fc_in.\\1"
    else:
        mapping[r"^mlp\\.1\\.(.*)$"] = r"mlp.fc_in.\\1"
    return mapping
"""
            },
        ),
    ),
    invalid=(
        Example(
            "a target that was copied and not changed",
            {
                _FILE: _config(
                    _Q
                    + _Q.replace('attn\\.to_q\\.(.*)$"', 'attn\\.to_k\\.(.*)$"')
                    + r'            r"^time_embedding\.0\.(.*)$": r"time_embedder.fc_in.\1",'
                    + "\n"
                    + r'            r"^time_embedding\.2\.(.*)$": r"time_embedder.fc_in.\1",'
                    + "\n"
                )
            },
            findings=(
                Expected(
                    _FILE,
                    11,
                    "'blocks.0.attn.to_k.weight' and 'blocks.0.attn.to_q.weight' both become",
                    Severity.ERROR,
                ),
                Expected(_FILE, 13, "'time_embedding.2.weight' and 'time_embedding.0.weight'"),
            ),
        ),
        Example(
            "the rule whose target names the other one",
            {_FILE: _config(_Q.replace("blocks.\\1.to_q", "blocks.\\1.to_k") + _Q.replace("to_q", "to_k"))},
            findings=(
                Expected(
                    _FILE, 10, "'blocks.0.attn.to_q.weight' and 'blocks.0.attn.to_k.weight' both become"
                ),
            ),
        ),
        Example(
            "a word of the name is lost",
            {
                _FILE: _config(
                    r'            r"^blocks\.(\d+)\.attn\.(?:q|k|v)\.(.*)$": r"blocks.\1.qkv.\2",' + "\n"
                    r'            r"^(img|txt)_in\.(weight|bias)$": r"\1_embedder.weight",' + "\n"
                    r'            r"^head\.(?:to_q|q)\.(?:lora_)?(A|B)$": r"head.q.\1",' + "\n"
                )
            },
            findings=(
                Expected(_FILE, 10, "does not tell 'blocks.0.attn.q.weight' from 'blocks.0.attn.k.weight'"),
                Expected(_FILE, 11, "does not tell 'img_in.weight' from 'img_in.bias'"),
            ),
        ),
        Example(
            "two names that meet, among those that there are",
            dumped(
                RULES.replace(HEAD, HEAD + r'            r"^top\.(.*)$": r"proj_out.\1",' + "\n"),
                official=_TWO_TOPS,
            ),
            findings=(Expected(CONFIG, 14, "(head.weight, top.weight) meet", Severity.ERROR),),
        ),
        Example(
            "one source beside a merge, which was meant to be a part of it",
            {
                _FILE: _config(
                    r'            r"^(blocks\.\d+)\.to_q\.(.*)$": (r"\1.qkv.\2", 0, 2),' + "\n"
                    r'            r"^(blocks\.\d+)\.to_k\.(.*)$": (r"\1.qkv.\2", 1, 2),' + "\n"
                    r'            r"^(blocks\.\d+)\.to_v\.(.*)$": r"\1.qkv.\2",' + "\n"
                )
            },
            findings=(
                Expected(
                    _FILE,
                    12,
                    "'blocks.0.to_v.weight' becomes '\\1.qkv.\\2' as it is, and 'blocks.0.to_q.weight' is "
                    "merged",
                ),
            ),
        ),
        Example(
            "groups written in other ways",
            {
                _FILE: _config(
                    r'            r"^(blocks\.\d+)\.norm1\.(.*)$": r"\g<1>.norm.\2",' + "\n"
                    r'            r"^(?P<block>blocks\.\d+)\.norm2\.(.*)$": r"\g<block>.norm.\2",' + "\n"
                )
            },
            findings=(Expected(_FILE, 11, "'blocks.0.norm2.weight'"),),
        ),
        Example(
            "the block's number is lost",
            {
                _FILE: _config(
                    r'            r"^double_blocks\.(\d+)\.norm\.(.*)$": r"blocks.norm.\2",' + "\n"
                    r'            r"^stages\.(\d+)\.mlp\.(.*)$": r"stages.\1.ffn.\2",' + "\n"
                    r'            r"^stages\.\d+\.attn\.(.*)$": r"stages.attn.\1",' + "\n"
                )
            },
            findings=(
                Expected(_FILE, 10, "leaves out the number behind 'double_blocks'"),
                Expected(_FILE, 12, "leaves out the number behind 'stages'"),
            ),
        ),
    ),
)
