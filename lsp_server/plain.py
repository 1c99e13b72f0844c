"""Parameters that no type describes: pygls hands them over as dicts or as named tuples."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def as_mapping(value: Any) -> Mapping[str, Any] | None:
    """The fields of a JSON object, None for anything else."""
    if isinstance(value, Mapping):
        return value
    fields = getattr(value, "_asdict", None)
    return fields() if fields is not None else None
