"""The ``oddwire`` command."""

from __future__ import annotations

import os
import sys

__all__ = ["main"]


def main() -> None:
    """Run the command line and exit: 0 for success, 1 for a failure at run time, 2 for a wrong use."""
    try:
        from oddwire.cli.environment import prepare

        prepare()
        if sys.argv[1:] == ["--version"]:  # typer takes longer to import than this takes in all
            sys.exit(_print_version())
        from oddwire.cli.command_line import run_program
        from oddwire.cli.lazy_commands import program
    except KeyboardInterrupt:  # imports take most of the time that a command needs to start
        sys.exit(130)
    run_program(program, "oddwire")


def _print_version() -> int:
    from oddwire.version import __version__

    try:
        print(f"oddwire {__version__}", flush=True)  # noqa: T201
    except OSError as error:
        sys.stderr.write(f"oddwire: stdout: {error.strerror}\n")
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # Python writes what is left at its end
        return 1
    return 0


if __name__ == "__main__":
    main()
