"""The client's errors, which do not leave the transport: it raises oddwire's own for them."""

from __future__ import annotations

__all__ = ["LndError", "LndFailure", "LndRefused", "LndUnavailable"]


class LndFailure(Exception):
    """Base of the client's errors; ``reason`` is for people, and without secrets."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class LndUnavailable(LndFailure):
    """LND cannot be reached now, or the connection is lost: trying again may help."""


class LndRefused(LndFailure):
    """LND cannot be used as configured: a wrong file, address or certificate. Trying again does not help."""


class LndError(LndFailure):
    """LND's answer to a call is an error: gRPC's status ``code`` and LND's ``text``, as it is."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text

    def __str__(self) -> str:
        return f"{self.text} (gRPC status {self.code})"
