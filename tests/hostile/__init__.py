"""Strangers who mean harm: attacks as functions, to be run against a real process, and good peers to measure beside.

``attacks`` is what strangers send and do, ``good`` what an honest peer and an honest caller see meanwhile, ``target``
the extension that a node runs for it, ``subscribed`` a plugin of an embedded node (``--node``).
"""
