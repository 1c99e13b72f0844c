"""DIT307 mapping-shadowed: a weight-name rule that never applies, because of the rules before it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from analyzers.findings import Applicability, Finding, Fix, Related, Severity
from analyzers.project.mappings import MappingRule, MappingTable
from analyzers.rules.base import Context, Example, Expected, Rule, Tier
from analyzers.rules.weight_examples import CONFIG, HEAD, RULES, TABLE, config, dumped
from analyzers.rules.weight_findings import faults_about
from analyzers.weights.faults import STOPS, PlacedFault, count, examples, uses_of
from analyzers.weights.mapping.symbolic import Shadow, SymbolicRule
from analyzers.weights.mapping.tables import shadows_in, symbolic_rules


def check(context: Context) -> Iterator[Finding]:
    """Asks of every rule whether the earlier ones leave it a name."""
    if not context.file.path.startswith((context.profile.dits + "/", context.profile.dit_configs + "/")):
        return
    for table in context.project.mappings.in_file(context.file):
        yield from _repeated(context, table)
        by_texts = {shadow.rule: shadow for shadow in shadows_in(context.project, table)}
        for position, rule in enumerate(table.rules):
            if not table.owns(rule):
                continue
            about = faults_about(context, rule)
            faults = [f for f in about if f.code == context.rule.code and f.location == rule.key]
            if position in by_texts:
                yield _shadowed(context, table, by_texts[position], faults)
            else:
                yield from _shadowed_by_names(context, table, position, faults)


def _repeated(context: Context, table: MappingTable) -> Iterator[Finding]:
    """Keys that one display holds twice."""
    for first, second in table.repeated:
        if table.built or first.key == second.key or not table.owns(first) or not table.owns(second):
            continue  # `{**base, key: other}` means to replace
        yield context.finding(
            first.key,
            f"'{first.pattern}' is a key of this mapping twice: Python keeps the later value, and this one "
            "is never used",
            symbol=table.name,
            related=(Related(second.key, "the value that is kept"),),
        )


def _shadowed(
    context: Context, table: MappingTable, shadow: Shadow, faults: Sequence[PlacedFault]
) -> Finding:
    rule = table.rules[shadow.rule]
    takers = [table.rules[index] for index in shadow.by]
    example = symbolic_rules(context.project, table)[shadow.rule].example
    such = f" (such as '{example}')" if example else ""
    if len(takers) == 1:
        by = f"'{takers[0].pattern}' stands before it and matches every name that it matches{such}"
    else:
        by = f"the {len(takers)} rules before it that are given match every name that it matches{such}"
    again = ", and no rule makes such a name" if context.profile.mapping_semantics == "chained" else ""
    return context.finding(
        rule.key,
        f"'{rule.pattern}' never applies: {by}{again}{_consequence(faults)}",
        severity=Severity.ERROR if faults else None,
        symbol=table.name,
        port=faults[0].known.port.name if faults else None,
        related=tuple(Related(taker.key, "takes the name first") for taker in takers),
        fix=_fix(table, rule, takers) if not shadow.same else None,
    )


def _consequence(faults: Sequence[PlacedFault]) -> str:
    """What follows for the names that are known, if anything does."""
    official = tuple(dict.fromkeys(name for placed in faults for name in placed.fault.official))
    if not official:
        return ""
    native = tuple(dict.fromkeys(name for placed in faults for name in placed.fault.native))
    missed = f"; {count(official, 'name')} of '{faults[0].known.official}' ({examples(official)}) so "
    missed += "misses" if len(official) == 1 else "miss"
    return f"{missed} {count(native, 'parameter')} ({examples(native)}): {STOPS}"


def _shadowed_by_names(
    context: Context, table: MappingTable, position: int, faults: Sequence[PlacedFault]
) -> Iterator[Finding]:
    """A rule that matches names of the official side, and to which the rules before it leave none."""
    rule, symbolic = table.rules[position], symbolic_rules(context.project, table)[position]
    uses = uses_of(context.project, rule)
    shadowed = [(known, use) for known, use in uses if use.state == "shadowed"]
    harmless = symbolic.is_identity or _is_last_resort(table, position, symbolic)
    if any(use.state not in ("shadowed", "dead") for _, use in uses) or harmless:
        shadowed = []
    if faults:
        known = faults[0].known
        shadowed = [(known, use) for use in known.proof.rules if known.rule(use.rule) is faults[0].rule]
    if not shadowed:
        return
    known, use = shadowed[0]
    if any(known.proof.rules[index].state == "unknown" for index in use.by):
        return  # they were not tried, or `re` rejects them: whether they take the names is not known
    takers = [taker for index in use.by if (taker := known.rule(index)) is not None]
    if not takers:
        return
    reached = f"all {use.reaches} names" if use.reaches > 1 else "the only name"
    one = len(takers) == 1
    before = f"'{takers[0].pattern}' before it takes" if one else f"{len(takers)} rules before it take"
    yield context.finding(
        rule.key,
        f"'{rule.pattern}' never applies to '{known.official}': {before} {reached} that it matches"
        f"{_consequence(faults)}",
        severity=Severity.ERROR if faults else None,
        symbol=table.name,
        port=known.port.name,
        related=tuple(Related(taker.key, "takes the names first") for taker in takers),
        fix=_fix(table, rule, takers) if faults else None,
    )


def _is_last_resort(table: MappingTable, position: int, symbolic: SymbolicRule) -> bool:
    """Whether a rule is the catch-all behind all others, for what they do not name."""
    pattern = symbolic.parsed
    return (
        position == len(table.rules) - 1
        and pattern is not None
        and pattern.prefix == ""
        and pattern.takes_the_rest
    )


def _fix(table: MappingTable, rule: MappingRule, takers: list[MappingRule]) -> Fix | None:
    """The rule before the first that takes its names, where all stand in one display."""
    first = takers[0]
    if table.built or rule.container is None or not all(table.owns(taker) for taker in takers):
        return None
    return Fix(
        f"Move the rule before '{first.pattern}'",
        "move-mapping-rule",
        {
            "path": rule.path,
            "container": rule.container,
            "pattern": rule.pattern,
            "before": first.pattern,
        },
        Applicability.UNSAFE,
    )


_FILE = "fastvideo/configs/models/dits/echo.py"


def _config(rules: str, before: str = "", name: str = "param_names_mapping") -> str:
    return f"""\
