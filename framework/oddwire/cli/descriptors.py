"""File descriptors: each peer needs one, so the limit of open files bounds the number of peers."""

from __future__ import annotations

from typing import Final

from oddwire.log_limits import get_logger
from oddwire.transports.bolt8.limits import Bolt8Limits

__all__ = ["RESERVE", "fit_limits", "raise_descriptors"]

logger = get_logger("oddwire.cli")

RESERVE: Final = 128
"""Descriptors reserved for files, the store, plugins and their clients, and for peers that we dial."""

_MOST: Final = 1 << 20  # above it, programs that close all possible descriptors before an exec become slow


def raise_descriptors() -> int | None:
    """Raise the soft limit of open files to the hard one. Return the new limit, None if there is none."""
    try:
        import resource
    except ImportError:  # Windows, where sockets are not files
        return None
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MOST if hard == resource.RLIM_INFINITY else min(hard, _MOST)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        except (OSError, ValueError) as error:  # some systems refuse values up to the hard limit that they report
            logger.debug("the limit of open files stays %d: %s", soft, error)
        else:
            soft = wanted
    return None if soft == resource.RLIM_INFINITY else soft


def fit_limits(limits: Bolt8Limits | None = None) -> Bolt8Limits:
    """Return the limits, lowered to the number of descriptors that this process may have; a lowered one is logged."""
    limits = limits or Bolt8Limits()
    descriptors = raise_descriptors()
    if descriptors is None:
        return limits
    fitting = limits.fitting(max(descriptors - RESERVE, descriptors // 2))
    if fitting != limits:
        logger.warning(
            "no more than %d peers are accepted, not %d: this process may have %d files open (ulimit -n)",
            fitting.max_peers,
            limits.max_peers,
            descriptors,
        )
    return fitting
