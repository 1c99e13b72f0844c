"""Elements of a list, tuple, dict or import, added and removed the way a person would.

The space between elements (line breaks, indentation, comments) is text here: `before[i]` stands in
front of element `i`, the last one in front of the closing bracket. Joined again they give the
original, byte for byte. Line ends are `\\n`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import libcst as cst

LINE_LENGTH = 120
"""What FastVideo formats to (`pyproject.toml`: yapf's `column_limit`, ruff's `line-length`)."""

_BLANK = cst.Module([])


@dataclass(frozen=True)
class Layout:
    """A bracketed sequence as text; `trailing`: a comma stands behind the last element."""

    opening: str
    closing: str
    items: tuple[str, ...]
    before: tuple[str, ...]
    trailing: bool
    is_tuple: bool = False

    @property
    def text(self) -> str:
        """The sequence as it is written."""
        parts = [self.opening]
        for index, item in enumerate(self.items):
            parts += [self.before[index], item]
            if index < len(self.items) - 1 or self.trailing:
                parts.append(",")
        return "".join([*parts, self.before[-1], self.closing])

    @property
    def one_a_line(self) -> bool:
        """Whether every element stands on a line of its own."""
        return bool(self.items) and all("\n" in space for space in self.before)

    def without(self, index: int) -> Layout:
        """The sequence without one element and the comment behind it."""
        items = self.items[:index] + self.items[index + 1 :]
        space = _joined(self.before[index], self.before[index + 1], index == 0)
        before = (*self.before[:index], space, *self.before[index + 2 :])
        if not items:
            return replace(self, items=(), before=(space if "#" in space else "",), trailing=False)
        trailing = self.trailing or (self.is_tuple and len(items) == 1)
        return replace(self, items=items, before=before, trailing=trailing)

    def with_item(self, item: str, index: int, column: int, indent: str) -> Layout:
        """The sequence with one element more, before the present element `index` (or at the end).

        `column`: where the opening bracket stands; `indent`: that of the statement.
        """
        items = (*self.items[:index], item, *self.items[index:])
        if not self.items:
            return replace(self, items=items, before=("", self.before[-1]), trailing=self.is_tuple)
        if self.one_a_line:
            return replace(self, items=items, before=self._new_line(index))
        packed = replace(self, items=items, before=self._same_line(index))
        if packed._longest_line(column) <= max(LINE_LENGTH, self._longest_line(column)):
            return packed
        if any("\n" in space for space in self.before[:-1]):
            return replace(self, items=items, before=self._new_line(index))
        inner = f"\n{indent}    "
        spread = (inner, *(" " for _ in items[1:-1]), inner, f"\n{indent}")
        return replace(self, items=items, before=spread)

    def _same_line(self, index: int) -> tuple[str, ...]:
        if index < len(self.items):
            return (*self.before[: index + 1], " ", *self.before[index + 1 :])
        return (*self.before[:-1], " ", self.before[-1])

    def _new_line(self, index: int) -> tuple[str, ...]:
        indent = next(s for s in reversed(self.before[:-1]) if "\n" in s).rpartition("\n")[2]
        if index < len(self.items):
            return (*self.before[: index + 1], f"\n{indent}", *self.before[index + 1 :])
        last = self.before[-1]
        # A comment behind the last element stays behind it; what follows stays before the bracket.
        head, _, tail = last.rpartition("\n")
        if "\n" not in last:
            return (*self.before[:-1], f"\n{indent}", last)
        return (*self.before[:-1], f"{head}\n{indent}", f"\n{tail}")

    def _longest_line(self, column: int) -> int:
        lines = (" " * column + self.text).split("\n")
        return max(len(line) for line in lines)


def _joined(before: str, after: str, first: bool) -> str:
    """The space that is left where an element between two spaces goes away."""
    if "\n" not in before:
        return before if first and "#" not in after else after
    head, *own, _ = before.split("\n")
    if "\n" not in after:
        if after == "" and "#" not in before:
            return after
        return before
    _, *more, indent = after.split("\n")
    return "\n".join([head, *own, *more, indent])


def layout_of(node: cst.List | cst.Tuple | cst.Dict) -> Layout:
    """A display as text. Raises `ValueError` for a tuple without parentheses."""
    if isinstance(node, cst.List):
        opening, closing = "[", "]"
        first, last = node.lbracket.whitespace_after, node.rbracket.whitespace_before
    elif isinstance(node, cst.Dict):
        opening, closing = "{", "}"
        first, last = node.lbrace.whitespace_after, node.rbrace.whitespace_before
    else:
        if len(node.lpar) != 1:
            raise ValueError("a tuple without parentheses, or with several")
        opening, closing = "(", ")"
        first, last = node.lpar[0].whitespace_after, node.rpar[0].whitespace_before
    layout = _layout(opening, closing, _code(first), node.elements, _code(last))
    return replace(layout, is_tuple=isinstance(node, cst.Tuple))


def layout_of_import(node: cst.ImportFrom) -> Layout:
    """The names of a `from` import as text; without brackets where it has none.

    Raises `ValueError` for a star import.
    """
    if isinstance(node.names, cst.ImportStar):
        raise ValueError("a star import")
    if node.lpar is None or node.rpar is None:
        return _layout("", "", "", node.names, "")
    first, last = _code(node.lpar.whitespace_after), _code(node.rpar.whitespace_before)
    return _layout("(", ")", first, node.names, last)


def _layout(
    opening: str,
    closing: str,
    first: str,
    elements: Sequence[cst.BaseElement | cst.BaseDictElement | cst.ImportAlias],
    last: str,
) -> Layout:
    items: list[str] = []
    before = [first]
    trailing = False
    for element in elements:
        comma = element.comma
        text = _code(element.with_changes(comma=cst.MaybeSentinel.DEFAULT))
        trailing = isinstance(comma, cst.Comma)
        if isinstance(comma, cst.Comma):
            text += _code(comma.whitespace_before)
            before.append(_code(comma.whitespace_after))
        else:
            before.append("")
        items.append(text)
    # The space before the closing bracket belongs to the bracket in displays, to the comma in imports.
    before[-1] += last
    return Layout(opening, closing, tuple(items), tuple(before), trailing)


def _code(node: cst.CSTNode) -> str:
    return _BLANK.code_for_node(node)
