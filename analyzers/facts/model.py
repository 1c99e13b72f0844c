"""The vocabulary of facts: what a rule may know about one Python file.

Every `Span` inside a fact is relative to the chunk that the fact came from (line 0 is the chunk's
first line). `Placed.at` turns it into a `Location` of the file.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Generic, TypeAlias, TypeVar

from analyzers.findings import START_OF_FILE, Location, Span

# --------------------------------------------------------------------------- expressions


@dataclass(frozen=True, slots=True)
class Constant:
    """A literal: string, bytes, number, boolean, None or `...`."""

    value: object
    span: Span


@dataclass(frozen=True, slots=True)
class Reference:
    """A name or a chain of attributes that starts at a name: `x`, `nn.Linear`, `self.blocks`."""

    dotted: str
    span: Span

    @property
    def head(self) -> str:
        """The name that the chain starts at."""
        return self.dotted.partition(".")[0]

    @property
    def tail(self) -> str:
        """The last name of the chain."""
        return self.dotted.rpartition(".")[2]


@dataclass(frozen=True, slots=True)
class Attribute:
    """An attribute of something that is not a chain of names: `Config().hidden_size`."""

    base: Expr
    name: str
    span: Span


@dataclass(frozen=True, slots=True)
class Subscript:
    """`base[index]`."""

    base: Expr
    index: Expr
    span: Span


@dataclass(frozen=True, slots=True)
class Keyword:
    """A keyword argument; `name` is None for `**value`."""

    name: str | None
    value: Expr
    span: Span


@dataclass(frozen=True, slots=True)
class Call:
    """`function(*arguments, **keywords)`."""

    function: Expr
    arguments: tuple[Expr, ...]
    keywords: tuple[Keyword, ...]
    span: Span

    @property
    def callee(self) -> str | None:
        """The dotted name that is called, or None where it is not a chain of names."""
        return self.function.dotted if isinstance(self.function, Reference) else None

    def keyword(self, name: str) -> Expr | None:
        """The value passed for `name` by keyword, or None."""
        return next((k.value for k in self.keywords if k.name == name), None)

    @property
    def unpacks(self) -> bool:
        """Whether `*args` or `**kwargs` hide some of the arguments."""
        return any(isinstance(a, Starred) for a in self.arguments) or any(
            k.name is None for k in self.keywords
        )


@dataclass(frozen=True, slots=True)
class Collection:
    """A list, tuple or set display; `kind` is that word."""

    kind: str
    items: tuple[Expr, ...]
    span: Span


@dataclass(frozen=True, slots=True)
class Mapping:
    """A dict display; the key is None for `**other`. `{...} | other` is written
    `{**{...}, **other}`, and a comprehension over literals item by item, each at the same place."""

    items: tuple[tuple[Expr | None, Expr], ...]
    span: Span


@dataclass(frozen=True, slots=True)
class Starred:
    """`*value`."""

    value: Expr
    span: Span


@dataclass(frozen=True, slots=True)
class Lambda:
    """`lambda ...: body`."""

    body: Expr
    span: Span


@dataclass(frozen=True, slots=True)
class Either:
    """`body if ... else orelse`: the value is one of the two."""

    body: Expr
    orelse: Expr
    span: Span


@dataclass(frozen=True, slots=True)
class Opaque:
    """Anything else; `kind` is the name of the syntax node (`BinOp`, `ListComp`, ...)."""

    kind: str
    span: Span


Expr: TypeAlias = (
    "Constant | Reference | Attribute | Subscript | Call | Collection | Mapping | Starred | Lambda"
    " | Either | Opaque"
)

# --------------------------------------------------------------------------- statements


@dataclass(frozen=True, slots=True)
class Use:
    """What happens to the value of a call.

    `kind` is one of
    `unpack` (`detail`: number of targets, None when starred), `index` (`detail`: the constant
    index), `attribute` (`detail`: the attribute taken), `operand` (of arithmetic or of a comparison
    of values; not of `is`, `in` or `not`, which take anything), `argument` (`detail`: dotted name of
    the function it is passed to), `return`, `raise`, `store` (`detail`: dotted target), `expression` (the
    value is dropped), `name` (`detail`: the local name; `then`: the first later use of that name in
    the text that does not stand in another branch of the same statement, None when it is stored
    again or never read; at module level, where the use may be in another chunk, always `other`) and
    `other`.
    """

    kind: str
    detail: str | int | None = None
    then: Use | None = None


@dataclass(frozen=True, slots=True)
class CallFact:
    """One call expression.

    `target`: the attribute of `self` that the statement assigns (`self.blocks = ...` gives
    `blocks`). `enclosing`: dotted names of the calls around it, outermost first. `repeated`: inside
    a loop or comprehension. `conditional`: inside `if`, `try`, a loop, a conditional expression or
    the right side of `and`/`or`.
    """

    call: Call
    use: Use
    target: str | None
    enclosing: tuple[str, ...]
    repeated: bool
    conditional: bool


@dataclass(frozen=True, slots=True)
class Assignment:
    """`a = b = value`, `a: T = value` or `a += value` in a module or a class body.

    `names`: the plain names assigned; where they are part of a tuple target, the value is `Opaque`.
    `annotation`: None unless annotated. `augmented`: changes what the name holds and does not bind
    it (`a += value`, `a[key] = value`, `a.x = value`, `a.append(value)`). `conditional`: inside a
    compound statement.
    """

    names: tuple[str, ...]
    value: Expr | None
    annotation: Expr | None
    augmented: bool
    conditional: bool
    span: Span


@dataclass(frozen=True, slots=True)
class SelfAssignment:
    """`self.name = value` (also annotated, augmented, and as part of a tuple target).

    `value` is None where the target is part of a tuple. A bare declaration (`self.name: int`) sets
    nothing and is left out.
    """

    name: str
    value: Expr | None
    conditional: bool
    span: Span


@dataclass(frozen=True, slots=True)
class Return:
    """A `return`; `value` is None for a bare one."""

    value: Expr | None
    conditional: bool
    span: Span


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter; `kind` is `positional`, `any`, `variadic`, `keyword` or `keywords`."""

    name: str
    kind: str
    default: Expr | None
    annotation: Expr | None


