"""Tracebacks for people who type code: without the frames of oddwire, asyncio and what runs the code."""

from __future__ import annotations

import asyncio
import importlib.util
import traceback
from pathlib import Path
from typing import Final

from oddwire.errors import RemoteFailure, RemoteRpcError
from oddwire.printable import printable
from oddwire.session.wire.frame_types import describe_code

__all__ = ["short_traceback"]

_HIDDEN: Final = tuple(
    str(Path(origin).parent)
    for origin in (
        __file__.rpartition("cli")[0] + "__init__.py",
        asyncio.__file__,
        *(spec.origin for spec in [importlib.util.find_spec("IPython")] if spec is not None and spec.origin),
    )
)


def short_traceback(error: BaseException) -> str:
    """Return the lines of the user's own code that raised an error, and the error, `printable`.

    An error of a peer's is not one of its caller's: where in oddwire it was raised says nothing to them.
    """
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith(_HIDDEN)]
    said = traceback.format_exception_only(error)
    if isinstance(error, RemoteFailure) and not isinstance(error, RemoteRpcError):
        said[0] = f"{said[0].rstrip()} ({describe_code(error.code)})\n"
    elif isinstance(error, RemoteRpcError):
        said[0] = f"{said[0].rstrip()} (code {error.code}, data {error.data!r:.2000})\n"
    lines = [*traceback.format_list(frames), *said]
    return "\n".join(printable(line) for text in lines for line in text.rstrip("\n").split("\n"))
