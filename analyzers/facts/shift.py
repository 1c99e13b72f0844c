"""Facts moved up or down: the same facts with every span shifted by whole lines."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from typing import Any, TypeVar

from analyzers.findings import Span

T = TypeVar("T")


def shifted(fact: T, lines: int) -> T:
    """A fact (or a tuple of facts) `lines` further down."""
    moved: T = _shifted(fact, lines) if lines else fact
    return moved


def _shifted(value: Any, lines: int) -> Any:
    if isinstance(value, Span):
        return value.shifted(lines)
    if isinstance(value, tuple):
        return tuple(_shifted(item, lines) for item in value)
    if is_dataclass(value) and not isinstance(value, type):
        return type(value)(*(_shifted(getattr(value, f.name), lines) for f in fields(value)))
    return value
