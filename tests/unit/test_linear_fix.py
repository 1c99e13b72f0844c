"""DIT401's fix in the ways in which porters build and call a linear: exact results, refusals with a place."""

from __future__ import annotations

from pathlib import Path

import pytest

from analyzers.findings import Fix
from analyzers.fixes.base import Refused
from analyzers.fixes.verify import edited_texts
from analyzers.project.index import Project
from analyzers.project.profile import FASTVIDEO
from analyzers.project.settings import Settings
from analyzers.project.sources import Sources
from analyzers.rules.examples import write_tree

PORT = "fastvideo/models/dits/port.py"
OTHER = "fastvideo/models/dits/other.py"
HEAD = "import torch\nimport torch.nn as nn\n\nfrom fastvideo.layers.linear import ReplicatedLinear\n\n\n"


def block(init: str, forward: str, head: str = HEAD, after: str = "") -> str:
    """A module whose `__init__` body begins in line 11 and whose `forward` body follows two lines below."""

    def body(text: str) -> str:
        return "".join(f"        {line}\n" if line else "\n" for line in text.split("\n"))

    return (
        f"{head}class Block(nn.Module):\n\n    def __init__(self, dim, gated=False):\n"
        f"        super().__init__()\n{body(init)}\n    def forward(self, x, "
        f"temb=None):\n{body(forward)}{after}"
    )


def fixed(root: Path, files: dict[str, str], attribute: str = "fc", cls: str = "Block") -> dict[str, str]:
    write_tree(root, files)
    project = Project(Sources(root), FASTVIDEO, Settings())
    arguments = {
        "path": PORT,
        "class": cls,
        "attribute": attribute,
        "linear": FASTVIDEO.replicated_linear,
    }
    return edited_texts(project, Fix("", "use-replicated-linear", arguments))


NEW = "self.fc = ReplicatedLinear(dim, dim)"
OLD = "self.fc = nn.Linear(dim, dim)"

