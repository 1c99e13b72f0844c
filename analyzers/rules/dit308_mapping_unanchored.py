"""DIT308 mapping-unanchored: a pattern without `^`, or that can match a prefix of another name."""

from __future__ import annotations

import re
from collections.abc import Iterator

from analyzers.findings import Applicability, Finding, Fix, Severity
from analyzers.project.mappings import MappingRule, MappingTable
from analyzers.rules.base import Context, Example, Expected, Rule, Tier
from analyzers.weights.mapping.patterns import Pattern, has_alternatives, is_name
from analyzers.weights.mapping.tables import symbolic_rules

_LEAVES = ("weight", "bias")
"""Names of tensors: nothing stands below them."""


def check(context: Context) -> Iterator[Finding]:
    """Looks at the beginning and the end of every pattern that the file writes down."""
    if not context.file.path.startswith((context.profile.dits + "/", context.profile.dit_configs + "/")):
        return
    for table in context.project.mappings.in_file(context.file):
        for rule, symbolic in zip(table.rules, symbolic_rules(context.project, table), strict=True):
            if symbolic.parsed is not None and table.owns(rule):
                yield from _check_rule(context, table, rule, symbolic.parsed)


def _check_rule(
    context: Context, table: MappingTable, rule: MappingRule, pattern: Pattern
) -> Iterator[Finding]:
    doubled = _written_behind(pattern, rule.target) if pattern.matches_behind else None
    loose = not pattern.is_anchored and (not pattern.begins_free or doubled is not None)
    inside = _taken_too(pattern)
    severity = None
    if doubled is not None:
        severity = Severity.ERROR
        message = f"has no '^' and also matches the nothing behind a name: {doubled}"
    elif loose and pattern.takes_the_rest:
        message = "has no '^': the loader asks for it at the start of a name alone, not wherever it stands"
    elif loose:
        again = _written_twice(pattern, rule.target)
        message = f"has neither '^' nor an end: every other place where it stands is rewritten too{again}"
    elif inside is not None:
        message = f"has no end and stops inside a part of a name: it also takes the beginning of '{inside}'"
    else:
        return
    yield context.finding(
        rule.key,
        f"'{pattern.text}' {message}",
        severity=severity,
        symbol=table.name,
        fix=_fix(rule, pattern, loose=loose, inside=inside is not None),
    )


def _written_behind(pattern: Pattern, target: str | None) -> str | None:
    """What becomes of a name whose end is matched once more; None where that changes nothing."""
    for name in pattern.samples:
        if name is None or target is None:
            continue
        try:
            made = pattern.compiled.sub(target, name)
            once = pattern.compiled.sub(target, name, count=1)
        except (re.error, IndexError):
            return None
        if made != once:
            return f"'{name}' becomes '{made}'"
    return None


def _written_twice(pattern: Pattern, target: str | None) -> str:
    """An example of a name in which a pattern stands twice."""
    for name in pattern.samples:
        twice = f"{name}.{name}" if name is not None else ""
        if not is_name(twice) or target is None:
            continue
        try:
            made = pattern.compiled.sub(target, twice)
            once = pattern.compiled.sub(target, twice, count=1)
        except (re.error, IndexError):
            break
        if made != once:
            return f" ('{twice}' becomes '{made}')"
    return ""


def _taken_too(pattern: Pattern) -> str | None:
    """A name that the pattern matches up to the middle of a component; None where it cannot."""
    if not pattern.may_end_inside:
        return None
    for name in pattern.samples:
        if name is None:
            continue
        name = pattern.shortest(name)
        longer = f"{name}0" if name[-1].isdigit() else f"{name}_scale"
        found = pattern.compiled.match(longer)
        if found is not None and found.end() < len(longer) and longer[found.end()] != ".":
            return longer
    return None


def _fix(rule: MappingRule, pattern: Pattern, *, loose: bool, inside: bool) -> Fix | None:
    """Anchors, where they leave no doubt: `$` only behind the name of a tensor.

    Safe where the loader does the same before and after.
    """
    leaf = all(name is None or name.rpartition(".")[2] in _LEAVES for name in pattern.samples)
    if rule.container is None or (inside and not leaf) or pattern.text.startswith("(?"):
        return None
    choice = has_alternatives(pattern.text)
    start, end = ("^" if loose else ""), ("$" if inside else "")
    if choice:
        start, end = f"{start}(?:", f"){end}"
    same = not inside and pattern.takes_the_rest and not pattern.matches_behind
    arguments = {
        "path": rule.path,
        "container": rule.container,
        "pattern": rule.pattern,
        "start": start,
        "end": end,
    }
    title = " and ".join(f"'{anchor}'" for anchor in (("^",) * loose + ("$",) * inside))
    return Fix(
        f"Add {title} to the pattern",
        "anchor-mapping-pattern",
        arguments,
        Applicability.SAFE if same else Applicability.UNSAFE,
    )


_FILE = "fastvideo/configs/models/dits/echo.py"


def _config(rules: str) -> str:
    return f"""\
from dataclasses import dataclass, field

from fastvideo.configs.models.dits.base import DiTArchConfig


@dataclass
class EchoArchConfig(DiTArchConfig):
    param_names_mapping: dict = field(default_factory=lambda: {{
{rules}    }})
"""


