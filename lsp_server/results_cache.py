"""The findings of an unchanged tree, kept between runs.

An entry holds findings together with everything that was asked of the disk to get them: which
texts, which folders' listings, which paths exist. It counts only if each of these answers is still
the same; so nothing has to know which rule looks where. `Sources` being the only part of the
analysis that touches the disk is what makes this right.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import analyzers
from analyzers.findings import Applicability, Finding, Fix, Location, Related, Severity, Span
from analyzers.project.profile import Profile
from analyzers.project.settings import Settings
from analyzers.project.sources import FactsCache, Sources
from lsp_server import entries
from lsp_server.entries import Entries, cache_folder, code_version, text_digest


@dataclass(frozen=True)
class Trace:
    """Questions to the disk and their answers; of texts and listings the hash.

    `texts` has the reason instead where a file could not be read. `installed`: of the root.
    """

    texts: dict[str, str] = field(default_factory=dict)
    listings: dict[str, str] = field(default_factory=dict)
    documents: dict[str, str] = field(default_factory=dict)
    exists: dict[str, bool] = field(default_factory=dict)
    installed: dict[str, bool] = field(default_factory=dict)


class TracedSources(Sources):
    """Sources that note what they were asked."""

    def __init__(self, root: Path, cache: FactsCache | None = None) -> None:
        super().__init__(root, cache)
        self.trace = Trace()

    def text(self, path: str) -> str | None:
        """The text of a file, None where it cannot be read."""
        text = super().text(path)
        if path not in self.trace.texts:
            self.trace.texts[path] = text_digest(text) if text is not None else self._problems.get(path, "")
        return text

    def exists(self, path: str) -> bool:
        """Whether there is such a file."""
        found = super().exists(path)
        self.trace.exists[path] = found
        return found

    def is_installed(self) -> bool:
        """Whether packages were installed into the root."""
        self.trace.installed[""] = super().is_installed()
        return self.trace.installed[""]

    def walk(self, folder: str) -> tuple[str, ...]:
        """Every `.py` file below `folder`, in the disk's own order."""
        listing = super().walk(folder)
        if folder not in self.trace.listings:
            self.trace.listings[folder] = _listing_digest(listing)
        return listing

    def documents(self, folder: str) -> tuple[str, ...]:
        """Every Markdown and JSON file below `folder`, sorted."""
        listing = super().documents(folder)
        if folder not in self.trace.documents:
            self.trace.documents[folder] = _listing_digest(listing)
        return listing


@dataclass(frozen=True)
class Result:
    """What a check of some files came to. `ports` counts those of the tree; `baselined` the findings that
    the baseline holds, `outdated` those that it holds and that are no longer there."""

    findings: tuple[Finding, ...]
    files: int
    ports: int
    legacy_known: bool
    baselined: int = 0
    outdated: int = 0


class ResultsCache:
    """Results by tree, settings and files."""

    def __init__(self, base: Path | None = None) -> None:
        """`base` defaults to the user's cache folder."""
        classes = (Result, Trace, Finding, Location, Span, Related, Fix, Severity, Applicability)
        self.entries = Entries((base or cache_folder()) / "results", results_version(), classes, 64 << 20)

    def get(
        self,
        sources: TracedSources,
        profile: Profile,
        settings: Settings,
        paths: Sequence[str],
        compute: Callable[[], Result],
    ) -> Result:
        """The result for these paths, from the cache if nothing that it came from has changed."""
        key = text_digest(repr((str(sources.root), profile.name, settings, tuple(paths))))
        known = self.entries.read(key)
        if known is not None:
            trace, result = known
            if still_holds(trace, sources):
                assert isinstance(result, Result)
                return result
        result = compute()
        self.entries.write(key, (sources.trace, result))
        self.entries.prune()
        return result


def still_holds(trace: Trace, sources: Sources) -> bool:
    """Whether the disk would give the same answers again."""
    return (
        all(_listing_digest(sources.walk(folder)) == digest for folder, digest in trace.listings.items())
        and all(_listing_digest(sources.documents(folder)) == d for folder, d in trace.documents.items())
        and all(_text_answer(sources, path) == answer for path, answer in trace.texts.items())
        and all(sources.exists(path) == found for path, found in trace.exists.items())
        and all(sources.is_installed() == found for found in trace.installed.values())
    )


def results_version() -> str:
    """The version of everything that an entry depends on besides the tree and the settings."""
    return code_version(Path(analyzers.__file__).parent, Path(__file__), Path(entries.__file__))


def _text_answer(sources: Sources, path: str) -> str:
    text = sources.text(path)
    return text_digest(text) if text is not None else sources.problem(path) or ""


def _listing_digest(listing: tuple[str, ...]) -> str:
    # The order counts: where two files register one name, it decides.
    return text_digest("\n".join(listing))