REWRITTEN = {
    "assigned": ((OLD, "x = self.fc(x)\nreturn x"), (NEW, "x, _ = self.fc(x)\nreturn x")),
    "returned": ((OLD, "return self.fc(x)"), (NEW, "return self.fc(x)[0]")),
    "inside an expression": (
        (OLD, "return x + self.fc(x).view(-1) * torch.tanh(self.fc(x))"),
        (NEW, "return x + self.fc(x)[0].view(-1) * torch.tanh(self.fc(x)[0])"),
    ),
    "within itself": ((OLD, "y = self.fc(self.fc(x))"), (NEW, "y, _ = self.fc(self.fc(x)[0])")),
    "over several lines": (
        (OLD, "y = self.fc(\n    x,\n)\nreturn y"),
        (NEW, "y, _ = self.fc(\n    x,\n)\nreturn y"),
    ),
    "annotated and augmented": (
        (OLD, "y: torch.Tensor = self.fc(x)\ny += self.fc(x)"),
        (NEW, "y: torch.Tensor = self.fc(x)[0]\ny += self.fc(x)[0]"),
    ),
    "to several names": ((OLD, "a = b = self.fc(x)"), (NEW, "a = b = self.fc(x)[0]")),
    "where the blank is read": (
        (OLD, "_ = x.shape\ny = self.fc(x)\nreturn y, _"),
        (NEW, "_ = x.shape\ny = self.fc(x)[0]\nreturn y, _"),
    ),
    "into an attribute": ((OLD, "self.cache = self.fc(x)"), (NEW, "self.cache, _ = self.fc(x)")),
    "only called": ((OLD, "self.fc(x)"), (NEW, "self.fc(x)")),
    "conditional call": (
        (OLD, "return self.fc(x) if self.fc is not None else x"),
        (NEW, "return self.fc(x)[0] if self.fc is not None else x"),
    ),
    "in a lambda": (
        (OLD, "f = lambda y: self.fc(y)\nreturn f(x)"),
        (NEW, "f = lambda y: self.fc(y)[0]\nreturn f(x)"),
    ),
    "in a nested function": (
        (OLD, "def run(y):\n    y = self.fc(y)\n    return y\nreturn run(x)"),
        (NEW, "def run(y):\n    y, _ = self.fc(y)\n    return y\nreturn run(x)"),
    ),
    "through a local name": (
        (OLD, "layer = self.fc\nreturn layer(x)"),
        (NEW, "layer = self.fc\nreturn layer(x)[0]"),
    ),
    "its forward called": ((OLD, "return self.fc.forward(x)"), (NEW, "return self.fc.forward(x)[0]")),
    "weights are read": (
        (f"{OLD}\nnn.init.zeros_(self.fc.weight)", "x = self.fc(x.to(self.fc.weight.dtype))"),
        (f"{NEW}\nnn.init.zeros_(self.fc.weight)", "x, _ = self.fc(x.to(self.fc.weight.dtype))"),
    ),
    "sizes are read": (
        (OLD, "assert x.shape[-1] == self.fc.in_features\nreturn self.fc(x).view(-1, self.fc.out_features)"),
        (NEW, "assert x.shape[-1] == self.fc.input_size\nreturn self.fc(x)[0].view(-1, self.fc.output_size)"),
    ),
    "arguments by keyword": (
        (
            "self.fc = nn.Linear(in_features=dim, out_features=2 * dim, bias=False, dtype=torch.bfloat16)",
            "return self.fc(x)",
        ),
        (
            "self.fc = ReplicatedLinear(input_size=dim, output_size=2 * dim, bias=False, "
            "params_dtype=torch.bfloat16)",
            "return self.fc(x)[0]",
        ),
    ),
    "bias by position": (
        ("self.fc = nn.Linear(dim, dim, False)", "return self.fc(x)"),
        ("self.fc = ReplicatedLinear(dim, dim, False)", "return self.fc(x)[0]"),
    ),
    "arguments under each other": (
        (
            "self.fc = nn.Linear(dim,\n                    2 * dim,\n                    bias=True)",
            "return self.fc(x)",
        ),
        (
            "self.fc = ReplicatedLinear(dim,\n                           2 * dim,\n         "
            "                  bias=True)",
            "return self.fc(x)[0]",
        ),
    ),
    "built or not": (
        (f"if gated:\n    {OLD}\nelse:\n    self.fc = None", "if self.fc:\n    x = self.fc(x)"),
        (f"if gated:\n    {NEW}\nelse:\n    self.fc = None", "if self.fc:\n    x, _ = self.fc(x)"),
    ),
    "a choice of sizes": (
        ("self.fc = nn.Linear(dim, 1) if gated else nn.Linear(dim, 2)", "return self.fc(x)"),
        ("self.fc = ReplicatedLinear(dim, 1) if gated else ReplicatedLinear(dim, 2)", "return self.fc(x)[0]"),
    ),
    "annotated attribute": (
        ("self.fc: nn.Linear = nn.Linear(dim, dim)", "return self.fc(x)"),
        ("self.fc: ReplicatedLinear = ReplicatedLinear(dim, dim)", "return self.fc(x)[0]"),
    ),
    "annotated and perhaps not built": (
        (
            "self.fc: nn.Linear | None = None\nif gated:\n    self.fc = nn.Linear(dim, dim)",
            "return self.fc(x) if self.fc else x",
        ),
        (
            "self.fc: ReplicatedLinear | None = None\nif gated:\n    self.fc = ReplicatedLinear(dim, dim)",
            "return self.fc(x)[0] if self.fc else x",
        ),
    ),
    "last of a Sequential": (
        (
            "self.fc = nn.Sequential(nn.SiLU(), nn.Linear(dim, 6 * dim))\nnn.init.zeros_(self.fc[-1].weight)",
            "shift, scale = self.fc(temb).chunk(2, dim=-1)\nm = self.fc(temb)",
        ),
        (
            "self.fc = nn.Sequential(nn.SiLU(), ReplicatedLinear(dim, 6 * "
            "dim))\nnn.init.zeros_(self.fc[-1].weight)",
            "shift, scale = self.fc(temb)[0].chunk(2, dim=-1)\nm, _ = self.fc(temb)",
        ),
    ),
    "a Sequential stepped through": (
        ("self.fc = nn.Sequential(nn.SiLU(), nn.Linear(dim, dim))", "return self.fc[1](self.fc[0](x))"),
        (
            "self.fc = nn.Sequential(nn.SiLU(), ReplicatedLinear(dim, dim))",
            "return self.fc[1](self.fc[0](x))[0]",
        ),
    ),
    "a ModuleList in loops": (
        (
            "self.fc = nn.ModuleList([nn.Linear(dim, dim) for _ in range(2)])",
            "for layer in self.fc:\n    x = layer(x)\nfor i, layer in enumerate(self.fc):\n "
            "   x = x + i * layer(x)\n"
            "for a, fc in zip((1, 2), self.fc):\n    x = a * fc(x)\nys = [fc(x) for fc in self.fc]\n"
            "return self.fc[0](x), len(self.fc)",
        ),
        (
            "self.fc = nn.ModuleList([ReplicatedLinear(dim, dim) for _ in range(2)])",
            "for layer in self.fc:\n    x, _ = layer(x)\nfor i, layer in enumerate(self.fc):\n"
            "    x = x + i * layer(x)[0]\nfor a, fc in zip((1, 2), self.fc):\n    x = a * fc(x)[0]\n"
            "ys = [fc(x)[0] for fc in self.fc]\nreturn self.fc[0](x)[0], len(self.fc)",
        ),
    ),
    "a ModuleList with another layer": (
        (
            "self.fc = nn.ModuleList([nn.Linear(dim, dim), nn.Dropout(0.0)])",
            "x = self.fc[0](x)\nx = self.fc[1](x)\nreturn self.fc[-2](x)",
        ),
        (
            "self.fc = nn.ModuleList([ReplicatedLinear(dim, dim), nn.Dropout(0.0)])",
            "x, _ = self.fc[0](x)\nx = self.fc[1](x)\nreturn self.fc[-2](x)[0]",
        ),
    ),
    "a ModuleDict": (
        (
            'self.fc = nn.ModuleDict({"q": nn.Linear(dim, dim), "k": nn.Linear(dim, dim)})',
            'q = self.fc["q"](x)\nfor name, layer in self.fc.items():\n    x = layer(x)',
        ),
        (
            'self.fc = nn.ModuleDict({"q": ReplicatedLinear(dim, dim), "k": ReplicatedLinear(dim, dim)})',
            'q, _ = self.fc["q"](x)\nfor name, layer in self.fc.items():\n    x, _ = layer(x)',
        ),
    ),
    "checkpointed": (
        (OLD, "x = torch.utils.checkpoint.checkpoint(self.fc, x, use_reentrant=False)"),
        (NEW, "x, _ = torch.utils.checkpoint.checkpoint(self.fc, x, use_reentrant=False)"),
    ),
    "letters beyond ASCII before it": (
        (OLD, 'a = "äöü"; x = self.fc(x)  # größe\nreturn "ß", self.fc(x)'),
        (NEW, 'a = "äöü"; x, _ = self.fc(x)  # größe\nreturn "ß", self.fc(x)[0]'),
    ),
    "initialised in a loop": (
        (
            f"{OLD}\nfor m in self.modules():\n    if isinstance(m, nn.Linear) and m.bias is not None:\n"
            "        nn.init.zeros_(m.bias)",
            "return self.fc(x)",
        ),
        (
            f"{NEW}\nfor m in self.modules():\n    if isinstance(m, (nn.Linear, "
            f"ReplicatedLinear)) and m.bias is not None:\n"
            "        nn.init.zeros_(m.bias)",
            "return self.fc(x)[0]",
        ),
    ),
    "initialised in a loop with others": (
        (
            f"{OLD}\nfor m in self.modules():\n    if isinstance(m, (nn.Linear, nn.Conv3d)):\n"
            "        nn.init.zeros_(m.weight)",
            "return self.fc(x)",
        ),
        (
            f"{NEW}\nfor m in self.modules():\n    if isinstance(m, (nn.Linear, nn.Conv3d, "
            f"ReplicatedLinear)):\n"
            "        nn.init.zeros_(m.weight)",
            "return self.fc(x)[0]",
        ),
    ),
}