RULE = Rule(
    code="DIT308",
    name="mapping-unanchored",
    severity=Severity.INFORMATION,
    tier=Tier.FILE,
    summary="a pattern without `^`, or that can match a prefix of another name",
    what=(
        "Reports a pattern of a `param_names_mapping` that does not begin with `^` in every alternative, and "
        "one without an end (`$`, or `.*`) that stops inside a part of a name, so that the rule for `norm1` "
        "also takes `norm10`. A pattern that matches the nothing behind a name as well (`(.*)` without `^`) "
        "is an error where the replacement is then written twice."
    ),
    why=(
        "The loader asks `re.match`, which begins at the start and need not reach the end, and then "
        "`re.sub`, which replaces every place that matches. Without `^` the two mean different things, and "
        "without an end the rule rewrites the beginning of names that it was not written for."
    ),
    how=(
        "Begin with `^` and end with `$`, a component (`\\.`) or `(.*)$`. The fix adds `^` where that "
        "changes nothing that the loader does, and so is safe; elsewhere it is offered alone."
    ),
    exceptions=(
        "Patterns that begin with `.*`: an anchor would say nothing. Prefixes that end at a separator "
        "(`^transformer\\.`, `^lora_unet_`), in a lookahead, or in a class that takes the rest of the part "
        "(`\\d+`, `\\w+`)."
    ),
    source="`fastvideo/models/loader/utils.py`, `get_param_names_mapping`",
    fixable=Applicability.SAFE,
    check=check,
    valid=(
        Example(
            "anchored at both ends, or at a separator",
            {
                _FILE: _config(
                    r'        r"^blocks\.(\d+)\.attn\.(.*)$": r"layers.\1.\2",' + "\n"
                    r'        r"^transformer\.": r"",' + "\n"
                    r'        r"^lora_unet_blocks_(\d+)_": r"blocks.\1.",' + "\n"
                    r'        r"\Ahead\.(weight|bias)\Z": r"proj_out.\1",' + "\n"
                    r'        r"^(?:norm_in|norm_out)\.(.*)": r"norm.\1",' + "\n"
                )
            },
        ),
        Example(
            "a beginning that is free, and ends that take the part",
            {
                _FILE: _config(
                    r'        r"(.*)\.norm_q\.(.*)$": r"\1.q_norm.\2",' + "\n"
                    r'        r"^stages\.(\d+)": r"blocks.\1",' + "\n"
                    r'        r"^norm1(?=\.)": r"norm_in",' + "\n"
                    r'        r"^(.*)$": r"\1",' + "\n"
                )
            },
        ),
        Example("a pattern that is computed", {_FILE: _config('        PREFIX + r"norm": r"norm_in",\n')}),
        Example(
            "nothing is written behind the name",
            {_FILE: _config('        r"(.*)": r"\\1",\n')},
        ),
    ),
    invalid=(
        Example(
            "in a constant that the mapping takes over",
            {
                _FILE: _config(
                    '            **_BLOCKS,\n            r"^head\\.(.*)$": r"proj_out.\\1",\n'
                ).replace(
                    "\n\n@dataclass",
                    '\n_BLOCKS = {r"blocks\\.(\\d+)\\.(.*)$": r"layers.\\1.\\2"}\n\n\n@dataclass',
                    1,
                )
            },
            findings=(Expected(_FILE, 5, "has no '^'"),),
        ),
        Example(
            "no ^, but to the end",
            {_FILE: _config('        r"transformer\\.(\\w*)\\.(.*)$": r"\\1.\\2",\n')},
            findings=(Expected(_FILE, 9, "has no '^': the loader asks", Severity.INFORMATION),),
            fixed={_FILE: _config('        r"^transformer\\.(\\w*)\\.(.*)$": r"\\1.\\2",\n')},
        ),
        Example(
            "an anchor for one alternative only",
            {_FILE: _config("        '^head\\\\.(.*)$|tail\\\\.(.*)$': 'proj_out.\\\\1\\\\2',\n")},
            findings=(Expected(_FILE, 9, "has no '^'"),),
            fixed={_FILE: _config("        '^(?:^head\\\\.(.*)$|tail\\\\.(.*)$)': 'proj_out.\\\\1\\\\2',\n")},
        ),
        Example(
            "neither beginning nor end",
            {_FILE: _config('        r"blocks\\.": r"layers.",\n        "stages\\\\.": "layers.",\n')},
            findings=(
                Expected(
                    _FILE,
                    9,
                    "('blocks.weight.blocks.weight' becomes 'layers.weight.layers.weight')",
                    Severity.INFORMATION,
                ),
                Expected(_FILE, 10),
            ),
        ),
        Example(
            "an end inside a part",
            {
                _FILE: _config(
                    r'        r"^blocks\.(\d+)\.norm1": r"blocks.\1.norm_in",' + "\n"
                    r'        r"^head\.(weight|bias)": r"proj_out.\1",' + "\n"
                    r'        r"^blocks\.(\d+)\.to_out(?:\.0)?": r"blocks.\1.proj",' + "\n"
                )
            },
            findings=(
                Expected(_FILE, 9, "also takes the beginning of 'blocks.0.norm10'"),
                Expected(_FILE, 10, "'head.weight_scale'"),
                Expected(_FILE, 11, "'blocks.0.to_out.00'"),
            ),
            fixed={
                _FILE: _config(
                    r'        r"^blocks\.(\d+)\.norm1": r"blocks.\1.norm_in",' + "\n"
                    r'        r"^head\.(weight|bias)$": r"proj_out.\1",' + "\n"
                    r'        r"^blocks\.(\d+)\.to_out(?:\.0)?": r"blocks.\1.proj",' + "\n"
                )
            },
        ),
        Example(
            "written twice",
            {_FILE: _config('        r"(.*)": r"model.\\1",\n')},
            findings=(Expected(_FILE, 9, "'weight' becomes 'model.weightmodel.'", Severity.ERROR),),
            fixed={_FILE: _config('        r"^(.*)": r"model.\\1",\n')},
        ),
    ),
)
