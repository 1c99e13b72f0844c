"""What weight names, headers and a few rows prove, without a model or a tensor being loaded.

`state` and `verdicts` are the nouns. `files` reads, `mapping` knows the rules, `proving` puts every name
through them, `proposing` finds the rules that are lacking, `layout` compares the rows of two checkpoints.
"""
