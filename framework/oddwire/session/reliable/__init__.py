"""Reliable delivery: outbox, inbox, and what decides between the two ends of a lane."""
