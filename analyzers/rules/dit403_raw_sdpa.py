"""DIT403 raw-sdpa: an attention kernel called directly, without a documented sequence-parallel gap."""

from __future__ import annotations

import re
from collections.abc import Iterator

from analyzers.facts.local_calls import FunctionKey, calls_by_name, key_of, reachable, reversed_calls
from analyzers.facts.model import (
    Call,
    CallFact,
    ClassFacts,
    Either,
    FunctionFacts,
    Placed,
    Reference,
    imported_target,
)
from analyzers.facts.neighbourhood import Surroundings, surroundings
from analyzers.facts.refusals import refusals
from analyzers.findings import Applicability, Finding, Fix, Severity
from analyzers.project.outside import outside_names
from analyzers.rules.base import Context, Example, Expected, Rule, Tier

_KERNEL = re.compile(
    r"torch\.nn\.functional\.scaled_dot_product_attention|torch\._C\._nn\.scaled_dot_product_attention"
    r"|torch\.nn\.attention\.flex_attention\.flex_attention"
    r"|flash_attn(_interface|_3)?(\.\w+)*\.flash_attn_\w*func"
    r"|xformers\.ops(\.fmha)?\.memory_efficient_attention\w*"
    r"|sageattention(\.\w+)*\.sageattn\w*"
)
_WORD = re.compile(
    r"scaled_dot_product_attention|flex_attention|flash_attn\w*|memory_efficient_attention\w*|sageattn\w*"
)

_SEQUENCE_PARALLEL = re.compile(
    r"sequence[-_ /]*(tensor[- ])?parallel|context[-_ ]parallel|\b(sp|cp|usp)\b"
    r"|(\b|_)sp_(world_)?(size|degree)\b"
    r"|ulysses|ring[- ]attention|all[-_ ]?to[-_ ]?all"
    r"|(sequence|tokens?) (is|are) (not|never|n't) (split|shard)|(not|never|un|no)[- ]?shard"
    r"|shards? (no |the )(sequence|tokens)|(sequence|token)s?[- ]shard|single[-_ ](gpu|rank|device)",
    re.IGNORECASE,
)
_OWN_EXCHANGE = re.compile(r"all_to_all|alltoall|ulysses|ring_attn|ring_attention", re.IGNORECASE)
_GATHER = re.compile(r"(^|\.|_)all_gather")
_ATTENTION_LAYER = re.compile(r"attn|attention", re.IGNORECASE)


def check(context: Context) -> Iterator[Finding]:
    """Looks at the calls of every function below the DiT folder."""
    file = context.file
    if not file.path.startswith(context.profile.dits + "/"):
        return
    if not any(map(_WORD.fullmatch, context.project.sources.words(file.path))):
        return
    likely = _likely_names(context)
    found = [
        (cls, function, fact, kernel)
        for cls, function in file.all_functions()
        for fact in function.fact.calls
        if (fact.call.callee or "").rpartition(".")[2] in likely
        and (kernel := _kernel(context, cls, function, fact)) is not None
    ]
    if not found or _is_told_for_the_file(context):
        return
    callers = reversed_calls(calls_by_name(file))
    for cls, function, fact, kernel in found:
        around = reachable([key_of(cls.fact if cls else None, function.fact)], callers)
        if _exchanges(context, around) or _gathers(function) or _is_told_around(context, around):
            continue
        if _is_for_others(context, around):
            continue
        if _is_told_at(context, function, fact):
            continue
        owner = cls.fact.name if cls is not None else function.fact.name
        yield context.finding(
            function.at(fact.call.span),
            f"'{kernel}' is called directly: it ignores the selected attention backend, and {_gap(owner)}; "
            f"'{owner}' does not document that gap",
            symbol=f"{cls.fact.name}.{function.fact.name}" if cls is not None else owner,
            fix=_fix(context, cls, function, fact),
        )


