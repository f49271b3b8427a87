"""commando: runs a command on another Core Lightning node, which checks a rune.

From Core Lightning's ``plugins/commando.c`` at commit 090f4b0, 2026-08-20. A command and its answer are JSON, in pieces
of 65000 bytes at most: all but the last are *continues*. The id is the client's, one for each command, and the same in
all pieces of it and of its answer.

A command is an object with ``method``, ``params``, ``rune`` and, if the client likes, ``id`` and ``filter``; an answer
is one with ``jsonrpc``, ``id``, and ``result`` or ``error``.
"""

from __future__ import annotations

from typing import Annotated

from oddwire.known import Protocol
from oddwire.schema import Message, message, rest, u64

__all__ = ["PROTOCOL", "CmdContinues", "CmdTerm", "ReplyContinues", "ReplyTerm"]


@message(19533, codec="bolt", spec=True)
class CmdContinues(Message):
    """A piece of a command, of which more come."""

    idnum: u64
    json: Annotated[bytes, rest]


@message(19535, codec="bolt", spec=True)
class CmdTerm(Message):
    """The last piece of a command, or the only one."""

    idnum: u64
    json: Annotated[bytes, rest]


@message(22859, codec="bolt", spec=True)
class ReplyContinues(Message):
    """A piece of an answer, of which more come."""

    idnum: u64
    json: Annotated[bytes, rest]


@message(22861, codec="bolt", spec=True)
class ReplyTerm(Message):
    """The last piece of an answer, or the only one."""

    idnum: u64
    json: Annotated[bytes, rest]


PROTOCOL = Protocol(
    name="commando",
    document="https://github.com/ElementsProject/lightning/blob/master/plugins/commando.c",
    version="commit 090f4b0, 2026-08-20",
    messages=(CmdContinues, CmdTerm, ReplyContinues, ReplyTerm),
)
