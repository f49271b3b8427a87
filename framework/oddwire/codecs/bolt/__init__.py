"""``codec="bolt"``: BOLT 1's wire types, by generated source and by a slow reference path."""
