"""The `EntryClass` assignment of a module: found, written, extended, taken away."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TypeAlias

import libcst as cst

from analyzers.facts.entries import DISCOVERED_NAME
from analyzers.fixes.base import Refused
from analyzers.fixes.sequences import LINE_LENGTH, layout_of
from analyzers.fixes.texts import Piece, appended, parse_piece, pieces, source_of, without_statement

_MENTION = re.compile(rf"\b{DISCOVERED_NAME}\b")
_TARGET = re.compile(rf"^\s*{DISCOVERED_NAME}\b\s*(?:[:=+,]|$)", re.MULTILINE)
_BLANK = cst.Module([])

Statement: TypeAlias = cst.Assign | cst.AnnAssign


def statement_for(names: Sequence[str]) -> str:
    """The assignment in house style: a name, or a list where there are several."""
    return f"{DISCOVERED_NAME} = {value_for(names)}"


def value_for(names: Sequence[str]) -> str:
    """The value alone."""
    if len(names) == 1:
        return names[0]
    line = f"[{', '.join(names)}]"
    if len(DISCOVERED_NAME) + 3 + len(line) <= LINE_LENGTH:
        return line
    return "[\n" + "".join(f"    {name},\n" for name in names) + "]"


def registered(text: str, path: str, names: Sequence[str]) -> str:
    """The text of a module whose `EntryClass` names all of `names`: appended, or extended.

    Raises `Refused` where the module assigns `EntryClass` in a way that discovery does not read.
    """
    source = source_of(text, path)
    found = _assignments(source.text, path)
    if not found:
        if _TARGET.search(source.text) is not None:
            raise Refused(f"{path} already sets {DISCOVERED_NAME} in another way")
        return source.restored(appended(source.text, statement_for(names)))
    if len(found) > 1:
        raise Refused(f"{path} sets {DISCOVERED_NAME} more than once")
    piece, module, statement = found[0]
    if not isinstance(statement, cst.Assign):
        raise Refused(f"{path} annotates {DISCOVERED_NAME}, which discovery does not read")
    value = _extended(statement.value, names, path)
    if value is None:
        return text
    return source.restored(_replaced(source.text, piece, module, statement, value))


def rewritten(text: str, path: str, names: Sequence[str]) -> str:
    """The text of a module whose only `EntryClass` assignment is `EntryClass = names`, or is gone.

    Raises `Refused` where there is not exactly one, at the top level.
    """
    source = source_of(text, path)
    found = _assignments(source.text, path)
    if len(found) != 1:
        raise Refused(f"{path} does not set {DISCOVERED_NAME} exactly once, in a statement of its own")
    piece, module, statement = found[0]
    if names:
        value, present = value_for(names), statement.value
        if present is not None and _reads_as(present, names):
            value = _BLANK.code_for_node(present)
        return source.restored(_replaced(source.text, piece, module, statement, value))
    length = len(_BLANK.code_for_node(module.body[0]))
    begin = piece.begin + len(_code_before(module))
    return source.restored(without_statement(source.text, begin, length))


def _reads_as(value: cst.BaseExpression, names: Sequence[str]) -> bool:
    """Whether discovery takes exactly these names from a display, so that it can stay as it is."""
    if not isinstance(value, (cst.List, cst.Tuple)):
        return False
    return [_element_name(e.value) for e in value.elements] == list(names)


def renamed(text: str, path: str, old: str, new: str) -> str:
    """The text of a module whose `EntryClass` says `new` where it said `old`."""
    source = source_of(text, path)
    found = _assignments(source.text, path)
    if len(found) != 1:
        raise Refused(f"{path} does not set {DISCOVERED_NAME} exactly once, in a statement of its own")
    piece, module, statement = found[0]
    value = statement.value
    if isinstance(value, cst.Name) and value.value == old:
        changed: cst.BaseExpression = value.with_changes(value=new)
    elif isinstance(value, (cst.List, cst.Tuple)):
        elements = [e.with_changes(value=_renamed_element(e.value, old, new)) for e in value.elements]
        changed = value.with_changes(elements=elements)
    else:
        raise Refused(f"{DISCOVERED_NAME} in {path} does not name '{old}'")
    result = _replaced(source.text, piece, module, statement, _BLANK.code_for_node(changed))
    return source.restored(result)


def _renamed_element(value: cst.BaseExpression, old: str, new: str) -> cst.BaseExpression:
    if isinstance(value, cst.Name) and value.value == old:
        return value.with_changes(value=new)
    if isinstance(value, cst.SimpleString) and value.evaluated_value == old:
        return value.with_changes(value=value.value.replace(old, new))
    return value


def _assignments(text: str, path: str) -> list[tuple[Piece, cst.Module, Statement]]:
    """The top-level statements that do nothing but assign `EntryClass`."""
    found: list[tuple[Piece, cst.Module, Statement]] = []
    for piece in pieces(text):
        if _MENTION.search(piece.text) is None or _TARGET.search(piece.text) is None:
            continue
        module = parse_piece(piece, path)
        if len(module.body) != 1 or not isinstance(line := module.body[0], cst.SimpleStatementLine):
            continue
        if len(line.body) != 1:
            continue
        statement = line.body[0]
        if isinstance(statement, cst.Assign):
            targets = [t.target for t in statement.targets]
        elif isinstance(statement, cst.AnnAssign) and statement.value is not None:
            targets = [statement.target]
        else:
            continue
        if len(targets) == 1 and isinstance(targets[0], cst.Name) and targets[0].value == DISCOVERED_NAME:
            found.append((piece, module, statement))
    return found


def _extended(value: cst.BaseExpression, names: Sequence[str], path: str) -> str | None:
    """The value with the names that it lacks; None where it lacks none."""
    if isinstance(value, cst.Name):
        present = [value.value]
    elif isinstance(value, (cst.List, cst.Tuple)):
        present = [n for e in value.elements if (n := _element_name(e.value)) is not None]
    else:
        raise Refused(f"the value of {DISCOVERED_NAME} in {path} is not one that discovery reads")
    missing = [n for n in names if n not in present]
    if not missing:
        return None
    if not isinstance(value, (cst.List, cst.Tuple)) or not value.elements:
        return value_for([*present, *missing])
    try:
        layout = layout_of(value)
    except ValueError:
        return ", ".join([_BLANK.code_for_node(value).rstrip(", "), *missing])
    for name in missing:
        layout = layout.with_item(name, len(layout.items), len(DISCOVERED_NAME) + 3, "")
    return layout.text


def _element_name(value: cst.BaseExpression) -> str | None:
    if isinstance(value, cst.Name):
        return value.value
    if isinstance(value, cst.SimpleString) and isinstance(value.evaluated_value, str):
        return value.evaluated_value
    return None


def _replaced(text: str, piece: Piece, module: cst.Module, statement: Statement, value: str) -> str:
    """The text with another value for the statement; an annotation goes, a comment behind it stays."""
    target = cst.AssignTarget(cst.Name(DISCOVERED_NAME))
    if isinstance(statement, cst.Assign):
        target = statement.targets[0]
    new = cst.Assign([target], cst.parse_expression(value), semicolon=statement.semicolon)
    line = cst.ensure_type(module.body[0], cst.SimpleStatementLine)
    changed = module.with_changes(body=[line.with_changes(body=[new])])
    return text[: piece.begin] + changed.code + text[piece.end :]


def _code_before(module: cst.Module) -> str:
    """The comments and blank lines of a piece before its statement (only a file's first has any)."""
    return "".join(_BLANK.code_for_node(line) for line in module.header)
