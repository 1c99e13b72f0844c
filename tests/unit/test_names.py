"""Name resolution: definitions across files, bases, class attributes, config fields."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from textwrap import dedent

import pytest

from analyzers.facts.model import Assignment, Collection, Constant, Mapping, Placed
from analyzers.project.contract import construction, default_constructible
from analyzers.project.idioms import calls_parent
from analyzers.project.names import (
    External,
    Missing,
    Module,
    Names,
    Outcome,
    Resolved,
    Unknown,
)
from analyzers.project.profile import FASTVIDEO
from analyzers.project.sources import Sources
from analyzers.rules.examples import write_tree

MODELS = "fastvideo/models/dits/"
CONFIGS = "fastvideo/configs/models/dits/"
Tree = Callable[..., Names]


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    """Names over the example tree; keyword `a_b` lays a text over `a/b.py` of the DiT models folder."""

    def build(files: dict[str, str]) -> Names:
        write_tree(tmp_path, {path: dedent(text) for path, text in files.items()})
        return Names(Sources(tmp_path), FASTVIDEO)

    return build


def attribute(names: Names, path: str, cls: str, name: str) -> Outcome:
    found = names.class_of(path, cls)
    assert found is not None
    return names.class_attribute(found, name)


def field(names: Names, path: str, cls: str, *chain: str) -> Outcome:
    found = names.class_of(path, cls)
    assert found is not None
    return names.config_field(found, chain)


def size(outcome: Outcome) -> int:
    """How many items the display has that an outcome comes down to."""
    assert isinstance(outcome, Resolved), outcome
    assert isinstance(outcome.value, (Mapping, Collection))
    return len(outcome.value.items)


# --------------------------------------------------------------------------- imports


def test_absolute_relative_and_module_imports(tree: Tree) -> None:
    names = tree(
        {
            MODELS + "a.py": """\
                import torch.nn.functional as F
                from torch import nn
                from ...layers.linear import ReplicatedLinear as Linear
                from . import sound
                from .sound import SoundBlock
                import fastvideo.layers.linear
                """,
        }
    )
    path = MODELS + "a.py"
    assert names.qualified(path, "nn.Linear") == "torch.nn.Linear"
    assert names.qualified(path, "F.pad") == "torch.nn.functional.pad"
    assert names.qualified(path, "Linear") == "fastvideo.layers.linear.ReplicatedLinear"
    assert names.qualified(path, "SoundBlock") == "fastvideo.models.dits.sound.SoundBlock"
    assert names.qualified(path, "sound.SoundBlock") == "fastvideo.models.dits.sound.SoundBlock"
    assert names.resolve(path, "sound") == Module(MODELS + "sound.py")
    assert names.qualified(path, "fastvideo.layers.linear.RowParallelLinear") == (
        "fastvideo.layers.linear.RowParallelLinear"
    )
    assert names.resolve(path, "nothing") is None


def test_a_relative_import_beyond_the_top_package_is_unknown(tree: Tree) -> None:
    names = tree({"fastvideo/deep.py": "from .. import torch\nfrom ...x import y\n"})
    assert names.resolve("fastvideo/deep.py", "torch") is None
    assert names.resolve("fastvideo/deep.py", "y") is None


def test_a_missing_module_of_the_package_is_unknown_not_external(tree: Tree) -> None:
    names = tree({MODELS + "a.py": "from fastvideo.gone import Thing\nfrom torch.gone import Other\n"})
    assert names.resolve(MODELS + "a.py", "Thing") is None
    assert names.resolve(MODELS + "a.py", "Other") == External("torch.gone.Other")


def test_folders_without_init_belong_to_the_tree(tree: Tree) -> None:
    names = tree(
        {
            "tests/helpers/tools.py": "class Tool:\n    pass\n",
            MODELS + "a.py": "from tests.helpers.tools import Tool\n",
        }
    )
    assert names.qualified(MODELS + "a.py", "Tool") == "tests.helpers.tools.Tool"


def test_re_exports_are_followed(tree: Tree) -> None:
    names = tree({MODELS + "a.py": "from fastvideo.configs.models.dits import SoundConfig as Cfg\n"})
    assert names.qualified(MODELS + "a.py", "Cfg") == "fastvideo.configs.models.dits.sound.SoundConfig"


def test_star_imports_respect_all_and_underscores(tree: Tree) -> None:
    names = tree(
        {
            MODELS + "open.py": "class Seen:\n    pass\n\n\nclass _Hidden:\n    pass\n",
            MODELS + "closed.py": "__all__ = ['One']\n\n\nclass One:\n    pass\n\n\nclass Two:\n    pass\n",
            MODELS + "a.py": "from .open import *\nfrom .closed import *\n",
        }
    )
    path = MODELS + "a.py"
    assert names.class_of(path, "Seen") is not None
    assert names.class_of(path, "One") is not None
    assert names.resolve(path, "_Hidden") is None
    assert names.resolve(path, "Two") is None


def test_star_imports_that_may_bring_anything_make_a_name_unknown(tree: Tree) -> None:
    names = tree(
        {
            MODELS + "open.py": "class Seen:\n    pass\n",
            MODELS + "other.py": "class Seen:\n    pass\n",
            MODELS + "a.py": "from .open import *\nfrom torch.nn import *\n",
            MODELS + "b.py": "from .open import *\nfrom .other import *\n",
        }
    )
    assert names.resolve(MODELS + "a.py", "Seen") is None
    assert names.resolve(MODELS + "b.py", "Seen") is None


def test_cycles_end(tree: Tree) -> None:
    names = tree(
        {
            MODELS + "a.py": "from .b import Thing\nfrom .b import *\nX = Y\nY = X\n",
            MODELS + "b.py": "from .a import Thing\nfrom .a import *\n",
            MODELS + "c.py": "class A(B):\n    pass\n\n\nclass B(A):\n    pass\n",
        }
    )
    assert names.resolve(MODELS + "a.py", "Thing") is None
    assert names.resolve(MODELS + "a.py", "Absent") is None
    found = names.resolve(MODELS + "a.py", "X")
    assert found is None or isinstance(found, Placed)
    cls = names.class_of(MODELS + "c.py", "A")
    assert cls is not None
    assert not names.ancestry(cls).complete


def test_many_star_imports_in_a_ring_stay_cheap(tree: Tree) -> None:
    count = 14
    ring = {
        f"{MODELS}s{i}.py": "".join(f"from .s{j} import *\n" for j in range(count) if j != i)
        for i in range(count)
    }
    ring[f"{MODELS}s0.py"] += "class Only:\n    pass\n"
    names = tree(ring)
    assert names.class_of(f"{MODELS}s0.py", "Only") is not None
    assert names.resolve(f"{MODELS}s{count - 1}.py", "Absent") is None


def test_names_bound_in_several_ways_are_unknown(tree: Tree) -> None:
    names = tree(
        {
            MODELS + "a.py": """\
                try:
                    from .sound import SoundBlock as Block
                except ImportError:
                    from .other import OtherBlock as Block

                try:
                    from flash_attn import attend
                except ImportError:
                    attend = None

                if FAST:
                    class Layer:
                        pass
                else:
                    class Layer:
                        pass
                """,
        }
    )
    for name in ("Block", "attend", "Layer"):
        assert names.resolve(MODELS + "a.py", name) is None, name


def test_an_import_for_type_checkers_gives_way_to_the_running_one(tree: Tree) -> None:
    names = tree(
        {
            MODELS + "a.py": """\
                from typing import TYPE_CHECKING

                from fastvideo.models.dits.sound import SoundBlock as Block
                if TYPE_CHECKING:
                    from fastvideo.other import Block
                """,
        }
    )
    assert names.qualified(MODELS + "a.py", "Block") == "fastvideo.models.dits.sound.SoundBlock"


def test_an_alias_is_followed_only_where_it_is_the_only_binding(tree: Tree) -> None:
    names = tree(
        {
            MODELS + "a.py": """\
                from .sound import SoundBlock

                Plain = SoundBlock
                Switched = SoundBlock
                if FAST:
                    Switched = FastBlock
                if FAST:
                    Maybe = SoundBlock
                """,
        }
    )
    assert names.class_of(MODELS + "a.py", "Plain") is not None
    for name in ("Switched", "Maybe"):
        found = names.resolve(MODELS + "a.py", name)
        assert isinstance(found, Placed)
        assert isinstance(found.fact, Assignment)


# --------------------------------------------------------------------------- bases


def test_resolution_order_is_pythons(tree: Tree) -> None:
    names = tree(
        {
            MODELS + "a.py": """\
                class Root: pass
                class Left(Root): pass
                class Right(Root): pass
                class Both(Left, Right): pass
                class Wrong(Root, Left): pass
                """,
        }
    )
    both = names.class_of(MODELS + "a.py", "Both")
    wrong = names.class_of(MODELS + "a.py", "Wrong")
    assert both is not None
    assert wrong is not None
    assert [c.fact.name for c in names.ancestry(both).classes] == ["Both", "Left", "Right", "Root"]
    assert names.ancestry(both).complete
    assert not names.ancestry(wrong).complete


def test_deriving_is_certain_or_unknown(tree: Tree) -> None:
    names = tree(
        {
            MODELS + "a.py": """\
                from torch import nn
                from fastvideo.models.dits.sound import SoundTransformer3DModel

                class Port(SoundTransformer3DModel): pass
                class Plain(nn.Module): pass
                class Made(make()): pass
                class Generic(SoundTransformer3DModel[int]): pass
                """,
        }
    )
    wanted = {"Port": True, "Plain": False, "Made": None, "Generic": True}
    for name, expected in wanted.items():
        cls = names.class_of(MODELS + "a.py", name)
        assert cls is not None
        assert names.derives_from(cls, FASTVIDEO.base_dit) is expected, name


# --------------------------------------------------------------------------- class attributes

CONFIG = """\
    from dataclasses import dataclass, field
    from typing import ClassVar

    from fastvideo.configs.models.dits.base import DiTArchConfig, DiTConfig


    def is_block(name, module):
        return True


    def make_rules():
        return {"a": "b", "c": "d", "e": "f"}


    RULES = {"a": "b", "c": "d", "e": "f", "g": "h"}
    make = lambda: [is_block, is_block]


    @dataclass
    class EchoArch(DiTArchConfig):
        _fsdp_shard_conditions: list = field(default_factory=lambda: [is_block])
        param_names_mapping: dict = field(default_factory=lambda: {"a": "b", "c": "d"})
        lora_param_names_mapping: dict = field(default_factory=make_rules)
        from_constant: dict = field(default_factory=lambda: RULES)
        from_lambda: list = field(default_factory=make)
        plain: int = 7
        given: int = field(default=8)
        shared: ClassVar[list] = [1]
        required: int
        empty: list = field(default_factory=list)


    @dataclass
    class EchoConfig(DiTConfig):
        arch_config: DiTArchConfig = field(default_factory=EchoArch)


    @dataclass
    class LambdaConfig(DiTConfig):
        arch_config: DiTArchConfig = field(default_factory=lambda: EchoArch())


    @dataclass
    class ArgumentConfig(DiTConfig):
        arch_config: DiTArchConfig = field(default_factory=lambda: EchoArch(plain=3))
    """


def with_class(body: str, before: str = "") -> dict[str, str]:
    return {
        CONFIGS + "echo.py": dedent(CONFIG),
        MODELS + "echo.py": (
            "from fastvideo.configs.models.dits import echo\n"
            "from fastvideo.configs.models.dits.echo import EchoArch, EchoConfig, ArgumentConfig\n"
            "from fastvideo.models.dits.base import BaseDiT\n\n"
            + dedent(before)
            + "\n\nclass Echo(BaseDiT):\n"
            + "".join(f"    {line}\n" for line in dedent(body).splitlines())
        ),
    }


@pytest.mark.parametrize(
    ("before", "value", "expected"),
    [
        ("", "EchoConfig().param_names_mapping", 2),
        ("", "EchoConfig().arch_config.param_names_mapping", 2),
        ("", "echo.EchoConfig().param_names_mapping", 2),
        ("", "EchoArch().param_names_mapping", 2),
        ("_CFG = EchoConfig()", "_CFG.param_names_mapping", 2),
        ("_CFG = EchoConfig()", "_CFG.arch_config.param_names_mapping", 2),
        ("_ARCH = EchoConfig().arch_config", "_ARCH.param_names_mapping", 2),
        ("_CFG = EchoConfig()\n_ARCH = _CFG.arch_config", "_ARCH.param_names_mapping", 2),
        ("_MAPPING = {'a': 'b'}", "_MAPPING", 1),
        ("", "echo.RULES", 4),
        ("", "dict(EchoConfig().param_names_mapping)", 2),
        ("", "EchoConfig().param_names_mapping.copy()", 2),
        ("_MAPPING = {'a': 'b'}", "_MAPPING.copy()", 1),
        ("class Other:\n    rules = {'a': 'b'}", "Other.rules", 1),
        ("", "(EchoConfig().param_names_mapping)", 2),
        ("", "dict()", 0),
        ("", "EchoConfig().empty", 0),
        ("", "EchoConfig()._compile_conditions", 1),
    ],
)
def test_values_are_followed(tree: Tree, before: str, value: str, expected: int) -> None:
    names = tree(with_class(f"value = {value}", before))
    assert size(attribute(names, MODELS + "echo.py", "Echo", "value")) == expected


@pytest.mark.parametrize(
    ("before", "body"),
    [
        ("", "if FAST:\n    value = {}"),
        ("", "value = {}\nif FAST:\n    value = {'a': 'b'}"),
        ("", "value = []\nvalue += [1]"),
        ("", "value = []\nvalue.append(1)"),
        ("", "value = {}\nvalue['a'] = 'b'"),
        ("", "value, other = {}, {}"),
        ("", "value = {} if FAST else {'a': 'b'}"),
        ("", "@property\ndef value(self):\n    return {}"),
        ("", "value = EchoConfig(prefix='x').param_names_mapping"),
        ("", "value = ArgumentConfig().param_names_mapping"),
        ("_M = {}\n_M['a'] = 'b'", "value = _M"),
        ("_M = {}\n_M.update(a=1)", "value = _M"),
        ("_M = {}\nif FAST:\n    _M = {'a': 'b'}", "value = _M"),
        ("_CFG = EchoConfig()\n_CFG.param_names_mapping = {}", "value = _CFG.param_names_mapping"),
        ("_CFG = make()", "value = _CFG.param_names_mapping"),
        ("", "value = unknown.mapping"),
    ],
)
def test_what_is_not_certain_is_unknown(tree: Tree, before: str, body: str) -> None:
    names = tree(with_class(body, before))
    assert isinstance(attribute(names, MODELS + "echo.py", "Echo", "value"), Unknown)


def test_the_config_of_a_copied_attribute_is_told(tree: Tree) -> None:
    names = tree(with_class("value = _CFG.param_names_mapping", "_CFG = EchoConfig()"))
    outcome = attribute(names, MODELS + "echo.py", "Echo", "value")
    assert isinstance(outcome, Resolved)
    assert outcome.config is not None
    assert outcome.config.fact.name == "EchoConfig"
    assert outcome.location.path == CONFIGS + "echo.py"
    assert outcome.via[0].path == MODELS + "echo.py"


def test_a_class_body_sees_what_it_bound_before(tree: Tree) -> None:
    names = tree(with_class("first = [1, 2]\nsecond = first\nmapping = mapping", "mapping = {'a': 'b'}"))
    assert size(attribute(names, MODELS + "echo.py", "Echo", "second")) == 2
    assert size(attribute(names, MODELS + "echo.py", "Echo", "mapping")) == 1


def test_missing_and_inherited(tree: Tree) -> None:
    files = with_class("plain: int\ndeclared: dict")
    files[MODELS + "echo.py"] += "\n\nclass Heir(Echo):\n    pass\n\n\nclass Odd(Echo, Unseen):\n    pass\n"
    names = tree(files)
    path = MODELS + "echo.py"
    assert isinstance(attribute(names, path, "Echo", "declared"), Missing)
    assert isinstance(attribute(names, path, "Heir", "declared"), Missing)
    assert isinstance(attribute(names, path, "Odd", "declared"), Unknown)
    assert size(attribute(names, path, "Heir", "_fsdp_shard_conditions")) == 0


def test_an_outside_base_may_hold_anything(tree: Tree) -> None:
    files = with_class("pass")
    files[MODELS + "echo.py"] += (
        "\nfrom diffusers import ModelMixin\n\n\nclass Mixed(ModelMixin, Echo):\n    own = {}\n"
    )
    names = tree(files)
    path = MODELS + "echo.py"
    assert isinstance(attribute(names, path, "Mixed", "absent"), Unknown)
    assert isinstance(attribute(names, path, "Mixed", "_fsdp_shard_conditions"), Unknown)
    assert size(attribute(names, path, "Mixed", "own")) == 0


def test_a_store_on_the_class_after_its_body_makes_it_unknown(tree: Tree) -> None:
    files = with_class("value = {}")
    files[MODELS + "echo.py"] += "\n\nEcho.value = {'a': 'b'}\n"
    assert isinstance(attribute(tree(files), MODELS + "echo.py", "Echo", "value"), Unknown)


# --------------------------------------------------------------------------- config fields


@pytest.mark.parametrize("config", ["EchoConfig", "LambdaConfig", "EchoArch"])
def test_fields_come_from_the_config_or_its_arch_config(tree: Tree, config: str) -> None:
    names = tree({CONFIGS + "echo.py": CONFIG})
    path = CONFIGS + "echo.py"
    assert size(field(names, path, config, "param_names_mapping")) == 2
    assert size(field(names, path, config, "lora_param_names_mapping")) == 3
    assert size(field(names, path, config, "from_constant")) == 4
    assert size(field(names, path, config, "from_lambda")) == 2
    assert size(field(names, path, config, "_compile_conditions")) == 1
    for name, value in (("plain", 7), ("given", 8)):
        outcome = field(names, path, config, name)
        assert isinstance(outcome, Resolved)
        assert isinstance(outcome.value, Constant)
        assert outcome.value.value == value
    assert isinstance(field(names, path, config, "required"), Unknown)
    assert isinstance(field(names, path, config, "absent"), Missing)


def test_an_arch_config_made_with_arguments_is_unknown(tree: Tree) -> None:
    names = tree({CONFIGS + "echo.py": CONFIG})
    assert isinstance(field(names, CONFIGS + "echo.py", "ArgumentConfig", "plain"), Unknown)
    config = names.class_of(CONFIGS + "echo.py", "ArgumentConfig")
    assert config is not None
    arch = names.arch_config_class(config)
    assert arch is not None
    assert arch.fact.name == "EchoArch"


def echo_arch(body: str, decorator: str = "@dataclass\n") -> dict[str, str]:
    return {
        CONFIGS + "echo.py": (
            "from dataclasses import dataclass, field\n\n"
            "from fastvideo.configs.models.dits.base import DiTArchConfig\n\n\n"
            "def is_block(name, module):\n    return True\n\n\n"
            f"{decorator}class EchoArch(DiTArchConfig):\n"
            + "".join(f"    {line}\n" for line in dedent(body).splitlines())
        )
    }


def test_an_override_without_super_leaves_the_conditions_uncopied(tree: Tree) -> None:
    shard = "_fsdp_shard_conditions: list = field(default_factory=lambda: [is_block])\n"
    path = CONFIGS + "echo.py"
    forgets = tree(echo_arch(shard + "def __post_init__(self):\n    self.depth = 1"))
    assert size(field(forgets, path, "EchoArch", "_compile_conditions")) == 0


def test_an_override_with_super_copies_them(tree: Tree) -> None:
    shard = "_fsdp_shard_conditions: list = field(default_factory=lambda: [is_block])\n"
    names = tree(
        echo_arch(shard + "def __post_init__(self):\n    super().__post_init__()\n    self.depth = 1")
    )
    assert size(field(names, CONFIGS + "echo.py", "EchoArch", "_compile_conditions")) == 1


@pytest.mark.parametrize(
    "body",
    [
        "self.param_names_mapping = {}",
        "self.param_names_mapping.update(a='b')",
        "self.param_names_mapping['a'] = 'b'",
        "setattr(self, 'param_names_mapping', {})",
        "for name in names():\n    setattr(self, name, {})",
        "self.__dict__.update(values())",
        "self.derive()",
    ],
)
def test_what_post_init_may_change_is_unknown(tree: Tree, body: str) -> None:
    lines = "\n".join(f"    {line}" for line in body.splitlines())
    names = tree(
        echo_arch(
            "param_names_mapping: dict = field(default_factory=dict)\n"
            f"def __post_init__(self):\n    super().__post_init__()\n{lines}\n"
            "def derive(self):\n    self.param_names_mapping = {'a': 'b'}"
        )
    )
    assert isinstance(field(names, CONFIGS + "echo.py", "EchoArch", "param_names_mapping"), Unknown)


def test_reading_in_post_init_changes_nothing(tree: Tree) -> None:
    names = tree(
        echo_arch(
            "param_names_mapping: dict = field(default_factory=dict)\n"
            "def __post_init__(self):\n    super().__post_init__()\n"
            "    self.other = self.param_names_mapping.copy()\n    setattr(self, 'third', 3)"
        )
    )
    assert size(field(names, CONFIGS + "echo.py", "EchoArch", "param_names_mapping")) == 0


def test_overrides_that_dataclasses_ignore(tree: Tree) -> None:
    """Instances hold the base's default: no annotation, or a subclass that is not decorated."""
    path = CONFIGS + "echo.py"
    unannotated = tree(echo_arch("hidden_size = 9"))
    outcome = field(unannotated, path, "EchoArch", "hidden_size")
    assert isinstance(outcome, Resolved)
    assert isinstance(outcome.value, Constant)
    assert outcome.value.value == 0