@dataclass(frozen=True, slots=True)
class FunctionFacts:
    """A function or method, with what happens in its body (nested functions included).

    `reads`: every chain of attributes read on `self`, without the `self.` prefix. `listed`: the
    string constants of list, tuple and set displays, in order (`for name in ("a", "b")`). `renames`:
    local names that are given another name, or a choice of two (`block = A if fast else B`), with it.
    `annotation`: what it is declared to return.
    """

    name: str
    parameters: tuple[Parameter, ...]
    decorators: tuple[Expr, ...]
    docstring: str | None
    calls: tuple[CallFact, ...]
    assignments: tuple[SelfAssignment, ...]
    returns: tuple[Return, ...]
    reads: frozenset[str]
    span: Span
    name_span: Span
    listed: tuple[str, ...] = ()
    renames: tuple[tuple[str, Reference | Either], ...] = ()
    annotation: Expr | None = None

    def parameter(self, name: str) -> Parameter | None:
        """The parameter of that name, or None."""
        for parameter in self.parameters:  # asked for every name of every call
            if parameter.name == name:
                return parameter
        return None

    @property
    def accepts_any_keyword(self) -> bool:
        """Whether there is a `**kwargs`."""
        return any(p.kind == "keywords" for p in self.parameters)

    def decorated_with(self, tail: str) -> bool:
        """Whether a decorator (or the function that makes it) ends in `tail`."""
        return any(
            isinstance(d := (e.function if isinstance(e, Call) else e), Reference) and d.tail == tail
            for e in self.decorators
        )


