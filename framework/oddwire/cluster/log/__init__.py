"""The log of a partition's store: what is in it counts, and the SQLite file at a worker is a cache of it."""
