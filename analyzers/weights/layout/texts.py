"""What verdicts about layouts say to a person."""

from __future__ import annotations

from collections.abc import Sequence

from analyzers.weights.layout.arrangements import LayoutKind


def labels_of(names: Sequence[str]) -> list[str]:
    """What tells some names apart: `to_q`, `to_k` of `blocks.0.attn.to_q.weight` and its neighbour."""
    if len(names) < 2:
        return list(names)
    parts = [name.split(".") for name in names]
    front = 0
    while all(len(part) > front + 1 and part[front] == parts[0][front] for part in parts):
        front += 1
    back = 0
    while all(len(part) > front + back + 1 and part[-1 - back] == parts[0][-1 - back] for part in parts):
        back += 1
    return [".".join(part[front : len(part) - back]) for part in parts]


_MEND = "mend the conversion (or the mapping, should the converted file be right)"

_CONSEQUENCES: dict[LayoutKind, tuple[str, str]] = {
    "reordered": (
        "whoever splits it takes one part for another",
        "concatenate the parts in the order in which the mapping numbers them",
    ),
    "swapped": (
        "the port takes one half for the other (gate for up, shift for scale, or what they are)",
        "exchange the halves with `torch.cat(tensor.chunk(2)[::-1])`, or the two names in the port's `chunk`",
    ),
    "interleaved": (
        "a port that splits it into blocks mixes rows of all parts in each of them",
        "concatenate the parts whole, or view it as (heads, parts, head) in the port before it is split",
    ),
    "separated": (
        "a port that reads the parts in turn, as the official model does, mixes them up",
        "leave the rows as they are, or split it into blocks in the port",
    ),
    "rope": (
        "rotary embeddings of the official convention then turn other pairs of rows",
        "leave the rows of q and k as they are, or use the other convention of rotary embeddings in the port",
    ),
    "transposed": ("inputs and outputs change places", "leave out the transposition"),
    "axes": (
        "every weight meets another input element",
        "flatten the kernel in the order in which the port flattens its patches",
    ),
    "reshaped": (
        "rows are cut at other places: it needed a transposition (`permute`), not a `reshape`",
        "transpose it before it is reshaped",
    ),
    "stacked": (
        "inputs are joined where outputs should be",
        "concatenate on dimension 0",
    ),
    "columns": (
        "the projection multiplies one part of its input with the weights of another",
        "leave the columns as they are, or concatenate the inputs in that order in the port",
    ),
    "reversed": ("every output is another's", "leave the rows in their order"),
    "rolled": ("every output is another's", "leave the rows in their order"),
}


def told(kind: LayoutKind, official: Sequence[str], converted: str, found: str = "", why: str = "") -> str:
    """One sentence on a tensor of this kind. `found`: how it lies, by the kind. `why`: why no layout is
    named."""
    whole = official[0] if len(official) == 1 else ", ".join(labels_of(official)) + " one after the other"
    if kind == "identical":
        return f"{converted} holds {whole} as it is"
    if kind == "concatenated":
        return f"{converted} holds {whole}"
    if kind == "other tensor":
        return (
            f"{converted} holds {found}: names and shapes fit and the numbers are another tensor's; see "
            "which of conversion and mapping names the wrong one"
        )
    if kind == "permuted":
        return (
            f"{converted} has the rows of {whole} in an order that none of the known layouts explains "
            f"({found}); {_MEND}"
        )
    if kind == "values":
        if why:
            return f"{converted} holds other numbers than {whole} ({found} samples are equal), and {why}"
        return (
            f"{converted} holds other numbers than {whole} ({found} samples are equal), in no layout that is "
            "known: see whether both files are of the same release"
        )
    consequence, change = _CONSEQUENCES[kind]
    return f"{converted} has {whole} {found}: {consequence}; {change}, or {_MEND}"
