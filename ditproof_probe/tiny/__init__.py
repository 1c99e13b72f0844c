"""Tiny parity: both models from one shrunken configuration, with random weights."""
