"""One chunk's syntax tree -> its facts, in one pass.

The pass carries what a fact needs to know about its surroundings (which function, inside a loop or
a branch, what becomes of the value) downwards, so that no rule ever walks a tree.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from analyzers.facts.chunks import Chunk
from analyzers.facts.entries import DISCOVERED_NAME, entries_of
from analyzers.facts.expressions import convert, dotted_name, span_of
from analyzers.facts.importing import calls_at_import
from analyzers.facts.memo import Memo
from analyzers.facts.model import (
    Assignment,
    Call,
    CallFact,
    ChunkFacts,
    ClassFacts,
    Either,
    FunctionFacts,
    Import,
    Keyword,
    Opaque,
    Reference,
    Return,
    SelfAssignment,
    SyntaxProblem,
    Use,
)
from analyzers.facts.nodes import (
    catches_import_error,
    changed_name,
    definition_span,
    elements,
    is_type_checking,
    parameters_of,
    takes_anything,
    use_by,
)
from analyzers.facts.scope import OTHER, Scope
from analyzers.facts.syntax import parse, problem_of
from analyzers.facts.walking import child_nodes
from analyzers.findings import START_OF_FILE, Span

ARGUMENT_DEPTH = 4
"""How deep the arguments of a call are kept; deeper calls have facts of their own."""

MUTATORS = frozenset(
    {
        "add",
        "append",
        "clear",
        "discard",
        "extend",
        "insert",
        "pop",
        "popitem",
        "remove",
        "reverse",
        "setdefault",
        "sort",
        "update",
    }
)
"""Methods that change the list, dict or set they are called on."""

_EXPRESSION = Use("expression")
_OPERAND = Use("operand")
_RETURN = Use("return")
_RAISE = Use("raise")


@dataclass(frozen=True, slots=True)
class Method:
    """A method with what it adds to the facts of its chunk."""

    facts: FunctionFacts
    imports: tuple[Import, ...]
    has_class: bool


Methods = Memo[tuple[str, int, str], Method]
"""By the method's lines, the line of the chunk at which they begin, and the dotted name of the class."""


def extract(chunk: Chunk, methods: Methods | None = None) -> ChunkFacts:
    """The facts of a chunk; a chunk that Python rejects gives its comments and the syntax problem.

    `methods`: where the facts of methods are kept from one edit to the next.
    """
    try:
        tree = parse(chunk.text)
    except SyntaxError as error:
        return ChunkFacts(comments=chunk.comments, problem=problem_of(error, chunk.text))
    except (ValueError, RecursionError, MemoryError) as error:
        # Null bytes, nesting beyond the parser's stack: Python rejects these without a position.
        message = str(error) or "too deeply nested for Python's parser"
        return ChunkFacts(comments=chunk.comments, problem=SyntaxProblem(message, START_OF_FILE))
    return replace(extract_tree(tree, chunk.text, methods), comments=chunk.comments)


def extract_tree(tree: ast.Module, text: str, methods: Methods | None = None) -> ChunkFacts:
    """The facts of a parsed text, positions relative to it."""
    walk = _Walk(text, methods)
    try:
        walk.module(tree)
    except RecursionError:
        message = "too deeply nested to be analysed"
        return ChunkFacts(problem=SyntaxProblem(message, START_OF_FILE))
    return ChunkFacts(
        imports=tuple(walk.imports),
        assignments=tuple(walk.assignments),
        classes=tuple(walk.classes),
        functions=tuple(walk.functions),
        calls=walk.scope.calls_of_module(),
        at_import=tuple(c for node in calls_at_import(tree) if isinstance(c := convert(node), Call)),
        entries=tuple(entries_of(tree)) if DISCOVERED_NAME in text else (),
        has_class=walk.has_class,
        docstring=ast.get_docstring(tree, clean=False),
    )