@pytest.mark.parametrize(("before", "after"), REWRITTEN.values(), ids=REWRITTEN)
@pytest.mark.parametrize("newline", ["\n", "\r\n"], ids=["lf", "crlf"])
def test_rewritten(before: tuple[str, str], after: tuple[str, str], newline: str, tmp_path: Path) -> None:
    write_tree(tmp_path, {})
    (tmp_path / PORT).write_bytes(block(*before).replace("\n", newline).encode("utf-8"))
    project = Project(Sources(tmp_path), FASTVIDEO, Settings())
    arguments = {"path": PORT, "class": "Block", "attribute": "fc", "linear": FASTVIDEO.replicated_linear}
    result = edited_texts(project, Fix("", "use-replicated-linear", arguments))
    assert result == {PORT: block(*after).replace("\n", newline)}


REFUSED = {
    "another class in a branch": (f"{OLD} if gated else nn.Identity()", "return self.fc(x)", "port.py:11"),
    "another class in another method": (OLD, "self.fc = nn.Identity()\nreturn self.fc(x)", "port.py:14"),
    "FastVideo's in a branch": (
        "self.fc = nn.Linear(dim, 1) if gated else ReplicatedLinear(dim, 1)",
        "return self.fc(x)",
        "port.py:11",
    ),
    "wrapped": ("self.fc = nn.utils.weight_norm(nn.Linear(dim, dim))", "return self.fc(x)", "port.py:11"),
    "a device": ('self.fc = nn.Linear(dim, dim, device="cuda")', "return self.fc(x)", "port.py:11: "),
    "arguments behind **": ("self.fc = nn.Linear(dim, dim, **{})", "return self.fc(x)", "port.py:11"),
    "arguments behind *": ("self.fc = nn.Linear(*dim)", "return self.fc(x)", "port.py:11"),
    "dtype by position": (
        "self.fc = nn.Linear(dim, dim, True, None, torch.bfloat16)",
        "return self.fc(x)",
        "port.py:11",
    ),
    "not last in a Sequential": (
        "self.fc = nn.Sequential(\n    nn.Linear(dim, dim),\n    nn.GELU(),\n    nn.Linear(dim, dim),\n)",
        "return self.fc(x)",
        "port.py:12",
    ),
    "a Sequential in a loop": (
        "self.fc = nn.Sequential(nn.SiLU(), nn.Linear(dim, dim))",
        "for layer in self.fc:\n    x = layer(x)\nreturn x",
        "port.py:14",
    ),
    "a mixed ModuleList": (
        "self.fc = nn.ModuleList([nn.Linear(dim, dim), nn.GELU()])",
        "for layer in self.fc:\n    x = layer(x)\nreturn x",
        "port.py:14",
    ),
    "an extended ModuleList": (
        "self.fc = nn.ModuleList([nn.Linear(dim, dim)])\nself.fc.append(nn.GELU())",
        "return self.fc[0](x)",
        "port.py:12",
    ),
    "input by keyword": (OLD, "return self.fc(input=x)", "port.py:14"),
    "in a string": (OLD, 'return f"{self.fc(x).shape}"', "port.py:14"),
    "handed on": (OLD, "return apply_to(self.fc, x)", "port.py:14"),
    "handed on by name": (OLD, "layer = self.fc\nreturn apply_to(layer, x)", "port.py:15"),
    "mapped": (OLD, "return list(map(self.fc, x))", "port.py:14"),
    "kept in a list": (OLD, "for layer in [self.fc]:\n    x = layer(x)\nreturn x", "port.py:14"),
    "a choice of layers": (OLD, "return (self.fc if x.ndim else self.fc)(x)", "port.py:14"),
    "unpacked already": (OLD, "x, _ = self.fc(x)\nreturn x", "port.py:14"),
    "fetched by name": (OLD, 'return getattr(self, "fc")(x)', "port.py:14"),
    "fetched by a computed name": (OLD, "return getattr(self, x)(x)", "port.py:14"),
    "set by name": (f'{OLD}\nsetattr(self, "fc", nn.Identity())', "return self.fc(x)", "port.py:12"),
    "children walked": (OLD, "for child in self.children():\n    x = child(x)\nreturn x", "port.py:14"),
    "children by name": (OLD, 'return self._modules["fc"](x)', "port.py:14"),
    "a hook on its output": (
        f"{OLD}\nself.fc.register_forward_hook(print)",
        "return self.fc(x)",
        "port.py:12",
    ),
    "reset": (f"{OLD}\nself.fc.reset_parameters()", "return self.fc(x)", "port.py:12"),
    "tested for its type": (
        f"{OLD}\nfor m in self.modules():\n    if isinstance(m, nn.Linear):\n        m.reset_parameters()",
        "return self.fc(x)",
        "port.py:13",
    ),
    "tested for its exact type": (
        f"{OLD}\nfor m in self.modules():\n    if type(m) is nn.Linear:\n        m.weight.zero_()",
        "return self.fc(x)",
        "port.py:13",
    ),
    "two names for one layer": (
        "self.fc = self.out = nn.Linear(dim, dim)",
        "return self.fc(x)",
        "port.py:11",
    ),
    "one of several targets": ("self.fc, self.a = nn.Linear(dim, dim), 1", "return self.fc(x)", "port.py:11"),
    "a name bound twice": (
        OLD,
        "layer = self.fc\nif x.ndim:\n    layer = torch.tanh\nreturn layer(x)",
        "port.py:14",
    ),
}


