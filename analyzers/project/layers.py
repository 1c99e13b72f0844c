"""What a submodule is: the class that `self.name` holds, as far as assignments prove it."""

from __future__ import annotations

from analyzers.facts.model import Call, ClassFacts, Constant, Either, Expr, Placed
from analyzers.project.names import External, Names

LINEAR = "torch.nn.Linear"

_SPELLINGS = ("torch.nn.modules.linear.", "torch.nn.modules.activation.", "torch.nn.modules.")


def canonical(dotted: str) -> str:
    """`torch.nn.modules.linear.Linear` and the like under the name that everyone writes."""
    for prefix in _SPELLINGS:
        if dotted.startswith(prefix):
            return "torch.nn." + dotted.rpartition(".")[2]
    return dotted


def built_class(names: Names, path: str, call: Call) -> str | None:
    """The full dotted name of the class that a call builds (`torch.nn.Linear`), or None.

    A class of the tree and one from outside alike; functions give None where they are of the tree,
    since what they return is theirs to say.
    """
    if call.callee is None:
        return None
    found = names.resolve(path, call.callee)
    if isinstance(found, External):
        return canonical(found.dotted)
    if isinstance(found, Placed) and isinstance(found.fact, ClassFacts):
        return names.qualified_class(found)
    return None


def submodule_class(names: Names, cls: Placed[ClassFacts], chain: str) -> str | None:
    """The full name of the class behind `self.<chain>` (`attn.to_q`), or None.

    Every assignment to the attribute, in the class and all its bases, must build the same class;
    `None` beside it is no other class, since calling it would fail anyway. A base that cannot be
    followed, or an assignment that is no plain construction, leaves the answer open.
    """
    name, _, rest = chain.partition(".")
    found = _attribute_class(names, cls, name)
    if found is None or not rest:
        return found
    inner = names.by_qualified(found)
    if isinstance(inner, Placed) and isinstance(inner.fact, ClassFacts):
        return submodule_class(names, inner, rest)
    return None


def _attribute_class(names: Names, cls: Placed[ClassFacts], name: str) -> str | None:
    ancestry = names.ancestry(cls)
    if not ancestry.complete:
        return None
    kinds: set[str | None] = set()
    for owner in ancestry.classes:
        if owner.fact.attribute(name) is not None or owner.fact.method(name) is not None:
            return None
        for method in owner.fact.methods:
            for assignment in method.assignments:
                if assignment.name == name:
                    kinds |= _kinds(names, owner.path, assignment.value)
    return kinds.pop() if len(kinds) == 1 else None


def _kinds(names: Names, path: str, value: Expr | None) -> set[str | None]:
    """The classes that a value may be of; None stands for one that cannot be told."""
    if isinstance(value, Constant) and value.value is None:
        return set()
    if isinstance(value, Either):
        return _kinds(names, path, value.body) | _kinds(names, path, value.orelse)
    return {built_class(names, path, value) if isinstance(value, Call) else None}
