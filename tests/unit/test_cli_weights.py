"""`ditproof weights`: what is proved against what, what the report says, and what it means to the caller.

The worker is stood in for here; it is tried with real models in tests/server.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import prod
from pathlib import Path
from random import Random
from typing import Any

import pytest
from cli_testing import SOUND, Cli, cli, tree_at
from test_cli_commands import STATUS, TEST, fake_python

from analyzers.weights.files.dumps import write_dump
from analyzers.weights.state import GatedNames, PortState, StateDict, Tensor
from lsp_server.checks.errors import CheckError
from lsp_server.checks.meta import BuiltSide, OnStage, StateAnswer, StateProblem, StateRequest
from lsp_server.commands import weights

__all__ = ["cli"]

PORT = "SoundTransformer3DModel"
CONFIG = "fastvideo/configs/models/dits/sound.py"
RULE = (r"^blocks\.(\d+)\.attn\.to_q\.(.*)$", r"blocks.\1.to_q.\2", None)
ORACLE = "official_sound.py::SoundTransformer"
OFFICIAL_FILE = {"official_sound.py": "class SoundTransformer:\n    pass\n"}

OFFICIAL = tuple(Tensor(f"blocks.{i}.attn.to_q.weight", (64, 64), "F32") for i in range(2))
NATIVE = tuple(Tensor(f"blocks.{i}.to_q.weight", (64, 64), "F32") for i in range(2))


@dataclass
class FakeWorker:
    """What the worker would answer, and what it was asked."""

    native: tuple[Tensor, ...] | None = NATIVE
    official: tuple[Tensor, ...] | None = OFFICIAL
    mapping: tuple[Any, ...] | None = (RULE,)
    problems: tuple[StateProblem, ...] = ()
    gated: tuple[GatedNames, ...] = ()
    dropped: tuple[tuple[str, str], ...] = ()
    lora: tuple[Any, ...] | None = ()
    only_alone: bool = False
    error: CheckError | None = None
    asked: list[StateRequest] = field(default_factory=list)
    ended: int = 0

    async def state(self, request: StateRequest, on_stage: OnStage | None = None) -> StateAnswer:
        self.asked.append(request)
        if on_stage is not None:
            on_stage("building the port")
        if self.error is not None:
            raise self.error
        native = None if self.only_alone and request.official is not None else self.native
        official = self.official if request.official is not None else None
        problems = tuple(p for p in self.problems if p.side != "official" or request.official is not None)
        ref = request.official or ""
        return StateAnswer(
            PortState(
                native=None if native is None else StateDict(PORT, "class", native),
                official=None if official is None else StateDict(ref, "class", official),
                mapping=self.mapping if native is not None else None,
                lora=self.lora,
                gated=self.gated,
                dropped=self.dropped,
            ),
            problems=problems if native is None or official is None else (),
            files=(),
            port=BuiltSide(PORT, PORT, None, {}, 0),
            official=None,
            torch="2.13.0",
            seconds=0.1,
        )

    async def end(self) -> None:
        self.ended += 1


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> FakeWorker:
    fake = FakeWorker()
    monkeypatch.setattr(weights, "MetaWorker", lambda: fake)
    return fake


@dataclass(frozen=True)
class Tree:
    """A tree with the options that name it."""

    root: Path
    options: tuple[str, ...]


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    root = tree_at(tmp_path.resolve() / "tree", OFFICIAL_FILE)
    return Tree(root, ("--root", str(root), "--python", str(fake_python(tmp_path))))


def without_official(tree: Tree) -> None:
    """Nothing of the tree names a counterpart any more."""
    (tree.root / STATUS).unlink()
    (tree.root / TEST).unlink()
    (tree.root / "official_sound.py").unlink()


def safetensors(
    path: Path,
    tensors: Mapping[str, tuple[int, ...]],
    *,
    cut: int = 0,
    seeds: Mapping[str, int] | None = None,
) -> None:
    """A file with these tensors in F32: zeros, or numbers that follow from a tensor's seed."""
    header: dict[str, Any] = {}
    data = bytearray()
    for name, shape in tensors.items():
        count = prod(shape)
        start = len(data)
        if seeds is None:
            data += bytes(4 * count)
        else:
            numbers = Random(seeds[name])
            data += struct.pack(f"<{count}f", *(numbers.uniform(-1, 1) for _ in range(count)))
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [start, len(data)]}
    text = json.dumps(header).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(struct.pack("<Q", len(text)) + text + data[: len(data) - cut])


# --------------------------------------------------------------------------- verdicts


def test_a_proven_mapping(cli: Cli, worker: FakeWorker, tree: Tree) -> None:
    outcome = cli("weights", PORT, *tree.options, "--format", "json")
    assert outcome.code == 0
    told = outcome.json
    assert set(told) >= {
        *("port", "against", "verdict", "counts", "missing", "unexpected", "shape", "dtype"),
        *("layout", "rules", "seconds"),
    }
    assert (told["port"], told["against"], told["verdict"]) == (PORT, ORACLE, "proven")
    assert told["counts"] == {"official": 2, "native": 2, "mapped": 2, "merged": 0}
    assert (told["missing"], told["unexpected"], told["shape"], told["faults"]) == ([], [], [], [])
    (rule,) = told["rules"]
    assert {k: rule[k] for k in ("pattern", "path", "line", "matches", "state", "by")} == {
        "pattern": RULE[0],
        "path": CONFIG,
        "line": 15,
        "matches": 2,
        "state": "live",
        "by": [],
    }
    assert "keys" not in told
    (asked,) = worker.asked
    assert (asked.official, asked.gates, asked.config, asked.trusted) == (ORACLE, True, None, True)
    assert asked.port is not None
    assert (asked.port.module, asked.port.cls, asked.port.path) == (
        "fastvideo.models.dits.sound",
        PORT,
        SOUND,
    )
    assert worker.ended == 1
    assert "building the port" in outcome.err


