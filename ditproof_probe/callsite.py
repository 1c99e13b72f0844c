"""Where a call stands in the project's source, and what its arguments are called there.

The name of an output is the text of the expression that was compared. A helper that compares its
own parameters (`def check(actual, expected): assert_close(actual, expected)`) is looked through
once: the name is then what its caller passed. Everything here is best effort and says None rather
than guess.
"""

from __future__ import annotations

import ast
import functools
import itertools
import os
import tokenize
from dataclasses import dataclass
from types import CodeType, FrameType

_LABELS = ("name", "label", "key", "tag", "output_name", "tensor_name")
_LONGEST_NAME = 120


@dataclass(frozen=True)
class CallSite:
    """A call: lines from 0, columns in UTF-8 bytes from 0, end exclusive (None where unknown)."""

    path: str
    line: int
    column: int | None
    end_line: int | None
    end_column: int | None
    function: str
    actual: str | None
    expected: str | None
    label: str | None


def call_site(frame: FrameType, root: str) -> CallSite:
    """The call that `frame` is executing, or the nearest one outwards that lies in the project."""
    direct = _outside_the_machinery(frame)
    chosen = direct
    while chosen.f_back is not None and not in_project(chosen.f_code.co_filename, root):
        chosen = chosen.f_back
    if not in_project(chosen.f_code.co_filename, root):
        chosen = direct
    call = _call_at(chosen)
    actual, expected = _argument(call, 0, "actual"), _argument(call, 1, "expected")
    return CallSite(
        path=chosen.f_code.co_filename,
        line=(call.lineno if call is not None else chosen.f_lineno) - 1,
        column=call.col_offset if call is not None else None,
        end_line=call.end_lineno - 1 if call is not None and call.end_lineno is not None else None,
        end_column=call.end_col_offset if call is not None else None,
        function=chosen.f_code.co_name,
        actual=_text(_looked_through(actual, chosen, root)),
        expected=_text(_looked_through(expected, chosen, root)),
        label=_label(chosen),
    )


def in_project(path: str, root: str) -> bool:
    """Whether a file lies under the root and not in an environment inside it."""
    if not path.startswith(root.rstrip(os.sep) + os.sep):
        return False
    inside = path[len(root) :]
    return f"{os.sep}site-packages{os.sep}" not in inside and f"{os.sep}dist-packages{os.sep}" not in inside


@functools.lru_cache(maxsize=64)
def parsed(path: str) -> ast.Module | None:
    """The syntax tree of a source file, or None where it cannot be read or parsed."""
    try:
        with tokenize.open(path) as file:
            return ast.parse(file.read())
    except (OSError, SyntaxError, UnicodeDecodeError, ValueError):
        return None


@functools.lru_cache(maxsize=64)
def _calls(path: str) -> tuple[ast.Call, ...]:
    tree = parsed(path)
    return () if tree is None else tuple(n for n in ast.walk(tree) if isinstance(n, ast.Call))


def _outside_the_machinery(frame: FrameType) -> FrameType:
    while frame.f_back is not None:
        module = str(frame.f_globals.get("__name__", ""))
        if module.split(".")[0] not in ("torch", "ditproof_probe"):
            break
        frame = frame.f_back
    return frame


def _call_at(frame: FrameType) -> ast.Call | None:
    path = frame.f_code.co_filename
    position = _position(frame.f_code, frame.f_lasti)
    if position is not None:
        for call in _calls(path):
            if (call.lineno, call.end_lineno, call.col_offset, call.end_col_offset) == position:
                return call
        return None
    # Python 3.10 knows only the line: the smallest assertion around it, if there is but one.
    around = [
        call
        for call in _calls(path)
        if call.lineno <= frame.f_lineno <= (call.end_lineno or call.lineno)
        and "assert" in _last_name(call.func)
    ]
    return around[0] if len(around) == 1 else None


def _position(code: CodeType, instruction: int) -> tuple[int, int, int, int] | None:
    """(line, end line, column, end column) of an instruction; None before Python 3.11."""
    positions = getattr(code, "co_positions", None)
    if positions is None or instruction < 0:
        return None
    found = next(itertools.islice(positions(), instruction // 2, None), None)
    if found is None or any(part is None for part in found):
        return None
    line, end_line, column, end_column = found
    return line, end_line, column, end_column


def _argument(call: ast.Call | None, index: int, keyword: str) -> ast.expr | None:
    if call is None:
        return None
    for given in call.keywords:
        if given.arg == keyword:
            return given.value
    if any(isinstance(given, ast.Starred) for given in call.args[: index + 1]):
        return None
    return call.args[index] if index < len(call.args) else None


def _looked_through(argument: ast.expr | None, frame: FrameType, root: str) -> ast.expr | None:
    """What the caller passed, where the argument is a bare parameter of a helper."""
    code = frame.f_code
    parameters = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    if not isinstance(argument, ast.Name) or argument.id not in parameters:
        return argument
    caller = frame.f_back
    if caller is None or not in_project(caller.f_code.co_filename, root):
        return argument
    call = _call_at(caller)
    if call is None or _last_name(call.func) != code.co_name:
        return argument
    index = parameters.index(argument.id)
    if isinstance(call.func, ast.Attribute) and parameters[0] in ("self", "cls"):
        index -= 1
    if index < 0:
        return argument
    positional = index if parameters.index(argument.id) < code.co_argcount else len(call.args)
    return _argument(call, positional, argument.id) or argument


def _label(frame: FrameType) -> str | None:
    """A short string that the comparing code itself calls a name, as in a loop over outputs."""
    for name in _LABELS:
        value = frame.f_locals.get(name)
        if isinstance(value, str) and 0 < len(value) <= 80 and value.isprintable():
            return value
    return None


def _last_name(function: ast.expr) -> str:
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else ""


def _text(node: ast.expr | None) -> str | None:
    if node is None:
        return None
    text = ast.unparse(node)
    return text if len(text) <= _LONGEST_NAME else text[: _LONGEST_NAME - 3] + "..."
