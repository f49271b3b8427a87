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
        if sorted(sys.argv[1:]) in (["--version"], ["--json", "--version"]):  # typer takes longer to import than this
            sys.exit(_print_version(as_json="--json" in sys.argv))
        from oddwire.cli.command_line import run_program
        from oddwire.cli.lazy_commands import program
    except KeyboardInterrupt:  # imports take most of the time that a command needs to start
        sys.exit(130)
    run_program(program, "oddwire")


def _print_version(*, as_json: bool) -> int:
    from oddwire.version import __version__

    text = f"oddwire {__version__}"
    if as_json:
        import json
        import time

        event = {"event": "result", "time": round(time.time(), 6), "method": "version"}
        text = json.dumps(event | {"value": {"oddwire": __version__, "python": sys.version.partition(" ")[0]}})
    try:
        print(text, flush=True)  # noqa: T201
    except OSError as error:
        sys.stderr.write(f"oddwire: stdout: {error.strerror}\n")
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # Python writes what is left at its end
        return 1
    return 0


if __name__ == "__main__":
    main()
