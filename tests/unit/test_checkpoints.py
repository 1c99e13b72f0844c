"""Checkpoints as users name them: files, folders, indexes, pipelines, and what is none of these."""

from __future__ import annotations

import json
import os
import stat
import struct
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from safetensors_files import entries, header_bytes, write_file, write_tensors

from analyzers.weights.files import checkpoints
from analyzers.weights.files.checkpoints import NotACheckpoint, read_checkpoint
from analyzers.weights.files.headers import Checkpoint
from analyzers.weights.files.ranges import LocalFile
from analyzers.weights.files.rows import TensorBytes
from analyzers.weights.state import Tensor

Tensors = Mapping[str, tuple[str, Sequence[int]]]

ONE: Tensors = {"a.weight": ("F32", (2, 3)), "b.weight": ("F32", (4,))}
TWO: Tensors = {"c.weight": ("BF16", (8,))}
FIRST, SECOND = "m-00001-of-00002.safetensors", "m-00002-of-00002.safetensors"


def write_index(folder: Path, weight_map: object, name: str = "m.safetensors.index.json") -> Path:
    path = folder / name
    path.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": weight_map}))
    return path


def sharded(folder: Path) -> Path:
    """Two shards and an index."""
    write_tensors(folder / FIRST, ONE)
    write_tensors(folder / SECOND, TWO)
    write_index(folder, {"a.weight": FIRST, "b.weight": FIRST, "c.weight": SECOND})
    return folder


def messages(checkpoint: Checkpoint) -> list[str]:
    assert all(problem.next_step for problem in checkpoint.problems)
    return [problem.message for problem in checkpoint.problems]


def refusal(path: Path) -> str:
    with pytest.raises(NotACheckpoint) as caught:
        read_checkpoint(path)
    assert caught.value.next_step
    assert str(caught.value) == f"{caught.value.message}: {caught.value.next_step}"
    return str(caught.value)


# ---------------------------------------------------------------------- sound ones


def test_one_file_with_its_configuration(tmp_path: Path) -> None:
    path = write_tensors(tmp_path / "model.safetensors", ONE)
    (tmp_path / "config.json").write_text('{"_class_name": "X", "num_layers": 2}')
    found = read_checkpoint(path)
    assert found.problems == ()
    assert found.config == {"_class_name": "X", "num_layers": 2}
    assert found.files == (tmp_path / "config.json", path)
    state = found.state_dict()
    assert (state.origin, state.source) == ("checkpoint", str(path))
    assert state.tensors == (Tensor("a.weight", (2, 3), "F32"), Tensor("b.weight", (4,), "F32"))


def test_a_sharded_folder_is_read_with_its_index_and_without(tmp_path: Path) -> None:
    folder = sharded(tmp_path / "transformer")
    with_index = read_checkpoint(folder)
    (folder / "m.safetensors.index.json").unlink()
    without = read_checkpoint(folder)
    for found in (with_index, without):
        assert (found.problems, found.notes, found.names_only) == ((), (), ())
        assert [t.name for t in found.tensors] == ["a.weight", "b.weight", "c.weight"]
        assert [t.file.name for t in found.tensors] == [FIRST, FIRST, SECOND]


def test_an_index_that_is_named_is_read_with_its_shards_alone(tmp_path: Path) -> None:
    folder = sharded(tmp_path)
    write_tensors(folder / "other.safetensors", {"x": ("F32", (1,))})
    found = read_checkpoint(folder / "m.safetensors.index.json")
    assert [t.name for t in found.tensors] == ["a.weight", "b.weight", "c.weight"]
    assert found.problems == ()


def test_an_index_alone_gives_names_without_shapes(tmp_path: Path) -> None:
    path = write_index(tmp_path, {"a.weight": FIRST, "b.weight": SECOND})
    found = read_checkpoint(path)
    assert found.problems == ()
    assert found.names_only == ("a.weight", "b.weight")
    assert found.state_dict().tensors == (Tensor("a.weight"), Tensor("b.weight"))
    assert found.notes == (
        "'m.safetensors.index.json' is here without the files that it names: names are known, shapes are not",
    )


