"""Which submodules a class builds, and which of them any path can reach.

A submodule counts as reached where anything takes it: a method of the class, of its bases or of the
classes that derive from it (one that `forward` or anybody else calls), code that holds the object,
a string that names it. Where some method gives the instance away, or reaches modules by computed
names, all count as reached.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from analyzers.facts.flow import is_stub
from analyzers.facts.kept_calls import kept_calls
from analyzers.facts.model import (
    Call,
    ClassFacts,
    Either,
    Expr,
    FunctionFacts,
    Placed,
    Reference,
    SelfAssignment,
)
from analyzers.facts.self_uses import SelfUses, self_uses
from analyzers.project.ancestry import BARE_BASES
from analyzers.project.families import subclasses
from analyzers.project.flows import reached_methods
from analyzers.project.index import Project
from analyzers.project.layers import built_class, submodule

_NO_MODULES = frozenset({"Parameter", "Buffer", "ParameterList", "ParameterDict", "UninitializedParameter"})
_CONSTRUCTORS = ("__init__", "__post_init__", "__new__")
_NO_CODE = re.compile(
    r"\"\"\".*?\"\"\"|'''.*?'''|\"[^\"\n]*\"|'[^'\n]*'|#[^\n]*|^\s*(?:from|import)\s[^\n]*",
    re.MULTILINE | re.DOTALL,
)
_HOLDS_A_MODEL = re.compile(r"transformer|model|dit|block|layer|module|net|attn|attention", re.IGNORECASE)
"""Words of an expression that may hold a model or a part of one."""
_PREPARES = re.compile(r"_*(init|reset|initiali[sz]e)\w*")
"""Methods that, by their name, set up parameters."""


@dataclass(frozen=True)
class Built:
    """A submodule that a method sets on the instance: `kind` is the full name of its class."""

    name: str
    kind: str
    method: Placed[FunctionFacts]
    assignment: SelfAssignment


def built_modules(project: Project, cls: Placed[ClassFacts]) -> tuple[Built, ...]:
    """The submodules that a class's own methods build with known classes, each once, in order."""
    found: dict[str, Built] = {}
    for method in cls.fact.methods:
        for assignment in method.assignments:
            if assignment.name not in found:
                placed = Placed(method, cls.path, cls.line)
                value = _meant(project, placed, assignment.value)
                kind = _module_built(project, cls.path, method, value)
                if kind is not None:
                    found[assignment.name] = Built(assignment.name, kind, placed, assignment)
    return tuple(found.values())


def _meant(project: Project, method: Placed[FunctionFacts], value: Expr | None) -> Expr | None:
    """What a local name holds that is read once (`norm = nn.LayerNorm(dim)`): a second place that reads it
    may put the module into another one."""
    if not isinstance(value, Reference) or "." in value.dotted:
        return value
    kept = project.derived("kept calls", method, kept_calls) or ()
    return next((k.value for k in kept if k.name == value.dotted and k.reads == 1), value)


def _module_built(project: Project, path: str, method: FunctionFacts, value: Expr | None) -> str | None:
    if isinstance(value, Either):
        kinds = (_module_built(project, path, method, arm) for arm in (value.body, value.orelse))
        return next((kind for kind in kinds if kind is not None), None)
    if not isinstance(value, Call) or value.callee is None:
        return None
    if method.parameter(value.callee.partition(".")[0]) is not None:
        return None
    kind = built_class(project.names, path, value)
    if kind is None:
        return None
    if kind.startswith("torch.nn."):
        name = kind.removeprefix("torch.nn.")
        return kind if name[:1].isupper() and "." not in name and name not in _NO_MODULES else None
    cls = project.names.by_qualified(kind)
    if isinstance(cls, Placed) and isinstance(cls.fact, ClassFacts) and is_module(project, cls):
        return kind
    return None


def is_module(project: Project, cls: Placed[ClassFacts]) -> bool:
    """Whether a class is known to derive from `nn.Module`."""
    ancestry = project.names.ancestry(cls)
    return any(base.startswith("torch.nn.") for base in ancestry.external)


def unreached(project: Project, cls: Placed[ClassFacts]) -> tuple[Built, ...]:
    """The submodules of a class that nothing reaches; empty where that cannot be told."""
    key = ("unreached", cls.path, cls.fact.name, cls.line)
    return project.sources.memory.about(cls.path, cls.fact, key, partial(_unreached, project, cls))


def _unreached(project: Project, cls: Placed[ClassFacts]) -> tuple[Built, ...]:
    if not _unread(cls.fact):
        return ()
    ancestry = project.names.ancestry(cls)
    if not is_module(project, cls) or not ancestry.complete or not BARE_BASES.issuperset(ancestry.external):
        return ()
    built = built_modules(project, cls)
    if not built or not any(_runs(project, owner) for owner in ancestry.classes):
        return ()
    family = _family(project, cls)
    if family is None:
        return ()
    used = _used(project, cls, family)
    if used is None:
        return ()
    left = [b for b in built if b.name not in used]
    return tuple(b for b in left if not _taken_elsewhere(project, cls, family, b.name))


