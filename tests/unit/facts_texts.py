"""Texts that tests of facts edit, and facts moved about."""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace
from typing import Any

from hypothesis import strategies as st

from analyzers.findings import Span


def moved(value: Any, lines: int) -> Any:
    """A fact with every span moved down, written apart from the product's own way to do it."""
    if isinstance(value, Span):
        return Span(value.line + lines, value.column, value.end_line + lines, value.end_column)
    if isinstance(value, tuple):
        return tuple(moved(item, lines) for item in value)
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{f.name: moved(getattr(value, f.name), lines) for f in fields(value)})
    return value


SOURCE = '''\
"""What it is."""
# licence
import os
from a import (
    b,
    c,
)


@decorated
@called(
    1,
)
class A(b):
    """Text with a ' and a ".

    x = 1
    """

    x: int = 3  # three
    y = ["(", '[', """{
"""]

    # above
    @property
    def f(self) -> str:
        if self.x:
            return f"{self.x!r:>{self.y}}"
        else:
            return r"\\d"

    def g(self, *args): return \\
        args


if c:
    d = 1
elif b:
    d = 2
else:
    d = 3
try:
    import e
except ImportError:
    e = None
finally:
    del os
z = {
"key": 1,
}
async def h():
    await g()
EntryClass = [A]
'''

FRAGMENTS = st.sampled_from(
    [
        *"\"'()[]{}#@:=,\\\n\t\f\x00\x0b\u2028é😀\ud800",
        *('"""', "'''", "@x\n", "\\\n", "\n\n", "    ", "  y", "async ", "if x:", "else:\n", "x = 1\n"),
        *("class A:\n", "def f(", "import os\n", "from a import (", "f'{", 'f"{a["b"]}"', "# ditproof"),
    ]
)


@st.composite
def edited(draw: st.DrawFn, source: str = SOURCE) -> list[str]:
    """States of a text that is edited at a few places: replaced, inserted, deleted, cut off."""
    states = [source]
    for _ in range(draw(st.integers(1, 4))):
        text = states[-1]
        begin = draw(st.integers(0, len(text)))
        end = draw(
            st.one_of(st.just(begin), st.integers(begin, min(len(text), begin + 40)), st.just(len(text)))
        )
        states.append(text[:begin] + "".join(draw(st.lists(FRAGMENTS, max_size=3))) + text[end:])
    return states
