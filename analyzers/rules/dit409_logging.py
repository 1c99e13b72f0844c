"""DIT409 logging: `print` or the standard library's logging where the code base has a logger of its own."""

from __future__ import annotations

import re
from collections.abc import Iterator

from analyzers.facts.model import CallFact, FunctionFacts, Placed
from analyzers.findings import Applicability, Finding, Fix, Severity
from analyzers.project.names import External
from analyzers.rules.base import Context, Example, Expected, Rule, Tier

_STANDARD = re.compile(
    r"logging\.(getLogger|debug|info|warning|warn|error|exception|critical|log)"
    r"|(diffusers|transformers)\.utils\.logging\.get_logger"
)
_SETTINGS = frozenset(
    {"addFilter", "addHandler", "disabled", "handlers", "propagate", "removeHandler", "setLevel"}
)
"""What is taken of somebody else's logger to make it quiet, not to write to it."""
_MAIN = re.compile(r"\s*if\b[^\n]*\b__name__\b")


def check(context: Context) -> Iterator[Finding]:
    """Looks at the calls of model and config files."""
    profile, file = context.profile, context.file
    if profile.logger_factory is None:
        return
    if not file.path.startswith((f"{profile.dits}/", f"{profile.dit_configs}/")):
        return
    meant = {callee for callee in file.callees if callee == "print" or _is_standard(context, callee)}
    if not meant:
        return
    mains = {chunk.line for chunk in file.chunks if _MAIN.match(chunk.text)}
    for function, placed in _calls(context):
        if placed.fact.call.callee not in meant:
            continue
        if function is None and placed.line in mains:
            continue
        called = _called(context, function, placed.fact)
        if called is None:
            continue
        factory = profile.logger_factory.rpartition(".")[2]
        what = (
            "prints from every process, past the log's levels and files"
            if called == "print"
            else f"makes a logger without {profile.title}'s format, level and files"
            if called.endswith(("getLogger", "get_logger"))
            else f"logs past {profile.title}'s logger, with its own format and level"
        )
        where = f" in '{function.name}'" if function is not None else ""
        yield context.finding(
            placed.at(placed.fact.call.span),
            f"'{called}'{where} {what}: use the logger that {factory}(__name__) gives",
            fix=Fix(
                f"Use {factory}(__name__)",
                "use-logger",
                {
                    "path": file.path,
                    "line": placed.line + placed.fact.call.span.line + 1,
                    "column": placed.fact.call.span.column,
                    "callee": called,
                    "factory": profile.logger_factory,
                },
            ),
        )


def _calls(context: Context) -> Iterator[tuple[FunctionFacts | None, Placed[CallFact]]]:
    for placed in context.file.calls:
        yield None, placed
    for _, function in context.file.all_functions():
        for fact in function.fact.calls:
            yield function.fact, Placed(fact, function.path, function.line)


def _called(context: Context, function: FunctionFacts | None, fact: CallFact) -> str | None:
    """The name as written of a call that bypasses the logger, else None."""
    callee = fact.call.callee
    if callee is None:
        return None
    head = callee.partition(".")[0]
    if function is not None and function.parameter(head) is not None:
        return None
    file = context.file
    if callee == "print":
        own = (
            head in file.aliases
            or any(f.fact.name == head for f in file.functions)
            or any(head in a.fact.names for a in file.assignments)
        )
        # Whoever prints to a stream of their choice does not mean a log.
        return None if own or fact.call.keyword("file") is not None else callee
    if fact.use.kind == "attribute" and fact.use.detail in _SETTINGS:
        return None
    return callee


def _is_standard(context: Context, callee: str) -> bool:
    found = context.names.resolve(context.file.path, callee)
    return isinstance(found, External) and _STANDARD.fullmatch(found.dotted) is not None


_FILE = "fastvideo/models/dits/sound_mask.py"
_LOGGER = "fastvideo/logger.py"
_LOGGER_TEXT = "def init_logger(name):\n    return name\n"

