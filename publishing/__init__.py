"""What `make site` and `make pictures` need beside zensical: nothing of it is installed with oddwire."""