from dataclasses import dataclass, field

from fastvideo.configs.models.dits.base import DiTArchConfig
{before}

@dataclass
class EchoArchConfig(DiTArchConfig):
    {name}: dict = field(
        default_factory=lambda: {{
{rules}        }})
"""


_ATTENTION = r'            r"^blocks\.(\d+)\.attn\.to_out\.0\.(.*)$": r"blocks.\1.to_out.\2",' + "\n"
_BLOCKS = r'            r"^blocks\.(\d+)\.(.*)$": r"layers.\1.\2",' + "\n"
_TWO_OF_HEAD = r'            r"^head\.(weight|modulation)$": r"proj_out.\1",' + "\n"
_TABLES = r'            r"^head\.(?:table|modulation)$": r"scale_shift_table",' + "\n"
_REST = r'            r"^(.*)$": r"\1",' + "\n"

RULE = Rule(
    code="DIT307",
    name="mapping-shadowed",
    severity=Severity.WARNING,
    tier=Tier.WEIGHTS,
    summary="a weight-name rule that never applies, because of the rules before it",
    what=(
        "Reports a rule of a `param_names_mapping` whose every name is matched by a rule before it, or by "
        "several together, and a key that one dict holds twice. It is decided on the patterns: as regular "
        "languages over the names that a parameter can have, with `re.match`'s meaning. Where the names of "
        "both sides are known (key dumps, or what was measured in the editor), a rule that matches some of "
        "them and gets none is found as well."
    ),
    why=(
        "`get_param_names_mapping` takes the first rule that matches and stops. The rule behind it looks as "
        "if it renamed something, and the weights go elsewhere: a strict load fails over names that the "
        "mapping seems to cover, or, where the general rule hits a parameter, the wrong one is filled."
    ),
    how="Put the special rule before the general one, or delete the one that is not meant.",
    exceptions=(
        "Rules that overlap without one covering the other. A later mapping that replaces a key of an "
        "earlier one (`{**base, key: ...}`). Rules behind a `**` that cannot be read, and patterns that no "
        "automaton decides (backreferences, lookbehind, `(?i)`). Where rules are chained (SGLang), a "
        "shadowed rule may still be reached through the result of another one: it is reported only where "
        "no rule makes a name that it matches."
    ),
    source="`fastvideo/models/loader/utils.py`, `get_param_names_mapping`",
    fixable=Applicability.UNSAFE,
    check=check,
    valid=(
        Example("special rules first, the catch-all last", {_FILE: _config(_ATTENTION + _BLOCKS + _REST)}),
        Example(
            "overlapping, but each has names of its own",
            {
                _FILE: _config(
                    r'            r"^blocks\.(\d+)\.(.*)\.weight$": r"layers.\1.\2.weight",' + "\n"
                    r'            r"^blocks\.(\d+)\.norm\.(.*)$": r"layers.\1.norm.\2",' + "\n"
                )
            },
        ),
        Example(
            "a lookahead leaves names over",
            {
                _FILE: _config(
                    r'            r"^patch_embedding\.(?!proj\.)(.*)$": r"patch_embedding.proj.\1",' + "\n"
                    r'            r"^patch_embedding\.proj\.(.*)$": r"patch_embedding.proj.\1",' + "\n"
                )
            },
        ),
        Example(
            "a mapping that replaces another one's rule",
            {
                _FILE: _config(
                    "            **_BASE,\n" + _BLOCKS.replace("layers", "stages"),
                    before='\n_BASE = {r"^blocks\\.(\\d+)\\.(.*)$": r"layers.\\1.\\2"}\n',
                )
            },
        ),
        Example(
            "what stands before cannot be read",
            {_FILE: _config("            **make_rules(),\n" + _ATTENTION)},
        ),
        Example(
            "a backreference is beyond an automaton",
            {
                _FILE: _config(
                    r'            r"^(\w+)\.\1\.(.*)$": r"\1.\2",' + "\n"
                    r'            r"^head\.head\.(.*)$": r"proj_out.\1",' + "\n"
                )
            },
        ),
        Example(
            "the general rule is there on some paths only",
            {
                _FILE: """\
