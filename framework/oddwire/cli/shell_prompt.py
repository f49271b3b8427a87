"""The prompt of `oddwire shell`: IPython in a running event loop, whose connections go on while someone types."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Any, Final

from IPython.terminal.interactiveshell import TerminalInteractiveShell
from prompt_toolkit.formatted_text import PygmentsTokens
from prompt_toolkit.patch_stdout import patch_stdout
from traitlets.config import Config

from oddwire.cli.short_traceback import short_traceback
from oddwire.cli.shutdown import on_interrupt
from oddwire.errors import OddwireError
from oddwire.files import make_folder

__all__ = ["FOLDER", "Prompt", "state_folder"]

FOLDER: Final = "oddwire/shell"
"""The folder, in that of the user's state, in which the history of what was typed is."""


def state_folder() -> Path:
    """Return the folder of the shell's history: ``~/.local/state/oddwire/shell``, or in ``XDG_STATE_HOME``."""
    state = os.environ.get("XDG_STATE_HOME", "")
    return (Path(state) if state.startswith("/") else Path.home() / ".local/state") / FOLDER


class Prompt:
    """Asks for code, and runs it in ``scope``, until Ctrl-D or ``exit``.

    A line that awaits does so in the running event loop. Ctrl-C discards what is typed, and interrupts what runs.
    """

    def __init__(self, scope: dict[str, Any]) -> None:
        self._running: asyncio.Task[Any] | None = None
        self._shell = _shell(scope)

    async def run(self, banner: str) -> None:
        """Show the banner, and return when the user has left. Cancelled, it ends what runs."""
        on_interrupt(self._interrupt)
        print(banner, flush=True)  # noqa: T201 - the terminal is the user's
        self._shell.keep_running = True
        try:
            while self._shell.keep_running:
                code = await self._ask()
                if code is None:
                    break
                if code.strip():
                    await self._finish(code)
        finally:
            on_interrupt(None)
            self._shell.restore_term_title()
            self._shell.history_manager.end_session()

    async def _ask(self) -> str | None:
        """Return what was typed, empty after Ctrl-C; None after Ctrl-D."""
        session = self._shell.pt_app
        default, self._shell.rl_next_input = self._shell.rl_next_input or "", None
        with patch_stdout(raw=True):
            try:
                code: str = await session.prompt_async(
                    PygmentsTokens(self._shell.prompts.in_prompt_tokens()), default=default, handle_sigint=False
                )
            except EOFError:
                return None
            except KeyboardInterrupt:
                return ""
            return code

    async def _finish(self, code: str) -> None:
        """Run code to its end, in a task of its own: IPython shows every exception, a cancellation too."""
        shell, failure = self._shell, None
        try:
            transformed = shell.transform_cell(code)
        except Exception:
            transformed, failure = code, sys.exc_info()
        running = self._running = asyncio.ensure_future(
            shell.run_cell_async(
                code, store_history=True, transformed_cell=transformed, preprocessing_exc_tuple=failure
            )
        )
        try:
            await asyncio.wait([running])
        finally:
            self._running = None
            if not running.done():
                running.cancel()
                await asyncio.wait([running])
        if not running.cancelled():
            running.exception()  # IPython has shown it

    def _interrupt(self) -> None:
        """Interrupt what runs, in the signal handler: code by an exception, what waits by a cancellation."""
        running = self._running
        if running is None:
            return
        loop = running.get_loop()
        if asyncio.current_task(loop) is running:
            raise KeyboardInterrupt
        loop.call_soon_threadsafe(running.cancel)


def _shell(scope: dict[str, Any]) -> Any:
    folder = state_folder()
    make_folder(folder)
    config = Config()
    config.InteractiveShell.banner1 = ""
    config.TerminalInteractiveShell.confirm_exit = False
    config.TerminalInteractiveShell.term_title = False
    # IPython's own key bindings find it as the one of the process
    shell: Any = TerminalInteractiveShell.instance(config=config, ipython_dir=str(folder), user_ns=scope)
    shell.set_custom_exc((OddwireError, TimeoutError, asyncio.CancelledError, KeyboardInterrupt), _show)
    return shell


def _show(
    shell: Any, kind: type[BaseException], error: BaseException, trace: Any, tb_offset: int | None = None
) -> None:
    """Show an error of what was awaited, shortly."""
    text = "interrupted" if isinstance(error, asyncio.CancelledError | KeyboardInterrupt) else short_traceback(error)
    print(text, file=sys.stderr, flush=True)  # noqa: T201 - where IPython shows others
