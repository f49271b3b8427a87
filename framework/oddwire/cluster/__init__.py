"""A cluster: a gateway beside a Lightning node, and workers that share its peers, over NATS JetStream."""