def _likely_names(context: Context) -> frozenset[str]:
    """The last parts of names that may stand for a kernel: only these are resolved, at every key."""
    file = context.file
    found = {w for w in context.project.sources.words(file.path) if _WORD.fullmatch(w)}
    found |= {i.fact.bound for i in file.imports if _WORD.fullmatch(i.fact.name or "")}
    found |= {name for a in file.assignments for name in a.fact.names}
    for _, function in file.all_functions():
        found |= {name for name, _ in function.fact.renames}
        found |= {a.name for a in function.fact.assignments if isinstance(a.value, (Reference, Either, Call))}
    return frozenset(found)


def _gap(owner: str) -> str:
    if "cross" in owner.lower():
        return "under sequence parallelism nothing makes sure that each rank has all keys and values"
    return "under sequence parallelism each rank attends to its own tokens only"


def _is_for_others(context: Context, around: frozenset[FunctionKey]) -> bool:
    """Whether only functions of the module lead to the call, and another model file imports one of them:
    what becomes of the sequence is decided there."""
    if any(cls for cls, _ in around):
        return False
    names = {name for _, name in around}
    sources = context.project.sources
    return any(
        path != context.file.path
        and not names.isdisjoint(sources.words(path))
        and (facts := context.project.file(path)) is not None
        and any(
            i.fact.name in names
            and context.names.absolute(path, imported_target(i.fact))
            == f"{context.names.module_name(context.file.path)}.{i.fact.name}"
            for i in facts.imports
        )
        for path in sources.walk(context.profile.dits)
    )


def _kernel(
    context: Context, cls: Placed[ClassFacts] | None, function: Placed[FunctionFacts], fact: CallFact
) -> str | None:
    """The short name of the kernel that a call runs, or None."""
    callee = fact.call.callee
    if callee is None:
        return None
    meant = outside_names(context.names, context.file, callee, function.fact, cls.fact if cls else None)
    kernels = sorted(name for name in meant if _KERNEL.fullmatch(name))
    return kernels[0].rpartition(".")[2] if kernels and len(kernels) == len(meant) else None


def _fix(
    context: Context, cls: Placed[ClassFacts] | None, function: Placed[FunctionFacts], fact: CallFact
) -> Fix:
    return Fix(
        f"Document the sequence-parallel gap of '{cls.fact.name if cls else function.fact.name}'",
        "document-sequence-parallel-gap",
        {
            "path": context.file.path,
            "class": cls.fact.name if cls is not None else None,
            "function": function.fact.name,
            "kernel": fact.call.callee or "",
        },
    )


# --------------------------------------------------------------------------- what is documented


def _is_told_for_the_file(context: Context) -> bool:
    """By the module's docstring, that of a port in it, or its refusal to run under parallelism."""
    file = context.file
    told = [file.docstring]
    told += [
        cls.fact.docstring
        for cls in file.classes
        if cls.fact.docstring and context.names.derives_from(cls, context.profile.base_dit)
    ]
    told += [
        text
        for _, function in file.all_functions()
        for text in context.project.derived("refusals", function, refusals) or ()
    ]
    return any(text and _SEQUENCE_PARALLEL.search(text) for text in told)


def _is_told_around(context: Context, around: frozenset[FunctionKey]) -> bool:
    """By the docstring of the function or class, or a comment above it; also those of its callers."""
    for cls, function in context.file.all_functions():
        if key_of(cls.fact if cls else None, function.fact) not in around:
            continue
        texts = [function.fact.docstring, *_comments_above(context, function)]
        if cls is not None:
            texts += [cls.fact.docstring, *_comments_above(context, cls)]
        if any(text and _SEQUENCE_PARALLEL.search(text) for text in texts):
            return True
    return False


def _exchanges(context: Context, around: frozenset[FunctionKey]) -> bool:
    """Whether the function, or one that calls it, exchanges the sequence between ranks itself."""
    return any(
        _OWN_EXCHANGE.search(fact.call.callee or "")
        for cls, function in context.file.all_functions()
        if key_of(cls.fact if cls else None, function.fact) in around
        for fact in function.fact.calls
    )


def _gathers(function: Placed[FunctionFacts]) -> bool:
    """Whether the function itself gathers the sequence of all ranks (a model's last gather is no such)."""
    return any(_GATHER.search(fact.call.callee or "") for fact in function.fact.calls)