@dataclass(frozen=True, slots=True)
class ClassFacts:
    """A class with its body.

    `partial`: the text around it does not parse, so members may be missing or stale; rules that
    report something *missing* stay silent.
    """

    name: str
    bases: tuple[Expr, ...]
    keywords: tuple[Keyword, ...]
    decorators: tuple[Expr, ...]
    docstring: str | None
    attributes: tuple[Assignment, ...]
    methods: tuple[FunctionFacts, ...]
    classes: tuple[ClassFacts, ...]
    partial: bool
    span: Span
    name_span: Span

    def method(self, name: str) -> FunctionFacts | None:
        """The last definition of that method, or None."""
        return next((m for m in reversed(self.methods) if m.name == name), None)

    def attribute(self, name: str) -> Assignment | None:
        """The last assignment of that class attribute that gives it a value, or None."""
        return next(
            (
                a
                for a in reversed(self.attributes)
                if name in a.names and a.value is not None and not a.augmented
            ),
            None,
        )


@dataclass(frozen=True, slots=True)
class Import:
    """One imported name.

    `import a.b as c`: module `a.b`, name None, bound `c`. `from ..a import b as c`: level 2, module
    `a`, name `b`, bound `c`; `from a import *` has name and bound `*`. `type_checking`: under `if
    TYPE_CHECKING`. `function`: the dotted name of the function or class it stands in (`Model.forward`),
    or None at module level. `guarded`: inside a `try` whose handlers catch the failure.
    """

    module: str
    name: str | None
    bound: str
    level: int
    type_checking: bool
    function: str | None
    guarded: bool
    conditional: bool
    span: Span


@dataclass(frozen=True, slots=True)
class EntryAssignment:
    """A plain assignment to `EntryClass` at any depth, as FastVideo's registry looks for it.

    `depth`: distance from the module node; `ast.walk` goes level by level, so of several the
    deepest and last one wins (`fastvideo/models/registry.py`).
    """

    value: Expr
    depth: int
    span: Span


@dataclass(frozen=True, slots=True)
class Comment:
    """A comment with its `#`; `own_line`: nothing stands before it on its line."""

    text: str
    own_line: bool
    span: Span


@dataclass(frozen=True, slots=True)
class SyntaxProblem:
    """Python's own word on why a chunk does not parse."""

    message: str
    span: Span


@dataclass(frozen=True, slots=True)
class ChunkFacts:
    """The facts of one top-level chunk, relative to it.

    `has_class`: a class definition stands anywhere in it (also inside a function), which is what
    the registry's discovery asks of a file. `at_import`: the calls that importing it runs, those of class
    bodies, decorators and defaults included (`calls` are those of module-level statements).
    """

    imports: tuple[Import, ...] = ()
    assignments: tuple[Assignment, ...] = ()
    classes: tuple[ClassFacts, ...] = ()
    functions: tuple[FunctionFacts, ...] = ()
    calls: tuple[CallFact, ...] = ()
    at_import: tuple[Call, ...] = ()
    entries: tuple[EntryAssignment, ...] = ()
    comments: tuple[Comment, ...] = ()
    has_class: bool = False
    docstring: str | None = None
    problem: SyntaxProblem | None = None


# --------------------------------------------------------------------------- a file

T = TypeVar("T")

_CODE = re.compile(r"^[^\S\n]*[^\s#]", re.MULTILINE)


@dataclass(frozen=True)
class Placed(Generic[T]):
    """A fact together with where its chunk stands."""

    fact: T
    path: str
    line: int

    def at(self, span: Span) -> Location:
        """The location of a span of this fact."""
        return Location(self.path, span.shifted(self.line))


@dataclass(frozen=True)
class PlacedChunk:
    """A chunk's text and facts, and the file's line (from 0) at which it begins."""

    line: int
    text: str
    facts: ChunkFacts


