"""DIT208 dead-parameter: a forward input that is never read, or overwritten before it is read."""

from __future__ import annotations

import re
from collections.abc import Iterator

from analyzers.facts.flow import IDLE, OVERWRITTEN, UNREAD, DeadParameter
from analyzers.facts.model import ClassFacts, FunctionFacts, Placed
from analyzers.findings import Finding, Location, Related, Severity
from analyzers.project.comments import documented_as_unused
from analyzers.project.flows import delegates, flow_through
from analyzers.rules.base import Context, Example, Expected, Rule, Tier

_SAYS_SO = re.compile(r"_|(un_?used|ignored|dummy)(_|$)")
"""Names that say of a parameter that nobody reads it."""


def check(context: Context) -> Iterator[Finding]:
    """Looks at every `forward` of a model file, and at the methods that a `forward` hands itself over to."""
    if not context.file.path.startswith(context.profile.dits + "/"):
        return
    for cls in context.file.classes:
        if context.names.qualified_class(cls) == context.profile.base_dit or not cls.fact.bases:
            continue
        halves = delegates(cls.fact)
        for method in cls.fact.methods:
            if method.name not in halves or method.decorated_with("staticmethod"):
                continue
            placed = Placed(method, cls.path, cls.line)
            flow = flow_through(context.project, cls, placed)
            dead = [
                d for d in (flow.dead if flow is not None else ()) if not _is_meant(context, cls, placed, d)
            ]
            asked = [d for d in dead if d.how == UNREAD and _is_asked_for(context, cls, d.name)]
            if asked:
                yield _undocumented(context, cls, placed, asked)
            for one in dead:
                if one not in asked:
                    yield context.finding(
                        _place(context, placed, one),
                        f"'{cls.fact.name}.{method.name}' {_fault(context, placed, one)}: what is passed for "
                        f"'{one.name}' makes no difference",
                        symbol=f"{cls.fact.name}.{method.name}",
                        related=_related(context, placed, one),
                    )


def _undocumented(
    context: Context, cls: Placed[ClassFacts], method: Placed[FunctionFacts], asked: list[DeadParameter]
) -> Finding:
    """One remark on all inputs that the signature must have, and this model does without."""
    names = [d.name for d in asked]
    quoted = " and ".join(
        [*([", ".join(f"'{n}'" for n in names[:-1])] if names[1:] else []), f"'{names[-1]}'"]
    )
    first, *others = (_place(context, method, d) for d in asked)
    base = context.profile.base_dit.rpartition(".")[2]
    return context.finding(
        first,
        f"'{cls.fact.name}.{method.fact.name}' takes {quoted} because {base}.forward does, and never reads "
        f"{'them' if others else 'it'}: if the official model does without as well, say so with "
        f"`del {', '.join(names)}` or a comment `# unused`",
        severity=Severity.INFORMATION,
        symbol=f"{cls.fact.name}.{method.fact.name}",
        related=tuple(Related(place, "not read either") for place in others),
    )


def _is_meant(
    context: Context, cls: Placed[ClassFacts], method: Placed[FunctionFacts], dead: DeadParameter
) -> bool:
    if dead.disowned or _SAYS_SO.match(dead.name) or dead.name == method.fact.parameters[0].name:
        return True
    return documented_as_unused(
        context.file,
        dead.name,
        _place(context, method, dead).span,
        method.at(method.fact.span).span,
        (method.fact.docstring, cls.fact.docstring, context.file.docstring),
        alone=dead.alone,
    )


def _is_asked_for(context: Context, cls: Placed[ClassFacts], name: str) -> bool:
    """Whether the class is a DiT and the base's `forward` has the parameter for those models that need it."""
    contract = context.project.contract
    forward = contract.base.fact.method("forward") if contract is not None else None
    asked = forward.parameter(name) if forward is not None else None
    if asked is None or asked.default is None:
        return False
    return context.names.derives_from(cls, context.profile.base_dit) is True


def _fault(context: Context, method: Placed[FunctionFacts], dead: DeadParameter) -> str:
    if dead.how == OVERWRITTEN:
        line = _line(context, method, dead)
        return f"overwrites its input '{dead.name}' (line {line}) before any path reads it"
    if dead.how == IDLE:
        return f"reads its input '{dead.name}' only for values that nothing uses"
    return f"never reads its input '{dead.name}'"