def test_a_broken_mapping(cli: Cli, worker: FakeWorker, tree: Tree) -> None:
    worker.official = (*OFFICIAL, Tensor("extra.weight", (3,), "F32"))
    worker.native = (*NATIVE, Tensor("lonely.bias", (5,), "F32"))
    outcome = cli("weights", PORT, *tree.options, "--format", "json")
    assert outcome.code == 1
    told = outcome.json
    assert told["verdict"] == "broken"
    assert told["missing"] == ["lonely.bias"]
    assert told["unexpected"] == ["extra.weight"]
    assert {(fault["code"], fault["name"]) for fault in told["faults"]} == {("DIT609", "state-dict-mismatch")}
    assert all(fault["path"] == CONFIG and fault["line"] >= 1 for fault in told["faults"])
    text = cli("weights", PORT, *tree.options)
    assert text.code == 1
    assert "extra.weight [3]" in text.out
    assert "lonely.bias" in text.out
    assert f"{CONFIG}:" in text.out


def test_a_shape_that_differs(cli: Cli, worker: FakeWorker, tree: Tree) -> None:
    worker.native = (NATIVE[0], replace(NATIVE[1], shape=(64, 32)))
    outcome = cli("weights", PORT, *tree.options, "--format", "json")
    assert outcome.code == 1
    assert outcome.json["shape"] == [
        {
            "native": "blocks.1.to_q.weight",
            "official": ["blocks.1.attn.to_q.weight"],
            "expected": [64, 32],
            "found": [64, 64],
        }
    ]
    assert (
        "blocks.1.to_q.weight [64, 32] ← [64, 64] blocks.1.attn.to_q.weight"
        in cli("weights", PORT, *tree.options).out
    )


def test_sides_that_cannot_be_built_alike_are_never_called_broken(
    cli: Cli, worker: FakeWorker, tree: Tree
) -> None:
    worker.only_alone = True
    worker.native = (NATIVE[0], replace(NATIVE[1], shape=(64, 32)))
    worker.problems = (StateProblem("port", "config", "TypeError", "no int", path=CONFIG, line=9),)
    outcome = cli("weights", PORT, *tree.options, "--format", "json")
    assert outcome.code == 4
    assert outcome.json["verdict"] == "unknown"
    assert f"TypeError: no int ({CONFIG}:10)" in outcome.json["because"]
    assert [request.official for request in worker.asked] == [ORACLE, None]
    worker.native = NATIVE
    assert cli("weights", PORT, *tree.options).code == 0, "what fits anyway is proven"


def test_a_mapping_that_the_class_grows_is_taken_as_it_was_built(
    cli: Cli, worker: FakeWorker, tree: Tree
) -> None:
    worker.mapping = (RULE, ("^old$", "new", None))
    worker.official = (*OFFICIAL, Tensor("old", (1,), "F32"))
    worker.native = (*NATIVE, Tensor("new", (1,), "F32"))
    told = cli("weights", PORT, *tree.options, "--format", "json").json
    assert told["verdict"] == "proven"
    assert [(r["pattern"], r["path"], r["line"]) for r in told["rules"]] == [
        (RULE[0], CONFIG, 15),
        ("^old$", None, None),
    ]
    assert "the rules are those of the built class" in cli("weights", PORT, *tree.options).out


# --------------------------------------------------------------------------- the official side


def test_what_is_named_counts(cli: Cli, worker: FakeWorker, tree: Tree) -> None:
    for given, ref in (
        ("diffusers:Sound", "diffusers:Sound"),
        ("pkg.module.Sound", "pkg.module:Sound"),
        ("official_sound.py::Other", "official_sound.py::Other"),
        (str(tree.root / "official_sound.py::Other"), "official_sound.py::Other"),
    ):
        assert cli("weights", PORT, *tree.options, "--official", given).code == 0
        assert worker.asked[-1].official == ref


@pytest.mark.parametrize(
    ("given", "what"),
    [
        ("no/such.py::Class", "the official source no/such.py is not there"),
        ("official_sound.py", "names a file and no class in it"),
        ("official_sound.py::a b", "names no class"),
        ("nonsense", "is neither a file or folder nor a class"),
    ],
)
def test_what_names_nothing_is_refused(
    cli: Cli, worker: FakeWorker, tree: Tree, given: str, what: str
) -> None:
    outcome = cli("weights", PORT, *tree.options, "--official", given)
    assert (outcome.code, outcome.out) == (3, "")
    assert what in outcome.err
    assert "next: " in outcome.err
    assert worker.asked == []


def test_of_several_counterparts_the_first_counts_and_the_others_are_named(
    cli: Cli, worker: FakeWorker, tree: Tree
) -> None:
    status = tree.root / STATUS
    row = f"| transformer | `other_sound.py::Sound` | `{PORT}` | PASS |\n"
    status.write_text(status.read_text() + row)
    outcome = cli("weights", PORT, *tree.options)
    assert outcome.code == 0
    assert "other_sound.py::Sound is named as official counterpart too" in outcome.out


