"""The gateway of a cluster: a node's peers on one side, its workers, over NATS, on the other."""
