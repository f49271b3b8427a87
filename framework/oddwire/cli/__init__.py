"""The command line: `oddwire run`, `send` and `demo`, one module a command."""
