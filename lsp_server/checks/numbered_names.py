"""Names of forty equal blocks as one line."""

from __future__ import annotations

from collections.abc import Iterable, Iterator


def numbered_once(names: Iterable[str]) -> Iterator[str]:
    """Names that differ in their first number alone as one: `blocks.{0..39}.ffn.fc_in.weight`."""
    groups: dict[tuple[str, str], list[int]] = {}
    for name in names:
        parts = name.split(".")
        place = next((i for i, part in enumerate(parts) if part.isdecimal() and part.isascii()), None)
        if place is None:
            groups[(name, "")] = []
        else:
            key = (
                "".join(f"{part}." for part in parts[:place]),
                "".join(f".{p}" for p in parts[place + 1 :]),
            )
            groups.setdefault(key, []).append(int(parts[place]))
    for (before, after), numbers in groups.items():
        if len(numbers) < 2:
            yield f"{before}{''.join(map(str, numbers))}{after}"
            continue
        numbers.sort()
        whole = numbers == list(range(numbers[0], numbers[-1] + 1))
        inside = f"{numbers[0]}..{numbers[-1]}" if whole else ",".join(map(str, numbers))
        yield f"{before}{{{inside}}}{after}"
