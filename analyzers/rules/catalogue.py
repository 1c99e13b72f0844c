"""All rules, found by their files' names."""

from __future__ import annotations

import pkgutil
import re
from functools import cache
from importlib import import_module

import analyzers.rules
from analyzers.rules.base import Rule
from analyzers.rules.retired import RETIRED

_MODULE = re.compile(r"dit\d{3}_\w+")


@cache
def all_rules() -> tuple[Rule, ...]:
    """Every rule, by code."""
    rules: list[Rule] = []
    for module in pkgutil.iter_modules(analyzers.rules.__path__):
        if _MODULE.fullmatch(module.name):
            rules.append(import_module(f"analyzers.rules.{module.name}").RULE)
    buried = {word for retired in RETIRED for word in (retired.code, retired.name)}
    for rule in rules:
        assert not buried & {rule.code, rule.name}, f"{rule.code} or its name was retired: take another"
    return tuple(sorted(rules, key=lambda rule: rule.code))
