"""What type checkers find in oddwire and its packages. See cases_handlers.py for the marks.

Read by test_checkers.py; never run.
"""
# pyright: strict, reportWildcardImportFromLibrary=false
# ruff: noqa: B018, F403, F405

import oddwire
import oddwire.schema
import oddwire.transports
from oddwire import *
from oddwire.app import Handler, Option, PluginManager, TraceEvent
from oddwire.session import SESSION_TYPE, Counters
from oddwire.testing import CodecConformance, TransportConformance
from oddwire.transports import Bolt8Transport, Manifest, MemoryNetwork, Sink, Transport

version: str = oddwire.__version__
number: int = SESSION_TYPE
of_a_star: type[Extension] = oddwire.Extension
transport: type[Transport] = oddwire.transports.MemoryTransport
print(Handler, Option, PluginManager, TraceEvent, Counters, CodecConformance, TransportConformance)
print(Bolt8Transport, Manifest, MemoryNetwork, Sink, AppContext, u64, oddwire.schema.u64)

oddwire.Mesage  # error
oddwire.Transport  # error
oddwire.MemoryTransport  # error
oddwire.transports.Mesage  # error
oddwire.schema.Mesage  # error
