"""Options that say nothing to a parity test are refused, not ignored."""

from __future__ import annotations

from pathlib import Path

import click
import pytest

from lsp_server.commands import parity, trace
from lsp_server.commands.exits import CommandError, ExitCode

WITH_TEST = ["test_wan_parity.py"]
WITH_PORT = ["WanTransformer3DModel", "--tier", "weights"]


def run(command: click.Command, *arguments: str) -> object:
    return command.main(list(arguments), standalone_mode=False)


@pytest.mark.parametrize("start", [WITH_TEST, WITH_PORT], ids=["test", "tier"])
@pytest.mark.parametrize(
    "option",
    [
        ("--official", "diffusers:X"),
        ("--recipe", "wan"),
        ("--scaffold",),
        ("--device", "cuda"),
        ("--device", "cpu"),  # the default, but named
        ("--dtype", "float16"),
        ("--seed", "3"),
        ("--seed", "0"),
        ("--lockstep",),
        ("--no-lockstep",),
        ("--hypotheses",),
        ("--no-hypotheses",),
    ],
    ids=" ".join,
)
def test_a_trace_of_a_test_refuses_them(start: list[str], option: tuple[str, ...]) -> None:
    with pytest.raises(CommandError) as caught:
        run(trace.command, *start, *option)
    assert caught.value.code is ExitCode.USAGE
    assert f"{option[0]}" in str(caught.value)
    assert "a parity test" in str(caught.value)


@pytest.mark.parametrize("option", [("--official", "diffusers:X"), ("--recipe", "wan"), ("--device", "cpu")])
def test_so_does_parity(option: tuple[str, str]) -> None:
    with pytest.raises(CommandError, match=f"{option[0]} says nothing"):
        run(parity.command, *WITH_TEST, *option)


def test_others_are_taken(tmp_path: Path) -> None:
    """What fails then is the root, which is no project."""
    root = str(tmp_path / "none")
    with pytest.raises(CommandError) as caught:
        run(
            trace.command,
            *WITH_TEST,
            "--root",
            root,
            "--no-ops",
            "--timeout",
            "5",
            "--verbose",
        )
    assert "says nothing" not in str(caught.value)
