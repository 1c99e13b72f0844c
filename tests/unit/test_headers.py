"""Headers of safetensors files: what is read of good ones, and what is said of bad ones."""

from __future__ import annotations

import json
import os
import struct
import time
import tracemalloc
from pathlib import Path

import pytest
import safetensors
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors_files import entries, header_bytes, write_file, write_tensors

from analyzers.weights.files.headers import BITS, Header, read_header, size_text
from analyzers.weights.files.ranges import EndOfData, LocalFile
from analyzers.weights.files.rows import DataAbsent, TensorBytes

TWO = {"blocks.0.attn.to_q.weight": ("BF16", (4, 6)), "blocks.0.attn.to_k.weight": ("F32", (2,))}


def header_of(path: Path) -> Header:
    with LocalFile(path) as source:
        return read_header(path, source)


def problem_of(path: Path) -> str:
    """The message and next step of the only problem."""
    (problem,) = header_of(path).problems
    assert problem.path == path
    assert problem.next_step
    return f"{problem.message} | {problem.next_step}"


# ---------------------------------------------------------------------- what is read


def test_names_shapes_dtypes_and_places_come_in_the_order_of_a_loader(tmp_path: Path) -> None:
    path = write_tensors(tmp_path / "m.safetensors", TWO)
    header = header_of(path)
    base = path.stat().st_size - 48 - 8
    assert [(p.name, p.dtype, p.shape, p.start, p.end) for p in header.places] == [
        ("blocks.0.attn.to_k.weight", "F32", (2,), base + 48, base + 56),
        ("blocks.0.attn.to_q.weight", "BF16", (4, 6), base, base + 48),
    ]
    assert (header.problems, header.data, header.unplaced) == ((), "whole", ())


def test_metadata_is_kept_and_is_no_tensor(tmp_path: Path) -> None:
    header = {"__metadata__": {"format": "pt"}, **entries(TWO)}
    found = header_of(write_file(tmp_path / "m.safetensors", header, 56))
    assert found.metadata == {"format": "pt"}
    assert len(found.places) == 2
    assert found.problems == ()


def test_only_the_header_is_read(tmp_path: Path) -> None:
    path = write_tensors(tmp_path / "m.safetensors", {"w": ("F32", (1000, 1000))})
    with LocalFile(path) as source:
        read_header(path, source)
        assert source.bytes_read == path.stat().st_size - 4_000_000


def test_scalars_empty_tensors_and_a_header_without_tensors_are_sound(tmp_path: Path) -> None:
    tensors = {"scalar": ("F32", ()), "none": ("F32", (0, 3)), "last": ("U8", (0,))}
    header = header_of(write_tensors(tmp_path / "m.safetensors", tensors))
    assert {p.name: p.shape for p in header.places} == {"scalar": (), "none": (0, 3), "last": (0,)}
    assert header.problems == ()
    assert header_of(write_file(tmp_path / "e.safetensors", {})) == Header(tmp_path / "e.safetensors")


def test_a_head_without_data_gives_names_and_is_no_error(tmp_path: Path) -> None:
    path = write_file(tmp_path / "head.safetensors", entries(TWO))
    header = header_of(path)
    assert header.data == "absent"
    assert header.problems == ()
    assert len(header.places) == 2
    with TensorBytes() as parts, pytest.raises(DataAbsent, match="ends before the data of"):
        parts.rows(header.places[0], 0, 1)


def test_the_json_text_of_a_header_alone_gives_names(tmp_path: Path) -> None:
    path = tmp_path / "header.json"
    path.write_text(json.dumps(entries(TWO), indent=2))
    header = header_of(path)
    assert header.data == "absent"
    assert header.problems == ()
    assert {p.name for p in header.places} == set(TWO)
    with TensorBytes() as parts, pytest.raises(DataAbsent):
        parts.rows(header.places[0], 0, 1)


