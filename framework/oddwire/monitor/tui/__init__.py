"""The monitor at a terminal, made of textual."""
