"""Access control of extensions, rate limits, and the memory budget."""
