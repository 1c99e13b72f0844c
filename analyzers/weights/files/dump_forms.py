"""The forms in which porters write down the names of a state dict, read leniently."""

from __future__ import annotations

import json
import re
import reprlib
from collections.abc import Mapping, Sequence
from typing import Any

from analyzers.facts.json_text import JsonNode, read_json
from analyzers.weights.state import StateDict, Tensor

DTYPES: Mapping[str, str | None] = {
    "bool": "BOOL",
    "uint8": "U8",
    "int8": "I8",
    "int16": "I16",
    "uint16": "U16",
    "int32": "I32",
    "uint32": "U32",
    "int64": "I64",
    "uint64": "U64",
    "float16": "F16",
    "bfloat16": "BF16",
    "float32": "F32",
    "float64": "F64",
    "complex64": "C64",
    "float8_e4m3fn": "F8_E4M3",
    "float8_e5m2": "F8_E5M2",
    "float8_e8m0fnu": "F8_E8M0",
    "float8_e4m3fnuz": "F8_E4M3FNUZ",
    "float8_e5m2fnuz": "F8_E5M2FNUZ",
    "half": "F16",
    "float": "F32",
    "double": "F64",
    "short": "I16",
    "int": "I32",
    "long": "I64",
    # Dtypes of torch that safetensors has no code for.
    "complex32": None,
    "complex128": None,
    "float4_e2m1fn_x2": None,
    "qint8": None,
    "quint8": None,
    "qint32": None,
    "quint4x2": None,
    "quint2x4": None,
}
"""Codes of safetensors by the name of torch's dtype."""

_CODES = frozenset(code for code in DTYPES.values() if code is not None) | {"F4", "F6_E2M3", "F6_E3M2"}
_WRAPPERS = ("keys", "tensors", "state_dict", "parameters", "params", "names", "entries", "weights")
"""Under which an object may hold the names, beside remarks about them."""

_NAME_FIELDS = ("name", "key")
_SHAPE_FIELDS = ("shape", "size")
_ENTRY_FIELDS = frozenset((*_NAME_FIELDS, *_SHAPE_FIELDS, "dtype", "buffer", "tied", "reshapes"))
_METADATA = "__metadata__"
_FORMS = 'a list of names, or an object from each name to its shape or to {"shape": [...], "dtype": "F32"}'

_TEXT_SHAPE = re.compile(r"(?:torch\.Size)?\s*\(?\s*\[([\d\s,]*)\]\s*\)?|\(([\d\s,]*)\)")
_TEXT_DTYPE = re.compile(r"(?:torch\.)?([A-Za-z]\w*)")


class MalformedDump(Exception):
    """The text is no dump of names. `line`: where, from 0, None where there is no one place."""

    def __init__(self, source: str, line: int | None, what: str) -> None:
        place = f"{source}:{line + 1}" if line is not None else source
        super().__init__(f"{place}: {what}")
        self.source = source
        self.line = line
        self.message = what
        self.next_step = f"write it as {_FORMS}"


def read_dump(text: str, source: str) -> StateDict:
    """The names in a dump, with shapes and dtypes where it has them; `source` is what a user calls it.

    Read are lists and objects of names; a shape as a list or as text (`torch.Size([2, 3])`, `(2, 3)`), a
    dtype as torch or safetensors writes it, both in one text (`torch.float32 [2, 3]`), in a list or in an
    object; an index (`weight_map`); and any of these under `keys`, `tensors`, `state_dict` or the like,
    also with `shapes` and `dtypes` beside it. Raises `MalformedDump`.
    """
    return StateDict(source, "dump", _Dump(text, source).tensors())


class _Repeated(Exception):
    """An object has a key twice."""

    def __init__(self, key: str) -> None:
        super().__init__(key)
        self.key = key


