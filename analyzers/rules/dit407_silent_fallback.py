"""DIT407 silent-fallback: another implementation, or no conditioning at all, without a word."""

from __future__ import annotations

import re
from collections.abc import Iterator

from analyzers.facts.dropped_inputs import dropped_inputs
from analyzers.facts.fallbacks import SilentHandler, silent_handlers, silent_module_handlers
from analyzers.facts.local_calls import calls_by_name, is_forward, key_of, reachable
from analyzers.findings import Finding, Location, Severity
from analyzers.rules.base import Context, Example, Expected, Rule, Tier

_DEFINITION = re.compile(r"\A(?:[^\S\n]*(?:#[^\n]*)?\n)*(?:@|class\b|def\b|async\s+def\b)")
"""A chunk that is one definition has no statements of the module."""


def check(context: Context) -> Iterator[Finding]:
    """Looks at the handlers of every function and of the module, and at what `forward` does to inputs."""
    if not context.file.path.startswith(context.profile.dits + "/"):
        return
    words = context.project.sources.words(context.file.path)
    if "except" in words or "suppress" in words:
        yield from _handlers(context)
    if not words.isdisjoint(("isinstance", "is_tensor", "type")):
        yield from _dropped(context)


def _handlers(context: Context) -> Iterator[Finding]:
    bodies = context.project.sources.bodies
    for cls, function in context.file.all_functions():
        name = f"{cls.fact.name}.{function.fact.name}" if cls is not None else function.fact.name
        for silent in context.project.derived("silent handlers", function, silent_handlers) or ():
            place = Location(context.file.path, silent.span.shifted(bodies.start(function)))
            yield context.finding(place, _message(silent), symbol=name)
    for chunk in context.file.chunks:
        if _DEFINITION.search(chunk.text) or not ("except" in chunk.text or "suppress" in chunk.text):
            continue
        found = bodies.derive_chunk("silent module handlers", chunk.text, silent_module_handlers)
        for silent in found or ():
            yield context.finding(
                Location(context.file.path, silent.span.shifted(chunk.line)), _message(silent)
            )


def _message(silent: SilentHandler) -> str:
    names = ", ".join(f"'{name}'" for name in silent.names)
    outcome = {
        "import": f"any error while importing {names} quietly selects the path without it",
        "value": f"any error quietly takes another value for {names}",
        "return": "any error quietly returns the result of another implementation",
        "kept": f"any error quietly leaves {names} as it was",
        "flag": f"any error while computing {names} quietly selects another path",
    }[silent.kind]
    also = "a broken build" if silent.kind == "import" else "a wrong shape or an out-of-memory error"
    return (
        f"'{silent.caught}' swaps the implementation silently: {outcome}, also {also}; "
        "catch what is expected and log it"
    )


def _dropped(context: Context) -> Iterator[Finding]:
    functions = list(context.file.all_functions())
    forwards = [
        key_of(cls.fact, function.fact)
        for cls, function in functions
        if cls is not None and is_forward(function.fact.name)
    ]
    reached = reachable(forwards, calls_by_name(context.file))
    for cls, function in functions:
        if key_of(cls.fact if cls else None, function.fact) not in reached:
            continue
        start = context.project.sources.bodies.start(function)
        for dropped in context.project.derived("dropped inputs", function, dropped_inputs) or ():
            same = dropped.name == dropped.parameter
            becomes = "it becomes None" if same else f"'{dropped.name}' becomes None"
            yield context.finding(
                Location(context.file.path, dropped.span.shifted(start)),
                f"'{dropped.parameter}' is used only where it is {dropped.accepted}: for {dropped.dropped} "
                f"{becomes}, and the model runs without that input, silently",
                symbol=f"{cls.fact.name}.{function.fact.name}" if cls is not None else function.fact.name,
            )


_SOUND = "fastvideo/models/dits/sound_fallback.py"


def _module(forward: str, *, imports: str = "", parameters: str = "x: torch.Tensor") -> dict[str, str | None]:
    """A block whose forward is that code; it begins in line 11 without `imports`."""
    body = "\n".join(f"        {line}" if line else "" for line in forward.split("\n"))
    return {
        _SOUND: f"""\
import torch
{imports}from torch import nn


class SoundBlock(nn.Module):

    def __init__(self, dim: int) -> None:
        super().__init__()

    def forward(self, {parameters}) -> torch.Tensor:
{body}
"""
    }


_IMAGE = "x: torch.Tensor, image: torch.Tensor | list[torch.Tensor] | None = None"

