"""Key dumps: every form that porters write, the one form that is written, and where they are found."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analyzers.project.index import Project
from analyzers.project.profile import FASTVIDEO, SGLANG
from analyzers.project.settings import Settings
from analyzers.project.sources import Sources
from analyzers.rules.examples import write_tree
from analyzers.weights.files.dumps import (
    Dumps,
    MalformedDump,
    dump_in,
    dump_path,
    find_dumps,
    read_dump,
    write_dump,
)
from analyzers.weights.state import StateDict, Tensor

A = Tensor("a.weight", (2, 3), "F32")
B = Tensor("b.weight", (4,), "BF16")
NAMES = (Tensor("a.weight"), Tensor("b.weight"))
SHAPES = (Tensor("a.weight", (2, 3)), Tensor("b.weight", (4,)))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (["a.weight", "b.weight"], NAMES),
        ({"a.weight": None, "b.weight": {}}, NAMES),
        ({"a.weight": [2, 3], "b.weight": [4]}, SHAPES),
        ([["a.weight", [2, 3]], ["b.weight", [4]]], SHAPES),
        ([["a.weight", [2, 3], "torch.float32"], ["b.weight", [4], "torch.bfloat16"]], (A, B)),
        (
            [{"name": "a.weight", "shape": [2, 3], "dtype": "F32"}, {"key": "b.weight", "size": [4]}],
            (A, SHAPES[1]),
        ),
        ([{"a.weight": [2, 3]}, {"b.weight": [4]}], SHAPES),
        ({"a.weight": "torch.Size([2, 3])", "b.weight": "(4,)"}, SHAPES),
        ({"a.weight": "[2, 3]", "b.weight": "torch.bfloat16"}, (SHAPES[0], Tensor("b.weight", None, "BF16"))),
        ({"a.weight": "torch.float32 [2, 3]", "b.weight": "[4], bfloat16"}, (A, B)),
        ({"a.weight": [[2, 3], "torch.float32"], "b.weight": ["bfloat16", [4]]}, (A, B)),
        ({"a.weight": [[2, 3], None], "b.weight": [[4], "BF16"]}, (SHAPES[0], B)),
        (
            {
                "a.weight": {"shape": [2, 3], "dtype": "torch.float32"},
                "b.weight": {"shape": "torch.Size([4])", "dtype": "bf16", "numel": 4},
            },
            (A, B),
        ),
        (
            {
                "__metadata__": {"format": "pt"},
                "a.weight": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]},
                "b.weight": {"dtype": "BF16", "shape": [4], "data_offsets": [24, 32]},
            },
            (A, B),
        ),
        ({"metadata": {}, "weight_map": {"a.weight": "x.safetensors", "b.weight": "y.safetensors"}}, NAMES),
        ({"component": "transformer", "count": 2, "keys": ["a.weight", "b.weight"]}, NAMES),
        ({"keys": {"a.weight": [2, 3], "b.weight": [4]}}, SHAPES),
        ({"state_dict": [{"name": "a.weight", "shape": [2, 3]}, {"name": "b.weight", "shape": [4]}]}, SHAPES),
        ({"keys": ["a.weight", "b.weight"], "shapes": {"b.weight": [4], "a.weight": [2, 3]}}, SHAPES),
        ({"names": ["a.weight", "b.weight"], "shapes": [[2, 3], [4]], "dtypes": ["F32", "BF16"]}, (A, B)),
        ({"keys": [1, 2], "tensors": [3]}, (Tensor("keys", (1, 2)), Tensor("tensors", (3,)))),
        ({"weights": {"shape": [2], "dtype": "F32"}}, (Tensor("weights", (2,), "F32"),)),
        ({"scalar": [], "other": "()"}, (Tensor("scalar", ()), Tensor("other", ()))),
        ({"a": "torch.complex128", "b": "float8_e4m3fn"}, (Tensor("a"), Tensor("b", None, "F8_E4M3"))),
        ([], ()),
        ({}, ()),
        ({"keys": []}, ()),
    ],
)
def test_every_form_is_read(value: object, expected: tuple[Tensor, ...]) -> None:
    state = read_dump(json.dumps(value, indent=1), "x_keys.json")
    assert state.tensors == expected
    assert (state.source, state.origin) == ("x_keys.json", "dump")


def test_a_byte_order_mark_and_any_spacing_do_no_harm() -> None:
    assert read_dump('\ufeff["a.weight",\r\n "b.weight"]\r\n', "x").tensors == NAMES


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("", None, "it is empty"),
        (" \n ", None, "it is empty"),
        ('["a",\n "b"\n "c"]', 2, "it is not JSON (Expecting ',' delimiter)"),
        ('{"a": [1],\n', 1, "it is not JSON ("),
        ("[" * 100_000, None, "it is nested too deeply"),
        ("3", 0, "it holds a JSON number and no names"),
        ('\n"a"', 1, "it holds a JSON text and no names"),
        ('["a",\n 3]', 1, "a JSON number stands where a name should"),
        ('["a",\n null]', 1, "a JSON null stands where a name should"),
        ('[["a", [1]],\n [[2], "b"]]', 1, "a JSON list stands where a name should"),
        ('{"a": [1],\n "b": [-1]}', 1, "[-1] is no shape"),
        ('{"a": [1],\n "b": [1.5]}', 1, "[1.5] is no shape"),
        ('{"a": [1],\n "b": 7}', 1, "7 is no shape"),
        ('{"a": [1],\n "b": true}', 1, "true is no shape"),
        ('{"a": [1],\n "b": [[1], [2]]}', 1, "[[1], [2]] is no shape"),
        ('{"a": [1],\n "b": "2 by 3"}', 1, '"2 by 3" is neither a shape nor a dtype'),
        ('{"a": [1],\n "b": "(2 3)"}', 1, '"(2 3)" is no shape'),
        ('{"a": [1],\n "b": "torch.flaot32"}', 1, '"torch.flaot32" is neither a shape nor a dtype'),
        ('{"a": [1],\n "b": {"dtype": 3}}', 1, "the dtype of 'b' is a JSON number and no text"),
        ('{"a": [1],\n "b": {"file": "x"}}', 1, "what is said of 'b' has neither a shape nor a dtype"),
        ('{"keys": ["a"],\n "shapes": [[1], [2]]}', 1, "'shapes' does not go with the 1 names"),
        ('["a",\n "b",\n "a"]', None, "'a' is there more than once"),
        ('{"a": [1],\n "b": [1],\n "a": [2]}', 2, "'a' is there more than once"),
        ('{"a": ' + "[" * 800 + "]" * 800 + "}", None, "[[[[[[[...]]]]]]] is no shape"),
        ("[" * 800 + "]" * 800, None, "a JSON list stands where a name should"),
        ('{"a": [' + "9" * 40 + "]}", 0, "is no shape"),
    ],
)
def test_what_is_malformed_is_told_with_its_line(text: str, line: int | None, message: str) -> None:
    with pytest.raises(MalformedDump) as caught:
        read_dump(text, "converted_weights/x_keys.json")
    assert message in caught.value.message
    assert caught.value.line == line
    place = f":{line + 1}" if line is not None else ""
    assert str(caught.value) == f"converted_weights/x_keys.json{place}: {caught.value.message}"
    assert caught.value.next_step.startswith("write it as a list of names, or an object from each name")


def test_the_form_that_is_written() -> None:
    tensors = (
        Tensor("b.weight", (2, 3), "BF16"),
        Tensor("a.bias"),
        Tensor("rope.freqs", (), "F32", buffer=True),
        Tensor("head.weight", (2, 3), "BF16", tied="b.weight", reshapes=True),
    )
    assert write_dump(StateDict("anything", "class", tensors)) == (
        "{\n"
        '  "b.weight": {"shape": [2, 3], "dtype": "BF16"},\n'
        '  "a.bias": null,\n'
        '  "rope.freqs": {"shape": [], "dtype": "F32", "buffer": true},\n'
        '  "head.weight": {"shape": [2, 3], "dtype": "BF16", "reshapes": true, "tied": "b.weight"}\n'
        "}\n"
    )
    assert write_dump(StateDict("anything", "class", ())) == "{}\n"


TENSORS = st.builds(
    Tensor,
    name=st.one_of(
        st.text(max_size=5),
        st.sampled_from(
            ["keys", "state_dict", "weights", "__metadata__", "weight_map", "shape", "name", "dtype"]
        ),
    ),
    shape=st.none() | st.lists(st.integers(0, 2**40), max_size=3).map(tuple),
    dtype=st.none() | st.sampled_from(["F32", "BF16", "F8_E4M3", "F4", "I64", "C64"]),
    buffer=st.booleans(),
    tied=st.none() | st.text(max_size=3),
    reshapes=st.booleans(),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(TENSORS, unique_by=lambda tensor: tensor.name, max_size=5).map(tuple))
def test_what_is_written_is_read_as_it_was(tensors: tuple[Tensor, ...]) -> None:
    text = write_dump(StateDict("x", "class", tensors))
    assert read_dump(text, "x").tensors == tensors


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["keys", "shape", "dtype", "name", "a", "weight_map", "shapes"]), inner
        )
    ),
    max_leaves=8,
)


@settings(max_examples=300, deadline=None)
@given(JSON)
def test_whatever_is_in_a_dump_it_is_read_or_refused(value: object) -> None:
    try:
        state = read_dump(json.dumps(value), "x")
    except MalformedDump as error:
        assert error.message  # noqa: PT017 - either is right
        return
    assert len(state.by_name) == len(state.tensors)


def test_3510_names_are_read_within_a_keystroke() -> None:
    names = (f"blocks.{i // 30}.attn{i % 30}.to_q.weight" for i in range(3510))
    text = write_dump(StateDict("x", "class", tuple(Tensor(name, (5120, 5120), "BF16") for name in names)))
    took = []
    for _ in range(3):
        began = time.perf_counter()
        assert len(read_dump(text, "x").tensors) == 3510
        took.append(time.perf_counter() - began)
    assert min(took) < 0.1


# ---------------------------------------------------------------------- in the tree

FOLDER = "tests/local_tests/sound"
STATUS = f"{FOLDER}/PORT_STATUS.md"
MAPPING = "converted_weights/{}/_mapping/{}_{}_keys.json"
SECOND = "fastvideo/models/dits/sound_ar.py"


def project_of(root: Path, files: Mapping[str, str | None]) -> Project:
    write_tree(root, files)
    return Project(Sources(root), FASTVIDEO, Settings())


def found_in(project: Project, name: str = "SoundTransformer3DModel") -> Dumps:
    (port,) = (port for port in project.ports if port.name == name)
    return find_dumps(project, port)


def both(family: str, component: str) -> dict[str, str | None]:
    sides = ("official", "fastvideo")
    return {MAPPING.format(family, component, side): f'["{side}.weight"]' for side in sides}


@pytest.mark.parametrize("component", ["transformer", "dit", "sound"])
def test_dumps_are_found_where_the_workflow_puts_them(tmp_path: Path, component: str) -> None:
    project = project_of(tmp_path, {STATUS: None, **both("sound", component)})
    assert found_in(project) == Dumps(
        MAPPING.format("sound", component, "official"), MAPPING.format("sound", component, "fastvideo")
    )
    state = dump_in(project, MAPPING.format("sound", component, "official"))
    assert state is not None
    assert state.names == ("official.weight",)


def test_without_dumps_there_is_the_place_for_them(tmp_path: Path) -> None:
    project = project_of(tmp_path, {})
    (port,) = project.ports
    assert find_dumps(project, port) == Dumps()
    assert dump_path(project, port, "official") == MAPPING.format("sound", "transformer", "official")
    assert dump_path(project, port, "native") == MAPPING.format("sound", "transformer", "fastvideo")


def test_the_state_file_names_family_and_component(tmp_path: Path) -> None:
    matrix = (
        "# Sound\n\n- model_family: `big_sound`\n\n"
        "| Component | Type | FastVideo Target |\n|---|---|---|\n"
        "| vae | vae | `fastvideo/models/vaes/sound.py` |\n"
        "| Big noise / `SoundTransformer3DModel` | dit | `fastvideo/models/dits/sound.py` |\n"
    )
    files = {STATUS: matrix, **both("big_sound", "noise"), **both("big_sound", "vae")}
    project = project_of(tmp_path, files)
    assert found_in(project).official == MAPPING.format("big_sound", "noise", "official")
    (port,) = project.ports
    assert dump_path(project, port, "native") == MAPPING.format("big_sound", "noise", "fastvideo")


def test_documents_say_where_dumps_are_and_will_be(tmp_path: Path) -> None:
    path = "dumps/transformer_official_keys.json"
    outside = "/tmp/transformer_official_keys.json", "dumps/../../transformer_official_keys.json"
    readme = f"official_key_dumps:\n  transformer: {path}\n  old: {outside[0]}, {outside[1]}\n"
    files = {STATUS: "# Sound\n", f"{FOLDER}/README.md": readme}
    planned = project_of(tmp_path / "planned", files)
    (port,) = planned.ports
    assert find_dumps(planned, port) == Dumps()
    assert dump_path(planned, port, "official") == path
    written = project_of(tmp_path / "written", {**files, path: '["a"]'})
    assert found_in(written).official == path


def second_port(root: Path) -> str:
    """A further port, which shares the first one's tests and state file."""
    write_tree(root, {})
    return (
        (root / "fastvideo/models/dits/sound.py")
        .read_text()
        .replace("SoundTransformer3DModel", "SoundARModel")
    )


