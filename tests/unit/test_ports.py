"""Ports of small trees and of the real package; profile and root."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from analyzers.project.index import Project
from analyzers.project.ports import Port
from analyzers.project.profile import FASTVIDEO, find_profile, find_root
from analyzers.project.settings import Settings
from analyzers.project.sources import Sources
from analyzers.rules.examples import TREE, write_tree

DITS = "fastvideo/models/dits"
CONFIGS = "fastvideo/configs/models/dits"


def ports_of(
    root: Path, files: Mapping[str, str | None], settings: Settings | None = None
) -> dict[str, Port]:
    write_tree(root, files)
    project = Project(Sources(root), FASTVIDEO, settings or Settings())
    return {port.name: port for port in project.ports}


def test_the_sound_port_has_all_its_parts(tmp_path: Path) -> None:
    status = {"tests/local_tests/sound/PORT_STATUS.md": "# Sound\n"}
    port = ports_of(tmp_path, status)["SoundTransformer3DModel"]
    assert port.family == "sound"
    assert port.location.path == f"{DITS}/sound.py"
    assert port.config is not None
    assert port.config.fact.name == "SoundConfig"
    assert port.arch_config is not None
    assert port.arch_config.fact.name == "SoundArchConfig"
    assert port.exported is True
    assert port.reachable == "discovered"
    assert port.mapping is not None
    assert port.mapping.rules == 1
    assert port.mapping.location.path == f"{CONFIGS}/sound.py"
    assert port.parity_tests == ("tests/local_tests/sound/test_sound_transformer_parity.py",)
    assert port.status_file == "tests/local_tests/sound/PORT_STATUS.md"
    assert port.oracle is not None
    assert (port.oracle.ref, port.oracle.source) == ("official_sound:SoundTransformer", "parity-test")
    assert port.oracle.location.path == "tests/local_tests/sound/test_sound_transformer_parity.py"


def test_a_config_that_is_added_to_the_exports_is_exported(tmp_path: Path) -> None:
    path = f"{CONFIGS}/__init__.py"
    apart = "from fastvideo.configs.models.dits.sound import SoundConfig\n__all__ = []\n"
    files = {path: apart + '__all__ += ["SoundConfig"]\n'}
    assert ports_of(tmp_path / "a", files)["SoundTransformer3DModel"].exported is True
    files = {path: apart + '__all__.append("SoundConfig")\n'}
    assert ports_of(tmp_path / "b", files)["SoundTransformer3DModel"].exported is None


def test_a_class_with_a_short_name_has_its_parity_test(tmp_path: Path) -> None:
    test = "tests/local_tests/sound/test_sound_transformer_parity.py"
    files = {
        path: TREE[path].replace("SoundTransformer3DModel", "DiT") for path in (f"{DITS}/sound.py", test)
    }
    assert ports_of(tmp_path, files)["DiT"].parity_tests == (test,)


def test_how_the_registry_reaches_a_port(tmp_path: Path) -> None:
    without = TREE[f"{DITS}/sound.py"].replace("EntryClass = SoundTransformer3DModel\n", "")
    assert (
        ports_of(tmp_path / "a", {f"{DITS}/sound.py": without})["SoundTransformer3DModel"].reachable
        == "legacy"
    )
    files = {f"{DITS}/sound.py": without, "fastvideo/models/registry.py": "_LEGACY_FAST_VIDEO_MODELS = {}\n"}
    assert ports_of(tmp_path / "b", files)["SoundTransformer3DModel"].reachable == "unreachable"


def test_a_port_in_a_package_belongs_to_its_folder(tmp_path: Path) -> None:
    files = {f"{DITS}/loud/__init__.py": "", f"{DITS}/loud/model.py": TREE[f"{DITS}/sound.py"]}
    found = [
        p for p in Project(sources_of(tmp_path, files), FASTVIDEO, Settings()).ports if p.family == "loud"
    ]
    assert [p.location.path for p in found] == [f"{DITS}/loud/model.py"]


def sources_of(root: Path, files: Mapping[str, str | None]) -> Sources:
    write_tree(root, files)
    return Sources(root)


def test_who_names_the_oracle(tmp_path: Path) -> None:
    test = "tests/local_tests/sound/test_sound_transformer_parity.py"
    imported = "from diffusers import SoundTransformer3DModel\n" + TREE[test].replace(
        "SoundTransformer3DModel\n", "X\n", 1
    )
    status = "tests/local_tests/sound/PORT_STATUS.md"
    port = ports_of(tmp_path / "a", {test: imported, status: None})["SoundTransformer3DModel"]
    assert port.oracle is not None
    assert (port.oracle.ref, port.oracle.source) == ("diffusers:SoundTransformer3DModel", "parity-test")
    port = ports_of(tmp_path / "c", {test: imported})["SoundTransformer3DModel"]
    assert port.oracle is not None
    assert (port.oracle.ref, port.oracle.source) == ("official_sound.py::SoundTransformer", "port-status")
    stated = Settings(oracles={"SoundTransformer3DModel": "a/b.py::C"}, source="ditproof.toml")
    port = ports_of(tmp_path / "b", {test: imported}, stated)["SoundTransformer3DModel"]
    assert port.oracle is not None
    assert (port.oracle.ref, port.oracle.source) == ("a/b.py::C", "settings")
    assert port.oracle.location.path == "ditproof.toml"


def test_a_test_that_imports_another_test_names_no_original(tmp_path: Path) -> None:
    """pytest puts a test's folder on the import path: what lies there is a helper, not a package."""
    test = "tests/local_tests/sound/test_sound_transformer_parity.py"
    low = "tests/local_tests/sound/test_sound_low_parity.py"
    files = {
        low: "from test_sound_transformer_parity import SoundTransformer3DModel, models\n",
        "tests/local_tests/sound/PORT_STATUS.md": None,
    }
    port = ports_of(tmp_path / "a", files)["SoundTransformer3DModel"]
    assert [oracle.ref for oracle in port.oracles] == ["official_sound:SoundTransformer"]
    assert set(port.parity_tests) == {test, low}

    # What the helper itself takes from elsewhere is the original of the test that takes it from there.
    here = "from official_sound import SoundTransformer\n"
    files |= {
        test: None,
        "tests/local_tests/sound/parts.py": here,
        low: "from parts import SoundTransformer\n",
    }
    files[low] += "from fastvideo.models.dits.sound import SoundTransformer3DModel\n"
    port = ports_of(tmp_path / "b", files)["SoundTransformer3DModel"]
    assert [oracle.ref for oracle in port.oracles] == ["official_sound:SoundTransformer"]


