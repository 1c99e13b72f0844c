"""DIT404 raw-torch-distributed: `torch.distributed` called directly in a model."""

from __future__ import annotations

import re
from collections.abc import Iterator

from analyzers.facts.model import (
    Attribute,
    Call,
    CallFact,
    ClassFacts,
    Constant,
    Expr,
    FunctionFacts,
    Placed,
    Reference,
)
from analyzers.findings import Applicability, Finding, Fix, JsonValue, Severity
from analyzers.project.outside import outside_names
from analyzers.project.profiles.base import DistributedWrapper
from analyzers.rules.base import Context, Example, Expected, Rule, Tier

_FUNCTION = re.compile(
    r"torch\.distributed\.(distributed_c10d\.|nn\.(functional\.)?|_functional_collectives\.)?(?P<name>[a-z_]\w*)"
)
"""Functions; the classes of `torch.distributed` (`DTensor`, `ProcessGroup`, FSDP) are another matter."""

_ASKS_WHETHER = re.compile(r"is_\w*(available|initialized|launched)")
"""Questions about the build and the process: they name no rank and no peer, and no wrapper asks the same."""

_COUNTS = ("get_rank", "get_world_size")
_GROUPS = ("device_group", "cpu_group")


def check(context: Context) -> Iterator[Finding]:
    """Looks at the calls of functions, methods and the module below the DiT folder."""
    file = context.file
    if context.profile.distributed is None or not file.path.startswith(context.profile.dits + "/"):
        return
    if "distributed" not in context.project.sources.words(file.path):
        return
    heads = {i.fact.bound for i in file.imports if i.fact.module.partition(".")[0] == "torch"}
    heads |= {name for a in file.assignments for name in a.fact.names}
    for cls, function in file.all_functions():
        near = heads | {name for name, _ in function.fact.renames}
        for fact in function.fact.calls:
            if (fact.call.callee or "").partition(".")[0] in near:
                yield from _call(context, cls, function, function.at(fact.call.span).span.line, fact)
    for placed in file.calls:
        yield from _call(context, None, placed, placed.at(placed.fact.call.span).span.line, placed.fact)


def _call(
    context: Context,
    cls: Placed[ClassFacts] | None,
    where: Placed[FunctionFacts] | Placed[CallFact],
    line: int,
    fact: CallFact,
) -> Iterator[Finding]:
    callee = fact.call.callee
    if callee is None:
        return
    function = where.fact if isinstance(where.fact, FunctionFacts) else None
    meant = outside_names(context.names, context.file, callee, function, cls.fact if cls else None)
    matches = [_FUNCTION.fullmatch(name) for name in meant]
    match = matches[0] if len(matches) == 1 else None
    if match is None or _ASKS_WHETHER.fullmatch(match["name"]):
        return
    wrapper = _wrapper(context, match["name"], fact.call)
    home = context.profile.distributed
    location = where.at(fact.call.span)
    arguments: dict[str, JsonValue] = {
        "path": context.file.path,
        "line": line,
        "column": location.span.column,
        "callee": callee,
        "module": home,
        "wrapper": wrapper.wrapper if wrapper is not None else "",
    }
    fix = Fix(
        f"Replace '{callee}' by '{arguments['wrapper']}'",
        "use-distributed-wrapper",
        arguments,
        Applicability.UNSAFE,
    )
    yield context.finding(
        location,
        f"'{callee}' goes past {home}, which knows the sequence, tensor and data parallel groups: "
        f"{_consequence(context, match['name'], fact.call, wrapper)}",
        symbol=function.name if function is not None else None,
        # At import, the wrapper would have to be imported above the very line.
        fix=fix if wrapper is not None and function is not None else None,
    )


