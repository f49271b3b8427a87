"""peerstorage: BOLT 1's peer storage. Keeps a blob for each peer and gives it back; has peers keep one of ours.

::

    PeerStorage           7  bolt   blob    keep this in the place of the one before
    PeerStorageRetrieval  9  bolt   blob    what you sent last, after each reconnection

::

    oddwire run peerstorage --listen 127.0.0.1:9735 --data-dir data
    peerstorage-list
    peerstorage-put c0ffee
    peerstorage-returned

BOLT 1 lets a node write a peer's blob once a minute: one that comes earlier waits here, and later ones take its place.
Anybody who connects may send a blob, and node ids cost nothing: strangers' blobs are limited in number, and those of
strangers who have not been seen for two weeks are deleted.

What a peer returns is kept and shown also by a node that has lost its store and knows of no blob: ``found`` in
`peerstorage-returned`. No blob is sent at a connection before the one there had time to come back.
"""

from __future__ import annotations

from oddwire import Extension, Limits
from oddwire.known.peer_storage import PeerStorage, PeerStorageRetrieval
from oddwire_extensions.peerstorage.others import router as keeping
from oddwire_extensions.peerstorage.own import MAX_BLOB
from oddwire_extensions.peerstorage.own import router as kept

__all__ = ["MAX_BLOB", "PeerStorage", "PeerStorageRetrieval", "extension"]

extension = Extension("peerstorage", version="1.0", feature=43, limits=Limits(messages_per_second=10))
extension.include(keeping)
extension.include(kept)

if __name__ == "__main__":
    extension.run()