def test_bare_headers_are_names_without_data(tmp_path: Path) -> None:
    write_file(tmp_path / "head.safetensors", entries(ONE))
    (tmp_path / "header.json").write_text(json.dumps({"__metadata__": {"format": "pt"}, **entries(TWO)}))
    for name, tensors in (("head.safetensors", ONE), ("header.json", TWO)):
        found = read_checkpoint(tmp_path / name)
        assert found.problems == ()
        assert found.headers_only == (tmp_path / name,)
        assert {t.name: (t.dtype, t.shape) for t in found.tensors} == dict(tensors)
    assert found.metadata == {tmp_path / "header.json": {"format": "pt"}}


def test_several_indexes_are_each_held_against_their_files(tmp_path: Path) -> None:
    write_tensors(tmp_path / "m.safetensors", ONE)
    write_tensors(tmp_path / "n.safetensors", TWO)
    write_index(tmp_path, {"a.weight": "m.safetensors", "b.weight": "m.safetensors"})
    write_index(tmp_path, {"c.weight": "n.safetensors"}, "n.safetensors.index.json")
    assert read_checkpoint(tmp_path).problems == ()


def test_a_file_in_no_index_is_read_and_noted(tmp_path: Path) -> None:
    folder = sharded(tmp_path)
    write_tensors(folder / "vae.safetensors", {"x": ("F32", (1,))})
    found = read_checkpoint(folder)
    assert found.problems == ()
    assert [t.name for t in found.tensors] == ["a.weight", "b.weight", "c.weight", "x"]
    assert found.notes[0].startswith(
        "'vae.safetensors' is in no index: FastVideo reads every .safetensors file"
    )


def test_a_loader_that_goes_by_the_index_reads_no_other_file(tmp_path: Path) -> None:
    """SGLang's; a copy of another precision beside the shards is no second copy for it."""
    folder = sharded(tmp_path)
    write_tensors(folder / "m.fp16.safetensors", ONE)
    found = read_checkpoint(folder, loader="SGLang", by_index=True)
    assert found.problems == ()
    assert [t.name for t in found.tensors] == ["a.weight", "b.weight", "c.weight"]
    assert not any(file.name == "m.fp16.safetensors" for file in found.files)
    assert found.notes == (
        "'m.fp16.safetensors' is in no index: SGLang reads the files that the index names, as diffusers does",
    )
    assert read_checkpoint(folder).problems[0].effect == "unknown"
    (folder / "m.safetensors.index.json").write_text("{")
    broken = read_checkpoint(folder, loader="SGLang", by_index=True)
    assert [problem.effect for problem in broken.problems if "JSON" in problem.message] == ["broken"]


def test_a_pipeline_means_its_transformer(tmp_path: Path) -> None:
    (tmp_path / "model_index.json").write_text("{}")
    write_tensors(tmp_path / "flux1-dev.safetensors", TWO)
    write_tensors(tmp_path / "transformer" / "m.safetensors", ONE)
    found = read_checkpoint(tmp_path)
    assert found.path == tmp_path / "transformer"
    assert [t.name for t in found.tensors] == list(ONE)
    assert found.notes == (f"'{tmp_path.name}' is a whole pipeline: its 'transformer' was read",)
    write_tensors(tmp_path / "transformer_2" / "m.safetensors", ONE)
    assert (
        "and 'transformer_2' was not: name that folder to have it read" in read_checkpoint(tmp_path).notes[0]
    )


def test_the_links_of_the_hugging_face_cache_are_followed(tmp_path: Path) -> None:
    model = tmp_path / "models--org--name"
    write_tensors(model / "blobs" / "0123", ONE)
    snapshot = model / "snapshots" / "abc" / "transformer"
    snapshot.mkdir(parents=True)
    (snapshot.parent / "model_index.json").write_text("{}")
    (snapshot / "m.safetensors").symlink_to("../../../blobs/0123")
    found = read_checkpoint(model)
    assert found.problems == ()
    assert [t.name for t in found.tensors] == list(ONE)
    assert found.tensors[0].file == snapshot / "m.safetensors"
    assert found.notes[0] == "'models--org--name' is a model of the Hugging Face cache: revision abc was read"
    (model / "snapshots" / "def").mkdir()
    assert "with 2 revisions: name one of its folders 'snapshots/...': 'abc', 'def'" in refusal(model)


