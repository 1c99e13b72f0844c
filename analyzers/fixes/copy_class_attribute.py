"""Makes a class attribute the config's: `name = Config().name`.

Arguments: `path`, `class`, `attribute`, `config` and `module` (where the config is defined),
`makers` (names of classes whose instance holds the attribute: the config and its arch config).

The style is the file's: what other attributes of the class are copied from, else a module constant
made by the config, else a new instance; the import is added where it is missing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import libcst as cst

from analyzers.findings import JsonValue
from analyzers.fixes.base import Read, Refused, text_argument
from analyzers.fixes.imports import with_import
from analyzers.fixes.texts import open_module
from analyzers.fixes.trees import (
    as_block,
    is_docstring,
    only_class,
    statement,
    with_statements,
)

_COPIED_TOGETHER = (
    "_fsdp_shard_conditions",
    "_compile_conditions",
    "_supported_attention_backends",
    "param_names_mapping",
    "reverse_param_names_mapping",
    "lora_param_names_mapping",
)
"""Class attributes of a port that stand together."""


def edit(arguments: Mapping[str, JsonValue], read: Read) -> dict[str, str]:
    """The new text. Raises `Refused` where the attribute is assigned in a way that is not plain."""
    path, name = text_argument(arguments, "path"), text_argument(arguments, "class")
    attribute = text_argument(arguments, "attribute")
    config, home = text_argument(arguments, "config"), text_argument(arguments, "module")
    listed = arguments.get("makers")
    makers = {m for m in listed if isinstance(m, str)} if isinstance(listed, list) else {config}
    source, module = open_module(read, path)
    cls = only_class(module, name)
    copied = _source(module, cls, _visible(module, makers))
    imported = copied is not None or config in _visible(module, {config}).values()
    if copied is None:
        visible = _visible(module, {config})
        local = next((alias for alias, real in visible.items() if real == config), config)
        copied = f"{local}()"
    if not imported:
        module = with_import(module, home, config)
    changed = module.deep_replace(cls, _assign(module, cls, attribute, f"{copied}.{attribute}"))
    assert isinstance(changed, cst.Module)
    return {path: source.restored(changed.code)}


# --------------------------------------------------------------------------- where to copy from


def _visible(module: cst.Module, makers: set[str]) -> dict[str, str]:
    """Module-level name -> maker, for makers that the file imports or defines."""
    found: dict[str, str] = {}
    for small in _small_statements(module.body):
        if isinstance(small, cst.ImportFrom) and not isinstance(small.names, cst.ImportStar):
            for alias in small.names:
                if isinstance(alias.name, cst.Name) and alias.name.value in makers:
                    local = alias.asname.name if alias.asname is not None else alias.name
                    if isinstance(local, cst.Name):
                        found[local.value] = alias.name.value
    for item in module.body:
        if isinstance(item, cst.ClassDef) and item.name.value in makers:
            found[item.name.value] = item.name.value
    return found


def _source(module: cst.Module, cls: cst.ClassDef, visible: Mapping[str, str]) -> str | None:
    """What the class copies from already, else a constant of the file; None where there is neither."""
    constants: set[str] = set()
    for small in _small_statements(module.body):
        for name, value in _assigned(small):
            if _is_instance(value, visible, constants):
                constants.add(name)
    copied: list[str] = []
    for small in _small_statements(cls.body.body):
        for name, value in _assigned(small):
            if not isinstance(value, cst.Attribute) or value.attr.value != name:
                continue
            if _is_instance(value.value, visible, constants):
                copied.append(module.code_for_node(value.value))
    if copied:
        return copied[-1]
    return sorted(constants)[0] if len(constants) == 1 else None


def _is_instance(value: cst.BaseExpression, visible: Mapping[str, str], constants: set[str]) -> bool:
    """Whether an expression is a maker's instance, or that instance's `arch_config`."""
    if isinstance(value, cst.Attribute) and value.attr.value == "arch_config":
        value = value.value
    if isinstance(value, cst.Name):
        return value.value in constants
    if not isinstance(value, cst.Call) or value.args or value.lpar:
        return False
    return isinstance(value.func, cst.Name) and value.func.value in visible


def _small_statements(
    body: Sequence[cst.BaseStatement | cst.BaseSmallStatement],
) -> Iterator[cst.BaseSmallStatement]:
    for line in body:
        if isinstance(line, cst.SimpleStatementLine):
            yield from line.body


def _assigned(small: cst.BaseSmallStatement) -> Iterator[tuple[str, cst.BaseExpression]]:
    if isinstance(small, cst.Assign):
        for target in small.targets:
            if isinstance(target.target, cst.Name):
                yield target.target.value, small.value
    elif isinstance(small, cst.AnnAssign) and small.value is not None and isinstance(small.target, cst.Name):
        yield small.target.value, small.value


# --------------------------------------------------------------------------- the edits


def _assign(module: cst.Module, cls: cst.ClassDef, attribute: str, value: str) -> cst.ClassDef:
    """The class with `attribute = value`, in place of what it assigns or beside its like."""
    block, statements = as_block(cls.body)
    places = [
        index
        for index, line in enumerate(statements)
        if isinstance(line, cst.SimpleStatementLine)
        and any(name == attribute for small in line.body for name, _ in _assigned(small))
    ]
    if len(places) > 1:
        raise Refused(f"'{attribute}' is assigned more than once")
    if places:
        line = statements[places[0]]
        assert isinstance(line, cst.SimpleStatementLine)
        statements[places[0]] = _with_value(line, cst.parse_expression(value))
    else:
        statements.insert(_place(statements), statement(module, f"{attribute} = {value}"))
        statements = _without_pass(statements)
    return cls.with_changes(body=with_statements(block, statements))


def _with_value(line: cst.SimpleStatementLine, value: cst.BaseExpression) -> cst.SimpleStatementLine:
    small = line.body[0]
    if len(line.body) != 1 or not isinstance(small, (cst.Assign, cst.AnnAssign)):
        raise Refused("the attribute is assigned together with something else")
    if isinstance(small, cst.Assign) and len(small.targets) != 1:
        raise Refused("the attribute is assigned together with something else")
    return line.with_changes(body=[small.with_changes(value=value)])


def _place(statements: Sequence[cst.BaseStatement]) -> int:
    """After the last attribute that belongs with it, else before everything but the docstring."""
    beside = [
        index
        for index, line in enumerate(statements)
        if isinstance(line, cst.SimpleStatementLine)
        and any(name in _COPIED_TOGETHER for small in line.body for name, _ in _assigned(small))
    ]
    if beside:
        return beside[-1] + 1
    return 1 if statements and is_docstring(statements[0]) else 0


def _without_pass(statements: Sequence[cst.BaseStatement]) -> list[cst.BaseStatement]:
    def lone_pass(line: cst.BaseStatement) -> bool:
        return (
            isinstance(line, cst.SimpleStatementLine)
            and len(line.body) == 1
            and isinstance(line.body[0], cst.Pass)
            and not line.leading_lines
            and line.trailing_whitespace.comment is None
        )

    return [line for line in statements if not lone_pass(line)]