def test_an_oracle_that_is_not_there_says_so(cli: Cli, worker: FakeWorker, tree: Tree) -> None:
    (tree.root / "official_sound.py").unlink()
    outcome = cli("weights", PORT, *tree.options)
    assert (outcome.code, outcome.out) == (3, "")
    assert "the official source official_sound.py is not there" in outcome.err


def test_a_class_of_the_same_name_in_diffusers_may_serve(cli: Cli, worker: FakeWorker, tree: Tree) -> None:
    without_official(tree)
    outcome = cli("weights", PORT, *tree.options)
    assert outcome.code == 0
    assert f"diffusers:{PORT} (nothing names a counterpart" in outcome.out
    worker.official = None
    worker.problems = (StateProblem("official", "import", "AttributeError", "no such class"),)
    outcome = cli("weights", PORT, *tree.options)
    assert (outcome.code, outcome.out) == (3, "")
    assert "no official counterpart" in outcome.err
    assert "[tool.ditproof.oracles]" in outcome.err


def test_an_official_class_that_cannot_be_built_leaves_its_key_dump(
    cli: Cli, worker: FakeWorker, tree: Tree
) -> None:
    worker.problems = (
        StateProblem("official", "import", "ModuleNotFoundError", "No module named 'flash'", "flash"),
    )
    worker.official = None
    outcome = cli("weights", PORT, *tree.options)
    assert outcome.code == 3
    assert "No module named 'flash'" in outcome.err
    assert "-m pip install flash" in outcome.err
    dump = tree.root / "converted_weights/sound/_mapping/transformer_official_keys.json"
    dump.parent.mkdir(parents=True)
    dump.write_text(write_dump(StateDict("", "dump", OFFICIAL)))
    outcome = cli("weights", PORT, *tree.options)
    assert outcome.code == 0
    assert "transformer_official_keys.json (the port workflow's key dump)" in outcome.out
    assert f"{ORACLE} was left out" in outcome.out


def test_a_port_that_cannot_be_built_could_not_run(cli: Cli, worker: FakeWorker, tree: Tree) -> None:
    worker.native = None
    worker.problems = (
        StateProblem(
            "port", "build", "RuntimeError", "needs CUDA", path=SOUND, line=3, next_step="Try this."
        ),
    )
    outcome = cli("weights", PORT, *tree.options)
    assert (outcome.code, outcome.out) == (3, "")
    assert f"{PORT} cannot be built: RuntimeError: needs CUDA ({SOUND}:4)." in outcome.err
    assert "next: Try this." in outcome.err


def test_a_code_base_that_cannot_be_imported_is_not_blamed_on_the_official_class(
    cli: Cli, worker: FakeWorker, tree: Tree
) -> None:
    worker.native = worker.official = None
    worker.problems = (StateProblem("code base", "import", "ImportError", "no fastvideo", "fastvideo"),)
    outcome = cli("weights", PORT, *tree.options)
    assert outcome.code == 3
    assert f"{PORT} cannot be built: ImportError: no fastvideo." in outcome.err


def test_the_key_dump_of_a_port_that_cannot_be_built_takes_its_place_unless_it_is_out_of_date(
    cli: Cli, worker: FakeWorker, tree: Tree
) -> None:
    cli("weights", PORT, *tree.options, "--dump")
    worker.native = None
    worker.problems = (StateProblem("port", "build", "RuntimeError", "needs CUDA", path=SOUND, line=3),)
    outcome = cli("weights", PORT, *tree.options)
    assert outcome.code == 0
    assert "needs CUDA" in outcome.out
    assert "transformer_fastvideo_keys.json took its place" in " ".join(outcome.out.split())
    model = tree.root / SOUND
    model.write_text(
        model.read_text()
        .replace("self.blocks =", "self.layers =")
        .replace("in self.blocks", "in self.layers")
    )
    outcome = cli("weights", PORT, *tree.options)
    assert (outcome.code, outcome.out) == (3, "")
    assert "cannot be built" in outcome.err


def test_a_worker_that_fails_could_not_run(cli: Cli, worker: FakeWorker, tree: Tree) -> None:
    worker.error = CheckError("It crashed twice.", "Look there.")
    outcome = cli("weights", PORT, *tree.options)
    assert (outcome.code, outcome.out) == (3, "")
    assert "It crashed twice." in outcome.err
    assert worker.ended == 1


# --------------------------------------------------------------------------- checkpoints and dumps


def test_a_checkpoint_configures_the_port_and_is_proved_against(
    cli: Cli, worker: FakeWorker, tree: Tree, tmp_path: Path
) -> None:
    folder = tmp_path / "model" / "transformer"
    safetensors(folder / "model.safetensors", {t.name: t.shape or () for t in OFFICIAL})
    (folder / "config.json").write_text('{"num_layers": 2}')
    outcome = cli("weights", PORT, *tree.options, "--checkpoint", folder, "--format", "json")
    assert outcome.code == 0
    assert outcome.json["against"] == str(folder)
    assert outcome.json["configuration"] == "the checkpoint's config.json"
    assert outcome.json["checkpoint"]["bytes_read"] < outcome.json["checkpoint"]["total_bytes"]
    assert [(r.official, r.config) for r in worker.asked] == [(None, {"num_layers": 2})]