def test_a_dump_that_could_be_of_two_ports_is_nobodys(tmp_path: Path) -> None:
    test = f"{FOLDER}/test_sound_transformer_parity.py"
    write_tree(tmp_path, {})
    names_both = (tmp_path / test).read_text() + "\n# SoundARModel\n"
    files = {
        STATUS: "# Sound\n",
        test: names_both,
        SECOND: second_port(tmp_path),
        **both("sound", "transformer"),
    }
    project = project_of(tmp_path, files)
    assert {port.name for port in project.ports} == {"SoundTransformer3DModel", "SoundARModel"}
    assert found_in(project) == found_in(project, "SoundARModel") == Dumps()
    matrix = (
        "| Component | FastVideo Target |\n|---|---|\n"
        "| transformer | `fastvideo/models/dits/sound.py` |\n| ar | `SoundARModel` |\n"
    )
    told = project_of(tmp_path, {**files, STATUS: matrix, **both("sound", "ar")})
    assert found_in(told).official == MAPPING.format("sound", "transformer", "official")
    assert found_in(told, "SoundARModel").native == MAPPING.format("sound", "ar", "fastvideo")


def test_an_edited_dump_is_read_again_and_a_broken_one_says_so(tmp_path: Path) -> None:
    path = MAPPING.format("sound", "transformer", "official")
    project = project_of(tmp_path, both("sound", "transformer"))
    assert dump_in(project, path) is dump_in(project, path)
    project.sources.open(path, '["a",\n 3]')
    for _ in range(2):
        with pytest.raises(MalformedDump, match=r"_official_keys\.json:2: a JSON number stands where a name"):
            dump_in(project, path)
    project.sources.open(path, '["other"]')
    state = dump_in(project, path)
    assert state is not None
    assert state.names == ("other",)
    assert dump_in(project, "nowhere_keys.json") is None


def test_a_code_base_without_such_places_has_none(tmp_path: Path) -> None:
    assert SGLANG.key_dumps == ""
    write_tree(tmp_path, both("sound", "transformer"))
    assert FASTVIDEO.key_dumps
