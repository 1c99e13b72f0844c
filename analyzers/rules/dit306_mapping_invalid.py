"""DIT306 mapping-invalid: a weight-name rule that `re` rejects, or a malformed merge."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from typing import Any

from analyzers.facts.model import (
    Call,
    Collection,
    Constant,
    Expr,
    FunctionFacts,
    Lambda,
    Mapping,
    Placed,
    Reference,
)
from analyzers.findings import Finding, Location, Severity, Span
from analyzers.rules.base import Context, Example, Expected, Rule, Tier

_SUFFIX = "param_names_mapping"
_WRITTEN_BY_LOADER = "reverse_param_names_mapping"
"""The loader fills it with plain names and never compiles what stands there."""


def check(context: Context) -> Iterator[Finding]:
    """Looks at every display of the file that is known to serve as a mapping."""
    profile = context.profile
    if not context.file.path.startswith((profile.dits + "/", profile.dit_configs + "/")):
        return
    seen: set[Span] = set()
    for place, mapping in _mappings(context):
        if mapping.span.shifted(place.line) in seen:
            continue
        seen.add(mapping.span.shifted(place.line))
        for key, value in mapping.items:
            yield from _check_rule(context, place, key, value)


def _is_mapping_name(name: str) -> bool:
    lowered = name.lower()
    return lowered.endswith(_SUFFIX) and not lowered.endswith(_WRITTEN_BY_LOADER)


# --------------------------------------------------------------------------- where mappings stand


def _mappings(context: Context) -> Iterator[tuple[Placed[Any], Mapping]]:
    """Displays given to names that end in `param_names_mapping`, in this file."""
    file = context.file
    for assigned in file.assignments:
        yield from _displays(context, assigned, assigned.fact.names, assigned.fact.value)
    for cls in file.classes:
        for attribute in cls.fact.attributes:
            yield from _displays(context, cls, attribute.names, attribute.value)
        for method in cls.fact.methods:
            for stored in method.assignments:
                yield from _displays(context, cls, (stored.name,), stored.value)


def _displays(
    context: Context, place: Placed[Any], names: tuple[str, ...], value: Expr | None
) -> Iterator[tuple[Placed[Any], Mapping]]:
    if value is not None and any(_is_mapping_name(name) for name in names):
        yield from _down_to(context, place, value, hops=4)


def _down_to(
    context: Context, place: Placed[Any], value: Expr, hops: int
) -> Iterator[tuple[Placed[Any], Mapping]]:
    """The displays that a value is made of, through `field`, factories, constants and `**`."""
    if hops <= 0:
        return
    if isinstance(value, Mapping):
        yield place, value
        for key, item in value.items:
            if key is None:
                yield from _down_to(context, place, item, hops - 1)
    elif isinstance(value, Lambda):
        yield from _down_to(context, place, value.body, hops - 1)
    elif isinstance(value, Reference):
        found = context.file.assignment_of(value.dotted)
        made = context.file.function_named(value.dotted)
        if found is not None and made is None and found.fact.value is not None:
            yield from _down_to(context, found, found.fact.value, hops - 1)
        elif made is not None and found is None:
            yield from _returned(context, made, hops - 1)
    elif isinstance(value, Call):
        factory = value.keyword("default_factory") or value.keyword("default")
        if (value.callee or "").rpartition(".")[2] == "field" and factory is not None:
            yield from _down_to(context, place, factory, hops - 1)
        elif value.callee == "dict" and len(value.arguments) == 1 and not value.keywords:
            yield from _down_to(context, place, value.arguments[0], hops - 1)


def _returned(
    context: Context, made: Placed[FunctionFacts], hops: int
) -> Iterator[tuple[Placed[Any], Mapping]]:
    for item in made.fact.returns:
        if isinstance(item.value, Mapping):
            yield from _down_to(context, made, item.value, hops)


# --------------------------------------------------------------------------- one rule


def _check_rule(context: Context, place: Placed[Any], key: Expr | None, value: Expr) -> Iterator[Finding]:
    pattern = None
    if isinstance(key, Constant):
        if not isinstance(key.value, str):
            yield _report(context, place.at(key.span), repr(key.value), "is no pattern: it must be a string")
        else:
            pattern, fault = _compiled(key.value)
            if fault is not None:
                yield _report(context, place.at(key.span), repr(key.value), f"does not compile: {fault}")
    target: Expr | None = value
    if isinstance(value, Collection) and value.kind == "tuple":
        yield from _check_merge(context, place, value)
        target = value.items[0] if value.items else None
    elif isinstance(value, (Collection, Mapping)) or (
        isinstance(value, Constant) and not isinstance(value.value, str)
    ):
        kind = value.kind if isinstance(value, Collection) else "dict"
        kind = type(value.value).__name__ if isinstance(value, Constant) else kind
        message = f"is a {kind}: the loader takes a string, or a tuple (target, index, n)"
        yield _report(context, place.at(value.span), "the replacement", message)
        return
    if isinstance(target, Constant) and isinstance(target.value, str) and pattern is not None:
        fault = _template_fault(pattern, target.value)
        if fault is not None:
            message = f"does not fit its pattern: {fault}"
            yield _report(context, place.at(target.span), repr(target.value), message)


def _check_merge(context: Context, place: Placed[Any], value: Collection) -> Iterator[Finding]:
    def fault(at: Expr, message: str) -> Finding:
        return _report(context, place.at(at.span), "the merge", message)

    items = value.items
    if len(items) != 3:
        yield fault(value, f"has {len(items)} items: it must be (target, index, n)")
        return
    target, index, count = items
    if isinstance(target, (Collection, Mapping)) or (
        isinstance(target, Constant) and not isinstance(target.value, str)
    ):
        yield fault(target, "has a target that is no string")
    numbers = [item.value if isinstance(item, Constant) else None for item in (index, count)]
    literals = [isinstance(item, (Constant, Collection, Mapping)) for item in (index, count)]
    if all(literals) and numbers == [None, None] and isinstance(index, Constant):
        return  # (target, None, None) is how the loader itself writes "no merge"
    for item, number, known, what in zip((index, count), numbers, literals, ("index", "n"), strict=True):
        if known and not isinstance(number, int):
            yield fault(item, f"has an {what} that is no integer")
            return
    first, total = numbers
    if isinstance(total, int) and total < 1:
        yield fault(count, f"counts {total} sources: n must be at least 1")
    elif isinstance(first, int) and (first < 0 or (isinstance(total, int) and first >= total)):
        bound = f"0 to {total - 1}" if isinstance(total, int) else "0 and up"
        yield fault(index, f"has index {first}, outside {bound}: the group never completes")


def _report(context: Context, where: Location, subject: str, message: str) -> Finding:
    return context.finding(where, f"{subject} {message}", symbol=subject)


def _compiled(text: str) -> tuple[re.Pattern[str] | None, str | None]:
    """The pattern, or why `re` rejects it."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return re.compile(text), None
    except (re.error, OverflowError, RecursionError) as error:
        return None, str(error)