@dataclass(frozen=True)
class FileFacts:
    """Everything known of one file.

    `path` is relative to the project's root. `unreadable` tells why there is no text (not UTF-8,
    gone, a directory, ...); then there are no chunks.
    """

    path: str
    chunks: tuple[PlacedChunk, ...]
    unreadable: str | None = None

    @cached_property
    def broken(self) -> bool:
        """Whether some part does not parse (or nothing could be read)."""
        return self.unreadable is not None or any(c.facts.problem for c in self.chunks)

    @cached_property
    def problems(self) -> tuple[Placed[SyntaxProblem], ...]:
        """One for each chunk that does not parse, in order."""
        return tuple(Placed(c.facts.problem, self.path, c.line) for c in self.chunks if c.facts.problem)

    @cached_property
    def imports(self) -> tuple[Placed[Import], ...]:
        """Every import, wherever it stands."""
        return tuple(Placed(i, self.path, c.line) for c in self.chunks for i in c.facts.imports)

    @cached_property
    def assignments(self) -> tuple[Placed[Assignment], ...]:
        """Module-level assignments."""
        return tuple(Placed(a, self.path, c.line) for c in self.chunks for a in c.facts.assignments)

    @cached_property
    def classes(self) -> tuple[Placed[ClassFacts], ...]:
        """Module-level classes (also those under `if` and `try`)."""
        return tuple(Placed(k, self.path, c.line) for c in self.chunks for k in c.facts.classes)

    @cached_property
    def functions(self) -> tuple[Placed[FunctionFacts], ...]:
        """Module-level functions."""
        return tuple(Placed(f, self.path, c.line) for c in self.chunks for f in c.facts.functions)

    @cached_property
    def calls(self) -> tuple[Placed[CallFact], ...]:
        """Calls made by module-level code."""
        return tuple(Placed(k, self.path, c.line) for c in self.chunks for k in c.facts.calls)

    @cached_property
    def callees(self) -> frozenset[str]:
        """The dotted names that anything in the file calls: a rule may ask each of them once."""
        found = {fact.call.callee for _, f in self.all_functions() for fact in f.fact.calls}
        found |= {placed.fact.call.callee for placed in self.calls}
        return frozenset(callee for callee in found if callee is not None)

    @cached_property
    def at_import(self) -> tuple[Placed[Call], ...]:
        """Calls that run while the module is imported."""
        return tuple(Placed(k, self.path, c.line) for c in self.chunks for k in c.facts.at_import)

    @cached_property
    def comments(self) -> tuple[Placed[Comment], ...]:
        """Every comment."""
        return tuple(Placed(k, self.path, c.line) for c in self.chunks for k in c.facts.comments)

    @cached_property
    def entries(self) -> tuple[Placed[EntryAssignment], ...]:
        """Assignments to `EntryClass` in the order in which `ast.walk` meets them."""
        found = [Placed(e, self.path, c.line) for c in self.chunks for e in c.facts.entries]
        return tuple(sorted(found, key=lambda e: e.fact.depth))

    @cached_property
    def has_class(self) -> bool:
        """Whether a class is defined anywhere in the file."""
        return any(c.facts.has_class for c in self.chunks)

    @cached_property
    def docstring(self) -> str | None:
        """The module's docstring: that of the first chunk that holds more than comments."""
        first = next((c for c in self.chunks if _CODE.search(c.text)), None)
        return first.facts.docstring if first is not None else None

    @cached_property
    def aliases(self) -> dict[str, str]:
        """Module-level names that imports bind -> what they stand for, dotted.

        Relative imports keep their leading dots (`..layers.linear.ReplicatedLinear`); the project
        resolves them. `import a.b` binds `a` to `a`.
        """
        table: dict[str, str] = {}
        for placed in self.imports:
            item = placed.fact
            if item.function is None and item.bound != "*":
                table[item.bound] = imported_target(item)
        return table

    def class_named(self, name: str) -> Placed[ClassFacts] | None:
        """The last module-level class of that name, or None."""
        return self._classes_by_name.get(name)

    def function_named(self, name: str) -> Placed[FunctionFacts] | None:
        """The last module-level function of that name, or None."""
        return self._functions_by_name.get(name)

    def assignment_of(self, name: str) -> Placed[Assignment] | None:
        """The last module-level assignment that gives `name` a value, or None."""
        return self._assignments_by_name.get(name)

    def classes_named(self, name: str) -> tuple[Placed[ClassFacts], ...]:
        """Every module-level class of that name, in order."""
        return self._every_class_by_name.get(name, ())

    def functions_named(self, name: str) -> tuple[Placed[FunctionFacts], ...]:
        """Every module-level function of that name, in order."""
        return self._every_function_by_name.get(name, ())

    @property
    def top(self) -> Location:
        """The very start of the file."""
        return Location(self.path, START_OF_FILE)

    def all_functions(self) -> Iterator[tuple[Placed[ClassFacts] | None, Placed[FunctionFacts]]]:
        """Every module-level function and every method of a module-level class, with its class."""
        return iter(self._functions_and_methods)

    @cached_property
    def _functions_and_methods(self) -> tuple[tuple[Placed[ClassFacts] | None, Placed[FunctionFacts]], ...]:
        methods = (
            (cls, Placed(method, cls.path, cls.line)) for cls in self.classes for method in cls.fact.methods
        )
        return (*((None, function) for function in self.functions), *methods)

    def chunk_at(self, line: int) -> PlacedChunk | None:
        """The chunk that begins at that line (from 0), or None."""
        return self._chunks_by_line.get(line)

    @cached_property
    def _chunks_by_line(self) -> dict[int, PlacedChunk]:
        return {chunk.line: chunk for chunk in self.chunks}

    @cached_property
    def _classes_by_name(self) -> dict[str, Placed[ClassFacts]]:
        return {c.fact.name: c for c in self.classes}

    @cached_property
    def _every_class_by_name(self) -> dict[str, tuple[Placed[ClassFacts], ...]]:
        table: dict[str, tuple[Placed[ClassFacts], ...]] = {}
        for cls in self.classes:
            table[cls.fact.name] = (*table.get(cls.fact.name, ()), cls)
        return table

    @cached_property
    def _every_function_by_name(self) -> dict[str, tuple[Placed[FunctionFacts], ...]]:
        table: dict[str, tuple[Placed[FunctionFacts], ...]] = {}
        for function in self.functions:
            table[function.fact.name] = (*table.get(function.fact.name, ()), function)
        return table

    @cached_property
    def _functions_by_name(self) -> dict[str, Placed[FunctionFacts]]:
        return {f.fact.name: f for f in self.functions}

    @cached_property
    def _assignments_by_name(self) -> dict[str, Placed[Assignment]]:
        return {
            name: placed
            for placed in self.assignments
            if placed.fact.value is not None and not placed.fact.augmented
            for name in placed.fact.names
        }


def imported_target(item: Import) -> str:
    """What the bound name of an import stands for: `a.b`, `..a.b`, or the first part for `import a.b`."""
    prefix = "." * item.level + item.module
    if item.name is not None:
        return f"{prefix}.{item.name}" if item.module else f"{prefix}{item.name}"
    return prefix if item.bound != prefix.partition(".")[0] else item.bound


def literal(expr: Expr | None) -> object:
    """The Python value of a literal display, built from constants, lists, tuples, sets and dicts.

    Raises `ValueError` where some part is not a literal (or there is no expression).
    """
    if isinstance(expr, Constant):
        return expr.value
    if isinstance(expr, Collection):
        items = [literal(item) for item in expr.items]
        try:
            return {"list": list, "tuple": tuple, "set": set}[expr.kind](items)
        except TypeError as error:
            raise ValueError(str(error)) from error
    if isinstance(expr, Mapping):
        pairs: dict[object, object] = {}
        for key, value in expr.items:
            if key is None:
                raise ValueError("a dict display with ** is not a literal")
            try:
                pairs[literal(key)] = literal(value)
            except TypeError as error:
                raise ValueError(str(error)) from error
        return pairs
    raise ValueError("not a literal")
