"""Facts of a chunk that does not parse: its intact parts by themselves, the rest from before.

A broken class is taken apart at the indentation of its body, the way a file is taken apart at
column 0, and each member is read by itself. A member that is damaged keeps the facts that it had
when it last parsed, moved to where it stands now; so does a damaged statement of the module.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TypeVar

from analyzers.facts.chunks import Chunk, resplit, split_body
from analyzers.facts.extract import extract_tree
from analyzers.facts.memo import Memo
from analyzers.facts.model import Assignment, ChunkFacts, ClassFacts, FunctionFacts, Import
from analyzers.facts.shift import shifted
from analyzers.facts.syntax import parse
from analyzers.findings import Span

MAXIMUM_HEADER = 40
"""Lines that a class header may span; a bracket that stays open is not followed further."""

MAXIMUM_NESTING = 8
"""Classes within broken classes that are looked into."""

Members = Memo[tuple[str, int], "ChunkFacts | None"]
"""A member's text and the chunk's line at which it begins -> its facts, None where it is damaged."""

_DEFINITION = re.compile(r"[ \t]*(?P<kind>class|def|async[ \t]+def)[ \t]+(?P<name>\w+)")
_SOURCE = re.compile(r"from[ \t]+[\w.]+[ \t]+import\b")
_TARGET = re.compile(r"[ \t]*(?P<name>[^\W\d]\w*)[ \t]*(?::[^=\n]+)?=(?!=)")
_WRAPPER = "_"


@dataclass(frozen=True)
class Heading:
    """What a statement announces, even if the rest of it is damaged.

    `kind`: `class`, `function`, `assignment` or `other`. `key` tells the statement from others of
    its block. `line` counts from the statement's text, `column` (of the name) in bytes.
    """

    kind: str
    name: str
    line: int
    column: int

    @property
    def key(self) -> str:
        """The same before and after an edit inside the statement."""
        return f"{self.kind} {self.name}"


@dataclass(frozen=True)
class LastGood:
    """The facts of a statement when it last parsed, and where its heading stood in its chunk."""

    heading: Heading
    facts: ChunkFacts


def heading(text: str) -> Heading | None:
    """The heading of the first statement of a text, None where there are only comments.

    Decorators are passed over; a statement that is neither a definition nor an assignment is named
    by its first words.
    """
    decorated: str | None = None
    for number, line in enumerate(text.split("\n")):
        content = line.lstrip()
        if not content or content.startswith("#"):
            continue
        indent = line[: len(line) - len(content)]
        if decorated is None and content.startswith("@"):
            decorated = indent
            continue
        match = _DEFINITION.match(line)
        if decorated is not None and (match is None or indent != decorated):
            continue
        if match is not None:
            kind = "class" if match["kind"] == "class" else "function"
            return Heading(kind, match["name"], number, match.start("name"))
        match = _TARGET.match(line)
        if match is not None:
            return Heading("assignment", match["name"], number, match.start("name"))
        match = _SOURCE.match(content)
        return Heading("other", match.group() if match else content, number, len(indent))
    return None


class Recovery:
    """Recovers the broken chunks of one state of one file.

    `last_good`: by key of their headings, the statements that parsed before. `members`: where the
    facts of members are kept from one edit to the next.
    """

    def __init__(self, last_good: Mapping[str, LastGood], members: Members) -> None:
        self._last_good = last_good
        self._members = members

    def recover(self, chunk: Chunk, broken: ChunkFacts) -> ChunkFacts:
        """`broken` (comments and the syntax problem) with whatever can be had; classes are `partial`."""
        head = heading(chunk.text)
        if head is None:
            return broken
        before = self._last_good.get(head.key)
        kept = _kept(before, head)
        if head.kind != "class":
            return replace(kept, comments=broken.comments, problem=broken.problem)
        old = _named(kept.classes, head.name)
        body = self._class(chunk.text, 0, head, head.name, old, MAXIMUM_NESTING)
        inside = tuple(i for i in kept.imports if i.function in body.kept)
        return replace(
            broken,
            imports=(*body.imports, *inside),
            classes=(body.facts(head, old),),
            calls=kept.calls,
            has_class=True,
        )

    def _class(
        self, text: str, line: int, head: Heading, path: str, old: ClassFacts | None, nesting: int
    ) -> _Body:
        """A class whose text begins at `line` of the chunk; `path` is its dotted name."""
        lines = text.split("\n")
        shell, begin = _header(lines, line, head)
        found = _Body(shell or old, _extent(lines, line), line)
        while begin < len(lines) and _is_blank(lines[begin]):
            begin += 1
        if begin == len(lines):
            return found
        indent = lines[begin][: _indentation(lines[begin])]
        if len(indent) <= _indentation(lines[head.line]):
            return found
        at = line + begin
        for index, (member, facts) in enumerate(self._split(lines[begin:], at, indent)):
            if facts is not None:
                found.take(facts, path, first=index == 0)
            else:
                self._damaged(member, at, path, found, old, nesting)
            at += member.count("\n")
        if found.unnamed and old is not None:
            found.take_unseen(old, path)
        return found

    def _split(self, body: list[str], line: int, indent: str) -> Iterator[tuple[str, ChunkFacts | None]]:
        """The members of a body that begins at `line`, with their facts, None where one is damaged."""
        for member in split_body("\n".join(body), indent):
            facts = self._member(member, line)
            pieces = (member,) if facts is not None else resplit(member, indent)
            if len(pieces) == 1:
                yield member, facts
                line += member.count("\n")
                continue
            for piece in pieces:
                yield piece, self._member(piece, line)
                line += piece.count("\n")

    def _member(self, text: str, line: int) -> ChunkFacts | None:
        return self._members.get((text, line), partial(_read, text, line, wrapped=True))

    def _damaged(
        self, text: str, line: int, path: str, found: _Body, old: ClassFacts | None, nesting: int
    ) -> None:
        """A member that does not parse: what it held before, or (a class) what is intact in it."""
        head = heading(text)
        if head is None:
            return
        if head.kind == "class" and nesting > 0:
            before = _named(old.classes, head.name) if old is not None else None
            inner = self._class(text, line, head, f"{path}.{head.name}", before, nesting - 1)
            found.classes.append(inner.facts(head, before))
            found.imports += inner.imports
            found.kept |= inner.kept
        elif head.kind == "function" and old is not None:
            method = _named(old.methods, head.name)
            if method is not None:
                found.methods.append(shifted(method, line + head.line - method.name_span.line))
                found.kept.add(f"{path}.{head.name}")
        elif head.kind == "assignment" and old is not None:
            attribute = next((a for a in reversed(old.attributes) if head.name in a.names), None)
            if attribute is not None:
                found.attributes.append(shifted(attribute, line + head.line - attribute.span.line))
        elif head.kind == "other":
            found.unnamed = True


@dataclass
class _Body:
    """What has been read of a class so far.

    `shell`: where bases and decorators come from. `kept`: dotted names of the members whose facts
    come from before. `unnamed`: some damaged stretch does not say what it is.
    """

    shell: ClassFacts | None
    span: Span
    line: int
    docstring: str | None = None
    attributes: list[Assignment] = field(default_factory=list)
    methods: list[FunctionFacts] = field(default_factory=list)
    classes: list[ClassFacts] = field(default_factory=list)
    imports: tuple[Import, ...] = ()
    kept: set[str] = field(default_factory=set)
    unnamed: bool = False

    def take(self, facts: ChunkFacts, path: str, *, first: bool) -> None:
        """Adds what an intact member defines."""
        wrapper = facts.classes[0]
        self.attributes.extend(wrapper.attributes)
        self.methods.extend(wrapper.methods)
        self.classes.extend(wrapper.classes)
        self.imports += tuple(
            replace(i, function=path + (i.function or "").removeprefix(_WRAPPER)) for i in facts.imports
        )
        if first:
            self.docstring = wrapper.docstring

    def take_unseen(self, old: ClassFacts, path: str) -> None:
        """Adds the members of before that are not to be seen: the damaged stretch may be theirs."""
        names = {n for a in self.attributes for n in a.names}
        names |= {m.name for m in self.methods} | {c.name for c in self.classes}
        self.attributes.extend(a for a in old.attributes if not names & set(a.names))
        methods = [m for m in old.methods if m.name not in names]
        self.methods.extend(methods)
        self.kept.update(f"{path}.{m.name}" for m in methods)
        self.classes.extend(replace(c, partial=True) for c in old.classes if c.name not in names)

    def facts(self, head: Heading, old: ClassFacts | None) -> ClassFacts:
        """The class as far as it is known."""
        line = self.line + head.line
        width = len(head.name.encode("utf-8", "surrogatepass"))
        docstring = self.docstring if self.docstring is not None else old.docstring if old else None
        return ClassFacts(
            name=head.name,
            bases=self.shell.bases if self.shell else (),
            keywords=self.shell.keywords if self.shell else (),
            decorators=self.shell.decorators if self.shell else (),
            docstring=docstring,
            attributes=tuple(self.attributes),
            methods=tuple(self.methods),
            classes=tuple(self.classes),
            partial=True,
            span=self.span,
            name_span=Span(line, head.column, line, head.column + width),
        )


def _kept(before: LastGood | None, head: Heading) -> ChunkFacts:
    """The facts of before, moved to where the heading stands now; none where there is no before."""
    if before is None:
        return ChunkFacts()
    facts = shifted(before.facts, head.line - before.heading.line)
    return replace(facts, classes=tuple(replace(c, partial=True) for c in facts.classes))


def _header(lines: list[str], line: int, head: Heading) -> tuple[ClassFacts | None, int]:
    """The class without its body, and the line of its text after the header.

    A header that does not parse, even with a colon added, gives None and is taken to end with its
    line.
    """
    indent = lines[head.line][: _indentation(lines[head.line])]
    for end in range(head.line + 1, min(len(lines), head.line + MAXIMUM_HEADER) + 1):
        if ":" in lines[end - 1]:
            found = _class_of([*lines[:end], f"{indent} pass"], line, indented=bool(indent))
            if found is not None:
                return found, end
    repaired = [*lines[: head.line], f"{lines[head.line]}:", f"{indent} pass"]
    return _class_of(repaired, line, indented=bool(indent)), head.line + 1


def _class_of(lines: list[str], line: int, *, indented: bool) -> ClassFacts | None:
    facts = _read("\n".join(lines), line, wrapped=indented)
    classes = facts.classes if facts is not None else ()
    if indented and classes:
        classes = classes[0].classes
    return classes[0] if len(classes) == 1 else None


def _read(text: str, line: int, *, wrapped: bool) -> ChunkFacts | None:
    """The facts of statements that begin at `line` of the chunk, None where they do not parse.

    Indented statements are read inside a class made for them, whose line is the one above; blank
    lines before it make all positions those of the chunk.
    """
    above = f"class {_WRAPPER}:\n" if wrapped else ""
    source = "\n" * (line - 1 if wrapped else line) + above + text + "\n"
    try:
        tree = parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    facts = extract_tree(tree, source)
    return facts if facts.problem is None else None


def _extent(lines: list[str], line: int) -> Span:
    """From the first line that holds code to the end of the last."""
    used = [n for n, content in enumerate(lines) if not _is_blank(content)]
    first, last = (used[0], used[-1]) if used else (0, 0)
    return Span(
        line + first,
        _indentation(lines[first]),
        line + last,
        len(lines[last].rstrip().encode("utf-8", "surrogatepass")),
    )


def _indentation(line: str) -> int:
    return len(line) - len(line.lstrip(" \t"))


def _is_blank(line: str) -> bool:
    content = line.strip()
    return not content or content.startswith("#")


D = TypeVar("D", ClassFacts, FunctionFacts)


def _named(items: tuple[D, ...], name: str) -> D | None:
    return next((i for i in reversed(items) if i.name == name), None)
