"""The default codec: a map by field name in msgpack."""
