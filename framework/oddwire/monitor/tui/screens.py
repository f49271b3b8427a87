"""The windows of the monitor: a message opened, the help, the list of programs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Final

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import DataTable, OptionList, Static
from textual.widgets.option_list import Option

from oddwire.monitor.explained import Mark, Opened, hex_rows
from oddwire.monitor.filters import HELP
from oddwire.monitor.tui.cells import clock_time, number_cell, plain
from oddwire.monitor.watched import Watched

__all__ = ["ChooserScreen", "HelpScreen", "MessageScreen"]

_MOST_BYTES = 4096  # shown in hex

_KEYS = (
    ("/", "filter: show only the events that an expression takes"),
    ("space", "pause, and go on; what comes meanwhile is gathered"),
    ("enter", "open the message: its fields, and the bytes they are read from"),
    ("r", "record to a file, and stop recording"),
    ("n", "to the newest message, and follow"),
    ("tab", "to the next table"),
    ("q", "quit"),
)

_QUIT: Final = Binding("ctrl+c", "app.quit", "Quit", show=False)  # bindings of the app do not reach behind a window


class MessageScreen(ModalScreen[None]):
    """A message: its fields with offsets; the bytes of the field under the cursor are marked."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,enter", "dismiss", "Close"),
        _QUIT,
    ]

    def __init__(self, event: Watched, opened: Opened) -> None:
        super().__init__()
        self._event = event
        self._opened = opened

    def compose(self) -> ComposeResult:
        """Compose the window."""
        with Vertical(classes="window"):
            yield Static(self._head(), classes="line", id="head")
            if self._opened.remark:
                yield Static(plain(self._opened.remark, "yellow"), classes="line", id="remark")
            yield DataTable(id="fields", cursor_type="row", cell_padding=1)
            with VerticalScroll(id="bytes", can_focus=False):
                yield Static(self._bytes(None), id="hex")

    def on_mount(self) -> None:
        """Fill the table of fields."""
        table = self.query_one("#fields", DataTable)
        for label in ("field", "offset", "bytes", "value"):
            table.add_column(label)
        for mark in self._opened.marks:
            known = mark.length > 0
            offset, length = (str(mark.offset), str(mark.length)) if known else ("", "")
            style = "red" if mark.wrong else ""
            table.add_row(plain(mark.path, style), number_cell(offset), number_cell(length), plain(mark.value, style))
        table.focus()

    def on_data_table_row_highlighted(self, event: DataTable.RowHighlighted) -> None:
        """Mark the bytes of the field under the cursor."""
        if 0 <= event.cursor_row < len(self._opened.marks):
            self.query_one("#hex", Static).update(self._bytes(self._opened.marks[event.cursor_row]))

    def on_data_table_row_selected(self) -> None:
        """Close, as enter does that opened it."""
        self.dismiss()

    def _head(self) -> Text:
        event = self._event
        way = {"received": "<- from ", "sent": "-> to "}.get(event.event, "")
        head = plain(self._opened.title, "bold")
        head.append(f"  {clock_time(event.time)}  {way}")
        head.append_text(plain(event.peer, "cyan"))
        if event.is_message:
            head.append(f"  {event.size} bytes")
        if event.latency is not None:
            head.append(f"  {event.latency * 1000:.2f} ms")
        head.no_wrap = False
        return head

    def _bytes(self, mark: Mark | None) -> Text:
        text = Text(no_wrap=True)
        begin, end = (mark.offset, mark.offset + mark.length) if mark is not None and mark.length else (0, 0)
        payload = self._event.payload
        for row in hex_rows(payload[:_MOST_BYTES]):
            text.append(f"{row.offset:5}  ", "dim")
            for at, byte in enumerate(row.data, row.offset):
                text.append(f"{byte:02x}", "reverse bold" if begin <= at < end else "")
                text.append(" ", "reverse" if begin <= at < end - 1 and at % 16 != 15 else "")
            text.append("   " * (16 - len(row.data)) + " ")
            for at, letter in enumerate(row.text, row.offset):
                text.append(letter, "reverse" if begin <= at < end else "dim")
            text.append("\n")
        if self._event.size > min(len(payload), _MOST_BYTES):
            text.append(f"and {self._event.size - min(len(payload), _MOST_BYTES)} bytes more", "dim")
        return text


class HelpScreen(ModalScreen[None]):
    """The keys, and how filters are written."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,question_mark,enter,space", "dismiss", "Close"),
        _QUIT,
    ]

    def compose(self) -> ComposeResult:
        """Compose the window."""
        text = Text()
        for key, meaning in _KEYS:
            text.append(f"{key:<18}", "bold")
            text.append(f"{meaning}\n")
        text.append("\nA filter has terms; an event is shown if all are true of it\n", "dim")
        for term, meaning in HELP:
            text.append(f"{term:<18}", "bold")
            text.append(f"{meaning}\n")
        with VerticalScroll(classes="window"):
            yield Static(text)


class ChooserScreen(ModalScreen[int]):
    """A list of programs; dismissed with the index of the one that is chosen."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,q", "app.quit", "Quit"), _QUIT]

    def __init__(self, titles: Sequence[str]) -> None:
        super().__init__()
        self._titles = titles

    def compose(self) -> ComposeResult:
        """Compose the window."""
        with Vertical(classes="window"):
            yield Static("Several programs are running: which is watched?", classes="line")
            yield OptionList(*(Option(plain(title)) for title in self._titles), id="programs")

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """Choose."""
        self.dismiss(event.option_index)