@dataclass(frozen=True, slots=True)
class _Context:
    """What surrounds the node at hand."""

    conditional: bool = False
    repeated: bool = False
    type_checking: bool = False
    guarded: bool = False
    enclosing: tuple[str, ...] = ()
    target: str | None = None
    in_class: bool = False

    def inside_call(self, callee: str) -> _Context:
        """The surroundings of a call's arguments. Written out: there is one for every call."""
        return _Context(
            self.conditional,
            self.repeated,
            self.type_checking,
            self.guarded,
            (*self.enclosing, callee),
            self.target,
            self.in_class,
        )


_OUTSIDE = _Context()
_IN_CLASS = _Context(in_class=True)


class _Walk:
    def __init__(self, text: str, methods: Methods | None) -> None:
        self.lines = text.split("\n")
        self.methods = methods
        self.imports: list[Import] = []
        self.assignments: list[Assignment] = []
        self.classes: list[ClassFacts] = []
        self.functions: list[FunctionFacts] = []
        self.scope = Scope()
        self.has_class = False

    # ------------------------------------------------------------------ blocks

    def module(self, tree: ast.Module) -> None:
        self.block(tree.body, _OUTSIDE, self.assignments, self.classes, self.functions)

    def block(
        self,
        body: list[ast.stmt],
        context: _Context,
        assignments: list[Assignment] | None,
        classes: list[ClassFacts] | None,
        functions: list[FunctionFacts] | None,
    ) -> None:
        """Statements in order; the lists take definitions, None where a function's body is walked."""
        for statement in body:
            self.statement(statement, context, assignments, classes, functions)

    def statement(
        self,
        node: ast.stmt,
        context: _Context,
        assignments: list[Assignment] | None,
        classes: list[ClassFacts] | None,
        functions: list[FunctionFacts] | None,
    ) -> None:
        if isinstance(node, ast.Expr):
            self.expression(node.value, _EXPRESSION, context)
            if assignments is not None:
                self.mutation(node, context, assignments)
        elif isinstance(node, ast.Assign):
            self.assign(node.targets, node.value, None, node, context, assignments)
        elif isinstance(node, ast.AnnAssign):
            self.assign([node.target], node.value, node.annotation, node, context, assignments)
        elif isinstance(node, ast.AugAssign):
            self.augmented(node, context, assignments)
        elif isinstance(node, ast.Return):
            if node.value is not None:
                self.expression(node.value, _RETURN, context)
            value = convert(node.value) if node.value is not None else None
            if not self.scope.nested:
                self.scope.returns.append(Return(value, context.conditional, span_of(node)))
        elif isinstance(node, ast.Raise):
            for part in (node.exc, node.cause):
                if part is not None:
                    self.expression(part, _RAISE if part is node.exc else OTHER, context)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            self.imported(node, context)
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            if functions is not None:
                functions.append(self.method(node) if context.in_class else self.function(node, method=False))
            else:
                self.nested_function(node, context)
        elif isinstance(node, ast.ClassDef):
            found = self.class_(node)
            if classes is not None:
                classes.append(found)
        elif isinstance(node, ast.If):
            self.expression(node.test, OTHER, context)
            inner = replace(context, conditional=True)
            checking = replace(inner, type_checking=True) if is_type_checking(node.test) else inner
            with self.arms() as arm:
                arm(0)
                self.block(node.body, checking, assignments, classes, functions)
                arm(1)
                self.block(node.orelse, inner, assignments, classes, functions)
        elif isinstance(node, (ast.For, ast.AsyncFor)):
            self.expression(node.iter, OTHER, context)
            self.store(node.target, context)
            inner = replace(context, conditional=True, repeated=True)
            self.block(node.body, inner, assignments, classes, functions)
            self.block(node.orelse, replace(context, conditional=True), assignments, classes, functions)
        elif isinstance(node, ast.While):
            self.expression(node.test, OTHER, context)
            inner = replace(context, conditional=True, repeated=True)
            self.block(node.body, inner, assignments, classes, functions)
            self.block(node.orelse, replace(context, conditional=True), assignments, classes, functions)
        elif isinstance(node, (ast.With, ast.AsyncWith)):
            for item in node.items:
                self.expression(item.context_expr, Use("with"), context)
                if item.optional_vars is not None:
                    self.store(item.optional_vars, context)
            self.block(node.body, context, assignments, classes, functions)
        elif isinstance(node, ast.Try) or type(node).__name__ == "TryStar":
            self.tried(node, context, assignments, classes, functions)  # type: ignore[arg-type]
        elif isinstance(node, ast.Match):
            self.expression(node.subject, OTHER, context)
            inner = replace(context, conditional=True)
            with self.arms() as arm:
                for index, case in enumerate(node.cases):
                    arm(index)
                    if case.guard is not None:
                        self.expression(case.guard, OTHER, inner)
                    self.block(case.body, inner, assignments, classes, functions)
        else:
            for child in child_nodes(node):
                if isinstance(child, ast.expr):
                    self.expression(child, OTHER, context)

    @contextmanager
    def arms(self) -> Iterator[Callable[[int], None]]:
        """A statement with branches: what is given says which arm is being walked."""
        scope = self.scope
        outer, statement = scope.branch, scope.forks
        scope.forks += 1

        def arm(index: int) -> None:
            scope.branch = (*outer, (statement, index))

        yield arm
        scope.branch = outer

    def tried(
        self,
        node: ast.Try,
        context: _Context,
        assignments: list[Assignment] | None,
        classes: list[ClassFacts] | None,
        functions: list[FunctionFacts] | None,
    ) -> None:
        inner = replace(context, conditional=True)
        guarded = replace(inner, guarded=True) if any(map(catches_import_error, node.handlers)) else inner
        with self.arms() as arm:
            arm(0)
            self.block(node.body, guarded, assignments, classes, functions)
            for index, handler in enumerate(node.handlers):
                arm(index + 1)
                if handler.type is not None:
                    self.expression(handler.type, OTHER, inner)
                self.block(handler.body, inner, assignments, classes, functions)
            arm(0)
            self.block(node.orelse, inner, assignments, classes, functions)
        self.block(node.finalbody, context, assignments, classes, functions)

    # ------------------------------------------------------------------ definitions

    def class_(self, node: ast.ClassDef) -> ClassFacts:
        self.has_class = True
        outside = _OUTSIDE
        for expr in (*node.bases, *(k.value for k in node.keywords), *node.decorator_list):
            self.expression(expr, OTHER, outside)
        attributes: list[Assignment] = []
        methods: list[FunctionFacts] = []
        classes: list[ClassFacts] = []
        scope = self.scope
        self.scope = Scope(name=scope.inner_name(node.name))
        self.block(node.body, _IN_CLASS, attributes, classes, methods)
        self.scope = scope
        bases = tuple(convert(b) for b in node.bases)
        return ClassFacts(
            name=node.name,
            bases=bases,
            keywords=tuple(Keyword(k.arg, convert(k.value), span_of(k)) for k in node.keywords),
            decorators=tuple(convert(d) for d in node.decorator_list),
            docstring=ast.get_docstring(node, clean=False),
            attributes=tuple(attributes),
            methods=tuple(methods),
            classes=tuple(classes),
            partial=False,
            span=definition_span(node),
            name_span=self.name_span(node, node.name),
        )

    def method(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> FunctionFacts:
        """A method; one whose lines have not changed or moved is not walked again."""
        if self.methods is None:
            return self.function(node, method=True)
        first = min((d.lineno for d in node.decorator_list), default=node.lineno) - 1
        text = "\n".join(self.lines[first : node.end_lineno])
        found = self.methods.get((text, first, self.scope.name or ""), lambda: self.walked(node))
        self.imports.extend(found.imports)
        self.has_class |= found.has_class
        return found.facts

    def walked(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> Method:
        """A method with what walking it adds, which is left for the caller to add."""
        imports, has_class = self.imports, self.has_class
        self.imports, self.has_class = [], False
        facts = self.function(node, method=True)
        found = Method(facts, tuple(self.imports), self.has_class)
        self.imports, self.has_class = imports, has_class
        return found

    def function(self, node: ast.FunctionDef | ast.AsyncFunctionDef, *, method: bool) -> FunctionFacts:
        self.evaluated_outside(node, _OUTSIDE)
        parameters = tuple(parameters_of(node.args))
        own = Scope(name=self.scope.inner_name(node.name))
        static = any(isinstance(d, ast.Name) and d.id == "staticmethod" for d in node.decorator_list)
        if method and parameters and not static:
            own.self_name = parameters[0].name
        scope, self.scope = self.scope, own
        self.block(node.body, _OUTSIDE, None, None, None)
        self.scope = scope
        return FunctionFacts(
            name=node.name,
            parameters=parameters,
            decorators=tuple(convert(d) for d in node.decorator_list),
            docstring=ast.get_docstring(node, clean=False),
            calls=own.finished_calls(),
            assignments=tuple(own.assignments),
            returns=tuple(own.returns),
            reads=frozenset(own.reads),
            listed=tuple(own.listed),
            span=definition_span(node),
            name_span=self.name_span(node, node.name),
            renames=tuple(own.renames),
            annotation=convert(node.returns) if node.returns is not None else None,
        )

    def nested_function(self, node: ast.FunctionDef | ast.AsyncFunctionDef, context: _Context) -> None:
        """A function inside a function: its calls and reads belong to the outer one."""
        self.evaluated_outside(node, context)
        self.scope.nested += 1
        self.own_names(node.args)
        self.block(node.body, replace(context, conditional=True), None, None, None)
        self.scope.nested -= 1

    def own_names(self, arguments: ast.arguments) -> None:
        """Parameters of a nested function hide outer names, as a store would."""
        for item in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs):
            self.scope.event(item.arg, None)
        for extra in (arguments.vararg, arguments.kwarg):
            if extra is not None:
                self.scope.event(extra.arg, None)

    def evaluated_outside(self, node: ast.FunctionDef | ast.AsyncFunctionDef, context: _Context) -> None:
        """What a definition evaluates where it stands: decorators and defaults."""
        for decorator in node.decorator_list:
            self.expression(decorator, OTHER, context)
        for default in (*node.args.defaults, *node.args.kw_defaults):
            if default is not None:
                self.expression(default, OTHER, context)

    def name_span(self, node: ast.stmt, name: str) -> Span:
        line = node.lineno - 1
        encoded = self.lines[line].encode("utf-8", "surrogatepass")
        match = re.compile(rb"(?:async\s+)?(?:class|def)\s+").match(encoded, node.col_offset)
        column = match.end() if match else node.col_offset
        return Span(line, column, line, column + len(name.encode("utf-8", "surrogatepass")))

    # ------------------------------------------------------------------ statements

    def assign(
        self,
        targets: list[ast.expr],
        value: ast.expr | None,
        annotation: ast.expr | None,
        node: ast.stmt,
        context: _Context,
        assignments: list[Assignment] | None,
    ) -> None:
        if annotation is not None and assignments is None:
            self.expression(annotation, OTHER, replace(context, type_checking=True))
        attribute = self.self_attribute(targets[0])
        if value is not None:
            inner = replace(context, target=attribute) if attribute else context
            self.expression(value, use_by(targets), inner)
        for target in targets:
            self.store(target, context)
        if isinstance(targets[0], ast.Name):
            self.scope.stored(targets[0].id)
        for target in targets:
            name = self.self_attribute(target)
            if name is not None and value is not None:
                self.scope.assignments.append(
                    SelfAssignment(name, convert(value), context.conditional, span_of(node))
                )
            for element in elements(target):
                name = self.self_attribute(element)
                if name is not None:
                    self.scope.assignments.append(
                        SelfAssignment(name, None, context.conditional, span_of(node))
                    )
        if assignments is None and isinstance(value, (ast.Name, ast.Attribute, ast.IfExp)):
            target = targets[0]
            other = convert(value) if isinstance(target, ast.Name) else None
            if isinstance(target, ast.Name) and isinstance(other, (Reference, Either)):
                self.scope.renames.append((target.id, other))
        if assignments is not None:
            span = span_of(node)
            names = tuple(t.id for t in targets if isinstance(t, ast.Name))
            if names:
                assignments.append(
                    Assignment(
                        names,
                        convert(value) if value is not None else None,
                        convert(annotation) if annotation is not None else None,
                        False,
                        context.conditional,
                        span,
                    )
                )
            parts = tuple(e.id for t in targets for e in elements(t) if isinstance(e, ast.Name))
            if parts:
                unpacked = Opaque("Unpacked", span)
                assignments.append(Assignment(parts, unpacked, None, False, context.conditional, span))
            changed = tuple(name for t in targets if (name := changed_name(t)) is not None)
            if changed and value is not None:
                assignments.append(Assignment(changed, convert(value), None, True, context.conditional, span))

    def mutation(self, node: ast.Expr, context: _Context, assignments: list[Assignment]) -> None:
        """`name.append(value)` and its like, as a statement."""
        call = node.value
        if (
            isinstance(call, ast.Call)
            and isinstance(call.func, ast.Attribute)
            and isinstance(call.func.value, ast.Name)
            and call.func.attr in MUTATORS
        ):
            assignments.append(
                Assignment(
                    (call.func.value.id,), convert(call), None, True, context.conditional, span_of(node)
                )
            )

    def augmented(self, node: ast.AugAssign, context: _Context, assignments: list[Assignment] | None) -> None:
        if isinstance(node.target, ast.Name):
            self.scope.event(node.target.id, _OPERAND)
        self.expression(node.value, _OPERAND, context)
        self.store(node.target, context)
        name = self.self_attribute(node.target)
        if name is not None:
            self.scope.reads.add(name)
            self.scope.assignments.append(SelfAssignment(name, None, context.conditional, span_of(node)))
        changed = node.target.id if isinstance(node.target, ast.Name) else changed_name(node.target)
        if assignments is not None and changed is not None:
            assignments.append(
                Assignment(
                    (changed,),
                    convert(node.value),
                    None,
                    True,
                    context.conditional,
                    span_of(node),
                )
            )

    def imported(self, node: ast.Import | ast.ImportFrom, context: _Context) -> None:
        level = node.level if isinstance(node, ast.ImportFrom) else 0
        for alias in node.names:
            if isinstance(node, ast.ImportFrom):
                module, name, bound = node.module or "", alias.name, alias.asname or alias.name
            else:
                module, name = alias.name, None
                bound = alias.asname or alias.name.partition(".")[0]
            self.imports.append(
                Import(
                    module=module,
                    name=name,
                    bound=bound,
                    level=level,
                    type_checking=context.type_checking,
                    function=self.scope.name,
                    guarded=context.guarded,
                    conditional=context.conditional,
                    span=span_of(alias),
                )
            )

    def store(self, target: ast.expr, context: _Context) -> None:
        if isinstance(target, ast.Name):
            self.scope.event(target.id, None)
        elif isinstance(target, (ast.Tuple, ast.List)):
            for element in target.elts:
                self.store(element, context)
        elif isinstance(target, ast.Starred):
            self.store(target.value, context)
        elif isinstance(target, ast.Attribute):
            if self.self_attribute(target) is None:
                self.expression(target.value, OTHER, context)
        elif isinstance(target, ast.Subscript):
            self.expression(target.value, OTHER, context)
            self.expression(target.slice, OTHER, context)

    def self_attribute(self, node: ast.expr) -> str | None:
        """The name of `self.name`, or None."""
        if (
            isinstance(node, ast.Attribute)
            and isinstance(node.value, ast.Name)
            and self.scope.self_name is not None
            and node.value.id == self.scope.self_name
        ):
            return node.attr
        return None

    # ------------------------------------------------------------------ expressions

    def expression(self, node: ast.expr, use: Use, context: _Context) -> None:
        """Walks an expression whose value is used as `use` says."""
        if type(node) is ast.Constant:
            return
        if isinstance(node, ast.Call):
            self.call(node, use, context)
        elif isinstance(node, ast.Name):
            self.scope.event(node.id, use)
        elif isinstance(node, ast.Attribute):
            self.attribute(node, context)
        elif isinstance(node, ast.Subscript):
            index = node.slice.value if isinstance(node.slice, ast.Constant) else None
            detail = index if isinstance(index, (int, str)) and not isinstance(index, bool) else None
            self.expression(node.value, Use("index", detail), context)
            self.expression(node.slice, OTHER, context)
        elif isinstance(node, ast.BinOp):
            # Sums may be thousands of terms long, each nested in the left side of the next.
            terms: list[ast.expr] = []
            left: ast.expr = node
            while isinstance(left, ast.BinOp):
                terms.append(left.right)
                left = left.left
            for term in (left, *reversed(terms)):
                self.expression(term, _OPERAND, context)
        elif isinstance(node, (ast.UnaryOp, ast.Compare)):
            role = OTHER if takes_anything(node) else _OPERAND
            for child in child_nodes(node):
                if isinstance(child, ast.expr):
                    self.expression(child, role, context)
        elif isinstance(node, ast.IfExp):
            inner = replace(context, conditional=True)
            self.expression(node.test, OTHER, context)
            self.expression(node.body, use, inner)
            self.expression(node.orelse, use, inner)
        elif isinstance(node, ast.BoolOp):
            self.expression(node.values[0], OTHER, context)
            inner = replace(context, conditional=True)
            for value in node.values[1:]:
                self.expression(value, OTHER, inner)
        elif isinstance(node, (ast.ListComp, ast.SetComp, ast.GeneratorExp, ast.DictComp)):
            self.comprehension(node, context)
        elif isinstance(node, ast.Lambda):
            self.own_names(node.args)
            self.expression(node.body, _RETURN, replace(context, conditional=True))
        elif isinstance(node, ast.NamedExpr):
            self.expression(node.value, OTHER, context)
            self.scope.event(node.target.id, None)
        elif isinstance(node, ast.Starred):
            self.expression(node.value, Use("starred"), context)
        else:
            if isinstance(node, (ast.List, ast.Tuple, ast.Set)):
                items = (e.value for e in node.elts if isinstance(e, ast.Constant))
                self.scope.listed.extend(item for item in items if isinstance(item, str))
            for child in child_nodes(node):
                if isinstance(child, ast.expr):
                    self.expression(child, OTHER, context)

    def call(self, node: ast.Call, use: Use, context: _Context) -> None:
        converted = convert(node, ARGUMENT_DEPTH)
        callee = dotted_name(node.func)
        scope = self.scope
        index = len(scope.calls)
        # Reserved now, so that calls stay in the order in which they begin.
        scope.calls.append(
            CallFact(
                converted,  # type: ignore[arg-type]
                use,
                context.target,
                context.enclosing,
                context.repeated,
                context.conditional,
            )
        )
        self.expression(node.func, OTHER, context)
        if node.args or node.keywords:
            inner = context.inside_call(callee or "?")
            argument = Use("argument", callee)
            for item in node.args:
                self.expression(item, argument, inner)
            for word in node.keywords:
                self.expression(word.value, argument, inner)
        if use.kind == "name":
            scope.unstored.append(index)

    def attribute(self, node: ast.Attribute, context: _Context) -> None:
        dotted = dotted_name(node)
        if dotted is None:
            self.expression(node.value, Use("attribute", node.attr), context)
            return
        head, _, rest = dotted.partition(".")
        if head == self.scope.self_name:
            self.scope.reads.add(rest)
        else:
            self.scope.event(head, Use("attribute", rest.partition(".")[0]))

    def comprehension(
        self, node: ast.ListComp | ast.SetComp | ast.GeneratorExp | ast.DictComp, context: _Context
    ) -> None:
        inner = replace(context, repeated=True, conditional=True)
        for index, generator in enumerate(node.generators):
            self.expression(generator.iter, OTHER, inner if index else context)
            self.store(generator.target, inner)
            for test in generator.ifs:
                self.expression(test, OTHER, inner)
        if isinstance(node, ast.DictComp):
            self.expression(node.key, OTHER, inner)
            self.expression(node.value, OTHER, inner)
        else:
            self.expression(node.elt, OTHER, inner)
