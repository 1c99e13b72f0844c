"""`accept-loader-keywords`: lets a constructor be called the way the loader calls it.

Arguments: `path`, `class`, `keywords` (what the loader passes), `added` (of these, what the
constructor lacks and only passes on), `renamed` (`[old, new]` pairs), `unpacked` (`[name, keyword]`:
a parameter that is an attribute of what is passed), `defaulted` (parameters that become optional and
are taken from the first keyword's attribute of the same name).

Parameters that are positional only can be passed by keyword afterwards.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import libcst as cst
import libcst.matchers as m

from analyzers.findings import JsonValue
from analyzers.fixes.base import Read, Refused, text_argument, texts_argument
from analyzers.fixes.texts import open_module
from analyzers.fixes.trees import (
    as_block,
    is_docstring,
    only_class,
    only_method,
    super_init,
    with_statements,
)


def edit(arguments: Mapping[str, JsonValue], read: Read) -> dict[str, str]:
    """The new text. Raises `Refused` where a name that would be bound is in use."""
    path, name = text_argument(arguments, "path"), text_argument(arguments, "class")
    keywords, added = texts_argument(arguments, "keywords"), texts_argument(arguments, "added")
    source, module = open_module(read, path)
    init = only_method(only_class(module, name), "__init__")
    changed = init.with_changes(params=_by_keyword(init.params))
    if {new for key in ("renamed", "unpacked") for _, new in _pairs(arguments.get(key))} & _bound(module):
        raise Refused(f"the module itself has a '{keywords[0]}'")
    for old, new in _pairs(arguments.get("renamed")):
        changed = _renamed(changed, old, new)
    opening: list[str] = []
    for old, new in _pairs(arguments.get("unpacked")):
        changed = changed.with_changes(params=_with_parameter_named(changed.params, old, new))
        opening.append(f"{old} = {new}.{old}\n")
    for word in texts_argument(arguments, "defaulted"):
        changed = changed.with_changes(params=_optional(changed.params, word))
        opening.append(f"if {word} is None:\n    {word} = {keywords[0]}.{word}\n")
    for word in added:
        changed = _with_keyword(changed, word)
    changed = _opened(changed, module, opening)
    return {path: source.restored(cst.ensure_type(module.deep_replace(init, changed), cst.Module).code)}


def _pairs(value: JsonValue) -> Iterable[tuple[str, str]]:
    for pair in value if isinstance(value, list) else ():
        if isinstance(pair, list) and len(pair) == 2:
            yield str(pair[0]), str(pair[1])


def _bound(module: cst.Module) -> set[str]:
    """The names that the module's own simple statements bind."""
    found: set[str] = set()
    for line in module.body:
        if not isinstance(line, cst.SimpleStatementLine):
            continue
        for node in m.findall(line, m.AssignTarget(target=m.Name()) | m.ImportAlias()):
            if isinstance(node, cst.ImportAlias):
                found.add(node.evaluated_alias or node.evaluated_name)
            elif isinstance(node, cst.AssignTarget) and isinstance(node.target, cst.Name):
                found.add(node.target.value)
    return found


def _by_keyword(params: cst.Parameters) -> cst.Parameters:
    if not params.posonly_params:
        return params
    joined = [*params.posonly_params, *params.params]
    last = joined[-1]
    if not params.params and not params.kwonly_params and not isinstance(params.star_arg, cst.Param):
        joined[-1] = last.with_changes(comma=cst.MaybeSentinel.DEFAULT)
    return params.with_changes(posonly_params=[], params=joined, posonly_ind=cst.MaybeSentinel.DEFAULT)


def _renamed(init: cst.FunctionDef, old: str, new: str) -> cst.FunctionDef:
    bound = [*m.findall(init.body, m.AssignTarget(target=m.Name(new))), *m.findall(init.params, m.Name(new))]
    if bound or not m.findall(init.params, m.Param(name=m.Name(old))):
        raise Refused(f"'{old}' cannot become '{new}' in __init__")
    # An attribute, or a keyword of a call, of that name keeps it.
    kept = {
        id(holder.attr if isinstance(holder, cst.Attribute) else holder.keyword)
        for holder in m.findall(init, m.Attribute() | m.Arg())
        if isinstance(holder, (cst.Attribute, cst.Arg))
    }
    return cst.ensure_type(init.visit(_Rename(old, new, frozenset(kept))), cst.FunctionDef)


class _Rename(cst.CSTTransformer):
    def __init__(self, old: str, new: str, kept: frozenset[int]) -> None:
        super().__init__()
        self.old, self.new, self.kept = old, new, kept

    def leave_Name(self, original_node: cst.Name, updated_node: cst.Name) -> cst.Name:  # noqa: N802
        if original_node.value != self.old or id(original_node) in self.kept:
            return updated_node
        return updated_node.with_changes(value=self.new)


