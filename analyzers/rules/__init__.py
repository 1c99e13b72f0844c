"""One file a rule: metadata, prose, examples, check.

The prose is the rule's documentation, the examples are its tests; nothing about a rule stands
anywhere else. Rules read facts through a `Context` and never touch the disk or a syntax tree.
"""
