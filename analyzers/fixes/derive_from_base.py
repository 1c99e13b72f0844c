"""`derive-from-base`: makes a plain module class derive from the code base's own base.

Arguments: `path`, `class`, `base` and `module` (where the base is), `keywords` (what the base's
constructor is called with).

A `super().__init__()` without arguments passes the keywords on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import libcst as cst
import libcst.matchers as m

from analyzers.findings import JsonValue
from analyzers.fixes.base import Read, Refused, text_argument, texts_argument
from analyzers.fixes.imports import with_import
from analyzers.fixes.texts import open_module
from analyzers.fixes.trees import (
    only_class,
    only_method,
    parameter_names,
    super_init,
)


def edit(arguments: Mapping[str, JsonValue], read: Read) -> dict[str, str]:
    """The new text. Raises `Refused` where the class has other bases, or builds its base by hand."""
    path, name = text_argument(arguments, "path"), text_argument(arguments, "class")
    base, home = text_argument(arguments, "base"), text_argument(arguments, "module")
    source, module = open_module(read, path)
    cls = only_class(module, name)
    if len(cls.bases) > 1 or any(b.star for b in cls.bases):
        raise Refused(f"'{name}' has several bases")
    present = cls.bases[0].value if cls.bases else None
    if isinstance(present, cst.Name) and present.value == base:
        raise Refused(f"'{name}' derives from {base} already")
    argument = cls.bases[0].with_changes(value=cst.Name(base)) if cls.bases else cst.Arg(cst.Name(base))
    changed = cls.with_changes(bases=[argument])
    if not cls.bases and not isinstance(cls.lpar, cst.LeftParen):
        changed = changed.with_changes(lpar=cst.LeftParen(), rpar=cst.RightParen())
    if any(isinstance(s, cst.FunctionDef) and s.name.value == "__init__" for s in cls.body.body):
        changed = _passing_on(changed, texts_argument(arguments, "keywords"))
    result = cst.ensure_type(with_import(module, home, base).deep_replace(cls, changed), cst.Module)
    return {path: source.restored(result.code)}


def _passing_on(cls: cst.ClassDef, keywords: Sequence[str]) -> cst.ClassDef:
    init = only_method(cls, "__init__")
    call = super_init(init)
    if call is None or m.findall(init, m.Attribute(value=m.Attribute(attr=m.Name("Module")))):
        raise Refused(f"'{cls.name.value}.__init__' does not call super().__init__ once")
    if call.args:
        return cls
    if not set(keywords) <= set(parameter_names(init)):
        raise Refused(f"'{cls.name.value}.__init__' does not take {' and '.join(keywords)}")
    equal = cst.AssignEqual(cst.SimpleWhitespace(""), cst.SimpleWhitespace(""))
    passed = [cst.Arg(cst.Name(word), cst.Name(word), equal) for word in keywords]
    return cst.ensure_type(cls.deep_replace(call, call.with_changes(args=passed)), cst.ClassDef)