def _is_told_at(context: Context, function: Placed[FunctionFacts], fact: CallFact) -> bool:
    """By a comment in the block of the call or above a statement around it.

    In an `except` handler around one of the code base's attention layers, any comment will do: the
    call stands in for the layer, and the comment says when.
    """
    start = context.project.sources.bodies.start(function)
    places = context.project.derived("surroundings", function, surroundings) or ()
    call = function.at(fact.call.span).span
    here = next((p for p in places if p.call.shifted(start) == call), None)
    if here is None:
        return True  # older facts over a text that has moved on
    lines = {
        c.at(c.fact.span).span.line - start: c.fact.text
        for c in context.file.comments
        if c.line == function.line
    }
    near = [text for line, text in lines.items() if here.block[0] <= line <= here.block[1]]
    for header in here.headers:
        above = header - 1
        while above in lines:
            near.append(lines[above])
            above -= 1
        if header in lines:
            near.append(lines[header])
    if here.handler is not None and _rescues_attention(function, here, start) and near:
        return True
    return any(map(_SEQUENCE_PARALLEL.search, near))


def _rescues_attention(function: Placed[FunctionFacts], here: Surroundings, start: int) -> bool:
    """Whether the `try` of the handler calls an attention layer of the instance."""
    return any(
        here.handler is not None
        and here.handler <= function.at(fact.call.span).span.line - start < here.block[0]
        and "." in (fact.call.callee or "")
        and (fact.call.callee or "").startswith("self.")
        and _ATTENTION_LAYER.search(fact.call.callee or "")
        for fact in function.fact.calls
    )


def _comments_above(context: Context, placed: Placed[ClassFacts] | Placed[FunctionFacts]) -> Iterator[str]:
    """The block of comments directly above a definition."""
    lines = {c.at(c.fact.span).span.line: c.fact.text for c in context.file.comments if c.fact.own_line}
    above = placed.at(placed.fact.span).span.line - 1
    while above in lines:
        yield lines[above]
        above -= 1


_SOUND = "fastvideo/models/dits/sound_attention.py"


def _attention(
    call: str,
    *,
    head: str = "",
    doc: str = "",
    imports: str = "import torch.nn.functional as F",
    extra: str = "",
) -> str:
    """An attention whose forward ends with that code; without `head` and `doc` it begins in line 13."""
    body = "\n".join(f"        {line}" if line else "" for line in call.split("\n"))
    return f"""\
{head}import torch
{imports}
from torch import nn


{extra}class SoundAttention(nn.Module):
{doc}
    def __init__(self, heads: int) -> None:
        super().__init__()
        self.heads = heads

    def forward(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
{body}
"""


_CALL = "return F.scaled_dot_product_attention(q, k, v)"
_LINE = 13

_PARAGRAPH = """\
    Sequence-parallel gap: ``F.scaled_dot_product_attention`` sees the tokens of its own
    rank only; nothing here gathers the sequence.
"""
_ALONE = """\
Sequence-parallel gap: ``F.scaled_dot_product_attention`` sees the tokens of its
    own rank only; nothing here gathers the sequence.
"""

