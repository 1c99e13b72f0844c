"""The tree as it was at a git revision: what has changed since, and the sources of then.

Only `git` knows: it is asked with fixed arguments, never through a shell, and writes nothing.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from analyzers.findings import Finding
from analyzers.project.baseline import Baseline
from analyzers.project.index import Project
from analyzers.project.sources import READABLE, FactsCache, Sources
from analyzers.rules.engine import find_all
from lsp_server.commands.exits import CommandError


@dataclass(frozen=True)
class Changes:
    """What lies between a commit and the files on disk.

    `paths`: every file that differs, relative to the root, with `/`; untracked files too, ignored ones
    not. `before`: the bytes that these files had, None where a file was not there.
    """

    commit: str
    paths: frozenset[str]
    before: Mapping[str, bytes | None]


def changes_since(root: Path, revision: str) -> Changes:
    """What has changed below `root` since the branch left `revision` (their merge base; `revision` itself
    where they share no history).

    Raises `CommandError` where git is missing, `root` is in no repository, or has no such revision.
    """
    _require_work_tree(root)
    # `--end-of-options`: what begins with a dash is no option.
    named = _git(root, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")
    if named is None:
        raise CommandError(
            f"--changed-since: git knows no revision '{revision}'.",
            "name a commit, branch or tag that this clone has; a shallow clone may need `git fetch`.",
        )
    commit = named.decode().strip()
    base = _git(root, "merge-base", commit, "HEAD")
    commit = base.decode().strip() if base is not None else commit
    tracked = _git(root, "diff", "--name-only", "--no-renames", "--relative", "-z", commit, "--", ".")
    untracked = _git(root, "ls-files", "--others", "--exclude-standard", "-z", "--", ".")
    if tracked is None or untracked is None:
        raise CommandError(
            f"--changed-since: git cannot compare with '{revision}'.",
            f"run `git diff {commit}` in {root} to see why.",
        )
    paths = frozenset(p for p in (tracked + untracked).decode("utf-8", "surrogateescape").split("\0") if p)
    # `git cat-file` takes one name a line: what a name with a line end held cannot be asked.
    readable = sorted(path for path in paths if path.endswith(READABLE) and "\n" not in path)
    return Changes(commit, paths, _contents(root, commit, readable))


def _require_work_tree(root: Path) -> None:
    """Raises `CommandError` where git has no work tree at `root`, or refuses to read it."""
    done = _run(root, "rev-parse", "--is-inside-work-tree")
    if done.stdout.strip() == b"true":
        return
    said = done.stderr.decode("utf-8", "replace").partition("\n")[0].removeprefix("fatal: ").rstrip(".")
    if done.returncode == 0 or said.startswith("not a git repository"):
        raise CommandError(
            f"--changed-since: {root} is not in a git repository.",
            "leave the option out, or check a git checkout.",
        )
    raise CommandError(
        f"--changed-since: git refuses to read {root}: {said}.",
        f"run `git status` in {root} to see how to mend that.",
    )


def _contents(root: Path, commit: str, paths: list[str]) -> dict[str, bytes | None]:
    """What files held at a commit; None where there was none. No path has a line end."""
    request = "".join(f"{commit}:./{path}\n" for path in paths)
    answer = _git(root, "cat-file", "--batch", given=request.encode("utf-8", "surrogateescape"))
    if answer is None:
        raise CommandError(
            f"--changed-since: git cannot read the files of {commit[:12]}.",
            "a partial clone may need `git fetch` first.",
        )
    found: dict[str, bytes | None] = {}
    place = 0
    for path in paths:
        end = answer.index(b"\n", place)
        head = answer[place:end].rsplit(b" ", 2)
        place = end + 1
        if head[-1].isdigit():
            size = int(head[-1])
            found[path] = answer[place : place + size] if head[-2] == b"blob" else None
            place += size + 1
        else:
            found[path] = None  # `<name> missing`
    return found


def _git(root: Path, *arguments: str, given: bytes | None = None) -> bytes | None:
    """What a git command prints; None where it fails. Raises `CommandError` where there is no git."""
    done = _run(root, *arguments, given=given)
    return done.stdout if done.returncode == 0 else None


def _run(root: Path, *arguments: str, given: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
    environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"}
    try:
        return subprocess.run(
            ["git", *arguments], cwd=root, env=environment, input=given, capture_output=True, check=False
        )
    except FileNotFoundError:
        raise CommandError("--changed-since needs git, which is not on the PATH.", "install git.") from None


def findings_since(
    project: Project, changes: Changes, findings: Sequence[Finding], cache: FactsCache | None
) -> list[Finding]:
    """The findings in changed files, and those elsewhere that the earlier state did not have: a class that
    was removed here leaves a dangling row there."""
    elsewhere = [finding for finding in findings if finding.location.path not in changes.paths]
    caused: list[Finding] = []
    if elsewhere and changes.paths:
        then = Project(PastSources(project.root, changes, cache), project.profile, project.settings)
        earlier = [f for path in sorted({f.location.path for f in elsewhere}) for f in find_all(then, path)]
        recorded = Baseline().updated(earlier, lambda known: False, then.line)
        caused, _ = recorded.split(elsewhere, project.line)
    here = [finding for finding in findings if finding.location.path in changes.paths]
    return sorted([*here, *caused], key=lambda finding: finding.sort_key)


class PastSources(Sources):
    """The files of an earlier state: those on disk, with what has changed since taken back."""

    def __init__(self, root: Path, changes: Changes, cache: FactsCache | None = None) -> None:
        super().__init__(root, cache)
        self._before = changes.before

    def exists(self, path: str) -> bool:
        """Whether there was such a file."""
        if path in self._before:
            return self._before[path] is not None
        return super().exists(path)

    def _read(self, path: str) -> str | None:
        if path not in self._before:
            return super()._read(path)
        content = self._before[path]
        if content is None:
            self._problems[path] = "cannot be read: there was no such file"
            return None
        return self._decoded(path, content)

    def _is_there(self, path: str) -> bool:
        return self._before[path] is not None if path in self._before else super()._is_there(path)

    def _list(self, folder: str, suffixes: tuple[str, ...]) -> Iterator[str]:
        present = list(super()._list(folder, suffixes))
        yield from (path for path in present if self._before.get(path, b"") is not None)
        yield from sorted(
            path
            for path, content in self._before.items()
            if content is not None
            and path.startswith(folder + "/")
            and path.endswith(suffixes)
            and path not in present
        )
