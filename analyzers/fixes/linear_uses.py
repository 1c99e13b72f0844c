"""What a file does with an attribute that becomes one of FastVideo's linears, and how that is rewritten.

A linear of FastVideo returns `(output, bias)`: each call is unpacked. Everything that goes on working is
left alone; everything that cannot be told is refused, with its place.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from analyzers.fixes.base import Refused
from analyzers.fixes.linear_constructions import DICT, LAST, LAYER, LIST, MIXED, Held
from analyzers.fixes.receivers import Receivers, Whose, means
from analyzers.fixes.replacements import Replacement, behind, end_of
from analyzers.fixes.source_trees import SourceTree, dotted

_KEPT = frozenset({"weight", "bias"})
_RENAMED = frozenset({"in_features", "out_features"})
# fmt: off
_OF_ANY_MODULE = frozenset({
    "apply", "bfloat16", "buffers", "children", "compile", "cpu", "cuda", "double", "eval", "float",
    "get_parameter", "half", "load_state_dict", "modules", "named_buffers", "named_children",
    "named_modules", "named_parameters", "parameters", "register_buffer", "register_forward_pre_hook",
    "register_parameter", "requires_grad_",
    "state_dict", "to", "to_empty", "train", "training", "zero_grad",
})
_GIVE_ITSELF = frozenset({
    "apply", "bfloat16", "cpu", "cuda", "double", "eval", "float", "half", "requires_grad_", "to",
    "to_empty", "train",
})
# fmt: on
"""What every module has and what is the same for both. A forward hook sees the output: not among them."""
_CHECKPOINT = "torch.utils.checkpoint.checkpoint"
_HARMLESS = frozenset({"hasattr", "id", "len", "print", "repr", "str", "type"})


class Uses:
    """The uses of one attribute in one file."""

    def __init__(
        self, receivers: Receivers, tree: SourceTree, attribute: str, held: Held, keywords: dict[str, str]
    ) -> None:
        self._receivers = receivers
        self._tree = tree
        self._attribute = attribute
        self._held = held
        self._keywords = keywords

    def replacements(self) -> Iterator[Replacement]:
        """What has to change. Raises `Refused`, naming the place, where that cannot be told."""
        for node in ast.walk(self._tree.module):
            if isinstance(node, ast.Attribute):
                if node.attr == self._attribute and isinstance(node.ctx, ast.Load):
                    yield from self._read(node)
                elif node.attr in ("_modules", "__dict__"):
                    self._check_children(node, node.value)
            elif isinstance(node, ast.Call):
                self._check_by_name(node)

    # ------------------------------------------------------------------ reads

    def _read(self, node: ast.Attribute) -> Iterator[Replacement]:
        whose = self._receivers.whose(self._tree, node.value)
        if whose is Whose.OTHER:
            return
        try:
            found = list(self._used(node, self._held.kind))
        except Refused:
            if whose is Whose.UNKNOWN and not self._may_be_meant(node):
                return
            raise
        if found and whose is not Whose.OURS:
            what = "may be another class's" if whose is Whose.SHARED else "cannot be told"
            raise Refused(
                f"{self._tree.where(node)} uses '{self._tree.code(node)}', and whose layer that is {what}"
            )
        yield from found

    def _may_be_meant(self, node: ast.Attribute) -> bool:
        """Whether an attribute of an unknown object can be the layer: it is called, or handed on."""
        parent = self._tree.parents.get(node)
        return isinstance(parent, (ast.Call, ast.Subscript, ast.For, ast.comprehension))

    def _used(self, node: ast.expr, kind: str) -> Iterator[Replacement]:
        """What must change about one expression that gives the attribute, or an element of it."""
        parent = self._tree.parents[node]
        if self._is_only_looked_at(node, parent):
            return
        if isinstance(parent, ast.Assign) and parent.value is node and self._is_plain_name(parent.targets):
            yield from self._through_name(parent, kind)
        elif kind == LAYER:
            yield from self._layer(node, parent)
        elif kind == LAST:
            yield from self._last(node, parent)
        elif kind == MIXED:
            yield from self._mixed(node, parent)
        else:
            yield from self._container(node, parent, kind)

    def _layer(self, node: ast.expr, parent: ast.AST) -> Iterator[Replacement]:
        if isinstance(parent, ast.Call) and parent.func is node and parent.keywords:
            raise self._refusal(parent)  # the parameter has another name
        if isinstance(parent, ast.Call) and (parent.func is node or self._is_checkpoint(parent, node)):
            yield from self._unpacked(parent)
        elif isinstance(parent, ast.Attribute):
            yield from self._attribute_of_layer(parent)
        else:
            raise self._refusal(node)

    def _attribute_of_layer(self, node: ast.Attribute) -> Iterator[Replacement]:
        around = self._tree.parents[node]
        if node.attr == "forward" and isinstance(around, ast.Call) and around.func is node:
            yield from self._unpacked(around)
        elif node.attr in _RENAMED and isinstance(node.ctx, ast.Load):
            line, column = end_of(node)
            yield Replacement((line, column - len(node.attr)), (line, column), self._keywords[node.attr])
        elif node.attr not in _KEPT and node.attr not in _OF_ANY_MODULE:
            raise Refused(f"{self._tree.where(node)} uses '.{node.attr}', which the new layer may not have")
        elif node.attr in _GIVE_ITSELF and not isinstance(self._tree.parents.get(around), ast.Expr):
            raise self._refusal(around)

    def _last(self, node: ast.expr, parent: ast.AST) -> Iterator[Replacement]:
        """An `nn.Sequential` gives back what its last layer gave."""
        if isinstance(parent, ast.Subscript) and parent.value is node:
            index = _integer(parent.slice)
            if index is None:
                if self._is_weight(parent):
                    return
                raise self._refusal(parent)
            if index in (-1, self._held.length - 1):
                yield from self._used(parent, LAYER)
        elif isinstance(parent, ast.Attribute) and parent.attr not in (_OF_ANY_MODULE | {"forward"}):
            raise self._refusal(parent)
        else:
            yield from self._layer(node, parent)

    def _mixed(self, node: ast.expr, parent: ast.AST) -> Iterator[Replacement]:
        """A list of different layers: only an element that is named by its place is known."""
        index = _integer(parent.slice) if isinstance(parent, ast.Subscript) and parent.value is node else None
        if isinstance(parent, ast.Subscript) and index is not None:
            if index % self._held.length in self._held.places:
                yield from self._used(parent, LAYER)
        elif not (isinstance(parent, ast.Attribute) and parent.attr in _OF_ANY_MODULE):
            raise self._refusal(node)

    def _container(self, node: ast.expr, parent: ast.AST, kind: str) -> Iterator[Replacement]:
        if (
            isinstance(parent, ast.Subscript)
            and parent.value is node
            and not isinstance(parent.slice, ast.Slice)
        ):
            yield from self._used(parent, LAYER)
        elif isinstance(parent, (ast.For, ast.comprehension)) and parent.iter is node and kind == LIST:
            yield from self._in_loop(parent, parent.target)
        elif isinstance(parent, ast.Call) and node in parent.args and kind == LIST:
            yield from self._stepped(node, parent)
        elif isinstance(parent, ast.Attribute) and kind == DICT and parent.attr in ("values", "items"):
            yield from self._over_dict(parent)
        elif not (isinstance(parent, ast.Attribute) and parent.attr in (_OF_ANY_MODULE | {"keys"})):
            raise self._refusal(node)

    def _stepped(self, node: ast.expr, call: ast.Call) -> Iterator[Replacement]:
        """`enumerate(layers)`, `zip(layers, ...)`, `reversed(layers)` in a `for`."""
        name = dotted(call.func)
        around = self._tree.parents[call]
        if not isinstance(around, (ast.For, ast.comprehension)) or around.iter is not call:
            raise self._refusal(node)
        target: ast.expr | None = around.target
        if name in ("enumerate", "zip"):
            index = call.args.index(node) + (name == "enumerate")
            known = isinstance(target, ast.Tuple) and index < len(target.elts)
            target = target.elts[index] if known and isinstance(target, ast.Tuple) else None
        elif name != "reversed":
            target = None
        if target is None:
            raise self._refusal(node)
        yield from self._in_loop(around, target)

    def _over_dict(self, view: ast.Attribute) -> Iterator[Replacement]:
        call = self._tree.parents[view]
        around = self._tree.parents.get(call)
        if not isinstance(call, ast.Call) or not isinstance(around, (ast.For, ast.comprehension)):
            raise self._refusal(view)
        target: ast.expr = around.target
        if view.attr == "items":
            if not isinstance(target, ast.Tuple) or len(target.elts) != 2:
                raise self._refusal(view)
            target = target.elts[1]
        yield from self._in_loop(around, target)

    # ------------------------------------------------------------------ names

    def _through_name(self, assignment: ast.Assign, kind: str) -> Iterator[Replacement]:
        """`layer = self.to_q`: the name is the layer wherever the function reads it."""
        name = assignment.targets[0]
        assert isinstance(name, ast.Name)
        function = self._tree.function_of(assignment)
        if function is None or len(self._tree.stores(function, name.id)) != 1:
            raise self._refusal(assignment)
        for read in self._tree.loads(function, name.id):
            yield from self._used(read, kind)

    def _in_loop(self, loop: ast.For | ast.comprehension, target: ast.expr) -> Iterator[Replacement]:
        scope = loop if isinstance(loop, ast.For) else self._tree.parents[loop]
        function = self._tree.function_of(scope)
        if not isinstance(target, ast.Name) or function is None:
            raise self._refusal(target)
        if isinstance(loop, ast.For):
            inside = {n for n in ast.walk(loop) if isinstance(n, ast.Name) and n.id == target.id}
            outside = [n for n in self._tree.loads(function, target.id) if n not in inside]
            rebound = [n for n in self._tree.stores(function, target.id) if n in inside and n is not target]
            if rebound or any(not self._is_another_loops(n, target.id) for n in outside):
                raise self._refusal(target)
            reads = [n for n in self._tree.loads(function, target.id) if n in inside]
        else:
            reads = [
                n
                for n in ast.walk(scope)
                if isinstance(n, ast.Name) and n.id == target.id and isinstance(n.ctx, ast.Load)
            ]
        for read in reads:
            yield from self._used(read, LAYER)

    def _is_another_loops(self, read: ast.Name, name: str) -> bool:
        """Whether a name that a loop binds is read where another loop has bound it."""
        return any(
            isinstance(around, ast.For)
            and any(isinstance(n, ast.Name) and n.id == name for n in ast.walk(around.target))
            for around in self._tree.above(read)
        )

    # ------------------------------------------------------------------ forms

    def _unpacked(self, call: ast.Call) -> Iterator[Replacement]:
        """`x = layer(h)` becomes `x, _ = layer(h)`, any other call `layer(h)[0]`: as FastVideo writes it."""
        parent = self._tree.parents[call]
        if isinstance(parent, ast.Expr):
            return  # nobody looks at the result
        if any(isinstance(above, ast.JoinedStr) for above in self._tree.above(call)):
            raise self._refusal(call)  # older Pythons do not say where it stands
        if isinstance(parent, ast.Assign) and any(
            isinstance(t, (ast.Tuple, ast.List)) for t in parent.targets
        ):
            raise Refused(f"{self._tree.where(call)} unpacks the result already: {self._tree.code(parent)}")
        if (
            isinstance(parent, ast.Assign)
            and len(parent.targets) == 1
            and self._tree.has_room(parent.targets[0])
        ):
            yield behind(parent.targets[0], ", _")
        else:
            yield behind(call, "[0]")

    def _is_plain_name(self, targets: list[ast.expr]) -> bool:
        return len(targets) == 1 and isinstance(targets[0], ast.Name)

    def _is_checkpoint(self, call: ast.Call, layer: ast.expr) -> bool:
        """Whether a call is a checkpoint of the layer: it gives back what the layer gives."""
        return (
            call.args[:1] == [layer]
            and means(self._receivers.project, self._tree.path, call.func) == _CHECKPOINT
        )

    def _is_weight(self, element: ast.Subscript) -> bool:
        parent = self._tree.parents[element]
        return isinstance(parent, ast.Attribute) and parent.attr in _KEPT

    def _is_only_looked_at(self, node: ast.expr, parent: ast.AST) -> bool:
        """Whether a use does not care what the object returns: `is None`, a condition, `hasattr`."""
        if isinstance(parent, ast.Compare):
            return all(isinstance(o, (ast.Is, ast.IsNot)) for o in parent.ops)
        if isinstance(parent, ast.Expr):
            return True
        if isinstance(parent, ast.Call) and node in parent.args:
            return dotted(parent.func) in _HARMLESS
        condition: ast.AST = node
        while isinstance(parent, (ast.BoolOp, ast.UnaryOp)):
            condition, parent = parent, self._tree.parents[parent]
        return isinstance(parent, (ast.If, ast.While, ast.IfExp, ast.Assert)) and parent.test is condition

    def _refusal(self, node: ast.AST) -> Refused:
        return Refused(
            f"{self._tree.where(node)} cannot be rewritten with certainty: {self._tree.code(node)}"
        )

    # ------------------------------------------------------------------ by name

    def _check_by_name(self, call: ast.Call) -> None:
        """Refuses `getattr(self, "to_q")`, a computed `getattr` on the instance, and walks over children."""
        name = dotted(call.func)
        if name in ("getattr", "setattr"):
            if len(call.args) > 1:
                self._check_named(call, call.args[0], call.args[1])
        elif isinstance(call.func, ast.Attribute):
            if call.func.attr == "get_submodule" and call.args:
                self._check_named(call, call.func.value, call.args[0])
            elif call.func.attr in ("children", "named_children"):
                self._check_children(call, call.func.value)

    def _check_named(self, call: ast.Call, receiver: ast.expr, named: ast.expr) -> None:
        whose = self._receivers.whose(self._tree, receiver)
        if isinstance(named, ast.Constant) and isinstance(named.value, str):
            if self._attribute in named.value.split(".") and whose is not Whose.OTHER:
                raise self._refusal(call)
        elif whose in (Whose.OURS, Whose.SHARED):
            raise self._refusal(call)

    def _check_children(self, node: ast.expr, receiver: ast.expr) -> None:
        """Refuses what takes the modules of the instance one by one."""
        if self._receivers.whose(self._tree, receiver) in (Whose.OURS, Whose.SHARED):
            raise self._refusal(node)


def _integer(node: ast.expr) -> int | None:
    if (
        isinstance(node, ast.UnaryOp)
        and isinstance(node.op, ast.USub)
        and isinstance(node.operand, ast.Constant)
    ):
        value = node.operand.value
        return -value if isinstance(value, int) else None
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, int) else None