def _consequence(context: Context, name: str, call: Call, wrapper: DistributedWrapper | None) -> str:
    """What the call does that the model may not mean, and what to call instead."""
    if name not in _COUNTS:
        return "it may run over other processes than the model's group; use the group's own operations"
    if wrapper is None:
        return "its answer may be for another group than the model's; ask it there"
    if wrapper.group is not None:
        return f"use its '{wrapper.wrapper}'"
    others = [
        f"'{w.wrapper}'"
        for w in context.profile.distributed_wrappers
        if w.asks == name and w.group is not None and _has(context, w)
    ]
    one_group = f" (where one group is meant: {', '.join(others)})" if others else ""
    return f"this counts all processes of the job; use its '{wrapper.wrapper}'{one_group}"


def _wrapper(context: Context, name: str, call: Call) -> DistributedWrapper | None:
    """The wrapper that answers exactly this call, if the workspace has it."""
    given: list[Expr] = [*call.arguments, *(k.value for k in call.keywords)]
    if len(given) > 1 or call.unpacks or any(k.name != "group" for k in call.keywords):
        return None
    world = not given or (isinstance(given[0], Constant) and given[0].value is None)
    group = None if world else _group(given[0])
    if not world and group is None:
        return None
    found = next(
        (w for w in context.profile.distributed_wrappers if (w.asks, w.group) == (name, group)), None
    )
    return found if found is not None and _has(context, found) else None


def _has(context: Context, wrapper: DistributedWrapper) -> bool:
    home = context.profile.distributed
    return context.names.by_qualified(f"{home}.{wrapper.wrapper}") is not None


def _group(value: Expr) -> str | None:
    """`get_sp_group` for `get_sp_group().device_group`, else None."""
    if not isinstance(value, Attribute) or value.name not in _GROUPS or not isinstance(value.base, Call):
        return None
    made = value.base
    if made.arguments or made.keywords or not isinstance(made.function, Reference):
        return None
    return made.function.tail


_SOUND = "fastvideo/models/dits/sound_mask.py"

_DISTRIBUTED: dict[str, str | None] = {
    "fastvideo/distributed/__init__.py": """\
from fastvideo.distributed.parallel_state import (
    get_sp_group, get_sp_world_size, get_world_rank, get_world_size)
""",
    "fastvideo/distributed/parallel_state.py": """\
def get_sp_group():
    return None


def get_sp_world_size() -> int:
    return 1


def get_world_rank() -> int:
    return 0


def get_world_size() -> int:
    return 1
""",
}


def _mask(body: str, imports: str = "import torch.distributed as dist") -> dict[str, str | None]:
    """A module with these imports and that body of a function, which begins in line 6 with one import."""
    lines = "\n".join(f"    {line}" for line in body.split("\n"))
    return {**_DISTRIBUTED, _SOUND: f"import torch\n{imports}\n\n\ndef build(mask: torch.Tensor):\n{lines}\n"}


def _fixed(body: str, imports: str = "import torch.distributed as dist") -> dict[str, str]:
    text = _mask(body, imports)[_SOUND]
    assert text is not None
    return {_SOUND: text}


