"""DIT410 global-state: model code that changes a setting of the whole process."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

from analyzers.findings import Finding, Location, Severity
from analyzers.rules.base import Context, Example, Expected, Rule, Tier

_SETTERS = re.compile(
    r"torch\.(set_default_(dtype|device)|set_grad_enabled|set_float32_matmul_precision"
    r"|use_deterministic_algorithms|set_deterministic_debug_mode|backends\.cuda\.enable_\w+_sdp)"
)
_SEEDS = re.compile(r"torch\.(random\.)?manual_seed|torch\.cuda\.manual_seed(_all)?|(numpy\.)?random\.seed")
_RESTORES = re.compile(
    r"torch\.((cuda|random)\.)?(set_rng_state(_all)?|fork_rng)|random\.setstate|numpy\.random\.set_state"
)
"""What gives a generator its old state back, or works on a copy of it."""


def check(context: Context) -> Iterator[Finding]:
    """Looks at calls in functions, and at those that run at import and touch no device (DIT504 has those)."""
    if not context.file.path.startswith(context.profile.dits + "/"):
        return
    callees = context.file.callees | {p.fact.callee for p in context.file.at_import}
    names = {_named(context, callee) for callee in callees}
    if not any(_SETTERS.fullmatch(name) or _SEEDS.fullmatch(name) for name in names):
        return
    for _, function in context.file.all_functions():
        calls = [function.at(f.call.span) for f in function.fact.calls]
        named = [
            (_named(context, f.call.callee), place, f.use.kind == "with")
            for f, place in zip(function.fact.calls, calls, strict=True)
        ]
        for dotted, place in _changed(named):
            yield _finding(context, place, dotted, function.fact.name)
    at_import = [(_named(context, p.fact.callee), p.at(p.fact.span), False) for p in context.file.at_import]
    for dotted, place in _changed(at_import):
        if not dotted.startswith("torch.cuda."):
            yield _finding(context, place, dotted, None)


def _named(context: Context, callee: str | None) -> str:
    """The full name of what is called, empty where it cannot be told."""
    return (context.names.qualified(context.file.path, callee) if callee is not None else None) or ""


def _changed(calls: list[tuple[str, Location, bool]]) -> Iterator[tuple[str, Location]]:
    """The calls, each with whether it is a context manager's, after which the process is another."""
    often = Counter(dotted for dotted, _, held in calls if not held)
    restored = any(_RESTORES.fullmatch(dotted) for dotted, _, _ in calls)
    for dotted, place, held in calls:
        # A second call of a setter puts back what was there; a second seed does not.
        setting = _SETTERS.fullmatch(dotted) and often[dotted] == 1
        if not held and (setting or (_SEEDS.fullmatch(dotted) and not restored)):
            yield dotted, place


def _finding(context: Context, location: Location, dotted: str, function: str | None) -> Finding:
    where = f" in '{function}'" if function is not None else ", which importing the model runs,"
    return context.finding(
        location,
        f"'{dotted}'{where} changes the whole process: everything that runs afterwards computes with it, the "
        "original beside it in a parity test too",
        symbol=function,
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
    "generator, and does not put back what was there: in functions, and in code that runs at import.",
    why="The next model in the process computes with it. In a parity test the original does too, so both "
    "sides agree and the port is still wrong in a process of its own.",
    how="Pass `dtype=` and `device=`, use `with torch.no_grad():`, and a generator of your own "
    "(`torch.Generator().manual_seed(seed)`, `random.Random(seed)`).",
    exceptions="Context managers, functions that call the same setter twice, to put the old value back, and "
    "functions that seed a generator and give it its old state back (`set_rng_state`, `fork_rng`). What runs "
    'under `if __name__ == "__main__":`. Access to a device at import is DIT504\'s.',
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
        Example(
            "the generator's state is put back",
            {
                _FILE: _HEAD + "    state = torch.get_rng_state()\n    torch.manual_seed(seed)\n"
                "    made = torch.randn(size)\n    torch.set_rng_state(state)\n    return made\n"
            },
        ),
        Example(
            "a copy of the generator",
            {
                _FILE: _HEAD + "    with torch.random.fork_rng():\n        torch.manual_seed(seed)\n"
                "        return torch.randn(size)\n"
            },
        ),
        Example(
            "only where the file is run",
            {_FILE: 'import torch\n\nif __name__ == "__main__":\n    torch.manual_seed(0)\n'},
        ),
    ),
    invalid=(
        Example(
            "at import",
            {_FILE: "import torch\n\ntorch.set_default_dtype(torch.bfloat16)\n"},
            findings=(
                Expected(_FILE, 3, "'torch.set_default_dtype', which importing the model runs, changes"),
            ),
        ),
        Example(
            "one seed or another",
            {
                _FILE: "from numpy import random\n\n\ndef noise(size, seed=None):\n    if seed is None:\n"
                "        random.seed(0)\n    else:\n        random.seed(seed)\n    return random.rand(size)\n"
            },
            findings=(Expected(_FILE, 6, "'numpy.random.seed' in 'noise'"), Expected(_FILE, 8)),
        ),
        Example(
            "a seed for everyone",
            {_FILE: _HEAD + "    torch.manual_seed(seed)\n    return torch.randn(size)\n"},
            findings=(Expected(_FILE, 5, "'torch.manual_seed' in 'noise'"),),
        ),
    ),
)
