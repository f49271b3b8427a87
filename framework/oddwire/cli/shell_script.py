"""A script for `oddwire shell` that comes by a pipe: statements with top-level ``await``, run one after the other."""

from __future__ import annotations

import ast
import asyncio
import inspect
import os
import sys
from types import CodeType, FunctionType
from typing import Any, Final

from oddwire.cli.exit import FAILED, USAGE, CommandFailure
from oddwire.cli.short_traceback import short_traceback

__all__ = ["read_script", "run_script"]

_NAME: Final = "<stdin>"
_LONGEST: Final = 1 << 24  # bytes
_CHUNK: Final = 1 << 16


async def read_script(descriptor: int) -> str:
    """Return the text of a script: all that a pipe or file has, to its end. Raises `CommandFailure`.

    No thread reads it, as one that waits could not be ended.
    """
    loop = asyncio.get_running_loop()
    content = bytearray()
    while len(content) <= _LONGEST:
        ready = loop.create_future()
        try:
            loop.add_reader(descriptor, lambda ready=ready: ready.done() or ready.set_result(None))  # type: ignore[misc]
        except PermissionError:  # a file, which does not have to be waited for
            ready.set_result(None)
        try:
            await ready
        finally:
            loop.remove_reader(descriptor)
        chunk = os.read(descriptor, _CHUNK)
        if not chunk:
            break
        content += chunk
    else:
        raise CommandFailure(f"the script on stdin should have {_LONGEST} bytes at most", USAGE)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise CommandFailure(f"the script on stdin should be UTF-8: byte {error.start} is not", USAGE) from None


async def run_script(source: str, scope: dict[str, Any]) -> int:
    """Run a script in ``scope``; return the command's exit code. Values of expressions are printed, None is not.

    The first error ends it: its short traceback goes to stderr, and the code is 1. So does ``exit()``, with its code.
    Raises `CommandFailure` for a script that does not compile, before anything of it runs.
    """
    try:
        tree = ast.parse(source, _NAME)
        steps = [_compiled(statement) for statement in tree.body]
    except SyntaxError as error:
        line = "" if error.lineno is None else f" in line {error.lineno}"
        raise CommandFailure(f"the script on stdin does not compile: {error.msg}{line}", USAGE) from None
    _remember(source)
    for step in steps:
        try:
            # Compiled for a prompt, an expression prints its value by sys.displayhook, and the code returns a coroutine
            # if it awaits anything
            result = FunctionType(step, scope)()
            if inspect.iscoroutine(result):
                await result
        except SystemExit as leaving:
            return _code_of(leaving)
        except (Exception, asyncio.CancelledError) as error:
            if isinstance(error, asyncio.CancelledError) and (task := asyncio.current_task()) and task.cancelling():
                raise  # the command is ended; else the script awaited what it had cancelled
            print(short_traceback(error), file=sys.stderr, flush=True)  # noqa: T201 - what the user's own code did
            return FAILED
        finally:
            sys.stdout.flush()
    return 0


def _compiled(statement: ast.stmt) -> CodeType:
    flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    code: CodeType = compile(ast.Interactive([statement]), _NAME, "single", flags=flags)  # type: ignore[assignment, unused-ignore]
    return code


def _remember(source: str) -> None:
    """Let tracebacks show the script's lines."""
    import linecache

    linecache.cache[_NAME] = (len(source), None, source.splitlines(keepends=True), _NAME)


def _code_of(leaving: SystemExit) -> int:
    match leaving.code:
        case None:
            return 0
        case int(code):
            return code
        case text:
            print(text, file=sys.stderr, flush=True)  # noqa: T201 - as Python itself does
            return FAILED
