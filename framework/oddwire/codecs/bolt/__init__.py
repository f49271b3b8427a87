"""``codec="bolt"``: BOLT 1's wire types, by a generated fast path and a reference path."""
