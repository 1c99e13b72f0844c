"""The meta worker as a process: what it says of models, and what cannot hurt it."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from meta_client import Worker, toy_port, toy_tree

REPOSITORY = Path(__file__).resolve().parents[2]
Start = Callable[..., Worker]
SLEEP = 100_000 + os.getpid()
"""Seconds that nobody else's `sleep` is asked for: these processes are looked for, and killed."""

PORTS = (
    "causal_wanvideo:CausalWanTransformer3DModel",
    "cosmos2_5:Cosmos25Transformer3DModel",
    "dreamx_world:DreamXWorldTransformer3DModel",
    "dreamx_world_ar:DreamXWorldARTransformer3DModel",
    "gen3c:Gen3CTransformer3DModel",
    "hunyuangamecraft:HunyuanGameCraftTransformer3DModel",
    "hyworld:HYWorldTransformer3DModel",
    "lingbot_video:LingBotVideoTransformer3DModel",
    "lingbotworld:LingBotWorldTransformer3DModel",
    "lingbotworld2:LingBotWorld2CausalFastTransformer3DModel",
    "longcat:LongCatTransformer3DModel",
    "ltx2:LTX2Transformer3DModel",
    "magi_human:MagiHumanDiT",
    "matrixgame2:CausalMatrixGame2WanModel",
    "matrixgame2:MatrixGame2WanModel",
    "matrixgame3:MatrixGame3WanModel",
    "mmaudio:MMAudioTransformer",
    "stable_audio:StableAudioDiT",
)
PAIRS = (
    "cosmos:CosmosTransformer3DModel",
    "flux:FluxTransformer2DModel",
    "flux_2:Flux2Transformer2DModel",
    "glm_image:GlmImageTransformer2DModel",
    "hunyuanvideo:HunyuanVideoTransformer3DModel",
    "hunyuanvideo15:HunyuanVideo15Transformer3DModel",
    "kandinsky5:Kandinsky5Transformer3DModel",
    "minimax_h3:MiniMaxH3Transformer3DModel",
    "sd3:SD3Transformer2DModel",
    "wanvideo:WanTransformer3DModel",
    "zimage:ZImageTransformer2DModel",
)
"""Ports whose official class has the same name in diffusers."""

WAN = "fastvideo.models.dits.wanvideo:WanTransformer3DModel"
DIFFUSERS_WAN = "diffusers:WanTransformer3DModel"


