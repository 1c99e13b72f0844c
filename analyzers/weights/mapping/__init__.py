"""What the rules of a mapping make of names: patterns as languages, tables of rules, exact renaming."""
