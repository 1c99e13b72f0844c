"""What a session answers between two keys, against what it answers in full."""

from __future__ import annotations

from pathlib import Path

import pytest

from analyzers.rules.base import Tier
from analyzers.rules.catalogue import all_rules
from analyzers.rules.examples import write_tree
from lsp_server.session import KEY_RULES, Changes, Session

PATH = "fastvideo/models/dits/copy.py"
UNKNOWN = "class Block:\n    pass\n\n\nEntryClass = Blok\n"
KNOWN = UNKNOWN.replace("Blok", "Block")


@pytest.fixture
def session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Session:
    """The examples' tree, with one rule that is no key's and one that is."""
    monkeypatch.setenv("DITPROOF_CACHE_DIR", str(tmp_path / "cache"))
    root = tmp_path / "tree"
    write_tree(root, {})
    (root / PATH).write_text(UNKNOWN)
    (root / "ditproof.toml").write_text('select = ["DIT00", "DIT103", "DIT501"]\n')
    return Session(root)


def typed(session: Session, text: str) -> list[tuple[str, int]]:
    session.apply(Changes(texts={PATH: text}))
    return at_once(session)


def at_once(session: Session) -> list[tuple[str, int]]:
    return [(finding.code, finding.location.span.line) for finding in session.at_once(PATH)]


def in_full(session: Session) -> list[tuple[str, int]]:
    return [(finding.code, finding.location.span.line) for finding in session.findings(PATH)]


def test_the_rules_of_a_key_read_one_file_only() -> None:
    tiers = {rule.code: rule.tier for rule in all_rules() if rule.code in KEY_RULES}
    assert tiers == dict.fromkeys(KEY_RULES, Tier.FILE)


def test_the_first_look_is_a_full_one(session: Session) -> None:
    assert typed(session, UNKNOWN) == [("DIT103", 4)]


def test_what_was_found_is_carried_to_its_line(session: Session) -> None:
    typed(session, UNKNOWN)
    assert typed(session, "x = 1\n" + UNKNOWN) == [("DIT103", 5)]
    assert typed(session, "x = 1\n" + UNKNOWN.replace("= Blok", "=  Blok")) == [("DIT103", 5)]
    assert typed(session, UNKNOWN + "x = (\n") == [("DIT103", 4), ("DIT001", 5)]


def test_what_is_gone_from_its_line_goes_at_once_and_comes_back_with_it(session: Session) -> None:
    typed(session, UNKNOWN)
    assert typed(session, KNOWN) == []
    assert typed(session, UNKNOWN) == [("DIT103", 4)]


def test_what_is_new_waits_for_the_full_look(session: Session) -> None:
    typed(session, KNOWN)
    assert typed(session, UNKNOWN) == []
    assert in_full(session) == [("DIT103", 4)]
    assert at_once(session) == [("DIT103", 4)], "a full look at this text counts"
    assert typed(session, "\n" + UNKNOWN) == [("DIT103", 5)]


def test_what_was_mended_elsewhere_on_the_line_stays_until_the_full_look(session: Session) -> None:
    typed(session, UNKNOWN)
    mended = "Blok = 1\n" + UNKNOWN.replace("class Block", "class Blok")
    assert typed(session, mended) == [("DIT103", 5)]
    assert in_full(session) == []
    assert typed(session, mended + "\n") == []


def test_the_rules_of_a_key_are_asked_at_every_key(session: Session) -> None:
    typed(session, KNOWN)
    importing = "from diffusers.models.activations import get_activation\n" + KNOWN
    fresh = typed(session, importing)
    assert fresh == in_full(session) != []
    assert typed(session, KNOWN) == []


def test_a_break_hides_nothing_that_stands(session: Session) -> None:
    importing = "from diffusers.models.activations import get_activation\n" + KNOWN
    before = typed(session, importing)
    assert [
        place
        for place in typed(session, importing.replace("import get", "import (get"))
        if place[0] != "DIT001"
    ] == before


@pytest.mark.parametrize(
    "saved",
    [Changes(files={PATH}), Changes(files={"ditproof.toml"}), Changes(everything=True)],
    ids=["a save", "settings", "everything"],
)
def test_nothing_is_carried_over_what_changed_outside_an_editor(session: Session, saved: Changes) -> None:
    typed(session, KNOWN)
    assert typed(session, UNKNOWN) == []
    session.apply(saved)
    assert at_once(session) == [("DIT103", 4)]


def test_nothing_is_carried_over_a_close(session: Session) -> None:
    typed(session, KNOWN)
    session.apply(Changes(texts={PATH: None}, files={PATH}))
    assert at_once(session) == [("DIT103", 4)], "the disk's text"
    assert typed(session, KNOWN) == []
