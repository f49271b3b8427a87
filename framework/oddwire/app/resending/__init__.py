"""Plain messages that are kept in the store and sent again until they are settled: `Peer.send` with ``again``."""
