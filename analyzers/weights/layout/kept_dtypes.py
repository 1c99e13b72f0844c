"""Which tensors a model keeps in float32 while the others are cast: read from its class, never run.

Two conventions. A diffusers class lists parts of names in `_keep_in_fp32_modules`, compared with each dotted
component (`models/model_loading_utils.py`). FastVideo's loader ignores that attribute and asks the model's
`_get_parameter_dtype(name, default)` (`models/loader/fsdp_load.py`), which a port writes as it likes; two
forms are read: `name.split(".", 1)[0] in self.<attribute>`, and a helper that returns
`any(part in name.split(".") for part in <constant>)`.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass

_LIST = "_keep_in_fp32_modules"
_METHOD = "_get_parameter_dtype"


@dataclass(frozen=True)
class KeptModules:
    """Parts of names that stay float32. `leading`: only the first component of a name counts.
    `readable`: False where the class decides in a way that was not read, so that nothing is known."""

    parts: tuple[str, ...] = ()
    leading: bool = False
    readable: bool = True

    def keeps(self, name: str) -> bool:
        """Whether a tensor of this name stays float32."""
        components = name.split(".")
        return any(part in self.parts for part in (components[:1] if self.leading else components))


def kept_by_official(text: str, cls: str) -> KeptModules:
    """What a diffusers class (or one like it) keeps; its bases are followed within the file. Raises
    `SyntaxError` for text that is no Python."""
    tree = ast.parse(text)
    for node in _with_bases(tree, cls):
        value = _assigned(node.body, _LIST)
        if value is not None:
            parts = _strings(value, tree)
            return KeptModules(parts or (), readable=parts is not None)
    return KeptModules()


def kept_by_port(text: str, cls: str) -> KeptModules:
    """What a port keeps when FastVideo loads it; its bases are followed within the file. Raises
    `SyntaxError` for text that is no Python."""
    tree = ast.parse(text)
    for node in _with_bases(tree, cls):
        for method in node.body:
            if isinstance(method, ast.FunctionDef) and method.name == _METHOD:
                return _of_method(method, node, tree)
    return KeptModules()


def _with_bases(tree: ast.Module, cls: str) -> Iterator[ast.ClassDef]:
    classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
    waiting, seen = [cls], set()
    while waiting:
        name = waiting.pop(0)
        if name in classes and name not in seen:
            seen.add(name)
            yield classes[name]
            waiting += [base.id for base in classes[name].bases if isinstance(base, ast.Name)]


def _of_method(method: ast.FunctionDef, cls: ast.ClassDef, tree: ast.Module) -> KeptModules:
    """The tests in a method that make it answer `torch.float32`; unreadable unless there is exactly one."""
    tests = [
        node.test
        for node in ast.walk(method)
        if isinstance(node, (ast.IfExp, ast.If))
        and _float32(node.body if isinstance(node, ast.IfExp) else node)
    ]
    if len(tests) == 1:
        leading = _leading(tests[0], cls, tree)
        if leading is not None:
            return leading
        if isinstance(tests[0], ast.Call) and isinstance(tests[0].func, ast.Name):
            helper = next(
                (
                    node
                    for node in tree.body
                    if isinstance(node, ast.FunctionDef) and node.name == tests[0].func.id
                ),
                None,
            )
            parts = _any_component(helper, tree) if helper is not None else None
            if parts is not None:
                return KeptModules(parts)
    return KeptModules(readable=False)


def _float32(node: ast.expr | ast.If) -> bool:
    """Whether what is given where the test holds is `torch.float32`."""
    if isinstance(node, ast.If):
        last = node.body[-1]
        return isinstance(last, ast.Return) and last.value is not None and _float32(last.value)
    return isinstance(node, ast.Attribute) and node.attr == "float32"


def _leading(test: ast.expr, cls: ast.ClassDef, tree: ast.Module) -> KeptModules | None:
    """`name.split(".", 1)[0] in self.<attribute>`."""
    if not (isinstance(test, ast.Compare) and len(test.ops) == 1 and isinstance(test.ops[0], ast.In)):
        return None
    left, right = test.left, test.comparators[0]
    if not (
        isinstance(left, ast.Subscript)
        and isinstance(left.slice, ast.Constant)
        and left.slice.value == 0
        and _splits(left.value)
    ):
        return None
    value: ast.expr | None = right
    if isinstance(right, ast.Attribute) and isinstance(right.value, ast.Name):
        value = _assigned(cls.body, right.attr)
    parts = _strings(value, tree) if value is not None else None
    return KeptModules(parts, leading=True) if parts is not None else None


def _any_component(helper: ast.FunctionDef, tree: ast.Module) -> tuple[str, ...] | None:
    """The constant of `return any(part in name.split(".") for part in <constant>)`."""
    match helper.body[-1]:
        case ast.Return(
            value=ast.Call(
                func=ast.Name(id="any"),
                args=[
                    ast.GeneratorExp(
                        elt=ast.Compare(left=ast.Name(id=one), ops=[ast.In()], comparators=[split]),
                        generators=[ast.comprehension(target=ast.Name(id=other), iter=values, ifs=[])],
                    )
                ],
            )
        ) if one == other and _splits(split):
            return _strings(values, tree)
    return None


def _splits(node: ast.expr) -> bool:
    """`<name>.split(".", ...)`."""
    match node:
        case ast.Call(func=ast.Attribute(value=ast.Name(), attr="split"), args=[ast.Constant(value="."), *_]):
            return True
    return False


def _assigned(body: list[ast.stmt], name: str) -> ast.expr | None:
    for statement in reversed(body):
        match statement:
            case ast.Assign(targets=[ast.Name(id=target)], value=value) if target == name:
                return value
            case ast.AnnAssign(target=ast.Name(id=target), value=ast.expr() as value) if target == name:
                return value
    return None


def _strings(node: ast.expr, tree: ast.Module) -> tuple[str, ...] | None:
    """The texts of a literal list, tuple or set (`frozenset(...)` too), or of a constant of the module."""
    match node:
        case ast.Name(id=name):
            value = _assigned(tree.body, name)
            return _strings(value, tree) if value is not None and not isinstance(value, ast.Name) else None
        case ast.Call(func=ast.Name(id="frozenset" | "set" | "tuple" | "list"), args=[only]):
            return _strings(only, tree)
        case ast.Constant(value=None):
            return ()
        case ast.List(elts=elements) | ast.Tuple(elts=elements) | ast.Set(elts=elements):
            texts = [element.value for element in elements if isinstance(element, ast.Constant)]
            parts = tuple(text for text in texts if isinstance(text, str))
            return parts if len(parts) == len(elements) else None
    return None
