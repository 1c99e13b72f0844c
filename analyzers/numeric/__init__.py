"""Where a port's numbers leave the official model's: from what an instrument measured to the first line.

`records` and `verdicts` are the nouns. Nothing here computes with tensors or starts a process: an instrument
(the probe) measures what it is asked, and this room decides what to ask and what the answers mean.
"""