RULE = Rule(
    code="DIT409",
    name="logging",
    severity=Severity.INFORMATION,
    tier=Tier.PROJECT,
    summary="`print` or stdlib logging where `init_logger` is the rule",
    what=(
        "Reports calls of `print`, `logging.getLogger` and `logging.info` (and its like), and of the "
        "`get_logger` of diffusers and transformers, in model and config files."
    ),
    why=(
        "A model runs in many processes. `print` writes once from each of them, cannot be turned off, and "
        "goes to standard output, where programs expect results; a logger of the standard library's lacks "
        "the prefix, the level and the once-only variants that FastVideo's gives."
    ),
    how=(
        "`from fastvideo.logger import init_logger`, `logger = init_logger(__name__)`, and "
        "`logger.info(...)`."
    ),
    exceptions=(
        'Under `if __name__ == "__main__":`; `print(..., file=...)`; a function called print of the file\'s '
        "own. The fix leaves `print` with `sep` or `end` alone."
    ),
    source="`fastvideo/logger.py`, `init_logger`; `AGENTS.md`",
    check=check,
    fixable=Applicability.SAFE,
    valid=(
        Example(
            "the logger, a script's output, a stream of its own choice",
            {
                _LOGGER: _LOGGER_TEXT,
                _FILE: """\
import sys

from fastvideo.logger import init_logger

logger = init_logger(__name__)


def mask(size):
    logger.info("a mask of %s", size)
    print(size, file=sys.stderr)
    return size


if __name__ == "__main__":
    print(mask(3))
""",
            },
        ),
        Example(
            "another library's logger, made quiet",
            {_FILE: 'import logging\n\nlogging.getLogger("diffusers").setLevel(logging.ERROR)\n'},
        ),
    ),
    invalid=(
        Example(
            "prints in a file with a logger",
            {
                _LOGGER: _LOGGER_TEXT,
                _FILE: """\
from fastvideo.logger import init_logger

logger = init_logger(__name__)


def mask(size):
    print(f"a mask of {size} frames", flush=True)
    return size


def shown(size):
    print(size)


def told(size):
    print("100 %", size)
""",
            },
            findings=(
                Expected(_FILE, 7, "'print' in 'mask' prints"),
                Expected(_FILE, 12),
                Expected(_FILE, 16),
            ),
            fixed={
                _FILE: """\
from fastvideo.logger import init_logger

logger = init_logger(__name__)


def mask(size):
    logger.info(f"a mask of {size} frames")
    return size


def shown(size):
    logger.info("%s", size)


def told(size):
    logger.info("%s %s", "100 %", size)
"""
            },
        ),
        Example(
            "a print in a file without one",
            {
                _LOGGER: _LOGGER_TEXT,
                _FILE: """\
import torch

from fastvideo.layers.linear import ReplicatedLinear


def mask(size):
    if size < 0:
        print("a negative mask")
    return torch.ones(size), ReplicatedLinear
""",
            },
            findings=(Expected(_FILE, 8),),
            fixed={
                _FILE: """\
import torch

from fastvideo.layers.linear import ReplicatedLinear
from fastvideo.logger import init_logger

logger = init_logger(__name__)


def mask(size):
    if size < 0:
        logger.info("a negative mask")
    return torch.ones(size), ReplicatedLinear
"""
            },
        ),
        Example(
            "the standard library's logger",
            {
                _LOGGER: _LOGGER_TEXT,
                _FILE: """\
import logging

import torch

logger = logging.getLogger(__name__)


def mask(size):
    logger.warning("a mask")
    return torch.ones(size)
""",
            },
            findings=(Expected(_FILE, 5, "'logging.getLogger' makes a logger without FastVideo's format"),),
            fixed={
                _FILE: """\
import torch

from fastvideo.logger import init_logger

logger = init_logger(__name__)


def mask(size):
    logger.warning("a mask")
    return torch.ones(size)
"""
            },
        ),
        Example(
            "a print with a separator, which has no fix",
            {_LOGGER: _LOGGER_TEXT, _FILE: 'def mask(size):\n    print(size, size, sep="x")\n'},
            findings=(Expected(_FILE, 2),),
        ),
        Example(
            "calls of the module logging",
            {
                _LOGGER: _LOGGER_TEXT,
                _FILE: """\
import logging

LEVEL = logging.WARNING


def mask(size):
    logging.warning("a mask of %s", size)
    return LEVEL
""",
            },
            findings=(Expected(_FILE, 7, "'logging.warning' in 'mask' logs past FastVideo's logger"),),
            fixed={
                _FILE: """\
import logging

from fastvideo.logger import init_logger

logger = init_logger(__name__)

LEVEL = logging.WARNING


def mask(size):
    logger.warning("a mask of %s", size)
    return LEVEL
"""
            },
        ),
        Example(
            "brackets around the value, and no import to stand beside",
            {_LOGGER: _LOGGER_TEXT, _FILE: "def mask(size):\n    print((size))\n"},
            findings=(Expected(_FILE, 2),),
            fixed={
                _FILE: """\
from fastvideo.logger import init_logger

logger = init_logger(__name__)

def mask(size):
    logger.info("%s", (size))
"""
            },
        ),
        Example(
            "the logger of another library, and one without a name",
            {
                _LOGGER: _LOGGER_TEXT,
                _FILE: """\
from logging import getLogger

import torch
from diffusers.utils import logging

logger = logging.get_logger(__name__)
root = getLogger()


def mask(size):
    return torch.ones(size)
""",
            },
            findings=(
                Expected(_FILE, 6, "'logging.get_logger' makes a logger without FastVideo's format"),
                Expected(_FILE, 7),
            ),
            fixed={
                _FILE: """\
import torch

from fastvideo.logger import init_logger

logger = init_logger(__name__)
root = init_logger(__name__)


def mask(size):
    return torch.ones(size)
"""
            },
        ),
        Example(
            "above the place where the logger is made, which has no fix",
            {
                _LOGGER: _LOGGER_TEXT,
                _FILE: """\
from fastvideo.logger import init_logger

print("a mask")
logger = init_logger(__name__)
""",
            },
            findings=(Expected(_FILE, 3),),
        ),
    ),
)
