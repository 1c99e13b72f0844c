"""Facts of a chunk that does not parse: its intact parts through tree-sitter, the rest from before.

tree-sitter accepts text that Python rejects, so it is only asked *where* the members of a broken
definition begin and end; each member's facts come from `ast` on that member alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import lru_cache
from typing import TypeVar

import tree_sitter
import tree_sitter_python

from analyzers.facts.chunks import Chunk
from analyzers.facts.extract import extract_tree, parse
from analyzers.facts.model import Assignment, ChunkFacts, ClassFacts, FunctionFacts
from analyzers.findings import Span


def recover(chunk: Chunk, broken: ChunkFacts, last_good: Mapping[str, ChunkFacts]) -> ChunkFacts:
    """`broken` (comments and the syntax problem) with whatever definitions can be had.

    Classes come out `partial`. `last_good` maps the name of a definition to the facts of the chunk
    that last held it in a state that parsed; members that are damaged now are taken from there.
    """
    source = chunk.text.encode("utf-8", "surrogatepass")
    root = _parser().parse(source).root_node
    classes: list[ClassFacts] = []
    functions: list[FunctionFacts] = []
    for node in _definitions(root):
        name = _text_of(node.child_by_field_name("name"))
        if name is None:
            continue
        before = last_good.get(name)
        if node.type == "class_definition":
            old = _named(before.classes, name) if before else None
            classes.append(_recover_class(node, name, source, old))
        else:
            whole = _member(node, source)
            found = _named(whole.functions, name) if whole else None
            old_function = _named(before.functions, name) if before else None
            kept = found or old_function
            if kept is not None:
                functions.append(kept)
    return replace(
        broken,
        classes=tuple(classes),
        functions=tuple(functions),
        has_class=bool(classes),
    )


def _recover_class(node: tree_sitter.Node, name: str, source: bytes, old: ClassFacts | None) -> ClassFacts:
    header = _header(node, source)
    methods: dict[str, FunctionFacts] = {}
    attributes: list[Assignment] = []
    body = node.child_by_field_name("body")
    for member in _members(body) if body is not None else ():
        facts = _member(member, source)
        if facts is None:
            continue
        for method in facts.functions:
            methods[method.name] = method
        attributes.extend(facts.assignments)
    shell = header or old
    name_node = node.child_by_field_name("name")
    assert name_node is not None
    if old is not None:
        known = {n for a in attributes for n in a.names}
        attributes += [a for a in old.attributes if not known & set(a.names)]
        for method in old.methods:
            methods.setdefault(method.name, method)
    return ClassFacts(
        name=name,
        bases=shell.bases if shell else (),
        keywords=shell.keywords if shell else (),
        decorators=shell.decorators if shell else (),
        docstring=old.docstring if old else None,
        attributes=tuple(attributes),
        methods=tuple(methods.values()),
        classes=old.classes if old else (),
        partial=True,
        span=_span(node),
        name_span=_span(name_node),
    )


def _header(node: tree_sitter.Node, source: bytes) -> ClassFacts | None:
    """The class line alone, with an empty body."""
    body = node.child_by_field_name("body")
    end = body.start_byte if body is not None else node.end_byte
    text = source[node.start_byte : end].decode("utf-8", "replace").split("\n")
    line = " ".join(part.split("#")[0].strip() for part in text).strip()
    if not line.endswith(":"):
        line += ":"
    facts = _facts_of(f"{line} pass", 0, 0)
    return facts.classes[0] if facts and facts.classes else None


def _definitions(root: tree_sitter.Node) -> Iterator[tree_sitter.Node]:
    """Classes and functions at column 0, also inside error nodes."""
    pending = [root]
    while pending:
        node = pending.pop(0)
        if node.type in ("class_definition", "function_definition"):
            if node.start_point.column == 0:
                yield node
        elif node.type in ("module", "ERROR", "decorated_definition"):
            pending = [*node.children, *pending]


def _members(body: tree_sitter.Node) -> Iterator[tree_sitter.Node]:
    for child in body.children:
        if child.type == "ERROR":
            yield from _members(child)
        elif child.type in ("function_definition", "decorated_definition", "expression_statement"):
            yield child


def _member(node: tree_sitter.Node, source: bytes) -> ChunkFacts | None:
    """The facts of one member at its place in the chunk, or None where it is damaged itself."""
    if node.has_error:
        return None
    text = source[node.start_byte : node.end_byte].decode("utf-8", "replace")
    return _facts_of(text, node.start_point.row, node.start_point.column)


@lru_cache(maxsize=512)
def _facts_of(text: str, line: int, column: int) -> ChunkFacts | None:
    """Facts of an indented text; the padding above it makes positions those of the chunk."""
    opening = "if 1:\n" if column else ""
    padding = "\n" * max(line - (1 if column else 0), 0)
    if column and line == 0:
        return None
    try:
        tree = parse(f"{padding}{opening}{' ' * column}{text}\n")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    return extract_tree(tree, f"{padding}{opening}{' ' * column}{text}\n")


def _span(node: tree_sitter.Node) -> Span:
    return Span(node.start_point.row, node.start_point.column, node.end_point.row, node.end_point.column)


def _text_of(node: tree_sitter.Node | None) -> str | None:
    return node.text.decode("utf-8", "replace") if node is not None and node.text else None


D = TypeVar("D", ClassFacts, FunctionFacts)


def _named(items: tuple[D, ...], name: str) -> D | None:
    return next((i for i in reversed(items) if i.name == name), None)


@lru_cache(maxsize=1)
def _parser() -> tree_sitter.Parser:
    return tree_sitter.Parser(tree_sitter.Language(tree_sitter_python.language()))
