"""From payloads to handlers and back: queues, tasks, requests, reliable messages, policy."""
