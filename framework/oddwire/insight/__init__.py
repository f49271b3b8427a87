"""Parts of insight that know no application: the ring of events, the answer for Prometheus, its small HTTP server."""