@pytest.fixture(scope="module")
def start(project_python: str, bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    started: list[Worker] = []

    def start(root: Path, **spec: object) -> Worker:
        run_dir = tmp_path_factory.mktemp("meta") / "run"
        worker = Worker(project_python, bundle, root, run_dir, **spec)
        started.append(worker)
        return worker

    yield start
    for worker in started:
        if worker.process.poll() is None:
            assert worker.end() == 0


@pytest.fixture(scope="module")
def fastvideo(start: Start) -> Worker:
    """A worker on the real code base."""
    return start((REPOSITORY / ".real/fastvideo-0.2.1").resolve())


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toy_tree(tmp_path_factory.mktemp("toy"))


@pytest.fixture(scope="module")
def toy(start: Start, tree: Path) -> Worker:
    """A worker on a small tree."""
    return start(tree)


def only_problem(answer: dict) -> dict:
    assert len(answer["problems"]) == 1, answer["problems"]
    return answer["problems"][0]


def names(side: dict) -> list[str]:
    return [entry[0] for entry in side["tensors"]]


# --------------------------------------------------------------------------- real models


def test_wan_and_its_official_class(fastvideo: Worker) -> None:
    answer = fastvideo.ask(WAN, DIFFUSERS_WAN)
    assert answer["problems"] == []
    port, official = answer["port"], answer["official"]
    assert len(port["tensors"]) == len(official["tensors"]) == 1095
    assert port["parameters"] == official["parameters"] == 14288491584
    assert ["blocks.39.to_q.weight", [5120, 5120], "BF16", ""] in port["tensors"]
    assert ["blocks.39.attn1.to_q.weight", [5120, 5120], "F32", ""] in official["tensors"]
    assert port["path"].endswith("fastvideo/models/dits/wanvideo.py")
    assert Path(port["path"]).read_text().splitlines()[port["line"]].startswith("class WanTransformer3DModel")
    assert (
        Path(official["path"])
        .read_text()
        .splitlines()[official["line"]]
        .startswith("class WanTransformer3DModel")
    )
    assert official["ignored"] == ["norm_added_q"]
    assert len(port["mapping"]) > 15
    assert all(len(rule) == 4 for rule in port["mapping"])
    assert answer["dropped"] == []
    loaded = {Path(path).name for path in answer["files"]}
    assert {"wanvideo.py", "linear.py", "base.py"} <= loaded
    assert not any("site-packages" in path or "ditproof_probe" in path for path in answer["files"])


def test_a_warm_worker_says_what_it_is_at(fastvideo: Worker) -> None:
    fastvideo.ask(WAN)
    answer = fastvideo.ask(WAN, DIFFUSERS_WAN)
    assert fastvideo.progress == [
        "building the official model",
        "importing the code base",
        "building the port",
    ]
    assert fastvideo.ready is not None
    assert fastvideo.ready["torch"].startswith("2.")
    # The budget is 2 s; a machine that runs other tests beside this one gets more.
    assert answer["seconds"] < 8


def test_gates_add_names_to_both_sides(fastvideo: Worker) -> None:
    answer = fastvideo.ask(WAN, DIFFUSERS_WAN, gates=True)
    gated = {gate["field"]: gate for gate in answer["gated"]}
    assert "blocks.0.attn2.add_k_proj.weight" in {
        entry[0] for entry in gated["added_kv_proj_dim"]["official"]
    }
    assert len(gated["image_dim"]["tensors"]) == len(gated["image_dim"]["official"]) == 8
    plain = set(names(answer["port"]))
    assert not any(entry[0] in plain for gate in answer["gated"] for entry in gate["tensors"])


def test_every_port_builds(fastvideo: Worker) -> None:
    """All 29; the ten and the one that diffusers has, beside their official class."""
    assert len({*PORTS, *PAIRS}) == 29
    for ref in [*PORTS, *PAIRS]:
        cls = ref.partition(":")[2]
        answer = fastvideo.ask(f"fastvideo.models.dits.{ref}", f"diffusers:{cls}" if ref in PAIRS else None)
        assert answer["problems"] == [], ref
        assert answer["port"]["class"] == cls
        assert len(answer["port"]["tensors"]) > 300
        assert answer["port"]["mapping"] is not None
        assert (answer["official"] is not None) == (ref in PAIRS)


def test_other_names_in_diffusers(fastvideo: Worker) -> None:
    """LTX2's config does not take diffusers' values; StableAudio's has no field for some. Both are said."""
    ltx = fastvideo.ask(
        "fastvideo.models.dits.ltx2:LTX2Transformer3DModel", "diffusers:LTX2VideoTransformer3DModel"
    )
    assert ltx["port"] is None
    assert len(ltx["official"]["tensors"]) == 3510
    problem = only_problem(ltx)
    assert (problem["side"], problem["stage"]) == ("port", "config")
    assert problem["path"].endswith("configs/models/dits/ltx2.py")
    assert "does not take patch_size = 1 (its own value is (1, 1, 1))" in problem["message"]
    audio = fastvideo.ask(
        "fastvideo.models.dits.stable_audio:StableAudioDiT", "diffusers:StableAudioDiTModel"
    )
    assert ["num_layers", "24"] in audio["dropped"]


def test_a_given_configuration_builds_both_sides(fastvideo: Worker) -> None:
    config = {"_class_name": "WanTransformer3DModel", "num_layers": 2, "in_channels": 36, "added": [1]}
    answer = fastvideo.ask(WAN, DIFFUSERS_WAN, config=config)
    assert answer["problems"] == []
    for side in ("port", "official"):
        assert not any("blocks.2." in name for name in names(answer[side]))
    assert ["patch_embedding.weight", [5120, 36, 1, 2, 2], "F32", ""] in answer["official"]["tensors"]
    assert answer["dropped"] == [["added", "[1]"]]


# --------------------------------------------------------------------------- a state dict


def test_entries_of_a_port(toy: Worker, tree: Path) -> None:
    answer = toy.ask(toy_port(tree, "plain"))
    assert answer["problems"] == []
    assert answer["port"]["tensors"] == [
        ["steps", [3], "I64", "b"],
        ["blocks.0.weight", [4, 8], "BF16", ""],
        ["blocks.0.bias", [4], "BF16", ""],
        ["blocks.1.weight", [4, 8], "BF16", ""],
        ["blocks.1.bias", [4], "BF16", ""],
        ["head.weight", [2, 8], "BF16", ""],
        ["tail.weight", [2, 8], "BF16", "", "head.weight"],
    ]
    assert answer["port"]["mapping"] == [
        ["^old\\.(\\d+)\\.(.*)$", "blocks.\\1.\\2", None, None],
        ["^q\\.weight$", "qkv.weight", 0, 3],
    ]
    assert answer["port"]["lora"] is None
    assert answer["port"]["config"]["num_layers"] == 2
    assert answer["port"]["parameters"] == 2 * 36 + 16


def test_gates_of_every_kind(toy: Worker, tree: Path) -> None:
    answer = toy.ask(toy_port(tree, "gated"), gates=True)
    found = [(gate["field"], gate["value"], len(gate["tensors"])) for gate in answer["gated"]]
    assert found == [("guidance", "True", 2), ("image_dim", "8", 2), ("kind", "'rich'", 2)]


def test_weight_loaders_that_take_another_shape(toy: Worker, tree: Path) -> None:
    loaders = (
        "class ReplicatedLinear(nn.Linear):\n    def weight_loader(self, *_): ...\n\n\n"
        "class Merged(nn.Linear):\n    def weight_loader(self, *_): ...\n"
    )
    init = "\n        ".join(
        f"self.{name} = {cls}(2, 2, bias=False); self.{name}.weight.weight_loader = self.{name}.weight_loader"
        for name, cls in (("r", "ReplicatedLinear"), ("m", "Merged"))
    )
    answer = toy.ask(toy_port(tree, "loaders", before=loaders, init=init))
    flags = {entry[0]: entry[3] for entry in answer["port"]["tensors"]}
    assert (flags["r.weight"], flags["m.weight"]) == ("", "w")


def test_a_mapping_of_another_form_is_said(toy: Worker, tree: Path) -> None:
    broken = "param_names_mapping = {'a': ('b', 1)}"
    answer = toy.ask(toy_port(tree, "form", body=broken))
    assert answer["port"]["mapping"] is None
    assert answer["port"]["tensors"]
    assert "('b', 1)" in only_problem(answer)["message"]


# --------------------------------------------------------------------------- official classes from files


def clone(tree: Path, files: dict[str, str]) -> None:
    for path, text in files.items():
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        (tree / path).write_text(text)


MODEL = "from torch import nn\n\n\nclass Net(nn.Module):\n    def __init__(self, dim=4, {more}):\n" + (
    "        super().__init__()\n        self.proj = nn.Linear(dim, PARTS)\n"
)


def test_a_file_beside_what_it_imports(toy: Worker, tree: Path) -> None:
    clone(
        tree,
        {"c1/net.py": "from parts_c1 import PARTS\n" + MODEL.format(more=""), "c1/parts_c1.py": "PARTS = 3"},
    )
    answer = toy.ask(official="c1/net.py::Net")
    assert answer["problems"] == []
    assert answer["official"]["tensors"][0] == ["proj.weight", [3, 4], "F32", ""]
    assert {Path(path).name for path in answer["files"]} >= {"net.py", "parts_c1.py"}


@pytest.mark.parametrize("with_init", [True, False])
def test_a_file_of_a_package(toy: Worker, tree: Path, with_init: bool) -> None:
    name = f"c2_{with_init}"
    files = {
        f"{name}/wan/model/net.py": "from ..parts import PARTS\n" + MODEL.format(more=""),
        f"{name}/wan/parts.py": "PARTS = 3",
    }
    if with_init:
        files |= {f"{name}/wan/__init__.py": "", f"{name}/wan/model/__init__.py": ""}
    clone(tree, files)
    answer = toy.ask(official=f"{name}/wan/model/net.py::Net")
    assert answer["problems"] == []
    assert names(answer["official"]) == ["proj.weight", "proj.bias"]


@pytest.mark.parametrize("name", ["v1.5-net.py", "types.py", "my net.py"])
def test_a_file_that_cannot_be_imported_by_its_name(toy: Worker, tree: Path, name: str) -> None:
    clone(tree, {f"c6/{name}": "PARTS = 3\n" + MODEL.format(more="")})
    answer = toy.ask(official=f"c6/{name}::Net")
    assert answer["problems"] == []
    assert names(answer["official"]) == ["proj.weight", "proj.bias"]


def test_a_clone_is_not_built_from_another_package_of_the_same_name(toy: Worker, tree: Path) -> None:
    """diffusers is imported long before: the clone's own would silently be left out."""
    clone(
        tree,
        {
            "c7/net7.py": "from parts_c7 import PARTS\n" + MODEL.format(more=""),
            "c7/parts_c7.py": "import diffusers\nPARTS = 3\n",
            "c7/diffusers/__init__.py": "",
        },
    )
    problem = only_problem(toy.ask(official="c7/net7.py::Net"))
    assert "brings its own diffusers" in problem["message"]
    assert "key dump" in problem["next_step"]


def test_clones_with_the_same_names_do_not_meet(toy: Worker, tree: Path) -> None:
    for number in (1, 2, 1):
        clone(
            tree,
            {
                f"same{number}/net.py": "from models.parts import PARTS\nimport utils\n"
                + MODEL.format(more=""),
                f"same{number}/models/__init__.py": "",
                f"same{number}/models/parts.py": f"PARTS = {number}\n",
                f"same{number}/utils.py": "",
            },
        )
        answer = toy.ask(toy_port(tree, "plain"), official=f"same{number}/net.py::Net")
        assert answer["problems"] == []
        assert answer["official"]["tensors"][0][1] == [number, 4]


def test_a_clone_does_not_come_before_what_the_port_imports(toy: Worker, tree: Path) -> None:
    clone(tree, {"c8/net8.py": "PARTS = 3\n" + MODEL.format(more=""), "c8/einops.py": "raise RuntimeError"})
    port = toy_port(tree, "imports", before="import einops")
    assert toy.ask(port, official="c8/net8.py::Net")["problems"] == []


def test_a_file_that_imports_from_the_clones_root(toy: Worker, tree: Path) -> None:
    clone(
        tree,
        {
            "c3/deep/net.py": "from shared_c3.parts import PARTS\n" + MODEL.format(more=""),
            "c3/shared_c3/parts.py": "PARTS = 3",
        },
    )
    answer = toy.ask(official="c3/deep/net.py::Net")
    assert answer["problems"] == []


def test_arguments_without_a_value(toy: Worker, tree: Path) -> None:
    clone(tree, {"c4/net4.py": "PARTS = 3\n" + MODEL.format(more="*, depth")})
    problem = only_problem(toy.ask(official="c4/net4.py::Net"))
    assert (problem["side"], problem["stage"]) == ("official", "build")
    assert "asks for depth" in problem["message"]
    assert "config.json" in problem["next_step"]
    answer = toy.ask(official="c4/net4.py::Net", official_config={"depth": 1, "dim": 7, "other": 1})
    assert answer["problems"] == []
    assert answer["official"]["tensors"][0][1] == [3, 7]


@pytest.mark.parametrize(
    ("ref", "message"),
    [
        ("nowhere/net.py::Net", "There is no file"),
        ("diffusers:WanTransformer3DModell", "has no WanTransformer3DModell"),
        ("diffusers:__version__", "no torch module"),
        ("Wan", "names no official class"),
        ("not_a_package_at_all:Net", "No module named"),
    ],
)
def test_official_names_that_lead_nowhere(toy: Worker, ref: str, message: str) -> None:
    answer = toy.ask(official=ref)
    problem = only_problem(answer)
    assert answer["official"] is None
    assert problem["side"] == "official"
    assert message in problem["message"]
    assert problem["next_step"]


# --------------------------------------------------------------------------- what the user's code does


def line_of(tree: Path, name: str, text: str) -> int:
    lines = (tree / f"fastvideo/models/dits/{name}.py").read_text().splitlines()
    return next(number for number, line in enumerate(lines) if text in line)


@pytest.mark.parametrize(
    ("name", "parts", "stage", "type", "message"),
    [
        ("syntax", {"before": "def broken(:"}, "import", "SyntaxError", "invalid syntax"),
        ("absent", {"before": "import not_installed_at_all"}, "import", "ModuleNotFoundError", "No module"),
        ("raises", {"init": "raise ValueError('too wide')"}, "build", "ValueError", "too wide"),
        ("cuda", {"init": "torch.zeros(1, device='cuda')"}, "build", "AssertionError", "CUDA"),
        ("exits", {"init": "sys.exit(3)"}, "build", "SystemExit", "exit code 3"),
        ("key", {"init": "hf_config['needed']"}, "build", "KeyError", "There is no 'needed'."),
        ("value", {"init": "torch.linspace(0, 1, 4)[0].item()"}, "build", "RuntimeError", "meta tensors"),
        (
            "mute",
            {"init": "raise type('Mute', (Exception,), {'__str__': None})"},
            "build",
            "Mute",
            "cannot be had",
        ),
    ],
)
def test_what_is_raised_has_its_place(
    toy: Worker, tree: Path, name: str, parts: dict[str, str], stage: str, type: str, message: str
) -> None:
    answer = toy.ask(toy_port(tree, name, **parts))
    problem = only_problem(answer)
    assert answer["port"] is None
    assert (problem["side"], problem["stage"], problem["type"]) == ("port", stage, type)
    assert message in problem["message"]
    assert problem["path"] == str(tree / f"fastvideo/models/dits/{name}.py")
    assert problem["line"] == line_of(tree, name, next(iter(parts.values())))
    assert problem["missing"] == ("not_installed_at_all" if name == "absent" else None)
    if name in ("absent", "cuda", "value"):
        assert problem["next_step"]


@pytest.mark.parametrize(
    ("name", "code", "type", "message"),
    [
        ("leaves", "os._exit(5)", "Exit", "exit code 5"),
        ("crashes", "import ctypes; ctypes.string_at(0)", "Crash", "SIGSEGV"),
        ("killed", "os.kill(os.getpid(), 9)", "Crash", "SIGKILL"),
    ],
)
def test_a_child_that_ends_ends_alone(
    toy: Worker, tree: Path, name: str, code: str, type: str, message: str
) -> None:
    clone(tree, {"c5/net5.py": "PARTS = 3\n" + MODEL.format(more="")})
    answer = toy.ask(toy_port(tree, name, init=code), official="c5/net5.py::Net")
    problem = only_problem(answer)
    assert (problem["side"], problem["stage"], problem["type"]) == ("port", "build", type)
    assert message in problem["message"]
    # What was known before is kept.
    assert len(answer["official"]["tensors"]) == 2
    if name == "crashes":
        assert problem["line"] == line_of(tree, name, code)
    assert toy.ask(toy_port(tree, "after"))["problems"] == []


WRITABLE = """
import fcntl, stat

def writable(fd):
    try:
        is_pipe = stat.S_ISFIFO(os.fstat(fd).st_mode)
    except OSError:
        return False
    return is_pipe and fcntl.fcntl(fd, fcntl.F_GETFL) & 3

"""


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("dumps", "import json; json.dumps = lambda *_, **__: '{}'"),
        ("write", "os.write = lambda *_: 0"),
        ("exit", "os._exit = lambda *_: None"),
        ("streams", "sys.stdout = sys.stderr = sys.stdin = None"),
        ("working", "os.chdir('/'); sys.path[:] = []; os.environ.clear()"),
        (
            "noise",
            '[os.write(fd, b\'\\n{}\\n[1]\\n{"kind": "part"}\\n\') for fd in range(3, 12) if writable(fd)]',
        ),
    ],
)
def test_what_a_port_replaces_is_not_what_the_worker_works_with(
    toy: Worker, tree: Path, name: str, code: str
) -> None:
    answer = toy.ask(toy_port(tree, f"replaces_{name}", before=WRITABLE + code))
    assert answer["problems"] == []
    assert len(answer["port"]["tensors"]) == 7
    assert toy.ask(toy_port(tree, "after"))["problems"] == []


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("def state_dict(self, **_): return {1: torch.zeros(1)}", "has the key 1"),
        ("def state_dict(self, **_): return None", "returns a NoneType"),
    ],
)
def test_a_state_dict_of_another_form_is_said(toy: Worker, tree: Path, body: str, message: str) -> None:
    answer = toy.ask(toy_port(tree, "dicts", body=body))
    assert answer["port"] is None
    problem = only_problem(answer)
    assert problem["stage"] == "state"
    assert message in problem["message"]


