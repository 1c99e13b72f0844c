"""Made-up files for the registries that are simulated, and the folders that they stand in."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from hypothesis import strategies as st

# ruff: noqa: RUF005, E501 - long lists of short texts read best as they are

NAMES = ("Alpha", "Beta", "Gamma", "Delta")


class SilentLogger:
    def __init__(self) -> None:
        self.duplicates: list[str] = []

    def warning(self, message: str, *arguments: object) -> None:
        if message.startswith("Duplicate"):
            self.duplicates.append(str(arguments[0]))


VALUES = st.one_of(
    st.sampled_from(NAMES),
    st.lists(
        st.sampled_from(
            [
                *NAMES,
                *(f'"{n}"' for n in NAMES),
                '"Al" "pha"',
                '"Al" + "pha"',
                "*Beta",
                "Beta()",
                "m.Beta",
                "1",
            ]
            + [
                "b'Beta'",
                "f'Beta'",
                "[Beta]",
                "(Beta)",
                "(Beta,)",
                "None",
                "Beta if x else Alpha",
                "'ü'",
                "''",
            ]
        ),
        max_size=4,
    ).map(lambda items: "[" + ", ".join(items) + "]"),
    st.lists(st.sampled_from(NAMES), min_size=1, max_size=3).map(lambda items: "(" + ", ".join(items) + ",)"),
    st.sampled_from(
        [
            '"Alpha"',
            '("Alpha")',
            "make(Alpha)",
            "module.Alpha",
            "{Alpha, Beta}",
            "[]",
            "()",
            "(Alpha)",
            "Alpha, Beta",
        ]
        + [
            "Alpha or Beta",
            "[n for n in x]",
            "*(Alpha, Beta),",
            "lambda: Alpha",
            "Alpha[0]",
            "(yield)",
            "-1",
            "...",
        ]
        + [
            "[Alpha] + [Beta]",
            "Beta = Gamma",
            "[\n    Alpha,\n    # why\n    Beta,\n]",
            "EntryClass",
            "'x' + 'y'",
        ]
    ),
)
STATEMENTS = VALUES.flatmap(
    lambda value: st.sampled_from(
        [
            f"EntryClass = {value}",
            f"EntryClass = {value}",
            f"EntryClass: list = {value}",
            "EntryClass: list",
            f"EntryClass += {value}",
            f"x = EntryClass = {value}",
            f"EntryClass = x = {value}",
            f"EntryClass = EntryClass = {value}",
            f"EntryClass, x = {value}",
            f"self.EntryClass = {value}",
            f"EntryClass[0] = {value}",
            f"def f():\n    EntryClass = {value}",
            f"def f():\n    def g():\n        EntryClass = {value}",
            f"class Inner:\n    EntryClass = {value}",
            f"if x:\n    EntryClass = {value}\nelse:\n    EntryClass = Delta",
            f"try:\n    EntryClass = {value}\nexcept E:\n    EntryClass = Delta\nfinally:\n    EntryClass = Beta",
            f"for x in y:\n    EntryClass = {value}\nelse:\n    EntryClass = Gamma",
            f"while x:\n    EntryClass = {value}",
            f"with a:\n    EntryClass = {value}",
            f"async def f():\n    async with a:\n        EntryClass = {value}",
            f"match x:\n    case 1:\n        EntryClass = {value}\n    case _:\n        EntryClass = Beta",
            f"if x:\n  if y:\n    if z:\n      EntryClass = {value}",
            "(EntryClass := Alpha)",
            "f = lambda: (EntryClass := Alpha)",
            "x = [(EntryClass := n) for n in y]",
            f"print('''\nEntryClass = {value}\n''')",
            f"# EntryClass = {value}",
            f"if x: EntryClass = {value}",
            f"x = 1; EntryClass = {value}; y = 2",
            "del EntryClass",
            "from m import EntryClass",
            "import EntryClass",
            "for EntryClass in x: pass",
            "def EntryClass(): pass",
        ]
    )
)
OTHERS = st.sampled_from(
    [
        "class Alpha:\n    pass",
        "class Beta(Alpha):\n    x = 1",
        "def f():\n    class Gamma: pass",
        "import os",
        "x = 1",
    ]
    + [
        '"""Text."""',
        "if x:\n    class Delta: pass",
        "@d\nclass Alpha: pass",
        "from .a import Alpha",
        "# class Alpha:",
    ]
    + [
        "x = '''\nclass Alpha: pass\n'''",
        "class EntryClass: pass",
        "x = (",
        "def broken(:",
        "x = '",
        '"""open',
        "}",
    ]
    + [
        "try:\n    pass\nexcept* E:\n    EntryClass = Delta",
        "\f",
        "\\",
        "x = " + "(" * 40 + ")" * 40,
        "\x00",
        "é = 1",
    ]
    + [
        "x = " + "+".join("a" * 300),
        "\tx = 1",
        "  y = 2",
        "return 1",
        "x = f'{a['b']}'",
        "nonlocal x",
        "print 1",
    ]
)


@st.composite
def texts(draw: st.DrawFn) -> bytes:
    parts = draw(st.lists(st.one_of(STATEMENTS, STATEMENTS, OTHERS, OTHERS), max_size=5))
    if draw(st.integers(0, 2)):
        parts.insert(draw(st.integers(0, len(parts))), "class Alpha:\n    pass")
    text = "\n".join(parts) + draw(st.sampled_from(["\n", "", "\n\n", "\n    "]))
    text = text.replace("\n", draw(st.sampled_from(["\n", "\n", "\n", "\r\n", "\r"])))
    mark = draw(st.sampled_from([b"", b"", b"", b"", b"\xef\xbb\xbf", b"\xff\xfe", b"# \xe4\n"]))
    cookie = draw(st.sampled_from([b"", b"", b"", b"# -*- coding: latin-1 -*-\n", b"# coding: utf-16\n"]))
    return mark + cookie + text.encode("utf-8")


def write(root: Path, files: Mapping[str, bytes]) -> None:
    for path, content in files.items():
        target = root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)


def emptied(tree: Path) -> None:
    for item in tree.iterdir():
        shutil.rmtree(item) if item.is_dir() and not item.is_symlink() else item.unlink()
