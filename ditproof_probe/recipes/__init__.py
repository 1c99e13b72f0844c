"""One recipe a family: what of a tiny comparison cannot be derived (docs/recipes.md)."""
