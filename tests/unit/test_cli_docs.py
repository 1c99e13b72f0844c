"""The committed documentation says what the code does."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from analyzers.project.index import Project
from analyzers.project.profile import FASTVIDEO, SGLANG
from analyzers.project.settings import KEYS, Settings
from analyzers.project.sources import Sources
from analyzers.rules.catalogue import all_rules
from analyzers.rules.examples import write_tree
from lsp_server.cli import COMMANDS
from lsp_server.rule_pages import GROUPS, NEEDS, REPORTS, all_pages, find_page, page_markdown
from lsp_server.rule_tasks import TASKS

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    specification = importlib.util.spec_from_file_location(
        "generate_docs", REPOSITORY / "scripts" / "generate_docs.py"
    )
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def test_the_rule_pages_are_up_to_date(generator: ModuleType) -> None:
    assert generator.out_of_date() == [], "run `python scripts/generate_docs.py` (`make docs`)"


def test_the_overview_by_task_leads_to_every_rule(generator: ModuleType, tmp_path: Path) -> None:
    assert not generator.tasks_out_of_date(), "run `python scripts/generate_docs.py` (`make docs`)"
    assert generator.tasks_out_of_date(tmp_path / "tasks.md")
    assert {code for task in TASKS for code in task.codes} == {page.code for page in all_pages()}


def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(
        command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for page in all_pages():
        text = (tmp_path / "rules" / page.code / "index.html").read_text(encoding="utf-8")
        assert page.name in text
    front = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert all(title in front for title in ("Rules", "What is wrong?", "Accuracy"))


def test_the_generator_writes_what_is_missing_and_removes_what_is_gone(
    generator: ModuleType, tmp_path: Path
) -> None:
    generator.write(tmp_path)
    (tmp_path / "DIT999.md").write_text("gone")
    (tmp_path / "DIT106.md").write_text("old")
    assert generator.out_of_date(tmp_path) == ["DIT106.md", "DIT999.md"]
    assert generator.write(tmp_path) == ["DIT106.md", "DIT999.md"]
    assert generator.out_of_date(tmp_path) == []
    assert not (tmp_path / "DIT999.md").exists()


def test_every_rule_has_one_page() -> None:
    codes = [page.code for page in all_pages()]
    assert len(codes) == len(set(codes))
    assert {rule.code for rule in all_rules()} | {report.code for report in REPORTS} == set(codes)
    for page in all_pages():
        assert find_page(page.code) is page
        assert find_page(page.name) is page
        assert page.tier in NEEDS
        assert page.code[:4] in GROUPS


@pytest.mark.parametrize("page", all_pages(), ids=lambda p: p.code)
def test_pages_are_whole(page: object) -> None:
    text = page_markdown(page)  # type: ignore[arg-type]
    assert text.count("```") % 2 == 0
    assert "```diff\n\n```" not in text
    for heading in ("What it does", "Why it matters", "How to fix it"):
        assert text.count(f"## {heading}\n") == 1


DOCUMENTS = sorted(
    path for pattern in ("*.md", "docs/*.md", "docs/rules/*.md") for path in REPOSITORY.glob(pattern)
)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda p: p.relative_to(REPOSITORY).as_posix())
def test_links_between_documents_lead_somewhere(path: Path) -> None:
    text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\((?!https?:|#)([^)#\s]+)", text):
        if target.endswith(".png"):
            continue
        assert (path.parent / target).exists(), f"{path.name} links to {target}"


def test_the_usage_page_names_every_command_and_setting() -> None:
    text = (REPOSITORY / "docs" / "index.md").read_text(encoding="utf-8")
    for command in COMMANDS:
        assert f"ditproof {command}" in text
    for key in KEYS:
        assert f"`{key}`" in text


def test_pre_commit_passes_only_files_that_are_checked(tmp_path: Path) -> None:
    """`check` exits with 2 for a file that it does not look at: the hooks must not pass one."""
    hooks = (REPOSITORY / ".pre-commit-hooks.yaml").read_text(encoding="utf-8")
    found = re.search(r"files: &files (.+)", hooks)
    assert found is not None
    pattern = re.compile(found[1])
    others = (
        "fastvideo/models/vaes/x.py",
        "fastvideo/utils.py",
        "tests/helpers/parity.py",
        "fastvideo/models/dits",
    )
    write_tree(
        tmp_path,
        {
            "fastvideo/models/dits/deep/er.py": "",
            "fastvideo/tests/test_sound_parity.py": "",
            "tests/test_other.py": "",
            **{path: "" for path in others if path.endswith(".py")},
        },
    )
    files = Project(Sources(tmp_path), FASTVIDEO, Settings()).checked_files
    checked = {path for path in files if path.endswith(".py")}
    everything = {p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*.py")}
    passed = {path for path in everything if pattern.match(path)}
    documents = {path for path in checked if not path.endswith(".py")}
    assert passed == checked - documents
    assert not any(pattern.match(path) for path in documents)
    assert not any(pattern.match(path) for path in others)
    port = "sglang/multimodal_gen/runtime/models/dits/x.py"
    assert SGLANG.is_checked(port)
    assert all(pattern.match(path) for path in (port, f"python/{port}"))
    beside = ("sglang/multimodal_gen/runtime/models/vaes/x.py", "python/sglang/srt/models/x.py")
    assert not any(pattern.match(path) for path in beside)
