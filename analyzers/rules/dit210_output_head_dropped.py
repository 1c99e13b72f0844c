"""DIT210 output-head-dropped: an output head that is computed and not returned."""

from __future__ import annotations

import re
from collections.abc import Iterator

from analyzers.facts.flow import Dropped
from analyzers.facts.model import ClassFacts, FunctionFacts, Placed
from analyzers.findings import Finding, Location, Related, Severity, Span
from analyzers.project.comments import comments_about, says_unused
from analyzers.project.flows import dropped_values, is_module_call, may_act, reached_methods
from analyzers.project.idioms import self_name
from analyzers.project.returned import lost_parts
from analyzers.rules.base import Context, Example, Expected, Rule, Tier

_OUTPUT = re.compile(
    r"(^|_)(action|audio|camera|depth|flow|frame|image|img|latent|logit|mask|motion|noise|out|output|pixel|pose"
    r"|pred|prediction|rgb|sample|sound|text|velocity|video|vid)s?(_|$)",
    re.IGNORECASE,
)
"""Names of single elements that say that they are an output, not a bias or a residual."""


def check(context: Context) -> Iterator[Finding]:
    """Looks at `forward` and the methods of the class that it reaches."""
    if not context.file.path.startswith(context.profile.dits + "/"):
        return
    heads = re.compile(context.profile.output_heads)
    for cls in context.file.classes:
        reached = reached_methods(cls.fact)
        for method in cls.fact.methods:
            own = self_name(method)
            if method.name not in reached or own is None:
                continue
            called = {fact.call.callee for fact in method.calls}
            if not any(_head(heads, callee, own) for callee in called):
                continue
            placed = Placed(method, cls.path, cls.line)
            yield from _faults(context, cls, placed, heads, own)
            if method.name != "forward":
                yield from _lost(context, cls, placed, heads, own)


def _faults(
    context: Context,
    cls: Placed[ClassFacts],
    method: Placed[FunctionFacts],
    heads: re.Pattern[str],
    own: str,
) -> Iterator[Finding]:
    start = context.project.sources.bodies.start(method)
    dropped = [d for d in dropped_values(context.project, cls, method) if _head(heads, d.callee, own)]
    for value in dropped:
        if not _is_output(value, dropped) or _is_meant(context, value.span.shifted(start)):
            continue
        if may_act(context.project, cls, value.callee, own):
            continue
        if value.name is None and not is_module_call(context.project, cls, value.callee, own):
            continue  # called for what it does, as far as anyone knows
        what = f"'{value.name}' from {value.callee}" if value.element is not None else value.callee
        kept = f" (stored in '{value.name}')" if value.name is not None and value.element is None else ""
        yield context.finding(
            Location(method.path, value.span.shifted(start)),
            f"'{cls.fact.name}.{method.fact.name}' computes {what}{kept} and drops it: no path "
            "returns or reads the value, so this output never leaves the model",
            symbol=f"{cls.fact.name}.{value.callee.partition('.')[2]}",
        )


def _lost(
    context: Context,
    cls: Placed[ClassFacts],
    method: Placed[FunctionFacts],
    heads: re.Pattern[str],
    own: str,
) -> Iterator[Finding]:
    """Heads that the method returns, and that no caller takes out of what it returns."""

    def is_head(callee: str) -> bool:
        return _head(heads, callee, own) and not may_act(context.project, cls, callee, own)

    start = context.project.sources.bodies.start(method)
    for lost in lost_parts(context.project, cls, method, is_head):
        span = lost.head.span.shifted(start)
        if _is_meant(context, span) or any(
            place.path == method.path and _is_meant(context, place.span) for place in lost.taken
        ):
            continue
        yield context.finding(
            Location(method.path, span),
            f"'{cls.fact.name}.{method.fact.name}' returns {lost.head.callee} among others and no caller "
            "takes it, so this output never leaves the model",
            symbol=f"{cls.fact.name}.{lost.head.callee.partition('.')[2]}",
            related=tuple(Related(place, "taken without it") for place in lost.taken),
        )


def _head(heads: re.Pattern[str], callee: str | None, own: str) -> bool:
    head, _, rest = (callee or "").partition(".")
    return head == own and heads.fullmatch(rest.rpartition(".")[2]) is not None


def _is_output(value: Dropped, dropped: list[Dropped]) -> bool:
    """Not what is kept under `_`; of several values, one that is all there is or says what it is."""
    if value.name is not None and value.name.startswith("_"):
        return False
    if value.element is None:
        return True
    others = [d for d in dropped if d.elements == value.elements and d.span.line == value.span.line]
    kept = [name for name in value.elements if not name.startswith("_")]
    if len([d for d in others if d.name in kept]) == len(kept):
        return value.name == kept[0]  # the whole value is dropped: said once
    return _OUTPUT.search(value.name or "") is not None


def _is_meant(context: Context, span: Span) -> bool:
    return any(says_unused(text) for text in comments_about(context.file, span))