@pytest.mark.parametrize(("init", "forward", "where"), REFUSED.values(), ids=REFUSED)
def test_refused(init: str, forward: str, where: str, tmp_path: Path) -> None:
    with pytest.raises(Refused) as refusal:
        fixed(tmp_path, {PORT: block(init, forward)})
    assert where in str(refusal.value)


# --------------------------------------------------------------------------- beyond the class

OUTER = """

class Outer(nn.Module):

    def __init__(self, dim):
        super().__init__()
        self.block = Block(dim)
        self.fc = nn.Linear(dim, dim)
        self.blocks = nn.ModuleList([Block(dim) for _ in range(2)])

    def forward(self, x):
        x = self.fc(x)
        x = self.block.fc(x)
        for block in self.blocks:
            x = x + block.fc(x)
        return self.blocks[0].fc(x)
"""


def test_calls_from_other_classes_of_the_file(tmp_path: Path) -> None:
    result = fixed(tmp_path, {PORT: block(OLD, "return self.fc(x)", after=OUTER)})
    wanted = (
        OUTER.replace("x = self.block.fc(x)", "x, _ = self.block.fc(x)")
        .replace("x + block.fc(x)", "x + block.fc(x)[0]")
        .replace("self.blocks[0].fc(x)", "self.blocks[0].fc(x)[0]")
    )
    assert result == {PORT: block(NEW, "return self.fc(x)[0]", after=wanted)}