# ---------------------------------------------------------------------- what is wrong with a file


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "'m.safetensors' is empty: a safetensors file begins with eight bytes"),
        (b"\x10\0\0", "'m.safetensors' has 3 bytes: a safetensors file begins with eight bytes"),
        (bytes(4096), "begins with eight zero bytes where the length of its header should be"),
        (struct.pack("<Q", 2**42) + b"x" * 100, "claims a header of 4.4 TB in a file of 108 bytes"),
        (b"\xff" * 100, "claims a header of 18.4 EB in a file of 100 bytes"),
        (
            header_bytes(entries(TWO))[:60],
            "claims a header of 161 bytes and has 52 bytes behind the eight that say so: the file is cut off "
            "inside its header, and no name can be told | download or convert it again, or fetch at least "
            "the first 169 bytes",
        ),
        (header_bytes(b'{"a\xff": 1}'), "is not UTF-8 (byte 3 of it)"),
        (header_bytes('{"a": '), "is not JSON (Expecting value"),
        (header_bytes('{"a": NaN}'), "is not JSON (NaN is no JSON number)"),
        (header_bytes('{"a": 1e999}'), "is not JSON (a number out of range)"),
        (header_bytes('{"\\ud800": 1}'), "half of a surrogate pair"),
        (header_bytes("[" * 100_000), "is not JSON (nested too deeply)"),
        (header_bytes("[1, 2]"), "is a JSON list and no object from names to tensors"),
        (header_bytes("null"), "is a JSON null and no object"),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9991234567\n",
            "is a Git LFS pointer, not the file of 9,991,234,567 bytes that it stands for: the repository "
            "was cloned without its large files | run `git lfs install` and `git lfs pull`",
        ),
        (b"PK\x03\x04" + b"\x14" * 60, "is a torch pickle: reading it would run code that is in it"),
        (b"\x80\x02}q\x00X\x05\x00\x00\x00" + b"x" * 60, "is a torch pickle"),
        (b"GGUF\x03\x00\x00\x00" + b"\x01" * 60, "is a GGUF file"),
        (b"<!DOCTYPE html><html><body>401</body></html>", "is a web page, not a checkpoint"),
    ],
)
def test_a_file_that_gives_no_names_says_why(tmp_path: Path, content: bytes, expected: str) -> None:
    path = tmp_path / "m.safetensors"
    path.write_bytes(content)
    assert expected in problem_of(path)
    assert header_of(path).places == ()


def test_a_short_header_that_is_cut_is_never_taken_for_another_format(tmp_path: Path) -> None:
    """640 = 0x280 are the first bytes of a pickle, 123 is a brace."""
    for length in (640, 123, 32 + 123 * 256, 10):
        path = tmp_path / f"{length}.safetensors"
        path.write_bytes(struct.pack("<Q", length) + b"{}")
        assert "cut off inside its header" in problem_of(path)


