"""`MonitorApp`: the monitor at a terminal. What it shows is `View`'s; it draws, and reads keys."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, ClassVar, Final

from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container
from textual.widgets import DataTable, Footer, Input, Static

from oddwire.errors import OddwireError
from oddwire.monitor.explained import Opened, open_event
from oddwire.monitor.model import Model, View
from oddwire.monitor.recording import MAX_BYTES, Recorder
from oddwire.monitor.snapshot import short_peer
from oddwire.monitor.tui.cells import age, amount, plain
from oddwire.monitor.tui.rows import event_cells, peer_cells, type_cells
from oddwire.monitor.tui.screens import ChooserScreen, HelpScreen, MessageScreen
from oddwire.monitor.watched import Watched

__all__ = ["MonitorApp"]

_DRAWN: Final = 0.25  # seconds between two looks at what is new
_ROWS: Final = 500  # events in the table
_PEERS: Final = ("peer", "dir", "for", "queue", "outbox", "in/s", "out/s")
_TYPES: Final = ("message", "in/s", "out/s", "bytes", "last minute")
_MESSAGES: Final = ("time", "", "peer", "message", "size", "fields")

_Watching = Callable[[int, Model], AbstractAsyncContextManager[None]]
"""Watches the program of an index in the list of those there are."""


class MonitorApp(App[None]):
    """Shows one program of ``programs``, titles for people: the only one, or which is chosen.

    ``watching`` feeds the model; its errors, as it is entered, end the app: see ``failure``. ``opened`` opens messages.
    Recordings are new files in the current folder, of at most ``max_bytes``.
    """

    CSS_PATH = "monitor.tcss"
    TITLE = "oddwire monitor"
    ENABLE_COMMAND_PALETTE = False
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (120, "-wide")]  # noqa: RUF012 - as the base has it
    VERTICAL_BREAKPOINTS = [(0, "-low"), (22, "-short"), (36, "-tall")]  # noqa: RUF012
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("slash", "filter", "Filter", key_display="/"),
        Binding("space", "pause", "Pause"),
        Binding("enter", "open", "Open", show=True),
        Binding("r", "record", "Record"),
        Binding("n", "follow", "Newest"),
        Binding("question_mark", "help", "Help", key_display="?"),
        Binding("q,ctrl+c", "quit", "Quit", key_display="q"),
    ]

    def __init__(
        self,
        programs: Sequence[str],
        watching: _Watching,
        *,
        model: Model | None = None,
        max_bytes: int = MAX_BYTES,
        opened: Callable[[Watched], Opened] = open_event,
    ) -> None:
        super().__init__()
        self.model = model or Model()
        self.view = View(self.model)
        self.failure: OddwireError | None = None
        """Why it ended, if not by a key."""
        self._programs = programs
        self._watching = watching
        self._max_bytes = max_bytes
        self._opened = opened
        self._recorder: Recorder | None = None
        self._unlisten: Callable[[], None] = lambda: None
        self._drawn: Any = None
        self._shown: list[int] = []  # the numbers of the events in the table
        self._wrong = ""  # what is wrong with the filter that is typed

    # Parts ------------------------------------------------------------------------------------------

    def compose(self) -> ComposeResult:
        """Compose the screen: three tables, one above the other, or two beside each other where there is room."""
        yield Static(id="title")
        with Container(id="tables"):
            for name, title in (("peers", "Peers"), ("types", "Types")):
                table: DataTable[Text] = DataTable(id=name, classes="pane", cursor_type="none", zebra_stripes=True)
                table.border_title = title
                yield table
        table = DataTable(id="messages", classes="pane", cursor_type="row")
        table.border_title = "Messages"
        yield table
        yield Input(id="filter", placeholder="chat.* direction=in text~hello   (? has the whole of it)")
        yield Static(id="bottom")
        yield Footer()

    async def on_mount(self) -> None:
        """Begin to watch, the only program or the one that is chosen."""
        for name, labels in (("peers", _PEERS), ("types", _TYPES), ("messages", _MESSAGES)):
            self._table(name).add_columns(*labels)
        self._table("messages").focus()
        self.set_interval(_DRAWN, self.draw)
        if len(self._programs) == 1:
            self._watch(0)
        else:
            self.push_screen(ChooserScreen(self._programs), self._chosen)

    def on_unmount(self) -> None:
        """End the recording."""
        self._stop_recording()

    def _chosen(self, index: int | None) -> None:
        if index is not None:
            self._watch(index)

    def _watch(self, index: int) -> None:
        self.run_worker(self._follow(index), name="watch", exit_on_error=True)

    async def _follow(self, index: int) -> None:
        try:
            async with self._watching(index, self.model):
                self.draw()
                await asyncio.get_running_loop().create_future()
        except OddwireError as error:
            self.failure = error
            self.exit()

    # Keys -------------------------------------------------------------------------------------------

    def action_filter(self) -> None:
        """Open the line in which a filter is typed."""
        line = self.query_one("#filter", Input)
        line.value = self.view.expression
        line.add_class("open")
        line.focus()

    def on_input_changed(self, event: Input.Changed) -> None:
        """Say what is wrong with what is typed so far."""
        try:
            View(self.model).filter_by(event.value)
            self._wrong = ""
        except ValueError as error:
            self._wrong = str(error)
        self._draw_bottom()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Apply the filter, unless something is wrong with it."""
        try:
            self.view.filter_by(event.value)
        except ValueError as error:
            self._wrong = str(error)
            self._draw_bottom()
            return
        self._close_filter()

    def on_key(self, event: Any) -> None:
        """Close the filter's line on escape."""
        if event.key == "escape" and self.query_one("#filter", Input).has_class("open"):
            event.stop()
            self._close_filter()

    def _close_filter(self) -> None:
        self._wrong = ""
        self.query_one("#filter", Input).remove_class("open")
        self._table("messages").focus()
        self.draw(anew=True)

    def action_pause(self) -> None:
        """Pause, or go on."""
        if self.view.paused:
            self.view.resume()
        else:
            self.view.pause()
        self.draw(anew=True)

    def action_follow(self) -> None:
        """Go to the newest message."""
        table = self._table("messages")
        if table.row_count:
            table.move_cursor(row=table.row_count - 1)

    def action_open(self) -> None:
        """Open the message under the cursor."""
        table = self._table("messages")
        if 0 <= table.cursor_row < len(self._shown):
            event = self.view.find(self._shown[table.cursor_row])
            if event is not None:
                self.push_screen(MessageScreen(event, self._opened(event)))

    def on_data_table_row_selected(self, event: DataTable.RowSelected) -> None:
        """Open the message on which enter was pressed, or that was clicked."""
        if event.data_table.id == "messages":
            self.action_open()

    def action_record(self) -> None:
        """Begin a recording, or end it."""
        if self._recorder is not None:
            recorder = self._recorder
            self._stop_recording()
            self._tell(f"{recorder.events} events recorded in {recorder.path}")
            return
        name = self.model.program.name or "program"
        safe = "".join(letter if letter.isalnum() or letter in "-_+" else "_" for letter in name)[:60]
        path = f"oddwire-{safe}-{time.strftime('%Y%m%d-%H%M%S')}.jsonl"
        try:
            recorder = Recorder(path, self.model.program, self.model.peers, max_bytes=self._max_bytes)
        except OSError as error:
            self._tell(f"{path}: {error.strerror}", "error")
            return
        self._recorder = recorder
        self._unlisten = self.model.listen(self._recorded)
        self._tell(f"recording to {path}")

    def _recorded(self, events: Sequence[Watched]) -> None:
        if self._recorder is None:
            return
        try:
            self._recorder.take(events)
        except OSError as error:
            self._tell(f"{self._recorder.path}: {error.strerror}: the recording ends here", "error")
            self._stop_recording()

    def _stop_recording(self) -> None:
        if self._recorder is not None:
            self._unlisten()
            self._recorder.close()
            self._recorder = None

    def action_help(self) -> None:
        """Show the keys and how filters are written."""
        self.push_screen(HelpScreen())

    def _tell(self, text: str, severity: Any = "information") -> None:
        self.notify(plain(text).plain, severity=severity, markup=False)
        self._draw_bottom()

    # Drawn ------------------------------------------------------------------------------------------

    def draw(self, anew: bool = False) -> None:
        """Draw what has changed; with ``anew``, also where nothing has come."""
        state = (self.model.version, self.view.paused)
        if (not anew and state == self._drawn) or not self.query("#title"):  # which is gone while it ends
            return
        self._drawn = state
        model = self.model
        title = plain(model.program.title, "bold")
        title.append_text(plain(f"  {short_peer(model.program.node_id)}", "dim"))
        if model.state == "connected":
            title.append(f"  up {age(model.program.uptime)}", "green")
        else:
            title.append_text(plain(f"  {model.state}", "bold red"))
        self.query_one("#title", Static).update(title)
        self._fill("peers", [peer_cells(line) for line in model.peers])
        self._table("peers").border_title = f"Peers {model.peers_total}" if model.peers_total else "Peers"
        types = sorted(model.types, key=lambda line: (-(line.rate_in + line.rate_out), -(line.received + line.sent)))
        self._fill("types", [type_cells(line) for line in types])
        self._draw_messages()
        self._draw_bottom()

    def _draw_messages(self) -> None:
        table = self._table("messages")
        rows = self.view.rows(_ROWS)
        numbers = [event.number for event in rows]
        follows = not self._shown or table.cursor_row >= len(self._shown) - 1
        chosen = self._shown[table.cursor_row] if 0 <= table.cursor_row < len(self._shown) else 0
        if not self._shown or not numbers or self._shown[0] > numbers[0] or not set(self._shown) & set(numbers):
            table.clear()
            self._shown = []
        gone = [number for number in self._shown if number not in set(numbers)]
        for number in gone:
            table.remove_row(str(number))
        there = set(self._shown)
        for event in rows:
            if event.number not in there:
                table.add_row(*event_cells(event), key=str(event.number))
        self._shown = numbers
        if follows and numbers:
            table.move_cursor(row=len(numbers) - 1)
        elif chosen in numbers:
            table.move_cursor(row=numbers.index(chosen))

    def _draw_bottom(self) -> None:
        bottom, view = self.model.bottom, self.view
        if self._wrong:
            self.query_one("#bottom", Static).update(plain(f"filter: {self._wrong}", "bold red"))
            return
        text = Text(no_wrap=True, overflow="ellipsis")
        if view.paused:
            text.append(f"PAUSED, {view.behind} more  ", "bold yellow")
        if self._recorder is not None:
            full = " FULL" if self._recorder.full else ""
            text.append(f"REC {self._recorder.events}{full}  ", "bold red")
        if view.expression:
            text.append_text(plain(f"filter {view.expression}  ", "bold"))
        text.append(f"queue {bottom.queue} ({amount(bottom.queue_bytes)}B)  outbox {bottom.outbox}  ")
        text.append(f"errors {bottom.errors}  ", "red" if bottom.errors else "")
        text.append("limits " + (", ".join(bottom.limits) or "none reached"), "yellow" if bottom.limits else "")
        if self.model.missed:
            text.append(f"  missed {self.model.missed}", "yellow")
        self.query_one("#bottom", Static).update(text)

    def _fill(self, name: str, rows: Sequence[Sequence[Text]]) -> None:
        table = self._table(name)
        at = table.scroll_offset
        table.clear()
        table.add_rows(rows)
        table.scroll_to(y=at.y, animate=False)

    def _table(self, name: str) -> DataTable[Text]:
        found: DataTable[Text] = self.query_one(f"#{name}", DataTable)
        return found
