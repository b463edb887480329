"""Data sets by name, and files of one's own."""