def test_what_a_header_claims_is_never_allocated(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    path.write_bytes(struct.pack("<Q", 99_000_000) + b"{")
    tracemalloc.start()
    header_of(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1_000_000


def test_a_header_longer_than_the_library_reads_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    path.write_bytes(struct.pack("<Q", 120_000_000))
    os.truncate(path, 300_000_000)
    with LocalFile(path) as source:
        (problem,) = read_header(path, source).problems
        assert source.bytes_read < 1000
    assert (
        "claims a header of 120.0 MB, more than the 100.0 MB that the safetensors library" in problem.message
    )


def test_a_number_of_a_million_digits_costs_nothing(tmp_path: Path) -> None:
    digits = "9" * 1_000_000
    path = write_file(tmp_path / "m.safetensors", f'{{"a":{{"dtype":"F32","shape":[{digits}]}}}}')
    began = time.perf_counter()
    assert "is not JSON (a number out of range)" in problem_of(path)
    assert time.perf_counter() - began < 1


def test_a_file_that_shrinks_while_it_is_read_is_said_to(tmp_path: Path) -> None:
    path = write_tensors(tmp_path / "m.safetensors", TWO)
    with LocalFile(path) as source:
        os.truncate(path, 20)
        (problem,) = read_header(path, source).problems
    assert "became shorter while it was read" in problem.message


# ---------------------------------------------------------------------- what is wrong with entries


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ([1], "a JSON list in place of an object with dtype, shape, data_offsets"),
        ({"shape": [2], "data_offsets": [0, 8]}, "it has no dtype"),
        ({"dtype": "F32", "data_offsets": [0, 8]}, "it has no shape"),
        ({"dtype": "F32", "shape": [2]}, "it has no data_offsets"),
        ({"dtype": 3, "shape": [2], "data_offsets": [0, 8]}, "its dtype is a JSON number and no text"),
        ({"dtype": "F32", "shape": 2, "data_offsets": [0, 8]}, "its shape is a JSON number and no list"),
        (
            {"dtype": "F32", "shape": [-2], "data_offsets": [0, 8]},
            "its shape holds -2, and no count is negative",
        ),
        ({"dtype": "F32", "shape": [2.0], "data_offsets": [0, 8]}, "its shape holds a JSON fraction"),
        ({"dtype": "F32", "shape": [True], "data_offsets": [0, 8]}, "its shape holds a JSON truth value"),
        ({"dtype": "F32", "shape": ["2"], "data_offsets": [0, 8]}, "its shape holds a JSON text"),
        ({"dtype": "F32", "shape": [2**64], "data_offsets": [0, 8]}, "which no file reaches"),
        ({"dtype": "F32", "shape": [2], "data_offsets": [0]}, "its data_offsets are 1 numbers and not two"),
        ({"dtype": "F32", "shape": [2], "data_offsets": None}, "its data_offsets is a JSON null"),
    ],
)
def test_an_entry_that_cannot_be_read_leaves_its_name(tmp_path: Path, entry: object, expected: str) -> None:
    path = write_file(tmp_path / "m.safetensors", {"bad.weight": entry}, 8)
    header = header_of(path)
    (problem,) = header.problems
    assert problem.message.startswith("the header entry of 'bad.weight' in 'm.safetensors' is wrong: ")
    assert expected in problem.message
    assert problem.tensors == header.unplaced == ("bad.weight",)


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        (
            {"dtype": "F23", "shape": [2], "data_offsets": [0, 8]},
            "its dtype 'F23' is none that safetensors knows",
        ),
        ({"dtype": "F32", "shape": [2], "data_offsets": [8, 0]}, "its data end at 0, before they begin at 8"),
        (
            {"dtype": "BF16", "shape": [2], "data_offsets": [0, 8]},
            "its shape [2] as BF16 takes 4 bytes, and its offsets leave 8 bytes",
        ),
        ({"dtype": "F4", "shape": [3], "data_offsets": [0, 8]}, "its shape [3] as F4 ends within a byte"),
        (
            {"dtype": "F32", "shape": [2**63, 2**63, 0], "data_offsets": [0, 0]},
            "more elements than can be counted in 64 bits",
        ),
        (
            {"dtype": "F32", "shape": [2**60], "data_offsets": [0, 8]},
            "more bits than can be counted in 64 bits",
        ),
    ],
)
def test_an_entry_that_contradicts_itself_keeps_what_it_says(
    tmp_path: Path, entry: dict[str, object], expected: str
) -> None:
    path = write_file(tmp_path / "m.safetensors", {"odd": entry}, 8)
    header = header_of(path)
    assert expected in header.problems[0].message
    (place,) = header.places
    assert (place.dtype, list(place.shape)) == (entry["dtype"], entry["shape"])


def test_many_wrong_entries_are_one_problem_with_all_names(tmp_path: Path) -> None:
    header = {f"w{i}": {"dtype": "F32", "shape": [1]} for i in range(5)}
    (problem,) = header_of(write_file(tmp_path / "m.safetensors", header)).problems
    assert "(4 more such entries, first 'w1')" in problem.message
    assert problem.tensors == ("w0", "w1", "w2", "w3", "w4")


def test_a_name_that_comes_twice_is_told(tmp_path: Path) -> None:
    entry = '{"dtype":"F32","shape":[1],"data_offsets":[0,4]}'
    path = write_file(tmp_path / "m.safetensors", f'{{"a":{entry},"a":{entry}}}', 4)
    assert "has 'a' more than once: whoever reads it keeps the last entry" in problem_of(path)
    inner = '{"a":{"dtype":"F32","dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
    path = write_file(tmp_path / "n.safetensors", inner, 4)
    assert "it has dtype more than once" in header_of(path).problems[0].message


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        ([], "'__metadata__' of 'm.safetensors' is a JSON list"),
        ({"step": 3}, "has a JSON number for 'step' where the format has an object of strings"),
        ({"config": {"a": "b"}}, "has a JSON object for 'config'"),
    ],
)
def test_metadata_that_holds_no_texts_is_told(tmp_path: Path, metadata: object, expected: str) -> None:
    path = write_file(tmp_path / "m.safetensors", {"__metadata__": metadata, **entries(TWO)}, 56)
    assert expected in problem_of(path)
    assert len(header_of(path).places) == 2


