"""Folders and files -> the trees they belong to, and the one thread that analyses them.

Invariants
----------
* The event loop owns `Tree` and `Changes`; the analysis thread owns `Session`. A question carries
  the changes over, so an answer always speaks of everything the client had said when it was asked.
* There is one analysis thread: sources and facts are not made to be shared.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from analyzers.project.profile import PROFILES, find_root
from lsp_server.session import Changes, Session

T = TypeVar("T")

log = logging.getLogger(__name__)


class Tree:
    """One tree, as the event loop sees it. `ready`: its index has been
    built once. `revision` grows with every change, `disk_revision` with those on disk. `on_save`: which tiers
    the project's settings turn on or off after a save, as of the last answer."""

    def __init__(self, root: Path, thread: ThreadPoolExecutor) -> None:
        self.root = root
        self.ready = False
        self.revision = 0
        self.disk_revision = 0
        self.on_save: Mapping[str, bool] = {}
        self._thread = thread
        self._session: Session | None = None
        self._changes = Changes()

    def relative(self, file: Path) -> str | None:
        """The path of a file of this tree relative to the root, with `/`; None for one outside."""
        if not file.is_relative_to(self.root):
            file = file.parent.resolve() / file.name
        return file.relative_to(self.root).as_posix() if file.is_relative_to(self.root) else None

    def note(self, changes: Changes) -> None:
        """Keeps changes for the next question."""
        self.revision += 1
        if changes.files or changes.everything:
            self.disk_revision += 1
        self._changes.add(changes)

    async def ask(self, question: Callable[[Session], T]) -> T:
        """Puts a question to the session, on the analysis thread, after all changes noted so far."""
        changes, self._changes = self._changes, Changes()
        done = asyncio.get_running_loop().run_in_executor(self._thread, self._answer, changes, question)
        # Shielded: the changes must arrive even if nobody waits for the answer any more.
        return await asyncio.shield(done)

    async def step_through(self, steps: Callable[[Session], Iterator[T]]) -> list[T]:
        """Puts a long question in steps, between which others get their turn."""
        iterator = await self.ask(steps)
        results: list[T] = []
        sentinel = object()
        while True:
            result = await self.ask(lambda _: next(iterator, sentinel))
            if result is sentinel:
                return results
            results.append(result)  # type: ignore[arg-type]

    def _answer(self, changes: Changes, question: Callable[[Session], T]) -> T:
        if self._session is None:
            self._session = Session(self.root)
        self._session.apply(changes)
        # Replaced as a whole, so that the event loop may read it.
        self.on_save = self._session.settings.on_save
        return question(self._session)


class Workspace:
    """The trees that the client's folders and files lie in."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="analysis")
        self._trees: dict[Path, Tree] = {}
        self._around: dict[Path, Tree] = {}
        self._told: set[Path] = set()

    @property
    def trees(self) -> tuple[Tree, ...]:
        """Every tree found so far."""
        return tuple(self._trees.values())

    def tree_around(self, folder: Path) -> Tree | None:
        """The tree that a folder lies in, or None; the first miss below a folder is logged.

        Found once, it stays: the disk is not asked at every key. A miss may become a tree later.
        """
        known = self._around.get(folder)
        if known is not None:
            return known
        root = find_root(folder)
        if root is None:
            if folder not in self._told:
                self._told.add(folder)
                titles = " or ".join(profile.title for profile in PROFILES)
                log.info("%s is not part of a tree of %s: nothing is checked there", folder, titles)
            return None
        if root not in self._trees:
            self._trees[root] = Tree(root, self._thread)
        self._around[folder] = self._trees[root]
        return self._trees[root]

    def place(self, file: Path) -> tuple[Tree, str] | None:
        """The tree and the relative path of a file, or None where no tree holds it."""
        tree = self.tree_around(file.parent)
        path = tree.relative(file) if tree is not None else None
        return (tree, path) if tree is not None and path is not None else None

    def close(self) -> None:
        """Ends the analysis thread after the work at hand."""
        self._thread.shutdown(wait=False, cancel_futures=True)
