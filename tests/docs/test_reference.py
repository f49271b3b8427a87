"""docs/reference.md has all there is: every public name of its classes, and every keyword."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

from oddwire import AppContext, Application, Context, Extension, ExtensionStore, Peer, Receipt
from oddwire.app import Hooks

PAGE = (Path(__file__).parents[2] / "docs" / "reference.md").read_text()
SECTIONS = {
    Extension: "What an extension declares",
    AppContext: "`AppContext`, `Context`",
    Context: "`AppContext`, `Context`",
    Peer: "`Peer`",
    Receipt: "`Receipt`",
    Application: "`Application`",
    ExtensionStore: "`ExtensionStore`",
}
INTERNAL = {
    Extension: {
        *vars(Hooks),
        *("check_declared", "check_included", "declared", "dependents", "does_nothing", "everything", "handlers"),
        *("has_hook", "hold"),
        *("hook_functions", "included", "jobs", "messages", "middlewares", "own_middlewares", "unknown_handlers"),
    },
    Receipt: {"settle", "sent"},
    Application: {"insight"},
}


def section(title: str) -> str:
    start = PAGE.index(f"\n## {title}\n")
    end = PAGE.find("\n## ", start + 1)
    return PAGE[start : end if end > 0 else None]


def public(cls: type) -> set[str]:
    return {name for name in dir(cls) if not name.startswith("_")} - INTERNAL.get(cls, set())


@pytest.mark.parametrize("cls", SECTIONS, ids=lambda cls: cls.__name__)
def test_every_public_name_is_there(cls: type) -> None:
    words = set(re.findall(r"\w+", " ".join(re.findall(r"`[^`]+`", section(SECTIONS[cls])))))
    assert public(cls) - words == set()


@pytest.mark.parametrize(
    "method",
    [
        *(Application.__init__, Application.run_until_stopped, Application.disconnect),
        *(Peer.send, Peer.request, Peer.stream, Peer.deliver, Peer.wait_for_hello),
        *(ExtensionStore.get, ExtensionStore.items, ExtensionStore.execute, AppContext.spawn),
        *(
            Extension.__init__,
            Extension.on,
            Extension.every,
            Extension.task,
            Extension.provide,
            Extension.option,
            Peer.send_raw,
        ),
    ],
    ids=lambda method: method.__qualname__,
)
def test_every_keyword_is_there(method: object) -> None:
    cls = next(cls for cls in SECTIONS if getattr(cls, method.__name__, None) is method)
    words = set(re.findall(r"\w+", " ".join(re.findall(r"`[^`]+`", section(SECTIONS[cls])))))
    given = {name for name, one in inspect.signature(method).parameters.items() if one.kind is one.KEYWORD_ONLY}
    left_out = {"reliable", "description", "scope"}  # refused by `send`; taken from the docstring; `per_peer` is shown
    assert given - left_out - words == set()


def test_nothing_is_there_that_is_not() -> None:
    """A renamed method has to be renamed here, too."""
    for cls, name in {(AppContext, "context"), (Peer, "peer"), (Receipt, "receipt"), (Application, "app")}:
        found = set(re.findall(rf"(?<![\w.]){name}\.(\w+)", section(SECTIONS[cls])))
        known = {*public(Context if cls is AppContext else cls), "transport", "plugins", "program", "host_stopped"}
        known |= {"node_id", "app", "extension"}  # set by the instances
        assert found - known == set(), name
