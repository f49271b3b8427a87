"""The broker of a cluster: a nats-server with our configuration, and what its users may do."""