def test_an_undecorated_subclass_does_not_change_fields(tree: Tree) -> None:
    names = tree(echo_arch("hidden_size: int = 9", decorator=""))
    outcome = field(names, CONFIGS + "echo.py", "EchoArch", "hidden_size")
    assert isinstance(outcome, Resolved)
    assert isinstance(outcome.value, Constant)
    assert outcome.value.value == 0


def test_default_constructible(tree: Tree) -> None:
    names = tree({CONFIGS + "echo.py": CONFIG})
    required = names.class_of(CONFIGS + "echo.py", "EchoConfig")
    sound = names.class_of(CONFIGS + "sound.py", "SoundConfig")
    assert required is not None
    assert sound is not None
    assert not default_constructible(names, required)
    assert default_constructible(names, sound)


# --------------------------------------------------------------------------- constructors


def built(tree: Tree, body: str, more: str = "") -> tuple[set[str], set[str], set[str], bool]:
    lines = "\n".join(f"        {line}" for line in dedent(body).splitlines())
    text = (
        "from fastvideo.models.dits.base import BaseDiT\n\n\n"
        f"class Echo(BaseDiT):\n    def __init__(self, config, hf_config):\n{lines}\n"
        + "".join(f"    {line}\n" for line in dedent(more).splitlines())
    )
    names = tree({MODELS + "echo.py": text})
    cls = names.class_of(MODELS + "echo.py", "Echo")
    assert cls is not None
    found = construction(names, cls)
    assert found is not None
    return set(found.sets), set(found.always), set(found.calls), found.certain


