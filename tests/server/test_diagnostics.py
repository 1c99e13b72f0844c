"""Diagnostics as an editor sees them, pushed and pulled."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
from lsp_editor import Editor, capabilities, editor_at
from lsprotocol import types

pytestmark = pytest.mark.asyncio

SOUND = "fastvideo/models/dits/sound.py"
COPY = "fastvideo/models/dits/copy.py"
TEST = "tests/local_tests/sound/test_sound_transformer_parity.py"
COPIED = "class SoundTransformer3DModel:\n    pass\n\n\nEntryClass = SoundTransformer3DModel\n"
UNKNOWN = "class Block:\n    pass\n\n\nEntryClass = Blok\n"


def codes(found: Sequence[types.Diagnostic]) -> list[str]:
    return [str(d.code) for d in found]


def has(code: str) -> object:
    return lambda found: code in codes(found)


async def at_rest(editor: Editor, path: str) -> list[types.Diagnostic]:
    """The pushed diagnostics of a file once the tree has been read."""
    await editor.indexed()
    answer = await editor.pull(path)
    return await editor.diagnostics(path, lambda found: codes(found) == codes(answer.items))


async def test_a_sound_port_is_clean(tree: Path) -> None:
    async with editor_at(tree) as editor:
        editor.open(SOUND)
        assert await at_rest(editor, SOUND) == []


async def test_a_finding_carries_what_an_editor_shows(tree: Path) -> None:
    (tree / COPY).write_text(COPIED)
    async with editor_at(tree) as editor:
        editor.open(COPY)
        (found,) = await editor.diagnostics(COPY, has("DIT106"))
        assert found.source == "ditproof"
        assert found.severity is types.DiagnosticSeverity.Warning
        assert found.range == types.Range(types.Position(4, 13), types.Position(4, 36))
        (related,) = found.related_information or ()
        assert related.location.uri == editor.uri(SOUND)
        assert related.location.range.start.line == 38
        assert found.tags is None
        assert editor.published[editor.uri(COPY)][-1].version == 1


async def test_rule_pages_are_linked_below_the_configured_address(tree: Path) -> None:
    (tree / COPY).write_text(COPIED)
    async with editor_at(tree, settings={"docs": "https://example.org/rules/"}) as editor:
        editor.open(COPY)
        (found,) = await editor.diagnostics(COPY, has("DIT106"))
        assert found.code_description is not None
        assert found.code_description.href == "https://example.org/rules/DIT106.md"


async def test_findings_survive_broken_syntax(tree: Path) -> None:
    (tree / COPY).write_text(COPIED)
    async with editor_at(tree) as editor:
        editor.open(COPY)
        await editor.diagnostics(COPY, has("DIT106"))
        editor.change(COPY, COPIED.replace("    pass", "    def forward(self, x:\n        return (x"))
        found = await editor.diagnostics(COPY, has("DIT001"))
        assert "DIT106" in codes(found)
        for publication in editor.published[editor.uri(COPY)]:
            if publication.version == 2:
                assert "DIT106" in codes(publication.diagnostics)


async def test_findings_of_open_files_follow_other_open_files(tree: Path) -> None:
    async with editor_at(tree) as editor:
        editor.open(SOUND)
        assert await at_rest(editor, SOUND) == []
        editor.open(COPY, COPIED)
        editor.saved_outside(COPY, COPIED)
        await editor.diagnostics(SOUND, has("DIT106"))
        editor.change(COPY, COPIED.replace("SoundTransformer3DModel", "Other"))
        await editor.diagnostics(SOUND, lambda found: not found)


async def test_findings_of_open_files_follow_the_disk(tree: Path) -> None:
    async with editor_at(tree) as editor:
        editor.open(SOUND)
        assert await at_rest(editor, SOUND) == []
        editor.saved_outside(COPY, COPIED)
        await editor.diagnostics(SOUND, has("DIT106"))
        editor.saved_outside(COPY, None)
        await editor.diagnostics(SOUND, lambda found: not found)


async def test_a_client_that_pulls_is_told_to_pull_again(tree: Path) -> None:
    async with editor_at(tree, able=capabilities(pull=True)) as editor:
        editor.open(SOUND)
        await editor.indexed()
        first = await editor.pull(SOUND)
        assert not first.items
        unchanged = await editor.pull(SOUND, previous=first.result_id)
        assert isinstance(unchanged, types.RelatedUnchangedDocumentDiagnosticReport)
        before = editor.refreshes
        editor.saved_outside(COPY, COPIED)
        await editor.until(lambda: editor.refreshes > before, "no refresh")
        assert codes((await editor.pull(SOUND)).items) == ["DIT106"]
        assert editor.uri(SOUND) not in editor.published, "pushed to a client that pulls"


async def test_a_client_that_cannot_be_told_to_pull_again_is_pushed_to(tree: Path) -> None:
    (tree / COPY).write_text(COPIED)
    async with editor_at(tree, able=capabilities(pull=True, refresh=False)) as editor:
        assert editor.offered.diagnostic_provider is None
        editor.open(SOUND)
        await editor.diagnostics(SOUND, has("DIT106"))


async def test_a_client_that_pulls_hears_of_what_the_full_look_found(tree: Path) -> None:
    known = UNKNOWN.replace("Blok", "Block")
    (tree / COPY).write_text(known)
    async with editor_at(tree, able=capabilities(pull=True)) as editor:
        editor.open(COPY)
        await editor.indexed()
        assert not (await editor.pull(COPY)).items
        before = editor.refreshes
        editor.change(COPY, UNKNOWN)
        assert not (await editor.pull(COPY)).items, "between two keys, what was found before"
        await editor.until(lambda: editor.refreshes > before, "no refresh when the typist rests")
        assert codes((await editor.pull(COPY)).items) == ["DIT103"]
        editor.change(COPY, "\n" + UNKNOWN)
        assert codes((await editor.pull(COPY)).items) == ["DIT103"], "it went at the next key"
        before = editor.refreshes
        editor.change(COPY, known)
        assert not (await editor.pull(COPY)).items, "the name is gone from its line"
        await asyncio.sleep(1)
        assert editor.refreshes == before, "told to ask for what it holds"


async def test_a_client_that_pulls_hears_of_other_files_when_the_typist_rests(tree: Path) -> None:
    (tree / COPY).write_text(COPIED)
    async with editor_at(tree, able=capabilities(pull=True)) as editor:
        editor.open(SOUND)
        editor.open(COPY)
        await editor.indexed()
        assert codes((await editor.pull(SOUND)).items) == ["DIT106"]
        assert codes((await editor.pull(COPY)).items) == ["DIT106"]
        before = editor.refreshes
        editor.change(COPY, COPIED.replace("SoundTransformer3DModel", "Other"))
        await editor.until(lambda: editor.refreshes > before, "no refresh")
        assert not (await editor.pull(SOUND)).items
        assert not (await editor.pull(COPY)).items


async def test_a_save_is_looked_at_in_full(tree: Path) -> None:
    known = UNKNOWN.replace("Blok", "Block")
    (tree / COPY).write_text(known)
    async with editor_at(tree, able=capabilities(pull=True)) as editor:
        editor.open(COPY)
        await editor.indexed()
        assert not (await editor.pull(COPY)).items
        editor.change(COPY, UNKNOWN)
        editor.saved_outside(COPY, UNKNOWN)
        assert codes((await editor.pull(COPY)).items) == ["DIT103"]


async def test_pushed_findings_do_not_flicker_between_keys(tree: Path) -> None:
    async with editor_at(tree) as editor:
        editor.open(COPY, UNKNOWN)
        await editor.indexed()
        await editor.diagnostics(COPY, has("DIT103"))
        for count in range(1, 12):
            editor.change(COPY, UNKNOWN.replace("= Blok", "= Blok  # " + "x" * count))
            await asyncio.sleep(0.1)
        last = editor.change(COPY, UNKNOWN.replace("Blok", "Blk"))
        await editor.diagnostics(COPY, lambda found: found and "Blk" in found[0].message)
        for publication in editor.published[editor.uri(COPY)]:
            if publication.version not in (1, last):
                assert codes(publication.diagnostics) == ["DIT103"]
        late = [p for p in editor.published[editor.uri(COPY)] if p.version == last]
        assert [codes(p.diagnostics) for p in late] == [[], ["DIT103"]]


async def test_a_pull_answers_for_the_present_text(tree: Path) -> None:
    (tree / COPY).write_text(COPIED)
    async with editor_at(tree, able=capabilities(pull=True)) as editor:
        editor.open(COPY)
        await editor.indexed()
        editor.change(COPY, "\n\n" + COPIED)
        (found,) = (await editor.pull(COPY)).items
        assert found.range.start.line == 6


async def test_no_stale_version_is_published(tree: Path) -> None:
    async with editor_at(tree) as editor:
        editor.open(COPY, UNKNOWN)
        for lines in range(1, 60):
            last = editor.change(COPY, "\n" * lines + UNKNOWN)
        uri = editor.uri(COPY)
        await editor.diagnostics(COPY, lambda found: found and found[0].range.start.line == 63)
        versions = [p.version for p in editor.published[uri]]
        assert versions == sorted(versions)  # type: ignore[type-var]
        assert versions[-1] == last
        assert len(versions) < 20, "superseded texts were looked at one by one"
        for publication in editor.published[uri]:
            assert publication.version is not None
            for diagnostic in publication.diagnostics:
                assert diagnostic.range.start.line == publication.version - 1 + 4


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-32"])
async def test_columns_are_the_clients_own(tree: Path, encoding: str) -> None:
    text = 'class Block:\n    pass\n\n\nx = "\U0001f600\U0001f600é"; EntryClass = Blok\n'
    before = text.splitlines()[4].partition("Blok")[0]
    width = {"utf-8": "utf-8", "utf-16": "utf-16-le", "utf-32": "utf-32-le"}[encoding]
    unit = {"utf-8": 1, "utf-16": 2, "utf-32": 4}[encoding]
    expected = len(before.encode(width)) // unit
    async with editor_at(tree, able=capabilities(encodings=[encoding])) as editor:
        assert editor.client_encoding == encoding
        editor.open(COPY, text)
        (found,) = await editor.diagnostics(COPY, has("DIT103"))
        assert found.range.start.character == expected
        # An edit behind the wide characters lands where the client meant it.
        place = types.Range(types.Position(4, expected), types.Position(4, expected + 4))
        editor.change(COPY, "Block", place)
        await editor.diagnostics(COPY, lambda found: not found)


async def test_incremental_edits_keep_carriage_returns_and_form_feeds(tree: Path) -> None:
    text = "class Block:\r\n    '\f\u2028'\r\n\r\nEntryClass = Blok\r\n"
    async with editor_at(tree) as editor:
        editor.open(COPY, text)
        (found,) = await editor.diagnostics(COPY, has("DIT103"))
        assert found.range == types.Range(types.Position(3, 13), types.Position(3, 17))
        editor.change(COPY, "c", types.Range(types.Position(3, 16), types.Position(3, 16)))
        await editor.diagnostics(COPY, lambda found: not found)


async def test_closing_a_file_takes_its_diagnostics_away(tree: Path) -> None:
    (tree / COPY).write_text(COPIED)
    async with editor_at(tree) as editor:
        editor.open(COPY)
        await editor.diagnostics(COPY, has("DIT106"))
        editor.close(COPY)
        await editor.diagnostics(COPY, lambda found: not found)


async def test_other_documents_are_left_alone(tree: Path, tmp_path: Path) -> None:
    outside = tmp_path / "elsewhere"
    outside.mkdir()
    (outside / "model.py").write_text(UNKNOWN)
    async with editor_at(tree, folders=[tree, outside]) as editor:
        for uri in (
            "untitled:Untitled-1",
            "vscode-notebook-cell:/x.ipynb#1",
            (outside / "model.py").as_uri(),
        ):
            editor.open("", UNKNOWN, uri=uri)
        editor.open("fastvideo/layers/linear.py", UNKNOWN)
        editor.open(COPY, UNKNOWN)
        await editor.diagnostics(COPY, has("DIT103"))
        await editor.indexed()
        told = {uri for uri, sent in editor.published.items() if any(p.diagnostics for p in sent)}
        assert told == {editor.uri(COPY)}


async def test_two_trees_do_not_mix(tree: Path, tmp_path: Path) -> None:
    second = tmp_path.resolve() / "second"
    shutil.copytree(tree, second)
    (second / COPY).write_text(COPIED)
    async with editor_at(tree, folders=[tree, second]) as editor:
        editor.open(SOUND)
        other = editor.open("", (second / COPY).read_text(), uri=(second / COPY).as_uri())
        await editor.until(
            lambda: (
                other in editor.published and codes(editor.published[other][-1].diagnostics) == ["DIT106"]
            ),
            "the second tree",
        )
        assert await at_rest(editor, SOUND) == []
