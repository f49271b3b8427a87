// A Lightning node of LDK's, driven over JSON lines (json_lines.mjs). The one argument is a JSON object:
//     {"seed": 64 hex digits, "types": [message types it knows], "features": [bits it offers besides LDK's own]}
// Commands: listen connect disconnect send flood collect tick stats quit. Events: ready connected disconnected
// received collected log. With LDK_LOG in the environment, LDK's whole log goes to stderr.

import { Tally, event, floodBody, hex, serve } from "./json_lines.mjs";
import { connect, connectedPeers, disconnect, flushed, listen, send, start, tick } from "./ldk_node.mjs";

const FLOOD_BYTES_AT_ONCE = 1 << 18;

const tallies = new Map(); // by type
const counts = { received: 0, sent: 0 };

const nodeId = start({
  ...JSON.parse(process.argv[2]),
  on: {
    connected: (peer, fields) => event("connected", { peer, ...fields }),
    disconnected: (peer, fields) => event("disconnected", { peer, ...fields }),
    received(peer, payload) {
      const type = payload.readUInt16BE();
      counts.received += 1;
      if (!tallies.has(type)) event("received", { peer, payload: hex(payload) });
      else if (tallies.get(type).add(payload)) event("collected", { type, ...tallies.get(type).result() });
    },
    logged(text) {
      // What a peer made of our messages shows nowhere else.
      if (/\b(Ping|Pong|warning|error)\b/i.test(text)) event("log", { text });
    },
  },
});

function sendAll(peer, payloads) {
  send(peer, payloads);
  counts.sent += payloads.length;
}

serve({
  listen,
  connect,
  disconnect,
  tick,

  /** Send one custom message: `payload` is its type and body in hex. */
  send({ peer, payload }) {
    sendAll(peer, [Buffer.from(payload, "hex")]);
  },

  /** Send `count` payloads of `size` bytes, type included; answers when the socket has taken them all. */
  async flood({ peer, type, count, size }) {
    const atOnce = Math.ceil(FLOOD_BYTES_AT_ONCE / size);
    const head = Buffer.of(type >> 8, type & 0xff);
    for (let index = 0; index < count; index += atOnce) {
      const indices = Array.from({ length: Math.min(atOnce, count - index) }, (_, i) => index + i);
      sendAll(peer, indices.map((i) => Buffer.concat([head, floodBody(i, size - 2)])));
      await flushed(peer);
      await new Promise(setImmediate); // let what arrived meanwhile be read
    }
  },

  /** From now on count messages of `type` instead of telling each; "collected" comes after `count` of them. */
  collect({ type, count }) {
    tallies.set(type, new Tally(count));
  },

  stats: () => ({ ...counts, peers: connectedPeers() }),

  quit() {
    setImmediate(() => process.exit(0));
  },
});

event("ready", { node_id: nodeId });
