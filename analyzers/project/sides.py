"""The two sides of a comparison in a test: which code each of them comes from.

An expression is followed through local names, helpers below the test roots (with what they are
given) and fixtures, back to the classes and functions that computed it. Inputs do not count: what a
model is called with says nothing about whose model it is. In doubt a side is unknown, and a
comparison with an unknown side counts as sound.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from analyzers.facts.bodies import PlacedBody
from analyzers.facts.checks import checks
from analyzers.facts.model import Assignment, ClassFacts, FunctionFacts, Placed
from analyzers.facts.module_trees import constants
from analyzers.facts.name_uses import Stores, called_name, parameters, tail
from analyzers.facts.walking import child_nodes, walk_tree
from analyzers.findings import Location
from analyzers.project.definitions import External, Module
from analyzers.project.index import Project
from analyzers.project.tests import Member, is_fixture

_COMPARING = frozenset(
    {
        "assert_close",
        "assert_allclose",
        "assert_almost_equal",
        "assert_array_almost_equal",
        "assert_array_equal",
        "assert_equal",
        "assertEqual",
        "assertAlmostEqual",
        "assertListEqual",
        "allclose",
        "isclose",
        "equal",
        "array_equal",
        "array_equiv",
        "mse_loss",
        "l1_loss",
        "cosine_similarity",
    }
)
_TOOLS = frozenset(sys.stdlib_module_names) | frozenset(
    {
        "torch",
        "numpy",
        "pytest",
        "safetensors",
        "huggingface_hub",
        "einops",
        "PIL",
        "tqdm",
        "torchvision",
        "torchaudio",
        "scipy",
        "mlx",
    }
)
_READS = frozenset(
    {
        "load",
        "load_file",
        "safe_open",
        "read_text",
        "read_bytes",
        "open",
        "loads",
        "hf_hub_download",
        "snapshot_download",
        "imread",
        "read_video",
        "fromfile",
        "memmap",
        "loadtxt",
    }
)
_RANDOM = re.compile(r"rand|normal|arange|linspace|logspace|uniform|bernoulli|Generator|seed|permutation")
_LITERAL = frozenset(
    {"zeros", "ones", "full", "tensor", "eye", "zeros_like", "ones_like", "full_like", "empty", "array"}
)
_THROUGH = frozenset(
    {
        "len",
        "list",
        "tuple",
        "set",
        "dict",
        "zip",
        "map",
        "sorted",
        "next",
        "iter",
        "enumerate",
        "float",
        "int",
        "str",
        "abs",
        "max",
        "min",
        "sum",
        "reversed",
        "bool",
        "getattr",
        "isinstance",
        "type",
        "round",
        "range",
        "print",
    }
)
MAXIMUM_DEPTH = 10


@dataclass(frozen=True)
class Side:
    """Where one side of a comparison comes from.

    `own`: what of the code base computed it, by full name. `foreign`: what of other packages.
    `calls`: every function called on the way. `other`: something else stands behind it (a file, an
    input, a formula of the test, something unknown), so that it is no constant. `unknown`: nothing
    certain can be said.
    """

    own: frozenset[str] = frozenset()
    foreign: frozenset[str] = frozenset()
    calls: frozenset[str] = frozenset()
    other: bool = False
    unknown: bool = False

    def __or__(self, more: Side) -> Side:
        """Both together."""
        return Side(
            self.own | more.own,
            self.foreign | more.foreign,
            self.calls | more.calls,
            self.other or more.other,
            self.unknown or more.unknown,
        )

    @property
    def is_constant(self) -> bool:
        """Whether nothing but literals stands behind it."""
        return not (self.own or self.foreign or self.other or self.unknown)


_NOTHING = Side()
_UNKNOWN = Side(unknown=True)


@dataclass(frozen=True)
class Comparison:
    """One comparison of values: where, and its two sides. `same`: both are written alike."""

    location: Location
    left: Side
    right: Side
    same: bool

    @property
    def fault(self) -> str | None:
        """`itself`, `constant`, `own` or `foreign` where it is one-sided; None where it is not."""
        if self.same:
            return "itself"
        if self.left.unknown or self.right.unknown:
            return None
        if self.left.is_constant != self.right.is_constant:
            run = self.left if self.right.is_constant else self.right
            return "constant" if run.own or run.foreign else None
        if self.left.other or self.right.other or self.left.calls != self.right.calls:
            return None
        if self.left.own and self.left.own == self.right.own and not (self.left.foreign | self.right.foreign):
            return "own"
        if self.left.foreign and self.left.foreign == self.right.foreign:
            return "foreign" if not (self.left.own | self.right.own) else None
        return None


def comparisons(project: Project, test: Member) -> tuple[Comparison, ...] | None:
    """The comparisons of values that a test makes, also in its helpers; None where it may make others."""
    function = test.function
    key = ("sides", function.path, function.line, function.fact.span, function.fact.name)
    return project.sources.memory.about(
        function.path, function.fact, key, lambda: _Reader(project).of_test(test)
    )


@dataclass(frozen=True)
class _Frame:
    """A function that is being read, with what its parameters were given."""

    member: Member
    body: PlacedBody
    given: dict[str, Side] = field(default_factory=dict)
    hops: int = MAXIMUM_DEPTH

    def __hash__(self) -> int:
        return id(self)


class _Reader:
    def __init__(self, project: Project) -> None:
        self.project = project
        self.reach = project.tests
        self.asking: set[tuple[int, str]] = set()

    def of_test(self, test: Member) -> tuple[Comparison, ...] | None:
        body = self.project.body(test.function)
        if body is None:
            return None
        return self.sites(_Frame(test, body))

    def stores(self, frame: _Frame) -> Stores:
        """Where the names of a function get their values."""
        return frame.body.body.stores

    # ------------------------------------------------------------------ comparisons

    def sites(self, frame: _Frame) -> tuple[Comparison, ...] | None:
        found: list[Comparison] = []
        judged = self.project.derived("checks", frame.member.function, checks)
        if judged is None or frame.hops <= 0:
            return None
        for node in frame.body.nodes:
            inner: tuple[Comparison, ...] | None = ()
            if isinstance(node, ast.Call):
                inner = self.call(node, frame)
            elif isinstance(node, ast.Assert):
                inner = self.asserted(node.test, frame)
                if inner is None and frame.hops < MAXIMUM_DEPTH and not _may_compare(node.test):
                    inner = ()  # a helper sees to its own business
            elif isinstance(node, ast.If) and any(
                isinstance(n, ast.Raise) or (isinstance(n, ast.Call) and tail(n) == "fail")
                for s in node.body
                for n in walk_tree(s)
            ):
                inner = self.asserted(node.test, frame) or ()
            if inner is None:
                return None
            found += inner
        for name in judged.unknown:
            if name.startswith("?.") or not tuple(self.reach.meant(frame.member, name)):
                return None
        return tuple(found)

    def call(self, node: ast.Call, frame: _Frame) -> tuple[Comparison, ...] | None:
        if tail(node) in _COMPARING and len(node.args) >= 2:
            return (self.comparison(node, node.args[0], node.args[1], frame),)
        if tail(node) in _COMPARING and not node.args:
            actual = next((k.value for k in node.keywords if k.arg in ("actual", "input")), None)
            expected = next(
                (k.value for k in node.keywords if k.arg in ("expected", "desired", "other")), None
            )
            if actual is not None and expected is not None:
                return (self.comparison(node, actual, expected, frame),)
            return None
        if tail(node) in ("run", "check_call", "check_output", "Popen", "spawn") and "git" not in ast.dump(
            node
        ):
            return None
        name = called_name(node)
        found: list[Comparison] = []
        for helper in self.reach.meant(frame.member, name) if name else ():
            if is_fixture(helper.function.fact) or helper.function == frame.member.function:
                continue
            inner = self.enter(helper, node, frame)
            judged = self.project.derived("checks", helper.function, checks)
            if inner is None or judged is None:
                return None
            if (
                not judged.values
                and not judged.unknown
                and not any(
                    tuple(self.reach.meant(helper, c.call.callee or "")) for c in helper.function.fact.calls
                )
            ):
                continue
            sites = self.sites(inner)
            if sites is None:
                return None
            found += [replace(s, location=frame.body.at(node)) for s in sites]
        return tuple(found)

    def asserted(self, test: ast.expr, frame: _Frame) -> tuple[Comparison, ...] | None:
        """The comparisons in a condition; None where it may compare in a way that is not understood."""
        found: list[Comparison] = []
        for part in _parts(test):
            if any(isinstance(n, ast.Call) and tail(n) in _COMPARING for n in walk_tree(part)):
                continue  # met as calls
            difference = self.difference(part, frame)
            if difference is not None:
                found.append(self.comparison(part, difference[0], difference[1], frame))
            elif isinstance(part, ast.Compare) and len(part.ops) == 1:
                if isinstance(part.ops[0], (ast.Is, ast.IsNot, ast.In, ast.NotIn)):
                    continue
                if self.is_weak(part, frame) or _is_setting(part):
                    continue
                found.append(self.comparison(part, part.left, part.comparators[0], frame))
            elif isinstance(part, ast.Name) and self.holds_comparison(part.id, frame):
                continue
            elif not self.is_weak(part, frame):
                return None
        return tuple(found)

    def holds_comparison(self, name: str, frame: _Frame) -> bool:
        values = self.stores(frame).of(name) or []
        return bool(values) and all(
            any(isinstance(n, ast.Call) and tail(n) in _COMPARING for n in walk_tree(v)) for v in values
        )

    def is_weak(self, part: ast.expr, frame: _Frame) -> bool:
        judged = self.project.derived("checks", frame.member.function, checks)
        if judged is None:
            return False
        span = frame.body.body.span(part)
        return any(weak.contains(span) for weak in judged.weak)

    def difference(self, part: ast.expr, frame: _Frame) -> tuple[ast.expr, ast.expr] | None:
        """`a` and `b` of a condition on `a - b`, also where a local name holds the difference."""
        if not isinstance(part, ast.Compare):
            return None
        for node in walk_tree(part):
            if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Sub):
                return node.left, node.right
        for name in (n.id for n in walk_tree(part) if isinstance(n, ast.Name)):
            for _ in range(3):
                values = self.stores(frame).of(name) or []
                if len(values) != 1:
                    break
                minus = next(
                    (
                        n
                        for n in walk_tree(values[0])
                        if isinstance(n, ast.BinOp) and isinstance(n.op, ast.Sub)
                    ),
                    None,
                )
                if minus is not None:
                    return minus.left, minus.right
                inner = next((n.id for n in walk_tree(values[0]) if isinstance(n, ast.Name)), None)
                if inner is None or inner == name:
                    break
                name = inner
        return None

    def comparison(self, at: ast.expr, left: ast.expr, right: ast.expr, frame: _Frame) -> Comparison:
        left, right = self.plain(left, frame), self.plain(right, frame)
        same = ast.dump(left) == ast.dump(right) and not any(isinstance(n, ast.Call) for n in walk_tree(left))
        same = same and not isinstance(left, ast.Constant)
        given = {n.id for n in walk_tree(left) if isinstance(n, ast.Name)} & set(frame.given)
        return Comparison(
            frame.body.at(at), self.side(left, frame), self.side(right, frame), same and not given
        )

    def plain(self, node: ast.expr, frame: _Frame) -> ast.expr:
        """What a name was set to, where that is only another name (`reference = out`)."""
        for _ in range(4):
            if not isinstance(node, ast.Name):
                break
            values = self.stores(frame).of(node.id) or []
            if len(values) != 1 or not isinstance(values[0], (ast.Name, ast.Attribute)):
                break
            node = values[0]
        return node

    # ------------------------------------------------------------------ sides

    def side(self, node: ast.expr, frame: _Frame, depth: int = MAXIMUM_DEPTH) -> Side:
        if depth <= 0:
            return _UNKNOWN
        if isinstance(node, ast.Constant):
            return _NOTHING
        if isinstance(node, ast.Name):
            return self.name(node.id, frame, depth)
        if isinstance(node, ast.Attribute):
            head = node.value
            while isinstance(head, ast.Attribute):
                head = head.value
            if isinstance(head, ast.Name) and self.is_global(head.id, frame):
                return self.meaning(ast.unparse(node), frame)
            return self.side(node.value, frame, depth - 1)
        if isinstance(node, ast.Call):
            return self.called(node, frame, depth)
        if isinstance(node, (ast.Lambda, ast.Await, ast.Yield, ast.YieldFrom)):
            return _UNKNOWN
        if isinstance(node, ast.Subscript):
            return self.side(node.value, frame, depth - 1)
        result = _NOTHING
        for child in child_nodes(node):
            if isinstance(child, ast.expr):
                result |= self.side(child, frame, depth - 1)
            elif isinstance(child, ast.comprehension):
                result |= self.side(child.iter, frame, depth - 1)
        return result

    def is_global(self, name: str, frame: _Frame) -> bool:
        tree = frame.body.tree
        return name not in parameters(tree) and not self.stores(frame).holds(name)

    def name(self, name: str, frame: _Frame, depth: int) -> Side:
        if name in frame.given:
            return frame.given[name]
        key = (id(frame), name)
        if key in self.asking:
            return _NOTHING  # `x = x.float()`: what it was before
        self.asking.add(key)
        try:
            return self.fresh_name(name, frame, depth)
        finally:
            self.asking.discard(key)

    def fresh_name(self, name: str, frame: _Frame, depth: int) -> Side:
        tree = frame.body.tree
        if name in parameters(tree):
            return self.parameter(name, frame, depth)
        if not self.stores(frame).holds(name):
            return self.meaning(name, frame)
        result = _NOTHING
        for value in self.stores(frame).sources(name):
            result |= self.side(value, frame, depth - 1) if value is not None else _UNKNOWN
        return result

    def parameter(self, name: str, frame: _Frame, depth: int) -> Side:
        """What a test or fixture is given: a fixture's value; anything else is unknown."""
        for fixture in self.reach.fixture(frame.member.function.path, frame.member.owner, name):
            inner = self.frame_of(fixture, frame)
            return self.returned(inner, depth) if inner is not None else _UNKNOWN
        return _UNKNOWN

    def meaning(self, dotted: str, frame: _Frame) -> Side:
        """A global name: a class or function of the code base, of another package, or a constant."""
        found = self.reach.resolve(frame.member, dotted)
        if isinstance(found, External):
            package = found.dotted.partition(".")[0]
            if package in _TOOLS:
                return Side(other=bool(_RANDOM.search(dotted)))
            return Side(foreign=frozenset({found.dotted}))
        if isinstance(found, Module):
            return Side(own=frozenset({self.project.names.module_name(found.path)}))
        if isinstance(found, Placed):
            if self.is_test_code(found.path):
                if isinstance(found.fact, Assignment):
                    return self.constant(found.path, dotted)
                return Side(foreign=frozenset({f"{found.path}:{dotted}"}))
            if isinstance(found.fact, (ClassFacts, FunctionFacts)):
                module = self.project.names.module_name(found.path)
                return Side(own=frozenset({f"{module}.{found.fact.name}"}))
            return Side(own=frozenset({f"{found.path}:{dotted}"}))
        return _NOTHING if dotted in _THROUGH else _UNKNOWN

    def constant(self, path: str, name: str) -> Side:
        facts = self.project.sources.facts(path)
        held = constants(facts).get(name) if facts is not None else None
        if held is None:
            return _UNKNOWN
        literal = all(
            isinstance(
                n,
                (
                    ast.Constant,
                    ast.List,
                    ast.Tuple,
                    ast.Dict,
                    ast.UnaryOp,
                    ast.USub,
                    ast.Load,
                    ast.BinOp,
                    ast.operator,
                ),
            )
            for n in walk_tree(held.node)
        )
        return _NOTHING if literal else _UNKNOWN

    def called(self, node: ast.Call, frame: _Frame, depth: int) -> Side:
        last, name = tail(node), called_name(node)
        head = name.partition(".")[0]
        is_method = isinstance(node.func, ast.Attribute) and not (head and self.is_global(head, frame))
        if is_method and isinstance(node.func, ast.Attribute):
            return self.side(node.func.value, frame, depth - 1) | self.noted(node)
        if not name:
            return self.side(node.func, frame, depth - 1)
        if not self.is_global(head, frame):
            return self.side(node.func, frame, depth - 1)
        if last == "import_module":
            return self.imported(node, frame)
        if last in _READS:
            return _UNKNOWN
        helpers = tuple(self.reach.meant(frame.member, name))
        if helpers:
            return self.helper(helpers, node, frame, depth)
        meant = self.reach.resolve(frame.member, name)
        package = meant.dotted.partition(".")[0] if isinstance(meant, External) else None
        if name in _THROUGH or package in _TOOLS:
            if last in _LITERAL:
                return _NOTHING if last.endswith("_like") else self.arguments(node, frame, depth)
            if _RANDOM.search(last):
                return Side(other=True)
            return self.arguments(node, frame, depth) | self.noted(node)
        if isinstance(meant, Placed) and isinstance(meant.fact, (ClassFacts, FunctionFacts)):
            return self.meaning(name, frame) | _noted(meant.fact.name)
        return self.meaning(name, frame) | self.noted(node)

    def imported(self, node: ast.Call, frame: _Frame) -> Side:
        """What `importlib.import_module` gives for a module that is named here."""
        first = node.args[0] if node.args else None
        if isinstance(first, ast.Name):
            facts = self.project.sources.facts(frame.member.function.path)
            held = constants(facts).get(first.id) if facts is not None else None
            first = held.node if held is not None and self.is_global(first.id, frame) else None
        if not isinstance(first, ast.Constant) or not isinstance(first.value, str):
            return _UNKNOWN
        named = frozenset({first.value})
        return Side(own=named) if self.project.profile.owns(first.value) else Side(foreign=named)

    def noted(self, node: ast.Call) -> Side:
        return _noted(tail(node))

    def arguments(self, node: ast.Call, frame: _Frame, depth: int) -> Side:
        result = _NOTHING
        for value in (*node.args, *(k.value for k in node.keywords)):
            result |= self.side(value, frame, depth - 1)
        return result

    def helper(self, helpers: tuple[Member, ...], node: ast.Call, frame: _Frame, depth: int) -> Side:
        """What a helper returns for what it is given here; a class of the tests is code of its own."""
        helper = helpers[0]
        if len(helpers) > 1 or (helper.owner is not None and frame.member.owner is None):
            return Side(foreign=frozenset({f"{helper.function.path}:{called_name(node)}"}))
        inner = self.enter(helper, node, frame)
        if inner is None or depth <= 1:
            return _UNKNOWN
        found = self.returned(inner, depth - 1)
        if not (found.own or found.foreign or found.unknown):
            # A formula of the test: a second implementation.
            return found | Side(foreign=frozenset({f"{helper.function.path}:{helper.name}"}))
        return found

    def returned(self, frame: _Frame, depth: int) -> Side:
        result = _NOTHING
        values = [
            n.value
            for n in frame.body.nodes
            if isinstance(n, (ast.Return, ast.Yield)) and n.value is not None
        ]
        if not values:
            return _UNKNOWN
        for value in values:
            result |= self.side(value, frame, depth - 1)
        return result

    def enter(self, helper: Member, node: ast.Call, frame: _Frame) -> _Frame | None:
        """The frame of a helper that is called, its parameters bound to the sides of the arguments."""
        inner = self.frame_of(helper, frame)
        if inner is None or any(isinstance(a, ast.Starred) for a in node.args):
            return None
        arguments = inner.body.tree.args
        names = [a.arg for a in (*arguments.posonlyargs, *arguments.args)]
        if helper.owner is not None and names[:1] in (["self"], ["cls"]):
            names = names[1:]
        given = {n: self.side(v, frame, 6) for n, v in zip(names, node.args, strict=False)}
        given |= {k.arg: self.side(k.value, frame, 6) for k in node.keywords if k.arg is not None}
        for name in parameters(inner.body.tree):
            given.setdefault(name, _NOTHING)
        return replace(inner, given=given)

    def frame_of(self, member: Member, frame: _Frame) -> _Frame | None:
        if frame.hops <= 1:
            return None
        body = self.project.body(member.function)
        return _Frame(member, body, {}, frame.hops - 1) if body is not None else None

    def is_test_code(self, path: str) -> bool:
        return path.startswith(tuple(root + "/" for root in self.project.profile.test_roots))