def build_param_names_mapping(strip: bool) -> dict:
    mapping = {}
    if strip:
        mapping[r"^(.*)$"] = r"\\1"
    mapping[r"^head\\.(.*)$"] = r"proj_out.\\1"
    return mapping
"""
            },
        ),
    ),
    invalid=(
        Example(
            "the general rule first",
            {_FILE: _config(_BLOCKS + _ATTENTION)},
            findings=(
                Expected(
                    _FILE,
                    11,
                    r"'^blocks\.(\d+)\.attn\.to_out\.0\.(.*)$' never applies: "
                    r"'^blocks\.(\d+)\.(.*)$' stands before it",
                    Severity.WARNING,
                ),
            ),
            fixed={_FILE: _config(_ATTENTION + _BLOCKS)},
        ),
        Example(
            "a catch-all in the middle, comments and a merge",
            {
                _FILE: _config(
                    _BLOCKS + "            # everything else\n" + _REST + "            # the head\n"
                    r'            r"^head\.(.*)$": r"proj_out.\1",  # renamed upstream' + "\n"
                    "            # one tensor\n" + r'            r"^q\.(.*)$": (r"qkv.\1", 0, 1)' + "\n"
                )
            },
            findings=(Expected(_FILE, 14, "'^(.*)$' stands before it"), Expected(_FILE, 16, "never applies")),
            fixed={
                _FILE: _config(
                    _BLOCKS + "            # the head\n"
                    r'            r"^head\.(.*)$": r"proj_out.\1",  # renamed upstream' + "\n"
                    "            # one tensor\n" + r'            r"^q\.(.*)$": (r"qkv.\1", 0, 1),' + "\n"
                    "            # everything else\n" + _REST
                )
            },
        ),
        Example(
            "a prefix match is enough",
            {
                _FILE: _config(
                    r'            r"norm": r"norm_in",' + "\n"
                    r'            r"^norm_out\.linear\.(.*)$": r"norm_out.\1",' + "\n",
                    name="lora_param_names_mapping",
                )
            },
            findings=(Expected(_FILE, 11, "(such as 'norm_out.linear."),),
            fixed={
                _FILE: _config(
                    r'            r"^norm_out\.linear\.(.*)$": r"norm_out.\1",' + "\n"
                    r'            r"norm": r"norm_in",' + "\n",
                    name="lora_param_names_mapping",
                )
            },
        ),
        Example(
            "two rules together leave nothing",
            {
                _FILE: _config(
                    r'            r"^head\.weight$": r"proj_out.weight",' + "\n"
                    r'            r"^head\.bias$": r"proj_out.bias",' + "\n"
                    r'            r"^head\.(weight|bias)$": r"final.\1",' + "\n"
                )
            },
            findings=(Expected(_FILE, 12, "the 2 rules before it"),),
        ),
        Example(
            "a rule of a base mapping takes all",
            {
                _FILE: _config(
                    "            **_BASE,\n" + _BLOCKS, before='\n_BASE = {r"^(.*)$": r"model.\\1"}\n'
                )
            },
            findings=(Expected(_FILE, 13, "'^(.*)$' stands before it"),),
        ),
        Example(
            "merged with |, and one key twice",
            {
                _FILE: _config("")
                .replace("{\n        })", "_BASE | {\n" + _ATTENTION + _ATTENTION + "        })")
                .replace("\n\n@dataclass", '\n_BASE = {r"^blocks\\.": r"layers."}\n\n\n@dataclass', 1)
            },
            findings=(
                Expected(_FILE, 12, "is a key of this mapping twice"),
                Expected(_FILE, 13, "stands before it"),
            ),
        ),
        Example(
            "the general rule leaves nothing of the names that there are",
            dumped(RULES.replace(TABLE + HEAD, _TWO_OF_HEAD + _TABLES)),
            findings=(
                Expected(
                    CONFIG,
                    14,
                    "takes the only name that it matches; 1 name of "
                    "'converted_weights/echo/_mapping/transformer_official_keys.json' (head.modulation) so "
                    "misses 1 parameter (scale_shift_table): loading stops with an error",
                ),
            ),
            fixed={CONFIG: config(RULES.replace(TABLE + HEAD, _TABLES + _TWO_OF_HEAD))},
        ),
        Example(
            "decided on the patterns, counted in names",
            dumped(RULES.replace(TABLE + HEAD, HEAD + TABLE)),
            findings=(
                Expected(
                    CONFIG,
                    14,
                    "matches every name that it matches (such as 'head.modulation'); 1 name",
                    Severity.ERROR,
                ),
            ),
            fixed={CONFIG: config()},
        ),
        Example(
            "built in a function",
            {
                _FILE: """\
def build_param_names_mapping() -> dict:
    mapping = {r"^layers\\.(\\d+)\\.(.*)$": r"blocks.\\1.\\2"}
    mapping[r"^layers\\.(\\d+)\\.mlp\\.up\\.(.*)$"] = r"blocks.\\1.mlp.fc_in.\\2"
    return mapping
"""
            },
            findings=(Expected(_FILE, 3, "never applies"),),
        ),
    ),
)
