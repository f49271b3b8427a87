"""oddwire.cli.descriptors, in processes whose limits a test may set."""

from __future__ import annotations

import subprocess
import sys

import pytest

from oddwire.transports.bolt8.limits import Bolt8Limits

SCRIPT = """
import logging, resource, sys
logging.basicConfig(format="%(message)s")
soft, hard = map(int, sys.argv[1:3])
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
from oddwire.cli.descriptors import fit_limits
limits = fit_limits()
print(resource.getrlimit(resource.RLIMIT_NOFILE)[0], limits.max_peers, limits.descriptors)
"""


def fitted(soft: int, hard: int) -> tuple[list[int], str]:
    command = [sys.executable, "-c", SCRIPT, str(soft), str(hard)]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    return [int(number) for number in ran.stdout.split()], ran.stderr


def test_the_soft_limit_is_raised_to_the_hard_one() -> None:
    assert fitted(256, 16_000) == ([16_000, 4096, Bolt8Limits().descriptors], "")


@pytest.mark.parametrize("most", [64, 256, 1024, 4096])
def test_where_that_is_too_low_fewer_peers_are_taken_and_it_is_said(most: int) -> None:
    (soft, peers, descriptors), told = fitted(most, most)
    assert soft == most
    assert 1 <= peers < 4096
    assert descriptors <= max(most - 128, most // 2)
    assert (
        told
        == f"no more than {peers} peers are accepted, not 4096: this process may have {most} files open (ulimit -n)\n"
    )
