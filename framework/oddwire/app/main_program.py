"""Running as the main program: checks of the calling code, and signal handling across forks."""

from __future__ import annotations

import os
import signal
import sys
from _thread import get_ident
from collections.abc import Callable, Collection
from types import FrameType
from typing import Final

from oddwire.errors import ExtensionError

__all__ = ["check_place", "on_fork"]

# The names of modules that are programs; <run_path> is that of a script run by `runpy` without a name
_PROGRAMS: Final = ("__main__", "<run_path>")
_GUARD: Final = "if __name__ == '__main__':"


def check_place(name: str, caller: FrameType | None) -> None:
    """Raise `ExtensionError` if extension ``name`` cannot be run from ``caller``, saying what to do instead."""
    what = f"extension.run() of {name!r}"
    if caller is None:
        raise ExtensionError(f"{what} is called while the program ends (by atexit): call it at the end of the script")
    module = _importing(caller)
    if module is not None:
        file = module.f_code.co_filename
        raise ExtensionError(
            f"{what} is called at {file}:{module.f_lineno} while that file is imported, and not run: "
            f"it should be under {_GUARD!r}, at the end"
        )
    if _loop_is_running():
        raise ExtensionError(
            f"{what} starts an event loop, and one is running here (a notebook, or async code): "
            "there, 'async with Application(extension, transport=...) as app:' runs it"
        )
    if not _is_main_thread():
        raise ExtensionError(
            f"{what} takes the signals of its process, which only the main thread can: call it there; in this one, "
            "asyncio.run(Application(extension, transport=...).run_until_stopped(signals=False)) runs it"
        )


def _importing(frame: FrameType | None) -> FrameType | None:
    """Return the frame of the module whose import runs the caller; None for a program, or a function called later."""
    while frame is not None:
        if frame.f_code.co_name == "<module>":
            return None if frame.f_globals.get("__name__") in _PROGRAMS else frame
        frame = frame.f_back
    return None


def _loop_is_running() -> bool:
    events = sys.modules.get("asyncio.events")  # looked up, as importing it takes long
    return events is not None and events._get_running_loop() is not None  # noqa: SLF001


def _is_main_thread() -> bool:
    threading = sys.modules.get("threading")
    return threading is None or threading.current_thread() is threading.main_thread()


def on_fork(numbers: Collection[signal.Signals], leave: Callable[[], object]) -> None:
    """Call ``leave`` in every forked child, before any of these signals can reach it."""
    masks: dict[int, set[signal.Signals | int]] = {}  # by thread

    def before() -> None:
        masks[get_ident()] = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)

    def after() -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, masks.pop(get_ident()))

    def after_in_child() -> None:
        leave()
        after()

    os.register_at_fork(before=before, after_in_parent=after, after_in_child=after_in_child)