def test_a_checkpoint_that_is_cut_is_never_proven(
    cli: Cli, worker: FakeWorker, tree: Tree, tmp_path: Path
) -> None:
    file = tmp_path / "model.safetensors"
    safetensors(file, {t.name: t.shape or () for t in OFFICIAL}, cut=100)
    outcome = cli("weights", PORT, *tree.options, "--checkpoint", file)
    assert outcome.code == 1
    assert "DIT706" in outcome.out
    assert "is cut off" in outcome.out
    told = cli("weights", PORT, *tree.options, "--checkpoint", file, "--format", "json").json
    assert told["verdict"] == "broken"
    assert told["because"] == told["checkpoint"]["problems"][0]["message"]


@pytest.mark.parametrize("name", ["model.bin", "absent.safetensors", "notes.txt"])
def test_what_is_no_checkpoint_is_explained(
    cli: Cli, worker: FakeWorker, tree: Tree, tmp_path: Path, name: str
) -> None:
    if not name.startswith("absent"):
        (tmp_path / name).write_bytes(b"PK\x03\x04 and more")
    outcome = cli("weights", PORT, *tree.options, "--checkpoint", tmp_path / name)
    assert (outcome.code, outcome.out) == (3, "")
    assert name in outcome.err
    assert "next: " in outcome.err


def test_a_class_and_a_checkpoint_are_two_things_to_prove_against(
    cli: Cli, worker: FakeWorker, tree: Tree, tmp_path: Path
) -> None:
    safetensors(tmp_path / "a.safetensors", {"a": (1,)})
    options = ("--official", "diffusers:Sound", "--checkpoint", tmp_path / "a.safetensors")
    outcome = cli("weights", PORT, *tree.options, *options)
    assert (outcome.code, outcome.out) == (3, "")
    assert "--config with the checkpoint's config.json" in outcome.err


def test_the_rows_of_two_checkpoints_tell_what_names_cannot(
    cli: Cli, worker: FakeWorker, tree: Tree, tmp_path: Path
) -> None:
    official, converted = tmp_path / "official.safetensors", tmp_path / "converted.safetensors"
    shapes = {"blocks.0.attn.to_q.weight": (64, 64), "blocks.1.attn.to_q.weight": (64, 64)}
    safetensors(official, shapes, seeds={name: i for i, name in enumerate(shapes)})
    native = {t.name: t.shape or () for t in NATIVE}
    safetensors(converted, native, seeds={name: i for i, name in enumerate(native)})
    options = (*tree.options, "--official", official, "--checkpoint", converted)
    outcome = cli("weights", PORT, *options, "--format", "json")
    assert outcome.code == 0
    told = outcome.json
    assert (told["verdict"], told["by"]) == ("proven", "names, shapes and rows")
    assert (told["layout"], told["interchangeable"]) == ([], [])
    assert told["probed"]["total_bytes"] == official.stat().st_size + converted.stat().st_size
    # The same names and shapes, and each block holds the other one's numbers.
    safetensors(converted, native, seeds={name: 1 - i for i, name in enumerate(native)})
    outcome = cli("weights", PORT, *options, "--format", "json")
    assert outcome.code == 1
    assert {finding["code"] for finding in outcome.json["layout"]} == {"DIT705"}
    text = cli("weights", PORT, *options)
    assert "converted.safetensors  DIT705 weight-layout" in text.out
    safetensors(converted, native, seeds={name: i for i, name in enumerate(native)}, cut=4)
    outcome = cli("weights", PORT, *options)
    assert outcome.code == 1
    assert "converted.safetensors  DIT706 checkpoint-unreadable" in outcome.out


def test_a_converted_checkpoint_has_to_load_too(
    cli: Cli, worker: FakeWorker, tree: Tree, tmp_path: Path
) -> None:
    """A tensor that the conversion lost, one that nobody asked for, and one of another shape."""
    official, converted = tmp_path / "official.safetensors", tmp_path / "converted.safetensors"
    safetensors(official, {t.name: t.shape or () for t in OFFICIAL})
    first, second = (t.name for t in NATIVE)
    options = (*tree.options, "--official", official, "--checkpoint", converted)
    for tensors, code, name, missing, unexpected in (
        ({first: (64, 64)}, "DIT701", second, [second], []),
        ({first: (64, 64), second: (64, 64), "left.over": (3,)}, "DIT702", "left.over", [], ["left.over"]),
        ({first: (64, 64), second: (64, 32)}, "DIT703", second, [], []),
    ):
        safetensors(converted, tensors)
        outcome = cli("weights", PORT, *options, "--format", "json")
        told = outcome.json
        assert (outcome.code, told["verdict"]) == (1, "broken")
        assert "the converted one does not load" in told["because"]
        # The mapping itself is not to blame.
        assert (told["missing"], told["unexpected"], told["faults"]) == ([], [], [])
        loading = told["converted"]["loading"]
        assert (loading["missing"], loading["unexpected"]) == (missing, unexpected)
        text = cli("weights", PORT, *options).out
        place = next(line for line in text.splitlines() if code in line)
        assert place.startswith(str(converted))
        assert name in text


