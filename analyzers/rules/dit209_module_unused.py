"""DIT209 module-unused: a submodule that is built but that no forward path reaches."""

from __future__ import annotations

import re
from collections.abc import Iterator

from analyzers.facts.model import ClassFacts, Placed
from analyzers.findings import Finding, Severity
from analyzers.project.comments import comments_about, documented_as_unused
from analyzers.project.submodules import Built, unreached
from analyzers.rules.base import Context, Example, Expected, Rule, Tier

_FOR_THE_KEYS = re.compile(
    r"state[-_ ]?dict|\bstrict\b|\bweights?\b|\bload(s|ed|ing|er)?\b|\bkeys?\b", re.IGNORECASE
)
"""Comments that explain a module by the weights that are loaded into it."""


def check(context: Context) -> Iterator[Finding]:
    """Looks at every module class of a model file."""
    if not context.file.path.startswith(context.profile.dits + "/") or context.file.broken:
        return
    for cls in context.file.classes:
        if not cls.fact.bases:
            continue
        for built in unreached(context.project, cls):
            if _is_meant(context, cls, built):
                continue
            kind = built.kind.removeprefix("torch.").rpartition(".")[2]
            yield context.finding(
                built.method.at(built.assignment.span),
                f"'{cls.fact.name}' builds self.{built.name} ({kind}) and no path of its forward reaches it: "
                "either the step that it stands for is missing, or it is loaded for nothing",
                symbol=f"{cls.fact.name}.{built.name}",
            )


def _is_meant(context: Context, cls: Placed[ClassFacts], built: Built) -> bool:
    span = built.method.at(built.assignment.span).span
    if any(_FOR_THE_KEYS.search(text) for text in comments_about(context.file, span)):
        return True
    return documented_as_unused(
        context.file,
        built.name,
        span,
        cls.at(cls.fact.span).span,
        (built.method.fact.docstring, cls.fact.docstring, context.file.docstring),
        alone=True,
    )


_FILE = "fastvideo/models/dits/echo.py"


def _block(built: str, forward: str = "return self.attn(x)", rest: str = "") -> str:
    """A block whose constructor builds that (from line 12 on), with that body of `forward`."""
    made = "\n".join(f"        {line}" if line else "" for line in built.split("\n"))
    body = "\n".join(f"        {line}" for line in forward.split("\n"))
    return f"""\
import torch
from torch import nn

from fastvideo.layers.linear import ReplicatedLinear


class EchoBlock(nn.Module):

    def __init__(self, dim: int, image: bool = False) -> None:
        super().__init__()
        self.attn = nn.Linear(dim, dim)
{made}

    def forward(self, x):
{body}
{rest}"""


def _valid(
    title: str, built: str, forward: str = "return self.attn(x)", rest: str = "", **others: str
) -> Example:
    files = {path.replace("__", "/") + ".py": text for path, text in others.items()}
    return Example(title, {_FILE: _block(built, forward, rest), **files})


def _invalid(
    title: str, built: str, message: str, line: int = 12, forward: str = "return self.attn(x)", rest: str = ""
) -> Example:
    return Example(title, {_FILE: _block(built, forward, rest)}, findings=(Expected(_FILE, line, message),))


_NORM = "self.norm_added_q = nn.LayerNorm(dim)"