def test_hidden_files_are_left_out_as_the_loader_leaves_them(tmp_path: Path) -> None:
    write_tensors(tmp_path / "m.safetensors", ONE)
    write_tensors(tmp_path / "._m.safetensors", TWO)
    assert [t.name for t in read_checkpoint(tmp_path).tensors] == list(ONE)


# ---------------------------------------------------------------------- shards and indexes that do not agree


def test_names_in_two_files_are_one_problem_and_come_once(tmp_path: Path) -> None:
    write_tensors(tmp_path / "m.safetensors", ONE)
    write_tensors(tmp_path / "m.fp16.safetensors", {"a.weight": ("F16", (2, 3)), "b.weight": ("F16", (4,))})
    found = read_checkpoint(tmp_path)
    assert messages(found) == [
        "2 tensors are in 'm.fp16.safetensors' and again in 'm.safetensors' ('a.weight', 'b.weight'): "
        "FastVideo "
        "reads every .safetensors file of a folder in the order of the disk, and the copy that it reads last "
        "counts"
    ]
    assert found.problems[0].tensors == ("a.weight", "b.weight")
    assert [(t.name, t.dtype) for t in found.tensors] == [("a.weight", "F32"), ("b.weight", "F32")]


def test_of_two_places_that_of_the_index_is_taken(tmp_path: Path) -> None:
    write_tensors(tmp_path / FIRST, ONE)
    write_tensors(tmp_path / SECOND, {"b.weight": ("BF16", (9,)), **TWO})
    write_index(tmp_path, {"a.weight": FIRST, "b.weight": FIRST, "c.weight": SECOND})
    found = read_checkpoint(tmp_path)
    assert [(t.name, t.dtype) for t in found.tensors] == [
        ("a.weight", "F32"),
        ("b.weight", "F32"),
        ("c.weight", "BF16"),
    ]
    assert len(found.problems) == 1
    assert "1 tensor is in" in found.problems[0].message


def test_a_missing_shard_is_named_with_its_tensors(tmp_path: Path) -> None:
    folder = sharded(tmp_path)
    (folder / SECOND).unlink()
    for path in (folder, folder / "m.safetensors.index.json"):
        found = read_checkpoint(path)
        assert messages(found) == [
            "1 of 2 files that the index 'm.safetensors.index.json' names is missing "
            "('m-00002-of-00002.safetensors'), and with it 'c.weight': their shapes are unknown, and "
            "loading leaves their parameters without values"
        ]
        assert found.names_only == ("c.weight",)
        assert found.state_dict().by_name["c.weight"] == Tensor("c.weight")


def test_a_folder_with_nothing_but_an_index_misses_every_shard(tmp_path: Path) -> None:
    write_index(tmp_path, {"a.weight": FIRST, "c.weight": SECOND})
    found = read_checkpoint(tmp_path)
    assert messages(found)[0].startswith("2 of 2 files that the index")
    assert found.names_only == ("a.weight", "c.weight")


def test_an_index_that_names_another_shard_lies(tmp_path: Path) -> None:
    folder = sharded(tmp_path)
    write_index(folder, {"a.weight": FIRST, "b.weight": SECOND, "c.weight": SECOND})
    assert messages(read_checkpoint(folder)) == [
        f"the index 'm.safetensors.index.json' lies: it says that 'b.weight' is in '{SECOND}', and it is in "
        f"'{FIRST}'"
    ]


def test_an_index_that_names_what_no_shard_has_lies(tmp_path: Path) -> None:
    folder = sharded(tmp_path)
    write_index(folder, {"a.weight": FIRST, "b.weight": FIRST, "c.weight": SECOND, "d.weight": SECOND})
    found = read_checkpoint(folder)
    assert messages(found) == [
        "the index 'm.safetensors.index.json' names 'd.weight', and no file has it: what goes by the index "
        "waits "
        "for tensors that do not exist"
    ]
    assert "d.weight" not in found.state_dict().by_name


