// lnmessage, which dials only, driven over JSON lines (json_lines.mjs). Commands: connect disconnect send quit.
// Events: ready connected disconnected received. Its one argument is a JSON object: {"key": 64 hex digits}.

import net from "node:net";
import LnMessage from "lnmessage";
import { getPublicKey } from "lnmessage/dist/crypto.js";
import { event, hex, serve } from "./json_lines.mjs";

const MAC_SIZE = 16; // it hands on each message with the MAC stuck to its end

const { key } = JSON.parse(process.argv[2]);
let peer;

serve({
  /** Dial; "connected" follows when the other end's init has come and ours is sent. */
  connect({ node_id, host, port }) {
    peer = new LnMessage({ remoteNodePublicKey: node_id, ip: host, port, privateKey: key, tcpSocket: new net.Socket() });
    peer.decryptedMsgs$.subscribe((bytes) => {
      event("received", { peer: node_id, payload: hex(bytes.subarray(0, bytes.length - MAC_SIZE)) });
    });
    let connected = false;
    peer.connectionStatus$.subscribe((status) => {
      if (status === "connected") event("connected", { peer: node_id });
      if (status === "disconnected" && connected) event("disconnected", { peer: node_id });
      connected = status === "connected";
    });
    peer.connect(false);
  },

  disconnect() {
    peer.disconnect();
  },

  send({ payload }) {
    peer.socket.send(peer.noise.encryptMessage(Buffer.from(payload, "hex")));
  },

  quit() {
    setImmediate(() => process.exit(0));
  },
});

event("ready", { node_id: hex(getPublicKey(key)) });