def test_a_port_that_inherits_has_its_parent_s_config(tmp_path: Path) -> None:
    child = (
        "from fastvideo.models.dits.sound import SoundTransformer3DModel\n\n\n"
        "class EchoTransformer3DModel(SoundTransformer3DModel):\n    pass\n\n\n"
        "EntryClass = EchoTransformer3DModel\n"
    )
    ports = ports_of(tmp_path, {f"{DITS}/echo.py": child})
    config = ports["EchoTransformer3DModel"].config
    assert config is not None
    assert config.fact.name == "SoundConfig"


def test_classes_that_inherit_in_a_circle_end(tmp_path: Path) -> None:
    def half(mine: str, other: str) -> str:
        return (
            "from fastvideo.models.dits.base import BaseDiT\n"
            f"from fastvideo.models.dits.{other.lower()} import {other}\n\n\n"
            f"class {mine}({other}, BaseDiT):\n    def forward(self):\n        pass\n\n\n"
            f"EntryClass = {mine}\n"
        )

    ports = ports_of(
        tmp_path, {f"{DITS}/first.py": half("First", "Second"), f"{DITS}/second.py": half("Second", "First")}
    )
    assert "SoundTransformer3DModel" in ports
    for name in ("First", "Second"):
        if name in ports:
            assert ports[name].config is None


def test_helpers_and_abstract_bases_are_no_ports(tmp_path: Path) -> None:
    text = (
        "from abc import abstractmethod\n\nfrom fastvideo.models.dits.base import BaseDiT\n\n\n"
        "class Common(BaseDiT):\n    pass\n\n\n"
        "class Declared(BaseDiT):\n    @abstractmethod\n    def forward(self, x):\n        pass\n\n\n"
        "class _Hidden(BaseDiT):\n    def forward(self, x):\n        return x\n\n\n"
        "class Real(Common):\n    def forward(self, x):\n        return x\n"
    )
    assert set(ports_of(tmp_path, {f"{DITS}/kinds.py": text})) == {"SoundTransformer3DModel", "Real"}