def _related(context: Context, method: Placed[FunctionFacts], dead: DeadParameter) -> tuple[Related, ...]:
    if dead.place is None:
        return ()
    start = context.project.sources.bodies.start(method)
    what = "overwritten here" if dead.how == OVERWRITTEN else "read here, to no effect"
    return (Related(Location(method.path, dead.place.shifted(start)), what),)


def _place(context: Context, method: Placed[FunctionFacts], dead: DeadParameter) -> Location:
    return Location(method.path, dead.span.shifted(context.project.sources.bodies.start(method)))


def _line(context: Context, method: Placed[FunctionFacts], dead: DeadParameter) -> int:
    place = dead.place or dead.span
    return place.line + context.project.sources.bodies.start(method) + 1


_FILE = "fastvideo/models/dits/echo_block.py"


def _block(forward: str, extra: str = "") -> str:
    """A module with that `forward` (its first line in line 12)."""
    body = "\n".join(f"    {line}" if line else "" for line in forward.split("\n"))
    return f"""\
import torch
from torch import nn


class EchoBlock(nn.Module):

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.attn = nn.Linear(dim, dim)
        self.embed = nn.Linear(dim, dim)

{body}
{extra}"""


def _valid(title: str, forward: str, extra: str = "") -> Example:
    return Example(title, {_FILE: _block(forward, extra)})


def _invalid(title: str, forward: str, line: int, message: str, extra: str = "") -> Example:
    return Example(title, {_FILE: _block(forward, extra)}, findings=(Expected(_FILE, line, message),))


_DIT = "fastvideo/models/dits/echo.py"


def _dit(parameters: str, first: str = "temb = timestep") -> str:
    """A DiT whose `forward` (in line 7) takes those parameters."""
    return f"""\
from fastvideo.models.dits.base import BaseDiT


class EchoTransformer3DModel(BaseDiT):
    param_names_mapping = {{}}

    def forward(self, {parameters}):
        {first}
        return hidden_states + encoder_hidden_states{" * temb" if first.startswith("temb") else ""}


EntryClass = EchoTransformer3DModel
"""


