"""DIT310 mapping-merge-incomplete: a merge group with missing or repeated indices."""

from __future__ import annotations

from collections.abc import Iterator

from analyzers.findings import Finding, Related, Severity
from analyzers.project.mappings import MappingRule, MappingTable
from analyzers.rules.base import Context, Example, Expected, Rule, Tier
from analyzers.rules.weight_examples import (
    CONFIG,
    HEAD,
    MODEL,
    NATIVE_NAMES,
    OFFICIAL_NAMES,
    PORT,
    TABLE,
    V,
    dumped,
)
from analyzers.rules.weight_findings import faults_about, weight_findings
from analyzers.weights.faults import placed_faults
from analyzers.weights.mapping.symbolic import MOST_MISSING, MergeFault
from analyzers.weights.mapping.tables import merge_faults_in, symbolic_rules
from analyzers.weights.proving.rule_uses import made_pattern


def check(context: Context) -> Iterator[Finding]:
    """Counts the indices of every merge."""
    if not context.file.path.startswith((context.profile.dits + "/", context.profile.dit_configs + "/")):
        return
    yield from weight_findings(context)
    for table in context.project.mappings.in_file(context.file):
        if not table.whole:
            continue
        for fault in merge_faults_in(context.project, table):
            if not _is_told(context, table, fault):
                yield from _report(context, table, fault)


def _is_told(context: Context, table: MappingTable, fault: MergeFault) -> bool:
    """Whether a proof has told what becomes of the names of a group, or of what it leaves empty."""
    if faults_about(context, *(table.rules[index] for index in fault.rules)):
        return True
    made = made_pattern(symbolic_rules(context.project, table)[fault.rules[0]])
    return made is not None and any(
        made.fullmatch(name)
        for placed in placed_faults(context.project)
        for name in placed.fault.native
        if placed.known.table is not None and placed.known.table.location == table.location
    )


def _report(context: Context, table: MappingTable, fault: MergeFault) -> Iterator[Finding]:
    rules = [table.rules[index] for index in fault.rules]
    own = next((rule for rule in rules if table.owns(rule)), None)
    if own is None:
        return  # the display that writes it down is looked at by itself
    others = tuple(Related(rule.key, "in the same merge") for rule in rules if rule is not own)
    total = own.merge[1] if own.merge is not None else 0
    if fault.counts:
        counts = " and ".join(str(count) for count in fault.counts)
        message = f"the merge into '{own.target}' counts {counts} sources: it ends too early, or never"
        yield context.finding(own.key, message, symbol=table.name, related=others)
        return
    if fault.missing and (twice := _in_place_of(table, fault)) is not None:
        same, other, given = twice
        yield context.finding(
            other.key,
            f"index {given} of the merge into '{other.target}' is given twice, and index {fault.missing[0]} "
            "by no rule: the merge never completes, and its tensors are dropped",
            symbol=table.name,
            related=(Related(same.key, "gives the same index"),),
        )
        return
    if fault.missing:
        indices = " and ".join(str(index) for index in fault.missing[:MOST_MISSING])
        indices += " and others" if len(fault.missing) > MOST_MISSING else ""
        word = "indices" if len(fault.missing) > 1 else "index"
        message = (
            f"the merge into '{own.target}' needs {total} sources and lacks {word} {indices}: it never "
            "completes, and its tensors are dropped"
        )
        yield context.finding(own.key, message, symbol=table.name, related=others)
        return
    for first, second in fault.repeated:
        one, two = table.rules[first], table.rules[second]
        if table.owns(two) and two.merge is not None:
            yield context.finding(
                two.key,
                f"index {two.merge[0]} of the merge into '{two.target}' is given twice: one tensor "
                "overwrites the other",
                symbol=table.name,
                related=(Related(one.key, "gives the same index"),),
            )


def _in_place_of(table: MappingTable, fault: MergeFault) -> tuple[MappingRule, MappingRule, int] | None:
    """The two rules that give one index, and that index, where the later one was meant to give what is
    missing."""
    if len(fault.missing) != 1 or len(fault.repeated) != 1:
        return None
    first, second = (table.rules[place] for place in fault.repeated[0])
    if second.merge is None or not table.owns(second):
        return None
    return first, second, second.merge[0]


_FILE = "fastvideo/configs/models/dits/echo.py"


def _config(rules: str, before: str = "") -> str:
    return f"""\
from dataclasses import dataclass, field

from fastvideo.configs.models.dits.base import DiTArchConfig
{before}

@dataclass
class EchoArchConfig(DiTArchConfig):
    param_names_mapping: dict = field(
        default_factory=lambda: {{
{rules}        }})
"""


def _rule(source: str, index: int, count: int, target: str = "qkv") -> str:
    return (
        rf'            r"^blocks\.(\d+)\.{source}\.(.*)$": (r"blocks.\1.{target}.\2", {index}, {count}),'
        "\n"
    )


_FUSED = PORT.replace("self.to_q = ReplicatedLinear(dim, dim)\n        self.to_k", "self.to_qk")
_FUSED_NAMES = {
    name.replace("to_q", "to_qk"): (128, 64) if "to_q" in name else shape
    for name, shape in NATIVE_NAMES.items()
    if "to_k" not in name
}


