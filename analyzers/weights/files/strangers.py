"""Files that are taken for checkpoints and are none: told by their first bytes and their names."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
"""Suffixes of what `torch.save` writes."""

_PICKLED = (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
_PLAIN = re.compile(r"[\w.+-]+", re.ASCII)
"""A file name that can stand in a command as it is."""

_LFS = b"version https://git-lfs.github.com/spec/"
_LFS_SIZE = re.compile(rb"^size (\d+)$", re.MULTILINE)


@dataclass(frozen=True)
class Stranger:
    """What a file is instead. `message`: one sentence without a full stop; `next_step`: another."""

    message: str
    next_step: str


def recognise(start: bytes, path: Path) -> Stranger | None:
    """What a file is whose first bytes (512 are enough) are no safetensors header; None where unknown."""
    name = path.name
    if start.startswith(_LFS):
        size = _LFS_SIZE.search(start)
        of = f" of {int(size[1]):,} bytes" if size is not None and len(size[1]) < 20 else ""
        return Stranger(
            f"'{name}' is a Git LFS pointer, not the file{of} that it stands for: the repository was "
            "cloned without its large files",
            "run `git lfs install` and `git lfs pull` in the clone, or fetch the file with `hf download`",
        )
    if start.startswith(b"GGUF"):
        return gguf(name)
    if start.startswith(_PICKLED):
        return pickle(name)
    lowered = start.lstrip().lower()
    if lowered.startswith((b"<!doctype", b"<html", b"<?xml")):
        return Stranger(
            f"'{name}' is a web page, not a checkpoint: the download saved an error or a login page",
            "open it in an editor to see what the server said, then download with `hf download` (a gated "
            "repository needs `hf auth login`)",
        )
    return None


def by_name(path: Path) -> Stranger | None:
    """What a file is by its name alone, where that says that it is no safetensors file."""
    name = path.name.lower()
    if name.endswith(PICKLES):
        return pickle(path.name)
    if name.endswith(".gguf"):
        return gguf(path.name)
    if name.endswith((".incomplete", ".part", ".crdownload")):
        return Stranger(
            f"'{path.name}' is a download that has not ended",
            "wait for it, or start the download again: `hf download` goes on where it stopped",
        )
    if name.endswith(".lock"):
        return Stranger(
            f"'{path.name}' is a lock of a download, not a checkpoint",
            "name the checkpoint's file or folder",
        )
    return None


def pickle(name: str) -> Stranger:
    """A file that `torch.save` wrote."""
    plain = name if _PLAIN.fullmatch(name) else "FILE.pt"
    target = plain.rpartition(".")[0] or plain
    return Stranger(
        f"'{name}' is a torch pickle: reading it would run code that is in it, so it is never opened",
        "convert it once, in the project's environment: `python -c \"import torch; from safetensors.torch "
        f"import save_file; s = torch.load('{plain}', map_location='cpu', weights_only=True); s = "
        f"s.get('state_dict', s); save_file({{k: v.clone().contiguous() for k, v in s.items()}}, "
        f"'{target}.safetensors')\"` (the tensors may lie one level deeper, as in `s['model']`)",
    )


def gguf(name: str) -> Stranger:
    """A file of llama.cpp's format."""
    return Stranger(
        f"'{name}' is a GGUF file: its tensors are quantised and renamed for llama.cpp, so their names "
        "prove nothing about this port",
        "name the safetensors checkpoint that it was made from",
    )