_FILE = "fastvideo/models/dits/echo.py"


def _model(body: str, methods: str = "") -> str:
    """A model with that body of `forward`, whose first line is line 15."""
    indented = "\n".join(f"        {line}" if line else "" for line in body.split("\n"))
    return f"""\
import torch
from torch import nn


class EchoTransformer(nn.Module):

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.block = nn.Linear(dim, dim)
        self.proj_out = nn.Linear(dim, dim)
        self.audio_proj_out = nn.Linear(dim, dim)
        self.final_layer = EchoFinalLayer(dim)

    def forward(self, x, audio, return_audio=False):
{indented}
{methods}"""


_RUN = """
    def _run(self, x, audio):
        sound = self.audio_proj_out(audio).float()
        return self.proj_out(x), self.unpatchify(sound)
"""


def _valid(title: str, body: str, methods: str = "") -> Example:
    return Example(title, {_FILE: _model(body, methods)})


def _invalid(title: str, body: str, line: int, message: str, methods: str = "") -> Example:
    return Example(title, {_FILE: _model(body, methods)}, findings=(Expected(_FILE, line, message),))


RULE = Rule(
    code="DIT210",
    name="output-head-dropped",
    severity=Severity.ERROR,
    tier=Tier.FILE,
    summary="an output head that is computed and not returned",
    what=(
        "Follows the value of every output head (`proj_out`, `head`, `final_layer`, `audio_proj_out`, ...) "
        "through `forward` and the methods that it calls. Reports a head whose value no path returns, stores "
        "or uses: left in a name that nothing reads, overwritten, called as a statement, put into a tuple "
        "of which only another element is taken, or unpacked and only in part used; also across methods, "
        "where no caller takes the head out of what a helper returns. Bringing the value into shape "
        "(`unpatchify`, `float`, a gather) is no use."
    ),
    why=(
        "The model computes an output (the audio of a joint model, the second prediction) and the caller "
        "never sees it: the modality is silently missing, or the caller goes on with another tensor."
    ),
    how="Return the value, or take out the head together with the call.",
    exceptions=(
        "Values that one path returns and another drops. Elements stored under `_`, and single elements that "
        "do not say that they are an output (the bias of a linear, a residual). Values that a comment at the "
        "call calls unused. Methods that `forward` does not reach. What a helper returns that anything but "
        "the class and those derived from it may call, or of which a caller may read everything."
    ),
    source="`fastvideo/models/dits/minimax_h3.py`, `MiniMaxH3Transformer3DModel.forward`",
    check=check,
    valid=(
        _valid(
            "both are returned",
            "x = self.block(x)\nreturn self.proj_out(x), self.audio_proj_out(audio)",
        ),
        _valid(
            "returned on one path",
            "video = self.proj_out(x)\nsound = self.audio_proj_out(audio)\nif return_audio:\n"
            "    return video, sound\nreturn video",
        ),
        _valid(
            "returned in a dict",
            "out = {'video': self.proj_out(x)}\nout['audio'] = self.audio_proj_out(audio)\nreturn out",
        ),
        _valid("the bias of a linear", "video, bias = self.proj_out(x)\nreturn video"),
        _valid("an element under an underscore", "video, _audio = self.final_layer(x)\nreturn video"),
        _valid("a residual that nobody needs", "normed, residual = self.final_layer(x)\nreturn normed"),
        _valid(
            "needed for a condition",
            "video = self.proj_out(x)\nsound = self.audio_proj_out(audio)\nif sound.isnan().any():\n"
            "    raise ValueError('nan')\nreturn video",
        ),
        _valid(
            "collected in a list",
            "outs = []\nfor _ in range(2):\n    x = self.block(x)\n"
            "    outs.append(self.proj_out(x))\nreturn outs",
        ),
        _valid(
            "kept on the instance",
            "self.last_audio = self.audio_proj_out(audio)\nreturn self.proj_out(x)",
        ),
        _valid(
            "read in the next round of the loop",
            "pred = x\nfor _ in range(2):\n    x = self.block(x + pred)\n"
            "    pred = self.proj_out(x)\nreturn x",
        ),
        _valid(
            "explained",
            "# Unused: run for its hooks alone.\nself.audio_proj_out(audio)\nreturn self.proj_out(x)",
        ),
        _valid(
            "taken by index",
            "outs = (self.proj_out(x), self.audio_proj_out(audio))\nif return_audio:\n"
            "    return outs[1]\nreturn outs[0]",
        ),
        _valid(
            "a method that forward does not reach",
            "return self.proj_out(x)",
            "\n    def warm_up(self, x):\n        self.audio_proj_out(x)\n",
        ),
        _valid(
            "a method that is called for what it does",
            "out = self.proj_out(x)\nself.final_check(out)\nreturn out",
            "\n    def final_check(self, out):\n        self.seen = out.shape\n",
        ),
        _valid("something that is no module", "out = self.proj_out(x)\nself.output_hook(out)\nreturn out"),
        _valid(
            "a helper of which one caller takes both",
            "if return_audio:\n    return self._run(x, audio)\nreturn self._run(x, audio)[0]",
            _RUN,
        ),
        _valid(
            "a helper of which the loop decides what is taken",
            "outs = self._run(x, audio)\nreturn outs[int(return_audio)]",
            _RUN,
        ),
        _valid(
            "a helper that somebody else may ask as well",
            "return self._run(x, audio)[0]",
            _RUN + "\n\ndef both(model, x, audio):\n    return model._run(x, audio)\n",
        ),
        _valid(
            "a helper's element under an underscore",
            "video, _sound = self._run(x, audio)\nreturn video",
            _RUN,
        ),
        _valid(
            "a helper's element that is taken by number from the end",
            "video = self._run(x, audio)[0]\nreturn video, self._run(x, audio)[-1]",
            _RUN,
        ),
        _valid(
            "a dict of which every entry is read",
            "outs = {}\nouts['audio'] = self.audio_proj_out(audio)\nouts['video'] = self.proj_out(x)\n"
            "return outs['video'], outs['audio']",
        ),
        _valid("no head", "unused = self.block(audio)\nreturn self.proj_out(x)"),
    ),
    invalid=(
        _invalid(
            "left in a name",
            "video = self.proj_out(x)\nsound = self.audio_proj_out(audio)\nreturn video",
            16,
            "computes self.audio_proj_out (stored in 'sound') and drops it",
        ),
        _invalid(
            "brought into shape, and left",
            "video = self.proj_out(x)\nsound = self.audio_proj_out(audio).float()\n"
            "sound = self.unpatchify(sound)\n"
            "return video",
            16,
            "computes self.audio_proj_out",
            "\n    def unpatchify(self, x):\n        assert x.dim() == 3\n        return x.flatten(1)\n",
        ),
        _invalid(
            "the input is returned",
            "x = self.block(x)\noutput = self.proj_out(x)\nreturn x",
            16,
            "stored in 'output'",
        ),
        _invalid(
            "overwritten",
            "out = self.proj_out(x)\nout = self.block(x)\nreturn out",
            15,
            "computes self.proj_out",
        ),
        _invalid(
            "called as a statement",
            "x = self.block(x)\nself.proj_out(x)\nreturn x",
            16,
            "computes self.proj_out and drops it",
        ),
        _invalid(
            "one of two",
            "video, sound = self.final_layer(x)\nreturn video",
            15,
            "computes 'sound' from self.final_layer",
        ),
        _invalid(
            "a linear's output, unpacked",
            "video, _ = self.proj_out(x)\nsound, _ = self.audio_proj_out(audio)\nreturn video",
            16,
            "computes 'sound' from self.audio_proj_out",
        ),
        _invalid(
            "a tuple of which one element is taken",
            "outs = (self.proj_out(x), self.audio_proj_out(audio))\nreturn outs[0]",
            15,
            "computes self.audio_proj_out and drops it",
        ),
        _invalid(
            "a dict of which one entry is taken",
            "sound = self.audio_proj_out(audio)\nouts = {'video': self.proj_out(x), 'audio': sound}\n"
            "return outs['video']",
            15,
            "computes self.audio_proj_out",
        ),
        _invalid(
            "in every branch",
            "if return_audio:\n    sound = self.audio_proj_out(audio)\nelse:\n    sound = None\n"
            "return self.proj_out(x)",
            16,
            "computes self.audio_proj_out",
        ),
        _invalid(
            "in a helper",
            "return self._outputs(x, audio)",
            18,
            "'EchoTransformer._outputs' computes self.audio_proj_out",
            "\n    def _outputs(self, x, audio):\n        sound = self.audio_proj_out(audio)\n"
            "        return self.proj_out(x)\n",
        ),
        _invalid(
            "returned by a helper, of which forward takes another element",
            "return self._run(x, audio)[0]",
            18,
            "'EchoTransformer._run' returns self.audio_proj_out among others and no caller takes it",
            _RUN,
        ),
        _invalid(
            "returned by a helper, unpacked and left",
            "video, sound = self._run(x, audio)\nreturn video",
            19,
            "'EchoTransformer._run' returns self.audio_proj_out",
            _RUN,
        ),
        _invalid(
            "passed on from helper to helper",
            "outs = self._outputs(x, audio)\nvideo = outs['video']\nreturn video",
            23,
            "'EchoTransformer._heads' returns self.audio_proj_out",
            "\n    def _outputs(self, x, audio):\n        return self._heads(x, audio)\n"
            "\n    def _heads(self, x, audio):\n"
            "        return {'video': self.proj_out(x), 'audio': self.audio_proj_out(audio)}\n",
        ),
        _invalid(
            "an entry of a dict that nothing reads",
            "outs = {}\nouts['audio'] = self.audio_proj_out(audio)\nouts['video'] = self.proj_out(x)\n"
            "return outs['video']",
            16,
            "computes self.audio_proj_out and drops it",
        ),
    ),
)