def _template_fault(pattern: re.Pattern[str], template: str) -> str | None:
    """Why `re.sub` rejects a replacement: it reads the template before it looks for matches."""
    try:
        pattern.sub(template, "")
    except (re.error, IndexError) as error:
        return str(error)
    return None


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


_MODEL = "fastvideo/models/dits/echo.py"

RULE = Rule(
    code="DIT306",
    name="mapping-invalid",
    severity=Severity.ERROR,
    tier=Tier.FILE,
    summary="a weight-name rule that `re` rejects, or a malformed merge",
    what=(
        "Reports, in the displays given to names that end in `param_names_mapping`: a key that is no regular "
        "expression, a replacement that refers to a group its pattern does not have, a value that is neither "
        "a string nor a tuple, and a merge tuple that is not `(target, index, n)` with `0 <= index < n`."
    ),
    why=(
        "`get_param_names_mapping` compiles a rule only when a checkpoint key gets to it: the error appears "
        "in the middle of a load, or only for some checkpoints. A merge with a wrong index never completes, "
        "and its tensors are dropped in silence."
    ),
    how="Correct the pattern, the reference or the tuple.",
    exceptions=(
        "Keys and values that are computed. `reverse_param_names_mapping`, which the loader fills itself. "
        "`(target, None, None)`, which means no merge."
    ),
    source="`fastvideo/models/loader/utils.py`, `get_param_names_mapping`, `hf_to_custom_state_dict`",
    check=check,
    valid=(
        Example(
            "rules, named groups and a merge",
            {
                _FILE: _config(
                    r'            r"^blocks\.(?P<n>\d+)\.(.*)$": r"layers.\g<n>.\2",' + "\n"
                    r'            r"^q\.(.*)$": (r"qkv.\1", 0, 2),' + "\n"
                    r'            r"^k\.(.*)$": (r"qkv.\1", 1, 2),' + "\n"
                )
            },
        ),
        Example(
            "what is computed is left alone",
            {
                _FILE: _config(
                    '            make("a("): r"\\1",\n            r"^q$": (target, index, 3),\n'
                    '            **{f"^b{i}(": "c" for i in range(2)},\n'
                )
            },
        ),
        Example(
            "the reverse mapping holds names",
            {_MODEL: 'class Echo:\n    reverse_param_names_mapping = {"a(": ("b", None, None)}\n'},
        ),
    ),
    invalid=(
        Example(
            "patterns and references",
            {
                _FILE: _config(
                    r'            r"^blocks\.(\d+\.(.*)$": r"layers.\1",' + "\n"
                    r'            r"^head\.(.*)$": r"proj.\2",' + "\n"
                    r'            r"^tail\.(?P<n>.*)$": r"last.\g<m>",' + "\n"
                )
            },
            findings=(
                Expected(_FILE, 10, "does not compile: missing ), unterminated subpattern"),
                Expected(_FILE, 11, "does not fit its pattern: invalid group reference 2", Severity.ERROR),
                Expected(_FILE, 12, "does not fit its pattern: unknown group name 'm'"),
            ),
        ),
        Example(
            "merges",
            {
                _FILE: _config(
                    r'            r"^q\.(.*)$": (r"qkv.\1", 3, 3),' + "\n"
                    r'            r"^k\.(.*)$": (r"qkv.\1", 1),' + "\n"
                    r'            r"^v\.(.*)$": (r"qkv.\1", "2", 3),' + "\n"
                    r'            r"^g\.(.*)$": [r"gate.\1", 0, 2],' + "\n"
                    r'            r"^u\.(.*)$": (r"up.\1", 0, 0),' + "\n"
                )
            },
            findings=(
                Expected(_FILE, 10, "has index 3, outside 0 to 2"),
                Expected(_FILE, 11, "has 2 items"),
                Expected(_FILE, 12, "has an index that is no integer"),
                Expected(_FILE, 13, "is a list"),
                Expected(_FILE, 14, "counts 0 sources"),
            ),
        ),
        Example(
            "a constant that the class uses",
            {_MODEL: '_RULES = {"a(": "b"}\n\n\nclass Echo:\n    lora_param_names_mapping = _RULES\n'},
            findings=(Expected(_MODEL, 1, "does not compile"),),
        ),
    ),
)
