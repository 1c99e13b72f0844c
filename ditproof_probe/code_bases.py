"""What a code base needs before a port of it can be imported and built."""

from __future__ import annotations

from ditproof_probe import fastvideo_side
from ditproof_probe.problems import Inside, Stopped, from_exception, problem


def prepare(code_base: str, root: str, inside: Inside) -> None:
    """Make the code base importable in this process, which will not fork. Raises Stopped where that fails."""
    if code_base != "fastvideo":
        raise Stopped(
            problem(
                "code base",
                "import",
                "UnknownCodeBase",
                f"How ports of {code_base} are built is not known.",
                next_step="Compare against a dump of the port's state dict.",
            )
        )
    try:
        fastvideo_side.register(root)
        fastvideo_side.use_cpu_platform()
        fastvideo_side.start_world_of_one()
    except BaseException as error:
        raise Stopped(from_exception(error, "code base", "import", inside)) from error
