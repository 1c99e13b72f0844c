"""Moves a field from an arch config to the pipeline config, and its readers with it.

Arguments: `path`, `class` and `field` (what moves), `to` and `home` (the file and class it moves to),
`readers` (files that read it from the DiT's config). A read is followed where it is written out as
`<...>.pipeline_config.dit_config[.arch_config].<field>`, or goes through a local name for that.
"""

from __future__ import annotations

import builtins
from collections.abc import Mapping

import libcst as cst
import libcst.matchers as m

from analyzers.findings import JsonValue
from analyzers.fixes.base import Read, Refused, text_argument, texts_argument
from analyzers.fixes.texts import Source, open_module
from analyzers.fixes.trees import dotted_name, is_docstring, only_class

_OWNERS = ("dit_config.arch_config", "dit_config")
_PIPELINE = "pipeline_config"


def edit(arguments: Mapping[str, JsonValue], read: Read) -> dict[str, str]:
    """The new texts. Raises `Refused` where a reader, or the field's default, cannot be followed."""
    path, name = text_argument(arguments, "path"), text_argument(arguments, "class")
    field = text_argument(arguments, "field")
    to, home = text_argument(arguments, "to"), text_argument(arguments, "home")
    trees: dict[str, cst.Module] = {}
    sources: dict[str, Source] = {}
    for file in dict.fromkeys((path, to, *texts_argument(arguments, "readers"))):
        sources[file], trees[file] = open_module(read, file)
    trees[path], statement = _taken(trees[path], name, field)
    trees[to] = _given(trees[to], home, field, statement)
    for file in texts_argument(arguments, "readers"):
        follow = _Readers(field, file)
        trees[file] = cst.ensure_type(trees[file].visit(follow), cst.Module)
    return {file: sources[file].restored(tree.code) for file, tree in trees.items()}


# --------------------------------------------------------------------------- the field


def _taken(tree: cst.Module, name: str, field: str) -> tuple[cst.Module, cst.SimpleStatementLine]:
    """The tree without the field, and the statement that declared it."""
    cls = only_class(tree, name)
    body = list(cls.body.body)
    found = [s for s in body if isinstance(s, cst.SimpleStatementLine) and _declares(s, field)]
    if len(found) != 1 or len(found[0].body) != 1:
        raise Refused(f"'{name}' does not declare '{field}' in one statement of its own")
    body.remove(found[0])
    if not body:
        raise Refused(f"'{name}' would have nothing left")
    changed = cls.with_changes(body=cls.body.with_changes(body=body))
    return cst.ensure_type(tree.deep_replace(cls, changed), cst.Module), found[0]


def _declares(statement: cst.SimpleStatementLine, field: str) -> bool:
    return any(m.matches(s, m.AnnAssign(target=m.Name(field))) for s in statement.body)


def _given(tree: cst.Module, home: str, field: str, statement: cst.SimpleStatementLine) -> cst.Module:
    """The tree with the field behind the others of the class."""
    cls = only_class(tree, home)
    declared = cst.ensure_type(statement.body[0], cst.AnnAssign)
    if declared.value is None:
        raise Refused(f"'{field}' has no default")
    for name in {n.value for n in m.findall(declared, m.Name()) if isinstance(n, cst.Name)} - {field}:
        if not hasattr(builtins, name) and not _binds(tree, name):
            raise Refused(f"the declaration of '{field}' needs '{name}', which the pipeline's file lacks")
    if not isinstance(cls.body, cst.IndentedBlock):
        raise Refused(f"'{home}' is written in one line")
    body = [s for s in cls.body.body if not m.matches(s, m.SimpleStatementLine(body=[m.Pass()]))]
    fields = [i for i, s in enumerate(body) if m.matches(s, m.SimpleStatementLine(body=[m.AnnAssign()]))]
    index = fields[-1] + 1 if fields else int(bool(body) and is_docstring(body[0]))
    body.insert(index, statement.with_changes(leading_lines=_comment_of(statement)))
    changed = cls.with_changes(body=cls.body.with_changes(body=body))
    return cst.ensure_type(tree.deep_replace(cls, changed), cst.Module)