def test_a_port_that_is_gone(toy: Worker) -> None:
    problem = only_problem(toy.ask("fastvideo.models.dits.gone:Toy"))
    assert (problem["type"], problem["missing"]) == ("ModuleNotFoundError", None)
    assert "There is no module fastvideo.models.dits.gone" in problem["message"]
    assert "Save" in problem["next_step"]


def test_values_that_a_config_refuses_are_named(toy: Worker, tree: Path) -> None:
    config = {"num_layers": 1, "hidden_size": -1}
    file = tree / "fastvideo/configs/models/dits/toy.py"
    before = file.read_text()
    file.write_text(
        before + "\n    def update_model_arch(self, values):\n        super().update_model_arch(values)\n"
        "        if self.arch_config.hidden_size < 0:\n            raise ValueError('negative')\n"
    )
    try:
        problem = only_problem(toy.ask(toy_port(tree, "refuses"), config=config))
    finally:
        file.write_text(before)
    assert (problem["stage"], problem["type"], problem["path"]) == ("config", "ValueError", str(file))
    assert "ToyArchConfig does not take hidden_size = -1 (its own value is 8): negative" in problem["message"]


def test_no_print_reaches_the_channel(toy: Worker, tree: Path) -> None:
    flood = (
        "print('x' * 100_000); os.write(1, b'{\"v\": 2}\\n' * 1000); sys.__stdout__.write('raw\\n'); "
        "os.system('echo from a shell')"
    )
    answer = toy.ask(toy_port(tree, "prints", before=flood, init="assert sys.stdin.read() == ''"))
    assert answer["problems"] == []
    assert "from a shell" in toy.log.read_text()