def _with_parameter_named(params: cst.Parameters, old: str, new: str) -> cst.Parameters:
    """The parameters with one renamed, without its annotation: it is given something else now."""
    if not m.findall(params, m.Param(name=m.Name(old))) or m.findall(params, m.Param(name=m.Name(new))):
        raise Refused(f"'{old}' cannot become '{new}' in __init__")

    def changed(given: Sequence[cst.Param]) -> list[cst.Param]:
        return [
            p.with_changes(name=cst.Name(new), annotation=None) if p.name.value == old else p for p in given
        ]

    return params.with_changes(params=changed(params.params), kwonly_params=changed(params.kwonly_params))


def _optional(params: cst.Parameters, name: str) -> cst.Parameters:
    positional = list(params.params)
    keyword = list(params.kwonly_params)
    for given in (positional, keyword):
        for index, parameter in enumerate(given):
            if parameter.name.value != name:
                continue
            if parameter.default is not None:
                raise Refused(f"'{name}' has a default already")
            if given is positional and any(p.default is None for p in given[index + 1 :]):
                raise Refused(f"a parameter behind '{name}' has no default")
            given[index] = _defaulted(parameter)
    return params.with_changes(params=positional, kwonly_params=keyword)


def _defaulted(parameter: cst.Param) -> cst.Param:
    annotation = parameter.annotation
    if annotation is None:
        equal = cst.AssignEqual(cst.SimpleWhitespace(""), cst.SimpleWhitespace(""))
        return parameter.with_changes(default=cst.Name("None"), equal=equal)
    text = cst.Module([]).code_for_node(annotation.annotation)
    wide = text if "None" in text or "Optional" in text else f"{text} | None"
    return parameter.with_changes(
        default=cst.Name("None"), annotation=annotation.with_changes(annotation=cst.parse_expression(wide))
    )


def _with_keyword(init: cst.FunctionDef, word: str) -> cst.FunctionDef:
    """The constructor with one more optional parameter, which `super().__init__` is given too."""
    taken = m.findall(init.body, m.AssignTarget(target=m.Name(word)))
    if taken or m.findall(init.params, m.Param(name=m.Name(word))):
        raise Refused(f"'{word}' is in use in __init__")
    equal = cst.AssignEqual(cst.SimpleWhitespace(""), cst.SimpleWhitespace(""))
    parameter = cst.Param(cst.Name(word), default=cst.Name("None"), equal=equal, star="")
    params = init.params
    if isinstance(params.star_arg, (cst.Param, cst.ParamStar)):
        params = params.with_changes(kwonly_params=_appended(params, params.kwonly_params, parameter))
    else:
        params = params.with_changes(params=_appended(params, params.params, parameter))
    call = super_init(init)
    changed = init.with_changes(params=params)
    if call is None or not any(a.keyword is not None for a in call.args):
        return changed
    if any(a.star or (a.keyword is not None and a.keyword.value == word) for a in call.args):
        return changed
    last = call.args[-1].with_changes(comma=cst.Comma(whitespace_after=cst.SimpleWhitespace(" ")))
    passed = [*call.args[:-1], last, cst.Arg(cst.Name(word), cst.Name(word), equal)]
    return cst.ensure_type(changed.deep_replace(call, call.with_changes(args=passed)), cst.FunctionDef)


def _appended(whole: cst.Parameters, params: Sequence[cst.Param], parameter: cst.Param) -> list[cst.Param]:
    if not params:
        return [parameter]
    last = params[-1]
    comma = last.comma if isinstance(last.comma, cst.Comma) else cst.MaybeSentinel.DEFAULT
    between = cst.Comma(whitespace_after=cst.SimpleWhitespace(" "))
    line_break = _line_break(whole)
    if line_break is not None and isinstance(comma, cst.Comma):
        behind = comma.whitespace_after
        if isinstance(behind, cst.ParenthesizedWhitespace):
            # A comment behind the last parameter stays with it.
            line_break = line_break.with_changes(first_line=behind.first_line)
            bare = behind.first_line.with_changes(comment=None, whitespace=cst.SimpleWhitespace(""))
            comma = comma.with_changes(whitespace_after=behind.with_changes(first_line=bare))
        between = cst.Comma(whitespace_after=line_break)
    return [*params[:-1], last.with_changes(comma=between), parameter.with_changes(comma=comma)]


def _line_break(params: cst.Parameters) -> cst.ParenthesizedWhitespace | None:
    """What stands between two parameters, where each has a line of its own; else None."""
    every = [*params.posonly_params, *params.params, *params.kwonly_params]
    between = [p.comma.whitespace_after for p in every[:-1] if isinstance(p.comma, cst.Comma)]
    if not between:
        return None
    breaks = [b for b in between if isinstance(b, cst.ParenthesizedWhitespace)]
    return breaks[0].with_changes(empty_lines=[]) if len(breaks) == len(between) else None


def _opened(init: cst.FunctionDef, module: cst.Module, lines: Sequence[str]) -> cst.FunctionDef:
    """The constructor with statements before all others."""
    if not lines:
        return init
    block, statements = as_block(init.body)
    place = 1 if statements and is_docstring(statements[0]) else 0
    statements[place:place] = [cst.parse_statement(text, config=module.config_for_parsing) for text in lines]
    return init.with_changes(body=with_statements(block, statements))
