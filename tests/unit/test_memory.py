"""What is remembered over edits is what would be computed afresh."""

from __future__ import annotations

import random
import weakref
from pathlib import Path

import pytest

from analyzers.project.index import Project
from analyzers.project.memory import Memory
from analyzers.project.profile import FASTVIDEO
from analyzers.project.settings import Settings
from analyzers.project.sources import Sources
from analyzers.rules.catalogue import all_rules
from analyzers.rules.engine import check_files
from analyzers.rules.examples import TREE, write_tree


def test_a_result_stands_until_a_file_behind_it_changes() -> None:
    memory, runs = Memory(), []

    def inner() -> int:
        runs.append("inner")
        memory.read("b.py")
        return 1

    def outer() -> int:
        runs.append("outer")
        memory.read("a.py")
        return memory.get("inner", inner) + 1

    assert [memory.get("outer", outer) for _ in range(2)] == [2, 2]
    memory.forget("c.py")
    assert (memory.get("outer", outer), runs) == (2, ["outer", "inner"])
    memory.forget("a.py")
    assert (memory.get("outer", outer), runs) == (2, ["outer", "inner", "outer"])
    memory.forget("b.py")  # read by the inner result alone, and again through it
    assert (memory.get("outer", outer), runs) == (2, ["outer", "inner", "outer", "outer", "inner"])


def test_a_forgotten_question_is_let_go() -> None:
    class Place:
        """Stands for the part of a key that an edit makes obsolete."""

    memory, place = Memory(), Place()
    gone = weakref.ref(place)

    def compute() -> int:
        memory.read("edited.py")
        memory.read("base.py")
        return 1

    memory.get(("where", place), compute)
    del place
    memory.forget("edited.py")
    assert gone() is None


def test_a_failed_computation_is_not_remembered() -> None:
    memory = Memory()

    def fails() -> int:
        memory.read("a.py")
        raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011
        memory.get("x", fails)
    assert memory.get("x", lambda: 3) == 3


def test_another_state_of_a_fact_is_another_question() -> None:
    memory, old, new = Memory(), object(), object()
    assert memory.about("a.py", old, "key", lambda: "old") == "old"
    assert memory.about("a.py", new, "key", lambda: "new") == "new"
    memory.forget("a.py")
    assert memory.about("a.py", new, "key", lambda: "new") == "new"


def states() -> list[dict[str, str]]:
    """The files of every example as one state each, broken in the middle of a line now and then."""
    found = []
    for rule in all_rules():
        for example in (*rule.valid, *rule.invalid):
            files = {path: text for path, text in example.files.items() if text is not None}
            if files:
                found.append(files)
    return found


@pytest.mark.parametrize("seed", range(3))
def test_edits_lead_to_the_same_findings_as_a_fresh_look(tmp_path: Path, seed: int) -> None:
    """A walk through the texts of all examples in one session, against a new project at each stop."""
    write_tree(tmp_path, {})
    chance = random.Random(seed)
    live = Sources(tmp_path)
    texts: dict[str, str] = {}
    walk = states()
    chance.shuffle(walk)
    compared = 0
    for step, files in enumerate(walk[:30]):
        path = chance.choice(sorted(files))
        text = files[path] if step % 4 else files[path][: chance.randrange(len(files[path]) + 1)]
        texts[path] = text
        if step % 7 == 6:
            back = chance.choice(sorted(texts))
            texts[back] = TREE.get(back, texts[back])
        for changed in texts:
            live.open(changed, texts[changed])
        edited = Project(live, FASTVIDEO, Settings())
        other = Sources(tmp_path)
        for changed in texts:
            other.open(changed, texts[changed])
        fresh = Project(other, FASTVIDEO, Settings())
        # Facts of a broken file hold what stood there before: only the session knows that.
        whole = not any(facts.broken for p in texts if (facts := fresh.file(p)) is not None)
        files_to_check = sorted({*edited.checked_files, *texts})
        found, expected = check_files(edited, files_to_check), check_files(fresh, files_to_check)
        if whole:
            compared += 1
            assert found == expected
            assert edited.ports == fresh.ports
            assert edited.registry == fresh.registry
            assert edited.blocks == fresh.blocks
        else:
            texts.pop(path)
            live.close(path)
    assert compared > 10
