"""Whole payloads to peers and back: `base`, what a transport is; `memory`; `bolt8`; `cln`, inside Core Lightning."""
