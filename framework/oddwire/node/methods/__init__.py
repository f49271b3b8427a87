"""The node's RPC methods, one module per subject: names, parameters, results and errors are lightningd's."""
