"""What the probe says, one JSON object a line: of a parity run to a file of its own, of the meta worker to
its channel (see below).

Not to standard output: a test prints there, and a crash would tear a line in two. Every record
carries `v` (the version of this vocabulary) and `kind`:

==============  ==================================================================================
`started`       python, pid, root
`phase`         phase (`importing`, `collecting`, `running`), test or None
`collected`     tests: [node id], deselected: count
`no_target`     message: nothing in the file matches what was asked for
`collect_error` path, line (from 0) or None, message, missing (a package) or None
`comparison`    one pair of values that a test compared; see `ditproof_probe.recorder`
`comparison_unmeasured`  test, call, message: a comparison ran and its numbers could not be taken
`overflow`      test, limit: passing comparisons beyond this number are not recorded
`traced`        one model's trace, written; see `ditproof_probe.parity_tracing`
`untraced`      test, message: a test that could not be traced
`held`          test, bytes, free: its models can be asked about now (`ditproof_probe.parity_holding`)
`unheld`        test, message: why they cannot
`answer`        test, n, and value or problem: to the `ask` of that number
`released`      test, problem (None where its end was asked for): no more is answered about these models
`outcome`       one test: outcome, reason, class of a skip, where; see `ditproof_probe.parity_plugin`
`loaded`        files, packages: what the run hung on; see `ditproof_probe.loaded`
`conditions`    versions, devices, seeds, warnings, memory; see `ditproof_probe.conditions`
`session`       exit_code of pytest, message
`problem`       problem (`no-pytest`), message: the run cannot begin
`exit`          code or signal of the process that ran pytest, asked (`cancel`, `orphaned` or None)
==============  ==================================================================================

The meta worker's answers, on what was its standard output (`ditproof_probe.meta_server`), with `id` of the
request but for `ready`. A request of the kind `state` gets a `state`, a `tiny` one what is below it:

==============  ==================================================================================
`ready`         once: torch is imported: python, torch (versions), seconds
`progress`      stage (`importing torch`, `importing the code base`, `building the official model`,
                `building the port`, `trying gates`, `loading the weights`, `running both models`)
`state`         exactly one a request: port and official (a side, or None), dropped: [[name, value as
                text]], gated: [what a setting adds], files: [absolute paths that the answer depends on],
                problems (`ditproof_probe.problems`), seconds
`answer`        n, and value or problem. n 0, unasked: what was built
                (`ditproof_probe.tiny.building.describe`); n from 1: to the `ask` of that number, of
                `ditproof_probe.taps.instrument.Instrument`
`ended`         exactly one a comparison, and the last: problem (None where its end was asked for), seconds
==============  ==================================================================================

All of it is strict JSON. A number that was measured and is not finite is null, or is left out of what it
would be an extreme or a norm of and counted (`nonfinite`): an answer that holds a NaN is refused as a whole.

A side: source, class, path, line (from 0), tensors (`ditproof_probe.state_dicts.entries`), config, mapping,
reverse and lora ([[pattern, target, index, n]], None where the class has none), ignored: [patterns],
parameters: count. A setting: field, value (as text), tensors of the port, official: those of the official
model or None where it has no such setting.
"""

from __future__ import annotations

import json
import os

VERSION = 1


class RecordWriter:
    """Appends records to a file; whole lines even when several processes write.

    Raises OSError where the file cannot be opened or written.
    """

    def __init__(self, path: str) -> None:
        # O_APPEND and one write a record: lines of forked children do not interleave.
        self._fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def write(self, kind: str, **fields: object) -> None:
        """Append one record. Raises ValueError on a NaN or infinity: records are strict JSON."""
        line = json.dumps({"v": VERSION, "kind": kind, **fields}, allow_nan=False)
        os.write(self._fd, line.encode("ascii") + b"\n")

    def write_after_crash(self, kind: str, **fields: object) -> None:
        """As `write`, on a line of its own even if the last record was torn off in the middle."""
        os.write(self._fd, b"\n")
        self.write(kind, **fields)