RULE = Rule(
    code="DIT403",
    name="raw-sdpa",
    severity=Severity.WARNING,
    tier=Tier.FILE,
    summary="an attention kernel is called directly, and the sequence-parallel gap is documented nowhere",
    what=(
        "Reports calls of `scaled_dot_product_attention`, `flex_attention`, FlashAttention's functions, "
        "xformers' `memory_efficient_attention` and SageAttention below the DiT folder, under whatever "
        "name they were imported or compiled, where nothing says what happens under sequence parallelism."
    ),
    why=(
        "`DistributedAttention` gathers the sequence over the ranks and `LocalAttention` follows the "
        "selected backend. A kernel that is called directly does neither: with `sp_size` above 1 every "
        "rank attends to its own tokens only, which gives a picture that looks plausible and is wrong, "
        "and `FASTVIDEO_ATTENTION_BACKEND` has no effect."
    ),
    how=(
        "Use `DistributedAttention` or `LocalAttention` from `fastvideo.attention`. Where neither fits, say "
        "so in the docstring of the module or class: name the sequence-parallel gap."
    ),
    exceptions=(
        "Any mention of sequence parallelism (also SP, Ulysses, all-to-all, a sequence that is not sharded, "
        "single GPU) at the call, in the docstring of or the comment above the function, its callers in the "
        "file or their classes, the port's class, or the module; an error or a failed "
        "assertion under sequence parallelism. A function that gathers or exchanges the sequence itself "
        "(all-gather, all-to-all), or is called by one that exchanges it. A function that only other files "
        "use: they decide. A commented fallback in an `except` handler around an attention layer."
    ),
    source="`fastvideo/layers/AGENTS.md`, Attention Layers; `fastvideo/attention/AGENTS.md`, Anti-Patterns",
    check=check,
    fixable=Applicability.SAFE,
    valid=(
        Example("no kernel called directly", {}),
        Example(
            "documented in the module",
            {
                _SOUND: _attention(
                    _CALL, head='"""Sound attention, SP=1 only: the mask has no sharded form."""\n'
                )
            },
        ),
        Example(
            "documented in the class",
            {
                _SOUND: _attention(
                    _CALL, doc='    """Attention over all tokens; sequence parallelism is not supported."""\n'
                )
            },
        ),
        Example(
            "documented at the call",
            {_SOUND: _attention("# The text is never sharded: each rank holds all of it.\n" + _CALL)},
        ),
        Example(
            "documented above the branch",
            {
                _SOUND: _attention(
                    "# No sequence-parallel form of the masked kernel exists yet.\nif k is not v:\n"
                    "    return F.scaled_dot_product_attention(q, k, v)\nreturn v"
                )
            },
        ),
        Example(
            "refuses to run under sequence parallelism",
            {
                _SOUND: _attention(
                    'if sp_world_size() > 1:\n    raise NotImplementedError("no sequence parallelism yet")\n'
                    + _CALL
                )
            },
        ),
        Example(
            "asserts that there is none",
            {_SOUND: _attention('assert get_sp_world_size() == 1, "one rank has all tokens"\n' + _CALL)},
        ),
        Example(
            "refuses by a condition, in words that say nothing of it",
            {
                _SOUND: _attention(
                    'if sp_world_size() > 1:\n    raise RuntimeError(f"{self} cannot be split")\n' + _CALL
                )
            },
        ),
        Example(
            "gathers the keys and values of all ranks",
            {
                _SOUND: _attention(
                    "k = sequence_model_parallel_all_gather(k, dim=1)\n"
                    "v = sequence_model_parallel_all_gather(v, dim=1)\n" + _CALL,
                )
            },
        ),
        Example(
            "exchanges the sequence itself, in the function that calls the helper",
            {
                _SOUND: _attention(
                    "q, k, v = (sequence_model_parallel_all_to_all_4D(t, scatter_dim=2, gather_dim=1) "
                    "for t in (q, k, v))\nout = attend(q, k, v)\n"
                    "return sequence_model_parallel_all_to_all_4D(out, scatter_dim=1, gather_dim=2)",
                    extra="def attend(q, k, v):\n    return F.scaled_dot_product_attention(q, k, v)\n\n\n",
                )
            },
        ),
        Example(
            "a function for other files",
            {
                _SOUND: "import torch.nn.functional as F\n\n\ndef attend(q, k, v):\n"
                "    return F.scaled_dot_product_attention(q, k, v)\n",
                "fastvideo/models/dits/sound_user.py": "from .sound_attention import attend\n",
            },
        ),
        Example(
            "a commented stand-in for the layer",
            {
                _SOUND: _attention(
                    "try:\n    return self.local_attention(q, k, v)\nexcept AssertionError:\n"
                    "    # Parity tests call the model without a forward context.\n"
                    "    return F.scaled_dot_product_attention(q, k, v)"
                )
            },
        ),
        Example(
            "something else by that name",
            {
                _SOUND: _attention(
                    "return self.scaled_dot_product_attention(q, k, v) + flex_attention(q)",
                    extra="def flex_attention(q):\n    return q\n\n\n",
                )
            },
        ),
    ),
    invalid=(
        Example(
            "in the forward of a block, without a word",
            {_SOUND: _attention(_CALL)},
            findings=(Expected(_SOUND, _LINE, "each rank attends to its own tokens only"),),
            fixed={_SOUND: _attention(_CALL, doc=f'    """{_ALONE}    """\n')},
        ),
        Example(
            "a docstring that speaks of something else",
            {_SOUND: _attention(_CALL, doc='    """Joint attention."""\n')},
            findings=(Expected(_SOUND, _LINE + 1),),
            fixed={_SOUND: _attention(_CALL, doc=f'    """Joint attention.\n\n{_PARAGRAPH}    """\n')},
        ),
        Example(
            "a docstring of several lines",
            {_SOUND: _attention(_CALL, doc='    """Joint attention.\n\n    Heads come last.\n    """\n')},
            findings=(Expected(_SOUND, _LINE + 4),),
            fixed={
                _SOUND: _attention(
                    _CALL, doc=f'    """Joint attention.\n\n    Heads come last.\n\n{_PARAGRAPH}    """\n'
                )
            },
        ),
        Example(
            "by its full name, and imported as a function",
            {
                _SOUND: _attention(
                    "if q is k:\n    return torch.nn.functional.scaled_dot_product_attention(q, k, v)\n"
                    "return sdpa(q, k, v)",
                    imports="from torch.nn.functional import scaled_dot_product_attention as sdpa",
                )
            },
            findings=(Expected(_SOUND, _LINE + 1), Expected(_SOUND, _LINE + 2)),
        ),
        Example(
            "flex attention, compiled under its own name",
            {
                _SOUND: _attention(
                    "return flex_attention(q, k, v)",
                    imports="from torch.nn.attention.flex_attention import flex_attention",
                    extra="flex_attention = torch.compile(flex_attention, dynamic=False)\n\n\n",
                )
            },
            findings=(Expected(_SOUND, _LINE + 3, "'flex_attention' is called directly"),),
        ),
        Example(
            "an optional FlashAttention",
            {
                _SOUND: _attention(
                    "if flash_attn_func is not None:\n    return flash_attn_func(q, k, v)\nreturn v",
                    imports="try:\n    from flash_attn_interface import flash_attn_func\n"
                    "except ImportError:\n    flash_attn_func = None",
                )
            },
            findings=(Expected(_SOUND, _LINE + 4, "'flash_attn_func'"),),
        ),
        Example(
            "imported where it is used",
            {
                _SOUND: _attention(
                    "from flash_attn import flash_attn_varlen_func\n\n"
                    "return flash_attn_varlen_func(q, k, v, None, None, 1, 1)"
                )
            },
            findings=(Expected(_SOUND, _LINE + 2, "'flash_attn_varlen_func'"),),
        ),
        Example(
            "kept under a local name or an attribute",
            {
                _SOUND: _attention("attend = F.scaled_dot_product_attention\nreturn attend(q, k, v)").replace(
                    "self.heads = heads", "self.attend = F.scaled_dot_product_attention"
                )
                + "\n    def cross(self, q, k, v):\n        return self.attend(q, k, v)\n"
            },
            findings=(Expected(_SOUND, _LINE + 1), Expected(_SOUND, _LINE + 4)),
        ),
        Example(
            "a helper of the module, called without an exchange",
            {
                _SOUND: _attention(
                    "return attend(q, k, v)",
                    extra="def attend(q, k, v):\n    return F.scaled_dot_product_attention(q, k, v)\n\n\n",
                )
            },
            findings=(Expected(_SOUND, 7, "'attend' does not document that gap"),),
            fixed={
                _SOUND: _attention(
                    "return attend(q, k, v)",
                    extra="def attend(q, k, v):\n" + f'    """{_ALONE}    """\n'
                    "    return F.scaled_dot_product_attention(q, k, v)\n\n\n",
                )
            },
        ),
        Example(
            "a comment about the other branch",
            {
                _SOUND: _attention(
                    "if q is k:\n    # Ulysses exchanges the heads here.\n    return self.attn(q, k, v)\n"
                    "else:\n    # Queries are shorter than keys.\n"
                    "    return F.scaled_dot_product_attention(q, k, v)"
                )
            },
            findings=(Expected(_SOUND, _LINE + 5),),
        ),
    ),
)