_ONE_LESS = {name: shape for name, shape in OFFICIAL_NAMES.items() if name != "layers.1.attn.k.weight"}
_FUSING = (
    (
        r'            r"^layers\.(\d+)\.attn\.q\.(.*)$": (r"blocks.\1.to_qk.\2", 0, 2),' + "\n"
        r'            r"^layers\.(\d+)\.attn\.k\.(.*)$": (r"blocks.\1.to_qk.\2", 1, 2),' + "\n"
    )
    + V
    + TABLE
    + HEAD
)

_QKV = _rule("to_q", 0, 3) + _rule("to_k", 1, 3) + _rule("to_v", 2, 3)

RULE = Rule(
    code="DIT310",
    name="mapping-merge-incomplete",
    severity=Severity.ERROR,
    tier=Tier.WEIGHTS,
    summary="a merge group with missing or repeated indices",
    what=(
        "Reports the rules `(target, index, n)` that write one target: where an index from 0 to n - 1 is "
        "given by none of them, where they disagree about n, and where two give the same index to tensors "
        "that lie side by side in a checkpoint. Where the names of both sides are known (key dumps, or what "
        "was measured in the editor), also a merge whose rules are right and for which names are missing."
    ),
    why=(
        "`hf_to_custom_state_dict` holds the tensors of a merge back until it has n of them, and drops "
        "what is left at the end without a word: the parameter stays empty, and a strict load names the "
        "target, not the rule. With an index given twice, the second tensor replaces the first."
    ),
    how="Give every index from 0 to n - 1 once, with the same n.",
    exceptions=(
        "Indices out of range and malformed tuples (DIT306). Several rules for one index that serve "
        "checkpoints of different origin (`to_q` and `q_proj`). Mappings with rules that cannot be read, "
        "and dicts that are only a part of a mapping."
    ),
    source="`fastvideo/models/loader/utils.py`, `hf_to_custom_state_dict`",
    check=check,
    valid=(
        Example("complete", {_FILE: _config(_QKV)}),
        Example(
            "one index from two kinds of checkpoints, and one rule for several",
            {
                _FILE: _config(
                    _QKV
                    + _rule("q_proj", 0, 3)
                    + r'            r"^(head\.\d+)\.(?:k|key)\.(.*)$": (r"\1.kv.\2", 0, 2),'
                    + "\n"
                    + r'            r"^(head\.\d+)\.(?:v|value)\.(.*)$": (r"\1.kv.\2", 1, 2),'
                    + "\n"
                )
            },
        ),
        Example(
            "the rest stands in another mapping",
            {
                _FILE: _config(
                    "            **_QUERY,\n" + _rule("to_k", 1, 3) + _rule("to_v", 2, 3),
                    before='\n_QUERY = {r"^blocks\\.(\\d+)\\.to_q\\.(.*)$": (r"blocks.\\1.qkv.\\2", 0, 3)}\n',
                )
            },
        ),
        Example(
            "the groups are cut in another way",
            {
                _FILE: _config(
                    _rule("to_q", 0, 2)
                    + r'            r"^(blocks\.\d+)\.to_k\.(weight|bias)$": (r"\1.qkv.\2", 1, 2),'
                    + "\n"
                )
            },
        ),
        Example(
            "computed and malformed tuples",
            {
                _FILE: _config(
                    _rule("to_q", 0, 2)
                    + r'            r"^blocks\.(\d+)\.to_k\.(.*)$": (r"blocks.\1.qkv.\2", LAST, 2),'
                    + "\n"
                )
            },
        ),
        Example("an index out of range", {_FILE: _config(_rule("to_q", 0, 2) + _rule("to_k", 2, 2))}),
        Example(
            "what else there is cannot be read",
            {_FILE: _config(_rule("to_q", 0, 3) + "            **more(),\n")},
        ),
    ),
    invalid=(
        Example(
            "an index is missing",
            {_FILE: _config(_rule("to_q", 0, 3) + _rule("to_v", 2, 3) + _rule("up", 1, 2, "gate_up"))},
            findings=(
                Expected(_FILE, 10, "needs 3 sources and lacks index 1", Severity.ERROR),
                Expected(_FILE, 12, "lacks index 0"),
            ),
        ),
        Example(
            "a name that is missing",
            dumped(_FUSING, official=_ONE_LESS, native=_FUSED_NAMES) | {MODEL: _FUSED},
            findings=(Expected(CONFIG, 11, "blocks.1.to_qk.weight", Severity.ERROR),),
        ),
        Example(
            "an index twice",
            {_FILE: _config(_rule("to_q", 0, 2) + _rule("to_k", 1, 2) + _rule("to_v", 1, 2))},
            findings=(Expected(_FILE, 12, "index 1 of the merge into 'blocks.\\1.qkv.\\2' is given twice"),),
        ),
        Example(
            "an index that was copied and not changed",
            {_FILE: _config(_rule("to_q", 0, 3) + _rule("to_k", 1, 3) + _rule("to_v", 1, 3))},
            findings=(
                Expected(_FILE, 12, "is given twice, and index 2 by no rule: the merge never completes"),
            ),
        ),
        Example(
            "different counts",
            {_FILE: _config(_rule("to_q", 0, 3) + _rule("to_k", 1, 3) + _rule("to_v", 2, 4))},
            findings=(Expected(_FILE, 10, "counts 3 and 4 sources"),),
        ),
        Example(
            "a target with a slip",
            {_FILE: _config(_rule("to_q", 0, 2) + _rule("to_k", 1, 2, "qvk"))},
            findings=(Expected(_FILE, 10, "lacks index 1"), Expected(_FILE, 11, "lacks index 0")),
        ),
    ),
)
