"""DIT502 provenance-comment: comments that narrate where code came from, or leave review notes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from analyzers.facts.model import FileFacts
from analyzers.findings import Applicability, Finding, Fix, Location, Severity, Span
from analyzers.rules.base import Context, Example, Expected, Rule, Tier

_ORIGIN = r"(?:upstream|official|original|reference|diffusers|transformers|hf|hugging ?face)"
_THING = (
    r"(?:implementation|impl|code|codebase|repo|repository|version|model|module|class|function|method|script"
    r"|pipeline|port|source|behaviou?r|forward|file)"
)
_ADDRESS = r"(?:https?://\S+|(?:github|huggingface)\.com?/\S+|[`'\"]?[\w.-]+(?:/[\w.:#-]+)+[`'\"]?|\w+\.py\b)"
_PACKAGE = r"(?:diffusers|transformers|vllm|sglang|timm|comfyui|megatron|apex|xformers)"
_NO_SOURCE = (
    r"(?:[CGT]PU|[A-Z]*RAM|HBM|(?:BF|FP|INT|UINT)\d+|(?:Eq|Sec|Tab|Fig|Alg)\b|All-|Tensor\b|None\b|True\b"
    r"|False\b)"
)
_NAMED = rf"(?-i:[`'\"]?(?!{_NO_SOURCE})(?:[a-z_]\w*\.)*[A-Z]\w*[A-Za-z0-9](?:[-.]\w+)*[`'\"]?)"
"""A name with a capital, such as `Wan2.1`, `LlamaModel.forward`, `FLUX`; no device, dtype or equation."""
_SOURCE = rf"(?:{_ADDRESS}|{_PACKAGE}(?:[.=]=?[\w.-]+)?|{_NAMED})"
_CODE = r"(?:implementation|impl|code|codebase|repo|repository|port|source)"

_PROVENANCE = re.compile(
    rf"(?:this (?:is |was |code is |function is |class is )?|note: )?"
    rf"(?:(?:vendored|(?:directly |mostly |mainly )?(?:copied|copy|copy-?pasted|adapted|taken|ported|borrowed"
    rf"|lifted|extracted|forked|modified))(?: and (?:adapted|modified|simplified))?"
    rf"(?: verbatim| directly| straight| over| almost verbatim| as[- ]is| 1:1| one-to-one)?"
    rf" (?:from|of|after):?(?!.*\bto\b)(?: (?:the|an?|its))? (?:{_ORIGIN}|{_CODE}|{_SOURCE})"
    rf"|(?:based|modeled|modelled) on (?:the )?(?:{_ORIGIN}|{_ADDRESS})"
    rf"|from (?:the )?(?:upstream|official|diffusers|transformers|hf|hugging ?face)(?= {_THING}|[.:]?$))"
    rf"(?:'s)?:?(?: (?:[\w./:@#'`\"=-]+|\([^)]*\)|\S+->\S+)){{0,11}}[.:]?",
    re.IGNORECASE,
)
_MATCHES = re.compile(
    rf"\(?(?:this |to |exactly |should |must )*"
    rf"(?:match(?:es|ing)?|mirror(?:s|ing)?|follow(?:s|ing)?|same as|identical to|equivalent to|as in|like in"
    rf"|just like|copies|replicates|reproduces)(?: exactly)? (?:the )?{_ORIGIN}(?:'s)?"
    rf"(?: {_ORIGIN})*(?: {_THING}|(?-i: [A-Z][\w.-]*))*(?: exactly| verbatim)?[.:)]*",
    re.IGNORECASE,
)
_REVIEW = re.compile(
    r"(?:(?i:REVIEW(?:ER)?(?:'?S)?(?: NOTE)?\b|REVIEW-?TODO\b|CLAUDE\b|CODEX\b|COPILOT\b|CHATGPT\b)"
    r"|(?:TODO|NOTE|FIXME) ?\((?:review|reviewer|claude|codex|copilot|cursor|gpt|agent|ai)\))\s*[:!-].*",
    re.DOTALL,
)
_SESSION = re.compile(
    r"(?i)(?:"
    r"(?:changed|added|removed|fixed|moved|renamed|updated|rewritten|refactored|introduced)\b.{0,60}\b"
    r"(?:in|during|after|per|as) (?:this|the|an?|last|previous|earlier)? ?(?:session|review(?:er)?(?:'s)?"
    r"(?: feedback| comments?| request)?|iteration|attempt|pr comment|code review|refactor(?:ing)?)"
    r"|(?:as|per) (?:discussed|requested|suggested)(?: (?:by|with|in|on)\b.{0,40})?"
    r"|per (?:the )?(?:review(?:er)?|user)(?:'s)?(?: (?:feedback|comments?|request))?"
    r"|(?:in|from) (?:the )?(?:previous|last|earlier) (?:session|iteration|attempt)\b.{0,60}"
    r"|generated (?:by|with) (?:claude|chatgpt|copilot|codex|cursor|an? (?:ai|llm|agent))\b.{0,40}"
    r")[.:]?"
)
_WHY = re.compile(
    r"(?i)\b(because|since|so that|otherwise|to avoid|in order to|needed|required|requires|must|otherwise"
    r"|which (?:is|would|breaks|needs)|due to|unless|hence|therefore|instead of|rather than|checkpoint"
    r"|state[-_ ]?dict|weights?|keys?|licen[cs]e|copyright|apache|spdx|mit|bsd"
    r"|paper|arxiv|section|equation|appendix|table|figure|algorithm)\b"
)


def check(context: Context) -> Iterator[Finding]:
    """Looks at each comment as a whole: consecutive lines of one are one text."""
    if not context.file.path.startswith(context.profile.dits + "/"):
        return
    for remark in _remarks(context.file):
        kind = _kind(remark.text)
        if kind is None:
            continue
        yield context.finding(
            Location(context.file.path, remark.span),
            f"'{_shortened(remark.text)}' {kind}: production comments say why, the history knows the rest",
            fix=Fix(
                "Delete the comment",
                "drop-comment",
                {
                    "path": context.file.path,
                    "line": remark.span.line + 1,
                    "lines": remark.span.end_line - remark.span.line + 1,
                    "text": remark.first,
                },
            ),
        )


def _shortened(text: str) -> str:
    return text if len(text) <= MOST_QUOTED else text[: MOST_QUOTED - 3].rstrip() + "..."


MOST_QUOTED = 60
"""Characters of a comment that a message repeats."""


@dataclass(frozen=True)
class _Remark:
    """A comment of one or more lines; `first` is its first line as written, `text` what it says."""

    text: str
    first: str
    span: Span


def _remarks(file: FileFacts) -> Iterator[_Remark]:
    """The comments below the file's head; the head names the licence and whom to credit."""
    head = _end_of_head(file)
    block: list[tuple[Span, str]] = []
    for placed in file.comments:
        if placed.line + placed.fact.span.line < head:
            continue
        span = placed.at(placed.fact.span).span
        continues = (
            block
            and placed.fact.own_line
            and span.line == block[-1][0].end_line + 1
            and span.column == block[-1][0].column
        )
        if not continues:
            yield from _remark(block)
            block = []
        block.append((span, placed.fact.text))
        if not placed.fact.own_line:
            yield from _remark(block)
            block = []
    yield from _remark(block)


