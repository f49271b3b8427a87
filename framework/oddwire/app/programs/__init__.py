"""The programs behind one node: their claims, and their orphaned stores."""
