"""What we say rules make of names, against what FastVideo's and SGLang's own functions make of them.

The functions run in a child under the project's interpreter, over random names and mappings made of the
parts that real ones are made of, so that collisions, half-filled groups and rejected rules happen often.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analyzers.project.profile import FASTVIDEO
from analyzers.project.profiles.base import Loading
from analyzers.weights.mapping.renaming import Renamed, positions, rename, rename_all
from analyzers.weights.mapping.symbolic import SymbolicRule
from analyzers.weights.proving.merging import Source, assemble, concatenated
from analyzers.weights.proving.proof import prove
from analyzers.weights.proving.proof_of_reverse import prove_reverse
from analyzers.weights.recent import Recent
from analyzers.weights.state import PortState, StateDict, Tensor

SERVER = Path(__file__).resolve().parents[1] / "fixtures/loaders/serve_mappings.py"
ERRORS = {"error": "error", "PatternError": "error", "IndexError": "IndexError"}

Answer = dict[str, Any]


class Ask(Protocol):
    def __call__(
        self,
        semantics: str,
        official: StateDict,
        rules: list[SymbolicRule],
        valid: list[str] | None = None,
    ) -> Answer: ...


@pytest.fixture(scope="module")
def ask(project_python: str, fastvideo: Path, sglang: Path) -> Iterator[Ask]:
    """The two functions, by what the profile calls them."""
    files = (
        fastvideo / "fastvideo/models/loader/utils.py",
        sglang / "sglang/multimodal_gen/runtime/loader/utils.py",
    )
    child = subprocess.Popen(
        [project_python, str(SERVER), *map(str, files)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdin is not None
    assert child.stdout is not None
    reads, writes = child.stdout, child.stdin

    def answer(
        semantics: str, official: StateDict, rules: list[SymbolicRule], valid: list[str] | None = None
    ) -> Answer:
        request = {
            "semantics": semantics,
            "names": [[tensor.name, tensor.shape] for tensor in official.tensors],
            "rules": [[r.pattern, r.target, *(r.merge or (None, None))] for r in rules],
            "valid": valid,
        }
        writes.write(json.dumps(request) + "\n")
        writes.flush()
        found: Answer = json.loads(reads.readline())
        return found

    yield answer
    child.stdin.close()
    assert child.wait(60) == 0


# --------------------------------------------------------------------------- names and mappings

BLOCKS = ("blocks.0", "blocks.1", "blocks.10", "layers.0", "head")
PARTS = ("attn", "attn1", "to_q", "to_k", "to_v", "qkv", "norm1", "norm10", "net.0")
LEAVES = ("weight", "bias", "_extra_state")

names = st.builds(
    lambda block, middle, leaf: ".".join([block, *middle, leaf]),
    st.sampled_from(BLOCKS),
    st.lists(st.sampled_from(PARTS), min_size=0, max_size=2),
    st.sampled_from(LEAVES),
)
shapes = st.sampled_from([(2, 2), (2, 2), (4, 2), (2, 3)])


@st.composite
def state_dicts(draw: st.DrawFn) -> StateDict:
    chosen = draw(st.lists(names, min_size=1, max_size=12, unique=True))
    tensors = tuple(Tensor(name, draw(shapes), "F32") for name in chosen)
    return StateDict("random", "dump", tensors)


PATTERN_PARTS = (
    *(
        r"blocks\.(\d+)\.",
        r"blocks\.\d\.",
        r"(.*)\.",
        r"(blocks|layers)\.(\d+)\.",
        r"^",
        r"^blocks\.(\d+)\.attn\.",
    ),
    *(r"attn\.", r"attn1?\.", r"to_(q|k|v)\.", r"to_q\.", r"to_k\.", r"to_v\.", r"norm1", r"norm(\d+)\."),
    *(r"(.*)$", r"(weight|bias)$", r"weight", r"(.+)", r"$", r"(", r"[", r"*", r"(?:x)?"),
)
TARGET_PARTS = (
    *(
        "blocks.\\1.",
        "blocks.",
        "layers.\\1.",
        "\\1.",
        "\\2.",
        "attn.",
        "attn1.",
        "to_q.",
        "to_k.",
        "qkv.",
        "\\1",
    ),
    *("\\2", "\\3", "\\g<1>", "\\g<name>", "weight", "bias", "norm1.", "", "\\q"),
)
merges = st.none() | st.tuples(st.integers(-1, 3), st.integers(1, 3))


@st.composite
def free_rules(draw: st.DrawFn) -> SymbolicRule:
    pattern = "".join(draw(st.lists(st.sampled_from(PATTERN_PARTS), min_size=1, max_size=4)))
    target = "".join(draw(st.lists(st.sampled_from(TARGET_PARTS), min_size=0, max_size=4)))
    return SymbolicRule(pattern, target, draw(merges))


@st.composite
def likely_rules(draw: st.DrawFn, official: StateDict) -> SymbolicRule:
    """A rule made of a name that is there."""
    name = draw(st.sampled_from(official.names))
    pattern = re.sub(r"\\\.(\d+)\\\.", r"\.(\\d+)\.", re.escape(name))
    if draw(st.booleans()):
        pattern = pattern.rpartition(r"\.")[0] + draw(
            st.sampled_from((r"\.(.*)", r"\.(.*)$", r"\.(weight|bias)$"))
        )
    number = draw(st.sampled_from((r"\1", r"\1", "0", r"\2")))
    middle = draw(st.sampled_from(("qkv", "to_q", "norm1", "attn.qkv")))
    ending = draw(st.sampled_from((r"\2", r"\1", "weight", "bias")))
    anchor = draw(st.sampled_from(("^", "^", "")))
    return SymbolicRule(anchor + pattern, f"blocks.{number}.{middle}.{ending}", draw(merges))


@st.composite
def cases(draw: st.DrawFn) -> tuple[StateDict, list[SymbolicRule]]:
    official = draw(state_dicts())
    rules = draw(
        st.lists(likely_rules(official) | free_rules(), max_size=6, unique_by=lambda rule: rule.pattern)
    )
    return official, rules


# --------------------------------------------------------------------------- the comparisons


def ours_by_name(
    official: StateDict, rules: list[SymbolicRule], semantics: Any, valid: list[str] | None
) -> list[object]:
    made: list[object] = []
    for name in official.names:
        try:
            found = rename(name, rules, semantics, valid if valid is None else frozenset(valid))
            made.append([found.target, *(found.merge or (None, None))])
        except (re.error, IndexError) as error:
            made.append({"error": ERRORS[type(error).__name__]})
    return made


def errors_alike(answer: Answer) -> Answer:
    """Python 3.13 calls `re.error` otherwise."""
    renamed = [r if isinstance(r, list) else {"error": ERRORS[r["error"]]} for r in answer["renamed"]]
    return answer | {"renamed": renamed}


def prepared(official: StateDict, answer: Answer, valid: list[str] | None) -> list[object]:
    """What the function for names says, with what the other one does with names that the model has."""
    made: list[object] = []
    for name, item in zip(official.names, answer["renamed"], strict=True):
        back = valid is not None and isinstance(item, list) and name in valid and item[0] not in valid
        made.append([name, None, None] if back else item)
    return made


@settings(max_examples=120)
@given(cases())
def test_first_match(ask: Ask, case: tuple[StateDict, list[SymbolicRule]]) -> None:
    official, rules = case
    answer = errors_alike(ask("first-match", official, rules))
    assert ours_by_name(official, rules, "first-match", None) == answer["renamed"]
    check_many(official, rules, "first-match", None, answer)


@settings(max_examples=120)
@given(cases(), st.data())
def test_chained(ask: Ask, case: tuple[StateDict, list[SymbolicRule]], data: st.DataObject) -> None:
    official, rules = case
    known = data.draw(
        st.none() | st.lists(names | st.sampled_from(("blocks.0.qkv.weight", "blocks.1.qkv.bias")))
    )
    valid = None if known is None else sorted(set(known))
    answer = errors_alike(ask("chained", official, rules, valid))
    assert ours_by_name(official, rules, "chained", valid) == prepared(official, answer, valid)
    check_many(official, rules, "chained", valid, answer)


def check_many(
    official: StateDict, rules: list[SymbolicRule], semantics: Any, valid: list[str] | None, answer: Answer
) -> None:
    """All names at once: each renamed as alone, or among those at which the loader raises."""
    chosen = None if valid is None else frozenset(valid)
    keep = Recent()
    for _ in range(2):  # the second time from what was kept
        keep.begin()
        renaming = rename_all(official.names, official.digest, rules, semantics, valid=chosen, keep=keep)
        found: dict[int, Renamed] = {
            place: Renamed(share.targets[place], share.path, share.merge)
            for share in renaming.shares
            for place in positions(share.mask)
        }
        raising = {p for mask, _ in renaming.raising.values() for p in positions(mask)}
        unknown = {p for mask in renaming.undecided.values() for p in positions(mask)}
        for place, expected in enumerate(prepared(official, answer, valid)):
            if place in unknown:
                continue
            assert (place in raising) == isinstance(expected, dict)
            if isinstance(expected, list):
                ours = found[place]
                assert [ours.target, *(ours.merge or (None, None))] == expected


@settings(max_examples=150)
@given(cases())
def test_merging_and_the_proof(ask: Ask, case: tuple[StateDict, list[SymbolicRule]]) -> None:
    """The tensors that FastVideo's function ends up with, and those that the proof says fill each name."""
    official, rules = case
    loaded = ask("first-match", official, rules)["loaded"]
    raising = "error" in loaded
    targets = sorted({"blocks.0.qkv.weight"} if raising else set(loaded["tensors"]))
    native = StateDict("port", "dump", tuple(Tensor(t, _shape(loaded, t, raising), "F32") for t in targets))
    state = PortState(native=native, official=official)
    proof = prove(state, rules, semantics="first-match", loading=Loading(), cls="Port")
    if any(use.state == "unknown" and "too long" in use.why for use in proof.rules):
        return
    if raising:
        assert proof.verdict == "broken"
        return
    places = {name: place for place, name in enumerate(official.names)}
    for filling in proof.fillings:
        there = [places[source] for source in filling.sources]
        assert there == loaded["tensors"][filling.tensor.name]["places"]
    # The port has exactly what was loaded, so that only what was lost on the way can break the proof.
    used = {place for tensor in loaded["tensors"].values() for place in tensor["places"]}
    everything = len(used) == len(official.names)
    clean = everything and all(_one_count(official, rules, target) for target in targets)
    assert (proof.verdict == "broken") == (not clean)
    reverse = prove_reverse(state, proof)
    if proof.verdict == "proven":
        notes = loaded["reverse"]
        assert set(reverse.lost) == set(official.names) - set(notes.values())


