"""Members of the relational estimators, and their weights."""
