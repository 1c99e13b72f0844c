"""What a trace or a debug session left in production code.

Only lines that are new are looked at, and only what can be nothing else is told: a breakpoint, a variable of
the activation trace that is set in code, a toggle for a debug patch, a hook on a module that nothing can
remove, and in models the statistics of a tensor printed or tensors written to a file.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass

_STOPS = re.compile(
    r"(pdb|ipdb|pudb|rpdb|debugpy)\.(set_trace|post_mortem|breakpoint|wait_for_client)|IPython\.embed"
)
_DEBUGGERS = frozenset({"pdb", "ipdb", "pudb", "rpdb", "debugpy"})
_HOOKS = frozenset(
    {
        "register_forward_hook",
        "register_forward_pre_hook",
        "register_full_backward_hook",
        "register_full_backward_pre_hook",
    }
)
_TRACE_VARIABLE = "FASTVIDEO_TRACE_"
_TOGGLE = re.compile(r"[A-Z0-9_]*_DEBUG_PATCH_[A-Z0-9_]+")
_STATISTICS = frozenset(
    {
        "shape",
        "dtype",
        "mean",
        "std",
        "abs",
        "sum",
        "norm",
        "isnan",
        "isinf",
        "isfinite",
        "detach",
        "amax",
        "amin",
    }
)
_DUMPS = frozenset({"torch.save", "numpy.save", "numpy.savez", "safetensors.torch.save_file"})


@dataclass(frozen=True)
class Leftover:
    """`line` counts from 0."""

    line: int
    what: str
    next_step: str


def leftovers(text: str, added: Container[int] | None, *, in_model: bool) -> list[Leftover]:
    """The leftovers of a Python file; none where it does not parse. `added`: the lines that are new, None for
    all. `in_model`: whether it defines a model, where nothing prints or writes."""
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError):
        return []
    found = _Search(tree, in_model).found()
    new = {one.line: one for one in found if added is None or one.line in added}
    return [new[line] for line in sorted(new)]


class _Search:
    """One file."""

    def __init__(self, tree: ast.Module, in_model: bool) -> None:
        self._tree = tree
        self._in_model = in_model
        self._parents = {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}
        self._imported = _imported(tree)
        self._defined = {
            node.name for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.ClassDef))
        } | {
            node.id
            for node in ast.walk(tree)
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
        }

    def found(self) -> Iterator[Leftover]:
        """In the order of the tree."""
        for node in ast.walk(self._tree):
            if isinstance(node, ast.Call):
                yield from self._call(node)
            elif isinstance(node, (ast.Import, ast.ImportFrom)):
                yield from self._import(node)
            elif isinstance(node, (ast.Assign, ast.AugAssign, ast.AnnAssign)):
                yield from self._assignment(node)
            elif (
                isinstance(node, ast.Constant)
                and isinstance(node.value, str)
                and _TOGGLE.fullmatch(node.value)
            ):
                yield Leftover(
                    node.lineno - 1,
                    f"the debug toggle {node.value} is read",
                    "take the patch out, or make the fix that it tried",
                )

    def _import(self, node: ast.Import | ast.ImportFrom) -> Iterator[Leftover]:
        modules = [name.name for name in node.names] if isinstance(node, ast.Import) else [node.module or ""]
        for module in modules:
            if module.partition(".")[0] in _DEBUGGERS:
                yield Leftover(node.lineno - 1, f"the debugger {module} is imported", "delete the line")

    def _assignment(self, node: ast.Assign | ast.AugAssign | ast.AnnAssign) -> Iterator[Leftover]:
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        for target in targets:
            if isinstance(target, ast.Subscript) and self._name(target.value) == "os.environ":
                yield from _set(node.lineno, target.slice)

    def _call(self, node: ast.Call) -> Iterator[Leftover]:
        name, line = self._name(node.func), node.lineno - 1
        last = name.rpartition(".")[2] if name is not None else getattr(node.func, "attr", "")
        if name == "breakpoint" and "breakpoint" not in self._defined:
            yield Leftover(line, "a breakpoint stops the process here", "delete the line")
        elif name is not None and _STOPS.fullmatch(name):
            yield Leftover(line, f"{name}() stops the process here", "delete the line")
        elif name in ("os.environ.setdefault", "os.putenv") and node.args:
            yield from _set(node.lineno, node.args[0])
        elif name == "os.environ.update":
            for argument in node.args:
                for key in argument.keys if isinstance(argument, ast.Dict) else []:
                    yield from _set(node.lineno, key)
            for keyword in node.keywords:
                yield from _set(node.lineno, ast.Constant(keyword.arg))
        elif self._in_model and not self._is_script(node):
            yield from self._call_in_model(node, name, last, line)

    def _call_in_model(self, node: ast.Call, name: str | None, last: str, line: int) -> Iterator[Leftover]:
        if last in _HOOKS and isinstance(node.func, ast.Attribute) and self._stays(node):
            yield Leftover(
                line,
                f"{last} puts a hook on a module that nothing removes",
                "delete it, or keep its handle and call remove()",
            )
        elif last == "attach_activation_trace":
            yield Leftover(
                line, "the activation trace is attached in a model", "delete it: the pipeline attaches it"
            )
        elif name == "print" and "print" not in self._defined and self._prints_tensors(node):
            yield Leftover(line, "print of what a tensor holds or is", "delete the line")
        elif name in _DUMPS:
            yield Leftover(line, f"{name} writes tensors to a file", "delete the line")

    # ------------------------------------------------------------------ what can be proved

    def _stays(self, call: ast.Call) -> bool:
        """Whether the handle of a hook is lost, so that nothing can remove the hook."""
        parent = self._parents[call]
        if isinstance(parent, ast.Expr):
            return True
        if isinstance(parent, ast.Assign) and len(parent.targets) == 1:
            target = parent.targets[0]
            if isinstance(target, (ast.Name, ast.Attribute)):
                kept = ast.unparse(target)
                return not any(
                    isinstance(node, (ast.Name, ast.Attribute))
                    and isinstance(node.ctx, ast.Load)
                    and ast.unparse(node) == kept
                    for node in ast.walk(self._tree)
                )
        return False

    def _prints_tensors(self, call: ast.Call) -> bool:
        for argument in call.args:
            for node in ast.walk(argument):
                if isinstance(node, ast.Attribute) and node.attr in _STATISTICS:
                    return True
                if isinstance(node, ast.Call) and (self._name(node.func) or "").startswith("torch."):
                    return True
        return False

    def _is_script(self, node: ast.AST) -> bool:
        """Whether it runs only where the file is run by itself."""
        parent = self._parents.get(node)
        while parent is not None:
            if isinstance(parent, ast.If) and "__name__" in ast.unparse(parent.test):
                return True
            parent = self._parents.get(parent)
        return False

    def _name(self, node: ast.expr) -> str | None:
        """The dotted name of what is called, through the file's imports."""
        parts: list[str] = []
        while isinstance(node, ast.Attribute):
            parts.append(node.attr)
            node = node.value
        if not isinstance(node, ast.Name):
            return None
        return ".".join([self._imported.get(node.id, node.id), *reversed(parts)])


def _imported(tree: ast.Module) -> Mapping[str, str]:
    found: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for name in node.names:
                found[name.asname or name.name.partition(".")[0]] = (
                    name.name if name.asname else name.name.partition(".")[0]
                )
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for name in node.names:
                found[name.asname or name.name] = f"{node.module}.{name.name}"
    return found


def _set(line: int, key: ast.expr | None) -> Iterator[Leftover]:
    if isinstance(key, ast.Constant) and isinstance(key.value, str) and key.value.startswith(_TRACE_VARIABLE):
        yield Leftover(
            line - 1,
            f"{key.value} is set in code: every run is traced",
            "delete it, and set it in the shell of the run that is to be traced",
        )
