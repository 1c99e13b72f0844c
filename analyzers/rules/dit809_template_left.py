"""DIT809 template-left: placeholders of the template still in place."""

from __future__ import annotations

from collections.abc import Iterator

from analyzers.facts.module_trees import strings
from analyzers.findings import Finding, Location, Severity, Span
from analyzers.rules.base import Context, Example, Expected, Rule, Tier


def check(context: Context) -> Iterator[Finding]:
    """Looks at strings and comments of parity tests and at the lines of state files."""
    path = context.file.path
    if path.rpartition("/")[2] == context.profile.parity.state_file:
        yield from _document(context)
    elif context.profile.is_parity_test(path):
        found = dict(_comments(context)) | dict(_strings(context))
        for location, mark in sorted(found.values(), key=lambda item: item[0]):
            yield _finding(context, location, mark)


def _strings(context: Context) -> Iterator[tuple[int, tuple[Location, str]]]:
    """By line. Words in angle brackets are common in prose, so only constants are held to them."""
    for mark, node, role in strings(context.file, context.profile.parity.template_marks):
        if role == "constant" or _is_unmistakable(mark):
            location = node.at(context.file.path)
            yield location.span.line, (location, mark)


def _is_unmistakable(mark: str) -> bool:
    return not mark.startswith("<") or mark[1:-1].isupper()


def _comments(context: Context) -> Iterator[tuple[int, tuple[Location, str]]]:
    for placed in context.file.comments:
        text = placed.fact.text.lstrip("#").strip()
        if text in context.profile.parity.template_comments:
            location = placed.at(placed.fact.span)
            yield location.span.line, (location, text)


def _document(context: Context) -> Iterator[Finding]:
    marks = sorted(context.profile.parity.template_marks, key=lambda mark: (-len(mark), mark))
    for number, line in enumerate(context.text.split("\n")):
        held = next((mark for mark in marks if mark.startswith("<") and mark in line), None)
        if held is not None:
            start = len(line[: line.index(held)].encode())
            span = Span(number, start, number, start + len(held.encode()))
            yield _finding(context, Location(context.file.path, span), held)


def _finding(context: Context, location: Location, mark: str) -> Finding:
    kind = (
        "the state file says nothing here" if location.path.endswith(".md") else "the test is not filled in"
    )
    return context.finding(location, f"'{mark}' is left from the template: {kind}")


_TEST = "tests/local_tests/sound/test_sound_vae_parity.py"
_STATUS = "tests/local_tests/sound/PORT_STATUS.md"

RULE = Rule(
    code="DIT809",
    name="template-left",
    severity=Severity.WARNING,
    tier=Tier.FILE,
    summary="a placeholder of the template is still in place",
    what=(
        "Reports placeholders and instructions of the add-model templates that are still in a parity test "
        '(`OFFICIAL_MODULE = "<official.module>"`, `TODO_MODEL_FAMILY`, the template\'s own `TODO` comments) '
        "or in a `PORT_STATUS.md` (`<model_family>`)."
    ),
    why=(
        "The template skips where a placeholder is not filled, so a test with one left skips on every "
        "machine "
        "and looks green. A comment that still asks for something says that nobody decided it."
    ),
    how="Fill the placeholder in, and delete the template's comment with it.",
    exceptions=(
        "Words in angle brackets in docstrings, messages and other places where prose uses them "
        "(`converted_weights/<family>`); other TODO comments; special tokens of tokenizers."
    ),
    source=(
        "`.agents/skills/add-model-02-parity/templates/component_parity_test.py`, "
        "`.agents/skills/add-model-09-pipeline/templates/pipeline_parity_test.py`, "
        "`.agents/skills/add-model-01-prep/templates/port_status.md`"
    ),
    check=check,
    suffixes=(".py", ".md"),
    valid=(
        Example(
            "filled in, with angle brackets in prose",
            {
                _TEST: '''\
"""Sound VAE parity; weights lie below converted_weights/<family>.

Coverage scope: production_loader.
"""
import pytest

# TODO: a longer clip once the official encoder takes one
PAD = "<pad>"


def test_sound_vae_parity():
    pytest.skip("put the weights into official_weights/<family>")
''',
                _STATUS: "# Sound Port Status\n\n- official_ref_dir: `<repo_root>/Sound/src`\n",
            },
        ),
    ),
    invalid=(
        Example(
            "a component test",
            {
                _TEST: '''\
"""Component parity scaffold for <FAMILY> <COMPONENT>.

Coverage scope: both.
"""
import os
from pathlib import Path

import pytest

REPO_ROOT = Path(__file__).resolve().parents[3]
FAMILY = "<family>"  # TODO: snake_case family name.
COMPONENT = "vae"  # TODO: transformer | vae | encoder | conditioner | ...
OFFICIAL_CLASS = "SoundVAE"
REFERENCE = Path(os.getenv("SOUND_OFFICIAL_REF_DIR", REPO_ROOT / "<ReferenceDir>"))


def test_sound_vae_parity():
    state_dict = {}  # TODO: load converted or directly mapped state dict.
    assert state_dict == {}
'''
            },
            findings=(
                Expected(_TEST, 1, "'<COMPONENT>' is left from the template", Severity.WARNING),
                Expected(_TEST, 11, "'<family>'"),
                Expected(_TEST, 12, "TODO: transformer | vae"),
                Expected(_TEST, 14, "'<ReferenceDir>'"),
                Expected(_TEST, 18, "TODO: load converted"),
            ),
        ),
        Example(
            "a pipeline test",
            {
                "tests/local_tests/pipelines/test_sound_pipeline_parity.py": """\
import pytest

_MODEL_FAMILY = "sound"


def test_sound_pipeline_parity():
    pytest.skip("TODO: import the official pipeline/factory, load official weights")
    comparison_key = "TODO_COMPARISON_KEY"
    assert comparison_key
"""
            },
            findings=(
                Expected("tests/local_tests/pipelines/test_sound_pipeline_parity.py", 7, "TODO: import"),
                Expected(
                    "tests/local_tests/pipelines/test_sound_pipeline_parity.py", 8, "TODO_COMPARISON_KEY"
                ),
            ),
        ),
        Example(
            "a state file",
            {
                _STATUS: """\
# Sound Port Status

## Summary

- model_family: `sound`
- official_ref: `<url or import path>`
- last_updated: `<YYYY-MM-DD>`
"""
            },
            findings=(
                Expected(_STATUS, 6, "'<url or import path>' is left from the template"),
                Expected(_STATUS, 7, "'<YYYY-MM-DD>'"),
            ),
        ),
    ),
)
