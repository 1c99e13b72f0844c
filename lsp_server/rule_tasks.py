"""The way to a rule from what a user sees: symptoms, each with the rules that find a cause of it."""

from __future__ import annotations

from dataclasses import dataclass

from lsp_server.rule_pages import find_page


@dataclass(frozen=True)
class Task:
    """Something that is wrong: what people call it, how it shows, and where to look, likeliest first."""

    title: str
    symptom: str
    codes: tuple[str, ...]


def _task(title: str, symptom: str, codes: str) -> Task:
    return Task(title, symptom, tuple(f"DIT{code}" for code in codes.split()))


TASKS: tuple[Task, ...] = (
    _task(
        "My model is not found",
        "`Model architectures [...] are not supported`, or the pipeline of another model is taken.",
        "101 102 103 104 105 106 107 108 109 110 111",
    ),
    _task(
        "It does not import, or cannot be built",
        "An `AttributeError` when the package is imported, a `TypeError` in the loader.",
        "001 201 202 204 205 207 301 305 306 504",
    ),
    _task(
        "Keys are missing, or unexpected",
        "The strict load fails; or it passes, and the picture is noise.",
        "701 702 703 609 211 303 306 307 308 309 310 311 706",
    ),
    _task(
        "It loads, and computes something else",
        "Nothing fails; the output differs from the original.",
        "903 904 208 209 210 303 309 312 313 402 405 406 407 408 410 501 704 705",
    ),
    _task(
        "It fails, or is wrong, on several GPUs",
        "One GPU is right; sequence parallelism or sharding is not, or memory does not shrink.",
        "203 206 403 404 405 409 504 505",
    ),
    _task(
        "LoRA trains nothing, quantization changes nothing",
        "No error: the layers are skipped.",
        "401 402",
    ),
    _task(
        "A setting has no effect",
        "A field of a config, an argument of a pipeline, a flag.",
        "206 208 302 303 304 312",
    ),
    _task(
        "Parity is red",
        "A run found that outputs drift, or could not run.",
        "901 903 904 905 906 313 705 704 406 408 208 210 808 907",
    ),
    _task(
        "Parity is green, and nobody trusts it",
        "The test skips, compares too little, or compares the port with itself.",
        "801 802 803 804 805 806 807 808 809 811 902",
    ),
    _task(
        "The pull request goes to review",
        "What a reviewer asks for: the official definition, the state of the port, clean production code.",
        "501 502 503 505 601 602 807 809 810",
    ),
    _task(
        "A suppression is reported",
        "Each says why, and goes when it is no longer needed.",
        "002 003",
    ),
)


def tasks_markdown() -> str:
    """The overview as a page that stands beside the folder of the rules' pages."""
    parts = [
        "# What is wrong?",
        "Begin with what you see; each line leads to a rule that finds a cause. `ditproof check` runs them "
        "all, `ditproof rule DIT101` explains one in the terminal.",
    ]
    for task in TASKS:
        rows = [f"- [{code} {name}](rules/{code}.md): {summary}" for code, name, summary in _rows(task)]
        parts += [f"## {task.title}", task.symptom, "\n".join(rows)]
    return "\n\n".join(parts) + "\n"


def _rows(task: Task) -> list[tuple[str, str, str]]:
    pages = [find_page(code) for code in task.codes]
    return [(page.code, page.name, page.summary) for page in pages if page is not None]