def test_a_subclass_in_another_file(tmp_path: Path) -> None:
    other = (
        "from fastvideo.models.dits.port import Block\n\n\nclass Wide(Block):\n\n"
        "    def forward(self, x, temb=None):\n        return self.fc(x) + temb\n"
    )
    result = fixed(tmp_path, {PORT: block(OLD, "return self.fc(x)"), OTHER: other})
    assert result == {
        PORT: block(NEW, "return self.fc(x)[0]"),
        OTHER: other.replace("self.fc(x)", "self.fc(x)[0]"),
    }


def test_an_annotated_argument_of_a_function(tmp_path: Path) -> None:
    other = (
        "from fastvideo.models.dits import port\n\n\ndef run(block: port.Block, x):\n"
        "    y = block.fc(x)\n    return y\n"
    )
    result = fixed(tmp_path, {PORT: block(OLD, "return self.fc(x)"), OTHER: other})
    assert result[OTHER] == other.replace("y = block.fc(x)", "y, _ = block.fc(x)")


BEYOND = {
    "a processor of unknown modules": "\n\ndef process(attn, x):\n    return attn.fc(x)\n",
    "a function of a base": (
        "\n\nclass Wide(Block):\n    def __init__(self, dim):\n        super().__init__(dim)\n"
        "        self.fc = nn.Identity()\n"
    ),
    "an element of an unknown list": "\n\ndef process(blocks, x):\n    return blocks[0].fc(x)\n",
    "set from outside": "\n\ndef patch(block):\n    block.fc = nn.Identity()\n",
}


