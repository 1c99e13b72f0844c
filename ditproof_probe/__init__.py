"""Measures under the *project's* interpreter; records leave as JSON lines.

Invariants
----------
* Imports torch, pytest and the standard library only, and torch only where a test imports it.
* Never imported by `lsp_server` or `analyzers`: its files are copied to a private folder that the
  child finds last on its path.
* Measuring never changes what is measured: no tensor is written to, no outcome altered.
* Runs on Python 3.10 and newer, whatever the server runs on.
"""
