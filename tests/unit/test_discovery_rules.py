"""Where the discovery rules have to keep quiet, and where a fix must not be offered."""

from __future__ import annotations

from pathlib import Path

import pytest

from analyzers.findings import Finding, Severity
from analyzers.project.bindings import absence, listed
from analyzers.project.index import Project
from analyzers.project.profile import FASTVIDEO
from analyzers.project.settings import Settings
from analyzers.project.sources import Sources
from analyzers.rules.catalogue import all_rules
from analyzers.rules.engine import check_files
from analyzers.rules.examples import TREE, write_tree

REGISTRY = "fastvideo/models/registry.py"
VIVID = "fastvideo/models/dits/vivid.py"
PORT = """\
from fastvideo.models.dits.base import BaseDiT


class VividTransformer3DModel(BaseDiT):
    param_names_mapping = {}

    def forward(self, hidden_states, encoder_hidden_states, timestep, guidance=None, **kwargs):
        return hidden_states
"""


def project_of(root: Path, files: dict[str, str | None]) -> Project:
    write_tree(root, files)
    return Project(Sources(root), FASTVIDEO, Settings())


def found(root: Path, code: str, files: dict[str, str | None]) -> list[Finding]:
    project = project_of(root, files)
    (rule,) = (r for r in all_rules() if r.code == code)
    return [f for f in check_files(project, project.checked_files, [rule]) if f.code == code]


def registry_with(row: str) -> str:
    return TREE[REGISTRY].replace("MODELS = {\n", "MODELS = {\n" + row, 1)


# ------------------------------------------------------------------ DIT101


def test_a_file_that_does_not_parse_hides_nothing_for_good(tmp_path: Path) -> None:
    assert found(tmp_path, "DIT101", {VIVID: PORT + "\n\ndef broken(:\n    pass\n"}) == []


def test_an_entry_class_in_another_broken_file_may_be_the_one(tmp_path: Path) -> None:
    other = (
        "from .vivid import VividTransformer3DModel\n\nclass A(:\n    pass\n\n"
        "EntryClass = VividTransformer3DModel\n"
    )
    assert found(tmp_path, "DIT101", {VIVID: PORT, "fastvideo/models/dits/other.py": other}) == []


def test_tables_that_cannot_be_read_make_it_information(tmp_path: Path) -> None:
    files: dict[str, str | None] = {VIVID: PORT, REGISTRY: "_LEGACY_FAST_VIDEO_MODELS = build()\n"}
    (finding,) = found(tmp_path, "DIT101", files)
    assert finding.severity is Severity.INFORMATION


def test_a_row_of_the_package_reaches_the_class_of_its_module(tmp_path: Path) -> None:
    files: dict[str, str | None] = {
        "fastvideo/models/dits/vivid/__init__.py": "from .model import VividTransformer3DModel as Vivid\n",
        "fastvideo/models/dits/vivid/model.py": PORT,
        REGISTRY: registry_with('    "OldVivid": ("dits", "vivid", "Vivid"),\n'),
    }
    (finding,) = found(tmp_path, "DIT101", files)
    assert finding.severity is Severity.INFORMATION
    assert "'OldVivid'" in finding.message


def test_no_fix_takes_a_name_from_another_class(tmp_path: Path) -> None:
    row = '    "VividTransformer3DModel": ("dits", "sound", "SoundTransformer3DModel"),\n'
    (finding,) = found(tmp_path, "DIT101", {VIVID: PORT, REGISTRY: registry_with(row)})
    assert finding.severity is Severity.ERROR
    assert finding.fix is None


def test_no_fix_extends_an_entry_class_that_is_wrong_itself(tmp_path: Path) -> None:
    (finding,) = found(tmp_path, "DIT101", {VIVID: PORT + "\n\nEntryClass = VividTransformer\n"})
    assert finding.fix is None


def test_only_names_that_some_code_may_bind_are_left_alone(tmp_path: Path) -> None:
    for call, findings in (("vars(block)", 1), ("vars()", 0), ("globals()", 0)):
        method = f"\n\ndef plain(block):\n    return {call}\n"
        files: dict[str, str | None] = {VIVID: PORT + method + "\n\nEntryClass = VividTransformer\n"}
        assert len(found(tmp_path, "DIT103", files)) == findings


# ------------------------------------------------------------------ DIT102


def test_an_entry_class_of_pipelines_is_no_matter_of_the_model_registry(tmp_path: Path) -> None:
    path = "fastvideo/pipelines/basic/vivid/__init__.py"
    project = project_of(tmp_path, {path: "from .p import VividPipeline\n\nEntryClass = VividPipeline\n"})
    assert check_files(project, [path]) == []


def test_an_alias_is_not_moved_under_another_name(tmp_path: Path) -> None:
    init = (
        'from .model import VividTransformer3DModel as Vivid\n\n__all__ = ["Vivid"]\n\nEntryClass = Vivid\n'
    )
    files: dict[str, str | None] = {
        "fastvideo/models/dits/vivid/__init__.py": init,
        "fastvideo/models/dits/vivid/model.py": PORT,
    }
    (finding,) = found(tmp_path, "DIT102", files)
    assert finding.severity is Severity.ERROR
    assert finding.fix is None


def test_a_value_that_cannot_be_followed_is_a_warning(tmp_path: Path) -> None:
    (finding,) = found(tmp_path, "DIT102", {VIVID: PORT + "\n\nEntryClass = make_model()\n"})
    assert finding.severity is Severity.WARNING
    assert finding.fix is None


