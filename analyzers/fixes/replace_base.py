"""Puts another base in the place of one that a class names, and its import with it.

Arguments: `path`, `class`, `old` (the base as it is written), `module` and `new` (the base to derive
from), `annotation` (empty, or: the annotation of `arch_config` as it is written, then the module and
the name to put in its place). An import that nothing uses afterwards goes.
"""

from __future__ import annotations

from collections.abc import Mapping

import libcst as cst
import libcst.matchers as m

from analyzers.findings import JsonValue
from analyzers.fixes.base import Read, Refused, text_argument, texts_argument
from analyzers.fixes.exports import Exports
from analyzers.fixes.texts import open_module
from analyzers.fixes.trees import dotted_name, only_class


def edit(arguments: Mapping[str, JsonValue], read: Read) -> dict[str, str]:
    """The new text. Raises `Refused` where the class does not name the old base, or a name is taken."""
    path, name = text_argument(arguments, "path"), text_argument(arguments, "class")
    old, new = text_argument(arguments, "old"), text_argument(arguments, "new")
    imports = [(text_argument(arguments, "module"), new)]
    source, tree = open_module(read, path)
    cls = only_class(tree, name)
    changed = _with_base(cls, old, new)
    dropped = [old]
    annotation = texts_argument(arguments, "annotation")
    if annotation:
        written, module, wanted = annotation
        changed = _with_annotation(changed, written, wanted)
        imports.append((module, wanted))
        dropped.append(written)
    tree = cst.ensure_type(tree.deep_replace(cls, changed), cst.Module)
    file = Exports(path, _package(path), tree)
    for module, wanted in imports:
        file = _imported(file, module, wanted)
    for written in dropped:
        if "." not in written and not _is_used(file.tree, written):
            file = file.without_import(written)
    return {path: source.restored(file.tree.code)}


def _with_base(cls: cst.ClassDef, old: str, new: str) -> cst.ClassDef:
    bases = list(cls.bases)
    index = next((i for i, b in enumerate(bases) if dotted_name(b.value) == old), None)
    if index is None:
        raise Refused(f"'{cls.name.value}' does not derive from '{old}'")
    bases[index] = bases[index].with_changes(value=cst.Name(new))
    return cls.with_changes(bases=bases)


def _with_annotation(cls: cst.ClassDef, written: str, wanted: str) -> cst.ClassDef:
    for statement in cls.body.body:
        for small in statement.body if isinstance(statement, cst.SimpleStatementLine) else ():
            if (
                isinstance(small, cst.AnnAssign)
                and m.matches(small.target, m.Name("arch_config"))
                and dotted_name(small.annotation.annotation) == written
            ):
                return cst.ensure_type(
                    cls.deep_replace(small.annotation.annotation, cst.Name(wanted)), cst.ClassDef
                )
    raise Refused(f"'{cls.name.value}' does not annotate 'arch_config' with '{written}'")


def _imported(file: Exports, module: str, name: str) -> Exports:
    """The file with `name` bound to the base. Raises `Refused` where it means something else there."""
    for statement in file.tree.body:
        if isinstance(statement, (cst.ClassDef, cst.FunctionDef)) and statement.name.value == name:
            raise Refused(f"'{name}' means something else in {file.path}")
    return file.with_import(module, name)


def _is_used(tree: cst.Module, name: str) -> bool:
    """Whether a name stands anywhere but in an import; also in a string, which may be an annotation."""
    for statement in tree.body:
        if m.matches(statement, m.SimpleStatementLine(body=[m.ImportFrom() | m.Import()])):
            continue
        if m.findall(statement, m.Name(name)):
            return True
        strings = m.findall(statement, m.SimpleString())
        if any(isinstance(s, cst.SimpleString) and name in s.value for s in strings):
            return True
    return False


def _package(path: str) -> str:
    """The package that a file lies in, dotted."""
    return path.rpartition("/")[0].replace("/", ".")
