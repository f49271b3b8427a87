"""The node's RPC methods, a module a subject: names, parameters, results and errors are lightningd's."""
