"""DIT305 post-init-super: an overridden `__post_init__` that does not call its parent's."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from analyzers.facts.bodies import Body
from analyzers.facts.model import Call, ClassFacts, FunctionFacts, Placed, Reference
from analyzers.findings import Applicability, Finding, Fix, Related, Severity
from analyzers.project.idioms import calls_parent, is_dataclass
from analyzers.rules.base import Context, Example, Expected, Rule, Tier

_NAME = "__post_init__"


def check(context: Context) -> Iterator[Finding]:
    """Looks at the dataclasses of the DiT configs."""
    if not context.file.path.startswith(context.profile.dit_configs + "/"):
        return
    for cls in context.file.classes:
        method = cls.fact.method(_NAME)
        if method is None or cls.fact.partial or not _is_run(context, cls):
            continue
        if method.decorators or any(calls_parent(m, _NAME) for m in cls.fact.methods):
            continue
        names_only = context.project.derived("parent named", Placed(method, cls.path, cls.line), _names_only)
        if _hands_on(method) and not names_only:
            continue
        parent = _parent(context, cls)
        if parent is None:
            continue
        above = parent.fact.method(_NAME)
        if above is None or not (above.assignments or above.calls):
            continue  # nothing is lost
        changed = tuple(dict.fromkeys(a.name for a in above.assignments))
        lost = f", so {', '.join(repr(n) for n in changed)} is not set by it" if changed else ""
        yield context.finding(
            cls.at(method.name_span),
            f"'{cls.fact.name}.{_NAME}' never calls that of '{parent.fact.name}'"
            f"{', it only names it' if names_only else ''}{lost}",
            symbol=cls.fact.name,
            related=(Related(parent.at(above.name_span), "the one that is not called"),),
            fix=_fix(cls, method, above) if not names_only else None,
        )


def _is_run(context: Context, cls: Placed[ClassFacts]) -> bool:
    """Whether a constructor made by `dataclass` calls the method: the class's own or an inherited one."""
    return any(is_dataclass(c.fact) for c in context.names.ancestry(cls).classes)


def _parent(context: Context, cls: Placed[ClassFacts]) -> Placed[ClassFacts] | None:
    """The next class of the chain that defines `__post_init__`; None where another may come first."""
    ancestry = context.names.ancestry(cls)
    if not ancestry.self_contained:
        return None
    return next((c for c in ancestry.classes[1:] if c.fact.method(_NAME) is not None), None)


def _hands_on(method: FunctionFacts) -> bool:
    """Whether the method reaches for its parent in a way that is not a plain call."""
    return any(i.call.callee in ("super", "getattr") for i in method.calls)


def _names_only(body: Body) -> bool:
    """Whether `super().__post_init__` stands as a statement, without the parentheses that call it, and
    the method asks for `super` nowhere else."""
    asked = [n for n in ast.walk(body.tree) if isinstance(n, ast.Name) and n.id in ("super", "getattr")]
    named = [
        s
        for s in ast.walk(body.tree)
        if isinstance(s, ast.Expr) and isinstance(s.value, ast.Attribute) and s.value.attr == _NAME
    ]
    return bool(named) and len(asked) == len(named)


def _fix(cls: Placed[ClassFacts], method: FunctionFacts, above: FunctionFacts) -> Fix | None:
    """None where the parent reads what the override sets: it may have to run later, not first."""
    read = {name.partition(".")[0] for name in above.reads}
    if read & {a.name for a in method.assignments}:
        return None
    return Fix(
        title=f"Call super().{_NAME}() first",
        operation="call-parent-post-init",
        arguments={"path": cls.path, "class": cls.fact.name, "slots": _has_slots(cls.fact)},
        applicability=Applicability.SAFE,
    )


def _has_slots(cls: ClassFacts) -> bool:
    """`@dataclass(slots=True)` makes a second class, which `super()` without arguments misses."""
    return any(
        isinstance(d, Call) and isinstance(d.function, Reference) and d.keyword("slots") is not None
        for d in cls.decorators
    )


_FILE = "fastvideo/configs/models/dits/echo.py"


def _config(body: str, base: str = "DiTArchConfig") -> str:
    return f"""\
from dataclasses import dataclass, field

from fastvideo.configs.models.dits.base import DiTArchConfig, DiTConfig
from fastvideo.configs.models.dits.sound import SoundArchConfig


@dataclass
class EchoArchConfig({base}):
    num_layers: int = 2
    depth: int = 0

    def __post_init__(self) -> None:
{body}

@dataclass
class EchoConfig(DiTConfig):
    arch_config: DiTArchConfig = field(default_factory=EchoArchConfig)
"""