def test_nothing_is_downloaded(toy: Worker, tree: Path) -> None:
    init = "import huggingface_hub; huggingface_hub.hf_hub_download('a/b', 'config.json')"
    problem = only_problem(toy.ask(toy_port(tree, "downloads", init=init)))
    assert "offline" in problem["next_step"]


def test_nothing_is_written_below_the_project(toy: Worker, tree: Path) -> None:
    toy.ask(toy_port(tree, "writes"))
    assert not list(tree.rglob("__pycache__"))
    assert list((toy.run_dir / "bytecode").rglob("writes.*.pyc"))


# --------------------------------------------------------------------------- what changed on disk


def test_a_changed_port_and_config_are_seen(toy: Worker, tree: Path) -> None:
    """Edits of equal length within a second, which Python's own comparison of times cannot tell apart."""
    port = toy_port(tree, "edited", init="self.name1 = nn.Linear(1, 1)")
    file = tree / "fastvideo/models/dits/edited.py"
    toy.ask(port)
    for number in "234":
        file.write_text(file.read_text().replace("self.name", f"self.n{number}me"))
        assert f"n{number}me1.weight" in names(toy.ask(port)["port"])
        file.write_text(file.read_text().replace(f"self.n{number}me", "self.name"))
    config = tree / "fastvideo/configs/models/dits/toy.py"
    before = config.read_text()
    config.write_text(before.replace("num_layers: int = 2", "num_layers: int = 1"))
    try:
        assert "blocks.1.weight" not in names(toy.ask(port)["port"])
    finally:
        config.write_text(before)