def test_an_index_that_lacks_a_tensor_is_told(tmp_path: Path) -> None:
    folder = sharded(tmp_path)
    write_index(folder, {"a.weight": FIRST, "c.weight": SECOND})
    assert messages(read_checkpoint(folder)) == [
        "the index 'm.safetensors.index.json' lacks 'b.weight' of the files that it names: FastVideo loads "
        "them "
        "all the same, and what goes by the index does not know of them"
    ]


def test_a_shard_that_cannot_be_read_makes_no_liar_of_the_index(tmp_path: Path) -> None:
    folder = sharded(tmp_path)
    (folder / SECOND).write_bytes(b"version https://git-lfs.github.com/spec/v1\nsize 12\n")
    found = read_checkpoint(folder)
    (message,) = messages(found)
    assert "is a Git LFS pointer, not the file of 12 bytes" in message
    assert found.names_only == ("c.weight",)


def test_a_link_that_leads_nowhere_is_told_with_its_target(tmp_path: Path) -> None:
    folder = sharded(tmp_path)
    (folder / SECOND).unlink()
    (folder / SECOND).symlink_to("../blobs/0123")
    assert messages(read_checkpoint(folder)) == [
        f"'{SECOND}' is a link to '../blobs/0123', which is not there"
    ]
    assert f"'{SECOND}' is a link to '../blobs/0123', which is not there" in refusal(folder / SECOND)


@pytest.mark.parametrize("file", ["../x.safetensors", "/etc/passwd", "..", "", 3, None, "a\\b"])
def test_an_index_never_leads_out_of_its_folder(tmp_path: Path, file: object) -> None:
    folder = sharded(tmp_path)
    path = write_index(folder, {"a.weight": FIRST, "b.weight": file, "c.weight": SECOND})
    for named in (folder, path):
        found = read_checkpoint(named)
        assert "gives 'b.weight' a place that is no file name of its folder" in messages(found)[0]
        assert set(found.files) == {folder / FIRST, folder / SECOND, path}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{", "'m.safetensors.index.json' is not JSON (Expecting"),
        ("", "'m.safetensors.index.json' is not JSON (Expecting"),
        ("[1]", "the index 'm.safetensors.index.json' has no object 'weight_map'"),
        ('{"weight_map": []}', "the index 'm.safetensors.index.json' has no object 'weight_map'"),
        ("null", "'m.safetensors.index.json' holds nothing but `null`"),
        ("[" * 100_000, "'m.safetensors.index.json' is not JSON (nested too deeply)"),
        ("version https://git-lfs.github.com/spec/v1\nsize 1\n", "is a Git LFS pointer"),
    ],
)
def test_a_broken_index_leaves_what_the_files_say(tmp_path: Path, text: str, expected: str) -> None:
    folder = sharded(tmp_path)
    (folder / "m.safetensors.index.json").write_text(text)
    found = read_checkpoint(folder)
    (message,) = messages(found)
    assert expected in message
    assert len(found.tensors) == 3


def test_a_broken_index_that_is_named_is_a_problem_or_no_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors.index.json"
    path.write_text("{")
    found = read_checkpoint(path)
    assert "is not JSON" in messages(found)[0]
    assert found.tensors == ()
    path.write_text('{"metadata": {}}')
    assert "is neither an index (no 'weight_map') nor the header of a safetensors file" in refusal(path)


@pytest.mark.parametrize(
    ("text", "expected"), [("{,}", "'config.json' is not JSON"), ("[]", "holds no JSON object")]
)
def test_a_broken_configuration_is_told_and_names_stay(tmp_path: Path, text: str, expected: str) -> None:
    write_tensors(tmp_path / "m.safetensors", ONE)
    (tmp_path / "config.json").write_text(text)
    found = read_checkpoint(tmp_path)
    assert expected in messages(found)[0]
    assert found.config is None
    assert len(found.tensors) == 2


