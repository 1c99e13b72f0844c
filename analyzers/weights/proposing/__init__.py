"""Rules that a mapping lacks, proposed from names, shapes and neighbours."""
