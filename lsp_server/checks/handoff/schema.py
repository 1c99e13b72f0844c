"""The shipped schema of a handoff block, and what else has to hold between its fields.

`problems` reads the part of JSON Schema that the shipped file uses, and refuses a keyword that it does not
know: a constraint that nobody reads would be none.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

SCHEMA = Path(__file__).resolve().parents[2] / "schemas" / "handoff.schema.json"

_TYPES: Mapping[str, Callable[[Any], bool]] = {
    "null": lambda value: value is None,
    "string": lambda value: isinstance(value, str),
    "array": lambda value: isinstance(value, list),
    "object": lambda value: isinstance(value, dict),
}
_REMARKS = frozenset({"$schema", "title", "description"})


def schema() -> dict[str, Any]:
    """The shipped schema."""
    document = json.loads(SCHEMA.read_text(encoding="utf-8"))
    assert isinstance(document, dict)
    return document


def problems(block: Any, against: Mapping[str, Any] | None = None) -> list[str]:
    """What is wrong with a block, one sentence a fault; empty where it is valid.

    `against`: the schema, the shipped one by default. Raises ValueError where that uses an unknown keyword.
    """
    found = list(_wrong(block, schema() if against is None else against, "handoff"))
    return found or list(_contradictions(block))


def _contradictions(block: Mapping[str, Any]) -> Iterator[str]:
    """What the fields say of each other, of a block that fits the schema."""
    status, step, load = block["parity_status"], block["next_step"], block["strict_load"]
    if (step == "ask_user") != (block["escape_hatch"] is not None):
        yield "next_step is ask_user where there is an escape_hatch, and only there"
    if (step == "phase_5_conversion_retry") and block["conversion_retry_request"] is None:
        yield "phase_5_conversion_retry needs a conversion_retry_request"
    if step == "blocked" and block["blocker"] is None:
        yield "blocked needs a blocker that says what lifts it"
    if step == "phase_5_conversion" and block["mode"] != "prototype":
        yield "phase_5_conversion follows a prototype"
    if status is not None and (block["pytest_output"] is None or block["parity_test"] is None):
        yield f"parity_status {status} needs the parity_test and the pytest_output that it comes from"
    if status in ("scaffold_skip", "debug_red", "blocked") and block["blocker"] is None:
        yield f"parity_status {status} needs a blocker"
    if load == "blocked" and block["blocker"] is None:
        yield "strict_load blocked needs a blocker"
    if load.startswith("pass") and status is None:
        yield f"strict_load {load} needs a parity test that ran on the weights"
    if load == "pass" and block["production_loader_strictness"] != "strict":
        yield "strict_load pass needs a loader that is strict"
    request = block["conversion_retry_request"]
    if request is not None and request["component"] != block["component"]:
        yield "conversion_retry_request is of another component"


# --------------------------------------------------------------------------- JSON Schema


def _wrong(value: Any, rules: Mapping[str, Any], where: str) -> Iterator[str]:
    for keyword, wanted in rules.items():
        if keyword in _REMARKS:
            continue
        reader = _READERS.get(keyword)
        if reader is None:
            raise ValueError(f"the schema uses '{keyword}', which is not read here")
        yield from reader(value, wanted, where, rules)


def _type(value: Any, wanted: Any, where: str, rules: Mapping[str, Any]) -> Iterator[str]:
    names = [wanted] if isinstance(wanted, str) else wanted
    if not any(_TYPES[name](value) for name in names):
        yield f"{where} is {type(value).__name__}, not {' or '.join(names)}"


def _enum(value: Any, wanted: Any, where: str, rules: Mapping[str, Any]) -> Iterator[str]:
    # `1 == True` in Python, not in JSON.
    if not any(type(value) is type(known) and value == known for known in wanted):
        yield f"{where} is {value!r}, none of {', '.join(str(known) for known in wanted)}"


def _any_of(value: Any, wanted: Any, where: str, rules: Mapping[str, Any]) -> Iterator[str]:
    tried = [list(_wrong(value, one, where)) for one in wanted]
    if all(tried):
        yield max(tried, key=len)[0] if value is not None else f"{where} may not be null"


def _required(value: Any, wanted: Any, where: str, rules: Mapping[str, Any]) -> Iterator[str]:
    if isinstance(value, dict):
        yield from (f"{where} lacks '{name}'" for name in wanted if name not in value)


def _properties(value: Any, wanted: Any, where: str, rules: Mapping[str, Any]) -> Iterator[str]:
    if isinstance(value, dict):
        for name, inner in wanted.items():
            if name in value:
                yield from _wrong(value[name], inner, f"{where}.{name}")


def _additional(value: Any, wanted: Any, where: str, rules: Mapping[str, Any]) -> Iterator[str]:
    if wanted is not False:
        raise ValueError("the schema uses 'additionalProperties' with a schema, which is not read here")
    if isinstance(value, dict):
        known = rules.get("properties", {})
        yield from (f"{where} has no field '{name}'" for name in value if name not in known)


def _items(value: Any, wanted: Any, where: str, rules: Mapping[str, Any]) -> Iterator[str]:
    if isinstance(value, list):
        for number, item in enumerate(value):
            yield from _wrong(item, wanted, f"{where}[{number}]")


def _min_items(value: Any, wanted: Any, where: str, rules: Mapping[str, Any]) -> Iterator[str]:
    if isinstance(value, list) and len(value) < wanted:
        yield f"{where} has {len(value)} items, at least {wanted} are needed"


def _max_items(value: Any, wanted: Any, where: str, rules: Mapping[str, Any]) -> Iterator[str]:
    if isinstance(value, list) and len(value) > wanted:
        yield f"{where} has {len(value)} items, at most {wanted} are allowed"


def _unique(value: Any, wanted: Any, where: str, rules: Mapping[str, Any]) -> Iterator[str]:
    if (
        wanted
        and isinstance(value, list)
        and len({json.dumps(v, sort_keys=True) for v in value}) < len(value)
    ):
        yield f"{where} names something twice"


def _min_length(value: Any, wanted: Any, where: str, rules: Mapping[str, Any]) -> Iterator[str]:
    if isinstance(value, str) and len(value) < wanted:
        yield f"{where} is empty"


_READERS: Mapping[str, Callable[[Any, Any, str, Mapping[str, Any]], Iterator[str]]] = {
    "type": _type,
    "enum": _enum,
    "anyOf": _any_of,
    "required": _required,
    "properties": _properties,
    "additionalProperties": _additional,
    "items": _items,
    "minItems": _min_items,
    "maxItems": _max_items,
    "uniqueItems": _unique,
    "minLength": _min_length,
}
