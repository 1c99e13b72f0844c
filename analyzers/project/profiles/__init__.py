"""One module a code base: what it calls its things, as data. `base` says what there is to tell."""