def _remark(block: list[tuple[Span, str]]) -> Iterator[_Remark]:
    if not block:
        return
    first, last = block[0][0], block[-1][0]
    text = " ".join(line.lstrip("#").strip() for _, line in block)
    span = Span(first.line, first.column, last.end_line, last.end_column)
    yield _Remark(text.strip(), block[0][1].rstrip(), span)


def _end_of_head(file: FileFacts) -> int:
    """The line of the first statement that is no docstring: what stands above it is the file's head."""
    for chunk in file.chunks:
        facts = chunk.facts
        if facts.imports or facts.classes or facts.functions or facts.assignments or facts.calls:
            lines = chunk.text.split("\n")
            offset = next((i for i, t in enumerate(lines) if t.strip() and not t.lstrip().startswith("#")), 0)
            return chunk.line + offset
    return 0


def _kind(text: str) -> str | None:
    """What a comment does that it should not, if that is all it does."""
    if _REVIEW.fullmatch(text):
        return "is a note to a reviewer"
    if _WHY.search(text):
        return None
    if _SESSION.fullmatch(text):
        return "tells how the code came to be"
    if _PROVENANCE.fullmatch(text) or _MATCHES.fullmatch(text):
        return "tells only where the code came from"
    return None


_FILE = "fastvideo/models/dits/sound_rope.py"

