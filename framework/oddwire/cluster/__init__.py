"""A cluster: a gateway beside a node, and workers with the extensions, over a broker, NATS JetStream."""
