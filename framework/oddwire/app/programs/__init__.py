"""The programs behind one node: what they claim, and the stores they leave behind."""
