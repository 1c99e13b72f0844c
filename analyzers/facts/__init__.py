"""Text of one file -> facts of that file.

Invariants
----------
* Facts are pure functions of the text (and, for stretches that do not parse, of the last good facts).
* A chunk's facts hold positions relative to the chunk; `Placed` carries them to the file. An edit
  therefore recomputes the facts of the chunks it touches and no others.
* Facts never hold syntax trees: rules read facts, and facts survive the tree.
"""
