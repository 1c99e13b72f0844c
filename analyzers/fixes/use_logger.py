"""`use-logger`: a `print`, or a call of the standard library's logging, becomes the code base's own.

Arguments: `path`, `line` (from 1) and `column` (UTF-8 bytes) of the call, `callee` (what is called, as
written), `factory` (the full name of the function that makes loggers).
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping

from analyzers.findings import JsonValue
from analyzers.fixes.base import Read, Refused, read_text, text_argument
from analyzers.fixes.exports import with_import_above
from analyzers.fixes.replacements import Place, Replacement, begin_of, end_of, replaced
from analyzers.fixes.texts import pieces, source_of

LOGGER = "logger"
_MAKERS = ("getLogger", "get_logger")


def edit(arguments: Mapping[str, JsonValue], read: Read) -> dict[str, str]:
    """The file with that call changed, and with a logger and its import where there were none."""
    path, factory = text_argument(arguments, "path"), text_argument(arguments, "factory")
    source = source_of(read_text(read, path), path)
    place = (arguments.get("line"), arguments.get("column"))
    call = _call_at(source.text, path, place, text_argument(arguments, "callee"))
    maker = factory.rpartition(".")[2]
    if _tail(call) in _MAKERS:
        if call.keywords or len(call.args) > 1:
            raise Refused("the logger is made with more than a name: rewrite it by hand")
        made = f"{maker}(__name__)" if not call.args else f"{maker}({ast.unparse(call.args[0])})"
        changed = replaced(source.text, [Replacement(begin_of(call), end_of(call), made)])
        needs_logger = False
    else:
        changed = replaced(source.text, list(_logged(call, source.text)))
        needs_logger = True
    changed = _with_factory(changed, path, factory)
    if needs_logger:
        if _runs_before_logger(source.text, path, call):
            raise Refused(f"'{LOGGER}' is made further down: move it up first")
        changed = _with_logger(changed, path, maker)
    return {path: source.restored(_without_unused_logging(changed))}


def _call_at(text: str, path: str, place: tuple[JsonValue, JsonValue], callee: str) -> ast.Call:
    for node in ast.walk(_parsed(text, path)):
        if (
            isinstance(node, ast.Call)
            and (node.lineno, node.col_offset) == place
            and ast.unparse(node.func) == callee
        ):
            return node
    raise Refused("the call is no longer there")


def _parsed(text: str, path: str) -> ast.Module:
    try:
        return ast.parse(text)
    except (SyntaxError, ValueError) as error:
        raise Refused(f"{path} does not parse: {error}") from error


def _tail(call: ast.Call) -> str:
    function = call.func
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def _logged(call: ast.Call, text: str) -> Iterator[Replacement]:
    """What turns the call into one of the logger. Raises `Refused` for a print that formats."""
    name = _tail(call)
    if name != "print":
        level = "warning" if name == "warn" else name
        yield Replacement(begin_of(call.func), end_of(call.func), f"{LOGGER}.{level}")
        return
    if not call.args or any(isinstance(argument, ast.Starred) for argument in call.args):
        raise Refused("the print has no fixed number of values: rewrite it by hand")
    if any(keyword.arg != "flush" for keyword in call.keywords):
        raise Refused("the print sets its separator or end: rewrite it by hand")
    yield Replacement(begin_of(call.func), end_of(call.func), f"{LOGGER}.info")
    first = call.args[0]
    is_text = isinstance(first, ast.JoinedStr) or (
        isinstance(first, ast.Constant) and isinstance(first.value, str)
    )
    if len(call.args) > 1 or not is_text:
        pattern = " ".join("%s" for _ in call.args)
        place = begin_of(first)
        if place[0] == call.lineno:  # in front of brackets around the value
            place = _behind(text, call.func, "(")
        elif text.split("\n")[place[0] - 1].encode("utf-8")[: place[1]].strip():
            raise Refused("the print has brackets around its values: rewrite it by hand")
        yield Replacement(place, place, f'"{pattern}", ')
    for keyword in call.keywords:
        _behind(text, call.args[-1], ",")
        yield Replacement(end_of(call.args[-1]), end_of(keyword.value), "")


def _behind(text: str, node: ast.expr, mark: str) -> Place:
    """The place behind a mark that follows the node at once. Raises `Refused` where it does not."""
    line, column = end_of(node)
    following = text.split("\n")[line - 1].encode("utf-8")[column:].decode("utf-8")
    if not following.startswith(mark):
        raise Refused("the print has brackets or line breaks around its values: rewrite it by hand")
    return line, column + len(mark)


def _with_factory(text: str, path: str, factory: str) -> str:
    """With the factory imported: among the imports of its package, else behind the last import."""
    module, _, name = factory.rpartition(".")
    package = factory.partition(".")[0]
    imports = [node for node in _parsed(text, path).body if isinstance(node, (ast.Import, ast.ImportFrom))]
    own = [
        node
        for node in imports
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == package
    ]
    if own or not imports:
        return with_import_above(text, path, package, factory)
    lines = text.split("\n")
    end = imports[-1].end_lineno or imports[-1].lineno
    return "\n".join([*lines[:end], "", f"from {module} import {name}", *lines[end:]])


def _with_logger(text: str, path: str, maker: str) -> str:
    """With `logger = <maker>(__name__)` below the imports, where the file has none."""
    tree = _parsed(text, path)
    last_import: ast.stmt | None = None
    for statement in tree.body:
        if isinstance(statement, (ast.Import, ast.ImportFrom)):
            last_import = statement
        elif isinstance(statement, ast.Assign) and any(
            isinstance(target, ast.Name) and target.id == LOGGER for target in statement.targets
        ):
            return text
    if any(_binds(node) for node in ast.walk(tree)):
        raise Refused(f"'{LOGGER}' means something else in {path}")
    assert last_import is not None  # the factory has just been imported
    lines = text.split("\n")
    end = last_import.end_lineno or last_import.lineno
    rest = lines[end:]
    blank = next((i for i, line in enumerate(rest) if line.strip()), len(rest))
    between = [""] * max(blank, 1)
    return "\n".join([*lines[:end], "", f"{LOGGER} = {maker}(__name__)", *between, *rest[blank:]])


def _runs_before_logger(text: str, path: str, call: ast.Call) -> bool:
    """Whether the call may run while the module is imported, above the place where its logger is made."""
    tree = _parsed(text, path)
    for statement in tree.body:
        if isinstance(statement, ast.Assign) and any(
            isinstance(target, ast.Name) and target.id == LOGGER for target in statement.targets
        ):
            return call.lineno < statement.lineno and not any(
                isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
                and node.lineno <= call.lineno <= (node.end_lineno or node.lineno)
                for node in ast.walk(tree)
            )
    return False


def _binds(node: ast.AST) -> bool:
    if isinstance(node, ast.Name):
        return node.id == LOGGER and not isinstance(node.ctx, ast.Load)
    if isinstance(node, ast.alias):
        return (node.asname or node.name) == LOGGER
    return isinstance(node, ast.arg) and node.arg == LOGGER


def _without_unused_logging(text: str) -> str:
    """Without the import of what made the logger, where nothing uses it any more."""
    tree = ast.parse(text)
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    for piece in pieces(text):
        bound = _LOGGING_IMPORTS.get(piece.text.strip())
        if bound is not None and bound not in used:
            blank = len(piece.text) - len(piece.text.rstrip()) - 1
            return _cut(text, piece.begin, piece.end - max(blank, 0))
    return text


_LOGGING_IMPORTS = {
    "import logging": "logging",
    "from logging import getLogger": "getLogger",
    "from diffusers.utils import logging": "logging",
    "from transformers.utils import logging": "logging",
}
"""Imports that stand alone on a line -> the name that each binds."""


def _cut(text: str, begin: int, end: int) -> str:
    """Without a stretch; blank lines that it stood between become one gap."""
    head, tail = text[:begin], text[end:]
    if not head.strip() or head.endswith("\n\n"):
        tail = tail.lstrip("\n")
    return head + tail
