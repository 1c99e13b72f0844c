"""DIT505 debugger-left: a breakpoint that a debug session left behind."""

from __future__ import annotations

import re
from collections.abc import Iterator

from analyzers.findings import Finding, Severity
from analyzers.rules.base import Context, Example, Expected, Rule, Tier

_STOPS = re.compile(r"(pdb|ipdb|pudb|rpdb)\.(set_trace|post_mortem)|(IPython|IPython\.terminal)\.embed")


def check(context: Context) -> Iterator[Finding]:
    """Looks at every call of model and config files, at import and in functions."""
    profile, file = context.profile, context.file
    if not file.path.startswith((f"{profile.dits}/", f"{profile.dit_configs}/")):
        return
    calls = [(call.at(call.fact.call.span), call.fact.call) for call in file.calls]
    for _, function in file.all_functions():
        calls += [(function.at(fact.call.span), fact.call) for fact in function.fact.calls]
    for location, call in calls:
        dotted = context.names.qualified(file.path, call.callee) if call.callee is not None else None
        is_builtin = call.callee == "breakpoint" and dotted is None
        if is_builtin or (dotted is not None and _STOPS.fullmatch(dotted)):
            yield context.finding(
                location,
                f"'{call.callee}' stops the process and waits for a keyboard: with several ranks the others "
                "hang in their next collective until the run is killed",
                symbol=call.callee,
            )


_FILE = "fastvideo/models/dits/sound_mask.py"

RULE = Rule(
    code="DIT505",
    name="debugger-left",
    severity=Severity.ERROR,
    tier=Tier.FILE,
    summary="a breakpoint that a debug session left behind",
    what="Reports `breakpoint()`, `pdb.set_trace()` (also ipdb, pudb, rpdb) and `IPython.embed()` in models "
    "and configs.",
    why="Whoever runs the model next gets a prompt instead of a video; on several GPUs only one rank stops, "
    "and the others time out in a collective somewhere else.",
    how="Delete the line.",
    exceptions="Functions of that name from elsewhere.",
    source="`.agents/skills/add-model-08-trace/SKILL.md`, Cleanup Gate",
    check=check,
    valid=(
        Example("a function of the file's own", {_FILE: "def breakpoint():\n    pass\n\n\nbreakpoint()\n"}),
        Example("a method of that name", {_FILE: "def f(trace):\n    trace.breakpoint()\n"}),
    ),
    invalid=(
        Example(
            "in a forward, by a name of its own, and at import",
            {
                _FILE: "from pdb import set_trace as stop\n\nimport ipdb\n\n\ndef forward(x):\n"
                "    breakpoint()\n    stop()\n    return x\n\n\nipdb.set_trace()\n"
            },
            findings=(Expected(_FILE, 7, "breakpoint"), Expected(_FILE, 8), Expected(_FILE, 12)),
        ),
    ),
)