def test_a_problem_says_what_it_does_to_loading(tmp_path: Path) -> None:
    """FastVideo never looks at an index, so one that lies changes nothing; a shard that is gone does."""

    def effects(path: Path) -> list[str]:
        return [problem.effect for problem in read_checkpoint(path).problems]

    folder = sharded(tmp_path / "a")
    for weight_map in ({"a.weight": SECOND}, {"a.weight": FIRST, "gone": FIRST}, {"a.weight": "../x"}, None):
        write_index(folder, weight_map)
        assert set(effects(folder)) == {"none"}
    (folder / "m.safetensors.index.json").write_text("{")
    assert effects(folder) == ["none"]
    assert effects(folder / "m.safetensors.index.json") == ["broken"]
    write_index(folder, {"a.weight": FIRST, "b.weight": FIRST, "c.weight": "m-00003.safetensors"})
    assert effects(folder) == ["broken"]
    (folder / "m.safetensors.index.json").unlink()
    write_tensors(folder / "copy.safetensors", TWO)
    assert effects(folder) == ["unknown"]
    (folder / "copy.safetensors").write_bytes(b"")
    (folder / "config.json").write_text("{")
    assert effects(folder) == ["broken", "broken"]


# ---------------------------------------------------------------------- files that are broken or none


def test_a_truncated_shard_keeps_its_names(tmp_path: Path) -> None:
    folder = sharded(tmp_path)
    os.truncate(folder / FIRST, (folder / FIRST).stat().st_size - 10)
    found = read_checkpoint(folder)
    (message,) = messages(found)
    assert "is cut off" in message
    assert found.problems[0].tensors == ("b.weight",)
    assert len(found.tensors) == 3


def test_an_entry_without_shape_leaves_a_name(tmp_path: Path) -> None:
    header: dict[str, object] = {**entries(TWO), "bad": {"dtype": "F32"}}
    found = read_checkpoint(write_file(tmp_path / "m.safetensors", header, 16))
    assert found.names_only == ("bad",)
    assert [t.name for t in found.state_dict().tensors] == ["c.weight", "bad"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "model.bin",
            "'model.bin' is a torch pickle: reading it would run code that is in it, so it is never",
        ),
        ("model.pt", "torch.load('model.pt', map_location='cpu', weights_only=True)"),
        ("model.pth", "is a torch pickle"),
        ("model.CKPT", "is a torch pickle"),
        ("model-Q4.gguf", "is a GGUF file: its tensors are quantised and renamed for llama.cpp"),
        ("m.safetensors.incomplete", "is a download that has not ended"),
        ("m.safetensors.lock", "is a lock of a download"),
    ],
)
def test_what_is_no_safetensors_file_is_explained_unread(tmp_path: Path, name: str, expected: str) -> None:
    path = tmp_path / name
    path.write_bytes(b"\x80\x04cos\nsystem\n(S'exit 1'\ntR.")
    assert expected in refusal(path)
    if not name.endswith(".lock"):
        text = refusal(tmp_path)
        assert text.startswith(f"'{tmp_path.name}' holds no .safetensors file, and '{name}'")


def test_the_way_out_of_a_pickle_works_as_it_is_written(tmp_path: Path) -> None:
    (tmp_path / "it's; rm.pt").write_bytes(b"")
    assert "torch.load('FILE.pt'" in refusal(tmp_path / "it's; rm.pt")
    command = refusal(tmp_path / "it's; rm.pt").split("`")[1]
    source = command.removeprefix('python -c "').removesuffix('"')
    compile(source, "command", "exec")


def test_a_folder_without_a_checkpoint_says_where_one_is(tmp_path: Path) -> None:
    assert refusal(tmp_path).startswith(f"'{tmp_path.name}' is empty: name a checkpoint's file or folder")
    (tmp_path / "README.md").write_text("x")
    write_tensors(tmp_path / "dit" / "m.safetensors", ONE)
    assert "holds no .safetensors file and no index: name the folder that does: 'dit'" in refusal(tmp_path)


def test_a_pipeline_without_a_transformer_says_what_could_be_meant(tmp_path: Path) -> None:
    (tmp_path / "model_index.json").write_text("{}")
    assert "is a pipeline without a folder 'transformer': download it again" in refusal(tmp_path)
    write_tensors(tmp_path / "flux1-dev.safetensors", TWO)
    assert "is a pipeline without a folder 'transformer': name one of 'flux1-dev.safetensors'" in refusal(
        tmp_path
    )


