"""The pytest plugin: fixtures for extension authors."""
