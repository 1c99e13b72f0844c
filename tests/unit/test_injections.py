"""The mutators of the injection suite, on the real files that they are used on."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from injections.families import FAMILIES, HELD_OUT_KINDS, is_held_out
from injections.kinds import KINDS, injections
from injections.sampling import drawn, found, together
from injections.scoring import BRACKET, LOSS, ModuleKind, Spot, Told, Truth, class_bases, score, score_several
from injections.source import Injection, Lines, SourceFile

BUILDING = [family for family in FAMILIES if not family.held_out]


@pytest.fixture(scope="module")
def pools(fastvideo: Path) -> dict[str, tuple[SourceFile, dict[str, list[Injection]]]]:
    files = {f.name: SourceFile(f.path, (fastvideo / f.path).read_text()) for f in BUILDING}
    return {name: (file, dict(found([file]))) for name, file in files.items()}


def test_every_error_is_python_and_changes_its_lines_alone(
    pools: dict[str, tuple[SourceFile, dict[str, list[Injection]]]],
) -> None:
    for file, pool in pools.values():
        clean = file.text.split("\n")
        for number, injection in enumerate(one for some in pool.values() for one in some):
            text = injection.applied(file.text)
            assert text != file.text
            if number % 10 == 0:  # the mutators look at their own class alone; a whole file takes its time
                ast.parse(text)
            assert _but(clean, injection.before) == _but(text.split("\n"), injection.after), injection.key


def _but(lines: list[str], ranges: tuple[Lines, ...]) -> list[str]:
    return [line for at, line in enumerate(lines) if not any(r.first <= at <= r.last for r in ranges)]


def test_the_edited_lines_are_a_statement(
    pools: dict[str, tuple[SourceFile, dict[str, list[Injection]]]],
) -> None:
    file, pool = pools["flux"]
    for injection in [one for some in pool.values() for one in some][::4]:
        text = injection.applied(file.text)
        starts = {node.lineno - 1 for node in ast.walk(ast.parse(text)) if isinstance(node, ast.stmt)}
        assert {lines.first for lines in injection.after} <= starts, injection.key


def test_kinds_and_places(pools: dict[str, tuple[SourceFile, dict[str, list[Injection]]]]) -> None:
    counts = {kind: [len(pool[kind]) for _, pool in pools.values()] for kind in KINDS}
    everywhere = [kind for kind, some in counts.items() if min(some) > 0]
    assert len(everywhere) >= 20, counts
    assert sum(sum(some) for some in counts.values()) > 1000
    assert not [
        kind for kind, some in counts.items() if sum(some) == 0 and kind not in ("gate-up", "gate-activation")
    ]


def test_the_held_out_are_known() -> None:
    assert set(KINDS) >= HELD_OUT_KINDS
    assert len(set(KINDS) - HELD_OUT_KINDS) >= 20
    assert sum(family.held_out for family in FAMILIES) == 2
    assert is_held_out(BUILDING[0], "gate-order")
    assert not is_held_out(BUILDING[0], "eps")


TEXT = """
class Block(nn.Module):
    def __init__(self, dim):
        self.norm = nn.LayerNorm(
            dim,
            eps=1e-6,
        )
        self.to_q = Linear(dim)
        self.to_k = Linear(dim)

    def forward(self, x, temb):
        shift, scale = self.mod(temb).chunk(2)
        x = x + self.norm(x) * (1 + scale) + shift
        q = self.to_q(x)
        if q is not None:
            q = self.norm(q)
        q = q.view(1, -1)
        return q, x