RULE = Rule(
    code="DIT404",
    name="raw-torch-distributed",
    severity=Severity.WARNING,
    tier=Tier.FILE,
    summary="`torch.distributed` called directly in a model",
    what=(
        "Reports calls of functions of `torch.distributed` (also its functional collectives) below the DiT "
        "folder, under whatever name they were imported."
    ),
    why=(
        "Ranks and sizes of the world are not those of the sequence-parallel group, and a collective on "
        "the world group waits for ranks that work on another request. `fastvideo.distributed` knows the "
        "groups, works on one process without an initialized backend, and is what tests replace."
    ),
    how=(
        "Import from `fastvideo.distributed`: `get_world_rank`, `get_world_size`, `get_sp_world_size`, "
        "`get_sp_parallel_rank`, `model_parallel_is_initialized`, `sequence_model_parallel_all_gather`, "
        "`sequence_model_parallel_all_to_all_4D`; for one line of logging `logger.info(..., "
        "local_main_process_only=True)`."
    ),
    exceptions=(
        "Classes (`ProcessGroup` in annotations, `DTensor`, FSDP); `is_initialized()` and `is_available()`, "
        "which name no rank and have no counterpart that asks the same. "
        "The fix replaces only what has an exact counterpart (`get_rank()` and `get_world_size()` of the "
        "world or of a group of FastVideo); it does not remove an import that is no longer needed."
    ),
    source="`fastvideo/models/AGENTS.md`, Anti-Patterns",
    fixable=Applicability.UNSAFE,
    check=check,
    valid=(
        Example(
            "through the code base",
            _mask("return mask[get_world_rank()]", "from fastvideo.distributed import get_world_rank"),
        ),
        Example(
            "types, and questions about the build and the process",
            _mask(
                "group: dist.ProcessGroup | None = None\n"
                "if not dist.is_available() or not dist.is_initialized():\n    return group\nreturn mask",
            ),
        ),
        Example(
            "a tensor that happens to be called dist",
            _mask("dist = mask.norm(dim=-1)\nreturn dist.reshape(1, -1)", "from torch import nn"),
        ),
        Example(
            "distributed tensors",
            _mask("return DTensor.from_local(mask)", "from torch.distributed.tensor import DTensor"),
        ),
    ),
    invalid=(
        Example(
            "logging on the first rank",
            _mask("if not dist.is_initialized() or dist.get_rank() == 0:\n    print(mask)\nreturn mask"),
            findings=(Expected(_SOUND, 6, "counts all processes of the job; use its 'get_world_rank'"),),
            fixed=_fixed(
                "if not dist.is_initialized() or get_world_rank() == 0:\n    print(mask)\nreturn mask",
                "import torch.distributed as dist\nfrom fastvideo.distributed import get_world_rank",
            ),
        ),
        Example(
            "by its full name, with a group of the code base",
            _mask(
                "n = torch.distributed.get_world_size(group=get_sp_group().device_group)\nreturn mask / n",
                "from fastvideo.distributed import get_sp_group",
            ),
            findings=(Expected(_SOUND, 6, "use its 'get_sp_world_size'"),),
            fixed=_fixed(
                "n = get_sp_world_size()\nreturn mask / n",
                "from fastvideo.distributed import get_sp_group, get_sp_world_size",
            ),
        ),
        Example(
            "a wrapper that has the same name",
            _mask("part = mask.shape[1] // dist.get_world_size(group=None)\nreturn mask[:, :part]"),
            findings=(Expected(_SOUND, 6, "(where one group is meant: 'get_sp_world_size')"),),
            fixed=_fixed(
                "part = mask.shape[1] // get_world_size()\nreturn mask[:, :part]",
                "import torch.distributed as dist\nfrom fastvideo.distributed import get_world_size",
            ),
        ),
        Example(
            "a collective, and the rank in a group of its own",
            _mask("dist.all_reduce(mask)\nreturn mask[dist.get_rank(GROUP)]"),
            findings=(
                Expected(_SOUND, 6, "'dist.all_reduce'"),
                Expected(_SOUND, 7, "may be for another group"),
            ),
        ),
        Example(
            "from imports, at any depth",
            _mask(
                "from torch.distributed._functional_collectives import all_gather_tensor\n\n"
                "return [all_gather_tensor(mask, 0, g) for g in range(world())]",
                "from torch.distributed import get_world_size as world",
            ),
            findings=(Expected(_SOUND, 8, "'all_gather_tensor'"), Expected(_SOUND, 8, "'world'")),
        ),
        Example(
            "when the module is imported",
            {
                **_DISTRIBUTED,
                _SOUND: "from torch import distributed\n\n_RANK = distributed.get_rank()\n",
            },
            findings=(Expected(_SOUND, 3, "'distributed.get_rank'"),),
        ),
    ),
)
