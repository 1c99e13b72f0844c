"""Reads and judges: text and records in, findings out.

Nothing here imports torch or pygls, starts a process, or executes code of the analysed project.
"""
