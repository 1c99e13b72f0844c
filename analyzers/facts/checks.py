"""What one test function or helper asserts: numbers, or only shapes, keys, types and the like.

Anything that is not certainly weak counts as a comparison of values, so that a rule that asks for
tests without one stays quiet in doubt.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass

from analyzers.facts.bodies import Body, Function
from analyzers.facts.name_uses import Parents, Stores, called_name, is_looked_at, only_tells, tail
from analyzers.facts.walking import walk_tree
from analyzers.findings import Span

_FAILING = frozenset(
    {
        "assert_close",
        "assert_allclose",
        "assert_almost_equal",
        "assert_array_almost_equal",
        "assert_array_equal",
        "assert_array_less",
        "assert_equal",
        "assertAlmostEqual",
        "assertAlmostEquals",
        "assertSequenceEqual",
        "assertListEqual",
        "run_gate",
    }
)
"""Functions that fail where two values differ."""

_TELLING = frozenset({"allclose", "isclose", "equal", "array_equal", "array_equiv", "eq", "approx"})
"""Functions that say whether two values differ, and fail nobody."""

_MAY_COMPARE = re.compile(
    r"assert|compar|close|match|equal|parity|verif|check|diff|psnr|ssim|lpips|simil|gate|validate|expect|drift"
    r"|error|tolerance|regress|golden|cosine|mse|bitwise|exact|identical",
    re.IGNORECASE,
)
_HARMLESS = re.compile(
    r"^(pytest\.(importorskip|raises|skip|fail|xfail|param|mark\..*)"
    r"|.*\.(is_file|exists|is_dir|named_parameters|check_dependencies|set_float32_matmul_precision|match|fullmatch)"
    r"|torch\.(is_grad_enabled|use_deterministic_algorithms)|re\..*|importlib\..*|warnings\..*"
    r"|.*(Error|Exception|Warning)|.*checkpoint.*|enumerate|is_.*|.*\.is_.*)$"
)
_STARTS_ELSEWHERE = frozenset({"check_call", "check_output", "Popen", "system", "spawn", "start_processes"})

_WEAK_ATTRIBUTES = frozenset(
    {
        "shape",
        "ndim",
        "dtype",
        "device",
        "requires_grad",
        "training",
        "is_cuda",
        "__name__",
        "__class__",
        "__file__",
        "__module__",
        "layout",
        "nbytes",
        "itemsize",
        "missing_keys",
        "unexpected_keys",
    }
)
_WEAK_METHODS = frozenset(
    {
        "size",
        "dim",
        "ndimension",
        "numel",
        "nelement",
        "element_size",
        "keys",
        "state_dict",
        "parameters",
        "named_parameters",
        "named_modules",
        "named_buffers",
        "modules",
        "is_contiguous",
        "is_floating_point",
        "stride",
        "exists",
        "is_file",
        "is_dir",
        "isfile",
        "isdir",
        "startswith",
        "endswith",
        "isfinite",
        "isnan",
        "isinf",
        "is_tensor",
        "is_available",
        "device_count",
        "get_device",
    }
)
_WEAK_FUNCTIONS = frozenset({"len", "isinstance", "issubclass", "hasattr", "callable", "type", "id"})
_THROUGH = frozenset(
    {"set", "sorted", "list", "tuple", "frozenset", "str", "all", "any", "bool", "int", "sum"}
)
_THROUGH_METHODS = frozenset(
    {"all", "any", "item", "issubset", "issuperset", "union", "difference", "symmetric_difference"}
)


@dataclass(frozen=True)
class Checks:
    """What a function checks.

    `values`: it compares numbers, or may do so. `weak`: the spans of its assertions that certainly do
    not, relative to the function's first line. `unknown`: dotted names of calls that may compare, if
    nobody knows what they are. `dropped`: spans of comparisons whose answer nobody looks at.
    """

    values: bool
    weak: tuple[Span, ...]
    unknown: tuple[str, ...]
    dropped: tuple[Span, ...]


def checks(body: Body) -> Checks:
    """What a function checks; functions inside it included."""
    return _Reader(body.tree).read()


class _Reader:
    def __init__(self, tree: Function) -> None:
        self.tree = tree
        self.parents = Parents(tree)
        self.stores = Stores(tree)
        self.values = False
        self.weak: list[Span] = []
        self.unknown: list[str] = []
        self.dropped: list[Span] = []

    def read(self) -> Checks:
        for node in walk_tree(self.tree):
            if isinstance(node, ast.Assert) or (isinstance(node, ast.If) and _fails(node.body)):
                self.judge(node.test)
            elif isinstance(node, ast.Call):
                self.call(node)
        return Checks(self.values, tuple(sorted(self.weak)), tuple(self.unknown), tuple(sorted(self.dropped)))

    def judge(self, test: ast.expr) -> None:
        if self.is_weak(test):
            self.weak.append(Body.span(test))
        elif not self.is_told_by_call(test):
            self.values = True

    def is_told_by_call(self, test: ast.expr) -> bool:
        """Whether a condition is a call that is judged as a call anyway."""
        inner = test.operand if isinstance(test, ast.UnaryOp) else test
        return isinstance(inner, ast.Call) and tail(inner) in _TELLING

    def call(self, node: ast.Call) -> None:
        name, last = called_name(node), tail(node)
        if last in _FAILING:
            if node.args and all(self.is_described(a) for a in node.args[:2]):
                self.weak.append(Body.span(node))
            else:
                self.values = True
        elif last in _TELLING and node.args:
            if not self.is_used(node):
                self.dropped.append(Body.span(node))
            elif not all(self.is_described(a) for a in node.args[:2]):
                self.values = True
        elif last in ("assertTrue", "assertFalse") and node.args:
            self.judge(node.args[0])
        elif last in ("assertEqual", "assertNotEqual", "assertLess", "assertLessEqual", "assertGreater"):
            if any(self.is_described(a) for a in node.args[:2]):
                self.weak.append(Body.span(node))
            else:
                self.values = True
        elif last.startswith("assertIs") or last in (
            "assertIn",
            "assertNotIn",
            "assertRaises",
            "assertHasAttr",
        ):
            self.weak.append(Body.span(node))
        elif last in _STARTS_ELSEWHERE or name.startswith(("subprocess.", "runpy.")):
            if not _asks_git(node):
                self.values = True
        elif (
            last and _MAY_COMPARE.search(last) and not _HARMLESS.match(name or last) and not only_tells(node)
        ):
            self.unknown.append(name or f"?.{last}")

    def is_used(self, node: ast.Call) -> bool:
        """Whether anybody acts on the answer of a call."""
        inner: ast.AST = node
        for outer in self.parents.above(node):
            if isinstance(outer, ast.Call) and inner is not outer.func and only_tells(outer):
                return False
            if isinstance(outer, ast.Expr):
                return outer.value is not node and not isinstance(outer.value, ast.BoolOp)
            if isinstance(outer, ast.Assign):
                names = [t for t in outer.targets if isinstance(t, ast.Name)]
                return len(names) != len(outer.targets) or any(
                    is_looked_at(self.parents, n.id) for n in names
                )
            if isinstance(outer, ast.stmt):
                return True
            inner = outer
        return True

    # ------------------------------------------------------------------ weak assertions

    def is_weak(self, test: ast.expr, depth: int = 8) -> bool:
        """Whether a condition certainly says nothing about values of outputs."""
        if depth <= 0:
            return False
        if isinstance(test, ast.Constant):
            return True
        if isinstance(test, ast.BoolOp):
            return all(self.is_weak(v, depth - 1) for v in test.values)
        if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
            return self.is_weak(test.operand, depth - 1) or self.is_described(test.operand, depth - 1)
        if isinstance(test, ast.Compare):
            return self.is_weak_comparison(test, depth)
        if isinstance(test, ast.Call):
            return self.is_weak_call(test, depth)
        if isinstance(test, (ast.GeneratorExp, ast.ListComp)):
            return self.is_weak(test.elt, depth - 1)
        if isinstance(test, ast.Name):
            values = self.given(test.id)
            return bool(values) and all(
                self.is_weak(v, depth - 1) or self.is_described(v, depth - 1) or _constructs(v)
                for v in values
            )
        return self.is_described(test, depth - 1)

    def is_weak_comparison(self, test: ast.Compare, depth: int) -> bool:
        if all(isinstance(op, (ast.Is, ast.IsNot, ast.In, ast.NotIn)) for op in test.ops):
            return True
        return any(self.is_described(o, depth - 1) for o in (test.left, *test.comparators))

    def is_weak_call(self, call: ast.Call, depth: int) -> bool:
        last = tail(call)
        if isinstance(call.func, ast.Name):
            if last in _WEAK_FUNCTIONS:
                return True
            return last in _THROUGH and bool(call.args) and self.is_weak(call.args[0], depth - 1)
        if last in _WEAK_METHODS:
            return True
        if last in _THROUGH_METHODS and isinstance(call.func, ast.Attribute):
            return self.is_weak(call.func.value, depth - 1) or self.is_described(call.func.value, depth - 1)
        return False

    def is_described(self, node: ast.expr, depth: int = 8) -> bool:
        """Whether an expression certainly is a shape, a name, a set of keys or the like."""
        if depth <= 0:
            return False
        if isinstance(node, ast.Attribute):
            return node.attr in _WEAK_ATTRIBUTES
        if isinstance(node, ast.Subscript):
            return self.is_described(node.value, depth - 1)
        if isinstance(node, ast.BinOp):
            return self.is_described(node.left, depth - 1)
        if isinstance(node, (ast.List, ast.Tuple, ast.Set)):
            return (
                bool(node.elts)
                and all(isinstance(e, ast.Constant) or self.is_described(e, depth - 1) for e in node.elts)
                and any(not isinstance(e, ast.Constant) for e in node.elts)
            )
        if isinstance(node, ast.Call):
            last = tail(node)
            if isinstance(node.func, ast.Name) and last in ("len", "type", "id"):
                return True
            if isinstance(node.func, ast.Attribute) and last in _WEAK_METHODS:
                return True
            if isinstance(node.func, ast.Name) and last in _THROUGH and node.args:
                return self.is_described(node.args[0], depth - 1)
            if isinstance(node.func, ast.Attribute) and last in _THROUGH_METHODS:
                return self.is_described(node.func.value, depth - 1)
            return called_name(node) in ("torch.Size", "os.path.exists")
        if isinstance(node, (ast.ListComp, ast.SetComp, ast.GeneratorExp)):
            source = node.generators[0].iter
            return self.is_described(node.elt, depth - 1) or (
                isinstance(node.elt, ast.Name) and self.is_described(source, depth - 1)
            )
        if isinstance(node, ast.Name):
            if _unpacked_from_load(self.tree, node.id):
                return True
            values = self.given(node.id)
            return bool(values) and all(self.is_described(v, depth - 1) for v in values)
        return False

    def given(self, name: str) -> list[ast.expr]:
        return self.stores.of(name) or []


def _fails(body: list[ast.stmt]) -> bool:
    """Whether a branch fails the test (not: skips it, or refuses to begin)."""
    for statement in body:
        for node in walk_tree(statement):
            if isinstance(node, ast.Raise) and "Assertion" in ast.dump(node):
                return True
            if isinstance(node, ast.Call) and tail(node) in ("fail", "exit"):
                return True
    return False


def _constructs(value: ast.expr) -> bool:
    """Whether a value is a new object of a class, told by the class's name."""
    return isinstance(value, ast.Call) and tail(value)[:1].isupper()


def _unpacked_from_load(tree: ast.AST, name: str) -> bool:
    for node in walk_tree(tree):
        if not isinstance(node, ast.Assign) or not isinstance(node.value, ast.Call):
            continue
        names = {n.id for t in node.targets for n in walk_tree(t) if isinstance(n, ast.Name)}
        if tail(node.value) == "load_state_dict" and name in names:
            return True
    return False


def _asks_git(node: ast.Call) -> bool:
    first = node.args[0] if node.args else None
    if isinstance(first, (ast.List, ast.Tuple)) and first.elts:
        first = first.elts[0]
    return isinstance(first, ast.Constant) and str(first.value).split(" ")[0] in ("git", "nvidia-smi")