# ------------------------------------------------------------------ DIT104 and what it stands on

BOUND = {
    "a loop": "for LoudVAE in (1, 2):\n    pass\n",
    "a tuple": "LoudVAE, other = make()\n",
    "a condition": "if True:\n    class LoudVAE:\n        pass\n",
    "an attempt": "try:\n    from diffusers import LoudVAE\nexcept ImportError:\n    LoudVAE = None\n",
    "a walrus": "print(LoudVAE := 1)\n",
    "globals": "globals()['Loud' + 'VAE'] = 1\n",
    "a module getattr": "def __getattr__(name):\n    return 1\n",
    "a function that says global": "def f():\n    global LoudVAE\n    LoudVAE = 1\n\n\nf()\n",
    "a star from outside": "from diffusers import *\n",
    "a module that does not parse": "class Loud(:\n    pass\n",
    "with": "with open('x') as LoudVAE:\n    pass\n",
}


@pytest.mark.parametrize("text", BOUND.values(), ids=BOUND)
def test_a_class_that_may_be_bound_is_not_missing(text: str, tmp_path: Path) -> None:
    row = '    "LoudVAE": ("vaes", "loud", "LoudVAE"),\n'
    files: dict[str, str | None] = {REGISTRY: registry_with(row), "fastvideo/models/vaes/loud.py": text}
    assert found(tmp_path, "DIT104", files) == []


UNBOUND = {
    "a mention in a docstring": '"""LoudVAE, see below."""\n',
    "a mention in a function": "def f():\n    LoudVAE = 1\n    return LoudVAE\n",
    "a base of another": "from torch import nn\n\n\nclass QuietVAE(nn.Module):\n    LoudVAE = 1\n",
    "an import in a function": "def f():\n    from diffusers import LoudVAE\n    return LoudVAE\n",
    "a string in a list": '__all__ = ["LoudVAE"]\n',
}


@pytest.mark.parametrize("text", UNBOUND.values(), ids=UNBOUND)
def test_a_class_that_is_only_mentioned_is_missing(text: str, tmp_path: Path) -> None:
    row = '    "LoudVAE": ("vaes", "loud", "LoudVAE"),\n'
    files: dict[str, str | None] = {REGISTRY: registry_with(row), "fastvideo/models/vaes/loud.py": text}
    (finding,) = found(tmp_path, "DIT104", files)
    assert "does not define 'LoudVAE'" in finding.message


def test_a_namespace_package_is_not_called_a_missing_module(tmp_path: Path) -> None:
    row = '    "LoudVAE": ("vaes", "loud", "LoudVAE"),\n'
    files: dict[str, str | None] = {
        REGISTRY: registry_with(row),
        "fastvideo/models/vaes/loud/part.py": "class LoudVAE:\n    pass\n",
    }
    assert found(tmp_path, "DIT104", files) == []


def test_a_cycle_of_imports_is_not_proof(tmp_path: Path) -> None:
    project = project_of(
        tmp_path,
        {"fastvideo/a.py": "from fastvideo.b import X\n", "fastvideo/b.py": "from fastvideo.a import X\n"},
    )
    assert absence(project.names, "fastvideo/a.py", "X") is None


# ------------------------------------------------------------------ DIT110 and DIT111

INIT = "fastvideo/configs/models/dits/__init__.py"
CONFIG = "fastvideo/configs/models/dits/vivid.py"
VIVID_CONFIG = (
    "from fastvideo.configs.models.dits.base import DiTConfig\n\n\nclass VividConfig(DiTConfig):\n    pass\n"
)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ('__all__ = ["A", "B"]\n', ("A", "B")),
        ('__all__ = ["A"]\n__all__ += ["B"]\n', ("A", "B")),
        ('__all__ = ["A"]\n__all__.append("B")\n', None),
        ("__all__ = [n for n in names]\n", None),
        ('if x:\n    __all__ = ["A"]\n', None),
        ("x = 1\n", None),
    ],
)
def test_only_plain_lists_of_exports_are_read(
    text: str, names: tuple[str, ...] | None, tmp_path: Path
) -> None:
    facts = project_of(tmp_path, {"fastvideo/a.py": text}).file("fastvideo/a.py")
    assert facts is not None
    exports = listed(facts)
    assert (None if exports is None else tuple(n for n, _ in exports)) == names


def test_without_a_list_of_exports_the_import_is_enough(tmp_path: Path) -> None:
    init = "from .sound import SoundConfig\nfrom .vivid import VividConfig\n"
    assert found(tmp_path, "DIT110", {CONFIG: VIVID_CONFIG, INIT: init}) == []


def test_a_base_that_another_file_uses_is_no_mere_base(tmp_path: Path) -> None:
    files: dict[str, str | None] = {
        CONFIG: VIVID_CONFIG + "\n\nclass LargeVividConfig(VividConfig):\n    pass\n",
        INIT: "from .sound import SoundConfig\nfrom .vivid import LargeVividConfig\n",
        VIVID: "from fastvideo.configs.models.dits.vivid import VividConfig\n",
    }
    (finding,) = found(tmp_path, "DIT110", files)
    assert finding.symbol == "VividConfig"


def test_a_lazy_package_exports_what_its_getattr_gives(tmp_path: Path) -> None:
    init = '__all__ = ["SoundConfig", "Lazy"]\n\n\ndef __getattr__(name):\n    return 1\n'
    assert found(tmp_path, "DIT111", {INIT: init}) == []
