"""The conversation with a peer: requests, large messages, hello and reliable delivery (docs/session-protocol.md)."""
