"""Findings from the proof of the weights: where the names come from, what outranks what, what is kept."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from analyzers.findings import Finding
from analyzers.fixes.verify import apply_fix
from analyzers.project.index import Project
from analyzers.project.profile import FASTVIDEO
from analyzers.project.settings import Settings
from analyzers.project.sources import Sources
from analyzers.rules.catalogue import all_rules
from analyzers.rules.engine import check_files
from analyzers.rules.examples import write_tree
from analyzers.rules.weight_examples import (
    CONFIG,
    HEAD,
    MODEL,
    NATIVE,
    NATIVE_NAMES,
    OFFICIAL,
    OFFICIAL_NAMES,
    PORT,
    RULES,
    TABLE,
    K,
    Q,
    config,
    dump,
    dumped,
    measured,
)
from analyzers.weights import known
from analyzers.weights.deciding import contradicted, written_rules
from analyzers.weights.known import proof_of, rules_of, state_of
from analyzers.weights.state import PortState

WEIGHTS = (
    *("DIT306", "DIT307", "DIT309", "DIT310", "DIT311", "DIT313"),
    *("DIT609", "DIT701", "DIT702", "DIT703", "DIT706"),
)
TYPING_ERROR = RULES.replace(r"blocks.\1.to_v", r"block.\1.to_v")


def project_at(
    root: Path, files: Mapping[str, str | None], states: Mapping[str, PortState] | None = None
) -> Project:
    write_tree(root, files)
    return Project(Sources(root), FASTVIDEO, Settings(), states)


def findings(project: Project) -> list[Finding]:
    return [f for f in check_files(project, project.checked_files) if f.code in WEIGHTS]


def places(project: Project) -> list[tuple[str, str, int]]:
    return [(f.code, f.location.path, f.location.span.line + 1) for f in findings(project)]


def echo(project: Project) -> known.Port:
    return next(port for port in project.ports if port.name == "EchoTransformer3DModel")


# --------------------------------------------------------------------------- names


def test_measured_names_outrank_dumps(tmp_path: Path) -> None:
    project = project_at(tmp_path, dumped(TYPING_ERROR), measured())
    state = state_of(project, echo(project))
    assert state is not None
    assert state.official is not None
    assert state.official.source == "diffusers:EchoModel"
    assert places(project) == [("DIT609", CONFIG, 12)]


def test_a_dump_stands_in_for_the_side_that_was_not_measured(tmp_path: Path) -> None:
    (name, whole), *_ = measured().items()
    project = project_at(tmp_path, dumped(TYPING_ERROR), {name: PortState(native=whole.native)})
    assert places(project) == [("DIT702", CONFIG, 12)]


def test_a_dump_that_the_code_contradicts_counts_no_more(tmp_path: Path) -> None:
    files = dumped(TYPING_ERROR)
    assert places(project_at(tmp_path, files)) == [("DIT702", CONFIG, 12)]
    renamed = PORT.replace("self.to_k =", "self.key =").replace("self.to_k(", "self.key(")
    changed = project_at(tmp_path, files | {MODEL: renamed})
    assert proof_of(changed, echo(changed)) is None
    assert not [place for place in places(changed) if place[0].startswith("DIT70")]


@pytest.mark.parametrize("side", [OFFICIAL, NATIVE])
@pytest.mark.parametrize("text", ['{"a": [1,', "[]\n", ""])
def test_a_dump_that_is_none_says_nothing_and_is_told(tmp_path: Path, side: str, text: str) -> None:
    project = project_at(tmp_path, dumped(TYPING_ERROR) | {side: text})
    assert proof_of(project, echo(project)) is None
    # The texts alone tell the first.
    assert set(places(project)) == {("DIT311", CONFIG, 12), ("DIT706", side, 1)}


def test_what_is_no_dump_of_a_port_is_no_matter_of_ours(tmp_path: Path) -> None:
    files = dumped() | {
        "converted_weights/echo/_mapping/lookup_keys.json": "{",
        "assets/echo_official_keys.json": "{",
    }
    assert places(project_at(tmp_path, files)) == []


def test_a_dump_that_is_edited_counts_at_once(tmp_path: Path) -> None:
    write_tree(tmp_path, dumped(TYPING_ERROR) | {OFFICIAL: "{"})
    sources = Sources(tmp_path)
    assert ("DIT706", OFFICIAL, 1) in places(Project(sources, FASTVIDEO, Settings()))
    sources.open(OFFICIAL, dump(OFFICIAL_NAMES))
    assert places(Project(sources, FASTVIDEO, Settings())) == [("DIT702", CONFIG, 12)]


def test_a_mapping_that_cannot_be_read_proves_nothing(tmp_path: Path) -> None:
    hidden = config().replace("default_factory=lambda: {", "default_factory=lambda: make() or {")
    project = project_at(tmp_path, {MODEL: PORT, CONFIG: hidden}, measured())
    assert proof_of(project, echo(project)) is None
    assert places(project) == []


def test_rules_that_cannot_be_read_are_those_that_were_measured(tmp_path: Path) -> None:
    hidden = config().replace("default_factory=lambda: {", "default_factory=lambda: make() or {")
    (name, state), *_ = measured().items()
    built = PortState(
        native=state.native, official=state.official, mapping=((r"^head\.(.*)$", r"x.\1", None),)
    )
    project = project_at(tmp_path, {MODEL: PORT, CONFIG: hidden}, {name: built})
    proof = proof_of(project, echo(project))
    assert proof is not None
    assert proof.verdict == "broken"
    assert {path for _, path, _ in places(project)} == {MODEL}  # no line of the config is known


def held(rules: str) -> PortState:
    """The names of both sides, measured while the class held these rules."""
    texts = re.findall(r'r"(.*?)": r"(.*?)"', rules)
    (state,) = measured().values()
    return replace(state, mapping=tuple((pattern, target, None) for pattern, target in texts))


def test_rules_that_are_typed_count_before_they_are_measured(tmp_path: Path) -> None:
    """The class still held what stands on disk."""
    key = f"{MODEL}::EchoTransformer3DModel"
    write_tree(tmp_path, {MODEL: PORT, CONFIG: config()})
    sources = Sources(tmp_path)
    project = Project(sources, FASTVIDEO, Settings())
    state = held(RULES)
    state = replace(state, contradicted=contradicted(written_rules(project, echo(project)), state))
    assert not state.contradicted
    sources.open(CONFIG, config(TYPING_ERROR))
    typed = Project(sources, FASTVIDEO, Settings(), {key: state})
    assert places(typed) == [("DIT609", CONFIG, 12)]
    # What is measured in the meantime is what is on disk.
    assert contradicted(written_rules(typed, echo(typed)), state) == frozenset()


def test_a_mapping_that_the_class_makes_itself_is_taken_as_it_was_made(tmp_path: Path) -> None:
    """The sources seem to tell the mapping in full, and do not: what the class held counts."""
    key = f"{MODEL}::EchoTransformer3DModel"
    grown = config(Q + K + TABLE + HEAD) + "\n\nregister_more_rules(EchoArchConfig)\n"
    write_tree(tmp_path, {MODEL: PORT, CONFIG: grown})
    sources = Sources(tmp_path)
    project = Project(sources, FASTVIDEO, Settings())
    assert places(Project(sources, FASTVIDEO, Settings(), measured())) != []  # V seems to lack
    state = held(RULES)
    state = replace(state, contradicted=contradicted(written_rules(project, echo(project)), state))
    assert state.contradicted == {"param_names_mapping"}
    grows = Project(sources, FASTVIDEO, Settings(), {key: state})
    assert places(grows) == []
    assert rules_of(grows, echo(grows))[0] is None
    # Written out as the class held it, every rule has its place.
    sources.open(CONFIG, config())
    plain = Project(sources, FASTVIDEO, Settings(), {key: state})
    table, _ = rules_of(plain, echo(plain))
    assert table is not None


# --------------------------------------------------------------------------- findings


def test_nothing_is_reported_twice_under_two_codes() -> None:
    """Each line of the examples about names has one finding about what becomes of them."""
    for rule in all_rules():
        for example in rule.invalid:
            if rule.code in WEIGHTS and (example.states or OFFICIAL in example.files):
                assert len({(f.path, f.line) for f in example.findings}) == len(example.findings)


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        (RULES.replace(TABLE + HEAD, HEAD + TABLE), ("DIT307", CONFIG, 14)),
        (TYPING_ERROR, ("DIT702", CONFIG, 12)),
        (RULES.replace(r"attn\.k\.", r"attn\.kk\."), ("DIT702", CONFIG, 11)),
        (RULES.replace(r"blocks.\1.to_k", r"blocks.\1.to_q"), ("DIT309", CONFIG, 11)),
        (RULES.replace(r"blocks.\1.to_v", "blocks.0.to_v"), ("DIT309", CONFIG, 12)),
        (RULES.replace(r"^layers\.(\d+)\.attn\.k", r"^layers\.(\d+\.attn\.k"), ("DIT306", CONFIG, 11)),
        (RULES.replace(r"blocks.\1.to_v.\2", r"blocks.\1.to_v.\3"), ("DIT306", CONFIG, 12)),
        (RULES.replace(r"to_q", "to_x").replace("to_k", "to_q").replace("to_x", "to_k"), None),
    ],
)
def test_one_cause_is_one_finding(tmp_path: Path, rules: str, expected: tuple[str, str, int] | None) -> None:
    found = places(project_at(tmp_path, dumped(rules)))
    if expected is None:  # names and shapes still fit: only their words tell
        assert found == [("DIT313", CONFIG, 10), ("DIT313", CONFIG, 11)]
    else:
        assert found == [expected]


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        (r'attn\.k\.(.*)$"', r'attn\.k\.(.*$"'),
        (r"blocks.\1.to_k.\2", r"blocks.\1.to_k.\3"),
        (r'r"blocks.\1.to_k.\2"', r'(r"blocks.\1.to_k.\2", 2, 2)'),
    ],
)
def test_an_invalid_rule_is_one_finding(tmp_path: Path, right: str, wrong: str) -> None:
    assert right in RULES
    files = dumped(RULES.replace(right, wrong))
    project = project_at(tmp_path, files)
    found = [f for f in check_files(project, project.checked_files) if f.code in (*WEIGHTS, "DIT306")]
    assert [(f.code, f.location.span.line + 1) for f in found] == [("DIT306", 11)]
    # Where nobody asks for that one, what follows is told.
    chosen = Settings(select=("DIT3", "DIT7"), ignore=("DIT306",))
    alone = Project(Sources(tmp_path), FASTVIDEO, chosen)
    assert [f.location.span.line + 1 for f in check_files(alone, alone.checked_files)] == [11]


def test_a_merge_that_nobody_calls_invalid_is_told_by_its_names(tmp_path: Path) -> None:
    wrong = RULES.replace(r'r"blocks.\1.to_k.\2"', r'(r"blocks.\1.to_k.\2", 2, 2)')
    write_tree(tmp_path, dumped(wrong))
    project = Project(Sources(tmp_path), FASTVIDEO, Settings(select=("DIT3",), ignore=("DIT306",)))
    found = check_files(project, project.checked_files)
    assert [(f.code, f.location.span.line + 1) for f in found] == [("DIT310", 11)]


def test_a_rule_behind_one_that_was_not_tried_is_not_called_shadowed(tmp_path: Path) -> None:
    slow = r'            r"^((?:\w+\.?)*)attn\.k\.(.*)$": r"\1to_k.\2",' + "\n"
    project = project_at(tmp_path, dumped(slow + RULES))
    found = check_files(project, project.checked_files)
    assert [(f.code, f.location.span.line + 1) for f in found if f.code in (*WEIGHTS, "DIT306")] == [
        ("DIT306", 10)
    ]


@pytest.mark.parametrize(
    ("written", "line"),
    [
        (
            "nn.Sequential(\n  nn.Linear(4, 4),\n  nn.SiLU(),\n  nn.Linear(4, 4),\n)",
            36,
        ),
        (
            "nn.ModuleList([\n  nn.Linear(4, 4),\n  None,\n  nn.Linear(4, 4)])",
            36,
        ),
        (
            "nn.Sequential(\n  nn.Linear(4, 4),\n  *more,\n  nn.Linear(4, 4))",
            33,
        ),
        ("nn.Sequential(\n            *(nn.Linear(4, 4) for _ in range(3)))", 33),
        ("nn.ModuleList(\n            [nn.Linear(4, 4) for _ in range(3)])", 33),
    ],
)
def test_a_fault_stands_at_the_element_that_is_built(tmp_path: Path, written: str, line: int) -> None:
    model = PORT.replace("        self.proj_out =", f"        self.mlp = {written}\n        self.proj_out =")
    files = dumped(native={**NATIVE_NAMES, "mlp.2.weight": (4, 4)}) | {MODEL: model}
    assert places(project_at(tmp_path, files)) == [("DIT701", MODEL, line)]


def test_a_source_that_is_sent_away_from_its_merge_is_one_finding(tmp_path: Path) -> None:
    fused = PORT.replace("self.to_q = ReplicatedLinear(dim, dim)\n        self.to_k", "self.to_qk")
    native = {
        name.replace("to_q", "to_qk"): (128, 64) if "to_q" in name else shape
        for name, shape in NATIVE_NAMES.items()
        if "to_k" not in name
    }
    q = r'            r"^layers\.(\d+)\.attn\.q\.(.*)$": (r"blocks.\1.to_qk.\2", 0, 2),' + "\n"
    k = r'            r"^layers\.(\d+)\.attn\.k\.(.*)$": (r"blockx.\1.to_qk.\2", 1, 2),' + "\n"
    rules = q + k + "\n".join(RULES.split("\n")[2:])
    found = places(project_at(tmp_path, dumped(rules, native=native) | {MODEL: fused}))
    assert found == [("DIT702", CONFIG, 11)]


@pytest.mark.parametrize("lost", [(0,), (1,), (0, 1), (2,), (0, 1, 2)])
def test_sources_of_a_merge_that_no_rule_takes_are_one_finding(tmp_path: Path, lost: tuple[int, ...]) -> None:
    fused = PORT.replace("self.to_q = ReplicatedLinear(dim, dim)\n        self.to_k", "self.to_qkv")
    fused = fused.replace("        self.to_v = ReplicatedLinear(dim, dim)\n", "")
    native = {
        name.replace("to_q", "to_qkv"): (192, 64) if "to_q" in name else shape
        for name, shape in NATIVE_NAMES.items()
        if "to_k" not in name and "to_v" not in name
    }
    merges = [
        rf'            r"^layers\.(\d+)\.attn\.{word}\.(.*)$": (r"blocks.\1.to_qkv.\2", {index}, 3),' + "\n"
        for index, word in enumerate("qkv")
    ]
    idle = r'            r"^layers\.(\d+)\.attn\.qkv\.(.*)$": r"blocks.\1.to_qkv.\2",' + "\n"
    rules = "".join(merge for index, merge in enumerate(merges) if index not in lost)
    project = project_at(tmp_path, dumped(rules + idle + TABLE + HEAD, native=native) | {MODEL: fused})
    found = [f for f in findings(project) if f.code != "DIT311"]  # the rule that serves other checkpoints
    assert [(f.code, f.location.path) for f in found] == [("DIT702", MODEL)]
    if len(lost) == 1:
        assert f"lacks index {lost[0]} of 3" in found[0].message
    else:
        assert "rules lack for most of the names" in found[0].message  # here they are


def test_another_size_is_one_finding(tmp_path: Path) -> None:
    native = {name: tuple(2 * n if n == 64 else n for n in shape) for name, shape in NATIVE_NAMES.items()}
    (found,) = findings(project_at(tmp_path, dumped(native=native)))
    assert (found.code, found.location.path) == ("DIT703", CONFIG)
    assert found.message.startswith(
        f"{len(NATIVE_NAMES)} of {len(NATIVE_NAMES)} parameters have another shape"
    )
    one = native | {name: shape for name, shape in NATIVE_NAMES.items() if "to_k" not in name}
    assert places(project_at(tmp_path / "one", dumped(native=one))) == [("DIT703", CONFIG, 11)]


@pytest.mark.parametrize("side", ["native", "official"])
def test_a_side_without_tensors_is_one_finding(tmp_path: Path, side: str) -> None:
    (key, state), *_ = measured().items()
    whole = getattr(state, side)
    found = findings(
        project_at(
            tmp_path,
            {MODEL: PORT, CONFIG: config()},
            {key: replace(state, **{side: replace(whole, tensors=())})},
        )
    )
    assert [f.code for f in found if f.code != "DIT311"] == ["DIT609"]
    assert "has no tensors" in found[0].message


def test_each_rule_that_is_kept_out_tells_of_its_own_names(tmp_path: Path) -> None:
    wide = r'            r"^layers\.(.*)$": r"layers.\1",' + "\n"
    found = findings(project_at(tmp_path, dumped(wide + RULES)))
    assert [(f.code, f.location.span.line + 1) for f in found] == [("DIT307", line) for line in (11, 12, 13)]
    for finding, word in zip(found, "qkv", strict=True):
        assert f"4 names of '{OFFICIAL}' (layers.0.attn.{word}." in finding.message


def test_a_file_that_does_not_parse_blames_no_other(tmp_path: Path) -> None:
    project = project_at(tmp_path, dumped() | {CONFIG: config().replace("lambda: {", "lambda: {{")})
    assert places(project) == []


def test_two_ports_with_one_mapping_have_one_finding(tmp_path: Path) -> None:
    twin = (
        PORT.split("class EchoTransformer3DModel")[0]
        + """\
