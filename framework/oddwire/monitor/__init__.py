"""Watching a running program: what it counts and sends, filtered, recorded, and shown at a terminal or in a browser."""