def _comment_of(statement: cst.SimpleStatementLine) -> list[cst.EmptyLine]:
    """The comment right above a statement, which moves with it."""
    lines: list[cst.EmptyLine] = []
    for line in reversed(statement.leading_lines):
        if line.comment is None:
            break
        lines.insert(0, line)
    return lines


def _binds(tree: cst.Module, name: str) -> bool:
    """Whether an import, a class, a function or an assignment at module level gives a name."""
    for statement in tree.body:
        if isinstance(statement, (cst.ClassDef, cst.FunctionDef)) and statement.name.value == name:
            return True
        for small in statement.body if isinstance(statement, cst.SimpleStatementLine) else ():
            if name in _bound_by(small):
                return True
    return False


def _bound_by(small: cst.BaseSmallStatement) -> set[str]:
    if isinstance(small, (cst.ImportFrom, cst.Import)) and not isinstance(small.names, cst.ImportStar):
        return {a.evaluated_alias or a.evaluated_name.partition(".")[0] for a in small.names}
    if isinstance(small, cst.Assign):
        return {t.target.value for t in small.targets if isinstance(t.target, cst.Name)}
    return set()


# --------------------------------------------------------------------------- its readers


class _Readers(cst.CSTTransformer):
    """Rewrites the reads of one file. Raises `Refused` at one that it cannot follow."""

    def __init__(self, field: str, path: str) -> None:
        super().__init__()
        self.field = field
        self.path = path
        self.aliases: list[dict[str, str | None]] = []

    def visit_FunctionDef(self, node: cst.FunctionDef) -> bool:  # noqa: N802 - libcst's naming
        known: dict[str, str | None] = {}
        for small in m.findall(node.body, m.Assign()):
            if isinstance(small, cst.Assign) and len(small.targets) == 1:
                target = small.targets[0].target
                if isinstance(target, cst.Name):
                    again = target.value in known
                    known[target.value] = None if again else dotted_name(small.value)
        self.aliases.append(known)
        return True

    def leave_FunctionDef(  # noqa: N802 - libcst's naming
        self, original_node: cst.FunctionDef, updated_node: cst.FunctionDef
    ) -> cst.FunctionDef:
        self.aliases.pop()
        return updated_node

    def visit_Call(self, node: cst.Call) -> bool:  # noqa: N802 - libcst's naming
        if m.matches(node.func, m.Name("getattr") | m.Name("hasattr")) and len(node.args) > 1:
            chain, asked = dotted_name(node.args[0].value) or "", node.args[1].value
            by_name = isinstance(asked, cst.SimpleString) and asked.evaluated_value == self.field
            if by_name and (self._pipeline(chain) is not None or _is_called_config(chain)):
                how = cst.ensure_type(node.func, cst.Name).value
                raise Refused(f"{self.path} asks for '{self.field}' with {how}: move that by hand")
        return True

    def leave_Attribute(  # noqa: N802 - libcst's naming
        self, original_node: cst.Attribute, updated_node: cst.Attribute
    ) -> cst.Attribute:
        if original_node.attr.value != self.field:
            return updated_node
        chain = dotted_name(original_node.value)
        home = self._pipeline(chain) if chain is not None else None
        if home is None:
            if _is_called_config(chain or ""):
                raise Refused(f"{self.path} reads '{chain}.{self.field}': whose config that is is not clear")
            return updated_node
        return updated_node.with_changes(value=cst.parse_expression(home))

    def _pipeline(self, chain: str) -> str | None:
        """The pipeline config behind a chain to the DiT's config, or None."""
        head, _, rest = chain.partition(".")
        known = self.aliases[-1].get(head) if self.aliases else None
        if known is not None and head != known.partition(".")[0]:
            chain = f"{known}.{rest}" if rest else known
        for owner in _OWNERS:
            home = chain.removesuffix(f".{owner}")
            if home != chain:
                return home if home.rpartition(".")[2] == _PIPELINE else None
        return None


def _is_called_config(chain: str) -> bool:
    """Whether a chain may be the DiT's config, as its last name says."""
    last = chain.rpartition(".")[2]
    return last in ("cfg", "config", "arch", "arch_config", "dit_config", "model_config")
