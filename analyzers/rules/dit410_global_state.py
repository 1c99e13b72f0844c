"""DIT410 global-state: model code that changes a setting of the whole process."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

from analyzers.findings import Finding, Severity
from analyzers.rules.base import Context, Example, Expected, Rule, Tier

_SETTERS = re.compile(
    r"torch\.(set_default_(dtype|device)|set_grad_enabled|set_float32_matmul_precision|manual_seed"
    r"|use_deterministic_algorithms|cuda\.manual_seed(_all)?)|random\.seed|numpy\.random\.seed"
)


def check(context: Context) -> Iterator[Finding]:
    """Looks at calls made in functions; at import, DIT504 speaks."""
    if not context.file.path.startswith(context.profile.dits + "/"):
        return
    setters = {
        callee: dotted
        for callee in context.file.callees
        if (dotted := context.names.qualified(context.file.path, callee)) is not None
        and _SETTERS.fullmatch(dotted)
    }
    for _, function in context.file.all_functions() if setters else ():
        set_here = [
            (fact.call, dotted)
            for fact in function.fact.calls
            if fact.use.kind != "with"
            and fact.call.callee is not None
            and (dotted := setters.get(fact.call.callee)) is not None
        ]
        often = Counter(dotted for _, dotted in set_here)
        for call, dotted in set_here:
            if often[dotted] == 1:  # a second call puts back what was there
                yield context.finding(
                    function.at(call.span),
                    f"'{dotted}' in '{function.fact.name}' changes the whole process: everything that runs "
                    "afterwards computes with it, the original beside it in a parity test too",
                    symbol=function.fact.name,
                )


_FILE = "fastvideo/models/dits/sound_noise.py"
_HEAD = "import torch\n\n\ndef noise(size, seed):\n"

RULE = Rule(
    code="DIT410",
    name="global-state",
    severity=Severity.WARNING,
    tier=Tier.FILE,
    summary="model code that changes a setting of the whole process",
    what="Reports a model that sets torch's default dtype, precision or gradient mode, or seeds a global "
    "generator, and does not put back what was there.",
    why="The next model in the process computes with it. In a parity test the original does too, so both "
    "sides agree and the port is still wrong in a process of its own.",
    how="Pass `dtype=` and `device=`, use `with torch.no_grad():`, and a generator of your own "
    "(`torch.Generator().manual_seed(seed)`, `random.Random(seed)`).",
    exceptions="Context managers, and functions that call the same setter twice, to put the old value back.",
    source="https://docs.pytorch.org/docs/stable/notes/randomness.html",
    check=check,
    valid=(
        Example("own generator", {_FILE: _HEAD + "    return torch.Generator().manual_seed(seed)\n"}),
        Example(
            "put back",
            {
                _FILE: _HEAD + "    old = torch.get_default_dtype()\n"
                "    torch.set_default_dtype(torch.float32)\n    torch.set_default_dtype(old)\n"
            },
        ),
        Example("with", {_FILE: _HEAD + "    with torch.set_grad_enabled(False):\n        return size\n"}),
    ),
    invalid=(
        Example(
            "a seed for everyone",
            {_FILE: _HEAD + "    torch.manual_seed(seed)\n    return torch.randn(size)\n"},
            findings=(Expected(_FILE, 5, "'torch.manual_seed' in 'noise'"),),
        ),
    ),
)
