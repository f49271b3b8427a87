"""`WorkersApp`: the workers of a cluster at a terminal, as a broker shows them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import ClassVar, Final

from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.widgets import DataTable, Footer, Static

from oddwire.errors import OddwireError
from oddwire.monitor.tables import Table
from oddwire.monitor.tui.cells import plain

__all__ = ["WorkersApp"]

_EVERY: Final = 2.0  # seconds between two looks


class WorkersApp(App[None]):
    """Shows what ``read`` returns, tables and a line below them, and again every ``every`` seconds.

    An `OddwireError` of ``read`` is shown in the line; the tables stay as they were.
    """

    TITLE = "oddwire monitor"
    ENABLE_COMMAND_PALETTE = False
    CSS = """
    Screen { layout: vertical; }
    #title, #bottom { height: 1; background: $panel; color: $text; padding: 0 1; }
    #bottom.wrong { background: $error; }
    #tables { height: 1fr; }
    .title { padding: 1 1 0 1; text-style: bold; }
    DataTable { height: auto; max-height: 100%; background: $background; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [Binding("q,ctrl+c", "quit", "Quit", key_display="q")]

    def __init__(
        self, title: str, read: Callable[[], Awaitable[tuple[Sequence[Table], str]]], *, every: float = _EVERY
    ) -> None:
        super().__init__()
        self._shown = title
        self._read = read
        self._every = every
        self._tables: list[Table] = []
        self._looking: asyncio.Task[None] | None = None

    def compose(self) -> ComposeResult:
        """Compose the screen: title, tables, a line."""
        yield Static(plain(self._shown), id="title")
        yield VerticalScroll(id="tables")
        yield Static("", id="bottom")
        yield Footer()

    async def on_mount(self) -> None:
        """Begin to look."""
        self._looking = asyncio.create_task(self._look_on(), name="workers")

    async def on_unmount(self) -> None:
        """Look no more."""
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.wait([self._looking])

    async def _look_on(self) -> None:
        while True:
            bottom = self.query_one("#bottom", Static)
            try:
                tables, line = await self._read()
            except OddwireError as error:
                bottom.add_class("wrong")
                bottom.update(plain(str(error)))
            else:
                bottom.remove_class("wrong")
                bottom.update(plain(line))
                await self._show([*tables])
            await asyncio.sleep(self._every)

    async def _show(self, tables: list[Table]) -> None:
        place = self.query_one("#tables", VerticalScroll)
        if [table.heads for table in tables] != [table.heads for table in self._tables]:
            await place.remove_children()
            for number, table in enumerate(tables):
                widget: DataTable[object] = DataTable(id=f"table-{number}", cursor_type="row", zebra_stripes=True)
                await place.mount(Static(id=f"title-{number}", classes="title"), widget)
                widget.add_columns(*table.heads)
        for number, table in enumerate(tables):
            self.query_one(f"#title-{number}", Static).update(plain(table.title))
            widget = self.query_one(f"#table-{number}", DataTable)
            at = widget.cursor_row
            widget.clear()
            for row, cells in enumerate(table.rows):
                widget.add_row(*(plain(cell, "bold red" if row in table.wrong else "") for cell in cells))
            widget.move_cursor(row=min(at, max(0, len(table.rows) - 1)))
        self._tables = tables