def _unread(cls: ClassFacts) -> bool:
    """Whether some attribute that may be a module is not read where `forward` plainly gets to."""
    methods = [m for m in cls.methods if m.name in reached_methods(cls)]
    read = {name.partition(".")[0] for method in methods for name in method.reads}
    return any(
        isinstance(a.value, (Call, Either, Reference)) and a.name not in read
        for m in cls.methods
        for a in m.assignments
    )


def _runs(project: Project, cls: Placed[ClassFacts]) -> bool:
    """Whether a class defines a `forward` that does something."""
    method = cls.fact.method("forward")
    if method is None or project.names.qualified_class(cls) == project.profile.base_dit:
        return False
    stub = project.derived("stub", Placed(method, cls.path, cls.line), lambda body: is_stub(body.tree))
    return stub is False


def _family(project: Project, cls: Placed[ClassFacts]) -> tuple[Placed[ClassFacts], ...] | None:
    """The classes whose methods may run on an instance: bases, derived ones and their other bases."""
    found: dict[str, Placed[ClassFacts]] = {}
    for member in (cls, *subclasses(project.names, cls)):
        for owner in project.names.ancestry(member).classes:
            found[project.names.qualified_class(owner)] = owner
    family = tuple(found.values())
    if any(member.fact.partial for member in family):
        return None
    return family


def _used(
    project: Project, cls: Placed[ClassFacts], family: tuple[Placed[ClassFacts], ...]
) -> frozenset[str] | None:
    """The attributes that some living method of the family takes; None where it may be any."""
    methods: list[tuple[Placed[ClassFacts], FunctionFacts, SelfUses]] = []
    for member in family:
        for method in member.fact.methods:
            if method.decorated_with("staticmethod") or method.decorated_with("classmethod"):
                continue
            uses = project.derived("self uses", Placed(method, member.path, member.line), self_uses)
            if uses is None:
                return None
            methods.append((member, method, uses))
    by_name: dict[str, list[SelfUses]] = {}
    for _, method, uses in methods:
        by_name.setdefault(method.name, []).append(uses)
    preparing = _preparing(by_name)
    used: set[str] = set()
    for name in _living(project, cls, by_name, preparing):
        for uses in by_name[name]:
            if uses.escapes:
                return None
            used |= uses.uses | uses.prepares
    for name in preparing:
        for uses in by_name[name]:
            used |= uses.uses
    return frozenset(used)


def _preparing(by_name: dict[str, list[SelfUses]]) -> frozenset[str]:
    """Constructors, and the methods that only they call or that say that they set up parameters."""
    found = {name for name in by_name if name in _CONSTRUCTORS or _PREPARES.fullmatch(name)}
    pending = list(found)
    while pending:
        called = {name for uses in by_name[pending.pop()] for name in uses.uses} & by_name.keys() - found
        for name in called:
            callers = {other for other, all_uses in by_name.items() if any(name in u.uses for u in all_uses)}
            if name != "forward" and callers <= found:
                found.add(name)
                pending.append(name)
    return frozenset(found)


def _living(
    project: Project,
    cls: Placed[ClassFacts],
    by_name: dict[str, list[SelfUses]],
    preparing: frozenset[str],
) -> Iterator[str]:
    """Methods that `forward` reaches, or that anything else may call."""
    reached: set[str] = set()
    pending = [n for n in by_name if n == "forward" or (n.startswith("__") and n not in preparing)]
    rest = [n for n in by_name if n not in preparing]
    while True:
        while pending:
            name = pending.pop()
            if name in reached or name in preparing:
                continue
            reached.add(name)
            pending += [n for uses in by_name[name] for n in uses.uses if n in by_name]
        pending = [n for n in rest if n not in reached and _is_called_elsewhere(project, cls, n)]
        if not pending:
            break
    yield from reached


def _is_called_elsewhere(project: Project, cls: Placed[ClassFacts], name: str) -> bool:
    """Whether any code but the definitions of that name may call a method: its name stands somewhere."""
    if _calls(project, cls.path, name):
        return True
    # Apart from the class's own file, so that typing there asks no other file again.
    key = ("called beyond", cls.path, name)
    return project.sources.memory.get(key, partial(_is_called_beyond, project, cls.path, name))


def _is_called_beyond(project: Project, own: str, name: str) -> bool:
    return any(_calls(project, path, name) for path in _package(project) if path != own)


