"""The limits and waits of an `LndTransport`."""

from __future__ import annotations

from oddwire.records import FrozenRecord

__all__ = ["LndLimits"]


class LndLimits(FrozenRecord, kw_only=True):
    """Limits and waits of an `LndTransport`; sizes in bytes, times in seconds.

    Raises `ValueError` naming a value that makes no sense.
    """

    held: int = 8 * 1024 * 1024
    """Max bytes received of a peer and queued for the application; more are dropped and counted."""
    held_total: int = 64 * 1024 * 1024
    """The same for all peers together."""
    retry_first: float = 0.5
    """The wait before LND is tried again after it was lost; doubled with each failure, and shortened at random."""
    retry_most: float = 15.0
    """The longest of these waits."""
    redial_first: float = 1.0
    """The same for a peer that is to stay connected."""
    redial_most: float = 60.0
    """The longest of these waits."""
    linger: float = 2.0
    """How long `LndTransport.aclose` lets accepted messages go out."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        for name in ("held", "held_total"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 0:
                raise ValueError(f"{name} should be a number of bytes, 0 or more, not {value!r}")
        for name in ("retry_first", "retry_most", "redial_first", "redial_most", "linger"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _LONGEST:
                raise ValueError(f"{name} should be a number of seconds, 0 to {_LONGEST:.0f}, not {value!r}")


_LONGEST = 86400.0
