"""The session with one peer: its connection, the programs behind it, requests, streams and fragments."""