@pytest.mark.parametrize("after", BEYOND.values(), ids=BEYOND)
@pytest.mark.parametrize("elsewhere", [False, True], ids=["same file", "other file"])
def test_refused_beyond_the_class(after: str, elsewhere: bool, tmp_path: Path) -> None:
    own = block(OLD, "return self.fc(x)", after="" if elsewhere else after)
    files = {PORT: own}
    if elsewhere:
        files[OTHER] = f"import torch.nn as nn\n\nfrom fastvideo.models.dits.port import Block\n{after}"
    with pytest.raises(Refused, match="other.py:" if elsewhere else "port.py:"):
        fixed(tmp_path, files)


def test_a_base_that_calls_it(tmp_path: Path) -> None:
    base = "class Base(nn.Module):\n\n    def run(self, x):\n        return self.fc(x)\n\n\n"
    text = block(OLD, "return self.run(x)", head=HEAD + base).replace("Block(nn.Module)", "Block(Base)")
    with pytest.raises(Refused, match=r"port.py:10 .*may be another class's"):
        fixed(tmp_path, {PORT: text})


def test_a_base_that_calls_its_children(tmp_path: Path) -> None:
    text = block(OLD, "return super().forward(x)").replace("Block(nn.Module)", "Block(nn.Sequential)")
    with pytest.raises(Refused, match=r"a base of 'Block' \(.*port.py:7\)"):
        fixed(tmp_path, {PORT: text})


def test_another_class_with_such_an_attribute_stays(tmp_path: Path) -> None:
    after = (
        "\n\nclass Plain(nn.Module):\n\n    def __init__(self, dim):\n        super().__init__()\n"
        "        self.fc = nn.Linear(dim, dim)\n\n    def forward(self, x):\n        x, y = self.fc(x)\n"
        "        return self.fc.reset_parameters()\n"
    )
    result = fixed(tmp_path, {PORT: block(OLD, "return self.fc(x)", after=after)})
    assert result == {PORT: block(NEW, "return self.fc(x)[0]", after=after)}


@pytest.mark.parametrize(
    ("head", "wanted"),
    [
        (
            "import torch.nn as nn\n\nfrom fastvideo.layers.linear import ColumnParallelLinear\n\n\n",
            "import torch.nn as nn\n\nfrom fastvideo.layers.linear import "
            "ColumnParallelLinear, ReplicatedLinear\n\n\n",
        ),
        (
            "import torch.nn as nn\n\nfrom fastvideo.attention import A\nfrom "
            "fastvideo.models import B\n\n\n",
            "import torch.nn as nn\n\nfrom fastvideo.attention import A\n"
            "from fastvideo.layers.linear import ReplicatedLinear\nfrom fastvideo.models import B\n\n\n",
        ),
        (
            '"""Doc."""\n\nimport torch.nn as nn\n\nfrom fastvideo.models import B\n\nlogger = B()\n\n\n',
            '"""Doc."""\n\nimport torch.nn as nn\n\nfrom fastvideo.layers.linear import ReplicatedLinear\n'
            "from fastvideo.models import B\n\nlogger = B()\n\n\n",
        ),
    ],
    ids=["joined", "in order", "before the only one"],
)
def test_the_import(head: str, wanted: str, tmp_path: Path) -> None:
    result = fixed(tmp_path, {PORT: block(OLD, "return self.fc(x)", head=head)})
    assert result == {PORT: block(NEW, "return self.fc(x)[0]", head=wanted)}


def test_a_name_that_is_taken(tmp_path: Path) -> None:
    head = "import torch.nn as nn\n\n\nclass ReplicatedLinear:\n    pass\n\n\n"
    with pytest.raises(Refused, match="'ReplicatedLinear' means something else"):
        fixed(tmp_path, {PORT: block(OLD, "return self.fc(x)", head=head)})


def test_the_name_under_which_the_file_knows_the_class(tmp_path: Path) -> None:
    head = "import torch.nn as nn\n\nfrom fastvideo.layers.linear import ReplicatedLinear as RL\n\n\n"
    result = fixed(tmp_path, {PORT: block(OLD, "return self.fc(x)", head=head)})
    assert result == {PORT: block("self.fc = RL(dim, dim)", "return self.fc(x)[0]", head=head)}
