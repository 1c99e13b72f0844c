"""What the rules about weights share: a fault of a proof as a finding."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from analyzers.facts.model import Collection, Constant
from analyzers.findings import Finding, Severity
from analyzers.project.mappings import MappingRule
from analyzers.rules.base import Context
from analyzers.rules.weight_fixes import fix_of
from analyzers.weights.faults import PlacedFault, placed_faults
from analyzers.weights.mapping.patterns import parse_pattern
from analyzers.weights.mapping.templates import parse_template

_INVALID: Final = ("DIT306", "mapping-invalid")


def looks_at(context: Context) -> bool:
    """Whether the file may be the place of a fault: a model or the config of one."""
    return context.file.path.startswith((context.profile.dits + "/", context.profile.dit_configs + "/"))


def faults_here(context: Context) -> tuple[PlacedFault, ...]:
    """The faults that stand in the file under the rule's own code, but for what DIT306 says of a rule."""
    return tuple(
        placed
        for placed in placed_faults(context.project)
        if placed.code == context.rule.code
        and placed.location.path == context.file.path
        and not (placed.rule is not None and _is_called_invalid(context, placed.rule))
    )


def _is_called_invalid(context: Context, rule: MappingRule) -> bool:
    """Whether DIT306 reports the rule's own text: what then becomes of the names is no second cause."""
    code, name = _INVALID
    if not context.project.settings.enabled(code, name, rule.path):
        return False
    value = rule.value_fact
    target = value.items[0] if isinstance(value, Collection) and value.items else value
    if not isinstance(rule.key_fact, Constant) or rule.pattern is None:
        return False
    pattern = parse_pattern(rule.pattern)
    if pattern is None:
        return True
    if rule.merge is not None and not 0 <= rule.merge[0] < rule.merge[1]:
        numbers = value.items[1:] if isinstance(value, Collection) else ()
        return bool(numbers) and all(isinstance(number, Constant) for number in numbers)
    if rule.target is None or not isinstance(target, Constant):
        return False
    try:
        parse_template(pattern, rule.target)
    except (re.error, IndexError):
        return True
    return False


def faults_about(context: Context, *rules: MappingRule) -> tuple[PlacedFault, ...]:
    """The faults that one of the rules caused or takes part in, under whatever code."""
    places = {rule.key for rule in rules}
    return tuple(
        placed
        for placed in placed_faults(context.project)
        if any(rule.key in places for rule in placed.rules)
    )


def weight_findings(context: Context) -> Iterator[Finding]:
    """The check of a rule whose findings are the faults under its code."""
    if looks_at(context):
        for placed in faults_here(context):
            yield weight_finding(context, placed)


def weight_finding(context: Context, placed: PlacedFault, severity: Severity | None = None) -> Finding:
    """A fault as a finding of the rule."""
    known = placed.known
    message = placed.fault.message
    if placed.rule is not None and message.startswith("takes "):
        message = f"'{placed.rule.pattern}' {message}"
    return context.finding(
        placed.location,
        f"{message} (against {known.official})",
        severity=severity,
        symbol=known.table.name if placed.rule is not None and known.table is not None else known.port.name,
        port=known.port.name,
        related=placed.related,
        fix=fix_of(context.project, placed),
    )
