"""What a component hands over to the next phase of a port, from what was run and nothing else.

* `model`: the fields and their closed vocabularies; the block as text, Markdown and JSON.
* `making`: from a port's facts and its runs to the block.
* `schema`: the shipped JSON schema, and what else has to hold of a block.
* `gathering`: the facts, from the tree, the store of runs and git.
* `tables`, `state_files`: `PORT_STATUS.md` and `README.md` brought up to date, cell by cell.
* `leftovers`, `gate`: what a debug session left behind.
"""