def test_construction_follows_helpers_and_bases(tree: Tree) -> None:
    sets, always, calls, certain = built(
        tree,
        "super().__init__(config, hf_config)\nself.a, (self.b, *self.c) = 1, (2, 3)\nself._more()\n"
        "if config:\n    self._rest()\nself.register_buffer('table', None)",
        "def _more(self):\n    self.d = 1\n    self.__post_init__()\ndef _rest(self):\n    self.e = 1",
    )
    assert {"a", "b", "c", "d", "e", "table", "config", "hf_config"} <= sets
    assert "e" not in always
    assert {"a", "d", "config"} <= always
    assert {"_more", "_rest", "__post_init__"} <= calls
    assert certain


@pytest.mark.parametrize(
    "body",
    [
        "configure(self)",
        "for name in config:\n    setattr(self, name, 1)",
        "vars(self).update(config)",
        "self.__dict__.update(config)",
        "apply(model=[self])",
    ],
)
def test_construction_says_where_it_cannot_follow(tree: Tree, body: str) -> None:
    assert built(tree, body)[3] is False


def test_a_base_called_by_name_is_followed(tree: Tree) -> None:
    sets, _, _, certain = built(tree, "BaseDiT.__init__(self, config, hf_config)")
    assert "hf_config" in sets
    assert certain


# --------------------------------------------------------------------------- what looks like it


def test_an_attribute_stored_on_the_class_after_its_body_hides_the_base(tree: Tree) -> None:
    names = tree(
        {
            MODELS + "a.py": """\
                class Base:
                    conditions = []


                class Port(Base):
                    pass


                Port.conditions = [1]
                """
        }
    )
    assert isinstance(attribute(names, MODELS + "a.py", "Port", "conditions"), Unknown)
    assert size(attribute(names, MODELS + "a.py", "Base", "conditions")) == 0


def test_another_object_s_method_of_that_name_is_no_call_of_the_parent(tree: Tree) -> None:
    names = tree(
        {
            MODELS + "a.py": """\
                class Config(Base):
                    def __post_init__(self):
                        self.arch_config.__post_init__()

                    def __init__(self):
                        Base.__init__(self)
                """
        }
    )
    config = names.class_of(MODELS + "a.py", "Config")
    assert config is not None
    assert [(m.name, calls_parent(m)) for m in config.fact.methods] == [
        ("__post_init__", False),
        ("__init__", True),
    ]
