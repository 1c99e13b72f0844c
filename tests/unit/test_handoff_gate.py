"""The cleanup gate: what a debug session left, told only where it can be nothing else."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from analyzers.project.profile import FASTVIDEO
from lsp_server.checks.handoff.gate import Gate, gate_of
from lsp_server.checks.handoff.leftovers import leftovers
from lsp_server.git import ask, branch_of, edited_in, stashes, top_of

MODEL = "fastvideo/models/dits/noise.py"
SOUND = "import os\n\n\ndef forward(x):\n    return x\n"


def git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", "-c", "user.name=x", "-c", "user.email=x@y", "-c", "commit.gpgsign=false", *arguments],
        cwd=folder,
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout


def write(root: Path, files: dict[str, str]) -> None:
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A clone on a branch, with one model; its main line is `main`."""
    root = tmp_path / "tree"
    write(root, {MODEL: SOUND, "tests/test_a.py": "\n", ".gitignore": "ignored/\n"})
    git(root, "init", "-q", "-b", "main")
    git(root, "add", ".")
    git(root, "commit", "-qm", "base")
    git(root, "checkout", "-qb", "port")
    return root


def gate(root: Path, *official: str) -> Gate:
    return gate_of(root, FASTVIDEO, branch_of(root), official)


def told(gate: Gate) -> list[tuple[str, str | None, int | None]]:
    return [(item.kind, item.path, item.line) for item in gate.items]


# ---------------------------------------------------------------------- one file


def lines(text: str, *, in_model: bool = True) -> list[int]:
    return [one.line + 1 for one in leftovers(text, None, in_model=in_model)]


@pytest.mark.parametrize(
    "text",
    [
        "breakpoint()",
        "import pdb",
        "from ipdb import set_trace as stop",
        "import debugpy",
        "from IPython import embed\n\nembed()",
        "import os\nos.environ['FASTVIDEO_TRACE_ACTIVATIONS'] = '1'",
        "from os import environ\nenviron['FASTVIDEO_TRACE_LAYERS'] = 'x'",
        "import os\nos.environ.setdefault('FASTVIDEO_TRACE_STEPS', '1')",
        "import os\nos.putenv('FASTVIDEO_TRACE_STEPS', '1')",
        "import os\nos.environ.update({'FASTVIDEO_TRACE_STEPS': '1'})",
        "import os\nos.environ.update(FASTVIDEO_TRACE_STEPS='1')",
        "import os\nif os.environ.get('NOISE_DEBUG_PATCH_LINEAR'):\n    pass",
    ],
)
def test_what_is_left_in_production_code(text: str) -> None:
    assert lines(text, in_model=False), text
    assert lines(text)


@pytest.mark.parametrize(
    "text",
    [
        "m.register_forward_hook(f)",
        "self_.handle = m.register_forward_pre_hook(f)",
        "handle = m.register_full_backward_hook(f)",
        "from a import attach_activation_trace\nattach_activation_trace(m)",
        "print(x.shape)",
        "print(f'{x.abs().max()}')",
        "import torch\nprint('x', torch.isnan(x).any())",
        "import torch\ntorch.save(x, 'x.pt')",
        "from torch import save\nsave(x, 'x.pt')",
        "import numpy as np\nnp.save('x', x)",
    ],
)
def test_what_is_left_in_a_model(text: str) -> None:
    assert lines(text)
    assert not lines(text, in_model=False), "elsewhere it may be wanted"


@pytest.mark.parametrize(
    "text",
    [
        "def breakpoint():\n    pass\n\n\nbreakpoint()",
        "trace.breakpoint()",
        "import os\nos.environ['OTHER'] = '1'",
        "import os\ntraced = os.environ.get('FASTVIDEO_TRACE_ACTIVATIONS')",
        "settings['FASTVIDEO_TRACE_ACTIVATIONS'] = '1'",
        "handle = m.register_forward_hook(f)\nhandle.remove()",
        "self.handle = m.register_forward_hook(f)\nreturn_ = self.handle",
        "handles.append(m.register_forward_hook(f))",
        "def f():\n    return m.register_forward_hook(g)",
        "with m.register_forward_hook(f):\n    pass",
        "print('done')",
        "def print(x):\n    pass\n\n\nprint(x.shape)",
        "if __name__ == '__main__':\n    print(x.shape)",
        "console.print(x.shape)",
        "self.save(x)",
        "'''NOISE_DEBUG_PATCH_LINEAR switches a patch on'''",
        "breakpoint(",
    ],
)
def test_what_may_be_meant_is_not_accused(text: str) -> None:
    assert lines(text) == []


