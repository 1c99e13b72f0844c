"""DIT110 config-not-exported: a DiT config that its bucket does not export."""

from __future__ import annotations

import re
from collections.abc import Iterator

from analyzers.facts.model import ClassFacts, Placed
from analyzers.findings import Applicability, Finding, Fix, Related, Severity
from analyzers.project.bindings import binds, listed
from analyzers.rules.base import Context, Example, Expected, Rule, Tier


def check(context: Context) -> Iterator[Finding]:
    """Looks at the configs of the file; silent where the bucket's `__init__` cannot be followed."""
    init = f"{context.profile.dit_configs}/__init__.py"
    facts = context.project.file(init)
    if facts is None or facts.broken or context.file.broken:
        return
    for cls in context.project.dit_configs:
        name = cls.fact.name
        if cls.path != context.file.path or name.startswith("_") or cls.fact.partial:
            continue
        bound = binds(context.names, facts, name)
        if bound is None:
            continue
        if bound and not _means(context, init, cls):
            continue  # another class of that name is exported: which one is meant is not told
        names = listed(facts)
        unlisted = names is not None and name not in [n for n, _ in names]
        if (bound and not unlisted) or _only_beside(context, cls):
            continue
        lacks = [] if bound else ["does not import it"]
        lacks += ["does not list it in __all__"] if unlisted else []
        package = context.names.module_name(init)
        consequence = "" if bound else f"; 'from {package} import {name}' fails"
        yield context.finding(
            cls.at(cls.fact.name_span),
            f"'{name}' is not exported: {init} {' and '.join(lacks)}{consequence}",
            symbol=name,
            related=(Related(facts.top, "the bucket's exports"),),
            fix=Fix(
                f"Export '{name}' from {init}",
                "export-config",
                {"path": init, "module": context.names.module_name(cls.path), "name": name},
                Applicability.SAFE,
            ),
        )


def _means(context: Context, init: str, cls: Placed[ClassFacts]) -> bool:
    found = context.names.class_of(init, cls.fact.name)
    return found is not None and context.names.qualified_class(found) == context.names.qualified_class(cls)


def _only_beside(context: Context, cls: Placed[ClassFacts]) -> bool:
    """Whether only other configs of its module use the class: then it is their base or part."""
    word = re.compile(rf"\b{re.escape(cls.fact.name)}\b")
    if not _used_by_sibling(context, cls, word):
        return False
    return not any(
        path != cls.path and word.search(context.project.sources.text(path) or "")
        for path in context.project.sources.walk(context.profile.folder)
    )


def _used_by_sibling(context: Context, cls: Placed[ClassFacts], word: re.Pattern[str]) -> bool:
    """Whether another config of the module names the class: as its base, or in a field."""
    siblings = {
        other.line
        for other in (*context.project.dit_configs, *context.project.dit_arch_configs)
        if other.path == cls.path and other.fact.name != cls.fact.name
    }
    return any(chunk.line in siblings and word.search(chunk.text) for chunk in context.file.chunks)


_CONFIG = "fastvideo/configs/models/dits/vivid.py"
_INIT = "fastvideo/configs/models/dits/__init__.py"
_SOURCE = """\
from dataclasses import dataclass

from fastvideo.configs.models.dits.base import DiTConfig


@dataclass
class VividConfig(DiTConfig):
    prefix: str = "vivid"
"""
_BOTH = """\
from fastvideo.configs.models.dits.sound import SoundConfig
from fastvideo.configs.models.dits.vivid import VividConfig

__all__ = ["SoundConfig", "VividConfig"]
"""
_LONG = "Extraordinarily" * 4
_PACKED = f"""\
from fastvideo.configs.models.dits.sound import SoundConfig
from fastvideo.configs.models.dits.other import {_LONG}Config

__all__ = [
    "SoundConfig",
    "{_LONG}Config"%s
]
"""

RULE = Rule(
    code="DIT110",
    name="config-not-exported",
    severity=Severity.WARNING,
    tier=Tier.PROJECT,
    summary="a DiT config is missing from its bucket's exports",
    what=(
        "Reports a DiT config class that `fastvideo/configs/models/dits/__init__.py` does not import, or "
        "does not list in `__all__`."
    ),
    why=(
        "Models, pipelines and tests import configs from the bucket. A config that it does not export is "
        "found only by those who know its file, and the next port copies a second one."
    ),
    how="Import the config in the bucket's `__init__` and add its name to `__all__`.",
    exceptions=(
        "Names with a leading underscore, and configs that only other configs of the same module use, as "
        "their base or in a field. An `__init__` with a star import from outside the tree or a computed "
        "`__all__` is left alone."
    ),
    source="`fastvideo/configs/models/dits/__init__.py`",
    fixable=Applicability.SAFE,
    check=check,
    reports_missing=True,
    valid=(
        Example("imported and listed", {}),
        Example(
            "a base of the config beside it",
            {
                _CONFIG: _SOURCE.replace("VividConfig", "VividBaseConfig")
                + "\n\n@dataclass\nclass VividConfig(VividBaseConfig):\n    pass\n",
                _INIT: _BOTH,
            },
        ),
        Example(
            "a part of the config beside it",
            {
                _CONFIG: _SOURCE.replace("VividConfig", "VividPartConfig")
                + "\n\n@dataclass\nclass VividConfig(DiTConfig):\n    part: VividPartConfig | None = None\n",
                _INIT: _BOTH,
            },
        ),
        Example(
            "a star import of the module",
            {_CONFIG: _SOURCE, _INIT: "from .sound import *\nfrom .vivid import *\n"},
        ),
    ),
    invalid=(
        Example(
            "neither imported nor listed",
            {_CONFIG: _SOURCE},
            findings=(Expected(_CONFIG, 7, "does not import it and does not list it"),),
            fixed={_INIT: _BOTH},
        ),
        Example(
            "imported only",
            {_CONFIG: _SOURCE, _INIT: _BOTH.replace(', "VividConfig"', "")},
            findings=(Expected(_CONFIG, 7, "does not list it in __all__"),),
            fixed={_INIT: _BOTH},
        ),
        Example(
            "imports out of order, one name a line",
            {
                _CONFIG: _SOURCE,
                "fastvideo/configs/models/dits/other.py": f"class {_LONG}Config:\n    pass\n",
                _INIT: _PACKED % "",
            },
            findings=(Expected(_CONFIG, 7, "does not import it and does not list it"),),
            fixed={
                _INIT: (_PACKED % ',\n    "VividConfig"').replace(
                    "\n\n__all__",
                    "\nfrom fastvideo.configs.models.dits.vivid import VividConfig\n\n__all__",
                )
            },
        ),
    ),
)