# ---------------------------------------------------------------------- what is wrong with places


def offsets(**places: tuple[int, int]) -> dict[str, object]:
    return {
        name: {"dtype": "U8", "shape": [end - begin], "data_offsets": [begin, end]}
        for name, (begin, end) in places.items()
    }


def test_overlapping_tensors_are_both_named(tmp_path: Path) -> None:
    path = write_file(tmp_path / "m.safetensors", offsets(a=(0, 8), b=(4, 12), c=(12, 16)), 16)
    header = header_of(path)
    (problem,) = header.problems
    assert "'a' (bytes 0 to 8 of the data) and 'b' (4 to 12) overlap in 'm.safetensors'" in problem.message
    assert problem.tensors == ("a", "b")
    assert len(header.places) == 3


def test_a_tensor_within_another_overlaps_it_whatever_lies_between(tmp_path: Path) -> None:
    path = write_file(tmp_path / "m.safetensors", offsets(a=(0, 16), b=(2, 4), c=(10, 12), d=(16, 17)), 17)
    (problem,) = header_of(path).problems
    assert problem.tensors == ("a", "b", "c")
    assert "(1 more such pairs)" in problem.message


def test_a_hole_is_told_with_the_tensor_behind_it(tmp_path: Path) -> None:
    path = write_file(tmp_path / "m.safetensors", offsets(a=(0, 8), b=(10, 12)), 12)
    assert "before 'b' in 'm.safetensors' lie 2 bytes that belong to no tensor" in problem_of(path)
    path = write_file(tmp_path / "n.safetensors", offsets(a=(4, 8)), 8)
    assert "before 'a' in 'n.safetensors' lie 4 bytes" in problem_of(path)


def test_a_truncated_file_names_the_tensors_that_are_cut(tmp_path: Path) -> None:
    header = offsets(a=(0, 100), b=(100, 200), c=(200, 300))
    path = write_file(tmp_path / "m.safetensors", header, 150)
    (problem,) = header_of(path).problems
    assert (
        "'m.safetensors' is cut off: its header speaks of 300 bytes of data, 150 bytes are there, so 'b', "
        "'c' are incomplete (1 of 2 missing entirely)" in problem.message
    )
    assert problem.tensors == ("b", "c")
    assert header_of(path).data == "cut"


def test_bytes_behind_the_last_tensor_are_told(tmp_path: Path) -> None:
    path = write_file(tmp_path / "m.safetensors", offsets(a=(0, 8)), 12)
    assert "'m.safetensors' has 4 bytes behind its last tensor" in problem_of(path)


# ---------------------------------------------------------------------- beside the library


NAMES = st.sampled_from(["a", "b", "blocks.0.w", "ä", "", 'q"', "__metadata__ "])
DTYPES = st.sampled_from([*BITS, *BITS, "F23", "f32", ""])
ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.just(-1),
    st.just(2.0),
    st.just("2"),
    st.just([]),
    st.just({}),
    st.just(2**64),
)


@st.composite
def files(draw: st.DrawFn) -> bytes:
    """Files that are sound or broken in a place or two."""
    header: dict[str, object] = {}
    at = 0
    for name in draw(st.lists(NAMES, unique=True, max_size=4)):
        dtype = draw(DTYPES)
        shape: list[object] = list(draw(st.lists(st.integers(0, 4), max_size=3)))
        bits = BITS.get(dtype, 8)
        for dimension in shape:
            assert isinstance(dimension, int)
            bits *= dimension
        end = at + bits // 8
        entry: dict[str, object] = {"dtype": dtype, "shape": shape, "data_offsets": [at, end]}
        at = end
        fault = draw(st.integers(0, 30))
        if fault == 0:
            entry["data_offsets"] = [max(0, at - draw(st.integers(0, 4))), end]
        elif fault == 1:
            entry["data_offsets"] = [at, end + draw(st.integers(1, 4))]
        elif fault == 2:
            entry.pop(draw(st.sampled_from(sorted(entry))))
        elif fault == 3:
            entry[draw(st.sampled_from(["dtype", "shape", "data_offsets"]))] = draw(ODD)
        elif fault == 4:
            shape.append(draw(ODD))
        elif fault == 5:
            entry["more"] = draw(ODD)
        elif fault == 6:
            entry = {"data_offsets": entry["data_offsets"], "shape": shape, "dtype": dtype}
        header[name] = entry
    if draw(st.booleans()):
        good: list[object] = [None, {}, {"a": "b"}]
        value = draw(st.sampled_from([*good * 5, {"a": 1}, {"a": None}, [], "x", 3]))
        header["__metadata__"] = value
    text = json.dumps(header, ensure_ascii=draw(st.booleans()))
    text += draw(st.sampled_from([*["", " ", "   \n"] * 6, "\0", "x", "}"]))
    raw = text.encode()
    odd = [b" " + raw, b"\xef\xbb\xbf" + raw, raw[:-1], raw + b"\xff"]
    raw = draw(st.sampled_from([*[raw] * 20, *odd]))
    data = at + draw(st.sampled_from([*[0] * 12, 1, -1, 7, -at]))
    length = len(raw) + draw(st.sampled_from([*[0] * 12, 1, -1]))
    return struct.pack("<Q", max(0, length)) + raw + bytes(max(0, data))


