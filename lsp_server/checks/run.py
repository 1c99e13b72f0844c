"""One parity run from the request to the verdict: what the server and the command line call."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from lsp_server.checks.errors import CheckError, UntrustedWorkspaceError
from lsp_server.checks.executor import Executor, RawRun
from lsp_server.checks.requests import CheckEvent, CheckRequest, CheckResult
from lsp_server.checks.results import build_result

OnEvent = Callable[[CheckEvent], None]


async def run_parity(
    request: CheckRequest, executor: Executor, on_event: OnEvent | None = None
) -> CheckResult:
    """Run one request and judge it.

    A run that cannot start is a result with status `error`. If the caller's task is cancelled, the
    run is ended first and the cancellation goes on. Raises UntrustedWorkspaceError.
    """
    if not request.trusted:
        raise UntrustedWorkspaceError(request.root)
    try:
        job = await executor.submit(request)
    except UntrustedWorkspaceError:
        raise
    except CheckError as error:
        return could_not_start(request, error)
    try:
        async for event in executor.events(job):
            if on_event is not None:
                on_event(event)
        run = await executor.fetch(job)
    except BaseException:
        # Cancelled, or the listener raised: either way nothing may be left running.
        await asyncio.shield(executor.cancel(job))
        raise
    return build_result(request, run)


def could_not_start(request: CheckRequest, error: CheckError) -> CheckResult:
    """The result of a run that never began."""
    return build_result(request, RawRun("not-started", error.reason, (), "", 0.0), error.next_step)


def superseded(request: CheckRequest, why: str) -> CheckResult:
    """The result of a run that a newer one replaced before or after it began."""
    return build_result(request, RawRun("cancelled", why, (), "", 0.0))