def test_native_names_that_the_mapping_would_rename_again_do_not_load(
    cli: Cli, worker: FakeWorker, tree: Tree, tmp_path: Path
) -> None:
    worker.native = (Tensor("embed.proj.weight", (4, 4), "F32"),)
    worker.mapping = ((r"^embed\.(.*)$", r"embed.proj.\1", None),)
    official, converted = tmp_path / "official.safetensors", tmp_path / "converted.safetensors"
    safetensors(official, {"embed.weight": (4, 4)}, seeds={"embed.weight": 1})
    options = (*tree.options, "--official", official, "--checkpoint", converted)
    safetensors(converted, {"embed.proj.weight": (4, 4)}, seeds={"embed.proj.weight": 1})
    outcome = cli("weights", PORT, *options)
    assert outcome.code == 1
    assert "1 of its names are the port's own, and the mapping renames them once more" in outcome.out
    assert "embed.proj.weight [4, 4] → embed.proj.proj.weight" in outcome.out
    assert "DIT701" not in outcome.out
    safetensors(converted, {"embed.weight": (4, 4)}, seeds={"embed.weight": 1})
    assert cli("weights", PORT, *options).code == 0


def test_numbers_of_another_model_and_of_another_kind_prove_nothing(
    cli: Cli, worker: FakeWorker, tree: Tree, tmp_path: Path
) -> None:
    official, converted = tmp_path / "official.safetensors", tmp_path / "converted.safetensors"
    safetensors(official, {t.name: t.shape or () for t in OFFICIAL}, seeds={t.name: 1 for t in OFFICIAL})
    safetensors(converted, {t.name: t.shape or () for t in NATIVE}, seeds={t.name: 7 for t in NATIVE})
    options = (*tree.options, "--official", official, "--checkpoint", converted, "--format", "json")
    outcome = cli("weights", PORT, *options)
    assert (outcome.code, outcome.json["verdict"]) == (4, "unknown")
    assert "2 parameters of the converted checkpoint hold other numbers" in outcome.json["because"]


def test_digits_that_the_port_or_the_official_model_keeps_must_not_be_lost(
    cli: Cli, worker: FakeWorker, tree: Tree, tmp_path: Path
) -> None:
    """Half of a number's bytes are its bfloat16 where the other half is cut off."""
    official, converted = tmp_path / "official", tmp_path / "converted.safetensors"
    shapes = {t.name: t.shape or () for t in OFFICIAL}
    safetensors(official / "m.safetensors", shapes, seeds={t.name: i for i, t in enumerate(OFFICIAL)})
    (official / "config.json").write_text('{"_class_name": "SoundTransformer"}')
    numbers = {t.name: Random(i) for i, t in enumerate(NATIVE)}
    header, data = {}, bytearray()
    for name, source in numbers.items():
        start = len(data)
        for _ in range(64 * 64):
            (bits,) = struct.unpack("<I", struct.pack("<f", source.uniform(-1, 1)))
            data += struct.pack("<H", (bits + 0x7FFF + (bits >> 16 & 1)) >> 16)
        header[name] = {"dtype": "BF16", "shape": [64, 64], "data_offsets": [start, len(data)]}
    text = json.dumps(header).encode()
    converted.write_bytes(struct.pack("<Q", len(text)) + text + data)
    options = (*tree.options, "--official", official, "--checkpoint", converted, "--format", "json")
    plain = cli("weights", PORT, *options)
    assert (plain.code, plain.json["verdict"]) == (0, "proven")
    assert [f["severity"] for f in plain.json["dtype"]] == ["information"]
    site = Path(tree.options[-1]).parent.parent / "lib/python3.11/site-packages"
    cls = "class SoundTransformer:\n    _keep_in_fp32_modules = ['to_q']\n"
    (site / "diffusers").mkdir(parents=True)
    (site / "diffusers/__init__.py").write_text(cls)
    kept = cli("weights", PORT, *options)
    assert (kept.code, kept.json["verdict"]) == (4, "unknown")
    assert [f["severity"] for f in kept.json["dtype"]] == ["warning"]
    assert "the official model keeps them in float32" in kept.json["dtype"][0]["message"]
    model = tree.root / "fastvideo/models/dits/sound.py"
    method = (
        "\n    _fp32 = ('blocks',)\n\n    def _get_parameter_dtype(self, name, default_dtype):\n"
        "        return torch.float32 if name.split('.', 1)[0] in self._fp32 else default_dtype\n"
    )
    model.write_text(f"{model.read_text().rstrip()}\n{method}")
    broken = cli("weights", PORT, *options)
    assert (broken.code, broken.json["verdict"]) == (1, "broken")
    assert "2 parameters of the converted checkpoint lost digits" in broken.json["because"]


def test_what_could_not_run_is_a_document_too(
    cli: Cli, worker: FakeWorker, tree: Tree, tmp_path: Path
) -> None:
    pickled = tmp_path / "model.bin"
    pickled.write_bytes(b"PK\x03\x04")
    whole = cli("weights", PORT, *tree.options, "--format", "json").json
    outcome = cli("weights", PORT, *tree.options, "--checkpoint", pickled, "--format", "json")
    told = outcome.json
    assert (outcome.code, told["verdict"], told["against"]) == (3, "unknown", str(pickled))
    assert "torch pickle" in told["error"]["message"]
    assert "save_file" in told["error"]["next_step"]
    assert list(told) == list(whole)
    assert list(told["counts"]) == list(whole["counts"])
    assert whole["error"] is None
    assert "error: 'model.bin' is a torch pickle" in outcome.err


