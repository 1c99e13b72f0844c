"""Names of submodules: parents, and which numbers in them count the blocks of a stack."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from analyzers.numeric.records import Module


def parent_of(name: str) -> str:
    """The name of the module that holds this one; the model's own for a direct child."""
    return name.rpartition(".")[0]


def ancestors(name: str) -> Iterator[str]:
    """Every module that holds this one, the nearest first, the model last. Nothing for the model."""
    while name:
        name = parent_of(name)
        yield name


def inside(name: str, whole: str) -> bool:
    """Whether a module is another one or a part of it."""
    return name == whole or not whole or name.startswith(whole + ".")


def relative(name: str, whole: str) -> str:
    """The name of a part as its whole calls it."""
    return name[len(whole) + 1 :] if whole else name


@dataclass(frozen=True)
class Stacks:
    """The numbered blocks of one side: `blocks.0`, `blocks.1`, ... of one class in one container."""

    blocks: Mapping[str, str]
    """Each block's name with the name of its container."""

    @staticmethod
    def of(modules: Sequence[Module]) -> Stacks:
        """Containers whose children are all numbered, of one class, and two or more."""
        children: defaultdict[str, list[Module]] = defaultdict(list)
        for module in modules:
            if module.name:
                children[parent_of(module.name)].append(module)
        return Stacks(
            {child.name: name for name, found in children.items() for child in found if _is_stack(found)}
        )

    def generic(self, name: str) -> str:
        """The name with `*` for the number of a block: what is the same place in every block.

        A number that tells parts of different kinds apart (`net.0`, `net.2`) stays.
        """
        parts = name.split(".")
        for end in range(1, len(parts) + 1):
            if ".".join(name.split(".")[:end]) in self.blocks:
                parts[end - 1] = "*"
        return ".".join(parts)

    def number(self, name: str) -> int | None:
        """Which block of its stack a module lies in, by the outermost stack."""
        parts = name.split(".")
        for end in range(1, len(parts) + 1):
            if ".".join(parts[:end]) in self.blocks:
                return int(parts[end - 1])
        return None


def _is_stack(children: Iterable[Module]) -> bool:
    found = list(children)
    numbered = all(child.name.rpartition(".")[2].isdigit() for child in found)
    return len(found) > 1 and numbered and len({child.cls for child in found}) == 1
