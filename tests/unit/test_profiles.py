"""Profiles: what is found by looking at the tree, SGLang's own ways, and a code base nobody has seen."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from cli_testing import Cli, cli

from analyzers.findings import Finding
from analyzers.project import profile as profiles
from analyzers.project.contract import loader_keywords
from analyzers.project.index import Project
from analyzers.project.profile import (
    FASTVIDEO,
    PROFILES,
    SGLANG,
    Discovery,
    Loader,
    Profile,
    find_profile,
    find_root,
)
from analyzers.project.settings import Settings
from analyzers.project.sources import Sources
from analyzers.rules.catalogue import all_rules
from analyzers.rules.engine import check_files
from analyzers.rules.examples import TREE
from lsp_server.session import Session
from lsp_server.workspace import Workspace

__all__ = ["cli"]

S = "sglang/multimodal_gen"
DITS = f"{S}/runtime/models/dits"
CONFIGS = f"{S}/configs/models/dits"

BASES = {
    f"{DITS}/base.py": """\
from abc import ABC

from torch import nn


class BaseDiT(nn.Module, ABC):
    _fsdp_shard_conditions: list = []
    _compile_conditions: list = []
    param_names_mapping: dict

    def __init_subclass__(cls) -> None:
        for attr in ["_fsdp_shard_conditions", "param_names_mapping", "_compile_conditions"]:
            if not hasattr(cls, attr):
                raise AttributeError(attr)

    def __init__(self, config, hf_config, **kwargs) -> None:
        super().__init__()
        self.config = config.arch_config


class CachableDiT(BaseDiT):
    param_names_mapping = {}
""",
    f"{S}/configs/models/base.py": """\
from dataclasses import dataclass, field


@dataclass
class ArchConfig:
    extra_attrs: dict = field(default_factory=dict)

    def __setattr__(self, key, value):
        if key in type(self).__dataclass_fields__:
            object.__setattr__(self, key, value)
        else:
            self.__dict__["extra_attrs"][key] = value


@dataclass
class ModelConfig:
    arch_config: ArchConfig = field(default_factory=ArchConfig)
""",
    f"{CONFIGS}/base.py": f"""\
from dataclasses import dataclass, field

from {S.replace("/", ".")}.configs.models.base import ArchConfig, ModelConfig


@dataclass
class DiTArchConfig(ArchConfig):
    param_names_mapping: dict = field(default_factory=dict)

    def __post_init__(self) -> None:
        pass


@dataclass
class DiTConfig(ModelConfig):
    arch_config: DiTArchConfig = field(default_factory=DiTArchConfig)
""",
    f"{S}/runtime/models/registry.py": """\
_IMAGE_ENCODER_MODELS: dict[str, tuple] = {
    "CLIPVisionModelWithProjection": ("encoders", "clip", "CLIPVisionModel"),
}
""",
    f"{S}/runtime/models/encoders/clip.py": "class CLIPVisionModel:\n    pass\n",
    f"{S}/runtime/loader/component_loaders/transformer_loader.py": """\
class TransformerLoader:
    def load_customized(self, component_model_path, server_args, component_name):
        init_params: dict = {
            "config": dit_config,
            "hf_config": config,
            "quant_config": quant_config,
        }
        if online:
            init_params["adaln_weight_files"] = files
        return self.load_state_dict_model(model_cls=model_cls, init_params=init_params)
""",
    f"{CONFIGS}/tone.py": f"""\
from dataclasses import dataclass, field

from {S.replace("/", ".")}.configs.models.dits.base import DiTArchConfig, DiTConfig


@dataclass
class ToneArchConfig(DiTArchConfig):
    param_names_mapping: dict = field(default_factory=lambda: {{r"^blocks\\.(.*)$": r"layers.\\1"}})


@dataclass
class ToneConfig(DiTConfig):
    arch_config: DiTArchConfig = field(default_factory=ToneArchConfig)
""",
}
"""A small tree as SGLang has it, with a config but without a port."""

TONE = f"""\
from torch import nn

from {S.replace("/", ".")}.configs.models.dits.tone import ToneConfig
from {S.replace("/", ".")}.runtime.models.dits.base import CachableDiT


