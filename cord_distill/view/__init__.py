"""`cord view`: every problem of a run in one page, to search and to look into."""
