"""Pictures of the programs, made from what they print: `make pictures` writes them to docs/pictures."""