RULE = Rule(
    code="DIT208",
    name="dead-parameter",
    severity=Severity.WARNING,
    tier=Tier.FILE,
    summary="a forward input that is never read, or overwritten before it is read",
    what=(
        "Follows the inputs of every `forward` in the model files (and of the methods that a `forward` hands "
        "itself over to, such as `_forward_train`) through all branches, loops and exceptions. Reports an "
        "input that no path reads; one that every path overwrites first (`fps = 16`, `mask = None`); and one "
        "that is read only for values that nothing uses, or to choose between branches that do the same. "
        "Passing an input on to a method of the class, or to a function, that ignores it is no use of it. "
        "Optional inputs that are there because `BaseDiT.forward` has them (`guidance`, "
        "`encoder_hidden_states_image`) give one remark for all of them, as information: many models do "
        "without, and only the text can say that this one does."
    ),
    why=(
        "The caller passes a mask, a guidance scale, a frame rate, and the model runs without it: no error, "
        "other numbers. Ports lose conditioning this way, when an official branch is cut down to the one "
        "that the first checkpoint needed."
    ),
    how=(
        "Use the input as the official model does, or drop it together with what the callers pass. Where the "
        "signature must stay (the base asks for it, blocks share a call), say so: `del guidance`, or a "
        "comment on its line such as `# unused: no guidance embedding`."
    ),
    exceptions=(
        "Inputs that the model documents as unused: deleted or stored under `_`, named with a leading "
        "underscore or `unused_`, with a comment on the line or a passage of the docstring that says so. "
        "`*args` and `**kwargs`. Bodies that do nothing: abstract ones, `raise NotImplementedError`, those "
        "that hand back an argument. Inputs that a nested function, lambda or generator reads, functions "
        "that call `locals()`, and decorated ones: there the reader may be elsewhere."
    ),
    source="`fastvideo/models/dits/base.py`, `BaseDiT.forward`; `del` in `fastvideo/models/dits/zimage.py`",
    check=check,
    valid=(
        Example("every input has a reader, or a comment that it has none", {}),
        _valid(
            "read on one path only",
            "def forward(self, x, mask=None):\n    if self.training:\n        x = x * mask\n"
            "    return self.attn(x)",
        ),
        _valid(
            "a default where nothing is passed",
            "def forward(self, x, scale=None):\n    scale = scale or 1.0\n    return self.attn(x) * scale",
        ),
        _valid(
            "decides between branches that differ",
            "def forward(self, x, flag):\n    if flag:\n        y = self.attn(x)\n    else:\n"
            "        y = x\n    return y",
        ),
        _valid(
            "refused when passed",
            "def forward(self, x, mask=None):\n    if mask is not None:\n"
            "        raise ValueError('no masks')\n"
            "    return self.attn(x)",
        ),
        _valid("deleted", "def forward(self, x, guidance=None):\n    del guidance\n    return self.attn(x)"),
        _valid(
            "stored under an underscore",
            "def forward(self, x, guidance=None):\n    _ = guidance\n    return self.attn(x)",
        ),
        _valid("named in full", "def forward(self, x, unused_mask=None):\n    return self.attn(x)"),
        _valid("named so", "def forward(self, x, _guidance=None):\n    return self.attn(x)"),
        _valid(
            "a comment on its line",
            "def forward(\n    self,\n    x,\n    guidance=None,  # Unused, for API compatibility\n):\n"
            "    return self.attn(x)",
        ),
        _valid(
            "a comment above it",
            "def forward(\n    self,\n    x,\n    # Kept for interface compatibility.\n"
            "    guidance=None,\n):\n"
            "    return self.attn(x)",
        ),
        _valid(
            "the docstring says so",
            'def forward(self, x, guidance=None):\n    """Runs the block.\n\n    Args:\n        x: tokens\n'
            '        guidance: ignored, the checkpoint is distilled\n    """\n    return self.attn(x)',
        ),
        _valid("taken by **kwargs", "def forward(self, x, *args, **kwargs):\n    return self.attn(x)"),
        _valid("not implemented", "def forward(self, x, mask):\n    raise NotImplementedError"),
        _valid("hands back its input", "def forward(self, x, temb):\n    return x"),
        _valid(
            "read by a nested function",
            "def forward(self, x, mask):\n    def run(y):\n        return self.attn(y * mask)\n\n"
            "    return run(x)",
        ),
        _valid(
            "read in the next round of the loop",
            "def forward(self, x, carry):\n    for _ in range(3):\n        x = x + carry\n"
            "        carry = self.attn(x)\n"
            "    return x",
        ),
        _valid(
            "read when the call fails",
            "def forward(self, x, fallback):\n    try:\n        fallback = self.attn(x)\n"
            "    except RuntimeError:\n"
            "        pass\n    return fallback",
        ),
        _valid(
            "read through locals()",
            "def forward(self, x, mask):\n"
            "    return self.attn(**{k: v for k, v in locals().items() if k != 'self'})",
        ),
        _valid(
            "read by a decorator, as far as anyone knows",
            "@apply_scale('guidance')\ndef forward(self, x, guidance=None):\n    return self.attn(x)",
        ),
        _valid(
            "a helper that a subclass overrides",
            "def forward(self, x, mask):\n    return self._mix(x, mask)\n\n"
            "def _mix(self, x, mask):\n    return self.attn(x)",
            "\n\nclass EchoMaskedBlock(EchoBlock):\n\n    def _mix(self, x, mask):\n"
            "        return self.attn(x * mask)\n",
        ),
        _valid(
            "changed in place",
            "def forward(self, x, out):\n    out += self.attn(x)\n    return x",
        ),
        _valid(
            "a module that fills a cache",
            "def forward(self, x, cache):\n    filled = self.embed(x, cache=cache)\n    return self.attn(x)",
        ),
        _valid(
            "a branch on the configuration reads it",
            "def forward(self, x, y=None):\n    if self.config.image:\n        x = torch.cat([x, y], dim=1)\n"
            "    return self.attn(x)",
        ),
        _valid(
            "named in a match",
            "def forward(self, x, mode):\n    match mode:\n        case 'a':\n"
            "            return self.attn(x)\n"
            "        case _:\n            return x * 2",
        ),
        _valid("no forward", "def encode(self, x, mask):\n    return self.attn(x)"),
    ),
    invalid=(
        _invalid(
            "never read",
            "def forward(self, x, attention_mask=None):\n    return self.attn(x)",
            12,
            "never reads its input 'attention_mask'",
        ),
        _invalid(
            "overwritten by a constant",
            "def forward(self, x, fps=None):\n    fps = 16\n    return self.attn(x) * fps",
            12,
            "overwrites its input 'fps' (line 13) before any path reads it",
        ),
        _invalid(
            "set to None on every path",
            "def forward(self, x, mask):\n    if self.training:\n        mask = None\n    else:\n"
            "        mask = None\n"
            "    return self.attn(x, mask)",
            12,
            "overwrites its input 'mask'",
        ),
        _invalid(
            "a conditional expression that never chooses it",
            "def forward(self, x, mask):\n    mask = mask if False else None\n    return self.attn(x, mask)",
            12,
            "reads its input 'mask' only for values that nothing uses",
        ),
        _invalid(
            "branches that do the same",
            "def forward(self, x, causal):\n    if causal:\n        y = self.attn(x)\n    else:\n"
            "        y = self.attn(x)\n"
            "    return y",
            12,
            "reads its input 'causal' only",
        ),
        _invalid(
            "both values the same",
            "def forward(self, x, causal):\n    scale = 1.0 if causal else 1.0\n"
            "    return self.attn(x) * scale",
            12,
            "reads its input 'causal' only",
        ),
        _invalid(
            "taken out of its list and left there",
            "def forward(self, x, encoder_attention_mask=None):\n"
            "    text_mask = encoder_attention_mask[0] if encoder_attention_mask else None\n"
            "    return self.attn(x)",
            12,
            "reads its input 'encoder_attention_mask' only",
        ),
        _invalid(
            "filled in where missing, and then forgotten",
            "def forward(self, x, start=0, cache_start=None):\n    if cache_start is None:\n"
            "        cache_start = start\n"
            "    return self.attn(x[:, start:])",
            12,
            "reads its input 'cache_start' only",
        ),
        _invalid(
            "embedded, and the embedding dropped",
            "def forward(self, x, timestep):\n    temb = self.embed(timestep.float())\n"
            "    return self.attn(x)",
            12,
            "reads its input 'timestep' only",
        ),
        _invalid(
            "handed to a helper that ignores it",
            "def forward(self, x, mask):\n    return self.attn(self._mix(x, mask))\n\n"
            "def _mix(self, x, mask=None):\n    return x * 2",
            12,
            "reads its input 'mask' only",
        ),
        _invalid(
            "handed by keyword to a function that ignores it",
            "def forward(self, x, freqs):\n    return rotate(self.attn(x), freqs=freqs)",
            12,
            "reads its input 'freqs' only",
            "\n\ndef rotate(x, freqs):\n    return x.flip(-1)\n",
        ),
        _invalid(
            "in the half that forward hands over to",
            "def forward(self, *args, **kwargs):\n    if self.training:\n"
            "        return self._forward_train(*args)\n"
            "    return self.attn(*args)\n\ndef _forward_train(self, x, mask):\n    return self.attn(x * 2)",
            17,
            "'EchoBlock._forward_train' never reads its input 'mask'",
        ),
        _invalid(
            "by keyword only, in a loop",
            "def forward(self, x, *, steps):\n    for steps in range(4):\n"
            "        x = self.attn(x) + steps\n    return x",
            12,
            "overwrites its input 'steps'",
        ),
        Example(
            "an optional argument of the base that nobody explains",
            {_DIT: _dit("hidden_states, encoder_hidden_states, timestep, guidance=None, **kwargs")},
            findings=(
                Expected(
                    _DIT,
                    7,
                    "takes 'guidance' because BaseDiT.forward does, and never reads it",
                    Severity.INFORMATION,
                ),
            ),
        ),
        Example(
            "an argument of its own beside one of the base",
            {_DIT: _dit("hidden_states, encoder_hidden_states, timestep, guidance=None, camera=None")},
            findings=(
                Expected(_DIT, 7, "takes 'guidance' because", Severity.INFORMATION),
                Expected(_DIT, 7, "never reads its input 'camera'", Severity.WARNING),
            ),
        ),
        Example(
            "a required argument of the base, without which the output cannot be right",
            {_DIT: _dit("hidden_states, timestep, encoder_hidden_states, guidance=None", "del guidance")},
            findings=(Expected(_DIT, 7, "never reads its input 'timestep'", Severity.WARNING),),
        ),
        Example(
            "an argument of the base that looks as if it were used",
            {
                _DIT: _dit(
                    "hidden_states, encoder_hidden_states, timestep, guidance=None",
                    "temb = timestep if guidance is None else timestep",
                )
            },
            findings=(Expected(_DIT, 7, "reads its input 'guidance' only", Severity.WARNING),),
        ),
    ),
)