def test_only_what_changed_is_imported_anew(start: Start, tmp_path: Path) -> None:
    """A common module is imported once, until it changes; a port every time."""
    root = toy_tree(tmp_path / "tree")
    imports = tmp_path / "imports"
    note = f"import os\nwith open({str(imports)!r}, 'a') as file: file.write('{{}}\\n')\n"
    common = root / "fastvideo/layers/linear.py"
    common.write_text(note.format("common") + "WIDTH = 4\n")
    port = toy_port(root, "noted", before=note.format("port"))
    worker = start(root)
    for _ in range(3):
        answer = worker.ask(port)
        assert answer["port"]["tensors"][1][1] == [4, 8]
    assert imports.read_text().split() == ["common", "port", "port", "port"]
    common.write_text(common.read_text().replace("WIDTH = 4", "WIDTH = 5"))
    for _ in range(2):
        answer = worker.ask(port)
        assert answer["port"]["tensors"][1][1] == [5, 8]
    assert imports.read_text().split()[4:] == ["common", "port", "port"]


def test_a_broken_common_module_is_told_at_its_line_and_mended(start: Start, tmp_path: Path) -> None:
    root = toy_tree(tmp_path)
    common = root / "fastvideo/layers/linear.py"
    sound = common.read_text()
    common.write_text("import os\nos.nothing\n")
    port = toy_port(root, "plain")
    worker = start(root)
    problem = only_problem(worker.ask(port))
    assert (problem["type"], problem["path"], problem["line"]) == ("AttributeError", str(common), 1)
    common.write_text(sound)
    assert worker.ask(port)["problems"] == []