class _Dump:
    """Reads one dump. A `path` names a value by the keys and numbers that lead to it."""

    def __init__(self, text: str, source: str) -> None:
        self.text = text.removeprefix("\ufeff")
        self.source = source

    def tensors(self) -> tuple[Tensor, ...]:
        """All entries, in the dump's order."""
        value = self._parsed()
        found = self._container(value, ())
        seen: set[str] = set()
        for tensor in found:
            if tensor.name in seen:
                raise self._failure(f"'{tensor.name}' is there more than once", None)
            seen.add(tensor.name)
        return tuple(found)

    def _parsed(self) -> Any:
        if not self.text.strip():
            raise self._failure("it is empty", None)
        try:
            return json.loads(self.text, object_pairs_hook=_unrepeated, parse_int=_integer)
        except json.JSONDecodeError as error:
            raise MalformedDump(self.source, error.lineno - 1, f"it is not JSON ({error.msg})") from None
        except _Repeated as error:
            line = self._line_of_repetition(error.key)
            raise MalformedDump(self.source, line, f"'{error.key}' is there more than once") from None
        except RecursionError:
            raise MalformedDump(self.source, None, "it is nested too deeply") from None

    # ------------------------------------------------------------------ containers

    def _container(self, value: Any, path: tuple[str | int, ...]) -> list[Tensor]:
        if isinstance(value, list):
            return [self._item(item, (*path, i)) for i, item in enumerate(value)]
        if not isinstance(value, dict):
            raise self._failure(f"it holds a JSON {_kind(value)} and no names", path)
        files = value.get("weight_map")
        if isinstance(files, dict) and _holds_names(files):
            return [Tensor(name) for name in files]
        wrapper = next((key for key in _WRAPPERS if key in value and _holds_names(value[key])), None)
        if wrapper is not None and not path:
            return self._beside(self._container(value[wrapper], (wrapper,)), value)
        return [
            self._entry(name, entry, (*path, name))
            for name, entry in value.items()
            if not (name == _METADATA and isinstance(entry, dict) and not _ENTRY_FIELDS & set(entry))
        ]

    def _beside(self, tensors: list[Tensor], value: Mapping[str, Any]) -> list[Tensor]:
        """The names with what `shapes` and `dtypes` beside them say: lists of equal length, or objects."""
        for key, aspect in (("shapes", "shape"), ("dtypes", "dtype")):
            found = value.get(key)
            if found is None:
                continue
            if isinstance(found, list) and len(found) == len(tensors):
                paths: list[tuple[str | int, ...]] = [(key, i) for i in range(len(found))]
                values = found
            elif isinstance(found, dict):
                paths = [(key, tensor.name) for tensor in tensors]
                values = [found.get(tensor.name) for tensor in tensors]
            else:
                raise self._failure(f"'{key}' does not go with the {len(tensors)} names", (key,))
            read = [self._aspects(item, path) for item, path in zip(values, paths, strict=True)]
            tensors = [
                Tensor(
                    tensor.name,
                    shape if aspect == "shape" else tensor.shape,
                    dtype if aspect == "dtype" else tensor.dtype,
                )
                for tensor, (shape, dtype) in zip(tensors, read, strict=True)
            ]
        return tensors

    # ------------------------------------------------------------------ entries

    def _item(self, item: Any, path: tuple[str | int, ...]) -> Tensor:
        """An entry of a list: a name, a name with shape and dtype in a list, or an object with a name."""
        if isinstance(item, str):
            return Tensor(item)
        if isinstance(item, list) and item and isinstance(item[0], str):
            shape, dtype = self._aspects(item[1:], path) if len(item) > 1 else (None, None)
            return Tensor(item[0], shape, dtype)
        if isinstance(item, dict):
            name = next((item[key] for key in _NAME_FIELDS if isinstance(item.get(key), str)), None)
            if name is not None:
                return self._entry(name, item, path)
            if len(item) == 1:
                (name, entry) = next(iter(item.items()))
                return self._entry(name, entry, (*path, name))
        raise self._failure(f"a JSON {_kind(item)} stands where a name should", path)

    def _entry(self, name: str, entry: Any, path: tuple[str | int, ...]) -> Tensor:
        if not isinstance(entry, dict):
            return Tensor(name, *self._aspects(entry, path))
        shape = next((entry[key] for key in _SHAPE_FIELDS if entry.get(key) is not None), None)
        if shape is None and entry.get("dtype") is None and entry and not _ENTRY_FIELDS & set(entry):
            raise self._failure(f"what is said of '{name}' has neither a shape nor a dtype", path)
        said_shape, said_dtype = self._aspects(shape, path)
        dtype = entry.get("dtype")
        if dtype is not None and not isinstance(dtype, str):
            raise self._failure(f"the dtype of '{name}' is a JSON {_kind(dtype)} and no text", path)
        tied = entry.get("tied")
        return Tensor(
            name,
            said_shape,
            self._dtype(dtype, path) if dtype is not None else said_dtype,
            buffer=entry.get("buffer") is True,
            tied=tied if isinstance(tied, str) else None,
            reshapes=entry.get("reshapes") is True,
        )

    def _aspects(self, value: Any, path: tuple[str | int, ...]) -> tuple[tuple[int, ...] | None, str | None]:
        """Shape and dtype, from a list of dimensions, a text, or a list of these two."""
        if value is None:
            return None, None
        if isinstance(value, str):
            return self._from_text(value, path)
        if isinstance(value, list):
            if _is_shape(value):
                return tuple(value), None
            # Deeper lists say nothing of a tensor, and are not followed.
            parts = [
                self._aspects(item, path)
                for item in value
                if item is None or isinstance(item, str) or (isinstance(item, list) and _is_shape(item))
            ]
            shapes = [shape for shape, _ in parts if shape is not None]
            dtypes = [dtype for _, dtype in parts if dtype is not None]
            if len(parts) == len(value) <= 2 and len(shapes) <= 1 and len(dtypes) <= 1:
                return (shapes[0] if shapes else None), (dtypes[0] if dtypes else None)
        raise self._failure(f"{_excerpt(value)} is no shape", path)

    def _from_text(self, text: str, path: tuple[str | int, ...]) -> tuple[tuple[int, ...] | None, str | None]:
        rest = text.strip()
        shape: tuple[int, ...] | None = None
        found = _TEXT_SHAPE.search(rest)
        if found is not None:
            digits = [part.strip() for part in (found[1] or found[2] or "").split(",")]
            if any(" " in part or len(part) > 20 for part in digits):
                raise self._failure(f"{_excerpt(text)} is no shape", path)
            shape = tuple(int(part) for part in digits if part)
            rest = (rest[: found.start()] + rest[found.end() :]).strip(" ,:;")
        if not rest and shape is not None:
            return shape, None
        return shape, self._dtype(rest, path)

    def _dtype(self, text: str, path: tuple[str | int, ...]) -> str | None:
        """The code of safetensors; None where there is none for a dtype of torch."""
        if text in _CODES:
            return text
        found = _TEXT_DTYPE.fullmatch(text.strip())
        if found is None or (found[1] not in DTYPES and found[1].upper() not in _CODES):
            raise self._failure(f"{_excerpt(text)} is neither a shape nor a dtype", path)
        return DTYPES[found[1]] if found[1] in DTYPES else found[1].upper()

    # ------------------------------------------------------------------ places

    def _failure(self, what: str, path: Sequence[str | int] | None) -> MalformedDump:
        line = self._line(path) if path is not None else None
        return MalformedDump(self.source, line, what)

    def _line(self, path: Sequence[str | int]) -> int | None:
        """The line of a value; read again with places, which costs what a good dump need not pay."""
        node = read_json(self.text)
        for step in path:
            if node is None:
                return None
            node = _below(node, step)
        return node.span.line if node is not None else None

    def _line_of_repetition(self, key: str) -> int | None:
        """The line of the second place that has a key; None where nothing but counting could tell."""
        written = re.compile(re.escape(json.dumps(key)) + r"\s*:")
        places = [found.start() for found in written.finditer(self.text)]
        return self.text.count("\n", 0, places[1]) if len(places) == 2 else None


def _below(node: JsonNode, step: str | int) -> JsonNode | None:
    if isinstance(step, int):
        return node.items[step] if step < len(node.items) else None
    return node.members.get(step)


def _unrepeated(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise _Repeated(key)
            seen.add(key)
    return made


def _integer(text: str) -> int | float:
    return int(text) if len(text) <= 20 else float(text)


def _holds_names(value: Any) -> bool:
    """Whether what stands under a wrapper's key are names, and not the shape of a tensor so called."""
    if isinstance(value, list):
        return not value or not all(type(item) is int for item in value)
    return isinstance(value, dict) and not (value and set(value) <= _ENTRY_FIELDS)


def _is_shape(value: list[Any]) -> bool:
    return all(type(item) is int and item >= 0 for item in value)


def _excerpt(value: object) -> str:
    """The beginning of a value, for a message."""
    return reprlib.repr(value) if isinstance(value, list | dict) else json.dumps(value)[:60]


def _kind(value: object) -> str:
    if isinstance(value, bool) or value is None:
        return json.dumps(value)
    if isinstance(value, int | float):
        return "number"
    if isinstance(value, str):
        return "text"
    return "list" if isinstance(value, list) else "object"
