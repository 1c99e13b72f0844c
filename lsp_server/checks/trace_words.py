"""What the user's code raised while it was traced, in words, and what to do about it."""

from __future__ import annotations

from lsp_server.checks.against import Against
from lsp_server.checks.errors import CheckError
from lsp_server.checks.state_records import StateProblem
from lsp_server.checks.trace_question import TraceQuestion

_OWN_TYPES = ("Unbuildable", "Exit", "Crash", "NoRecipe", "BadRecipe")
"""Types of problems that the worker found itself, and no exception of the user's code."""


def is_official_absent(problem: StateProblem) -> bool:
    """Whether another official class may be at hand instead."""
    return problem.side == "official" and problem.stage in ("import", "config", "build")


def told(problem: StateProblem, question: TraceQuestion, against: Against) -> CheckError:
    """Reason and next step of what kept a trace from its verdict."""
    reason = f"{in_words(problem)}."
    if problem.next_step:
        return CheckError(reason, problem.next_step)
    if problem.missing:
        package = problem.missing.partition(".")[0]
        return CheckError(reason, f"Run `{question.python} -m pip install {package}`.")
    recipe = question.recipe.shown
    steps = {
        ("official", "forward"): f"The inputs of the recipe {recipe} may not be what {against.ref} takes: "
        "mend them there.",
        ("port", "forward"): "Mend it there; if the port takes other arguments than the official model, say "
        f"so in `port_inputs` of the recipe {recipe}.",
        ("port", "load"): f"`ditproof weights {question.port.cls}` says which names have no place.",
    }
    step = steps.get((problem.side, problem.stage))
    if step is None and problem.stage == "recipe":
        step = f"Mend the recipe {recipe}."
    if step is None and problem.side == "official":
        step = "Mend it there, or name another with --official."
    if step is None and problem.stage == "trace":
        step = "Report this, with the log; --no-lockstep or --no-ops may go around it."
    return CheckError(reason, step or "Mend it there; `python -c` with the same import shows the traceback.")


def in_words(problem: StateProblem) -> str:
    """What happened, in a few words."""
    message = " ".join(problem.message.split()).rstrip(".")
    kind = f"{problem.type}: " if problem.type not in _OWN_TYPES else ""
    return f"{_what(problem)} {kind}{message}{_place(problem)}"


def _what(problem: StateProblem) -> str:
    side = {"port": "the port", "official": "the official model", "code base": "the code base"}[problem.side]
    if problem.stage == "recipe":
        return "the recipe raises" if problem.type not in _OWN_TYPES else "the recipe cannot be used:"
    if problem.type in ("Crash", "Exit"):
        return f"{side}:"
    if problem.stage == "trace":
        return "measuring fails with"
    verb = {
        "import": "cannot be imported:",
        "config": "cannot be configured:",
        "build": "cannot be built:",
        "state": "has no state:",
        "load": "does not take the official weights:",
        "forward": "raises",
    }[problem.stage]
    return f"{side} {verb}"


def _place(problem: StateProblem) -> str:
    if problem.path is None or problem.path.startswith("<"):
        return ""
    return f" ({problem.path}:{(problem.line or 0) + 1})"
