"""Patterns over which `re` may take for ever: told from their texts, never by running them."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analyzers.weights.mapping.patterns import parse_pattern

EXPONENTIAL = (
    r"^(a+)+b$",
    r"^(\w+\.?)*weight$",
    r"^(.*)*b$",
    r"^(?:(?:\w+)\.?)+:$",
    r"^(?:a|a)*b$",
    r"^(?:a|aa)+$",
    r"^(?:\w|\d\w)+b\.$",
    r"^(?:[a-z]+|[a-z]+\d)*\.$",
    r"^blocks\.((\d+)*\.)*x$",
    r"^(?:a{1,3})+b$",
    r"(?i)^(?:[a-z]+|[A-Z])+\.$",
    r"^((?:\w+|\w+\.)+)weight$",
)
POLYNOMIAL = (r"^.*a.*b.*c.*d.*e.*f$", r"^(\w*)(\w*)(\w*)(\w*)(\w*)(\w*)x$")
QUICK = (
    r"^(?:\w+\.)*weight$",
    r"^((?:[^.]+\.)+)weight$",
    r"^(\w+)\.(\w+)\.(\w+)\.(\w+)\.(\w+)\.(\w+)\.(\w+)\.(.*)$",
    r"^blocks\.(\d+)\.(?:attn|mlp)\.(.*)\.(.*)$",
    r"^(?:layers\.\d+\.)+(.*)$",
    r"^(?:(?:a|b)\.)*c$",
    r"^(?:\d{3})+\.x$",
    r"^(?:[a-z]+\d)*$",
    r"^(.*)$",
    r"(?i)^Blocks\.(\d+)\.(.*)$",
)


@pytest.mark.parametrize("text", EXPONENTIAL)
def test_exponential(text: str) -> None:
    pattern = parse_pattern(text)
    assert pattern is not None
    assert pattern.is_costly
    assert "exponentially" in pattern.slow


@pytest.mark.parametrize("text", POLYNOMIAL)
def test_too_many_repetitions(text: str) -> None:
    pattern = parse_pattern(text)
    assert pattern is not None
    assert pattern.slow == "its repetitions can share out the same text in too many ways"


@pytest.mark.parametrize("text", QUICK)
def test_quick(text: str) -> None:
    pattern = parse_pattern(text)
    assert pattern is not None
    assert not pattern.is_costly
    began = time.perf_counter()
    for name in ("a" * 120, "1" * 120, "a." * 60, "a1" * 60, "a1." * 40 + "-", "blocks.1." * 12):
        pattern.compiled.match(name)
    assert time.perf_counter() - began < 1


_ATOMS = st.sampled_from(["a", "b", "[ab]", "."])
_EXPRESSIONS = st.recursive(
    _ATOMS,
    lambda inner: st.one_of(
        st.tuples(inner, inner).map("".join),
        st.tuples(inner, inner).map(lambda two: f"(?:{two[0]}|{two[1]})"),
        inner.map(lambda one: f"(?:{one})*"),
        inner.map(lambda one: f"(?:{one})+"),
        inner.map(lambda one: f"(?:{one})?"),
    ),
    max_leaves=5,
)


@settings(max_examples=300, deadline=None)
@given(_EXPRESSIONS)
def test_what_is_called_quick_is_quick(text: str) -> None:
    """Over texts long enough that doubling would show, and that no pattern of these accepts."""
    pattern = parse_pattern(f"{text}c")
    assert pattern is not None
    if pattern.is_costly:
        return
    for name in ("a" * 40, "b" * 40, "ab" * 20, "aab" * 13, "abb" * 13):
        began = time.process_time()
        assert re.match(pattern.text, name) is None
        assert time.process_time() - began < 2
