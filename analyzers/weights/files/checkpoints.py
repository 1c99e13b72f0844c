"""A checkpoint as a user names it: one file, a folder of shards with or without an index, a pipeline.

What the code base's loader does decides. FastVideo's (`models/loader/component_loader.py`,
`TransformerLoader.load`) reads every `*.safetensors` of the folder and never looks at an index; of a name
that comes twice the last one read counts, and the order of the files is the disk's. SGLang's
(`runtime/loader/utils.py`, `_list_safetensors_files`) reads the files that an index names, all of what is in
them, and those of a folder without one by name. diffusers reads what the index names
(`models/modeling_utils.py`).
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from analyzers.weights.files.headers import (
    Checkpoint,
    CheckpointProblem,
    Effect,
    Header,
    TensorPlace,
    read_header,
    shown,
)
from analyzers.weights.files.ranges import EndOfData, LocalFile
from analyzers.weights.files.strangers import by_name, recognise

SUFFIX = ".safetensors"
INDEX_SUFFIX = ".safetensors.index.json"
_CONFIG = "config.json"
_PIPELINE = "model_index.json"
_LARGEST_JSON = 100_000_000
"""Bytes of an index or a configuration that are read; real ones have at most a few hundred kB."""


class NotACheckpoint(Exception):
    """The path names something else. `message`: what it is; `next_step`: what to name or do instead."""

    def __init__(self, path: Path, message: str, next_step: str) -> None:
        super().__init__(f"{message}: {next_step}")
        self.path = path
        self.message = message
        self.next_step = next_step


def read_checkpoint(path: Path, *, loader: str = "FastVideo", by_index: bool = False) -> Checkpoint:
    """The names, shapes and places of a checkpoint; only headers, indexes and `config.json` are read.

    `path`: a safetensors file, a header alone (with or without the eight bytes of its length), an index,
    a folder with such files, a diffusers pipeline (its `transformer` is read) or a model's folder in the
    Hugging Face cache. Links are followed. `loader`: whose loader is spoken of; `by_index`: whether it reads
    the files that an index names, and no others.

    Whatever is wrong with the files becomes a problem. Raises `FileNotFoundError` where nothing is there
    and `NotACheckpoint` where something else is.
    """
    reading = _Reading(loader, by_index=by_index)
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        if path.is_symlink():
            raise NotACheckpoint(path, f"'{path.name}' is {_dangling(path)}", _RELOAD) from None
        raise
    except (OSError, ValueError) as error:
        raise NotACheckpoint(path, f"'{path}' cannot be reached ({_why(error)})", _PERMISSIONS) from None
    if stat.S_ISDIR(mode):
        return reading.folder(path)
    if not stat.S_ISREG(mode):
        raise NotACheckpoint(path, f"'{path.name}' is no regular file", "name a file or a folder")
    stranger = by_name(path)
    if stranger is not None:
        raise NotACheckpoint(path, stranger.message, stranger.next_step)
    if path.name.endswith(".json"):
        return reading.json_file(path)
    return reading.one_file(path)


_RELOAD = "download it again: `hf download` fetches what is missing"
_REINDEX = "write the index again from the files (`save_pretrained` does), or download it again"
_PERMISSIONS = "see that you may read it, and its folders"


@dataclass(frozen=True)
class _Index:
    """An index: which file holds which tensor."""

    path: Path
    files: Mapping[str, str]


class _Reading:
    """One reading of a checkpoint: what was found so far."""

    def __init__(self, loader: str, *, by_index: bool) -> None:
        self.loader = loader
        self.by_index = by_index
        self.bytes_read = 0
        self.total_bytes = 0
        self.files: list[Path] = []
        self.problems: list[CheckpointProblem] = []
        self.notes: list[str] = []
        self.alone = False  # an index without any file that it names

    # ------------------------------------------------------------------ what a path may be

    def folder(self, path: Path) -> Checkpoint:
        """A folder: a pipeline, a folder of the Hugging Face cache, or files side by side."""
        names = self._listed(path)
        if _PIPELINE in names:
            return self.folder(self._transformer_of(path, names))
        if "snapshots" in names and not any(n.endswith(SUFFIX) for n in names):
            return self.folder(self._snapshot_of(path))
        shards = [path / n for n in names if n.endswith(SUFFIX) and not n.startswith(".")]
        indexes = [path / n for n in names if n.endswith(INDEX_SUFFIX) and not n.startswith(".")]
        if not shards and not indexes:
            raise self._nothing_in(path, names)
        read = [index for index in map(self._index, indexes) if index is not None]
        return self._made(path, shards, read, self._config(path))

    def one_file(self, path: Path) -> Checkpoint:
        """One file with a header."""
        return self._made(path, [path], [], self._config(path.parent))

    def json_file(self, path: Path) -> Checkpoint:
        """An index, with what it names where that is there, or the text of a header."""
        value = self._json(path)
        if isinstance(value, dict) and isinstance(value.get("weight_map"), dict):
            index = self._checked_index(path, value)
            named = dict.fromkeys(index.files.values()) if index is not None else {}
            there = [path.parent / name for name in named if os.path.lexists(path.parent / name)]
            if index is not None and not there:
                self.notes.append(
                    f"'{path.name}' is here without the files that it names: names are known, shapes are not"
                )
                self.alone = True
            config = self._config(path.parent)
            return self._made(path, sorted(there), [index] if index is not None else [], config)
        if value is None and self.problems:
            return self._made(path, [], [], None)
        entries = [v for k, v in value.items() if k != "__metadata__"] if isinstance(value, dict) else []
        if entries and all(isinstance(entry, dict) and "data_offsets" in entry for entry in entries):
            return self.one_file(path)
        raise NotACheckpoint(
            path,
            f"'{path.name}' is neither an index (no 'weight_map') nor the header of a safetensors file (no "
            "entries with 'data_offsets')",
            "name a .safetensors file, its folder or its index",
        )

    # ------------------------------------------------------------------ folders

    def _listed(self, path: Path) -> list[str]:
        try:
            return sorted(os.listdir(path))  # noqa: PTH208 - names are all that is needed
        except OSError as error:
            raise NotACheckpoint(path, f"'{path}' cannot be listed ({_why(error)})", _PERMISSIONS) from None

    def _transformer_of(self, path: Path, names: list[str]) -> Path:
        found = [n for n in names if n.startswith("transformer") and (path / n).is_dir()]
        if "transformer" in found:
            note = f"'{path.name or path}' is a whole pipeline: its 'transformer' was read"
            others = [n for n in found if n != "transformer"]
            if others:
                note += f", and {shown(others)} was not: name that folder to have it read"
            self.notes.append(note)
            return path / "transformer"
        own = [n for n in names if n.endswith(SUFFIX)]
        instead = f"name one of {shown(found + own)}" if found or own else _RELOAD
        raise NotACheckpoint(
            path, f"'{path.name or path}' is a pipeline without a folder 'transformer'", instead
        )

    def _snapshot_of(self, path: Path) -> Path:
        snapshots = path / "snapshots"
        revisions = [n for n in self._listed(snapshots) if (snapshots / n).is_dir()]
        if len(revisions) == 1:
            self.notes.append(
                f"'{path.name}' is a model of the Hugging Face cache: revision {revisions[0]} was read"
            )
            return snapshots / revisions[0]
        raise NotACheckpoint(
            path,
            f"'{path.name}' is a model of the Hugging Face cache with {len(revisions)} revisions",
            f"name one of its folders 'snapshots/...': {shown(revisions)}" if revisions else _RELOAD,
        )

    def _nothing_in(self, path: Path, names: list[str]) -> NotACheckpoint:
        name = path.name or str(path)
        for pickled in names:
            stranger = by_name(path / pickled)
            if stranger is not None and not pickled.endswith(".lock"):
                return NotACheckpoint(
                    path, f"'{name}' holds no .safetensors file, and {stranger.message}", stranger.next_step
                )
        below = [
            n
            for n in names
            if (path / n).is_dir() and any(e.endswith(SUFFIX) for e in _quietly_listed(path / n))
        ]
        what = "is empty" if not names else "holds no .safetensors file and no index"
        step = f"name the folder that does: {shown(below)}" if below else "name a checkpoint's file or folder"
        return NotACheckpoint(path, f"'{name}' {what}", step)

    # ------------------------------------------------------------------ putting it together

    def _made(
        self, path: Path, shards: Iterable[Path], indexes: list[_Index], config: Mapping[str, object] | None
    ) -> Checkpoint:
        shards = list(shards)
        indexed = {file for index in indexes for file in index.files.values()}
        loose = [shard.name for shard in shards if shard.name not in indexed]
        if indexes and loose:
            says = f"{shown(loose)} {'are' if len(loose) > 1 else 'is'} in no index"
            if self.by_index:
                shards = [shard for shard in shards if shard.name in indexed]
                self.notes.append(
                    f"{says}: {self.loader} reads the files that the index names, as diffusers does"
                )
            else:
                self.notes.append(
                    f"{says}: {self.loader} reads every {SUFFIX} file of a folder, diffusers those that the "
                    "index names"
                )
        headers = [self._header(shard) for shard in shards]
        self.problems += [problem for header in headers for problem in header.problems]
        headers_by_name = {header.file.name: header for header in headers}
        unplaced = dict.fromkeys(name for header in headers for name in header.unplaced)
        for index in indexes:
            untrue = self._check_index(index, headers_by_name)
            unplaced.update(dict.fromkeys(name for name in index.files if name not in untrue))
        places = self._once(headers, indexes)
        known = {place.name for place in places}
        return Checkpoint(
            path=path,
            tensors=places,
            problems=tuple(self.problems),
            bytes_read=self.bytes_read,
            total_bytes=self.total_bytes,
            config=config,
            files=tuple(self.files),
            names_only=tuple(name for name in unplaced if name not in known),
            headers_only=tuple(header.file for header in headers if header.data == "absent"),
            metadata={header.file: header.metadata for header in headers if header.metadata},
            notes=tuple(self.notes),
        )

    def _once(self, headers: list[Header], indexes: list[_Index]) -> tuple[TensorPlace, ...]:
        """Every name once: of several places that which an index names, else the last."""
        chosen: dict[str, TensorPlace] = {}
        twice: dict[tuple[Path, Path], list[str]] = {}
        named = {(name, file) for index in indexes for name, file in index.files.items()}
        for header in headers:
            for place in header.places:
                earlier = chosen.get(place.name)
                if earlier is not None:
                    twice.setdefault((earlier.file, place.file), []).append(place.name)
                if (
                    earlier is None
                    or (place.name, place.file.name) in named
                    or (place.name, earlier.file.name) not in named
                ):
                    chosen.pop(place.name, None)
                    chosen[place.name] = place
        for (one, other), names in twice.items():
            self._report(
                other,
                f"{len(names):,} tensor{'s are' if len(names) > 1 else ' is'} in '{one.name}' and again in "
                f"'{other.name}' ({shown(names)}): {self._order()}, and the copy that it reads last counts",
                "keep one of the files in the folder, or name the one that is meant",
                tuple(names),
                effect="unknown",
            )
        return tuple(chosen.values())

    def _order(self) -> str:
        if self.by_index:
            return f"{self.loader} reads the files of a folder one after the other"
        return f"{self.loader} reads every .safetensors file of a folder in the order of the disk"

    # ------------------------------------------------------------------ indexes

    def _index(self, path: Path) -> _Index | None:
        value = self._json(path, effect="broken" if self.by_index else "none")
        return self._checked_index(path, value) if value is not None else None

    def _checked_index(self, path: Path, value: object) -> _Index | None:
        found = value.get("weight_map") if isinstance(value, dict) else None
        if not isinstance(found, dict):
            self._report(
                path,
                f"the index '{path.name}' has no object 'weight_map': what it says of the files is unknown",
                f"download it again, or delete it: every {SUFFIX} file of the folder is read without it too",
                effect="none",
            )
            return None
        odd = [
            name
            for name, file in found.items()
            if not isinstance(file, str) or not file or file in (".", "..") or set("/\\\0") & set(file)
        ]
        if odd:
            self._report(
                path,
                f"the index '{path.name}' gives {shown(odd)} a place that is no file name of its folder",
                "write the index again: each tensor with the name of the file that holds it",
                tuple(odd),
                effect="none",
            )
        return _Index(path, {name: file for name, file in found.items() if name not in set(odd)})

    def _check_index(self, index: _Index, headers: Mapping[str, Header]) -> frozenset[str]:
        """Reports where the index and the files disagree; the names that it makes up."""
        if self.alone:
            return frozenset()
        self._check_missing(index, headers)
        holders: dict[str, list[str]] = {}
        for header in headers.values():
            for place in header.places:
                holders.setdefault(place.name, []).append(header.file.name)
        all_read = all(_is_read(header) for header in headers.values())
        all_there = set(index.files.values()) <= set(headers)
        elsewhere: list[str] = []
        nowhere: list[str] = []
        for name, file in index.files.items():
            if file not in headers or not _is_read(headers[file]) or name in headers[file].unplaced:
                continue
            if name not in holders:
                if all_read and all_there:
                    nowhere.append(name)
            elif file not in holders[name]:
                elsewhere.append(name)
        named = dict.fromkeys(index.files.values())
        unnamed = [
            place.name
            for file in named
            if file in headers
            for place in headers[file].places
            if place.name not in index.files
        ]
        if elsewhere:
            name = elsewhere[0]
            more = f" (and {len(elsewhere) - 1:,} more are elsewhere)" if len(elsewhere) > 1 else ""
            self._report(
                index.path,
                f"the index '{index.path.name}' lies: it says that '{name}' is in '{index.files[name]}', "
                f"and it is in '{holders[name][0]}'{more}",
                _REINDEX,
                tuple(elsewhere),
                effect="none",
            )
        if nowhere:
            self._report(
                index.path,
                f"the index '{index.path.name}' names {shown(nowhere)}, and no file has "
                f"{'them' if len(nowhere) > 1 else 'it'}: what goes by the index waits for tensors that do "
                "not exist",
                _REINDEX,
                tuple(nowhere),
                effect="none",
            )
        if unnamed:
            self._report(
                index.path,
                f"the index '{index.path.name}' lacks {shown(unnamed)} of the files that it names: "
                f"{self.loader} loads them all the same, and what goes by the index does not know of them",
                _REINDEX,
                tuple(unnamed),
                effect="none",
            )
        return frozenset(nowhere)

    def _check_missing(self, index: _Index, headers: Mapping[str, Header]) -> None:
        files = dict.fromkeys(index.files.values())
        missing = [file for file in files if file not in headers]
        if not missing:
            return
        names = tuple(name for name, file in index.files.items() if file not in headers)
        self._report(
            index.path,
            f"{len(missing):,} of {len(files):,} files that the index '{index.path.name}' names "
            f"{'are' if len(missing) > 1 else 'is'} missing ({shown(missing)}), and with "
            f"{'them' if len(missing) > 1 else 'it'} {shown(names)}: their shapes are unknown, and loading "
            "leaves their parameters without values",
            "download the missing files: `hf download` fetches what is not there",
            names,
        )

    # ------------------------------------------------------------------ files

    def _config(self, folder: Path) -> Mapping[str, object] | None:
        path = folder / _CONFIG
        if not os.path.lexists(path):
            return None
        value = self._json(path)
        if value is None or isinstance(value, dict):
            return value
        self._report(
            path, f"'{path}' holds no JSON object: it configures nothing", "download or write it again"
        )
        return None

    def _json(self, path: Path, effect: Effect = "broken") -> Any:
        """The value in a file; None, and a problem, where it cannot be read (or is `null`)."""
        refuse = partial(self._report, path, effect=effect)
        try:
            with LocalFile(path) as source:
                self._opened(path, source.size)
                if source.size > _LARGEST_JSON:
                    refuse(
                        f"'{path.name}' is too large for what its name says ({source.size:,} bytes)",
                        "see where it comes from, and download it again",
                    )
                    return None
                raw = source.read(0, source.size)
                self.bytes_read += len(raw)
        except FileNotFoundError:
            refuse(f"'{path.name}' is {_dangling(path)}", _RELOAD)
            return None
        except EndOfData:
            refuse(f"'{path.name}' became shorter while it was read", "try again")
            return None
        except OSError as error:
            refuse(f"'{path.name}' cannot be read ({_why(error)})", _PERMISSIONS)
            return None
        stranger = recognise(raw[:512], path)
        if stranger is not None:
            refuse(stranger.message, stranger.next_step)
            return None
        try:
            value = json.loads(raw.decode("utf-8"))
        except (ValueError, RecursionError) as error:
            why = "nested too deeply" if isinstance(error, RecursionError) else str(error)
            refuse(f"'{path.name}' is not JSON ({why})", "download or write it again")
            return None
        if value is None:
            refuse(f"'{path.name}' holds nothing but `null`", "download or write it again")
        return value

    def _header(self, path: Path) -> Header:
        try:
            with LocalFile(path) as source:
                self._opened(path, source.size)
                try:
                    return read_header(path, source)
                finally:
                    self.bytes_read += source.bytes_read
        except FileNotFoundError:
            problem = CheckpointProblem(path, f"'{path.name}' is {_dangling(path)}", _RELOAD)
        except OSError as error:
            problem = CheckpointProblem(path, f"'{path.name}' cannot be read ({_why(error)})", _PERMISSIONS)
        return Header(path, problems=(problem,))

    def _opened(self, path: Path, size: int) -> None:
        if path not in self.files:
            self.files.append(path)
            self.total_bytes += size

    def _report(
        self,
        path: Path,
        message: str,
        next_step: str,
        tensors: tuple[str, ...] = (),
        effect: Effect = "broken",
    ) -> None:
        self.problems.append(CheckpointProblem(path, message, next_step, tensors, effect))


def _is_read(header: Header) -> bool:
    """Whether the names in a file could be told."""
    return bool(header.places) or not header.problems


def _dangling(path: Path) -> str:
    """What a link leads to that is not there."""
    if not path.is_symlink():
        return "gone: something removed it meanwhile"
    return f"a link to '{os.readlink(path)}', which is not there"  # noqa: PTH115 - as it was written


def _quietly_listed(path: Path) -> list[str]:
    try:
        return os.listdir(path)  # noqa: PTH208 - names are all that is needed
    except OSError:
        return []  # it is only for a hint


def _why(error: OSError | ValueError) -> str:
    return getattr(error, "strerror", None) or str(error)
