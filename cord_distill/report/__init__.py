"""What people see of a run: a static page, a Markdown page, a table in the terminal. All from the run folder alone."""
