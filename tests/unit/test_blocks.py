"""Which classes a port builds in its repeated blocks, and what an attribute is proven to hold."""

from __future__ import annotations

from pathlib import Path

import pytest

from analyzers.project.blocks import find_blocks
from analyzers.project.index import Project
from analyzers.project.layers import submodule, wants_tensor
from analyzers.project.profile import FASTVIDEO
from analyzers.project.settings import Settings
from analyzers.project.sources import Sources
from analyzers.rules.examples import write_tree

PATH = "fastvideo/models/dits/noise.py"

HEAD = """\
import torch
from torch import nn
from fastvideo.layers.linear import ReplicatedLinear
from fastvideo.models.dits.base import BaseDiT


class Norm(nn.Module):
    def forward(self, x: torch.Tensor):
        return x


class Dispatched(nn.Module):
    def forward(self, *args):
        return self.forward_native(*args)

    def forward_native(self, x: torch.Tensor):
        return x


class Inner(nn.Module):
    pass


class PosEmbed(nn.Module):
    def __init__(self):
        self.inner = Other()


class Other(nn.Module):
    pass


class Block(nn.Module):
    def __init__(self):
        self.inner = Inner()
        self.embed = PosEmbed()


def build(kind):
    return kind()


def build_block():
    return Block()


class Base(BaseDiT):
    def __init__(self, config, hf_config):
        self.base_blocks = [Other() for _ in range(2)]

    def forward(self, hidden_states):
        return hidden_states

"""


def project(tmp_path: Path, body: str) -> Project:
    write_tree(tmp_path, {PATH: HEAD + body})
    return Project(Sources(tmp_path), FASTVIDEO, Settings())


@pytest.mark.parametrize(
    ("init", "expected"),
    [
        ("self.blocks = nn.ModuleList([Block() for _ in range(2)])", {"Block", "Inner"}),
        ("self.blocks = nn.ModuleList([Block(), Block()])", {"Block", "Inner"}),
        ("self.blocks = nn.ModuleList([build_block() for _ in range(2)])", {"Block", "Inner"}),
        ("for i in range(2):\n            self.add(i)", {"Block", "Inner"}),
        ("kind = Block if config else Inner\n        x = [kind() for _ in range(2)]", {"Block", "Inner"}),
        ("super().__init__(config, hf_config)", {"Other"}),
        # Not repeated; a class that a parameter or another function chooses; an embedder.
        ("self.block = Block()", set()),
        ("self.blocks = [hf_config() for _ in range(2)]", set()),
        ("self.blocks = [build(Block) for _ in range(2)]", set()),
        ("self.embeds = [PosEmbed() for _ in range(2)]", set()),
    ],
)
def test_classes_of_repeated_blocks(init: str, expected: set[str], tmp_path: Path) -> None:
    body = f"""
class Port(Base):
    def __init__(self, config, hf_config):
        {init}

    def add(self, i):
        self.add_module(str(i), Block())
"""
    tree = project(tmp_path, body)
    blocks = find_blocks(tree.names, tuple(p for p in tree.ports if p.name == "Port"))
    assert {b.cls.fact.name for b in blocks.values()} == expected
    for block in blocks.values():
        assert block.chain[0] == block.port
        assert block.chain[-1] == block.cls.fact.name


@pytest.mark.parametrize(
    ("assignments", "classes"),
    [
        ("self.x = ReplicatedLinear(1, 1)", {"fastvideo.layers.linear.ReplicatedLinear"}),
        ("self.x = nn.Linear(1, 1) if a else None", {"torch.nn.Linear"}),
        (
            "self.x = Norm() if a else nn.Identity()",
            {"fastvideo.models.dits.noise.Norm", "torch.nn.Identity"},
        ),
        ("self.x = nn.Linear(1, 1)\n        self.x = wrap(self.x)", None),
        ("self.x = a(1, 1)", None),
        ("self.x, self.y = nn.Linear(1, 1), 2", None),
        ("pass", None),
    ],
)
def test_what_an_attribute_holds(assignments: str, classes: set[str] | None, tmp_path: Path) -> None:
    body = f"class Holder(nn.Module):\n    def __init__(self, a):\n        {assignments}\n"
    tree = project(tmp_path, body)
    facts = tree.file(PATH)
    holder = facts.class_named("Holder") if facts is not None else None
    assert holder is not None
    held = submodule(tree.names, holder, "x")
    assert (held.classes if held is not None else None) == classes


def test_an_unknown_base_leaves_the_attribute_open(tmp_path: Path) -> None:
    body = "class Holder(make_base()):\n    def __init__(self):\n        self.x = nn.Linear(1, 1)\n"
    tree = project(tmp_path, body)
    facts = tree.file(PATH)
    holder = facts.class_named("Holder") if facts is not None else None
    assert holder is not None
    assert submodule(tree.names, holder, "x") is None


@pytest.mark.parametrize(
    ("name", "expected"),
    [("Norm", True), ("Dispatched", True), ("Inner", False), ("Block", False)],
)
def test_modules_that_declare_a_tensor(name: str, expected: bool, tmp_path: Path) -> None:
    tree = project(tmp_path, "")
    assert wants_tensor(tree.names, f"fastvideo.models.dits.noise.{name}") is expected
    assert wants_tensor(tree.names, "torch.nn.GELU")
    assert not wants_tensor(tree.names, "torch.nn.Identity")