class ToneBlock(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.to_q = nn.Linear(dim, dim)

    def forward(self, x):
        return self.to_q(x)


class ToneTransformer2DModel(CachableDiT):
    _aliases = ["ToneModel"]
    param_names_mapping = ToneConfig().arch_config.param_names_mapping

    def __init__(self, config: ToneConfig, hf_config, quant_config=None):
        super().__init__(config=config, hf_config=hf_config)
        self.layers = nn.ModuleList([ToneBlock(8) for _ in range(2)])

    def forward(self, hidden_states, encoder_hidden_states, timestep, guidance=None, **kwargs):
        return hidden_states


EntryClass = ToneTransformer2DModel
"""
ENTRY = "EntryClass = ToneTransformer2DModel\n"
UNREACHED = TONE.replace(ENTRY, "")
COPY = "    param_names_mapping = ToneConfig().arch_config.param_names_mapping\n"


def lay(root: Path, files: Mapping[str, str]) -> None:
    for path, text in files.items():
        target = root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")


def sglang_at(root: Path, files: Mapping[str, str]) -> Project:
    lay(root, {**BASES, **files})
    found = find_profile(root)
    assert found is SGLANG
    return Project(Sources(root), found, Settings())


RULES = tuple(
    rule
    for rule in all_rules()
    if (rule.code[:4] in ("DIT1", "DIT2") and rule.code < "DIT206")
    or rule.code in ("DIT207", "DIT211", "DIT401", "DIT402", "DIT501", "DIT801")
)
"""Rules that these trees are sound or broken for: what is tested here must not change with each new one."""


def findings(project: Project) -> list[Finding]:
    return check_files(project, project.checked_files, RULES)


def codes(project: Project) -> list[str]:
    return [f.code for f in findings(project)]


# --------------------------------------------------------------------------- SGLang


def test_a_sound_port_of_sglang(tmp_path: Path) -> None:
    """What FastVideo would report of it (`nn.Linear`, no `__post_init__`, not exported) is no fault there."""
    project = sglang_at(tmp_path, {f"{DITS}/tone.py": TONE})
    assert codes(project) == []
    (port,) = project.ports
    assert (port.name, port.reachable) == ("ToneTransformer2DModel", "discovered")
    assert port.config is not None
    assert port.config.fact.name == "ToneConfig"
    assert port.mapping is not None
    assert port.mapping.rules == 1
    spec = ("dits", "tone", "ToneTransformer2DModel")
    assert project.registry.spec("ToneModel") == project.registry.spec("ToneTransformer2DModel") == spec


@pytest.mark.parametrize(
    ("path", "text", "code", "message"),
    [
        (
            f"{DITS}/tone.py",
            UNREACHED,
            "DIT101",
            "cannot reach 'ToneTransformer2DModel'",
        ),
        (
            f"{DITS}/deep/tone.py",
            TONE,
            "DIT102",
            "it looks at the files of a component's folder, and no deeper; nothing else reaches",
        ),
        (
            f"{DITS}/tone.py",
            TONE.replace("= ToneTransformer2DModel", "= ToneTransformer"),
            "DIT103",
            "ToneTr",
        ),
        (
            f"{S}/runtime/models/registry.py",
            '_IMAGE_ENCODER_MODELS: dict[str, tuple] = {"A": ("encoders", "gone", "A")}\n',
            "DIT104",
            "there is no module 'sglang.multimodal_gen.runtime.models.encoders.gone'",
        ),
        (
            f"{DITS}/tone.py",
            TONE.replace("CachableDiT", "BaseDiT").replace(COPY, ""),
            "DIT202",
            "param_names_mapping",
        ),
        (
            f"{DITS}/tone.py",
            TONE.replace(", quant_config=None", ""),
            "DIT207",
            "config=, hf_config=, quant_config= alone, but its __init__ takes no 'quant_config'",
        ),
        (
            f"{DITS}/tone.py",
            TONE.replace(COPY, ""),
            "DIT211",
            "(1 rules) renames no weight: the loader reads the class attribute",
        ),
    ],
)
def test_what_is_a_fault_in_sglang_too(tmp_path: Path, path: str, text: str, code: str, message: str) -> None:
    project = sglang_at(tmp_path, {path: text})
    found = findings(project)
    assert code in [f.code for f in found]
    assert any(message in f.message for f in found if f.code == code)


def test_no_fix_puts_an_entry_class_where_discovery_does_not_look(tmp_path: Path) -> None:
    for text in (TONE, UNREACHED):
        project = sglang_at(tmp_path, {f"{DITS}/deep/tone.py": text})
        found = findings(project)
        assert found
        assert all(f.fix is None for f in found)


def test_rules_for_adapters_need_not_be_copied_where_lora_reads_the_config(tmp_path: Path) -> None:
    files = {
        f"{DITS}/tone.py": TONE.replace(COPY, ""),
        f"{CONFIGS}/tone.py": BASES[f"{CONFIGS}/tone.py"].replace(
            r'{r"^blocks\.(.*)$"', r'{r"^(.*\.lora_[AB])\.default$"'
        ),
    }
    assert codes(sglang_at(tmp_path, files)) == []


def test_the_loader_s_keywords_are_read_from_the_tree(tmp_path: Path, sglang: Path) -> None:
    project = sglang_at(tmp_path, {})
    wanted = ("config", "hf_config", "quant_config")
    assert loader_keywords(project.names, SGLANG) == wanted
    real = Project(Sources(sglang), SGLANG, Settings())
    assert loader_keywords(real.names, SGLANG) == wanted


def test_absence_is_only_told_of_the_package_itself(tmp_path: Path) -> None:
    """The rest of `sglang` need not be there: nothing is said of what it lacks."""
    files = {f"{CONFIGS}/__init__.py": "from sglang.srt.configs.gone import Gone\n\n__all__ = ['Gone']\n"}
    assert codes(sglang_at(tmp_path, files)) == []
    files = {f"{CONFIGS}/__init__.py": f"from {CONFIGS.replace('/', '.')}.gone import Gone\n"}
    assert codes(sglang_at(tmp_path, files)) == ["DIT111"]


# --------------------------------------------------------------------------- where the root is


@pytest.mark.parametrize("inside", ["", "python/"])
def test_both_layouts_of_sglang(cli: Cli, tmp_path: Path, inside: str) -> None:
    lay(tmp_path, {f"{inside}{path}": text for path, text in BASES.items()})
    lay(tmp_path, {f"{inside}{DITS}/tone.py": UNREACHED, "docs/x.md": ""})
    root = (tmp_path / inside).resolve()
    for start in ("", "docs", f"{inside}{DITS}", f"{inside}{DITS}/tone.py"):
        assert find_root(tmp_path / start) == root
    for given in (tmp_path, root):
        document = cli("check", "--root", given, "--format", "json", "--no-cache").json
        assert (document["profile"], document["root"]) == ("sglang", str(root))
        assert [(f["code"], f["path"]) for f in document["findings"]] == [("DIT101", f"{DITS}/tone.py")]
    outcome = cli("check", tmp_path / f"{inside}{DITS}", "--no-cache", "--statistics")
    assert "DIT101" in outcome.out


def test_a_tree_in_a_checkout_of_another(tmp_path: Path) -> None:
    lay(tmp_path, {f"python/{path}": text for path, text in BASES.items()})
    lay(tmp_path, {f"third_party/FastVideo/{path}": text for path, text in TREE.items()})
    assert (
        find_root(tmp_path / "third_party/FastVideo/fastvideo")
        == (tmp_path / "third_party/FastVideo").resolve()
    )
    assert find_root(tmp_path / "third_party") == (tmp_path / "python").resolve()


def test_the_profile_by_name(cli: Cli, tmp_path: Path) -> None:
    both = {**BASES, **TREE, f"{DITS}/tone.py": UNREACHED}
    lay(tmp_path, both)
    assert cli("check", "--root", tmp_path, "--format", "json").json["profile"] == "fastvideo"
    lay(tmp_path, {"ditproof.toml": 'profile = "sglang"\n'})
    document = cli("check", "--root", tmp_path, "--format", "json").json
    assert document["profile"] == "sglang"
    assert [f["code"] for f in document["findings"]] == ["DIT101"]


def test_a_profile_whose_folders_are_not_there(cli: Cli, tmp_path: Path) -> None:
    lay(tmp_path, {**TREE, "ditproof.toml": 'profile = "sglang"\n'})
    outcome = cli("check", "--root", tmp_path)
    assert outcome.code == 2
    assert f"is not in a tree of SGLang: there is no folder {DITS} here" in outcome.err


def test_the_server_finds_the_root_of_a_checkout(tmp_path: Path) -> None:
    lay(tmp_path, {f"python/{path}": text for path, text in BASES.items()})
    lay(tmp_path, {f"python/{DITS}/tone.py": UNREACHED})
    workspace = Workspace()
    for folder in (tmp_path, tmp_path / "python" / DITS):
        tree = workspace.tree_around(folder)
        assert tree is not None
        assert tree.root == (tmp_path / "python").resolve()
    assert len(workspace.trees) == 1
    workspace.close()
    session = Session(tmp_path / "python")
    assert session.profile is SGLANG
    assert [f.code for f in session.findings(f"{DITS}/tone.py")] == ["DIT101"]
    assert session.findings(f"{S}/runtime/models/encoders/clip.py") == []


# --------------------------------------------------------------------------- what is switched off


def test_reasons_are_given_for_rules_that_exist_or_are_planned() -> None:
    planned = {"DIT108", "DIT109"}
    for profile in PROFILES:
        off = [code for code, _ in profile.rules_off]
        assert off == sorted(set(off))
        assert set(off) <= {rule.code for rule in all_rules()} | planned
        assert all(reason.endswith(".") and len(reason) > 30 for _, reason in profile.rules_off)


def test_asking_for_a_rule_that_is_off_is_answered(cli: Cli, tmp_path: Path) -> None:
    lay(tmp_path, {**BASES, f"{DITS}/tone.py": TONE})
    outcome = cli("check", "--root", tmp_path, "--select", "nn-linear-hot-path")
    assert outcome.code == 0
    assert "warning: DIT401 is switched off in SGLang." in outcome.err
    assert cli("check", "--root", tmp_path, "--select", "DIT4").err == ""
    assert cli("check", "--root", tmp_path, "--select", "DIT401", "--quiet").err == ""


def test_the_doctor_says_what_is_off(cli: Cli, tmp_path: Path) -> None:
    lay(tmp_path, {**BASES, f"{DITS}/tone.py": TONE})
    outcome = cli("doctor", "--root", tmp_path)
    assert "profile    sglang" in outcome.out
    assert "rules off  DIT108, DIT109, DIT110, DIT201," in outcome.out
    assert "sglang unknown" in outcome.out
    assert "fastvideo" not in outcome.out.partition("parity cannot run")[0].lower()
    document = cli("doctor", "--root", tmp_path, "--format", "json").json
    assert document["rules_off"] == dict(SGLANG.rules_off)


# --------------------------------------------------------------------------- a code base nobody has seen

TOY = Profile(
    name="toy",
    title="Toy",
    package="toy",
    models="toy/nets",
    dits="toy/nets/denoisers",
    dit_configs="toy/settings",
    registry="toy/nets/table.py",
    legacy_table="KNOWN",
    discovery=Discovery(nested=False),
    test_roots=("checks",),
    base_dit="toy.nets.denoisers.core.Denoiser",
    model_config_base="toy.settings.core.Setting",
    dit_config_base="toy.settings.core.DenoiserSetting",
    dit_arch_config_base="toy.settings.core.Shape",
    tuple_linears=frozenset({"toy.layers.ToyLinear"}),
    replicated_linear="toy.layers.ToyLinear",
    loader=Loader("toy.load", "Loader", "build"),
    rules_off=(("DIT205", "Toy's base has no `__post_init__` that anybody calls."),),
)
TOY_TREE = {
    "toy/nets/denoisers/core.py": """\
from torch import nn


class Denoiser(nn.Module):
    def __init_subclass__(cls) -> None:
        if not hasattr(cls, "names"):
            raise AttributeError("names")
""",
    "toy/nets/table.py": 'KNOWN = {"Old": ("denoisers", "gone", "Old")}\n',
    "toy/layers.py": "from torch import nn\n\n\nclass ToyLinear(nn.Module):\n    pass\n",
    "toy/load.py": "class Loader:\n    def build(self):\n        return make(init_params={'settings': s})\n",
    "toy/nets/denoisers/hum.py": """\
from torch import nn
from toy.layers import ToyLinear
from toy.nets.denoisers.core import Denoiser


class HumBlock(nn.Module):
    def __init__(self):
        super().__init__()
        self.to_q = nn.Linear(8, 8)
        self.to_k = ToyLinear(8, 8)

    def forward(self, x):
        return self.to_q(x) + self.to_k(x)


class Hum(Denoiser):
    def __init__(self, config):
        super().__init__()
        self.blocks = nn.ModuleList([HumBlock() for _ in range(2)])

    def forward(self, x):
        return x
""",
}


def test_a_third_code_base_needs_no_change_of_a_rule(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lay(tmp_path, TOY_TREE)
    assert find_profile(tmp_path) is None
    monkeypatch.setattr(profiles, "PROFILES", (*PROFILES, TOY))
    assert find_profile(tmp_path) is TOY
    assert find_root(tmp_path / "toy/nets") == tmp_path.resolve()
    project = Project(Sources(tmp_path), TOY, Settings())
    found = {
        (f.code, f.location.path.rpartition("/")[2]): f.message
        for f in check_files(project, project.checked_files)
    }
    assert set(found) == {
        ("DIT101", "hum.py"),
        ("DIT104", "table.py"),
        ("DIT202", "hum.py"),
        ("DIT207", "hum.py"),
        ("DIT401", "hum.py"),
        ("DIT402", "hum.py"),
    }
    assert "toy/nets/table.py" in found["DIT101", "hum.py"] or "EntryClass" in found["DIT101", "hum.py"]
    assert "there is no module 'toy.nets.denoisers.gone'" in found["DIT104", "table.py"]
    assert "'names'" in found["DIT202", "hum.py"]
    assert "takes no 'settings'" in found["DIT207", "hum.py"]
    assert "Toy's linear layers" in found["DIT401", "hum.py"]


def test_fastvideo_has_every_rule() -> None:
    assert FASTVIDEO.rules_off == ()
