"""Checks that run the user's code: requests, executors, results and findings.

Invariants
----------
* Nothing here runs in a workspace that is not trusted.
* Nothing here imports torch, pytest, pygls or `ditproof_probe`: the probe's files are copied to the
  child's path, and records carry everything back.
* A run that was cancelled, killed or left behind by a dead parent leaves no process and no file.
* Text that came from a child is redacted before it is shown, kept or logged.
"""
