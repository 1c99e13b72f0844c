"""Syntax trees of functions on demand: right places, right lifetime, nothing of an older text."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from analyzers.facts.bodies import Bodies, Body
from analyzers.facts.certain import certain_calls
from analyzers.facts.dropped_inputs import dropped_inputs
from analyzers.facts.file import FileAnalysis
from analyzers.facts.model import FileFacts, FunctionFacts, Placed
from analyzers.project.index import Project
from analyzers.project.profile import FASTVIDEO
from analyzers.project.settings import Settings
from analyzers.project.sources import Sources
from analyzers.rules.engine import check_file
from analyzers.rules.examples import write_tree

TEXT = '''"""Größe."""

import torch


class Block(torch.nn.Module):
    size = 3

    @torch.no_grad()
    def forward(self, x):
        text = """
not indented
"""
        return self.größe(x) + x


def free(x):
    return x
'''


def _method(facts: FileFacts, name: str) -> Placed[FunctionFacts]:
    return next(function for _, function in facts.all_functions() if function.fact.name == name)


def test_places_are_those_of_the_file() -> None:
    facts = FileAnalysis("a.py").update(TEXT)
    body = Bodies().of(facts, _method(facts, "forward"))
    assert body is not None
    [value] = [n for n in ast.walk(body.tree) if isinstance(n, ast.BinOp)]
    span = body.at(value).span
    line = TEXT.split("\n")[span.line]
    assert line.encode()[span.column : span.end_column].decode() == "self.größe(x) + x"


def test_a_tree_is_kept_while_the_function_keeps_its_text() -> None:
    analysis, bodies = FileAnalysis("a.py"), Bodies()
    facts = analysis.update(TEXT)
    before = bodies.of(facts, _method(facts, "forward"))
    facts = analysis.update(TEXT.replace("size = 3", "size = 4\n    other = 5"))
    after = bodies.of(facts, _method(facts, "forward"))
    assert before is not None
    assert after is not None
    assert after.tree is before.tree
    assert after.line == before.line + 1


def test_what_was_derived_is_computed_once() -> None:
    facts = FileAnalysis("a.py").update(TEXT)
    bodies, asked = Bodies(), []

    def returns(body: Body) -> int:
        asked.append(body.tree.name)
        return sum(isinstance(n, ast.Return) for n in ast.walk(body.tree))

    for _ in range(2):
        assert bodies.derive("returns", facts, _method(facts, "free"), returns) == 1
    assert asked == ["free"]


def test_a_text_that_does_not_parse_has_no_tree() -> None:
    analysis = FileAnalysis("a.py")
    analysis.update(TEXT)
    facts = analysis.update(TEXT.replace("return self.größe(x) + x", "return self.größe(x +"))
    method = _method(facts, "forward")
    assert Bodies().of(facts, method) is None
    assert Bodies().derive("returns", facts, method, lambda body: 1) is None


DEEP = {
    "operators": "x" + " + x" * 900,
    "attributes": "x" + ".a" * 900,
    "methods": "x" + ".a()" * 200,
    "elements": "x" + "[0]" * 900,
    "signs": "-" * 900 + "x",
    "choices": "x if x else " * 900 + "x",
}


@pytest.mark.parametrize("kind", DEEP)
def test_deep_expressions_stop_no_rule(kind: str, tmp_path: Path) -> None:
    path = f"{FASTVIDEO.dits}/deep.py"
    lines = [
        "from torch import bfloat16, nn",
        "from torch.nn.functional import scaled_dot_product_attention",
        "class Deep(nn.Module):",
        "    def forward(self, x):",
        f"        y = {DEEP[kind]}",
        "        y = scaled_dot_product_attention(y.to(bfloat16), x, x)",
        f"        for z in {DEEP[kind]}:",
        "            y = z",
        "        return y",
        "    def other(self):",
        "        print(1)",
    ]
    write_tree(tmp_path, {path: "\n".join(lines) + "\n"})
    found = check_file(Project(Sources(tmp_path), FASTVIDEO, Settings()), path)
    assert [f.location.span.line for f in found if f.code == "DIT409"] == [10]


@pytest.mark.parametrize("annotation", ["'a\\0b'", repr("int" + " | int" * 1500)])
def test_an_annotation_in_quotes_may_be_anything(annotation: str) -> None:
    text = (
        f"def f(image: {annotation} = None):\n"
        "    if isinstance(image, list):\n        image = image[0]\n"
        "    else:\n        image = None\n"
    )
    facts = FileAnalysis("a.py").update(text)
    assert Bodies().derive("dropped", facts, _method(facts, "f"), dropped_inputs) == ()


def test_a_return_in_a_case_ends_what_every_run_does() -> None:
    analysis = FileAnalysis("a.py")
    text = "def f(x):\n    before()\n    match x:\n        case 1:\n            return\n    behind()\n"
    facts = analysis.update(text)
    body = Bodies().of(facts, _method(facts, "f"))
    assert body is not None
    assert [call.callee for call in certain_calls(body.body)] == ["before"]


def test_documents_are_listed_and_checked_like_files(tmp_path: Path) -> None:
    for path, text in {
        "fastvideo/models/dits/a.py": "x = 1\n",
        "tests/local_tests/wan/PORT_STATUS.md": "# Wan\n",
        "tests/local_tests/wan/README.md": "# Wan\n",
        "official_weights/wan/transformer/config.json": "{}\n",
    }.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    project = Project(Sources(tmp_path), FASTVIDEO, Settings())
    assert project.documents == (
        "tests/local_tests/wan/PORT_STATUS.md",
        "official_weights/wan/transformer/config.json",
    )
    assert set(project.documents) < set(project.checked_files)
    assert check_file(project, "tests/local_tests/wan/README.md") == []
    (tmp_path / "official_weights/wan/transformer/config.json").write_bytes(b"\xff\xfe")
    [finding] = check_file(project, "official_weights/wan/transformer/config.json")
    assert finding.code == "DIT001"
    assert "not UTF-8" in finding.message