def test_a_port_stays_while_its_class_is_typed_in(tmp_path: Path) -> None:
    sources = sources_of(tmp_path, {})
    path = f"{DITS}/sound.py"
    sources.facts(path)
    whole = TREE[path]
    at = whole.index("        for block in self.blocks:")
    for damage in ("x = (", 'x = """', "if x", "def f("):
        sources.open(path, f"{whole[:at]}        {damage}\n{whole[at:]}")
        [port] = Project(sources, FASTVIDEO, Settings()).ports
        assert port.name == "SoundTransformer3DModel"
        assert port.config is not None
        assert port.mapping is not None


def test_the_ports_of_the_real_package(fastvideo: Path) -> None:
    project = Project(Sources(fastvideo), FASTVIDEO, Settings())
    ports = {port.name: port for port in project.ports}
    assert len(ports) > 20
    wan = ports["WanTransformer3DModel"]
    assert wan.location.path == f"{DITS}/wanvideo.py"
    assert wan.config is not None
    assert wan.config.fact.name == "WanVideoConfig"
    assert wan.mapping is not None
    assert wan.mapping.rules > 10
    assert wan.exported
    for port in ports.values():
        text = (fastvideo / port.location.path).read_text(encoding="utf-8").split("\n")
        span = port.location.span
        assert text[span.line][span.column : span.end_column] == port.name
        if port.reachable != "unreachable":
            specs = [spec[2] for spec in project.registry.models.values()]
            assert port.name in specs


# --------------------------------------------------------------------------- profile


def test_the_root_is_found_from_below(tmp_path: Path) -> None:
    write_tree(tmp_path, {})
    assert find_root(tmp_path / DITS) == tmp_path.resolve()
    assert find_root(tmp_path / DITS / "sound.py") == tmp_path.resolve()
    assert find_root(tmp_path) == tmp_path.resolve()
    assert find_root(tmp_path.parent) is None
    assert find_profile(tmp_path) is FASTVIDEO
    assert find_profile(tmp_path, "fastvideo") is FASTVIDEO
    assert find_profile(tmp_path, "other") is None


@pytest.mark.parametrize(
    ("path", "checked", "test", "parity"),
    [
        (f"{DITS}/a.py", True, False, False),
        (f"{CONFIGS}/a.py", True, False, False),
        ("fastvideo/models/registry.py", True, False, False),
        ("fastvideo/models/vaes/a.py", False, False, False),
        ("fastvideo/models/dits_old/a.py", False, False, False),
        ("tests/local_tests/a/test_x.py", True, True, True),
        ("tests/a/test_x_parity.py", True, True, True),
        ("tests/a/test_x.py", False, True, False),
        ("fastvideo/tests/x_parity_test.py", True, True, True),
        ("tests/a/parity.py", False, False, False),
        ("tests/a/test_parity.txt", False, False, False),
        ("other/test_parity.py", False, False, False),
    ],
)
def test_what_a_file_is(path: str, checked: bool, test: bool, parity: bool) -> None:
    assert FASTVIDEO.is_checked(path) is checked
    assert FASTVIDEO.is_test(path) is test
    assert FASTVIDEO.is_parity_test(path) is parity


def test_the_config_that_a_shared_base_copies_from_is_no_ports_own(tmp_path: Path) -> None:
    shared = """\
from fastvideo.configs.models.dits.base import DiTConfig
from fastvideo.models.dits.base import BaseDiT


class CachableDiT(BaseDiT):
    param_names_mapping = DiTConfig().param_names_mapping
"""
    port = """\
from fastvideo.configs.models.dits import LostConfig
from fastvideo.models.dits.cachable import CachableDiT


class LostTransformer3DModel(CachableDiT):
    param_names_mapping = LostConfig().param_names_mapping

    def forward(self, hidden_states):
        return hidden_states
"""
    ports = ports_of(tmp_path, {f"{DITS}/cachable.py": shared, f"{DITS}/lost.py": port})
    assert ports["LostTransformer3DModel"].config is None