def test_a_root_without_the_code_base(start: Start, tmp_path: Path) -> None:
    worker = start(tmp_path)
    problem = only_problem(worker.ask("fastvideo.models.dits.toy:Toy"))
    assert (problem["side"], problem["stage"]) == ("code base", "import")
    assert "fastvideo/models" in problem["message"]
    toy_port(toy_tree(tmp_path), "toy")
    assert worker.ask("fastvideo.models.dits.toy:Toy")["problems"] == []


# --------------------------------------------------------------------------- beginning and end


def test_a_hanging_constructor_is_cancelled(toy: Worker, tree: Path) -> None:
    hanging = toy_port(tree, "hangs", init="import subprocess; subprocess.run(['sleep', '600'])")
    sound = toy_port(tree, "sound")
    first, second, third = toy.start(hanging), toy.start(hanging), toy.start(sound)
    toy.wait_for_stage("building the port")
    toy.send({"kind": "cancel", "id": second})
    assert only_problem(toy.answer(second))["type"] == "Cancelled"
    toy.send({"kind": "cancel", "id": first})
    cancelled = only_problem(toy.answer(first))
    assert (cancelled["type"], cancelled["side"]) == ("Cancelled", "port")
    assert toy.answer(third)["problems"] == []
    toy.send({"kind": "cancel", "id": third})  # too late, and no harm
    assert toy.ask(sound)["problems"] == []
    assert not any("sleep" in command(pid) for pid in toy.processes())


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"id": 77, "kind": "dance"}', "a request is"),
        (b'{"id": 77, "kind": "state"}', "neither port nor official"),
        (b'{"id": 77, "kind": "state", "port": {"module": "a"}}', "port needs"),
        (b'{"id": 77, "kind": "state", "official": {"ref": "a:b", "config": 1}}', "config is an object"),
    ],
)
def test_what_is_no_request_is_refused(toy: Worker, tree: Path, line: bytes, reason: str) -> None:
    toy.send(line)
    problem = only_problem(toy.answer(77))
    assert problem["type"] == "BadRequest"
    assert reason in problem["message"]
    toy.send(b"nonsense")
    assert toy.ask(toy_port(tree, "plain"))["problems"] == []


