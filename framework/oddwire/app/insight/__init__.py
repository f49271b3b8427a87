"""What an application tells of itself while it runs: counts of messages, times of handlers, the last events."""
