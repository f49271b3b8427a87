"""A plugin that is a pipe: it joins its stdin and stdout to the socket that stands beside the node's folder.

Nothing but the standard library, and that in isolation: the test's transport, at the other end, is the plugin.
"""

import os
import select
import socket
import sys


def pump(source: int, sink: int) -> bool:
    """Carry some bytes; false at the end."""
    data = os.read(source, 65536)
    while data:
        written = os.write(sink, data)
        data = data[written:]
        if not data:
            return True
    return False


def main() -> int:
    """Carry both ways until either ends."""
    with socket.socket(socket.AF_UNIX) as way:
        way.connect("../relay")
        ends = {0: way.fileno(), way.fileno(): 1}
        while True:
            for source in select.select(list(ends), [], [])[0]:
                if not pump(source, ends[source]):
                    return 0


if __name__ == "__main__":
    sys.exit(main())