def _shape(loaded: Answer, target: str, raising: bool) -> tuple[int, ...]:
    return (2, 2) if raising else tuple(loaded["tensors"][target]["shape"])


def _one_count(official: StateDict, rules: list[SymbolicRule], target: str) -> bool:
    """Whether the sources of a target agree on n."""
    made = [rename(name, rules, "first-match") for name in official.names]
    return len({renamed.merge[1] for renamed in made if renamed.target == target and renamed.merge}) <= 1


@settings(max_examples=150)
@given(st.lists(st.tuples(shapes, merges), min_size=1, max_size=6))
def test_sources_of_one_target(
    ask: Ask, sources: list[tuple[tuple[int, int], tuple[int, int] | None]]
) -> None:
    official = StateDict("s", "dump", tuple(Tensor(f"x{i}", shape) for i, (shape, _) in enumerate(sources)))
    rules = [SymbolicRule(f"^x{i}$", "t", merge) for i, (_, merge) in enumerate(sources)]
    assembly = assemble([Source(i, merge) for i, (_, merge) in enumerate(sources)])
    loaded = ask("first-match", official, rules)["loaded"]
    if "error" in loaded:
        assert (
            loaded["error"] == "KeyError"
            if assembly.raises is not None
            else loaded["error"] == "RuntimeError"
        )
        return
    assert assembly.raises is None
    if not assembly.used:
        assert "t" not in loaded["tensors"]
        return
    assert loaded["tensors"]["t"]["places"] == list(assembly.used)
    shape = concatenated([sources[i][0] for i in assembly.used])
    assert shape == tuple(loaded["tensors"]["t"]["shape"])


def test_the_loader_leaves_out_what_the_profile_says(fastvideo: Path) -> None:
    """The lists of the profile are those of the loader's own file."""
    text = (fastvideo / "fastvideo/models/loader/fsdp_load.py").read_text()
    assert f"ALLOWED_NEW_PARAM_PATTERNS = {list(FASTVIDEO.loading.may_be_absent)}".replace("'", '"') in text
    assert all(f'endswith("{ending}")' in text for ending in FASTVIDEO.loading.skipped)