@settings(max_examples=600, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=files())
def test_what_the_library_reads_is_read_alike_and_what_it_refuses_is_told(
    tmp_path: Path, content: bytes
) -> None:
    agrees_with_the_library(tmp_path, content)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    text=st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    ).map(json.dumps)
)
def test_any_json_is_judged_as_the_library_judges_it(tmp_path: Path, text: str) -> None:
    agrees_with_the_library(tmp_path, header_bytes(text))


def agrees_with_the_library(folder: Path, content: bytes) -> None:
    """Same names, dtypes and shapes where the library reads the file; a problem where it refuses it.

    One exception is meant: a header without its data gives names, where the library refuses the file; with
    data it has to take it.
    """
    path = folder / "m.safetensors"
    path.write_bytes(content)
    header = header_of(path)
    if header.data == "absent" and not header.problems:
        with pytest.raises(safetensors.SafetensorError):
            safetensors.deserialize(content)
        content += bytes(max(place.end for place in header.places) - len(content))
    try:
        theirs = {name: (v["dtype"], tuple(v["shape"])) for name, v in safetensors.deserialize(content)}
    except safetensors.SafetensorError:
        theirs = None
    if theirs is None:
        assert header.problems != ()
        return
    assert [p.message for p in header.problems] == []
    assert {p.name: (p.dtype, p.shape) for p in header.places} == theirs


@pytest.mark.parametrize("dtype", sorted(BITS))
def test_every_dtype_of_the_library_has_its_size(dtype: str) -> None:
    content = header_bytes(entries({"w": (dtype, (8,))})) + bytes(BITS[dtype])
    ((name, found),) = safetensors.deserialize(content)
    assert (name, found["dtype"], len(found["data"])) == ("w", dtype, BITS[dtype])


@pytest.mark.parametrize(
    "text",
    [
        # The library keeps the last of two entries; the other tensor is lost without a word.
        '{"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}',
        # It takes fields by their order, and a dtype as an object; no writer does that.
        '{"a":["U8",[0],[0,0]]}',
        '{"a":{"dtype":{"U8":null},"shape":[0],"data_offsets":[0,0]}}',
    ],
)
def test_where_we_are_stricter_than_the_library(tmp_path: Path, text: str) -> None:
    content = header_bytes(text)
    assert len(safetensors.deserialize(content)) == 1
    path = tmp_path / "m.safetensors"
    path.write_bytes(content)
    assert header_of(path).problems


def test_where_we_are_laxer_than_the_library(tmp_path: Path) -> None:
    """What nobody reads may be nested as deeply as Python can follow."""
    deep = "[" * 200 + "]" * 200
    text = f'{{"a":{{"dtype":"U8","shape":[0],"data_offsets":[0,0],"more":{deep}}}}}'
    path = tmp_path / "m.safetensors"
    path.write_bytes(header_bytes(text))
    with pytest.raises(safetensors.SafetensorError, match="recursion limit"):
        safetensors.deserialize(path.read_bytes())
    assert header_of(path).problems == ()


@pytest.mark.parametrize("dimension", ["-0", "0.0", "1e0", "18446744073709551616", "00", "+1", "9" * 30])
def test_a_dimension_is_a_count_as_the_library_writes_it(tmp_path: Path, dimension: str) -> None:
    entry = f'{{"dtype":"U8","shape":[{dimension}],"data_offsets":[0,0]}}'
    agrees_with_the_library(tmp_path, header_bytes(f'{{"a":{entry}}}'))
    assert header_of(tmp_path / "m.safetensors").problems


