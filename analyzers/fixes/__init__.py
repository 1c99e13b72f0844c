"""Edits by libcst: one module an operation. Only the edit worker imports what is in here."""
