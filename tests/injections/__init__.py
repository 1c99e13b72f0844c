"""Errors as porters make them, written into the source of real ports, and what is said of them, scored."""