def _calls(project: Project, path: str, name: str) -> bool:
    """Whether a name stands in a file more often than it is defined there."""
    if name not in project.sources.words(path):
        return False
    return project.sources.memory.get(("called in", path, name), partial(_stands, project, path, name))


def _stands(project: Project, path: str, name: str) -> bool:
    text = project.sources.text(path) or ""
    standing = re.findall(rf"\b{re.escape(name)}\b", text)
    return len(standing) > len(re.findall(rf"\bdef\s+{re.escape(name)}\b", text))


def _taken_elsewhere(
    project: Project, cls: Placed[ClassFacts], family: tuple[Placed[ClassFacts], ...], name: str
) -> bool:
    """Whether code outside the family's methods may take the submodule: `block.name`, or by string."""
    own = tuple(sorted({member.path for member in family}))
    if any(_takes(project, path, family, name, inside=True) for path in own if path in _package(project)):
        return True
    # Apart from the family's files, so that typing there asks no other file again. What other files may
    # hold depends only on the modules of the family.
    key = ("taken beyond", own, name)
    return project.sources.memory.get(key, partial(_is_taken_beyond, project, family, own, name))


def _is_taken_beyond(
    project: Project, family: tuple[Placed[ClassFacts], ...], own: tuple[str, ...], name: str
) -> bool:
    return any(
        _takes(project, path, family, name, inside=False) for path in _package(project) if path not in own
    )


def _takes(
    project: Project, path: str, family: tuple[Placed[ClassFacts], ...], name: str, *, inside: bool
) -> bool:
    """Whether the code of a file takes a submodule of that name from an object other than `self`."""
    if name not in project.sources.words(path):
        return False
    if path.startswith(project.profile.models + "/") and not inside and not _knows(project, path, family):
        return False  # code of another model holds no object of this class
    text = project.sources.text(path) or ""
    quoted = rf"[\"'](?:[\w.]*\.)?{re.escape(name)}[\"']"
    by_string = rf"attr\w*\([^()]*{quoted}"
    if re.search(quoted if inside else by_string, text):
        return True
    if f".{name}" not in text:
        return False
    code = project.sources.memory.get(("code", path), partial(_read_code, project, path))
    for match in re.finditer(rf"\.{re.escape(name)}\b", code):
        holder = _holder(code, match.start())
        if holder in ("", "self") or (not inside and not _HOLDS_A_MODEL.search(holder)):
            continue
        if inside and _is_another(project, path, family, holder):
            continue
        return True
    return False


def _read_code(project: Project, path: str) -> str:
    """A text without comments, imports and the insides of strings, where names mean something else."""
    return _NO_CODE.sub("", project.sources.text(path) or "")


def _holder(code: str, end: int) -> str:
    """The expression before the dot at `end`: `model.blocks[0]`; empty for what stands in a string."""
    depth = 0
    start = end
    while start and (code[start - 1].isalnum() or code[start - 1] in "_.()[]" or depth):
        character = code[start - 1]
        depth += (character in ")]") - (character in "([")
        if depth < 0 or end - start > 200:
            break
        start -= 1
    return code[start:end].strip(".")


def _knows(project: Project, path: str, family: tuple[Placed[ClassFacts], ...]) -> bool:
    """Whether a file imports from a module (or its package) that defines a class of the family."""
    facts = project.file(path)
    modules = {project.names.module_name(member.path) for member in family}
    modules |= {module.rpartition(".")[0] for module in modules}
    modules -= {project.names.module_name(project.profile.dits), ""}
    for item in (i.fact for i in facts.imports) if facts is not None else ():
        target = project.names.absolute(path, "." * item.level + item.module)
        if target in modules or f"{target}.{item.name}" in modules:
            return True
    return False


def _is_another(project: Project, path: str, family: tuple[Placed[ClassFacts], ...], holder: str) -> bool:
    """Whether `self.attn` in `self.attn.name` holds, in every class of the file, no object of the family."""
    head, _, chain = holder.partition(".")
    if head != "self" or not re.fullmatch(r"[\w.]+", chain):
        return False
    members = {project.names.qualified_class(member) for member in family}
    first = chain.partition(".")[0]
    facts = project.file(path)
    for cls in facts.classes if facts is not None else ():
        if not any(a.name == first for m in cls.fact.methods for a in m.assignments):
            continue
        held = submodule(project.names, cls, chain)
        if held is None or not members.isdisjoint(held.classes):
            return False
    return True


def _package(project: Project) -> tuple[str, ...]:
    """The files whose code may hold a model: not the mappings, which only name weights, and no test."""
    return project.sources.memory.get(("package",), partial(_list_package, project))


def _list_package(project: Project) -> tuple[str, ...]:
    aside = tuple(f"{folder}/" for folder in (project.profile.dit_configs, *project.profile.test_roots))
    return tuple(path for path in project.sources.walk(project.profile.folder) if not path.startswith(aside))
