"""Names the sequence-parallel gap in the docstring of a class or function.

Arguments: `path`, `class` (None for a function of the module), `function`, `kernel` (as the code calls
it).

The paragraph says only what the code shows: which kernel it is, and that it sees one rank's tokens.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping

import libcst as cst

from analyzers.findings import JsonValue
from analyzers.fixes.base import Read, Refused, read_text, text_argument
from analyzers.fixes.texts import parse_piece, pieces, source_of
from analyzers.fixes.trees import as_block, is_docstring, with_statements

_WIDTH = 88
_QUOTES = '"""'
_MARK = "Sequence-parallel gap:"
_SIMPLE = re.compile(r"(?P<prefix>[rRuU]?)(?P<quotes>\"\"\"|'''|\"|')(?P<text>.*)(?P=quotes)", re.DOTALL)


def edit(arguments: Mapping[str, JsonValue], read: Read) -> dict[str, str]:
    """The new text. Raises `Refused` where the docstring is put together or names the gap already."""
    path, kernel = text_argument(arguments, "path"), text_argument(arguments, "kernel")
    owner = arguments.get("class")
    name = owner if isinstance(owner, str) else text_argument(arguments, "function")
    wanted = cst.ClassDef if isinstance(owner, str) else cst.FunctionDef
    source = source_of(read_text(read, path), path)
    opening = re.compile(rf"^(?:async\s+def|def|class)\s+{re.escape(name)}\b", re.MULTILINE)
    found = [piece for piece in pieces(source.text) if opening.search(piece.text)]
    if len(found) != 1:
        raise Refused(f"there is no '{name}' at the top of {path}, or more than one")
    module = parse_piece(found[0], path)
    definitions = [s for s in module.body if isinstance(s, wanted) and s.name.value == name]
    if len(definitions) != 1:
        raise Refused(f"there is no '{name}' at the top of {path}, or more than one")
    definition = definitions[0]
    assert isinstance(definition, (cst.ClassDef, cst.FunctionDef))
    block, statements = as_block(definition.body)
    indent = block.indent if block.indent is not None else module.default_indent
    if statements and is_docstring(statements[0]):
        line = statements[0]
        assert isinstance(line, cst.SimpleStatementLine)
        text = _extended(line, kernel, indent)
        statements[0] = line.with_changes(body=[cst.Expr(cst.SimpleString(text))])
    else:
        text = f"{_paragraph(kernel, indent, opening=_QUOTES).lstrip()}\n{indent}{_QUOTES}"
        if isinstance(definition, cst.ClassDef) and statements:
            statements[0] = _apart(statements[0])
        statements.insert(0, cst.SimpleStatementLine([cst.Expr(cst.SimpleString(text))]))
    changed = module.deep_replace(
        definition, definition.with_changes(body=with_statements(block, statements))
    )
    assert isinstance(changed, cst.Module)
    piece = found[0]
    return {path: source.restored(source.text[: piece.begin] + changed.code + source.text[piece.end :])}


def _apart(line: cst.BaseStatement) -> cst.BaseStatement:
    """The statement with an empty line above it, as one stands behind the docstring of a class."""
    leading = getattr(line, "leading_lines", ())
    if leading and leading[0].comment is None:
        return line
    return line.with_changes(leading_lines=[cst.EmptyLine(indent=False), *leading])


def _paragraph(kernel: str, indent: str, *, opening: str = "") -> str:
    text = f"{_MARK} ``{kernel}`` sees the tokens of its own rank only; nothing here gathers the sequence."
    return textwrap.fill(
        text, _WIDTH, initial_indent=indent + opening, subsequent_indent=indent, break_long_words=False
    )


def _extended(line: cst.SimpleStatementLine, kernel: str, indent: str) -> str:
    """The docstring with the paragraph at its end; its own text stays as it is."""
    only = line.body[0]
    value = only.value if isinstance(only, cst.Expr) else None
    match = _SIMPLE.fullmatch(value.value) if isinstance(value, cst.SimpleString) else None
    if match is None or not isinstance(value, cst.SimpleString) or value.lpar:
        raise Refused("the docstring is not one plain string")
    if _MARK in match["text"]:
        raise Refused("the docstring names the gap already")
    quotes, text = match["quotes"], match["text"]
    if len(quotes) == 1:
        if quotes * 2 in text or "\\" in text:
            raise Refused("the docstring is not one plain string")
        quotes = quotes * 3
    lines = text.rstrip()
    body = f"{lines}\n\n{_paragraph(kernel, indent)}" if lines else f"\n{_paragraph(kernel, indent)}"
    return f"{match['prefix']}{quotes}{body}\n{indent}{quotes}"
