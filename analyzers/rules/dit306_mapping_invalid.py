"""DIT306 mapping-invalid: a weight-name rule that `re` rejects or may never finish, or a malformed merge."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from functools import partial

from analyzers.facts.model import Collection, Constant, Expr, Mapping, Starred
from analyzers.findings import Finding, Location, Severity
from analyzers.project.mappings import MappingRule, MappingTable
from analyzers.rules.base import Context, Example, Expected, Rule, Tier
from analyzers.weights.mapping.patterns import Pattern
from analyzers.weights.mapping.templates import parse_template

_DOLLAR = re.compile(r"\$(?:\d|\{\w+\})")
"""How other languages refer to a group in a replacement."""


def check(context: Context) -> Iterator[Finding]:
    """Looks at every rule that the file writes down."""
    if not context.file.path.startswith((context.profile.dits + "/", context.profile.dit_configs + "/")):
        return
    seen: set[tuple[int, int, str | None]] = set()
    for table in context.project.mappings.in_file(context.file):
        for rule in table.written:
            if rule.key_fact is None or not table.owns(rule):
                continue
            # A mapping may be held by several names, an item of a comprehension shares its place.
            place = (rule.value.span.line, rule.value.span.column, rule.pattern)
            if place not in seen:
                seen.add(place)
                yield from _check_rule(context, table, rule, rule.key_fact)


# --------------------------------------------------------------------------- one rule


def _check_rule(context: Context, table: MappingTable, rule: MappingRule, key: Expr) -> Iterator[Finding]:
    def report(where: Location, subject: str, message: str, severity: Severity | None = None) -> Finding:
        return context.finding(where, f"{subject} {message}", severity=severity, symbol=table.name)

    texts = context.project.sources.bodies.derive_texts
    pattern = None
    if isinstance(key, Constant):
        if not isinstance(key.value, str):
            yield report(rule.key, repr(key.value), "is no pattern: it must be a string")
        else:
            pattern, fault = texts(("mapping pattern", key.value), partial(_compiled, key.value))
            if fault is not None:
                yield report(rule.key, repr(key.value), fault)
            if pattern is not None and pattern.slow:
                message = (
                    f"may take minutes to give up a name that it nearly matches: {pattern.slow}. It is not "
                    "tried here, so what becomes of its names stays unknown"
                )
                yield report(rule.key, repr(key.value), message, Severity.WARNING)
    value = rule.value_fact
    target: Expr | None = value
    if isinstance(value, Collection) and value.kind == "tuple":
        fault_at = _merge_fault(value)
        if fault_at is not None:
            yield report(rule.place(fault_at[0].span), "the merge", fault_at[1])
        target = value.items[0] if value.items else None
    elif isinstance(value, (Collection, Mapping)) or (
        isinstance(value, Constant) and not isinstance(value.value, str)
    ):
        kind = value.kind if isinstance(value, Collection) else "dict"
        kind = type(value.value).__name__ if isinstance(value, Constant) else kind
        article = "an" if kind[0] in "aeiou" else "a"
        message = f"is {article} {kind}: the loader takes a string, or a tuple (target, index, n)"
        yield report(rule.value, "the replacement", message)
        return
    if isinstance(target, Constant) and isinstance(target.value, str) and pattern is not None:
        question = ("mapping replacement", pattern.text, target.value)
        fault = texts(question, partial(_template_fault, pattern, target.value))
        if fault is not None:
            yield report(rule.place(target.span), repr(target.value), fault)


def _merge_fault(value: Collection) -> tuple[Expr, str] | None:
    """What is wrong with a merge tuple, and which part of it."""
    items = value.items
    if any(isinstance(item, Starred) for item in items):
        return None
    if len(items) != 3:
        return value, f"has {len(items)} items: it must be (target, index, n)"
    target, index, count = items
    if isinstance(target, (Collection, Mapping)) or (
        isinstance(target, Constant) and not isinstance(target.value, str)
    ):
        return target, "has a target that is no string"
    numbers = [item.value if isinstance(item, Constant) else None for item in (index, count)]
    known = [isinstance(item, (Constant, Collection, Mapping)) for item in (index, count)]
    if all(known) and numbers == [None, None] and isinstance(index, Constant) and isinstance(count, Constant):
        return None  # (target, None, None) is how the loader itself writes "no merge"
    for item, number, literal, what in zip((index, count), numbers, known, ("index", "n"), strict=True):
        if literal and not isinstance(number, int):
            return item, f"has an {what} that is no integer"
    first, total = numbers
    if isinstance(total, int) and total < 1:
        return count, f"counts {total} sources: n must be at least 1"
    if isinstance(first, int) and (first < 0 or (isinstance(total, int) and first >= total)):
        bound = f"0 to {total - 1}" if isinstance(total, int) else "0 and up"
        return index, f"has index {first}, outside {bound}: the group never completes"
    return None


def _compiled(text: str) -> tuple[Pattern | None, str | None]:
    """The pattern, and what is wrong with it: `re` rejects it, or no name can hold what it asks for."""
    pattern = Pattern(text)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            compiled = pattern.compiled
    except (re.error, OverflowError, RecursionError) as error:
        return None, f"does not compile: {error}"
    if not compiled.flags & re.VERBOSE and (odd := _control(text)) is not None:
        return pattern, f"holds the control character {odd}, which no name has: it lacks the prefix r"
    return pattern, None


def _template_fault(pattern: Pattern, text: str) -> str | None:
    """What is wrong with a replacement: `re.sub` reads the template before it looks for matches."""
    try:
        template = parse_template(pattern, text)
    except (re.error, IndexError) as error:
        return f"does not fit its pattern: {error}"
    if (odd := _control(text)) is not None:
        return f"holds the control character {odd}: it lacks the prefix r, and refers to no group"
    for part in template.parts:
        if not isinstance(part, str):
            continue
        if "\0" in part:
            return "writes the character NUL: the whole match is \\g<0>, the first group \\1"
        if "\\" in part:
            return "writes a backslash into the name: a replacement is no pattern, its dots need no escape"
        dollar = _DOLLAR.search(part)
        if dollar is not None:
            return f"writes '{dollar.group()}' as it stands: a group is written \\1 or \\g<name>"
    return None


def _control(text: str) -> str | None:
    """The first control character of a literal, spelled out."""
    return next((repr(c)[1:-1] for c in text if ord(c) < 0x20 or ord(c) == 0x7F), None)


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
    summary="a weight-name rule that `re` rejects or may never finish, or a malformed merge",
    what=(
        "Reports, in the dicts given to names that end in `param_names_mapping` (displays, merges with `|`, "
        "updates, comprehensions over literals, functions that build them): a key that is no regular "
        "expression, a replacement that refers to a group its pattern does not have or writes a backslash, "
        "a control character or `$1` into the name, a value that is neither a string nor a tuple, and a "
        "merge tuple that is not `(target, index, n)` with `0 <= index < n`. As a warning, a pattern that "
        "may take exponential time over a name, as `(a+)+b` does: it is told from its text and never run, "
        "and the proof of the weights leaves its names unknown."
    ),
    why=(
        "`get_param_names_mapping` compiles a rule only when a checkpoint key gets to it: the error appears "
        "in the middle of a load, or only for some checkpoints. A merge with a wrong index never completes, "
        "and its tensors are dropped in silence. A pattern that can share out one text in exponentially many "
        "ways doubles the time with every character of a name that it does not match in the end: the load "
        "hangs."
    ),
    how=(
        "Correct the pattern, the reference or the tuple. In a repetition within a repetition, let what is "
        "repeated end in something that it cannot begin with or contain: `(?:\\w+\\.)*` for `(?:\\w+\\.?)*`."
    ),
    exceptions=(
        "Keys and values that are computed. `reverse_param_names_mapping`, which the loader fills itself. "
        "`(target, None, None)`, which means no merge. Repetitions that stop where the next thing begins "
        "(`(?:\\w+\\.)*weight`), however they are nested."
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
            "nested groups, functions, and escapes that a replacement knows",
            {
                _FILE: _config(
                    r'            r"^(blocks\.(\d+))\.(.*)$": r"\1.\g<2>.\3",' + "\n"
                    r'            r"^(?x: head \. (.*) )$": r"proj_out.\1",' + "\n"
                    r'            r"^tail\.(.*)$": lambda match: match[1],' + "\n"
                    r'            r"^q\.(.*)$": (*QKV, 2),' + "\n"
                    r'            r"^gone$": "",' + "\n"
                )
            },
        ),
        Example(
            "a repetition within a repetition that has one way through a name",
            {_FILE: _config(r'            r"^((?:\w+\.)*)weight_(\w+)$": r"\1\2",' + "\n")},
        ),
        Example(
            "what is computed is left alone",
            {
                _FILE: _config(
                    '            make("a("): r"\\1",\n            r"^q$": (target, index, 3),\n'
                    '            **{f"^b{i}(": "c" for i in range(count)},\n'
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
            "a replacement that writes what no name holds",
            {
                _FILE: _config(
                    '            "^a\\\\.(.*)$": "b.\\1",\n'
                    r'            r"^c\.(.*)$": r"d\.\1",' + "\n"
                    r'            r"^e\.(.*)$": r"f.$1",' + "\n"
                    r'            r"^g\.(.*)$": r"h.\0",' + "\n"
                    '            "^i\\b": "j",\n'
                    r'            r"^k\.((\d+)\.(.*))$": r"l.\2.\4",' + "\n"
                )
            },
            findings=(
                Expected(_FILE, 10, "holds the control character \\x01: it lacks the prefix r"),
                Expected(_FILE, 11, "writes a backslash into the name"),
                Expected(_FILE, 12, "writes '$1' as it stands"),
                Expected(_FILE, 13, "writes the character NUL"),
                Expected(_FILE, 14, "holds the control character \\x08, which no name has"),
                Expected(_FILE, 15, "invalid group reference 4"),
            ),
        ),
        Example(
            "in a comprehension, a merge of dicts, a function and an update",
            {
                _FILE: _config("").replace(
                    "{\n        })", '{rf"^{n}(": "x" for n in ("a", "b")} | {"^c$": r"\\1"})'
                )
                + """
    def __post_init__(self) -> None:
        self.param_names_mapping.update({r"^d)$": "x"})


def build_lora_param_names_mapping() -> dict:
    rules = {}
    rules[r"^e$"] = 1
    return rules
"""
            },
            findings=(
                Expected(_FILE, 9, "'^a(' does not compile"),
                Expected(_FILE, 9, "'^b(' does not compile"),
                Expected(_FILE, 9, "invalid group reference 1"),
                Expected(_FILE, 12, "'^d)$' does not compile"),
                Expected(_FILE, 17, "is an int"),
            ),
        ),
        Example(
            "patterns that may never finish",
            {
                _FILE: _config(
                    r'            r"^((?:\w+\.?)*)weight$": r"\1w",' + "\n"
                    r'            r"^(.*)(.*)(.*)(.*)(.*)(.*)x$": r"\1",' + "\n"
                )
            },
            findings=(
                Expected(_FILE, 10, "can share out the same text in exponentially many", Severity.WARNING),
                Expected(_FILE, 11, "its repetitions can share out the same text in too many ways"),
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