RULE = Rule(
    code="DIT209",
    name="module-unused",
    severity=Severity.WARNING,
    tier=Tier.PROJECT,
    summary="a submodule that is built but that no forward path reaches",
    what=(
        "Takes every submodule that a class of the model files builds (`self.x = nn.Linear(...)`, a class of "
        "the tree that derives from `nn.Module`, lists and choices of such). Reports it where nothing takes "
        "it: no method that `forward` reaches or that anybody else may call, in the class, its bases or the "
        "classes that derive from it; no code that holds the object; no string that names it. Setting up its "
        "parameters (`nn.init`, `self.x.weight`) is no use."
    ),
    why=(
        "Either the port lost a step of the official forward (a norm that is built, loaded and never "
        "applied), which changes the numbers without an error; or the module is left over, and costs memory, "
        "load time and an unused parameter in distributed training."
    ),
    how=(
        "Compare with the official forward: call the module where it belongs, or take it out. Where it "
        "has to "
        "stay so that a checkpoint loads strictly, say so in a comment at the line."
    ),
    exceptions=(
        "Modules that a comment at the line, or a comment or docstring that names them, keeps for the "
        "checkpoint or calls unused. Classes that give themselves away (`helper(self, x)`), that walk over "
        "their modules, or that reach them by computed names; classes with bases that are not known; names "
        "that other code takes from some object. Parameters and buffers."
    ),
    source="`fastvideo/models/dits/wanvideo.py`, `WanI2VCrossAttention`",
    check=check,
    valid=(
        Example("every module is used", {}),
        _valid("called", _NORM, "return self.attn(self.norm_added_q(x))"),
        _valid(
            "also put into a list that forward walks",
            "norm = nn.LayerNorm(dim)\nself.norm_added_q = norm\nself.layers = nn.ModuleList([norm])",
            "for layer in self.layers:\n    x = layer(x)\nreturn self.attn(x)",
        ),
        _valid(
            "used on one path", _NORM, "if self.training:\n    x = self.norm_added_q(x)\nreturn self.attn(x)"
        ),
        _valid(
            "kept for the checkpoint",
            "# The official checkpoint stores it; its forward never applies it.\n" + _NORM,
        ),
        _valid("a comment on the line", _NORM + "  # unused, kept for strict loading"),
        _valid(
            "used by a method that forward calls",
            _NORM,
            "return self._mix(x)",
            "\n    def _mix(self, x):\n        return self.attn(self.norm_added_q(x))\n",
        ),
        _valid(
            "used by a method that the pipeline calls",
            _NORM,
            rest="\n    def encode_image(self, x):\n        return self.norm_added_q(x)\n",
            fastvideo__pipelines__echo="def run(model, x):\n    return model.encode_image(x)\n",
        ),
        _valid(
            "taken by the pipeline",
            _NORM,
            fastvideo__pipelines__echo="def run(model, x):\n    return model.norm_added_q(x)\n",
        ),
        _valid(
            "taken by the model around it",
            _NORM,
            rest="""

class EchoModel(nn.Module):

    def __init__(self, dim):
        super().__init__()
        self.block = EchoBlock(dim)

    def forward(self, x):
        return self.block(self.block.norm_added_q(x))
""",
        ),
        _valid(
            "used by a class that derives from it",
            _NORM,
            rest="""

class EchoImageBlock(EchoBlock):

    def forward(self, x):
        return self.attn(self.norm_added_q(x))
""",
        ),
        _valid(
            "handed to another module",
            _NORM + "\nself.wrapped = nn.Sequential(self.norm_added_q)",
            "return self.wrapped(self.attn(x))",
        ),
        _valid("reached by a computed name", _NORM, "return getattr(self, f'norm_{self.kind}')(x)"),
        _valid("walked over", _NORM, "for module in self.children():\n    x = module(x)\nreturn x"),
        _valid("given to a helper with the block", _NORM, "return run_block(self, x)"),
        _valid("asked for", _NORM, "norm = getattr(self, 'norm_added_q')\nreturn self.attn(norm(x))"),
        Example(
            "used by its base",
            {
                _FILE: """\
from torch import nn


class EchoBase(nn.Module):

    def forward(self, x):
        return self.proj(x)


class EchoBlock(EchoBase):

    def __init__(self, dim):
        super().__init__()
        self.proj = nn.Linear(dim, dim)
"""
            },
        ),
        Example(
            "a base that is not known",
            {_FILE: _block(_NORM).replace("(nn.Module)", "(SomeMixin, nn.Module)")},
        ),
        _valid("no module", "self.scale = float(dim)\nself.table = nn.Parameter(torch.zeros(dim))"),
    ),
    invalid=(
        _invalid(
            "built under a local name first",
            "norm = nn.LayerNorm(dim)\nself.norm_added_q = norm",
            "builds self.norm_added_q",
            line=13,
        ),
        _invalid("never taken", _NORM, "builds self.norm_added_q (LayerNorm)"),
        _invalid(
            "a layer of the tree, built in a branch",
            "if image:\n    self.add_q_proj = ReplicatedLinear(dim, dim)",
            "builds self.add_q_proj (ReplicatedLinear)",
            13,
        ),
        _invalid(
            "initialised and never called",
            _NORM + "\nself.init_weights()",
            "builds self.norm_added_q",
            rest="\n    def init_weights(self):\n        nn.init.zeros_(self.norm_added_q.weight)\n",
        ),
        _invalid(
            "a list of modules",
            "self.audio_blocks = nn.ModuleList([nn.Linear(dim, dim) for _ in range(2)])",
            "builds self.audio_blocks (ModuleList)",
        ),
        _invalid(
            "a choice of two",
            "self.norm_added_q = nn.LayerNorm(dim) if image else nn.Identity()",
            "builds self.norm_added_q",
        ),
        _invalid(
            "taken only by a method that nobody calls",
            _NORM,
            "builds self.norm_added_q",
            rest="\n    def _old_mix(self, x):\n        return self.norm_added_q(x)\n",
        ),
        _invalid(
            "another class has one of that name",
            _NORM,
            "'EchoBlock' builds self.norm_added_q",
            rest="""

class OtherBlock(nn.Module):

    def __init__(self, dim):
        super().__init__()
        self.norm_added_q = nn.LayerNorm(dim)

    def forward(self, x):
        return self.norm_added_q(x)
""",
        ),
        _invalid(
            "built by a helper of the constructor",
            "self._build(dim)",
            "builds self.norm_added_q",
            18,
            rest="\n    def _build(self, dim):\n        " + _NORM + "\n",
        ),
    ),
)
