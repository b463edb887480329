"""Records of a comparison as results, ranks, tables in the terminal and a report."""
