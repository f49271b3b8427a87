"""``--reload``: a supervisor that runs the same command without it, and runs it anew when files have changed."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import signal
import socket
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final

from oddwire.cli.environment import SIGNALS
from oddwire.cli.events import Printer
from oddwire.cli.exit import USAGE, CommandFailure
from oddwire.cli.reload_link import VARIABLE

if TYPE_CHECKING:
    from watchfiles import Change

__all__ = ["own_command", "supervise", "watched_folders"]

_PATIENCE: Final = 12.0  # seconds from the request to end to the kill; the program's own limit is shorter
_QUIET: Final = 100  # milliseconds without a change after which those before are one
_LOOK: Final = 1000  # milliseconds between two looks whether the folders are still there
_DEBOUNCE: Final = 400  # milliseconds of changes that are one at most
_LONGEST: Final = 1 << 16
_SHOWN: Final = 3


def watched_folders(extensions: Iterable[str]) -> list[Path]:
    """Return the folders that extensions are in, as the command line names them, without importing any.

    Of a file it is its folder, of a package, or of a module in one, the package. What is not found is left out: the
    program that loads it says why.
    """
    found = []
    for spec in extensions:
        place = spec if os.path.exists(spec) else spec.rpartition(":")[0] or spec  # noqa: PTH110
        if "/" not in place and ":" not in spec and not place.endswith(".py"):
            place = next((each.module for each in entry_points(group="oddwire.extensions", name=spec)), "")
        if "/" in place or place.endswith(".py"):
            path = Path(place).resolve()
            found.append(path if path.is_dir() else path.parent)
        elif place:
            found += _module_folders(place.partition(".")[0])
    return [*dict.fromkeys(folder for folder in found if folder.is_dir())]


def _module_folders(name: str) -> list[Path]:
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        spec = find_spec(name)
    except (ImportError, ValueError):
        spec = None
    finally:
        sys.path.remove(here)
    if spec is None:
        return []
    folders = [Path(folder) for folder in spec.submodule_search_locations or ()]
    return folders or ([Path(spec.origin).parent] if spec.origin and spec.has_location else [])


def own_command() -> list[str]:
    """Return the command that started this process, without the options that only the supervisor has."""
    arguments = sys.orig_argv[len(sys.orig_argv) - len(sys.argv) + 1 :]
    kept: list[str] = []
    waiting = list(arguments)
    while waiting:
        argument = waiting.pop(0)
        if argument == "--reload-dir":
            waiting[:1] = []
        elif argument == "--":
            kept += [argument, *waiting]
            break
        elif argument != "--reload" and not argument.startswith("--reload-dir="):
            kept.append(argument)
    return [sys.executable, *sys.orig_argv[1 : len(sys.orig_argv) - len(arguments)], *kept]


def supervise(
    command: Sequence[str], folders: Collection[Path], files: Collection[Path], printer: Printer, *, has_key: bool
) -> int:
    """Run a command, and anew when Python files in ``folders``, or ``files``, have changed. Return its exit code.

    A command that ends by itself, with 0, ends this; any other exit code, as for an error in a file, waits for the next
    change. ``has_key`` says that the command keeps a key of its own; otherwise each run gets the same one. Raises
    `CommandFailure` without watchfiles.
    """
    try:
        import watchfiles  # noqa: F401
    except ImportError:
        raise CommandFailure("--reload needs watchfiles: pip install 'oddwire[reload]'", USAGE) from None
    return asyncio.run(_Supervisor(command, folders, files, printer, has_key).run())


class _Supervisor:
    def __init__(
        self,
        command: Sequence[str],
        folders: Collection[Path],
        files: Collection[Path],
        printer: Printer,
        has_key: bool,
    ) -> None:
        self._command = command
        self._folders = folders
        self._files = {str(file.resolve()) for file in files}
        self._printer = printer
        self._key = "" if has_key else secrets.token_bytes(32).hex()
        self._listen: dict[str, str] = {}
        self._changed = asyncio.Event()
        self._names: list[str] = []
        self._signal: signal.Signals | None = None
        self._stop = asyncio.Event()
        self._process: asyncio.subprocess.Process | None = None

    async def run(self) -> int:
        loop = asyncio.get_running_loop()
        for number in SIGNALS:
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # ignored under nohup
                loop.add_signal_handler(number, self._on_signal, number)
        watching = loop.create_task(self._watch())
        try:
            while True:
                code = await self._run_once(watching)
                if code is not None:
                    return code
        finally:
            self._stop.set()
            watching.cancel()
            await asyncio.wait([watching])

    async def _run_once(self, watching: asyncio.Task[None]) -> int | None:
        """Run the command until it ends, or files change. Return the exit code, None to run it anew."""
        self._changed.clear()
        self._names.clear()
        with contextlib.closing(await self._start()) as link:
            process = self._process
            assert process is not None  # noqa: S101 - it was started
            if self._signal is not None:  # it came before there was a process to pass it on to
                self._send(self._signal)
            listening = asyncio.create_task(self._hear(link))
            ended = asyncio.create_task(process.wait())
            changed = asyncio.create_task(self._changed.wait())
            stopped = asyncio.create_task(self._stop.wait())
            await asyncio.wait([ended, changed, stopped], return_when=asyncio.FIRST_COMPLETED)
            try:
                if not ended.done() and not self._asked():
                    self._printer.remark(f"{self._described()}: starting anew")
                    self._send(signal.SIGTERM)
                await asyncio.wait([ended], timeout=_PATIENCE)
                if not ended.done():
                    self._send(signal.SIGKILL)
                code = await ended
            finally:
                listening.cancel()
                self._process = None
            if self._asked():
                return code if code >= 0 else 128 - code
            if not changed.done():
                if code == 0:
                    return 0
                how = f"exit code {code}" if code >= 0 else signal.Signals(-code).name
                if not watching.done():
                    self._printer.remark(f"it ended with {how}; waiting for its files to change (Ctrl-C ends)")
                    await asyncio.wait([changed, stopped, watching], return_when=asyncio.FIRST_COMPLETED)
                if self._asked():
                    return 128 + (self._signal or signal.SIGINT)
                if not changed.done():  # and no change will ever be seen
                    self._printer.remark(f"it ended with {how}")
                    return code if code >= 0 else 128 - code
                self._printer.remark(f"{self._described()}: starting anew")
        return None

    def _asked(self) -> bool:
        """Return whether a signal has asked us to end."""
        return self._signal is not None

    async def _start(self) -> socket.socket:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        with theirs:
            ours.setblocking(False)
            ours.send(json.dumps({"key": self._key, "listen": self._listen}).encode())
            environment = {
                **os.environ,
                VARIABLE: str(theirs.fileno()),
                "ODDWIRE_RELOAD": "0",  # which a file may ask for
                "PYTHONDONTWRITEBYTECODE": "1",  # two changes within a second may look alike to Python
            }
            self._process = await asyncio.create_subprocess_exec(
                *self._command, env=environment, pass_fds=[theirs.fileno()]
            )
        return ours

    async def _hear(self, link: socket.socket) -> None:
        """Note the ports that the program has taken."""
        told = await asyncio.get_running_loop().sock_recv(link, _LONGEST)
        if told:
            self._listen.update(json.loads(told))

    async def _watch(self) -> None:
        """Watch, and anew once a folder was removed or replaced, of which the system tells nothing any more."""
        places = [*dict.fromkeys([*self._folders, *(Path(file).parent for file in self._files)])]
        while not self._stop.is_set():
            there = {place: identity for place in places if (identity := _identity(place)) is not None}
            try:
                if there:
                    await self._watch_these(there, places)
                else:
                    await asyncio.sleep(_LOOK / 1000)
            except FileNotFoundError:
                continue  # it has gone just now
            except Exception as error:  # watchfiles has several of its own
                self._printer.remark(f"changes of files are not seen any more: {error}")
                return
            came = [place for place in places if _identity(place) not in (None, there.get(place))]
            if came:
                self._note(place.name for place in came)

    def _note(self, names: Iterable[str]) -> None:
        self._names += sorted({*names} - {*self._names})
        self._changed.set()

    async def _watch_these(self, there: Mapping[Path, tuple[int, int]], places: Collection[Path]) -> None:
        """Watch folders until one of ``places`` is not the one it was."""
        from watchfiles import PythonFilter, awatch

        python = PythonFilter()

        def matters(change: Change, path: str) -> bool:
            return path in self._files or python(change, path)

        async for changes in awatch(
            *there,
            watch_filter=matters,
            debounce=_DEBOUNCE,
            step=_QUIET,
            stop_event=self._stop,
            rust_timeout=_LOOK,
            yield_on_timeout=True,
        ):
            if changes:
                self._note(Path(path).name for _, path in changes)
            if any(_identity(place) != there.get(place) for place in places):
                return

    def _described(self) -> str:
        more = len(self._names) - _SHOWN
        return f"{', '.join(self._names[:_SHOWN])}{f' and {more} more' if more > 0 else ''} changed"

    def _on_signal(self, number: signal.Signals) -> None:
        self._signal = self._signal or number
        self._stop.set()
        if not (number == signal.SIGINT and _has_terminal()):  # whose Ctrl-C the program has had, too
            self._send(number)

    def _send(self, number: signal.Signals) -> None:
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)


def _identity(folder: Path) -> tuple[int, int] | None:
    """Return which folder is there; None if there is none."""
    try:
        status = folder.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _has_terminal() -> bool:
    """Return whether this process is in the foreground of a terminal, whose signals go to all processes there."""
    for descriptor in range(3):
        with contextlib.suppress(OSError):
            if os.isatty(descriptor):
                return os.tcgetpgrp(descriptor) == os.getpgrp()
    return False