def test_old_lines_are_not_accused() -> None:
    text = "breakpoint()\nx = 1\nbreakpoint()\n"
    assert [one.line for one in leftovers(text, frozenset({1, 2}), in_model=True)] == [2]


# ---------------------------------------------------------------------- the tree


def test_a_clean_tree(root: Path) -> None:
    assert gate(root) == Gate((), ())
    assert gate(root).verdict == "clean"


def test_lines_of_the_branch_are_looked_at_committed_or_not(root: Path) -> None:
    write(root, {MODEL: SOUND + "\n\nbreakpoint()\n"})
    git(root, "commit", "-qam", "debug")
    write(
        root, {MODEL: "breakpoint()\n" + SOUND + "\n\nbreakpoint()\n", "fastvideo/new.py": "breakpoint()\n"}
    )
    assert told(gate(root)) == [("code", MODEL, 1), ("code", MODEL, 9), ("code", "fastvideo/new.py", 1)]


def test_what_was_there_before_the_branch_is_old(root: Path) -> None:
    git(root, "checkout", "-q", "main")
    write(root, {MODEL: SOUND + "\n\nbreakpoint()\n"})
    git(root, "commit", "-qam", "theirs")
    git(root, "checkout", "-qb", "later")
    write(root, {MODEL: "# a line\n" + SOUND + "\n\nbreakpoint()\n"})
    assert told(gate(root)) == []


def test_a_moved_file_is_old(root: Path) -> None:
    git(root, "checkout", "-q", "main")
    write(root, {MODEL: SOUND * 20 + "\n\nbreakpoint()\n"})
    git(root, "commit", "-qam", "theirs")
    git(root, "checkout", "-qb", "later")
    git(root, "mv", MODEL, "fastvideo/models/dits/moved.py")
    assert told(gate(root)) == []


@pytest.mark.parametrize("path", ["tests/test_new.py", "fastvideo/tests/test_new.py", "scripts/debug.py"])
def test_tests_and_scripts_are_no_production_code(root: Path, path: str) -> None:
    write(root, {path: "breakpoint()\n"})
    assert told(gate(root)) == []


def test_stray_files(root: Path) -> None:
    trace = '{"module": "blocks.0", "tensor": "out", "step": 0}\n'
    write(
        root,
        {
            "a.jsonl": trace,
            "data.jsonl": '{"prompt": "x"}\n',
            "no.jsonl": "no json",
            "out/x.pt": "",
            "fastvideo/models/dits/noise.py.orig": "",
            "b.rej": "",
            "ignored/c.pt": "",
            "ignored/d.jsonl": trace,
            "notes.md": "",
        },
    )
    found = gate(root)
    assert told(found) == [
        ("stray", "a.jsonl", None),
        ("stray", "b.rej", None),
        ("stray", "fastvideo/models/dits/noise.py.orig", None),
        ("stray", "out/x.pt", None),
    ]
    assert all(item.next_step for item in found.items)


def test_stashes_without_a_name(root: Path) -> None:
    for number, name in enumerate((None, "noise: rope")):
        write(root, {MODEL: SOUND + f"# {number}\n"})
        git(root, "stash", "push", "-q", *(["-m", name] if name else []))
    assert [name for name, _ in stashes(root) or ()] == ["stash@{0}", "stash@{1}"]
    (item,) = gate(root).items
    assert (item.kind, item.path) == ("stash", None)
    assert "stash@{1}" in item.what
    assert "git stash drop stash@{1}" in item.next_step


