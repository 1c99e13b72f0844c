"""Whole statements that are too many or have the wrong sign."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from analyzers.numeric import statements
from analyzers.numeric.hypotheses.edits import Candidate, Replacement
from analyzers.numeric.hypotheses.evidence import Evidence


def candidates(evidence: Evidence) -> Iterator[Candidate]:
    """Arguments that are overridden, and updates in place."""
    for place in evidence.places:
        statement, code = place.statement, place.code
        if isinstance(statement, ast.Assign) and len(statement.targets) == 1:
            target = statement.targets[0]
            function = evidence.sources.function(code.path, statement.lineno - 1)
            given = statements.parameters(function) if function is not None else frozenset()
            if isinstance(target, ast.Name) and target.id in given:
                whole = code.line_of(statement)
                if whole is not None:
                    constant = isinstance(statement.value, ast.Constant)
                    yield Candidate(
                        "overridden-argument",
                        f"`{code.code(statement)}` has to go: the official model takes the caller's "
                        f"`{target.id}`",
                        code.path,
                        (whole,),
                        place.near * 1.2 + (0.0 if constant else 2.5),
                    )
        if isinstance(statement, ast.AugAssign) and isinstance(statement.op, (ast.Add, ast.Sub)):
            sign = "-" if isinstance(statement.op, ast.Add) else "+"
            start, end = code.span(statement.target)[1], code.span(statement.value)[0]
            yield Candidate(
                "sign",
                f"`{code.code(statement)}` has to have the other sign",
                code.path,
                (Replacement(start, end, f" {sign}= "),),
                place.near * 1.2 + 1.8,
            )
        if isinstance(statement, ast.AugAssign):
            whole = code.line_of(statement)
            if whole is not None:
                yield Candidate(
                    "extra-term",
                    f"`{code.code(statement)}` has to go: the official model has no such term",
                    code.path,
                    (whole,),
                    place.near * 1.2 + 2.0,
                )
