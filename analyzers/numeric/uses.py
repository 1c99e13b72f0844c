"""Which statements of a model call its modules, and what they pass on."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from analyzers.numeric import statements
from analyzers.numeric.origins import House
from analyzers.numeric.records import CodeLine, Module
from analyzers.numeric.statements import Function, Range


class Use(NamedTuple):
    """A statement that calls a module, and the variable that it passes for one input."""

    place: Range
    variable: str | None


@dataclass(frozen=True)
class Uses:
    """The calls that one side's code makes."""

    house: House

    def of(self, name: str, label: str, site: Range | None = None) -> Use | None:
        """The statement of the model's own files that calls a module (or the library module that it is a part
        of), and the variable that it passes for the input `label`, else first. `site`: tells which, where
        there are several. None where it is not called by its name, or as the variable of a loop."""
        forward = self._forward(name)
        while name:
            parent = self._parent(name)
            owner = self.house.modules.get(parent)
            if owner is not None and owner.path is not None and self.house.owns(owner.path):
                attribute = name[len(parent) :].strip(".").partition(".")[0]
                found = list(self._calls(owner, attribute, forward, label))
                at_site = [each for each in found if site is not None and each.place == site]
                chosen = set(at_site or found)
                return chosen.pop() if len(chosen) == 1 else None
            name, forward = parent, None
        return None

    def way_in(self, name: str, label: str, site: Range | None = None) -> tuple[CodeLine, ...]:
        """The lines that call a module, the module around it and so on, innermost first, as far as each is
        seen."""
        lines: list[CodeLine] = []
        found = self.of(name, label, site)
        while found is not None and name:
            lines.append(CodeLine(found.place.path, found.place.line, "forward"))
            name = self._around(name, found.place)
            found = self.of(name, label)
        return tuple(lines)

    def _parent(self, name: str) -> str:
        parent = name.rpartition(".")[0]
        while parent and parent not in self.house.modules:
            parent = parent.rpartition(".")[0]
        return parent

    def _around(self, name: str, place: Range) -> str:
        """The module around another whose class has the place."""
        cls = self.house.sources.enclosing_class(place.path, place.line)
        while name:
            name = name.rpartition(".")[0]
            module = self.house.modules.get(name)
            if module is not None and cls is not None and self.house.is_of(module, place.path, cls):
                return name
        return ""

    def _forward(self, name: str) -> Function | None:
        module = self.house.modules.get(name)
        if module is None or module.path is None or module.line is None:
            return None
        return self.house.sources.function(module.path, module.line)

    def _calls(self, owner: Module, attribute: str, forward: Function | None, label: str) -> Iterator[Use]:
        if owner.path is None or owner.line is None:
            return
        sources = self.house.sources
        cls = sources.enclosing_class(owner.path, owner.line + 1)
        if cls is None:
            return
        for call in _called(cls, attribute):
            first = call.args[0] if call.args else None
            given = statements.argument(call, forward, label, bound=True) or first
            variable = given.id if isinstance(given, ast.Name) else None
            yield Use(sources.range_at(owner.path, call.lineno - 1), variable)


def _called(cls: ast.ClassDef, attribute: str) -> Iterator[ast.Call]:
    """The calls of a module by its name, and of each in a list of modules by the variable of its loop."""
    for node in ast.walk(cls):
        if isinstance(node, ast.Call):
            target = node.func.value if isinstance(node.func, ast.Subscript) else node.func
            if isinstance(target, ast.Attribute) and target.attr == attribute and _is_self(target.value):
                yield node
        elif isinstance(node, ast.For) and attribute in statements.attributes_in(node.iter):
            names = {each.id for each in ast.walk(node.target) if isinstance(each, ast.Name)}
            for body in node.body:
                for each in ast.walk(body):
                    if (
                        isinstance(each, ast.Call)
                        and isinstance(each.func, ast.Name)
                        and each.func.id in names
                    ):
                        yield each


def _is_self(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id == "self"
