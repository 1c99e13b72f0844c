"""From what a user typed to the tree, its settings, and the files to report on."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path

from analyzers.project.index import Project
from analyzers.project.profile import PROFILES, Profile, find_profile, find_root, root_in
from analyzers.project.settings import Settings, SettingsProblem, load_settings
from analyzers.project.sources import Sources
from analyzers.rules.retired import find_retired
from lsp_server.commands.exits import CommandError
from lsp_server.commands.terminal import say
from lsp_server.rule_pages import all_pages


@dataclass(frozen=True)
class Tree:
    """A tree of a known code base and what its user decided."""

    root: Path
    profile: Profile
    settings: Settings


def open_tree(root: str | None, paths: Sequence[str] = ()) -> Tree:
    """The tree named by `--root`, else the one around the paths, else around the current folder.

    Raises `CommandError` where there is none, or where the paths lie in several.
    """
    if root is not None:
        place = Path(root)
        if not place.is_dir():
            packages = " or ".join(f"{p.folder.partition('/')[0]}/" for p in PROFILES)
            raise CommandError(f"--root {root} is not a folder.", f"name the folder that holds {packages}.")
        found = root_in(place.resolve()) or place.resolve()
    else:
        found = _root_around(paths)
    settings = load_settings(found)
    settings = replace(settings, problems=(*settings.problems, *_unknown_rules(settings)))
    profile = find_profile(found, settings.profile)
    if profile is None and settings.profile is not None:
        raise CommandError(
            f"{settings.source}: there is no profile '{settings.profile}'.",
            f"use one of: {', '.join(p.name for p in PROFILES)}; or remove the key.",
        )
    if profile is None or not (found / profile.dits).is_dir():
        raise _no_tree(found, "here", PROFILES if profile is None else (profile,))
    return Tree(found, profile, settings)


def _root_around(paths: Sequence[str]) -> Path:
    roots = []
    for start in [_start(path) for path in paths] or [Path.cwd()]:
        # A link in the tree belongs to the tree, wherever it leads.
        root = find_root(start) or find_root(start.parent)
        if root is None:
            raise _no_tree(start, "here or above")
        roots.append(root)
    if len(set(roots)) > 1:
        raise CommandError(
            f"the paths lie in different trees: {', '.join(sorted({str(r) for r in roots}))}.",
            "check one tree at a time.",
        )
    return roots[0]


def _start(path: str) -> Path:
    """Where to look for the tree that a path belongs to; it may count from the root around here."""
    here = find_root(Path.cwd())
    if here is not None and not os.path.lexists(path) and (here / path).exists():
        return here
    return existing(path)


def _no_tree(place: Path, where: str, profiles: Sequence[Profile] = PROFILES) -> CommandError:
    titles = " or ".join(profile.title for profile in profiles)
    folders = " or ".join(profile.dits for profile in profiles)
    return CommandError(
        f"{place} is not in a tree of {titles}: there is no folder {folders} {where}.",
        f"run ditproof inside a checkout of {titles}, or name one with --root.",
    )


def existing(path: str) -> Path:
    """The path. Raises `CommandError` where nothing is there, or where its links go in a circle."""
    place = Path(path)
    try:
        place.resolve(strict=True)
    except FileNotFoundError:
        raise CommandError(f"{path} does not exist.", "check the spelling; paths count from here.") from None
    except (OSError, RuntimeError) as error:
        # A loop of links is a RuntimeError before Python 3.13.
        loops = isinstance(error, RuntimeError) or "symbolic link" in str(error)
        reason = "is a symbolic link that leads to itself" if loops else f"cannot be read: {error}"
        raise CommandError(f"{path} {reason}.", "name a file or a folder of the tree.") from None
    return place


# --------------------------------------------------------------------------- which files


def requested_files(project: Project, paths: Sequence[str]) -> tuple[str, ...]:
    """The files to report on: all that rules look at, or those at and below the paths.

    Raises `CommandError` where a path does not exist or lies outside the tree, and where nothing is
    left to look at: an empty run must not read as a clean one.
    """
    everything = project.checked_files
    if not everything:
        raise CommandError(
            f"no DiT file found in {project.root}.",
            f"ports belong into {project.profile.dits}/; check that this is the right tree.",
        )
    if not paths:
        return everything
    chosen: set[str] = set()
    empty: list[str] = []
    for path in paths:
        inside = inside_root(project.root, path)
        found = [f for f in everything if inside in (".", f) or f.startswith(inside + "/")]
        chosen.update(found)
        if not found:
            empty.append(path)
    if not chosen:
        profile = project.profile
        raise CommandError(
            f"no DiT file found here: {', '.join(empty)}.",
            f"ditproof looks at {profile.dits}/, {profile.dit_configs}/, {profile.registry} and the parity "
            "tests; name one of them, or no path at all.",
        )
    for path in empty:
        say(f"warning: {path} holds no DiT file: nothing was checked there.", style="warning")
    return tuple(sorted(chosen))


def inside_root(root: Path, path: str) -> str:
    """A path from the command line, relative to the root and with `/`.

    It counts from the current folder, or from the root if only there is something. Raises
    `CommandError` where it does not exist or lies outside.
    """
    place = Path(path)
    if not place.exists() and not place.is_absolute() and (root / place).exists():
        place = root / place
    existing(str(place))
    # As written first: a link inside the tree is a file of the tree, wherever it leads.
    written = Path(os.path.abspath(place))  # noqa: PTH100 - Path.resolve would follow links
    for candidate in (written, written.parent.resolve() / written.name, place.resolve()):
        if candidate.is_relative_to(root):
            return candidate.relative_to(root).as_posix()
    raise CommandError(f"{path} is not in {root}.", "name a path of that tree, or another --root.")


# --------------------------------------------------------------------------- settings


def with_selection(settings: Settings, select: Sequence[str], ignore: Sequence[str]) -> Settings:
    """The settings with `--select` in place of theirs and `--ignore` added to theirs.

    Raises `CommandError` for a code or name that no rule has.
    """
    chosen, dropped = _split(select), _split(ignore)
    for option, selectors in (("--select", chosen), ("--ignore", dropped)):
        for selector in selectors:
            problem = _unknown(selector)
            if problem is not None:
                raise CommandError(f"{option}: {problem}", "`ditproof rule` lists every rule.")
    return replace(settings, select=chosen or settings.select, ignore=(*settings.ignore, *dropped))


def tell_problems(settings: Settings) -> bool:
    """Says on standard error what is wrong with the settings; whether there was anything."""
    for problem in settings.problems:
        say(f"error: {problem.path}: {problem.message}", style="error")
    if settings.problems:
        say("  next: correct the settings; what is right in them was used.")
    return bool(settings.problems)


def _unknown_rules(settings: Settings) -> Iterator[SettingsProblem]:
    source = settings.source or ""
    named = {"select": settings.select, "ignore": settings.ignore}
    named |= {f"per-file-ignores: {pattern}": codes for pattern, codes in settings.per_file_ignores.items()}
    for key, selectors in named.items():
        for selector in selectors:
            problem = _unknown(selector)
            if problem is not None:
                yield SettingsProblem(source, f"'{key}': {problem}")


def _unknown(selector: str) -> str | None:
    if selector.upper() == "ALL":
        return None  # without the rules, which take longer to import than a cached answer to read
    pages = all_pages()
    if any(selector == p.name or (selector and p.code.startswith(selector.upper())) for p in pages):
        return None
    retired = find_retired(selector)
    if retired is not None:
        return f"{retired.told}."
    close = get_close_matches(selector, [w for page in pages for w in (page.name, page.code)], n=1)
    return f"no rule is called '{selector}'" + (f"; did you mean '{close[0]}'?" if close else ".")


def _split(values: Iterable[str]) -> tuple[str, ...]:
    return tuple(part.strip() for value in values for part in value.split(",") if part.strip())


def project_of(tree: Tree, sources: Sources, settings: Settings | None = None) -> Project:
    """A snapshot of the tree."""
    return Project(sources, tree.profile, settings or tree.settings)
