"""Measured names on their way to the edit worker."""

from __future__ import annotations

from dataclasses import fields

from analyzers.weights.state import GatedNames, PortState, StateDict, Tensor
from lsp_server.wire import decode, encode, length_of, state_from, state_message

FULL = PortState(
    native=StateDict("Port", "class", (Tensor("a", (1, 2), "BF16", True, "b", True), Tensor("b"))),
    official=StateDict("diffusers:Model", "checkpoint", (Tensor("c", ()),)),
    gated=(GatedNames("image_dim", "8", (Tensor("d", (3,)),)),),
    mapping=(("^a$", "b", None), ("^c$", "d", (0, 3))),
    reverse=(),
    lora=(("^l$", "m", None),),
    dropped=(("name", "value"),),
    ignored=("pattern",),
    notes=("note",),
    contradicted=frozenset({"lora_param_names_mapping"}),
)


def sent(state: PortState) -> PortState | None:
    whole = encode(state_message(state))
    assert length_of(whole[:4]) == len(whole) - 4
    return state_from(decode(whole[4:]))


def test_everything_arrives() -> None:
    empty = PortState()
    same = [
        field.name for field in fields(PortState) if getattr(FULL, field.name) == getattr(empty, field.name)
    ]
    assert same == [], "this test shows nothing of these fields"
    assert sent(FULL) == FULL


def test_nothing_arrives_as_nothing() -> None:
    assert sent(PortState()) == PortState()
    assert state_from(None) is None
