"""A peer is a socket, and a socket a file descriptor: how many this process may have, and what limits fit that."""

from __future__ import annotations

from typing import Final

from oddwire.log_limits import get_logger
from oddwire.transports.bolt8.limits import Bolt8Limits

__all__ = ["RESERVE", "fit_limits", "raise_descriptors"]

logger = get_logger("oddwire.cli")

RESERVE: Final = 128
"""Descriptors that peers do not get: for files, the store, plugins and their clients, and what we dial."""

_MOST: Final = 1 << 20  # programs that close all there may be before they start another take long where there are more


def raise_descriptors() -> int | None:
    """Raise the soft limit of open files to the hard one; return what holds then, None where there is no limit."""
    try:
        import resource
    except ImportError:  # not on Windows, where sockets are no files
        return None
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MOST if hard == resource.RLIM_INFINITY else min(hard, _MOST)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        except (OSError, ValueError) as error:  # of a system that says one thing and does another
            logger.debug("the limit of open files stays %d: %s", soft, error)
        else:
            soft = wanted
    return None if soft == resource.RLIM_INFINITY else soft


def fit_limits(limits: Bolt8Limits | None = None) -> Bolt8Limits:
    """Return the limits, or such as this process has descriptors for; what was lowered is logged."""
    limits = limits or Bolt8Limits()
    descriptors = raise_descriptors()
    if descriptors is None:
        return limits
    fitting = limits.fitting(max(descriptors - RESERVE, descriptors // 2))
    if fitting != limits:
        logger.warning(
            "no more than %d peers are taken, not %d: this process may have %d files open (ulimit -n)",
            fitting.max_peers,
            limits.max_peers,
            descriptors,
        )
    return fitting
