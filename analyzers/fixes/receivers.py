"""Whose attribute an expression reads: the class of what stands before the dot, as far as it is proven."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from enum import Enum

from analyzers.facts.model import ClassFacts, FileFacts, Import, Placed, imported_target
from analyzers.fixes.base import Refused
from analyzers.fixes.source_trees import SourceTree, dotted
from analyzers.project.index import Project
from analyzers.project.layers import canonical, elements, submodule
from analyzers.project.names import Module


class Whose(Enum):
    """An instance of the class in question (or of a subclass); of one of its bases; of another class;
    or of one that cannot be told."""

    OURS = "ours"
    SHARED = "shared"
    OTHER = "other"
    UNKNOWN = "unknown"


class Receivers:
    """What expressions of the tree are to one class and its subclasses."""

    def __init__(self, project: Project, home: Placed[ClassFacts]) -> None:
        self.project = project
        self.names = project.names
        self.home = home
        self.family = self._family()
        for member in self.family:
            if not self.names.ancestry(member).self_contained:
                where = f"{member.path}:{member.at(member.fact.name_span).span.line + 1}"
                raise Refused(f"a base of '{member.fact.name}' ({where}) may use the layer in its own way")
        self.own = {self.names.qualified_class(c) for c in self.family}
        above = {self.names.qualified_class(b) for c in self.family for b in self.names.ancestry(c).classes}
        self._above = above - self.own

    @property
    def files(self) -> tuple[str, ...]:
        """The files that can name the class: its own, those of its bases and subclasses, and every one
        that imports something from these."""
        homes = {c.path for member in self.family for c in self.names.ancestry(member).classes}
        words = {name for path in homes for name in _defined(self.project.file(path))}
        modules = [set(self.names.module_name(path).split(".")[-2:]) for path in homes]
        importing = {
            path
            for path, facts in self._files_with(words, *modules)
            if path not in homes and any(self._comes_from(path, i.fact, homes) for i in facts.imports)
        }
        return tuple(sorted(homes | importing))

    def whose(self, tree: SourceTree, expression: ast.expr) -> Whose:
        """What an expression is to the class."""
        classes = self.classes_of(tree, expression)
        found = {self._relation(name) for name in classes} if classes else {Whose.UNKNOWN}
        if found == {Whose.OURS, Whose.OTHER}:
            return Whose.SHARED
        return next(iter(found)) if len(found) == 1 else Whose.UNKNOWN

    # ------------------------------------------------------------------ classes

    def classes_of(self, tree: SourceTree, expression: ast.expr) -> frozenset[str] | None:
        """Full names of the classes that an expression can be an instance of; None: it cannot be told."""
        if isinstance(expression, ast.Attribute):
            return self._attribute(tree, expression)
        if isinstance(expression, ast.Call):
            name = dotted(expression.func)
            made = self.names.class_of(tree.path, name) if name is not None else None
            return frozenset({self.names.qualified_class(made)}) if made is not None else None
        if isinstance(expression, ast.Subscript):
            return self._elements(tree, expression.value)
        if not isinstance(expression, ast.Name):
            return None
        if tree.is_instance(expression):
            return self._class_around(tree, expression)
        return self._local(tree, expression)

    def _class_around(self, tree: SourceTree, name: ast.Name) -> frozenset[str] | None:
        found = tree.method_of(name)
        cls = self.names.class_of(tree.path, found[0].name) if found is not None else None
        return frozenset({self.names.qualified_class(cls)}) if cls is not None else None

    def _attribute(self, tree: SourceTree, expression: ast.Attribute) -> frozenset[str] | None:
        owner = self._only(self.classes_of(tree, expression.value))
        held = submodule(self.names, owner, expression.attr) if owner is not None else None
        return held.classes if held is not None else None

    def _elements(self, tree: SourceTree, expression: ast.expr) -> frozenset[str] | None:
        """The classes of what a module list holds."""
        if not isinstance(expression, ast.Attribute):
            return None
        owner = self._only(self.classes_of(tree, expression.value))
        held = elements(self.names, owner, expression.attr) if owner is not None else None
        return frozenset(held.classes) if held is not None else None

    def _local(self, tree: SourceTree, name: ast.Name) -> frozenset[str] | None:
        """What a name is bound to, where that happens once in its function, or is declared to be."""
        function = tree.function_of(name)
        if function is None:
            return None
        arguments = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
        declared = next((a.annotation for a in arguments if a.arg == name.id), None)
        stores = tree.stores(function, name.id)
        if declared is not None and not stores:
            wanted = dotted(declared)
            cls = self.names.class_of(tree.path, wanted) if wanted is not None else None
            return frozenset({self.names.qualified_class(cls)}) if cls is not None else None
        if len(stores) != 1 or any(a.arg == name.id for a in arguments):
            return None
        around = tree.parents[stores[0]]
        if isinstance(around, ast.Assign) and around.targets == [stores[0]]:
            return self.classes_of(tree, around.value)
        if isinstance(around, ast.For) and around.target is stores[0]:
            return self._elements(tree, around.iter)
        numbered = tree.parents.get(around)
        if (
            isinstance(around, ast.Tuple)
            and isinstance(numbered, ast.For)
            and around.elts[1:] == [stores[0]]
            and isinstance(numbered.iter, ast.Call)
            and dotted(numbered.iter.func) == "enumerate"
            and numbered.iter.args
        ):
            return self._elements(tree, numbered.iter.args[0])
        return None

    def _only(self, classes: frozenset[str] | None) -> Placed[ClassFacts] | None:
        if classes is None or len(classes) != 1:
            return None
        found = self.names.by_qualified(next(iter(classes)))
        return found if isinstance(found, Placed) and isinstance(found.fact, ClassFacts) else None

    def _relation(self, name: str) -> Whose:
        if name in self.own:
            return Whose.OURS
        if name in self._above:
            return Whose.SHARED
        found = self.names.by_qualified(name)
        if isinstance(found, Placed) and isinstance(found.fact, ClassFacts):
            return Whose.OTHER if self.names.ancestry(found).complete else Whose.UNKNOWN
        return Whose.OTHER

    # ------------------------------------------------------------------ files

    def _family(self) -> tuple[Placed[ClassFacts], ...]:
        """The class and all its subclasses in the tree."""
        own = self.names.qualified_class(self.home)
        family = {own: self.home}
        pending = [self.home]
        while pending:
            for _, facts in self._files_with({pending.pop().fact.name}):
                for cls in facts.classes:
                    name = self.names.qualified_class(cls)
                    above = {self.names.qualified_class(c) for c in self.names.ancestry(cls).classes}
                    if own in above and name not in family:
                        family[name] = cls
                        pending.append(cls)
        return tuple(family.values())

    def _files_with(self, any_of: set[str], *all_of: set[str]) -> Iterator[tuple[str, FileFacts]]:
        """The files that hold one of the words, or all words of a set."""
        profile, sources = self.project.profile, self.project.sources
        for folder in (profile.folder, *profile.test_roots):
            for path in sources.walk(folder):
                words = sources.words(path)
                if not any_of.isdisjoint(words) or any(wanted <= words for wanted in all_of):
                    facts = self.project.file(path)
                    if facts is not None:
                        yield path, facts

    def _comes_from(self, path: str, item: Import, homes: set[str]) -> bool:
        """Whether an import brings one of these files, or a definition in it."""
        target = "." * item.level + item.module if item.bound == "*" else imported_target(item)
        absolute = self.names.absolute(path, target)
        if absolute is None:
            return False
        if self.names.module_path(absolute) in homes:
            return True
        found = self.names.by_qualified(absolute)
        return isinstance(found, (Placed, Module)) and found.path in homes


def _defined(facts: FileFacts | None) -> Iterator[str]:
    if facts is not None:
        yield from (c.fact.name for c in facts.classes)
        yield from (f.fact.name for f in facts.functions)


def means(project: Project, path: str, node: ast.AST) -> str | None:
    """The full dotted name of what an expression names (`torch.nn.Linear`), or None."""
    name = dotted(node)
    found = project.names.qualified(path, name) if name is not None else None
    return canonical(found) if found is not None else None
