"""The proof that a mapping brings every tensor to its place, and who is to blame where it does not."""
