"""Build Lightning Network peer protocols in Python."""
