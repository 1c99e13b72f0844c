"""Known causes of a numeric difference, as edits of the port's source that a run can try.

Nothing here is believed because it looks right: an edit only counts once the port, run with it, agrees.
"""
