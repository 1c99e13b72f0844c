"""Adding `from module import name` to a file, where such imports stand already or behind the last one."""

from __future__ import annotations

import ast
from collections.abc import Sequence

import libcst as cst
from libcst import helpers

from analyzers.fixes.base import Refused
from analyzers.fixes.sequences import LINE_LENGTH
from analyzers.fixes.trees import is_docstring, statement


def with_import(module: cst.Module, home: str, name: str) -> cst.Module:
    """The module with `name` imported from `home` at its top level; as it is where it has that import.

    Raises `Refused` where the module uses the name for something else.
    """
    body = list(module.body)
    places = [i for i, line in enumerate(body) if isinstance(line, cst.SimpleStatementLine)]
    for index in places:
        line = body[index]
        assert isinstance(line, cst.SimpleStatementLine)
        for small in line.body:
            if _imports(small, home, name):
                return module
    if _is_taken(module, home, name):
        raise Refused(f"'{name}' means something else in this file")
    for index in places:
        line = body[index]
        assert isinstance(line, cst.SimpleStatementLine)
        if len(line.body) == 1 and isinstance(line.body[0], cst.ImportFrom):
            extended = _extended(line.body[0], home, name)
            if extended is not None:
                body[index] = line.with_changes(body=[extended])
                return module.with_changes(body=body)
    body.insert(_place(body), statement(module, f"from {home} import {name}"))
    return module.with_changes(body=body)


def _is_taken(module: cst.Module, home: str, name: str) -> bool:
    """Whether the file means something else by the name, or reads it and does not show from where."""
    is_read = is_imported = False
    for node in ast.walk(ast.parse(module.code)):
        if isinstance(node, ast.Name) and node.id == name:
            if not isinstance(node.ctx, ast.Load):
                return True
            is_read = True
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            from_home = isinstance(node, ast.ImportFrom) and not node.level and node.module == home
            for alias in node.names:
                if from_home and alias.name == name and alias.asname is None:
                    is_imported = True  # under a condition: for the type checker, or in a function
                elif (alias.asname or alias.name.partition(".")[0]) == name:
                    return True
        elif isinstance(node, ast.arg):
            if node.arg == name:
                return True
        elif isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)) and node.name == name:
            return True
    return is_read and not is_imported


def _imports(small: cst.BaseSmallStatement, home: str, name: str) -> bool:
    return (
        _is_from(small, home)
        and isinstance(small, cst.ImportFrom)
        and not isinstance(small.names, cst.ImportStar)
        and any(a.name.value == name and a.asname is None for a in small.names)
    )


def _is_from(small: cst.BaseSmallStatement, home: str) -> bool:
    return (
        isinstance(small, cst.ImportFrom)
        and small.module is not None
        and not small.relative
        and helpers.get_full_name_for_node(small.module) == home
    )


def _extended(small: cst.ImportFrom, home: str, name: str) -> cst.ImportFrom | None:
    """The import with one more name, where that is one plain line."""
    if not _is_from(small, home) or isinstance(small.names, cst.ImportStar) or small.lpar is not None:
        return None
    names = list(small.names)
    if not names or not isinstance(names[-1].comma, cst.MaybeSentinel):
        return None
    names[-1] = names[-1].with_changes(comma=cst.Comma(whitespace_after=cst.SimpleWhitespace(" ")))
    extended = small.with_changes(names=[*names, cst.ImportAlias(cst.Name(name))])
    return extended if len(cst.Module([]).code_for_node(extended)) <= LINE_LENGTH else None


def _place(body: Sequence[cst.BaseStatement]) -> int:
    """Behind the last import above the first definition, else behind the docstring."""
    place = 1 if body and is_docstring(body[0]) else 0
    for index, line in enumerate(body):
        if isinstance(line, (cst.ClassDef, cst.FunctionDef)):
            break
        if isinstance(line, cst.SimpleStatementLine) and isinstance(
            line.body[0], (cst.Import, cst.ImportFrom)
        ):
            place = index + 1
    return place