@pytest.mark.parametrize("place", ["tree/Official", "Official"])
def test_an_official_clone_that_was_edited(root: Path, place: str) -> None:
    clone = root.parent / place
    write(clone, {"noise/model.py": "a = 1\nb = 2\n", "README.md": "x"})
    git(clone, "init", "-q", "-b", "main")
    git(clone, "add", ".")
    git(clone, "commit", "-qm", "theirs")
    write(root, {".git/info/exclude": "Official/\n"})
    official = str(clone / "noise/model.py")
    assert told(gate(root, official)) == []
    write(clone, {"noise/model.py": "a = 1\nb = 3\n", "noise/dump.txt": "", "noise.egg-info/x": ""})
    found = gate(root, official)
    shown = "Official" if place.startswith("tree") else "../Official"
    assert told(found) == [
        ("official", f"{shown}/noise/dump.txt", None),
        ("official", f"{shown}/noise/model.py", 2),
    ]
    assert f"git -C {shown} checkout -- noise/model.py" in found.items[1].next_step


def test_official_files_elsewhere_or_in_the_tree_itself_are_no_clone(root: Path, tmp_path: Path) -> None:
    write(root, {"Official/model.py": "a = 1\n"})
    assert told(gate(root, "Official/model.py", "/usr/lib/nothing.py", "Missing/model.py")) == []


def test_without_git_nothing_is_called_clean(tmp_path: Path) -> None:
    found = gate_of(tmp_path, FASTVIDEO, branch_of(tmp_path), ())
    assert found.verdict == "unknown"
    assert "git does not know" in found.notes[0]


# ---------------------------------------------------------------------- git


def test_the_main_line_of_the_remote_comes_first(root: Path) -> None:
    head = git(root, "rev-parse", "HEAD").strip()
    write(root, {MODEL: SOUND + "# mine\n"})
    git(root, "commit", "-qam", "mine")
    branch = branch_of(root)
    assert branch is not None
    assert (branch.base, branch.against, branch.changed) == (head, "main", (MODEL,))
    git(root, "update-ref", "refs/remotes/origin/main", "HEAD")
    branch = branch_of(root)
    assert branch is not None
    assert (branch.against, branch.changed) == ("origin/main", ())
    named = branch_of(root, "main")
    assert named is not None
    assert named.changed == (MODEL,)
    assert branch_of(root, "nothing") is None
    assert branch_of(root, "--output=x") is None
    assert not (root / "x").exists()


def test_names_with_spaces_and_umlauts_are_read(root: Path) -> None:
    odd = "fastvideo/models/dits/nöise old.py"
    write(root, {odd: "x = 1\n"})
    git(root, "add", ".")
    git(root, "commit", "-qm", "odd")
    write(root, {odd: "x = 1\nbreakpoint()\n"})
    branch = branch_of(root)
    assert branch is not None
    assert branch.added[odd] == frozenset({0, 1})
    assert told(gate(root)) == [("code", odd, 2)]


def test_lines_that_look_like_heads_of_a_diff_are_lines(root: Path) -> None:
    text = SOUND + "+++ b/other.py\n@@ -1 +1 @@\n-- a\n"
    write(root, {MODEL: text})
    branch = branch_of(root)
    assert branch is not None
    assert branch.added == {MODEL: frozenset({5, 6, 7})}


def test_a_work_tree_below_the_top_has_its_own_paths(root: Path) -> None:
    write(root, {"fastvideo/models/dits/more.py": "x\n"})
    branch = branch_of(root / "fastvideo")
    assert branch is not None
    assert branch.changed == ("models/dits/more.py",)
    assert top_of(root / "fastvideo") == root.resolve()


def test_asking_runs_no_program_of_the_repository_and_writes_nothing(root: Path) -> None:
    marker = root.parent / "ran"
    git(root, "config", "core.fsmonitor", f"touch {marker}; false")
    git(root, "config", "diff.external", f"touch {marker}")
    write(root, {MODEL: SOUND + "# x\n"})
    index = (root / ".git/index").read_bytes()
    assert branch_of(root) is not None
    assert edited_in(root) is not None
    assert not marker.exists()
    assert (root / ".git/index").read_bytes() == index


def test_what_git_refuses_is_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert ask(tmp_path, "status") is None
    monkeypatch.setenv("PATH", str(tmp_path))
    assert ask(tmp_path, "--version") is None
