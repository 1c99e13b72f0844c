"""What a server that starts does not wait for."""

from __future__ import annotations

import subprocess
import sys

LATER = ("analyzers.numeric.blame", "analyzers.numeric.hypotheses", "analyzers.numeric.judging", "libcst")


def test_what_only_traces_and_edits_need_is_imported_by_the_first_of_them() -> None:
    program = f"import sys, lsp_server.server; print([name for name in {LATER} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_the_driver_of_a_trace_does_need_them() -> None:
    """Else the names above may have become others."""
    program = f"import sys, lsp_server.checks.trace; print([n in sys.modules for n in {LATER[:3]}])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[True, True, True]\n"