def command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""


def gone(pids: set[int], seconds: float = 10) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if not any("Z" not in state(pid) for pid in pids if state(pid)):
            return True
        time.sleep(0.05)
    return False


def state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""


@pytest.mark.parametrize("way", ["end of input", "killed"])
def test_all_ends_with_the_client_and_with_the_server(start: Start, tmp_path: Path, way: str) -> None:
    root = toy_tree(tmp_path)
    sleep = f"['sleep', '{SLEEP}'], start_new_session=True"
    loner = f"import subprocess; subprocess.Popen({sleep}); import time"
    worker = start(root)
    worker.start(toy_port(root, "hangs", init=f"{loner}; time.sleep(600)"))
    worker.wait_for_stage("building the port")
    deadline = time.monotonic() + 20
    while not (sleepers := sleeping()) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert sleepers
    everything = worker.processes()
    assert len(everything) == 4
    if way == "killed":
        # Nobody is left to look for what left the session; a client does, by its mark.
        os.kill(worker.process.pid, signal.SIGKILL)
        worker.process.wait(10)
        assert gone(everything)
        for pid in sleepers:
            os.kill(pid, signal.SIGKILL)
    else:
        assert worker.end() == 0
        assert gone(everything | sleepers)
        assert not worker.run_dir.exists()