# ---------------------------------------------------------------------- ranges, rows, elements


def test_rows_and_elements_are_the_bytes_that_lie_there(tmp_path: Path) -> None:
    data = bytes(range(48)) + bytes(8)
    path = write_file(tmp_path / "m.safetensors", entries(TWO), data)
    places = {p.name: p for p in header_of(path).places}
    query = places["blocks.0.attn.to_q.weight"]
    with TensorBytes() as parts:
        assert parts.rows(query, 1, 2) == data[12:36]
        assert parts.rows(query, 4, 0) == b""
        assert parts.elements(query, 3, 2) == data[6:10]
        assert parts.elements(query, 1, 4, 6) == data[2:4] + data[14:16] + data[26:28] + data[38:40]
        assert parts.elements(query, 0, 0, 6) == b""
        for first, count in ((-1, 1), (0, 5), (4, 1), (0, -1)):
            with pytest.raises(ValueError, match="has 4 rows"):
                parts.rows(query, first, count)
        for first, count, step in ((0, 25, 1), (23, 2, 1), (0, 2, 24), (-1, 1, 1), (0, 2, 0), (0, -1, 1)):
            with pytest.raises(ValueError, match="has 24 elements"):
                parts.elements(query, first, count, step)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(shape=st.tuples(st.integers(1, 40), st.integers(1, 700)), draw=st.data())
def test_elements_are_what_slicing_gives(tmp_path: Path, shape: tuple[int, int], draw: st.DataObject) -> None:
    total = shape[0] * shape[1]
    data = b"".join(struct.pack("<H", i % 65536) for i in range(total))
    path = write_file(tmp_path / "m.safetensors", entries({"w": ("U16", shape)}), data)
    (place,) = header_of(path).places
    step = draw.draw(st.integers(1, total))
    first = draw.draw(st.integers(0, total - 1))
    count = draw.draw(st.integers(0, (total - 1 - first) // step + 1))
    expected = b"".join(data[2 * i : 2 * i + 2] for i in range(first, first + count * step, step))
    with TensorBytes() as parts:
        assert parts.elements(place, first, count, step) == expected


def test_parts_of_bytes_and_unknown_dtypes_have_no_rows(tmp_path: Path) -> None:
    header = entries({"half": ("F4", (2, 3))})
    header["odd"] = {"dtype": "F23", "shape": [1], "data_offsets": [3, 4]}
    header["scalar"] = {"dtype": "U8", "shape": [], "data_offsets": [4, 5]}
    header["tight"] = {"dtype": "F32", "shape": [2], "data_offsets": [5, 9]}
    places = {p.name: p for p in header_of(write_file(tmp_path / "m.safetensors", header, 9)).places}
    with TensorBytes() as parts:
        with pytest.raises(ValueError, match="ends within a byte"):
            parts.rows(places["half"], 0, 1)
        with pytest.raises(ValueError, match="no whole number of bytes"):
            parts.elements(places["half"], 0, 1)
        with pytest.raises(ValueError, match="of which no size is known"):
            parts.rows(places["odd"], 0, 1)
        with pytest.raises(ValueError, match="has no dimensions"):
            parts.rows(places["scalar"], 0, 1)
        with pytest.raises(ValueError, match="less room than its shape takes"):
            parts.rows(places["tight"], 0, 2)
        assert len(parts.rows(places["tight"], 0, 1)) == 4


def test_a_range_beyond_the_end_allocates_nothing(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"abc")
    with LocalFile(path) as source:
        assert source.read(1, 2) == b"bc"
        with pytest.raises(EndOfData):
            source.read(1, 2**60)
        with pytest.raises(ValueError, match="no such range"):
            source.read(-1, 1)
        assert source.bytes_read == 2


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_is_refused_and_never_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="not a regular file"):
        LocalFile(tmp_path / "pipe")


def test_sizes_are_for_people() -> None:
    assert [size_text(n) for n in (0, 1, 99_999, 100_000, 10**6, 2**64)] == [
        "0 bytes",
        "1 byte",
        "99,999 bytes",
        "100.0 kB",
        "1.0 MB",
        "18.4 EB",
    ]
