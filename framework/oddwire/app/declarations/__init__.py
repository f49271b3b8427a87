"""What authors declare: handlers, options, RPC methods, checked when they are declared."""
