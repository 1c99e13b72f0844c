"""The repository as its code base sees it: files, names, registry, ports.

A `Project` is a snapshot: every answer is computed at most once, from facts. `Sources` is the only
part that touches the disk, and the only one that changes.
"""
