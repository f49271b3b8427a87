"""The embedded node: what lightningd does for custom messages, its RPC and plugins included, without bitcoind."""