_HARMLESS = frozenset(
    {
        "to",
        "float",
        "double",
        "half",
        "bfloat16",
        "cpu",
        "cuda",
        "detach",
        "clone",
        "eval",
        "contiguous",
        "item",
        "numpy",
        "mean",
        "abs",
        "max",
        "min",
        "sum",
        "sample",
        "mode",
        "from_pretrained",
        "train",
        "requires_grad_",
        "flatten",
        "reshape",
        "view",
        "permute",
        "transpose",
        "squeeze",
        "unsqueeze",
    }
)


def _noted(name: str) -> Side:
    return Side(calls=frozenset({name} - {"", *_HARMLESS}))


def _may_compare(test: ast.expr) -> bool:
    """Whether a condition in a helper sounds like a comparison of values."""
    return (
        re.search(r"diff|close|tol|err|match|equal|drift|delta|max|mean|ratio|rel", ast.unparse(test))
        is not None
    )


def _is_setting(part: ast.Compare) -> bool:
    """Whether a condition only asks for a setting: an attribute or item that equals a name or a number."""
    sides = (part.left, part.comparators[0])
    plain = any(isinstance(s, ast.Constant) and not isinstance(s.value, float) for s in sides)
    return plain and any(isinstance(s, (ast.Attribute, ast.Subscript)) for s in sides)


def _parts(test: ast.expr) -> Iterator[ast.expr]:
    """The conditions that `and`, `or` and `not` join."""
    if isinstance(test, ast.BoolOp):
        for value in test.values:
            yield from _parts(value)
    elif isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
        yield from _parts(test.operand)
    else:
        yield test