RULE = Rule(
    code="DIT502",
    name="provenance-comment",
    severity=Severity.INFORMATION,
    tier=Tier.FILE,
    summary="a comment that narrates where code came from, or leaves a review note",
    what=(
        "Reports comments in model files that say nothing but where the code came from (`vendored from "
        "...`, `copied from diffusers...`, `matches the official implementation`), how it came to be "
        "(`changed after review`, `as discussed`), or that speak to a reviewer (`REVIEW: ...`)."
    ),
    why=(
        "Such a comment ages at once: upstream moves, the line is edited, and it still claims to match. What "
        "proves the match is a parity test; what tells the history is git."
    ),
    how=(
        "Delete it. If it holds a reason (`fp32, because the official checkpoint was trained so`), write the "
        "reason; credit belongs into the file's head."
    ),
    exceptions=(
        "The file's head with licence and credit; comments that say more than that, above all why "
        "(`because`, `so that`, `must`, checkpoint and state dict names)."
    ),
    source="`.agents/skills/add-model/shared/common_rules.md`: production comments explain why",
    check=check,
    fixable=Applicability.SAFE,
    valid=(
        Example(
            "credit in the head, and comments that say why",
            {
                _FILE: '''\
# SPDX-License-Identifier: Apache-2.0
# Adapted from Sound: https://github.com/sound/sound/blob/main/rope.py
"""Rotary embeddings."""
import torch

# Matches the official checkpoint: its keys have no prefix.
PREFIX = ""


def rope(x):
    # Kept in fp32 like in the official model, because bf16 loses the high frequencies.
    y = x.float()
    # Step 1: all modulation parameters at once (matches official model)
    return y  # following the original order of joint streams
'''
            },
        ),
        Example(
            "what the code copies, and where a formula stands",
            {
                _FILE: """\
import torch


def rope(x, config):
    # Copied from CPU to GPU asynchronously
    y = x.cuda(non_blocking=True)
    # taken from the first frame
    first = y[:1]
    # based on config.rope_theta
    theta = config.rope_theta
    # modified from step to step
    y = y * theta  # copied from hidden_states.dtype
    # Taken from Table 3 of the paper
    # Adapted from NVIDIA's kernels (MIT)
    return y + first
"""
            },
        ),
    ),
    invalid=(
        Example(
            "alone, at the end of a line, and over two lines",
            {
                _FILE: """\
import torch


# Copied from diffusers.models.embeddings.get_1d_rotary_pos_embed
def rope(x):
    y = x.float()  # matches the official implementation

    # REVIEW: is this the right axis?
    # It was the other one before.
    y = y.flip(-1)

    # As discussed with the team

    return y.tanh()
"""
            },
            findings=(
                Expected(_FILE, 4, "tells only where the code came from"),
                Expected(_FILE, 6, "tells only where the code came from"),
                Expected(_FILE, 8, "is a note to a reviewer"),
                Expected(_FILE, 12, "tells how the code came to be"),
            ),
            fixed={
                _FILE: """\
import torch


def rope(x):
    y = x.float()

    y = y.flip(-1)

    return y.tanh()
"""
            },
        ),
        Example(
            "in other words",
            {
                _FILE: """\
import torch


def rope(x):
    # Vendored from https://github.com/sound/sound/blob/main/rope.py
    y = x.float()
    # Ported directly from the official Sound repo.
    y = y + 1
    y = y * 2  # same as upstream
    # TODO(claude): check this
    return y
"""
            },
            findings=(Expected(_FILE, 5), Expected(_FILE, 7), Expected(_FILE, 9), Expected(_FILE, 10)),
            fixed={
                _FILE: """\
import torch


def rope(x):
    y = x.float()
    y = y + 1
    y = y * 2
    return y
"""
            },
        ),
        Example(
            "with what was renamed, adapted twice, short",
            {
                _FILE: """\
import torch


# Copied from diffusers.models.embeddings.FluxPosEmbed with Flux->Sound
def rope(x):
    # Copied and adapted from: https://github.com/sound/sound
    y = x.float()
    # Ported 1:1 from the reference repo.
    y = y + 1
    y = y * 2  # from diffusers
    # Claude: is the axis right?
    return y
"""
            },
            findings=(
                Expected(_FILE, 4),
                Expected(_FILE, 6),
                Expected(_FILE, 8),
                Expected(_FILE, 10),
                Expected(_FILE, 11, "is a note to a reviewer"),
            ),
            fixed={
                _FILE: """\
import torch


def rope(x):
    y = x.float()
    y = y + 1
    y = y * 2
    return y
"""
            },
        ),
    ),
)
