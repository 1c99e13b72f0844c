"""The group of commands: help, unknown commands, ways out."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import click
import pytest
from cli_testing import Cli, cli, tree_at

from lsp_server.cli import COMMANDS
from lsp_server.cli import cli as group

__all__ = ["cli"]

REPOSITORY = Path(__file__).resolve().parents[2]


def test_every_listed_command_is_there() -> None:
    context = click.Context(group)
    for name in COMMANDS:
        command = group.get_command(context, name)
        assert command is not None
        assert command.name == name


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(cli: Cli, name: str) -> None:
    outcome = cli(name, "--help")
    assert outcome.code == 0
    assert f"ditproof {name}" in outcome.out


def test_help_lists_the_commands(cli: Cli) -> None:
    outcome = cli("--help")
    assert outcome.code == 0
    assert all(name in outcome.out for name in COMMANDS)
    assert "4 skipped" in " ".join(outcome.out.split())


def test_the_help_of_the_trace_lists_all_that_a_recipe_may_define(cli: Cli) -> None:
    told = cli("trace", "--help").out
    # Read, not imported: it needs torch.
    tree = ast.parse((REPOSITORY / "ditproof_probe/tiny/recipe.py").read_text())
    constants = {
        target.id: ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(target := node.targets[0], ast.Name)
        if target.id in ("_CALLABLES", "_VALUES", "_DRAWS")
    }
    sizes = next(
        node.value
        for node in tree.body
        if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == "SIZES"
    )
    assert sizes is not None
    assert len(constants) == 3
    for name in (*constants["_CALLABLES"], *constants["_VALUES"]):
        assert f"{name}(" in told or f"  {name} " in told
    for name in (*constants["_DRAWS"], *(set(ast.literal_eval(sizes)) - {"seed"}), "get"):
        assert f"case.{name}" in told


def test_no_command_is_wrong_usage_and_shows_the_help(cli: Cli) -> None:
    outcome = cli()
    assert outcome.code == 2
    assert outcome.out == ""
    assert "Commands:" in outcome.err


def test_an_unknown_command_names_the_known_ones(cli: Cli) -> None:
    outcome = cli("chekc")
    assert outcome.code == 2
    assert outcome.out == ""
    assert "there is no command 'chekc'" in outcome.err
    assert "Did you mean 'check'?" in outcome.err
    assert ", ".join(COMMANDS) in outcome.err


@pytest.mark.parametrize("later", ["prove", "report"])
def test_commands_that_do_not_exist_yet_are_unknown(cli: Cli, later: str) -> None:
    outcome = cli(later)
    assert outcome.code == 2
    assert f"there is no command '{later}'" in outcome.err


def test_an_unknown_option_is_wrong_usage(cli: Cli) -> None:
    outcome = cli("check", "--base-line", "x")
    assert outcome.code == 2
    assert "No such option" in outcome.err


def test_version(cli: Cli) -> None:
    outcome = cli("--version")
    assert outcome.code == 0
    assert outcome.out.startswith("ditproof ")


def test_a_crash_does_not_read_as_findings(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(*_: object) -> None:
        raise ZeroDivisionError("broken rule")

    monkeypatch.setattr("lsp_server.commands.check.compute_result", crash)
    outcome = cli("check", "--root", tree_at(tmp_path))
    assert outcome.code == 3
    assert outcome.out == ""
    assert "broken rule" in outcome.err
    assert "please report" in outcome.err


def test_an_interrupt_has_the_shells_code(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("lsp_server.commands.check.compute_result", interrupt)
    outcome = cli("check", "--root", tree_at(tmp_path))
    assert outcome.code == 130
    assert "interrupted" in outcome.err


def test_help_imports_nothing_heavy() -> None:
    """What keeps `ditproof --help` under 0.2 s, told by imports and not by a clock."""
    program = (
        "import sys; from lsp_server.cli import main; code = main(['--help']);"
        "heavy = {'analyzers', 'rich', 'libcst', 'pygls', 'tree_sitter', 'asyncio', 'platformdirs'};"
        "print(code, sorted(heavy & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "0 []"