def sleeping() -> set[int]:
    pids = {int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()}
    return {pid for pid in pids if command(pid) == f"sleep\x00{SLEEP}\x00"}


def test_the_end_of_input_ends_a_worker_that_is_starting(start: Start, tmp_path: Path) -> None:
    worker = start(toy_tree(tmp_path))
    worker.start("fastvideo.models.dits.toy:Toy")
    worker.wait_for_stage("importing torch")
    everything = worker.processes()
    assert worker.end() == 0
    assert gone(everything)


def test_a_base_that_is_killed_from_outside_is_made_anew(start: Start, tmp_path: Path) -> None:
    """As by the kernel when memory is short: the request gets its answer."""
    root = toy_tree(tmp_path)
    worker = start(root)
    port = toy_port(root, "plain")
    assert worker.ask(port)["problems"] == []
    base = next(pid for pid in worker.processes() if parent(pid) == worker.process.pid)
    os.kill(base, signal.SIGKILL)
    assert worker.ask(port)["problems"] == []
    blamed = only_problem(worker.ask(toy_port(root, "kills", before=KILLS_THE_BASE)))
    assert (blamed["type"], "SIGKILL" in blamed["message"]) == ("Crash", True)


KILLS_THE_BASE = (
    "grandparent = int(open(f'/proc/{os.getppid()}/stat').read().rpartition(')')[2].split()[1])\n"
    "os.kill(grandparent, 9)\nimport time; time.sleep(60)"
)


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def test_silence_ends_the_worker(start: Start, tmp_path: Path) -> None:
    worker = start(toy_tree(tmp_path), idle_seconds=1)
    assert worker.ask(toy_port(tmp_path, "plain"))["problems"] == []
    assert worker.process.wait(20) == 0
    assert not worker.processes()


def test_without_a_fork(start: Start, tmp_path: Path) -> None:
    root = toy_tree(tmp_path)
    worker = start(root, fork=False)
    answer = worker.ask(toy_port(root, "plain", before="print('noise')"))
    assert answer["problems"] == []
    assert len(answer["port"]["tensors"]) == 7
    assert worker.progress == ["importing torch", "importing the code base", "building the port"]
    problem = only_problem(worker.ask(toy_port(root, "leaves", init="os._exit(5)")))
    assert (problem["type"], problem["side"]) == ("Exit", "port")
    hanging = worker.start(toy_port(root, "hangs", init="import time; time.sleep(600)"))
    worker.wait_for_stage("building the port")
    worker.send({"kind": "cancel", "id": hanging})
    assert only_problem(worker.answer(hanging))["type"] == "Cancelled"
    everything = worker.processes()
    assert worker.end() == 0
    assert gone(everything)
    assert not list(root.rglob("__pycache__"))
