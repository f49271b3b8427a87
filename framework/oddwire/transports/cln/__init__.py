"""Core Lightning: an application as lightningd's plugin."""

from oddwire.transports.cln.flow import ClnLimits, Dropped
from oddwire.transports.cln.guard import Stdio, take_stdio
from oddwire.transports.cln.transport import ClnTransport

__all__ = ["ClnLimits", "ClnTransport", "Dropped", "Stdio", "take_stdio"]