RULE = Rule(
    code="DIT407",
    name="silent-fallback",
    severity=Severity.WARNING,
    tier=Tier.FILE,
    summary="a bare or broad `except` swaps an implementation, or an input quietly becomes None",
    what=(
        "Reports, below the DiT folder, a bare `except`, an `except Exception` or a `suppress(Exception)` "
        "that swaps an implementation and tells nobody: around the import of a kernel, around a call that "
        "the handler answers with another call, with the input itself, or with a flag that selects another "
        "path. Reports, in `forward` and what it calls, an `isinstance` chain over an input that ends in "
        "`None` although a tensor (or a list) may arrive that the chain does not look for."
    ),
    why=(
        "The fallback hides every error, not only the expected one: a wrong shape, a kernel that was built "
        "for another device, an out-of-memory error. The model still runs, slower or with other numbers, "
        "and parity drifts without a message. An input that becomes None is worse: Wan's image "
        "conditioning was dropped that way for every caller that passed a tensor instead of a list."
    ),
    how=(
        "Catch the exception that is expected (`ImportError` for an optional kernel) and log which path is "
        "taken. For inputs, accept each type that the annotation promises and raise on any other."
    ),
    exceptions=(
        "Specific exceptions. Handlers that raise, log, warn, print or keep the exception. Defaults for data "
        "(`int(...)`, `.get(...)`, a constant after a conversion), and searches in a loop. Inputs that the "
        "chain takes in every form its annotation names; `else: x = None` after a test of the model's own "
        "configuration or of `x is not None`."
    ),
    source="commit 9f1e7c19d, which mends four ports (`fastvideo/models/dits/wanvideo.py`)",
    check=check,
    valid=(
        Example(
            "None until one of two tests finds a type",
            _module(
                "first = None\nif isinstance(image, list):\n    first = image[0]\n"
                "if torch.is_tensor(image):\n    first = image\nreturn x if first is None else x + first",
                parameters=_IMAGE,
            ),
        ),
        Example(
            "no other implementation behind the handler",
            _module(
                "try:\n    y = fused(x)\nexcept Exception:\n    y = None\n"
                'if y is None:\n    raise RuntimeError("no kernel for this shape")\nreturn y'
            ),
        ),
        Example(
            "an optional kernel, by its own error",
            _module(
                "return fused(x) if fused is not None else x",
                imports="try:\n    from quack import fused\nexcept ImportError:\n    fused = None\n\n",
            ),
        ),
        Example(
            "a broad handler that tells",
            _module(
                "try:\n    return fused(x)\nexcept Exception:\n"
                '    logger.warning("fused kernel failed, using torch")\n    return plain(x)'
            ),
        ),
        Example(
            "a broad handler that keeps the error",
            _module(
                "return x",
                imports="try:\n    import quack\nexcept Exception as error:\n"
                "    quack, _ERROR = None, error\n\n",
            ),
        ),
        Example(
            "a default for data, and a search",
            _module(
                "try:\n    steps = int(self.steps)\nexcept Exception:\n    steps = 1\n"
                "for layer in self.layers:\n    try:\n        return layer(x)\n    except Exception:\n"
                "        pass\nreturn x * steps"
            ),
        ),
        Example(
            "a specific exception",
            _module("try:\n    return self.attn(x)\nexcept AssertionError:\n    return plain_attention(x)"),
        ),
        Example(
            "an input taken as a tensor and as a list",
            _module(
                "if isinstance(image, list) and len(image) > 0:\n    image = image[0]\n"
                "elif not isinstance(image, torch.Tensor):\n    image = None\n"
                "return x if image is None else x + image",
                parameters=_IMAGE,
            ),
        ),
        Example(
            "empty ones first, and then every form",
            _module(
                "if image is None or (not torch.is_tensor(image) and len(image) == 0):\n    image = None\n"
                "elif not torch.is_tensor(image):\n    image = torch.stack(list(image))\nreturn x, image",
                parameters=_IMAGE,
            ),
        ),
        Example(
            "converted before",
            _module(
                "if isinstance(image, torch.Tensor):\n    image = [image]\n"
                "image = image[0] if isinstance(image, list) else None\n"
                "return x if image is None else x + image",
                parameters=_IMAGE,
            ),
        ),
        Example(
            "refused before",
            _module(
                "if isinstance(image, torch.Tensor):\n    raise TypeError(image)\n"
                "if isinstance(image, list):\n    image = image[0]\nelse:\n    image = None\n"
                "return x if image is None else x + image",
                parameters=_IMAGE,
            ),
        ),
        Example(
            "an input that is only ever a list, or a dict",
            _module(
                "image = image[0] if isinstance(image, list) else None\n"
                "poses = camera['poses'] if isinstance(camera, dict) else None\nreturn x, image, poses",
                parameters="x, image: list[torch.Tensor] | None = None, camera=None",
            ),
        ),
        Example(
            "a model without that input, and an input that is not given",
            _module(
                "if not self.has_image:\n    image = None\nif image is not None:\n    image = image[0]\n"
                "else:\n    image = None\nreturn x if image is None else x + image",
                parameters=_IMAGE,
            ),
        ),
    ),
    invalid=(
        Example(
            "None behind the handler, and another implementation behind the None",
            _module(
                "try:\n    y = fused(x)\nexcept Exception:\n    y = None\n"
                "if y is None:\n    y = plain(x)\nreturn x + y"
            ),
            findings=(Expected(_SOUND, 13, "any error quietly takes another value for 'y'"),),
        ),
        Example(
            "what was computed above stays",
            _module("y = plain(x)\ntry:\n    y = fused(x)\nexcept Exception:\n    pass\nreturn x + y"),
            findings=(Expected(_SOUND, 14, "quietly leaves 'y' as it was"),),
        ),
        Example(
            "None above the chain, a negated test, an exact type",
            _module(
                "first = None\nif isinstance(image, list):\n    first = image[0]\n"
                "if not isinstance(image, list):\n    second = None\nelse:\n    second = image[0]\n"
                "if type(image) is list:\n    third = image[0]\nelse:\n    third = None\n"
                "return blend(x, first, second, third)",
                parameters=_IMAGE,
            ),
            findings=(
                Expected(_SOUND, 11, "for a tensor 'first' becomes None"),
                Expected(_SOUND, 15, "for a tensor 'second' becomes None"),
                Expected(_SOUND, 21, "for a tensor 'third' becomes None"),
            ),
        ),
        Example(
            "an optional kernel behind a broad handler",
            _module(
                "return x",
                imports="\ntry:\n    from flash_attn import flash_attn_func\nexcept Exception:\n"
                "    flash_attn_func = None\n\n",
            ),
            findings=(Expected(_SOUND, 5, "any error while importing 'flash_attn'"),),
        ),
        Example(
            "an optional kernel behind a bare one, as a flag",
            _module(
                "return x",
                imports="\nHAS_FUSED = False\ntry:\n    import fused_ops\n\n    HAS_FUSED = True\nexcept:\n"
                "    pass\n\n",
            ),
            findings=(Expected(_SOUND, 8, "'a bare except' swaps the implementation"),),
        ),
        Example(
            "another attention",
            _module(
                "try:\n    x = flash_attention(x, x, x)\nexcept Exception:\n"
                "    x = plain_attention(x, x, x)\nreturn x"
            ),
            findings=(Expected(_SOUND, 13, "quietly takes another value for 'x'"),),
        ),
        Example(
            "another layer",
            _module("return x").copy()
            | {
                _SOUND: """\
from torch import nn

from fastvideo.attention import DistributedAttention, LocalAttention


class SoundBlock(nn.Module):

    def __init__(self, heads: int) -> None:
        super().__init__()
        try:
            self.attn = DistributedAttention(num_heads=heads)
        except (ValueError, Exception) as error:
            self.attn = LocalAttention(num_heads=heads)
"""
            },
            findings=(Expected(_SOUND, 12, "another value for 'self.attn'"),),
        ),
        Example(
            "the next return, or the input itself",
            _module(
                "try:\n    return self.fused(x)\nexcept Exception:\n    pass\n"
                "try:\n    return self.compiled(x)\nexcept BaseException:\n    return x"
            ),
            findings=(
                Expected(_SOUND, 13, "the result of another implementation"),
                Expected(_SOUND, 17, "except BaseException"),
            ),
        ),
        Example(
            "a step that is left out",
            _module(
                "with contextlib.suppress(Exception):\n    x = self.norm(x)\n"
                "try:\n    x = self.rope(x)\nexcept Exception:\n    pass\nreturn x",
                imports="import contextlib\n\n",
            ),
            findings=(
                Expected(_SOUND, 13, "leaves 'x' as it was"),
                Expected(_SOUND, 17, "leaves 'x' as it was"),
            ),
        ),
        Example(
            "a flag that selects the path",
            _module(
                "try:\n    out = self.fused(x)\n    done = True\nexcept Exception:\n    done = False\n"
                "return out if done else self.plain(x)"
            ),
            findings=(Expected(_SOUND, 14, "selects another path"),),
        ),
        Example(
            "a tensor where a list was looked for",
            _module(
                "if isinstance(image, list) and len(image) > 0:\n    image = image[0]\nelse:\n"
                "    image = None\nreturn x if image is None else x + image",
                parameters=_IMAGE,
            ),
            findings=(Expected(_SOUND, 14, "for a tensor it becomes None"),),
        ),
        Example(
            "in one line, under another name",
            _module(
                "context = image[0] if isinstance(image, (list, tuple)) else None\n"
                "return x if context is None else x + context",
                parameters="x, image: 'Optional[Union[torch.Tensor, List[torch.Tensor]]]' = None",
            ),
            findings=(Expected(_SOUND, 11, "for a tensor 'context' becomes None"),),
        ),
        Example(
            "a list where a tensor was looked for, in a helper",
            {
                _SOUND: """\
import torch
from torch import nn


class SoundBlock(nn.Module):

    def _image(self, image: torch.Tensor | list[torch.Tensor] | None):
        if not torch.is_tensor(image):
            image = None
        return image

    def forward(self, x, image=None):
        return x, self._image(image)
"""
            },
            findings=(Expected(_SOUND, 9, "for a list it becomes None"),),
        ),
    ),
)