"""


@pytest.mark.parametrize(
    ("kind", "line", "part"),
    [
        ("eps", 4, "eps=1e-5"),
        ("norm-kind", 4, "nn.RMSNorm("),
        ("swapped-chunks", 12, "scale, shift = self.mod(temb).chunk(2)"),
        ("one-plus-scale", 13, "self.norm(x) * (scale) + shift"),
        ("norm-dropped", 13, "x + x * (1 + scale) + shift"),
        ("dropped-conditioning", 13, "x = x + self.norm(x) * (1 + scale)\n"),
        ("wrong-module", 14, "q = self.to_k(x)"),
        ("missing-bias", 8, "self.to_q = Linear(dim, bias=False)"),
        ("swapped-returns", 18, "return x, q"),
        ("sign", 13, "x = x + self.norm(x) * (1 + scale) - shift"),
    ],
)
def test_a_kind_by_itself(kind: str, line: int, part: str) -> None:
    file = SourceFile("a.py", TEXT)
    texts = {one.applied(TEXT): one for one in injections(file, kind)}
    fitting = [one for text, one in texts.items() if part in text]
    assert len(fitting) == 1, list(texts)
    assert fitting[0].before[0].first == line - 1
    assert (fitting[0].owner, fitting[0].path) == ("Block", "a.py")


def test_moved_statements_are_both_right() -> None:
    (one,) = [i for i in injections(SourceFile("a.py", TEXT), "norm-place") if len(i.after) > 1]
    lines = one.applied(TEXT).split("\n")
    moved = [[line.strip() for line in lines[r.first : r.last + 1]] for r in one.after]
    assert moved == [["q = q.view(1, -1)"], ["if q is not None:", "q = self.norm(q)"]]


def test_what_is_not_executed_is_left_alone() -> None:
    file = SourceFile("a.py", TEXT, executed=frozenset({3}))
    assert list(injections(file, "eps"))
    assert not list(injections(file, "sign"))


def test_samples_are_the_same_each_time_and_take_kinds_in_turn(
    pools: dict[str, tuple[SourceFile, dict[str, list[Injection]]]],
) -> None:
    _, pool = pools["wan"]
    sample = drawn(pool, 30, seed=3)
    assert [one.key for one in sample] == [one.key for one in drawn(pool, 30, seed=3)]
    assert len({one.kind for one in sample}) >= 25
    assert len({one.key for one in sample}) == 30
    three = together(pool, 3, seed=1)
    assert three is not None
    assert len({one.kind for one in three}) == 3


def _one() -> Injection:
    return next(injections(SourceFile("a.py", TEXT), "one-plus-scale"))


MODULES = {
    "": ModuleKind(frozenset({"Model"}), ()),
    "blocks.0": ModuleKind(frozenset({"Block"}), ()),
    "blocks.0.norm": ModuleKind(frozenset({"LayerNorm"}), (("a.py", 3),)),
    "other": ModuleKind(frozenset({"Head"}), ()),
}
DIFFERS = Truth("differ", 1e-2)


def _told(*spots: Spot, status: str = "failed", reaches: bool = True) -> Told:
    return Told(status, tuple((spot,) for spot in spots), reaches)  # type: ignore[arg-type]


def test_scores_of_places() -> None:
    hit = Spot("blocks.0", "a.py", Lines(12, 12))
    cases = {
        "exact": _told(hit),
        "bracket": _told(Spot("blocks.0", "a.py", Lines(11, 14))),
        "wrong-line": _told(Spot("blocks.0", "a.py", Lines(11, 11))),
        "wrong-module": _told(Spot("other", "a.py", Lines(12, 12))),
        "wrong-place": _told(Spot("other", "a.py", Lines(30, 30))),
        "later": _told(Spot("other", "a.py", Lines(30, 30)), hit),
        "missed": Told("passed"),
        "unlocated": Told("failed", reaches=True, unlocated=True),
        "error": Told("error"),
    }
    assert {name: score(_one(), DIFFERS, told, MODULES).outcome for name, told in cases.items()} == {
        name: name for name in cases
    }
    assert score(_one(), DIFFERS, _told(hit, Spot("other", "a.py", Lines(1, 1))), MODULES).false == 1
    wide = _told(Spot("blocks.0", "a.py", Lines(1, BRACKET + 5)))
    assert score(_one(), DIFFERS, wide, MODULES).outcome == "wrong-line"


def test_scores_of_equivalent_changes() -> None:
    same = Truth("same", 0.0)
    inside = _told(Spot("blocks.0", "a.py", Lines(12, 12)), reaches=False)
    assert score(_one(), same, inside, MODULES).outcome == "equivalent-said"
    assert score(_one(), same, Told("passed"), MODULES).outcome == "equivalent-silent"
    assert (
        score(_one(), same, _told(Spot("blocks.0", "a.py", Lines(12, 12))), MODULES).outcome == "false-alarm"
    )


def test_scores_of_what_does_not_load_or_run() -> None:
    refused = Truth("differ", 1.0, refused=("blocks.0.norm.bias",))
    assert (
        score(_one(), refused, Told("failed", names=("blocks.0.norm.bias",)), MODULES).outcome
        == "load-refused"
    )
    assert score(_one(), refused, Told("error"), MODULES).outcome == "error"
    raised = Truth("differ", 1.0, raised=(("a.py", 20),))
    assert score(_one(), raised, Told("error", frames=(("a.py", 12),)), MODULES).outcome == "crash-told"
    assert score(_one(), raised, Told("error", frames=(("a.py", 20),)), MODULES).outcome == "crash-told"
    assert score(_one(), raised, Told("error", frames=(("a.py", 3),)), MODULES).outcome == "crash-untold"
    layer = Truth("bfloat16", 0.0, raised=(("a.py", 20), ("fastvideo/layers/linear.py", 152)))
    at_layer = Told("error", frames=(("fastvideo/layers/linear.py", 152),))
    assert score(_one(), layer, at_layer, MODULES).outcome == "crash-untold"
    assert score(_one(), layer, Told("error", frames=(("a.py", 20),)), MODULES).outcome == "crash-told"
    assert score(_one(), layer, Told("passed"), MODULES).outcome == "crash-untold"


def test_scores_of_casts() -> None:
    cheap, dear = Truth("bfloat16", 0.0, loss=1.0), Truth("bfloat16", 0.0, loss=LOSS + 1)
    assert score(_one(), cheap, Told("passed"), MODULES).outcome == "cast-silent"
    assert score(_one(), dear, Told("passed"), MODULES).outcome == "missed"
    hit = _told(Spot("blocks.0", "a.py", Lines(12, 12)))
    assert score(_one(), cheap, hit, MODULES).outcome == "exact"


def test_several_errors_at_once() -> None:
    one = _one()
    other = next(i for i in injections(SourceFile("a.py", TEXT), "eps"))
    told = _told(
        Spot("blocks.0", "a.py", Lines(12, 12)),
        Spot("blocks.0.norm", "a.py", Lines(3, 6)),
        Spot("other", "a.py", Lines(40, 40)),
    )
    assert score_several([one, other], told, MODULES) == (2, 1)


def test_bases_within_a_file() -> None:
    assert class_bases("class A: pass\nclass B(A): pass\nclass C(B, nn.Module): pass\n")["C"] == {
        "A",
        "B",
        "C",
    }
