"""Messages between the server and its edit worker: four bytes of length, then JSON in UTF-8."""

from __future__ import annotations

import json
import struct
from typing import Any, BinaryIO

from analyzers.findings import Applicability, Finding, Fix, Location, Severity, Span
from analyzers.weights.state import GatedNames, PortState, RuleText, StateDict, Tensor

HEADER = struct.Struct(">I")
LARGEST = 256 << 20
"""Bytes; a longer message means that the stream is out of step."""

Message = dict[str, Any]


class BrokenStream(Exception):
    """What was read is no message."""


def encode(message: Message) -> bytes:
    """A message with its length before it."""
    body = json.dumps(message).encode("ascii")
    return HEADER.pack(len(body)) + body


def length_of(header: bytes) -> int:
    """The length of the body that follows. Raises `BrokenStream` where it cannot be one."""
    (length,) = HEADER.unpack(header)
    if length > LARGEST:
        raise BrokenStream(f"a message of {length} bytes was announced")
    return int(length)


def decode(body: bytes) -> Message:
    """A message from its body. Raises `BrokenStream` where it is none."""
    try:
        message = json.loads(body)
    except ValueError as error:
        raise BrokenStream(f"no JSON: {error}") from error
    if not isinstance(message, dict):
        raise BrokenStream("no JSON object")
    return message


def read(stream: BinaryIO) -> Message | None:
    """The next message of a stream, None at its end. Raises `BrokenStream`."""
    header = stream.read(HEADER.size)
    if len(header) < HEADER.size:
        return None
    length = length_of(header)
    body = stream.read(length)
    if len(body) < length:
        return None
    return decode(body)


def finding_message(finding: Finding) -> Message:
    """What the worker has to know of a finding and its fix."""
    span, fix = finding.location.span, finding.fix
    assert fix is not None
    return {
        "code": finding.code,
        "name": finding.name,
        "severity": finding.severity.value,
        "path": finding.location.path,
        "span": [span.line, span.column, span.end_line, span.end_column],
        "message": finding.message,
        "fix": {
            "title": fix.title,
            "operation": fix.operation,
            "arguments": dict(fix.arguments),
            "applicability": fix.applicability.value,
        },
    }


def finding_from(message: Message) -> Finding:
    """The finding of a message."""
    fix = message["fix"]
    return Finding(
        code=message["code"],
        name=message["name"],
        severity=Severity(message["severity"]),
        location=Location(message["path"], Span(*message["span"])),
        message=message["message"],
        fix=Fix(fix["title"], fix["operation"], fix["arguments"], Applicability(fix["applicability"])),
    )


def state_message(state: PortState) -> Message:
    """What was measured of a port's names."""
    return {
        "native": _side_message(state.native),
        "official": _side_message(state.official),
        "gated": [[g.field, g.value, [_tensor_message(t) for t in g.tensors]] for g in state.gated],
        "rules": [state.mapping, state.reverse, state.lora],
        "dropped": state.dropped,
        "ignored": state.ignored,
        "notes": state.notes,
        "contradicted": sorted(state.contradicted),
    }


def state_from(message: Message | None) -> PortState | None:
    """The measured names of a message; None where they count no more."""
    if message is None:
        return None
    mapping, reverse, lora = (_rules_from(rules) for rules in message["rules"])
    return PortState(
        native=_side_from(message["native"]),
        official=_side_from(message["official"]),
        gated=tuple(
            GatedNames(name, value, tuple(map(_tensor_from, tensors)))
            for name, value, tensors in message["gated"]
        ),
        mapping=mapping,
        reverse=reverse,
        lora=lora,
        dropped=tuple((name, value) for name, value in message["dropped"]),
        ignored=tuple(message["ignored"]),
        notes=tuple(message["notes"]),
        contradicted=frozenset(message["contradicted"]),
    )


def _side_message(side: StateDict | None) -> Message | None:
    if side is None:
        return None
    tensors = [_tensor_message(tensor) for tensor in side.tensors]
    return {"source": side.source, "origin": side.origin, "tensors": tensors}


def _side_from(message: Message | None) -> StateDict | None:
    if message is None:
        return None
    return StateDict(message["source"], message["origin"], tuple(map(_tensor_from, message["tensors"])))


def _tensor_message(tensor: Tensor) -> list[Any]:
    return [tensor.name, tensor.shape, tensor.dtype, tensor.buffer, tensor.tied, tensor.reshapes]


def _tensor_from(values: list[Any]) -> Tensor:
    name, shape, dtype, buffer, tied, reshapes = values
    return Tensor(name, tuple(shape) if shape is not None else None, dtype, buffer, tied, reshapes)


def _rules_from(rules: list[Any] | None) -> tuple[RuleText, ...] | None:
    if rules is None:
        return None
    return tuple((pattern, target, tuple(merge) if merge else None) for pattern, target, merge in rules)
