"""Dispatch of received messages to handlers, and sending: queues, tasks, requests, reliable messages, error policy."""
