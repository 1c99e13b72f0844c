"""The shipped schema of a handoff, and that our reader of it finds what `jsonschema` finds."""

from __future__ import annotations

import copy
import random
from typing import Any, get_args

import jsonschema
import pytest
from test_handoff_block import DUMPS, REQUEST, kept, made, names

from lsp_server.checks.handoff import model
from lsp_server.checks.handoff.model import EscapeHatch, Handoff
from lsp_server.checks.handoff.schema import problems, schema


def blocks() -> list[dict[str, Any]]:
    broken = names("failed", document={"conversion_retry_request": REQUEST})
    return [
        made().to_json(),
        made(kept(), names(), dumps=DUMPS).to_json(),
        made(kept("failed", document={"log_tail": "a\nb"}), broken).to_json(),
        made(escape_hatch=EscapeHatch("E001", "which?", "the first")).to_json(),
    ]


def agrees(block: Any) -> bool:
    """What `jsonschema` says; a test fails where ours says otherwise."""
    valid = jsonschema.Draft202012Validator(schema()).is_valid(block)
    try:
        ours = [text for text in problems(block) if text.startswith("handoff")]
    except (KeyError, TypeError) as error:
        raise AssertionError(f"not read: {block}") from error
    assert valid == (not ours), (ours, block)
    return valid


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(schema())


def test_the_schema_names_the_fields_and_words_of_the_model() -> None:
    rules = schema()
    assert rules["required"] == list(Handoff.__dataclass_fields__)
    assert list(rules["properties"]) == rules["required"]
    words = {
        "mode": model.Mode,
        "parity_status": model.ParityStatus,
        "production_loader_strictness": model.Strictness,
        "strict_load": model.StrictLoad,
        "next_step": model.NextStep,
    }
    for name, vocabulary in words.items():
        assert [word for word in rules["properties"][name]["enum"] if word is not None] == list(
            get_args(vocabulary)
        )


@pytest.mark.parametrize("number", range(4))
def test_our_blocks_fit(number: int) -> None:
    assert agrees(blocks()[number])


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, part in inner for place in places(part, (*path, key)))]


@pytest.mark.parametrize("seed", range(40))
def test_a_changed_block_is_judged_as_jsonschema_judges_it(seed: int) -> None:
    dice = random.Random(seed)
    refused = 0
    for block in blocks():
        for _ in range(30):
            changed = copy.deepcopy(block)
            *way, last = dice.choice([place for place in places(changed) if place])
            around = changed
            for key in way:
                around = around[key]
            what = dice.randrange(4)
            if what == 0:
                del around[last]
            elif what == 1 and isinstance(around, dict):
                around["further"] = None
            elif what == 2 and isinstance(around, list):
                around.extend([around[0]] * dice.choice((1, 20)))
            else:
                around[last] = dice.choice((None, "", "pass", 1, True, [], {}, ["a", "a"], "blocked"))
            refused += not agrees(changed)
    assert refused > 20


def test_a_keyword_that_nobody_reads_is_refused() -> None:
    with pytest.raises(ValueError, match="maxProperties"):
        problems({}, {"maxProperties": 1})


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"next_step": "ask_user"}, "escape_hatch"),
        ({"next_step": "phase_5_conversion_retry"}, "needs a conversion_retry_request"),
        ({"next_step": "blocked", "blocker": None}, "needs a blocker"),
        ({"next_step": "phase_5_conversion"}, "follows a prototype"),
        ({"pytest_output": None}, "needs the parity_test and the pytest_output"),
        ({"parity_test": None}, "needs the parity_test"),
        ({"parity_status": "debug_red"}, "debug_red needs a blocker"),
        ({"strict_load": "blocked"}, "strict_load blocked needs"),
        ({"strict_load": "pass", "parity_status": None}, "needs a parity test"),
        ({"strict_load": "pass", "production_loader_strictness": None}, "needs a loader that is strict"),
        ({"conversion_retry_request": REQUEST}, "of another component"),
    ],
)
def test_what_fits_the_schema_may_still_contradict_itself(changes: dict[str, Any], told: str) -> None:
    sound = made(kept(), names(), dumps=DUMPS).to_json()
    assert problems(sound) == []
    assert any(told in text for text in problems({**sound, **changes}))
