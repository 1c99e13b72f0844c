"""DIT504 import-side-effect: network, device or file access at import."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from analyzers.facts.bodies import Body
from analyzers.facts.expressions import convert
from analyzers.facts.importing import calls_run
from analyzers.facts.model import (
    Attribute,
    Call,
    Constant,
    Expr,
    FileFacts,
    FunctionFacts,
    Placed,
    Subscript,
)
from analyzers.findings import Finding, Location, Related, Severity
from analyzers.project.names import External
from analyzers.rules.base import Context, Example, Expected, Rule, Tier

_NETWORK = re.compile(
    r"(requests|httpx)\.(get|post|put|head|request|Session|Client)"
    r"|urllib\.request\.(urlopen|urlretrieve)"
    r"|huggingface_hub\.(\w+\.)*(hf_hub_download|snapshot_download|HfApi|login|list_repo_files|model_info)"
    r"|torch\.hub\.(load|load_state_dict_from_url|download_url_to_file)"
    r"|(modelscope|wget|gdown)\.(snapshot_download|download)"
    r"|(diffusers|transformers|timm|open_clip)\.(\w+\.)*(from_pretrained|create_model)"
)
_DEVICE = re.compile(
    r"torch\.cuda\.(current_device|get_device_(capability|name|properties)|set_device|empty_cache|synchronize"
    r"|mem_get_info|memory_\w+|max_memory_\w+|init|current_stream|Stream|Event|manual_seed(_all)?"
    r"|get_rng_state|set_per_process_memory_fraction|is_bf16_supported)"
    r"|torch\.distributed\.(init_process_group|get_rank|get_world_size|new_group|barrier)"
    r"|pynvml\.nvml\w+"
)
_FILES = re.compile(
    r"open|io\.open"
    r"|os\.(makedirs|mkdir|remove|rename|replace|listdir|scandir|walk|unlink|rmdir|chdir)"
    r"|shutil\.(copy\w*|move|rmtree)"
    r"|(torch|numpy|pickle|json|yaml|toml|tomllib|joblib)\.(load|save|safe_load|dump|savez|fromfile)"
    r"|safetensors\.(\w+\.)*(load_file|safe_open|save_file)"
    r"|tempfile\.(mkdtemp|mkstemp|NamedTemporaryFile|TemporaryDirectory)"
    r"|subprocess\.(run|call|check_call|check_output|Popen)|os\.(system|popen)"
)
_PATH_METHODS = frozenset(
    {"read_text", "read_bytes", "write_text", "write_bytes", "mkdir", "unlink", "touch", "iterdir", "open"}
)
_ON_DEVICE = re.compile(r"cuda(:\d+)?|xpu(:\d+)?|mps|npu(:\d+)?")
MOST_CALLS = 4
"""How many functions of the tree are followed from a call at import."""


def check(context: Context) -> Iterator[Finding]:
    """Looks at the calls that run when a model or config is imported, also through functions."""
    profile = context.profile
    if not context.file.path.startswith((f"{profile.dits}/", f"{profile.dit_configs}/")):
        return
    for placed in context.file.at_import:
        found = _accessed(context, context.file.path, placed.fact, frozenset())
        if found is None:
            continue
        way = f" (through {' > '.join(found.chain)})" if found.chain else ""
        related = (Related(found.where, f"the {found.kind} access"),) if found.where is not None else ()
        yield context.finding(
            placed.at(placed.fact.span),
            f"importing this module runs {found.call}{way}: {found.kind} access at import makes everyone who "
            "imports it wait for that, or fail without it",
            related=related,
        )


@dataclass(frozen=True)
class _Access:
    """`kind`: network, device or file. `chain`: functions on the way, `where`: the call in the last one."""

    kind: str
    call: str
    chain: tuple[str, ...] = ()
    where: Location | None = None


def _accessed(context: Context, path: str, call: Call, seen: frozenset[tuple[str, str]]) -> _Access | None:
    direct = _direct(context, path, call)
    if direct is not None or call.callee is None or len(seen) >= MOST_CALLS:
        return direct
    target = context.names.resolve(path, call.callee)
    if not isinstance(target, Placed) or not isinstance(target.fact, FunctionFacts):
        return None
    function = Placed(target.fact, target.path, target.line)
    key = (function.path, function.fact.name)
    if key in seen or function.fact.decorators:
        return None  # what a decorator makes of it is not known
    for inner in context.project.derived("calls that surely run", function, _surely_run) or ():
        found = _accessed(context, function.path, inner, seen | {key})
        if found is not None:
            start = context.project.sources.bodies.start(function)
            here = Location(function.path, inner.span.shifted(start))
            return _Access(found.kind, found.call, (function.fact.name, *found.chain), found.where or here)
    return None


def _surely_run(body: Body) -> tuple[Call, ...]:
    found = (convert(node) for node in calls_run(body.tree.body, certain=True))
    return tuple(call for call in found if isinstance(call, Call))


def _direct(context: Context, path: str, call: Call) -> _Access | None:
    device = _put_on_device(context, path, call)
    if device is not None:
        return _Access("device", device)
    method = _path_method(context, path, call)
    if method is not None:
        return _Access("file", f"Path(...).{method}()")
    dotted = _outside(context, path, call.callee) if call.callee is not None else None
    if dotted is None:
        return None
    for kind, pattern in (("network", _NETWORK), ("device", _DEVICE), ("file", _FILES)):
        if pattern.fullmatch(dotted):
            return _Access(kind, f"{call.callee}()")
    return None


def _outside(context: Context, path: str, callee: str) -> str | None:
    """The full name of a function from outside of the tree; of a builtin its name."""
    found = context.names.resolve(path, callee)
    if isinstance(found, External):
        return found.dotted
    facts = context.project.file(path)
    if callee == "open" and facts is not None and not _binds(facts, callee):
        return callee
    return None


def _binds(facts: FileFacts, name: str) -> bool:
    """Whether the module gives the name a meaning of its own."""
    return (
        name in facts.aliases
        or any(name == f.fact.name for f in facts.functions)
        or any(name in a.fact.names for a in facts.assignments)
        or "*" in facts.aliases
    )


def _path_method(context: Context, path: str, call: Call) -> str | None:
    """The method of a `pathlib.Path` built on the spot that touches the disk."""
    function = call.function
    if not isinstance(function, Attribute) or function.name not in _PATH_METHODS:
        return None
    base: Expr = function.base
    while not isinstance(base, Call) or base.callee is None:
        if isinstance(base, Call):
            base = base.function
        elif isinstance(base, (Attribute, Subscript)):
            base = base.base
        else:
            return None
    return function.name if _outside(context, path, base.callee) == "pathlib.Path" else None


def _put_on_device(context: Context, path: str, call: Call) -> str | None:
    """A tensor that is made on a device (`torch.zeros(2, device="cuda")`) or moved there."""
    device = call.keyword("device")
    callee = call.callee
    if isinstance(call.function, Attribute) and isinstance(call.function.base, Call):
        made = call.function.base.callee
        if made is None or not (_outside(context, path, made) or "").startswith("torch."):
            return None
        if call.function.name == "to" and call.arguments and _names_device(call.arguments[0]):
            return ".to(...)"
        return ".cuda()" if call.function.name == "cuda" else None
    if device is None or callee is None or not _names_device(device):
        return None
    dotted = _outside(context, path, callee) or ""
    return f"{callee}(device=...)" if dotted.startswith("torch.") else None


def _names_device(value: Expr) -> bool:
    return (
        isinstance(value, Constant)
        and isinstance(value.value, str)
        and _ON_DEVICE.fullmatch(value.value) is not None
    )


_FILE = "fastvideo/models/dits/sound_tables.py"

RULE = Rule(
    code="DIT504",
    name="import-side-effect",
    severity=Severity.WARNING,
    tier=Tier.PROJECT,
    summary="network, device or file access at import",
    what=(
        "Reports calls that importing the module runs (its statements, class bodies, decorators, default "
        "values, and the functions of the tree that these surely call) and that reach the network "
        "(downloads, `from_pretrained`), a device (`torch.cuda.*` that initialise it, tensors made on "
        "`cuda`) or files (`open`, `torch.load`, `os.makedirs`, processes)."
    ),
    why=(
        "FastVideo's registry imports model files to inspect them, in processes that have no device or "
        "network, and forks afterwards: CUDA that was initialised at import breaks every fork, a download "
        "blocks the import of the whole package, and a missing file makes the architecture unsupported."
    ),
    how=(
        "Do it when it is first needed: in `__init__`, in a function behind `functools.cache`, or as a "
        "buffer that the loader places."
    ),
    exceptions=(
        'What stands under `if __name__ == "__main__":` or `if TYPE_CHECKING:`, in functions and '
        "lambdas that are not called at import; tests; asking whether there is a device "
        "(`torch.cuda.is_available`, `device_count`), which initialises none."
    ),
    source="`fastvideo/models/registry.py`, `_run_in_subprocess`; `fastvideo/models/AGENTS.md`",
    check=check,
    valid=(
        Example(
            "on first use, and questions that touch nothing",
            {
                _FILE: """\