def test_a_config_that_cannot_be_read_configures_nothing(
    cli: Cli, worker: FakeWorker, tree: Tree, tmp_path: Path
) -> None:
    folder = tmp_path / "checkpoint"
    safetensors(folder / "m.safetensors", {t.name: t.shape or () for t in OFFICIAL})
    (folder / "config.json").write_text('{"num_layers": ')
    outcome = cli("weights", PORT, *tree.options, "--checkpoint", folder)
    assert (outcome.code, worker.asked) == (3, [])
    assert "'config.json' is not JSON" in outcome.err
    assert "--config" in outcome.err
    other = tmp_path / "config.json"
    other.write_text("{}")
    assert cli("weights", PORT, *tree.options, "--checkpoint", folder, "--config", other).code == 1
    (folder / "config.json").unlink()
    outcome = cli("weights", PORT, *tree.options, "--checkpoint", folder)
    assert outcome.code == 0
    assert "--config" in outcome.out


def test_without_other_configurations_a_dead_rule_is_called_so_with_care(
    cli: Cli, worker: FakeWorker, tree: Tree
) -> None:
    worker.mapping = (RULE, (r"^never\.(.*)$", r"nowhere.\1", None))
    note = "a rule called dead may serve another configuration: --no-gates left these out"
    assert note in cli("weights", PORT, *tree.options, "--no-gates", "--format", "json").json["notes"]
    assert note not in cli("weights", PORT, *tree.options, "--format", "json").json["notes"]


def test_what_is_to_be_mended_comes_before_the_rules(cli: Cli, worker: FakeWorker, tree: Tree) -> None:
    worker.official = (*OFFICIAL, Tensor("extra.weight", (3,), "F32"))
    worker.mapping = (RULE, (r"^never\.(.*)$", r"nowhere.\1", None))
    text = cli("weights", PORT, *tree.options).out
    assert text.index("DIT609") < text.index("\nrules that do nothing here")


def test_names_of_another_release_are_told_as_such(cli: Cli, worker: FakeWorker, tree: Tree) -> None:
    """No rule that spells out a beginning meets it: the whole mapping is for other names."""
    worker.mapping = (
        (r"^model\.net\.(.*)$", r"\1", None),
        (r"^model\.(.*)$", r"\1", None),
        (r"^(.*)$", r"\1", None),
    )
    told = cli("weights", PORT, *tree.options, "--format", "json").json
    assert told["because"].endswith(
        "names that begin with 'model.net.' or 'model.', and no official name here does"
    )
    assert any("--checkpoint" in note for note in told["notes"])
    # One that some name begins with is another matter.
    worker.mapping = (*worker.mapping, (r"^blocks\.x(.*)$", r"\1", None), (r"^blocks\.1(.*)$", r"\1", None))
    assert "written for names" not in cli("weights", PORT, *tree.options, "--format", "json").json["because"]


def test_the_request_speaks_of_what_does_not_load(
    cli: Cli, worker: FakeWorker, tree: Tree, tmp_path: Path
) -> None:
    official, converted = tmp_path / "official.safetensors", tmp_path / "converted.safetensors"
    safetensors(official, {t.name: t.shape or () for t in OFFICIAL})
    safetensors(converted, {NATIVE[0].name: (64, 64)})
    options = (*tree.options, "--official", official, "--checkpoint", converted, "--retry-request")
    request = cli("weights", PORT, *options, "--format", "json").json["conversion_retry_request"]
    assert request["failing_keys"]["fastvideo"] == [NATIVE[1].name]
    assert request["source_prefix_or_path"] == str(official)


def test_dumps_are_written_where_the_workflow_has_them_and_nobody_elses_are_lost(
    cli: Cli, worker: FakeWorker, tree: Tree
) -> None:
    folder = tree.root / "converted_weights/sound/_mapping"
    outcome = cli("weights", PORT, *tree.options, "--dump")
    assert outcome.code == 0
    names = ["transformer_fastvideo_keys.json", "transformer_official_keys.json"]
    assert sorted(path.name for path in folder.iterdir()) == names
    assert json.loads((folder / names[0]).read_text()) == {
        t.name: {"shape": [64, 64], "dtype": "F32"} for t in NATIVE
    }
    assert f"wrote converted_weights/sound/_mapping/{names[1]}" in outcome.err
    worker.native = worker.official = NATIVE
    assert cli("weights", PORT, *tree.options, "--dump").code == 0, "our own are replaced"
    (folder / names[1]).write_text('["theirs"]')
    before = (folder / names[0]).read_text()
    worker.native = OFFICIAL
    outcome = cli("weights", PORT, *tree.options, "--dump")
    assert (outcome.code, outcome.out) == (3, "")
    assert "ditproof did not write it: nothing was written" in outcome.err
    assert (folder / names[1]).read_text() == '["theirs"]'
    assert (folder / names[0]).read_text() == before
    cli("weights", PORT, *tree.options, "--dump", "--force")
    assert (folder / names[1]).read_text() != '["theirs"]'
    cli("weights", PORT, *tree.options, "--dump", "--component", "dit")
    assert (folder / "dit_official_keys.json").exists()


