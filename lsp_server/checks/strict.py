"""Reads the values of a child's decoded JSON: each is what it should be, or the whole answer is refused.

`where` names the field in the message of a `MalformedAnswer`.
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar, cast

from lsp_server.checks.redact import redact

T = TypeVar("T")

_NOT_FINITE = ("nan", "inf", "-inf")


class MalformedAnswer(Exception):
    """The worker said something that is no answer; the message says where."""


def as_object(value: object, where: str) -> Mapping[str, Any]:
    """An object."""
    if not isinstance(value, dict):
        raise MalformedAnswer(f"{where} is no object")
    return value


def as_list(value: object, where: str) -> list[Any]:
    """A list, of whatever items."""
    if not isinstance(value, list):
        raise MalformedAnswer(f"{where} is no list")
    return value


def as_text(value: object, where: str) -> str:
    """A text that can be printed and sent on."""
    if not isinstance(value, str):
        raise MalformedAnswer(f"{where} holds {type(value).__name__}, not a text")
    try:
        value.encode()
    except UnicodeEncodeError:  # half of a surrogate pair, which nothing can print or send on
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return value


def as_texts(value: object, where: str) -> tuple[str, ...]:
    """A list of texts."""
    return tuple(as_text(item, where) for item in as_list(value, where))


def as_size(value: object, where: str) -> int:
    """A whole number that is not negative."""
    if type(value) is not int or value < 0:
        raise MalformedAnswer(f"{where} holds no size")
    return value


def as_number(value: object, where: str) -> float:
    """A number."""
    if type(value) not in (int, float):
        raise MalformedAnswer(f"{where} is no number")
    return float(cast("float", value))


def as_measure(value: object, where: str) -> float:
    """A number that was measured: `nan`, `inf` and `-inf` come as texts, since JSON has no such numbers."""
    return float(value) if value in _NOT_FINITE else as_number(value, where)


def as_flag(value: object, where: str) -> bool:
    """True or false."""
    if not isinstance(value, bool):
        raise MalformedAnswer(f"{where} is neither true nor false")
    return value


def as_named_text(value: object, where: str) -> tuple[str, str]:
    """A pair of a name and a text for people, which is redacted."""
    first, second = as_texts(value, where) if isinstance(value, list) and len(value) == 2 else ("", None)
    if second is None:
        raise MalformedAnswer(f"{where} has an entry that is no pair")
    return first, redact(second)


def optional(value: object, where: str, read: Callable[[object, str], T]) -> T | None:
    """What `read` makes of it; None for null."""
    return None if value is None else read(value, where)


class Places:
    """Paths of a child, as everything on this side names them: relative to the root where they lie in it,
    with `/`, else as they are."""

    def __init__(self, root: str) -> None:
        real = os.path.realpath(root)
        self._bases = tuple(base.rstrip(os.sep) + os.sep for base in dict.fromkeys((root, real)))
        self._known: dict[str, str] = {}

    def inside(self, path: str) -> str:
        """The path relative to the root where it lies in it, else as it is."""
        found = self._known.get(path)
        if found is None:
            found = self._known[path] = self._find(path)
        return found

    def below(self, paths: Iterable[str]) -> tuple[str, ...]:
        """Those that lie in the root, relative to it, each once, in order."""
        inside = (self.inside(path) for path in paths)
        return tuple(sorted({path for path in inside if not posixpath.isabs(path)}))

    def _find(self, path: str) -> str:
        for base in self._bases:
            if path.startswith(base):
                return os.path.relpath(path, base).replace(os.sep, "/")
        return path
