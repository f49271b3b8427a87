"""Stdin and stdout taken over: in a process of its own, since there is but one of each."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import os, subprocess, sys
sys.stdout.write("before, in the buffer. ")
from oddwire.transports.cln.stdio_capture import take_stdio
stdio = take_stdio()
print("a print")
os.write(1, b"a library\\n")
subprocess.run(["echo", "a child"], check=True)
assert sys.stdin.read() == "" == subprocess.run(["cat"], stdout=subprocess.PIPE, text=True, check=True).stdout
assert not any(os.get_inheritable(fd) for fd in (stdio.stdin, stdio.stdout, stdio.foreign))
os.write(stdio.stdout, b"to the node: " + os.read(stdio.stdin, 100))
os.write(stdio.stdout, os.read(stdio.foreign, 1000))
print("x" * 500_000)  # nobody reads, and it does not block
stdio.release()
print("at the end")
"""


def test_everything_goes_where_it_should() -> None:
    done = subprocess.run(
        [sys.executable, "-E", "-c", PROGRAM], input=b"from the node.", capture_output=True, check=True, timeout=60
    )
    assert done.stdout == b"to the node: from the node.before, in the buffer. a print\na library\na child\n"
    assert done.stderr == b"at the end\n"


def test_without_a_stdout_of_pythons() -> None:
    program = "import sys; sys.stdout = None\nfrom oddwire.transports.cln import take_stdio\ntake_stdio().release()"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, timeout=60)
    assert (done.stdout, done.stderr) == (b"", b"")