from fastvideo.models.dits.echo import EchoTransformer3DModel


class TwinTransformer3DModel(EchoTransformer3DModel):

    def forward(self, hidden_states, encoder_hidden_states, timestep, guidance=None, **kwargs):
        return hidden_states


EntryClass = TwinTransformer3DModel
"""
    )
    path = "fastvideo/models/dits/twin.py"
    (_, state), *_ = measured().items()
    states = {**measured(), f"{path}::TwinTransformer3DModel": state}
    project = project_at(tmp_path, {MODEL: PORT, CONFIG: config(TYPING_ERROR), path: twin}, states)
    found = [f for f in findings(project) if f.code == "DIT609"]
    assert [(f.location.path, f.location.span.line + 1) for f in found] == [(CONFIG, 12)]
    assert [r.location.path for r in found[0].related] == [path]


def test_a_rule_is_not_dead_while_another_port_with_it_is_unproved(tmp_path: Path) -> None:
    rules = RULES + r'            r"^final\.(.*)$": r"proj_out.\1",' + "\n"
    twin = PORT.replace("class EchoTransformer3DModel", "class TwinTransformer3DModel").replace(
        "EntryClass = Echo", "EntryClass = Twin"
    )
    files: dict[str, str | None] = {MODEL: PORT, CONFIG: config(rules)}
    assert places(project_at(tmp_path, files, measured())) == [("DIT311", CONFIG, 15)]
    files["fastvideo/models/dits/twin.py"] = twin
    assert places(project_at(tmp_path, files, measured())) == []


def test_a_mapping_for_other_names_is_one_finding(tmp_path: Path) -> None:
    other = {f"net.{'abcdefghijklmn'[place]}.w": shape for place, shape in enumerate(OFFICIAL_NAMES.values())}
    found = findings(project_at(tmp_path, dumped(official=other)))
    told = [f for f in found if f.code == "DIT702"]
    assert len(told) == 1
    assert "14 of 14 official names" in told[0].message
    assert "unless the mapping is for names of another origin" in told[0].message


def test_suppressions_and_selection_hold(tmp_path: Path) -> None:
    line = next(line for line in TYPING_ERROR.splitlines() if "block." in line)
    excused = TYPING_ERROR.replace(line, f"{line}  # ditproof: ignore[DIT702] the converter renames it")
    project = project_at(tmp_path, dumped(excused))
    found = check_files(project, project.checked_files)
    assert not Counter(f.code for f in found) & Counter({"DIT702": 1, "DIT002": 1, "DIT003": 1})
    chosen = [rule for rule in all_rules() if rule.code == "DIT702"]
    plain = project_at(tmp_path, dumped(TYPING_ERROR))
    assert [f.code for f in check_files(plain, plain.checked_files, chosen)] == ["DIT702"]


def test_an_anchor_is_offered_where_it_mends_the_names(tmp_path: Path) -> None:
    names = {**OFFICIAL_NAMES, "head.weight_scale": (16,)}
    native = {**NATIVE_NAMES, "head_scale": (16,)}
    model = PORT.replace(
        "        self.proj_out =",
        "        self.head_scale = nn.Parameter(torch.zeros(16))\n        self.proj_out =",
    )
    rules = RULES.replace(HEAD, r'            r"^head\.weight": r"proj_out.weight",' + "\n")
    rules += r'            r"^head\.weight_scale$": r"head_scale",' + "\n"
    project = project_at(tmp_path, dumped(rules, official=names, native=native) | {MODEL: model})
    found = [f for f in findings(project) if f.fix is not None]
    assert found, places(project)
    for finding in found:
        assert finding.fix is not None
        result = apply_fix(project, finding, finding.fix)
        after = result.texts[CONFIG]
        assert (
            places(
                project_at(
                    tmp_path,
                    dumped() | {CONFIG: after, MODEL: model, OFFICIAL: dump(names), NATIVE: dump(native)},
                )
            )
            == []
        )


# --------------------------------------------------------------------------- what a key costs


def test_a_key_beside_the_rules_proves_nothing_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    proved: list[str] = []
    real = known.survey

    def counted(*arguments: object, **keywords: object) -> object:
        proved.append(str(keywords["cls"]))
        return real(*arguments, **keywords)  # type: ignore[arg-type]

    monkeypatch.setattr(known, "survey", counted)
    write_tree(tmp_path, dumped())
    sources = Sources(tmp_path)

    def look(text: str) -> list[tuple[str, str, int]]:
        sources.open(CONFIG, text)
        return places(Project(sources, FASTVIDEO, Settings()))

    assert look(config()) == []
    assert proved == ["EchoTransformer3DModel"]
    assert look("# a comment\n" + config()) == []
    assert len(proved) == 1
    assert look(config(TYPING_ERROR)) == [("DIT702", CONFIG, 12)]
    assert len(proved) == 2
    assert look(config()) == []
    assert len(proved) == 2  # undone: known