def test_a_dump_can_be_named(cli: Cli, worker: FakeWorker, tree: Tree) -> None:
    (tree.root / "my_keys.json").write_text(json.dumps([t.name for t in OFFICIAL]))
    outcome = cli(
        "weights", PORT, *tree.options, "--official", tree.root / "my_keys.json", "--format", "json"
    )
    assert outcome.code == 0
    assert (outcome.json["against"], outcome.json["by"]) == ("my_keys.json", "names")
    (tree.root / "my_keys.json").write_text("{")
    outcome = cli("weights", PORT, *tree.options, "--official", tree.root / "my_keys.json")
    assert outcome.code == 3
    assert "it is not JSON" in outcome.err


# --------------------------------------------------------------------------- options


def test_a_configuration_can_be_named(cli: Cli, worker: FakeWorker, tree: Tree, tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.write_text('{"num_layers": 3}')
    for given in (file, tmp_path):
        assert cli("weights", PORT, *tree.options, "--config", given, "--no-gates").code == 0
        assert (worker.asked[-1].config, worker.asked[-1].gates) == ({"num_layers": 3}, False)
    for content, what in (("[]", "holds no object"), ("{", "is not JSON")):
        file.write_text(content)
        outcome = cli("weights", PORT, *tree.options, "--config", file)
        assert outcome.code == 2
        assert what in outcome.err
    outcome = cli("weights", PORT, *tree.options, "--config", tmp_path / "none.json")
    assert outcome.code == 2
    assert "cannot be read" in outcome.err


def test_a_port_is_named_by_class_file_or_both(cli: Cli, worker: FakeWorker, tree: Tree) -> None:
    for given in (PORT, SOUND, f"{SOUND}::{PORT}", "fastvideo/models/dits"):
        assert cli("weights", given, *tree.options).code == 0
    for given, what in (
        ("SoundTransformer3DModul", f"did you mean '{PORT}'"),
        (CONFIG, "defines no port"),
        (f"{SOUND}::Other", "has no port called Other"),
        ("fastvideo/none.py", "does not exist"),
    ):
        outcome = cli("weights", given, *tree.options)
        assert (outcome.code, outcome.out) == (2, "")
        assert what in outcome.err


def test_a_class_that_the_registry_passes_over_is_not_proven(
    cli: Cli, worker: FakeWorker, tree: Tree
) -> None:
    """Two files claim the name, and one of them is loaded: what fits the other proves nothing."""
    twin = "fastvideo/models/dits/sound_two.py"
    (tree.root / twin).write_text((tree.root / SOUND).read_text())
    outcomes = {
        path: cli("weights", f"{path}::{PORT}", *tree.options, "--official", ORACLE, "--format", "json")
        for path in (SOUND, twin)
    }
    passed_over, loaded = sorted(outcomes, key=lambda path: outcomes[path].json["verdict"], reverse=True)
    assert (outcomes[passed_over].code, outcomes[passed_over].json["verdict"]) == (4, "unknown")
    assert f"the registry leads the name {PORT} to {loaded}" in outcomes[passed_over].json["because"]
    assert (outcomes[loaded].code, outcomes[loaded].json["verdict"]) == (0, "proven")


def test_every_key_can_be_listed(cli: Cli, worker: FakeWorker, tree: Tree) -> None:
    told = cli("weights", PORT, *tree.options, "--keys", "--format", "json").json
    assert told["keys"][0] == {
        "official": "blocks.0.attn.to_q.weight",
        "native": "blocks.0.to_q.weight",
        "shape": [64, 64],
        "dtype": "F32",
        "rules": [0],
        "merge": None,
        "verdict": "proven",
        "because": told["keys"][0]["because"],
        "excluded": False,
    }
    text = cli("weights", PORT, *tree.options, "--keys").out
    assert "blocks.0.attn.to_q.weight [64, 64] → blocks.0.to_q.weight" in text


def test_rules_that_work_are_listed_on_request(cli: Cli, worker: FakeWorker, tree: Tree) -> None:
    assert RULE[0] not in cli("weights", PORT, *tree.options).out
    text = cli("weights", PORT, *tree.options, "-v").out
    assert f"  15  {RULE[0]}  →  {RULE[1]}  2 keys" in text


def test_the_request_to_convert_again(cli: Cli, worker: FakeWorker, tree: Tree) -> None:
    outcome = cli("weights", PORT, *tree.options, "--retry-request")
    assert outcome.code == 0
    assert "nothing to retry" in outcome.err
    worker.official = (*OFFICIAL, Tensor("extra.weight", (3,), "F32"), Tensor("extra.bias", (3,), "F32"))
    worker.native = (NATIVE[0], replace(NATIVE[1], shape=(64, 32)))
    outcome = cli("weights", PORT, *tree.options, "--retry-request")
    assert outcome.code == 1
    lines = outcome.out.splitlines()
    assert lines[0] == "conversion_retry_request:"
    fields = [line.strip().partition(":")[0] for line in lines if line.startswith("  ") and line[2] != " "]
    assert fields == [
        *("component", "parity_test", "failing_keys", "expected_actual_shapes"),
        *("source_prefix_or_path", "evidence", "suspected_fix"),
    ]
    assert f"  parity_test: {TEST}" in lines
    assert "      - extra.weight" in lines
    assert lines.count("      - blocks.1.attn.to_q.weight") == 1
    assert (
        "    - blocks.1.to_q.weight: expected [64, 32], actual [64, 64] from blocks.1.attn.to_q.weight"
        in lines
    )
    told = cli("weights", PORT, *tree.options, "--retry-request", "--format", "json").json
    request = told["conversion_retry_request"]
    assert request["component"] == "transformer"
    assert "extra.bias" in request["failing_keys"]["official"]
    assert request["suspected_fix"] in (
        "rename", "split", "fuse", "skip", "component bucket", "config", "unknown"
    )  # fmt: skip


def test_numbered_blocks_are_one_line_of_the_request(cli: Cli, worker: FakeWorker, tree: Tree) -> None:
    numbers = (*range(40), 77, 78, 80)
    worker.official = (
        *OFFICIAL,
        *(Tensor(f"layers.{i}.extra.0.weight", (3,), "F32") for i in numbers[:40]),
        *(Tensor(f"tail.{i}", (3,), "F32") for i in numbers[40:]),
    )
    told = cli("weights", PORT, *tree.options, "--retry-request", "--format", "json").json
    keys = told["conversion_retry_request"]["failing_keys"]
    assert keys == {"official": ["layers.{0..39}.extra.0.weight", "tail.{77,78,80}"], "fastvideo": []}
    assert len(told["unexpected"]) == 43


def test_the_other_mappings_have_verdicts_of_their_own(cli: Cli, worker: FakeWorker, tree: Tree) -> None:
    outcome = cli("weights", PORT, *tree.options, "--reverse", "--format", "json")
    assert outcome.code == 0
    assert (outcome.json["reverse"]["verdict"], outcome.json["reverse"]["restored"]) == ("proven", 2)
    assert "lora" not in outcome.json
    outcome = cli("weights", PORT, *tree.options, "--lora", "--format", "json")
    lora = outcome.json["lora"]
    # The rule wants a dot behind the layer's name, which the alpha has not.
    assert (outcome.code, lora["layers"], lora["reached"]) == (1, 2, 2)
    assert lora["alphas"] == ["blocks.0.attn.to_q", "blocks.1.attn.to_q"]
    assert "    blocks.{0..1}.attn.to_q\n" in cli("weights", PORT, *tree.options, "--lora").out
    worker.lora = None
    outcome = cli("weights", PORT, *tree.options, "--lora")
    assert outcome.code == 4
    assert "lora     unknown: the class has no lora_param_names_mapping" in outcome.out
    parts = tuple(Tensor(f"qkv.{part}.weight", (2, 4), "F32") for part in "qkv")
    worker.official = parts
    worker.native = (Tensor("qkv.weight", (6, 4), "F32"),)
    worker.mapping = tuple((rf"^qkv\.{p}\.weight$", "qkv.weight", (i, 3)) for i, p in enumerate("qkv"))
    outcome = cli("weights", PORT, *tree.options, "--reverse", "--format", "json")
    assert (outcome.code, outcome.json["verdict"]) == (1, "proven"), "the worst verdict counts"
    assert outcome.json["reverse"]["lost"] == ["qkv.q.weight", "qkv.k.weight"]
    text = cli("weights", PORT, *tree.options, "--reverse").out
    assert "reverse  broken: 2 of 3 official names" in text
    assert "not saved:" in text


def test_quiet_says_only_the_result(cli: Cli, worker: FakeWorker, tree: Tree) -> None:
    worker.dropped = (("theta", "1"),)
    loud = cli("weights", PORT, *tree.options)
    quiet = cli("weights", PORT, *tree.options, "--quiet")
    assert "update_model_arch drops" in loud.out
    assert "update_model_arch drops" not in quiet.out
    assert (quiet.err, quiet.code) == ("", 0)
    assert "proven" in quiet.out


@pytest.mark.parametrize("columns", [60, 80, 140, None])
def test_no_line_is_wider_than_the_terminal_unless_a_name_is(
    cli: Cli, worker: FakeWorker, tree: Tree, columns: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lsp_server.commands import weights_text

    seen: dict[str, Any] = {}
    real = weights_text.report_text

    def at_width(report: Any, **options: Any) -> str:
        seen["text"] = real(report, **{**options, "columns": columns})
        return seen["text"]

    monkeypatch.setattr(weights, "report_text", at_width)
    worker.official = (*OFFICIAL, Tensor("extra.weight", (3,), "F32"))
    worker.mapping = (RULE, (r"^never\.(.*)$", r"nowhere.\1", None))
    assert cli("weights", PORT, *tree.options, "-v").code == 1
    for line in seen["text"].splitlines():
        longest = max((len(word) for word in line.split()), default=0)
        assert columns is None or len(line) <= columns or longest > columns - 40
    assert "dead" in seen["text"]


def test_names_cannot_steer_the_terminal(cli: Cli, worker: FakeWorker, tree: Tree) -> None:
    worker.official = (*OFFICIAL, Tensor("evil\x1b[2J.weight", (3,), "F32"))
    for option in ((), ("--keys",), ("--retry-request",)):
        assert "\x1b" not in cli("weights", PORT, *tree.options, *option).out


def test_an_interpreter_without_torch_cannot_run_it(
    cli: Cli, worker: FakeWorker, tree: Tree, tmp_path: Path
) -> None:
    python = fake_python(tmp_path, torch=None, pytest=None)
    outcome = cli("weights", PORT, "--root", tree.root, "--python", python)
    assert outcome.code == 3
    assert "torch is not installed" in outcome.err
    assert worker.asked == []
