"""Carrier pigeons for oddwire."""
