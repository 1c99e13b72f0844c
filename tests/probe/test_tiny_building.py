"""Both models of a tiny comparison, built in the project's interpreter from the real FastVideo.

One child answers all questions: importing takes longer than everything that is asked.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
FIXTURES = REPOSITORY / "tests/fixtures/tiny"
RECIPES = REPOSITORY / "ditproof_probe/recipes"

ROUNDING = 5e-6
PORTS = {
    "wan": ("wanvideo", "WanTransformer3DModel"),
    "flux": ("flux", "FluxTransformer2DModel"),
    "flux2": ("flux_2", "Flux2Transformer2DModel"),
    "sd3": ("sd3", "SD3Transformer2DModel"),
    "zimage": ("zimage", "ZImageTransformer2DModel"),
    "hunyuanvideo": ("hunyuanvideo", "HunyuanVideoTransformer3DModel"),
    "hunyuanvideo15": ("hunyuanvideo15", "HunyuanVideo15Transformer3DModel"),
    "cosmos": ("cosmos", "CosmosTransformer3DModel"),
    "glm_image": ("glm_image", "GlmImageTransformer2DModel"),
    "kandinsky5": ("kandinsky5", "Kandinsky5Transformer3DModel"),
}
NO_WEIGHT = {
    "wan_i2v": "norm_added_q",  # the port keeps it for the checkpoints that hold it, and does not use it
    "sd3": r"transformer_blocks.1.attn.*add_*q",
    "hunyuanvideo15": "double_blocks.1.txt",
}
"""What the last block computes for the text alone ends there."""

Answer = dict[str, Any]
Build = Callable[..., Answer]


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tiny") / "child.txt"


@pytest.fixture(scope="module")
def child(project_python: str, bundle: Path, fastvideo: Path, log: Path) -> Iterator[subprocess.Popen[str]]:
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    process = subprocess.Popen(
        [project_python, str(FIXTURES / "run.py"), str(fastvideo.resolve())],
        env={**environment, "PYTHONPATH": str(bundle)},
        cwd=fastvideo,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=log.open("w"),
        text=True,
    )
    yield process
    assert process.stdin is not None
    process.stdin.close()
    process.wait(timeout=30)


@pytest.fixture(scope="module")
def build(child: subprocess.Popen[str], log: Path) -> Build:
    asked: dict[str, Answer] = {}

    def ask(family: str, **task: Any) -> Answer:
        module, name = PORTS[family]
        question = json.dumps({"module": f"fastvideo.models.dits.{module}", "class": name, **task})
        if question not in asked:
            assert child.stdin is not None
            assert child.stdout is not None
            assert child.poll() is None, log.read_text(encoding="utf-8")[-3000:]
            child.stdin.write(question + "\n")
            child.stdin.flush()
            line = child.stdout.readline()
            assert line, log.read_text(encoding="utf-8")[-3000:]
            asked[question] = json.loads(line)
        return asked[question]

    return ask


def shipped() -> list[str]:
    return sorted(path.stem for path in RECIPES.glob("*.py") if path.stem != "__init__")


def family(recipe: str) -> tuple[str, dict[str, Any]]:
    """The family of a recipe, and what names it where it is not the one that a class has by default."""
    return ("wan", {"recipe": str(RECIPES / "wan_i2v.py")}) if recipe == "wan_i2v" else (recipe, {})


def test_nine_families_are_shipped() -> None:
    assert set(shipped()) == {*PORTS, "wan_i2v"} - {"glm_image", "kandinsky5"}


@pytest.mark.parametrize("name", shipped())
def test_a_clean_port_agrees(build: Build, name: str) -> None:
    key, extra = family(name)
    answer = build(key, **extra)
    built, runs = answer["built"], answer["runs"]
    assert (built["missing"], built["unexpected"], built["shapes"]) == ([], [], [])
    assert {"plain", "odd", "seed"} <= set(runs)
    for case, run in runs.items():
        assert run["count"][0] == run["count"][1] > 0, case
        assert all(0.5 < rms < 5 for rms in run["rms"]), case
        if name == "cosmos":
            # Its port takes 16 frames a second whatever is asked for.
            assert all(3e-2 < error < 1 for error in run["max_abs"]), case
        else:
            assert all(error <= ROUNDING for error in run["max_abs"]), case


@pytest.mark.parametrize("name", shipped())
def test_a_run_is_repeatable_and_shares_nothing(build: Build, name: str) -> None:
    key, extra = family(name)
    runs = build(key, **extra)["runs"]
    assert all(run["again"] == [True, True, True] and run["shared"] == 0 for run in runs.values())
    assert len({run["inputs"] for run in runs.values()}) == len(runs)


def test_cosmos_differs_only_by_its_frames_a_second(build: Build, tmp_path: Path) -> None:
    recipe = tmp_path / "cosmos.py"
    text = (RECIPES / "cosmos.py").read_text(encoding="utf-8")
    recipe.write_text(text.replace('"fps": 30', '"fps": 16'), encoding="utf-8")
    runs = build("cosmos", recipe=str(recipe))["runs"]
    assert len(runs) == 5
    assert all(error <= ROUNDING for run in runs.values() for error in run["max_abs"])


@pytest.mark.parametrize(("name", "error"), [("glm_image", 0.0), ("kandinsky5", 5e-3)])
def test_a_recipe_by_the_docs_is_short(build: Build, name: str, error: float) -> None:
    recipe = FIXTURES / f"{name}.py"
    text = recipe.read_text(encoding="utf-8").splitlines()
    written = [line for line in text[1:] if line.strip()]
    assert len(written) < 15
    runs = build(name, recipe=str(recipe))["runs"]
    assert set(runs) == {"plain", "batch", "odd", "seed"}
    assert all(found <= error for run in runs.values() for found in run["max_abs"])


@pytest.mark.parametrize("name", ["wan_i2v", "sd3", "hunyuanvideo15", "flux"])
def test_every_parameter_counts(build: Build, name: str) -> None:
    key, extra = family(name)
    found = build(key, **extra, weightless=True, cases=[])["weightless"]
    expected = NO_WEIGHT.get(name)
    if name == "sd3":
        assert sorted(entry.rpartition("attn.")[2] for entry in found) == [
            "add_q_proj.bias",
            "add_q_proj.weight",
            "norm_added_q.weight",
        ]
    elif expected is None:
        assert found == []
    else:
        assert found
        assert all(expected in entry for entry in found)


def test_what_is_said_of_the_models(build: Build, fastvideo: Path) -> None:
    answer = build("wan")
    built = answer["built"]
    assert answer["said"] == [
        "importing both models",
        "building the official model",
        "building the port",
        "loading the weights",
    ]
    port = fastvideo.resolve() / "fastvideo/models/dits/wanvideo.py"
    text = port.read_text(encoding="utf-8").splitlines()
    native = built["native"]
    assert (native["class"], native["path"]) == ("WanTransformer3DModel", str(port))
    assert text[native["line"]].startswith("class WanTransformer3DModel")
    modules = {module["name"]: module for module in native["modules"]}
    norm = modules["blocks.1.norm_q"]
    path, line, function = norm["built_at"][0]
    assert (path, function) == (str(port), "__init__")
    assert "RMSNorm" in text[line]
    assert norm["parameters"] == ["weight"]
    assert norm["settings"]["variance_epsilon"] == "1e-06"
    assert modules[""]["built_at"] == []
    assert "def forward" in text[modules[""]["line"]]
    assert str(port) in built["files"]
    assert all(Path(path).is_file() for path in built["files"])
    assert any(path.endswith("recipes/wan.py") for path in built["files"])
    fillings = dict(build("hunyuanvideo")["built"]["fillings"])
    assert fillings["double_blocks.0.img_attn_qkv.weight"] == [
        f"transformer_blocks.0.attn.to_{part}.weight" for part in "qkv"
    ]


def test_a_case_that_the_port_cannot_take_is_told(build: Build) -> None:
    built = build("hunyuanvideo")["built"]
    assert "batch" not in built["cases"]
    (told,) = built["problems"]
    assert told["type"] == "CaseRefused"
    assert "norms of its blocks" in told["message"]


def test_what_checkpoints_alone_hold_is_filled(build: Build) -> None:
    built = build("wan", recipe=str(RECIPES / "wan_i2v.py"))["built"]
    assert built["filled"] == [f"blocks.{n}.attn2.norm_added_q.weight" for n in (0, 1)]


def test_both_sides_in_bfloat16(build: Build) -> None:
    answer = build("wan", dtype="bfloat16", cases=["plain"])
    official, native = answer["dtypes"]["official"], answer["dtypes"]["native"]
    # Wholly: that diffusers keeps tables and norms in float32 is a matter of its loader.
    assert "scale_shift_table" in answer["built"]["float32"]
    assert set(official.values()) == set(native.values()) == {"torch.bfloat16"}
    assert answer["runs"]["plain"]["dtypes"] == ["torch.bfloat16", "torch.int64"]
    (error,) = answer["runs"]["plain"]["max_abs"]
    assert 0 < error < 0.2


@pytest.mark.parametrize("both", [True, False])
def test_what_does_not_run_wholly_in_bfloat16_keeps_float32(build: Build, tmp_path: Path, both: bool) -> None:
    """An official class that takes float32 in one place alone. Wan's port runs with tables in float32, and
    does not with all that the class of diffusers keeps."""
    kept = "    _keep_in_fp32_modules = ['scale_shift_table']\n" if both else ""
    (tmp_path / f"official_wan_{both}.py").write_text(
        "import torch\n"
        "from diffusers import WanTransformer3DModel\n\n\n"
        f"class Strict(WanTransformer3DModel):\n{kept}"
        "    def forward(self, hidden_states, timestep, encoder_hidden_states):\n"
        "        if self.blocks[0].scale_shift_table.dtype != torch.float32:\n"
        "            raise TypeError('the table is to be in float32')\n"
        "        return super().forward(hidden_states, timestep, encoder_hidden_states)\n",
        encoding="utf-8",
    )
    ref = f"{tmp_path}/official_wan_{both}.py::Strict"
    answer = build("wan", official=ref, dtype="bfloat16", cases=["plain"])
    official, native = answer["dtypes"]["official"], answer["dtypes"]["native"]
    assert official["blocks.0.scale_shift_table"] == "torch.float32"
    assert official["blocks.0.ffn.net.0.proj.weight"] == "torch.bfloat16"
    assert native["blocks.0.scale_shift_table"] == ("torch.float32" if both else "torch.bfloat16")
    assert native["blocks.0.ffn.fc_in.weight"] == "torch.bfloat16"
    assert answer["runs"]["plain"]["max_abs"][0] < 0.2


def test_weights_depend_on_name_and_seed_alone(build: Build) -> None:
    plain, other = build("wan"), build("wan", seed=1, cases=["plain"])
    ported = build("wan", recipe=str(RECIPES / "wan_i2v.py"))
    name = "blocks.1.attn1.to_q.weight"
    assert plain["hashes"][name] == ported["hashes"][name] != other["hashes"][name]
    assert plain["runs"]["plain"]["inputs"] != other["runs"]["plain"]["inputs"]
    assert other["runs"]["plain"]["max_abs"] == [0.0]
    mean, spread = plain["values"]["blocks.0.attn1.norm_q.weight"]
    assert abs(mean - 1) < 0.1
    assert 0.1 < spread < 0.3
    assert 0.05 < plain["values"]["blocks.0.attn1.to_q.bias"][1] < 0.2


@pytest.mark.parametrize(
    ("mapping", "missing", "unexpected"),
    [
        (
            {r"^blocks\.(\d+)\.attn1\.to_q\.(.*)$": None},
            "blocks.0.to_q.weight",
            "blocks.0.attn1.to_q.weight",
        ),
        (
            {r"^blocks\.(\d+)\.attn1\.to_q\.(.*)$": (r"blocks.\1.to_q.\2", 0, 2)},
            "blocks.0.to_q.weight",
            None,
        ),
    ],
)
def test_what_the_strict_load_refuses_is_told_and_the_rest_runs(
    build: Build, mapping: dict[str, Any], missing: str, unexpected: str | None
) -> None:
    answer = build("wan", mapping=mapping, cases=["plain"])
    built = answer["built"]
    assert missing in built["missing"]
    assert built["unexpected"][:1] == ([unexpected] if unexpected else [])
    assert {told["type"] for told in built["problems"]} == {"StrictLoad"}
    assert answer["runs"]["plain"]["max_abs"][0] > 0.1


def test_a_shape_that_does_not_fit_is_told(build: Build) -> None:
    """Queries and feed-forward exchanged: FastVideo would stop at the first of them."""
    mapping = {r"^blocks\.(\d+)\.ffn\.net\.0\.proj\.(.*)$": r"blocks.\1.ffn.fc_out.\2"}
    mapping |= {r"^blocks\.(\d+)\.ffn\.net\.2\.(.*)$": r"blocks.\1.ffn.fc_in.\2"}
    answer = build("wan", mapping=mapping, cases=["plain"])
    assert "built" in answer, answer
    built = answer["built"]
    assert ["blocks.0.ffn.fc_in.weight", [384, 256], [256, 384]] in built["shapes"]
    assert "blocks.0.ffn.fc_in.weight ([384, 256], and [256, 384] comes)" in built["problems"][0]["message"]


BAD = {
    "import nothing_of_that_name": ("nothing_of_that_name", 0),
    "def inputs(case):\n    return {\n": ("'{' was never closed", 1),
    "PORT = 'WanTransformer3DModel'": ("no function inputs(case)", None),
    "def input(case):\n    return {}": ("defines input, which nothing reads; inputs is meant?", 0),
    "inputs = 3": ("inputs is no function", 0),
    "def inputs():\n    return {}": ("does not take what it is called with (case)", 0),
    "PORT = 'Another'\ndef inputs(case):\n    return {}": (
        "is for Another, not for WanTransformer3DModel",
        0,
    ),
    "CASES = ['plain']\ndef inputs(case):\n    return {}": ("CASES is no dict", 0),
    "LIMITS = {'batch': 'one'}\ndef inputs(case):\n    return {}": ("LIMITS['batch'] is neither", 0),
    "LIMITS = {'batch': 0}\ndef inputs(case):\n    return {}": ("LIMITS leaves no case", None),
    "def config(tiny):\n    pass\ndef inputs(case):\n    return {}": ("config(tiny) returns no dict", 0),
    "\ndef inputs(case):\n    return case.randn(1)": ("inputs returns no dict", 1),
    "\ndef inputs(case):\n    x = 1\n    return {'x': case.length}": ("A case has no length", 3),
    "def inputs(case):\n    return {'sample': case.randn(1)}": ("official forward takes no sample", 0),
    "def inputs(case):\n    return {'hidden_states': case.randn(1)}": ("asks for timestep", 0),
}


@pytest.mark.parametrize("text", BAD)
def test_a_wrong_recipe_is_told_at_its_line(build: Build, tmp_path: Path, text: str) -> None:
    recipe = tmp_path / "recipe.py"
    recipe.write_text(text, encoding="utf-8")
    message, line = BAD[text]
    problem = build("wan", recipe=str(recipe), official="diffusers:WanTransformer3DModel")["problem"]
    assert message in problem["message"]
    assert (problem["stage"], problem["path"], problem["line"]) == ("recipe", str(recipe), line)


@pytest.mark.parametrize(
    ("extra", "message", "function"),
    [
        ("def port_inputs(inputs, case):\n    return {'x': 1}\n", "port's forward asks for", "port_inputs"),
        ("def outputs(out):\n    return 3\n", "it has a int in it", "outputs"),
        ("def port_outputs(out):\n    return []\n", "it has no tensor", "port_outputs"),
        ("def port_config(arch):\n    arch.nothing\n", "nothing", "port_config"),
    ],
)
def test_a_wrong_function_of_a_recipe_is_told(
    build: Build, tmp_path: Path, extra: str, message: str, function: str
) -> None:
    recipe = tmp_path / "recipe.py"
    text = (RECIPES / "wan.py").read_text(encoding="utf-8") + "\n" + extra
    recipe.write_text(text, encoding="utf-8")
    problem = build("wan", recipe=str(recipe))["problem"]
    assert message in problem["message"]
    assert problem["path"] == str(recipe)
    lines = text.splitlines()
    first = next(number for number, line in enumerate(lines) if line.startswith(f"def {function}("))
    assert first <= problem["line"] <= first + 1


def test_no_recipe_names_the_next_step(build: Build) -> None:
    problem = build("kandinsky5")["problem"]
    assert problem["type"] == "NoRecipe"
    assert "ditproof trace Kandinsky5Transformer3DModel --scaffold" in problem["next_step"]


def test_no_official_class_names_the_next_step(build: Build, tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.py"
    recipe.write_text("def inputs(case):\n    return {}\n", encoding="utf-8")
    problem = build("wan", recipe=str(recipe))["problem"]
    assert problem["type"] == "NoOracle"
    assert "OFFICIAL" in problem["next_step"]


def test_a_port_whose_constructor_fails_is_told_at_its_line(build: Build, fastvideo: Path) -> None:
    problem = build("wan", config={"qk_norm": "no such norm"})["problem"]
    assert problem["stage"] == "build"


@pytest.mark.parametrize("name", shipped())
def test_building_is_quick(build: Build, name: str) -> None:
    """Half of the time that a verdict may take is left to measuring. Wide: the machine is shared."""
    key, extra = family(name)
    assert build(key, **extra)["built"]["seconds"] < 1.5
