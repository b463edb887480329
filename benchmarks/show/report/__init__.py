"""Report of a comparison: a page of HTML."""
