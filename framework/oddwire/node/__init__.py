"""The embedded node: lightningd's custom messages, JSON-RPC and plugins, without bitcoind."""
