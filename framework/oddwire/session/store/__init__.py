"""What outlives the process: one SQLite database, its values, and moving it."""