def test_what_is_not_there_is_the_systems_own_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_checkpoint(tmp_path / "none")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_and_a_folder_called_like_a_shard_are_problems(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.safetensors")
    (tmp_path / "b.safetensors").mkdir()
    write_tensors(tmp_path / "c.safetensors", ONE)
    found = read_checkpoint(tmp_path)
    assert [m.partition(" cannot")[0] for m in messages(found)] == ["'a.safetensors'", "'b.safetensors'"]
    assert len(found.tensors) == 2
    assert "is no regular file" in refusal(tmp_path / "a.safetensors")


def test_what_may_not_be_read_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests may run as root, who may read everything: the system's refusal is made up."""
    folder = sharded(tmp_path)

    class Refused(LocalFile):
        def __init__(self, path: Path) -> None:
            if path.name == SECOND:
                raise PermissionError(13, "Permission denied", str(path))
            super().__init__(path)

    monkeypatch.setattr(checkpoints, "LocalFile", Refused)
    found = read_checkpoint(folder)
    assert messages(found) == [f"'{SECOND}' cannot be read (Permission denied)"]
    assert found.names_only == ("c.weight",)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_may_not_be_listed_says_so(tmp_path: Path) -> None:
    folder = sharded(tmp_path / "shut")
    folder.chmod(0)
    try:
        assert "cannot be listed (Permission denied)" in refusal(folder)
    finally:
        folder.chmod(stat.S_IRWXU)


# ---------------------------------------------------------------------- what it costs


def test_20_gigabytes_cost_their_header_and_a_few_rows(tmp_path: Path) -> None:
    """Sparse: the file's data take no room on the disk."""
    path = write_tensors(
        tmp_path / "m.safetensors", {f"blocks.{i}.w": ("BF16", (1000, 10_000)) for i in range(1000)}
    )
    assert path.stat().st_size > 20_000_000_000
    began = time.perf_counter()
    found = read_checkpoint(path)
    with TensorBytes() as parts:
        for place in found.tensors[::100]:
            assert parts.rows(place, 500, 2) == bytes(40_000)
            assert parts.elements(place, 77, 1000, 10_000) == bytes(2000)
        rows = parts.bytes_read
    took = time.perf_counter() - began
    assert rows == 10 * 42_000
    assert found.total_bytes == path.stat().st_size
    assert found.bytes_read == found.total_bytes - 20_000_000_000
    assert (found.bytes_read + rows) / found.total_bytes < 0.001
    assert took < 2


def test_what_was_read_is_counted_to_the_byte(tmp_path: Path) -> None:
    folder = sharded(tmp_path)
    (folder / "config.json").write_text('{"a": 1}')
    found = read_checkpoint(folder)
    assert found.total_bytes == sum(path.stat().st_size for path in folder.iterdir())
    assert found.bytes_read == found.total_bytes - (24 + 16) - 16
    assert sorted(found.files) == sorted(folder.iterdir())


def test_2000_tensors_in_10_shards_are_read_at_once(tmp_path: Path) -> None:
    for shard in range(10):
        names = (f"blocks.{shard * 20 + i // 10}.attn{i % 10}.to_q.weight" for i in range(200))
        write_tensors(tmp_path / f"m-{shard:05}.safetensors", dict.fromkeys(names, ("BF16", (64, 64))))
    took = []
    for _ in range(5):
        began = time.perf_counter()
        assert len(read_checkpoint(tmp_path).tensors) == 2000
        took.append(time.perf_counter() - began)
    assert min(took) < 0.1


def test_a_header_that_claims_terabytes_in_a_folder_stops_nothing(tmp_path: Path) -> None:
    folder = sharded(tmp_path)
    (folder / SECOND).write_bytes(struct.pack("<Q", 3 * 10**12) + header_bytes(entries(TWO)))
    found = read_checkpoint(folder)
    assert "claims a header of 3.0 TB in a file of" in messages(found)[0]
    assert len(found.tensors) == 2
