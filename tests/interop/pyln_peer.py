"""A BOLT 8 peer of pyln-proto's, driven over JSON lines as `node/json_lines.mjs` has it; no init, no ping.

The one argument is a JSON object: ``{"key": 64 hex digits}``. Commands: listen connect disconnect send flood collect
stats quit. Events: ready connected refused disconnected received collected.

pyln-proto's cryptography and framing do the work. Its faults are kept out of the way: it takes a short read for an
error and a partial write for a whole one (`Stream`), its ``accept`` shakes hands inline (a thread a connection), and
its reading and writing threads may both rotate the same key (`Connection`).
"""

import contextlib
import hashlib
import json
import os
import socket
import sys
import threading

from pyln.proto.wire import LightningConnection, PrivateKey, PublicKey


class Stream:
    """A connected socket as pyln-proto believes sockets to be: reads are whole, writes are whole."""

    def __init__(self, connection):
        self.socket = connection
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def recv(self, size):
        received = bytearray()
        while len(received) < size:
            chunk = self.socket.recv(size - len(received))
            if not chunk:
                break
            received += chunk
        return bytes(received)

    def send(self, data):
        self.socket.sendall(data)

    def close(self):
        with contextlib.suppress(OSError):  # closed by the peer already
            self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()


class Connection(LightningConnection):
    def __init__(self, *args, **kwargs):
        self.rotating = threading.Lock()
        super().__init__(*args, **kwargs)

    def _maybe_rotate_keys(self):
        with self.rotating:
            super()._maybe_rotate_keys()


class Tally:
    """What arrived of one type that is counted instead of told: how many, how many bytes, a digest of all in order."""

    def __init__(self, goal):
        self.goal = goal
        self.count = self.bytes = 0
        self.digest = hashlib.sha256()

    def add(self, payload):
        self.digest.update(len(payload).to_bytes(4, "big") + payload)
        self.count += 1
        self.bytes += len(payload)
        return self.count == self.goal

    def result(self):
        return {"count": self.count, "bytes": self.bytes, "digest": self.digest.hexdigest()}


class Peer:
    def __init__(self, key):
        self.key = PrivateKey(key)
        self.connections = {}
        self.tallies = {}
        self.received = self.sent = 0
        self.output = threading.Lock()

    def write(self, **line):
        with self.output:
            sys.stdout.write(json.dumps(line) + "\n")
            sys.stdout.flush()

    def run(self, connection, remote_pubkey):
        """Shake hands on a connected socket, then read until it ends."""
        stream = Stream(connection)
        inbound = remote_pubkey is None
        lightning = Connection(stream, remote_pubkey, self.key, is_initiator=not inbound)
        try:
            lightning.shake()
        except Exception as error:  # it raises whatever its libraries do
            stream.close()
            self.write(event="refused", inbound=inbound, error=repr(error))
            return
        node_id = lightning.remote_pubkey.serializeCompressed().hex()
        self.connections[node_id] = lightning
        self.write(event="connected", peer=node_id, inbound=inbound)
        try:
            while True:
                self.take(node_id, lightning.read_message())
        except Exception as error:
            self.connections.pop(node_id, None)
            stream.close()
            self.write(event="disconnected", peer=node_id, inbound=inbound, error=repr(error))

    def take(self, node_id, payload):
        self.received += 1
        type_id = int.from_bytes(payload[:2], "big")
        tally = self.tallies.get(type_id)
        if tally is None:
            self.write(event="received", peer=node_id, payload=payload.hex())
        elif tally.add(payload):
            self.write(event="collected", type=type_id, **tally.result())

    def listen(self, host="127.0.0.1", port=0):
        server = socket.create_server((host, port))

        def accept():
            while True:
                connection, _ = server.accept()
                threading.Thread(target=self.run, args=(connection, None), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        return {"port": server.getsockname()[1]}

    def connect(self, node_id, host, port):
        connection = socket.create_connection((host, port))
        remote_pubkey = PublicKey(bytes.fromhex(node_id))
        threading.Thread(target=self.run, args=(connection, remote_pubkey), daemon=True).start()

    def disconnect(self, peer):
        self.connections[peer].connection.close()

    def send(self, peer, payload):
        self.connections[peer].send_message(bytes.fromhex(payload))
        self.sent += 1

    def flood(self, peer, type, count, size):  # noqa: A002 - the command's word
        """Send `count` payloads of `size` bytes; each holds its index, little endian, over and over."""
        lightning = self.connections[peer]
        head = type.to_bytes(2, "big")
        for index in range(count):
            body = (index.to_bytes(4, "little") * (size // 4 + 1))[: size - 2]
            lightning.send_message(head + body)
            self.sent += 1

    def collect(self, type, count):  # noqa: A002
        self.tallies[type] = Tally(count)

    def stats(self):
        return {"received": self.received, "sent": self.sent, "peers": sorted(self.connections)}

    def quit(self):
        os._exit(0)  # other threads are in blocking reads

    commands = frozenset({"listen", "connect", "disconnect", "send", "flood", "collect", "stats", "quit"})

    def obey(self, id, command, **parameters):  # noqa: A002 - the protocol's word
        try:
            if command not in self.commands:
                raise ValueError(f"unknown command {command}")
            self.write(id=id, result=getattr(self, command)(**parameters))
        except Exception as error:
            self.write(id=id, error=repr(error))


def main():
    peer = Peer(bytes.fromhex(json.loads(sys.argv[1])["key"]))
    peer.write(event="ready", node_id=peer.key.public_key().serializeCompressed().hex())
    for line in sys.stdin:
        command = json.loads(line)
        if command["command"] == "flood":  # takes long: the next command must not wait for it
            threading.Thread(target=peer.obey, kwargs=command, daemon=True).start()
        else:
            peer.obey(**command)
    peer.quit()


main()