import functools
from pathlib import Path

import torch

HAS_DEVICE = torch.cuda.is_available()
TABLE = torch.arange(8)
HERE = Path(__file__).parent
LAZY = lambda: open("table.txt")


@functools.cache
def table():
    return torch.load("table.pt", weights_only=True)


def on_device():
    return torch.zeros(2, device="cuda")


if __name__ == "__main__":
    print(open("notes.txt").read())
"""
            },
        ),
        Example(
            "a function of the tree that may not do it",
            {
                _FILE: """\
def table(path=None):
    if path:
        return open(path).read()


TABLE = table()
"""
            },
        ),
        Example("an own function called open", {_FILE: "def open(x):\n    return x\n\n\nTABLE = open(1)\n"}),
    ),
    invalid=(
        Example(
            "a device, a download and a file",
            {
                _FILE: """\
import json
from pathlib import Path

import torch
from huggingface_hub import hf_hub_download
from transformers import AutoTokenizer

CAPABILITY = torch.cuda.get_device_capability()
TABLE = torch.zeros(8, device="cuda")
WEIGHTS = hf_hub_download("a/b", "c.safetensors")
TOKENIZER = AutoTokenizer.from_pretrained("google/umt5-xxl")
STATS = json.loads((Path(__file__).parent / "stats.json").read_text())
NAMES = json.load(open("names.json"))
NOISE = torch.randn(4).to("cuda:0")
"""
            },
            findings=(
                Expected(_FILE, 8, "device access"),
                Expected(_FILE, 9, "torch.zeros(device=...)"),
                Expected(_FILE, 10, "network access"),
                Expected(_FILE, 11, "AutoTokenizer.from_pretrained()"),
                Expected(_FILE, 13, "json.load()"),
                Expected(_FILE, 13, "open()"),
                Expected(_FILE, 14, ".to(...)"),
            ),
        ),
        Example(
            "in a class body, a default and a decorator's argument",
            {
                _FILE: """\
from pathlib import Path

import torch


class Table:
    values = torch.load("table.pt")

    def get(self, device=torch.cuda.current_device()):
        return self.values.to(device)


TEXT = Path("notes.txt").read_text()
"""
            },
            findings=(
                Expected(_FILE, 7, "file access"),
                Expected(_FILE, 9, "torch.cuda.current_device()"),
                Expected(_FILE, 13, "Path(...).read_text()"),
            ),
        ),
        Example(
            "through a function",
            {
                _FILE: """\
import torch


def _capability():
    return torch.cuda.get_device_properties(0).major


def _fast():
    return _capability() >= 9


FAST = _fast()
"""
            },
            findings=(Expected(_FILE, 12, "(through _fast > _capability)"),),
        ),
    ),
)
