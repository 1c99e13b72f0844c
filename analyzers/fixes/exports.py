"""The imports and the `__all__` of a package's `__init__`, changed in the layout they have."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import libcst as cst
from libcst.helpers import get_absolute_module_for_import

from analyzers.fixes.base import Refused
from analyzers.fixes.sequences import LINE_LENGTH, Layout, layout_of, layout_of_import
from analyzers.fixes.texts import parse, pieces, source_of

_BLANK = cst.Module([])


@dataclass(frozen=True)
class Exports:
    """The `__init__.py` at `path`, whose dotted name is `package`, open for changes.

    Every method gives the changed file; a change that is there already changes nothing.
    """

    path: str
    package: str
    tree: cst.Module

    def with_import(self, module: str, name: str) -> Exports:
        """With `name` imported from the module of that full dotted name.

        It joins an import from the same module; else the new line goes where the imports from this
        package put it: in order if they are in order, behind the last of them if they are not.
        """
        places = list(self._imports())
        for _, node in places:
            if any(_bound(a) == name for a in _aliases(node)):
                return self
        for _, node in places:
            if self._module_of(node) == module and not isinstance(node.names, cst.ImportStar):
                joined = self._joined(node, name)
                if joined is not None:
                    return self._replacing(node, joined)
        statement = cst.ensure_type(
            cst.parse_statement(f"from {module} import {name}\n"), cst.SimpleStatementLine
        )
        body = list(self.tree.body)
        index, first = self._place(module, places)
        blank = [cst.EmptyLine(indent=False)]
        if index < len(body):
            following = body[index]
            if first:
                # The new line takes over what stands above the statement that it goes before.
                body[index] = following.with_changes(leading_lines=[])
                statement = statement.with_changes(leading_lines=following.leading_lines)
            elif not following.leading_lines and not _is_import(following):
                body[index] = following.with_changes(leading_lines=blank)
        if index > 0 and not _is_import(body[index - 1]) and not statement.leading_lines:
            statement = statement.with_changes(leading_lines=blank)
        body.insert(index, statement)
        return Exports(self.path, self.package, self.tree.with_changes(body=body))

    def without_import(self, name: str) -> Exports:
        """With no import that binds `name`."""
        for statement, node in self._imports():
            aliases = _aliases(node)
            index = next((i for i, a in enumerate(aliases) if _bound(a) == name), None)
            if index is None:
                continue
            if len(aliases) > 1:
                text = _import_text(node, layout_of_import(node).without(index))
                return self._replacing(node, text).without_import(name)
            if len(statement.body) > 1:
                raise Refused(f"{self.path} has several statements on one line")
            tree = _without_statement(self.tree, statement)
            return Exports(self.path, self.package, tree).without_import(name)
        return self

    def with_listed(self, name: str) -> Exports:
        """With `name` in `__all__`; nothing changes where there is no `__all__`."""
        display = self._listing()
        if display is None or name in self._listed(display):
            return self
        layout = layout_of(display)
        quote = layout.items[0][0] if layout.items and layout.items[0][0] in "'\"" else '"'
        item = f"{quote}{name}{quote}"
        present = list(self._listed(display))
        index = len(layout.items)
        if layout.one_a_line and len(present) > 2 and present == sorted(present):
            index = sum(other < name for other in present)
        return self._replacing(display, layout.with_item(item, index, len("__all__ = "), "").text)

    def without_listed(self, name: str) -> Exports:
        """With no `name` in `__all__`."""
        display = self._listing()
        if display is None or name not in self._listed(display):
            return self
        index = self._listed(display).index(name)
        return self._replacing(display, layout_of(display).without(index).text).without_listed(name)

    def renamed(self, old: str, new: str) -> Exports:
        """With `new` imported and listed where `old` was."""
        result = self
        for _, node in self._imports():
            for alias in _aliases(node):
                if alias.evaluated_name == old and alias.asname is None:
                    changed = alias.with_changes(name=cst.Name(new))
                    result = Exports(self.path, self.package, _replace(result.tree, alias, changed))
        display = result._listing()
        if display is not None and old in result._listed(display):
            layout = layout_of(display)
            items = tuple(i.replace(old, new) if i.strip("'\" ") == old else i for i in layout.items)
            text = Layout(layout.opening, layout.closing, items, layout.before, layout.trailing).text
            result = result._replacing(display, text)
        return result

    # ------------------------------------------------------------------ looking

    def _imports(self) -> list[tuple[cst.SimpleStatementLine, cst.ImportFrom]]:
        return [
            (statement, small)
            for statement in self.tree.body
            if isinstance(statement, cst.SimpleStatementLine)
            for small in statement.body
            if isinstance(small, cst.ImportFrom)
        ]

    def _module_of(self, node: cst.ImportFrom) -> str | None:
        # libcst takes the name of a module inside the package as the place of a relative import.
        return get_absolute_module_for_import(f"{self.package}.__init__", node)

    def _place(
        self, module: str, places: list[tuple[cst.SimpleStatementLine, cst.ImportFrom]]
    ) -> tuple[int, bool]:
        """Where in the body a new import goes, and whether it is the first statement there."""
        own = [(s, m) for s, n in places if (m := self._module_of(n)) and m.startswith(self.package)]
        body = list(self.tree.body)
        if own:
            modules = [m for _, m in own]
            later = [s for s, m in own if m > module] if modules == sorted(modules) else []
            if later:
                return body.index(later[0]), True
            return body.index(own[-1][0]) + 1, False
        if places:
            return body.index(places[-1][0]) + 1, False
        first = 1 if body and self.tree.get_docstring() is not None else 0
        return first, False

    def _listing(self) -> cst.List | cst.Tuple | None:
        found: list[cst.BaseExpression | None] = []
        for statement in self.tree.body:
            for small in statement.body if isinstance(statement, cst.SimpleStatementLine) else ():
                assigns = isinstance(small, cst.Assign) and any(_is_all(t.target) for t in small.targets)
                changes = isinstance(small, (cst.AnnAssign, cst.AugAssign)) and _is_all(small.target)
                if isinstance(small, (cst.Assign, cst.AnnAssign, cst.AugAssign)) and (assigns or changes):
                    found.append(small.value)
        if not found:
            return None
        if len(found) > 1 or not isinstance(found[0], (cst.List, cst.Tuple)):
            raise Refused(f"__all__ in {self.path} is not one list of strings")
        if isinstance(found[0], cst.Tuple) and len(found[0].lpar) != 1:
            raise Refused(f"__all__ in {self.path} is a tuple without parentheses")
        return found[0]

    def _listed(self, display: cst.List | cst.Tuple) -> list[str]:
        names: list[str] = []
        for element in display.elements:
            if not isinstance(element.value, cst.SimpleString):
                raise Refused(f"__all__ in {self.path} holds more than plain strings")
            names.append(str(element.value.evaluated_value))
        return names

    # ------------------------------------------------------------------ changing

    def _joined(self, node: cst.ImportFrom, name: str) -> str | None:
        """The import with one name more; None where that would make the line too long."""
        layout = layout_of_import(node)
        names = [a.evaluated_name for a in _aliases(node)]
        index = len(names)
        if names == sorted(names):
            index = sum(other < name for other in names)
        text = _import_text(node, layout.with_item(name, index, 0, ""))
        bare = not layout.opening
        return None if bare and ("\n" in text or len(text) > LINE_LENGTH) else text

    def _replacing(self, node: cst.CSTNode, text: str) -> Exports:
        new: cst.CSTNode
        if isinstance(node, cst.ImportFrom):
            line = cst.ensure_type(cst.parse_statement(text), cst.SimpleStatementLine)
            new = cst.ensure_type(line.body[0], cst.ImportFrom).with_changes(semicolon=node.semicolon)
        else:
            new = cst.parse_expression(text)
        return Exports(self.path, self.package, _replace(self.tree, node, new))


ChangeExports: TypeAlias = Callable[[Exports], Exports]


def changed_exports(text: str, path: str, change: ChangeExports) -> str:
    """The text of an `__init__.py` after a change."""
    source = source_of(text, path)
    package = path.removesuffix("/__init__.py").removesuffix(".py").replace("/", ".")
    return source.restored(change(Exports(path, package, parse(source.text, path))).tree.code)


def with_import_above(text: str, path: str, package: str, imported: str) -> str:
    """A module's text with the class or function of that full dotted name imported.

    Only the head of the file, up to its first definition, goes through libcst.
    """
    head = 0
    for piece in pieces(text):
        if piece.text.lstrip().startswith(("class ", "def ", "async def ", "@")):
            break
        head = piece.end
    module, _, name = imported.rpartition(".")
    above = Exports(path, package, parse(text[:head], path)).with_import(module, name).tree.code
    gap = "" if above.endswith("\n") else "\n\n"
    return above + gap + text[head:]


def _import_text(node: cst.ImportFrom, layout: Layout) -> str:
    text = _BLANK.code_for_node(node.with_changes(semicolon=cst.MaybeSentinel.DEFAULT))
    return text.removesuffix(layout_of_import(node).text) + layout.text


def _without_statement(tree: cst.Module, statement: cst.SimpleStatementLine) -> cst.Module:
    """The tree without a statement; the lines above it stay, since a comment may speak of more."""
    body = list(tree.body)
    index = body.index(statement)
    above = statement.leading_lines
    del body[index]
    if index == len(body):
        kept = above if any(line.comment for line in above) else ()
        return tree.with_changes(body=body, footer=[*kept, *tree.footer])
    below = body[index].leading_lines
    if any(line.comment for line in above):
        below = [*above, *below]
    elif not below:
        below = above
    body[index] = body[index].with_changes(leading_lines=below)
    return tree.with_changes(body=body)


def _replace(tree: cst.Module, old: cst.CSTNode, new: cst.CSTNode) -> cst.Module:
    return cst.ensure_type(tree.deep_replace(old, new), cst.Module)


def _aliases(node: cst.ImportFrom) -> list[cst.ImportAlias]:
    return [] if isinstance(node.names, cst.ImportStar) else list(node.names)


def _bound(alias: cst.ImportAlias) -> str:
    return alias.evaluated_alias or alias.evaluated_name


def _is_import(statement: cst.BaseStatement) -> bool:
    return isinstance(statement, cst.SimpleStatementLine) and isinstance(
        statement.body[0], (cst.Import, cst.ImportFrom)
    )


def _is_all(target: cst.BaseExpression) -> bool:
    return isinstance(target, cst.Name) and target.value == "__all__"
