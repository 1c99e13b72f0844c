"""A tiny comparison from the server's side, against the small stand-in that speaks the protocol."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
from test_meta_client import FAKE, asked, fake_bundle, root, run, until
from test_run_ends import gone

from lsp_server.checks.errors import CheckError, UntrustedWorkspaceError
from lsp_server.checks.meta import AskFailed, MetaWorker, SupersededError, TinyRequest

__all__ = ("FAKE", "fake_bundle", "root")


def tiny(root: Path, cls: str = "Port", **changes: object) -> TinyRequest:
    state = asked(root)
    assert state.port is not None
    request = TinyRequest(
        root=state.root,
        python=state.python,
        trusted=True,
        code_base="fastvideo",
        port=replace(state.port, cls=cls),
        official="diffusers:Port",
        timeout=30.0,
    )
    return replace(request, **changes)  # type: ignore[arg-type]


async def sent(root: Path) -> list[str]:
    """What the worker was sent, in words."""
    return (root / "sent").read_text().split("\n")[:-1]


def test_what_was_built_and_what_is_answered(root: Path) -> None:
    async def work(worker: MetaWorker) -> None:
        stages: list[str] = []
        async with worker.tiny(tiny(root, seed=4, recipe="/r.py"), stages.append) as session:
            assert session.built["request"]["seed"] == 4
            assert session.built["request"]["recipe"] == "/r.py"
            assert (await session.ask("echo", case="plain", pairs=[1, 2])) == {
                "case": "plain",
                "pairs": [1, 2],
            }
            with pytest.raises(AskFailed, match="no such case") as raised:
                await session.ask("fail")
            problem = raised.value.problem
            assert (problem.type, problem.stage, problem.path, raised.value.over) == (
                "KeyError",
                "forward",
                "pkg/port.py",
                False,
            )
            assert raised.value.next_step == "See pkg/port.py:8."
            first, second = await asyncio.gather(session.ask("echo", a=1), session.ask("echo", a=2))
            assert (first, second) == ({"a": 1}, {"a": 2})
        assert stages[-2:] == ["building the port", "running both models"]
        with pytest.raises(CheckError, match="has ended"):
            await session.ask("echo")
        await worker.state(asked(root))
        assert "end" in await sent(root)
        assert "cancel" not in await sent(root)

    run(work)


def test_an_early_end_frees_the_worker(root: Path) -> None:
    async def work(worker: MetaWorker) -> None:
        async with worker.tiny(tiny(root)) as session:
            await session.end()
            await worker.state(asked(root))
            await session.end()

    run(work)


def test_what_cannot_be_built(root: Path) -> None:
    async def work(worker: MetaWorker) -> tuple[AskFailed, tuple[int, ...]]:
        with pytest.raises(AskFailed) as raised:
            async with worker.tiny(tiny(root, "NoRecipe")):
                pytest.fail("nothing was built")
        await worker.state(asked(root))
        return raised.value, worker.pids

    failure, pids = run(work)
    assert (failure.problem.type, failure.over, failure.next_step) == ("NoRecipe", True, "Write one.")
    assert len(pids) == 1


def test_the_end_of_the_child_is_a_problem_and_the_worker_stays(root: Path) -> None:
    async def work(worker: MetaWorker) -> None:
        async with worker.tiny(tiny(root)) as session:
            pids = worker.pids
            for _ in range(2):
                with pytest.raises(AskFailed, match="ended by SIGSEGV") as raised:
                    await session.ask("child crash")
                assert raised.value.over
        async with worker.tiny(tiny(root)) as session:
            assert await session.ask("echo") == {}
        assert worker.pids == pids
        assert "cancel" not in await sent(root)

    run(work)


def test_a_worker_that_dies(root: Path) -> None:
    async def work(worker: MetaWorker) -> None:
        async with worker.tiny(tiny(root, "CrashOnce")) as session:
            with pytest.raises(CheckError, match=r"crashed under .* \(SIGKILL\)"):
                await session.ask("crash")
            with pytest.raises(CheckError, match="crashed under"):
                await session.ask("echo")
        async with worker.tiny(tiny(root)) as session:
            assert await session.ask("echo") == {}
        with pytest.raises(CheckError, match="crashed twice"):
            async with worker.tiny(tiny(root, "Crash")):
                pytest.fail("nothing was built")

    run(work)


def test_an_answer_that_is_none(root: Path) -> None:
    async def work(worker: MetaWorker) -> None:
        async with worker.tiny(tiny(root)) as session:
            with pytest.raises(CheckError, match="cannot be read"):
                await session.ask("malformed")
        async with worker.tiny(tiny(root)) as session:
            assert await session.ask("echo") == {}

    run(work)


def test_a_newer_comparison_takes_the_place_of_the_older(root: Path) -> None:
    async def work(worker: MetaWorker) -> None:
        async with worker.tiny(tiny(root)) as old:
            asking = asyncio.create_task(old.ask("sleep"))
            await until(root / "sleeping")
            async with worker.tiny(tiny(root)) as new:
                with pytest.raises(SupersededError):
                    await asking
                with pytest.raises(SupersededError):
                    await old.ask("echo")
                assert await new.ask("echo") == {}
        assert "cancel" in await sent(root)

    run(work)


def test_names_do_not_take_the_place_of_numbers(root: Path) -> None:
    async def work(worker: MetaWorker) -> None:
        async with worker.tiny(tiny(root)) as session:
            state = asyncio.create_task(worker.state(asked(root)))
            await asyncio.sleep(0.3)
            assert await session.ask("echo") == {}
            assert not state.done()
        assert (await state).state.native is not None

    run(work)


def test_a_caller_that_gives_up_lets_go_of_the_worker(root: Path) -> None:
    async def work(worker: MetaWorker) -> None:
        async def compare() -> None:
            async with worker.tiny(tiny(root)) as session:
                await session.ask("sleep")

        comparing = asyncio.create_task(compare())
        await until(root / "sleeping")
        pids = worker.pids
        comparing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await comparing
        await worker.state(asked(root))
        assert worker.pids == pids
        assert "cancel" in await sent(root)

    run(work)


@pytest.mark.parametrize(
    ("ask", "changes", "message"),
    [
        ("sleep", {"timeout": 1.5}, "has not come after 1.5 s, while running both models"),
        ("greedy", {"memory_limit": 40 << 20}, "takes more than 0.0391 GiB of memory"),
    ],
)
def test_limits_of_an_ask(root: Path, ask: str, changes: dict[str, object], message: str) -> None:
    async def work(worker: MetaWorker) -> None:
        async with worker.tiny(tiny(root, **changes)) as session:
            pids = worker.pids
            with pytest.raises(CheckError, match=message):
                await session.ask(ask)
            assert gone(list(pids), 5.0)
        async with worker.tiny(tiny(root)) as session:
            assert await session.ask("echo") == {}

    run(work)


def test_whoever_waits_too_long_for_its_turn(root: Path) -> None:
    async def work(worker: MetaWorker) -> None:
        async with worker.tiny(tiny(root)):
            with pytest.raises(CheckError, match=r"still waits for other checks after 0\.4 s"):
                async with worker.tiny(tiny(root, "Other", timeout=0.4)):
                    pytest.fail("it was not its turn")

    run(work)


def test_closing_ends_a_session(root: Path) -> None:
    async def session() -> None:
        worker = MetaWorker()
        async with worker.tiny(tiny(root)) as held:
            asking = asyncio.create_task(held.ask("sleep"))
            await until(root / "sleeping")
            pids = worker.pids
            await worker.end()
            with pytest.raises(CheckError, match="closing"):
                await asking
            assert gone(list(pids), 5.0)
        with pytest.raises(CheckError, match="closing"):
            async with worker.tiny(tiny(root)):
                pytest.fail("the worker is closed")

    asyncio.run(session())


def test_nothing_starts_where_nothing_is_trusted(root: Path) -> None:
    async def work(worker: MetaWorker) -> None:
        with pytest.raises(UntrustedWorkspaceError):
            async with worker.tiny(tiny(root, trusted=False)):
                pytest.fail("it is not trusted")
        assert worker.pids == ()

    run(work)
