"""Names gathered over block numbers."""

from __future__ import annotations

import re
from itertools import product

from hypothesis import given
from hypothesis import strategies as st

from lsp_server.name_ranges import compressed


def shown(*rows: tuple[str, ...]) -> list[tuple[tuple[str, ...], int]]:
    return [(found.names, found.count) for found in compressed(rows)]


def test_blocks_become_one_line() -> None:
    rows = [(f"blocks.{n}.attn1.to_q.weight", f"blocks.{n}.to_q.weight") for n in range(40)]
    assert shown(*rows) == [(("blocks.{0..39}.attn1.to_q.weight", "blocks.{0..39}.to_q.weight"), 40)]


def test_a_shift_by_one_block_is_seen() -> None:
    rows = [(f"blocks.{n}.w", f"blocks.{n + 1}.w") for n in range(3)]
    assert shown(*rows) == [(("blocks.{0..2}.w", "blocks.{1..3}.w"), 3)]


def test_gaps_and_pairs_are_told() -> None:
    assert shown(*((f"b.{n}",) for n in (0, 1, 4, 5, 6, 9))) == [(("b.{0,1,4..6,9}",), 6)]


def test_what_is_no_block_number_stays() -> None:
    assert shown(("ffn.net.0.proj.weight", "ffn.fc_in.weight"), ("norm.007", "x")) == [
        (("ffn.net.0.proj.weight", "ffn.fc_in.weight"), 1),
        (("norm.007", "x"), 1),
    ]


def test_numbers_that_are_no_product_are_told_apart() -> None:
    rows = [(f"b.{n}.net.0",) for n in range(4)] + [(f"b.{n}.net.2",) for n in range(3)]
    assert shown(*rows) == [(("b.{0..3}.net.0",), 4), (("b.{0..2}.net.2",), 3)]


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3), st.sampled_from("vw")), unique=True))
def test_every_name_comes_back_once(numbers: list[tuple[int, int, str]]) -> None:
    names = [f"a.{one}.b.{two}.{end}" for one, two, end in numbers]
    found = compressed((name,) for name in names)
    assert sorted(spelled for line in found for spelled in spell(line.names[0])) == sorted(names)
    assert sum(line.count for line in found) == len(names)


def spell(text: str) -> list[str]:
    """The names that a line with ranges stands for."""
    pieces = re.split(r"\{([^}]*)\}", text)
    choices = [[piece] if at % 2 == 0 else listed(piece) for at, piece in enumerate(pieces)]
    return ["".join(parts) for parts in product(*choices)]


def listed(ranges: str) -> list[str]:
    found = []
    for part in ranges.split(","):
        first, _, last = part.partition("..")
        found += [str(n) for n in range(int(first), int(last or first) + 1)]
    return found