RULE = Rule(
    code="DIT305",
    name="post-init-super",
    severity=Severity.WARNING,
    tier=Tier.PROJECT,
    summary="an overridden `__post_init__` that does not call its parent's",
    what=(
        "Reports a dataclass below `fastvideo/configs/models/dits/` that overrides `__post_init__` without "
        "calling the one it inherits."
    ),
    why=(
        "Python runs only the most derived `__post_init__`. `DiTArchConfig`'s copies "
        "`_fsdp_shard_conditions` into empty `_compile_conditions`: without it the port has no compile "
        "conditions, and nothing says so. Parents of other families derive sizes there."
    ),
    how="Call `super().__post_init__()` first.",
    exceptions=(
        "Parents that do nothing, classes that neither are nor inherit from dataclasses, bases that cannot "
        "be followed. There is no fix where the parent reads what the override sets: then the place of the "
        "call matters."
    ),
    source="`fastvideo/configs/models/dits/base.py`, `DiTArchConfig.__post_init__`",
    fixable=Applicability.SAFE,
    check=check,
    reports_missing=True,
    valid=(
        Example(
            "calls its parent's",
            {_FILE: _config("        super().__post_init__()\n        self.depth = self.num_layers\n")},
        ),
        Example(
            "calls it by name",
            {_FILE: _config("        SoundArchConfig.__post_init__(self)\n", base="SoundArchConfig")},
        ),
        Example(
            "calls it in a helper",
            {
                _FILE: _config(
                    "        self._derive()\n\n    def _derive(self) -> None:\n"
                    "        super().__post_init__()\n        self.depth = self.num_layers\n"
                )
            },
        ),
        Example(
            "the parent has none",
            {
                _FILE: """\
from dataclasses import dataclass


@dataclass
class EchoGrid:
    width: int = 1

    def __post_init__(self) -> None:
        self.area = self.width**2
""",
            },
        ),
    ),
    invalid=(
        Example(
            "forgets its parent",
            {_FILE: _config("        self.depth = self.num_layers\n")},
            findings=(
                Expected(
                    _FILE,
                    12,
                    "never calls that of 'DiTArchConfig', so '_compile_conditions' is not set by it",
                    Severity.WARNING,
                ),
            ),
            fixed={_FILE: _config("        super().__post_init__()\n        self.depth = self.num_layers\n")},
        ),
        Example(
            "a subclass that is not decorated inherits the constructor that calls it",
            {
                _FILE: _config("        self.depth = self.num_layers\n").replace(
                    "@dataclass\nclass EchoArchConfig", "class EchoArchConfig"
                )
            },
            findings=(Expected(_FILE, 11, "never calls that of 'DiTArchConfig'"),),
        ),
        Example(
            "the parent's method is named and not called",
            {_FILE: _config("        super().__post_init__\n        self.depth = self.num_layers\n")},
            findings=(Expected(_FILE, 12, "never calls that of 'DiTArchConfig', it only names it, so"),),
        ),
        Example(
            "a body of one line, with a comment",
            {
                _FILE: _config("").replace(
                    "__post_init__(self) -> None:\n",
                    "__post_init__(self): self.depth = 1; self.x = 2  # so\n",
                )
            },
            findings=(Expected(_FILE, 12, "never calls that of 'DiTArchConfig'"),),
            fixed={
                _FILE: _config(
                    "        super().__post_init__()\n        self.depth = 1\n        self.x = 2  # so\n"
                ).replace("(self) -> None", "(self)")
            },
        ),
        Example(
            "a docstring stays first",
            {
                _FILE: _config(
                    '        """Derives."""\n        self.depth = self.num_layers\n', base="SoundArchConfig"
                )
            },
            findings=(Expected(_FILE, 12, "never calls that of 'DiTArchConfig'"),),
            fixed={
                _FILE: _config(
                    '        """Derives."""\n'
                    "        super().__post_init__()\n"
                    "        self.depth = self.num_layers\n",
                    base="SoundArchConfig",
                )
            },
        ),
        Example(
            "the parent reads what the override sets",
            {_FILE: _config("        self._fsdp_shard_conditions = [len]\n")},
            findings=(Expected(_FILE, 12, "never calls that of 'DiTArchConfig'"),),
        ),
    ),
)
