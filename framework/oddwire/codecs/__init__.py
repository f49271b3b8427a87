"""Messages to payloads and back: `Registry`, and what a codec is."""

from oddwire.codecs.base import Codec, Plan
from oddwire.codecs.registry import KnownTypeWarning, Registry

__all__ = ["Codec", "KnownTypeWarning", "Plan", "Registry"]
