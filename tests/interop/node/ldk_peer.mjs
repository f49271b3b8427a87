// A Lightning node of LDK's, driven over JSON lines (json_lines.mjs). The one argument is a JSON object:
//     {"seed": 64 hex digits, "types": [message types it knows], "features": [bits it offers besides LDK's own]}
// Commands: listen connect disconnect send flood collect tick stats quit. Events: ready connected disconnected
// received collected log. With LDK_LOG in the environment, LDK's whole log goes to stderr.
//
// The bindings hold weak references to what they call back: everything handed to them is kept here as well. An
// exception in a callback kills the WebAssembly instance: callbacks only note what happened.

import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import net from "node:net";
import * as ldk from "lightningdevkit";
import { Tally, event, floodBody, hex, serve } from "./json_lines.mjs";

const FLOOD_BYTES_AT_ONCE = 1 << 18;

const options = JSON.parse(process.argv[2]);
const wasm = new URL("node_modules/lightningdevkit/liblightningjs.wasm", import.meta.url);
await ldk.initializeWasmFromBinary(readFileSync(wasm));

/** One TCP connection: what LDK calls a socket descriptor, and what feeds it. */
class Connection {
  static #count = 0;
  static all = new Set();
  static reading = null; // whose bytes LDK is reading now

  constructor(socket, nodeId) {
    this.number = BigInt(++Connection.#count);
    this.socket = socket;
    this.nodeId = nodeId; // null until an incoming peer has said init
    this.inbound = nodeId === null;
    this.closedBy = null;
    this.blocked = false;
    this.waiting = [];
    this.descriptor = ldk.SocketDescriptor.new_impl({
      send_data: (data, resumeRead) => this.#send(data, resumeRead),
      disconnect_socket: () => this.#hangUp(),
      eq: (other) => other.hash() === this.number,
      hash: () => this.number,
    });
    Connection.all.add(this);
  }

  start() {
    this.socket.setNoDelay(true);
    this.socket.on("data", (data) => this.#read(data));
    this.socket.on("drain", () => this.#drained());
    this.socket.on("error", () => {}); // "close" follows
    this.socket.on("close", () => this.#closed());
  }

  /** Wait until the socket has taken everything LDK had to send. */
  flushed() {
    if (!this.blocked || this.closedBy !== null) return Promise.resolve();
    return new Promise((resolve) => this.waiting.push(resolve));
  }

  #send(data, resumeRead) {
    if (this.closedBy !== null) return 0;
    if (resumeRead) this.socket.resume();
    if (data.length === 0) return 0;
    if (this.socket.writableNeedDrain) {
      this.blocked = true; // LDK keeps the data until write_buffer_space_avail
      return 0;
    }
    this.socket.write(data);
    return data.length;
  }

  #drained() {
    if (this.closedBy !== null) return;
    this.blocked = false;
    if (!manager.write_buffer_space_avail(this.descriptor).is_ok()) return this.#hangUp();
    if (!this.blocked) this.#release();
  }

  #read(data) {
    if (this.closedBy !== null) return;
    Connection.reading = this;
    const result = manager.read_event(this.descriptor, data);
    Connection.reading = null;
    if (!result.is_ok()) this.#hangUp();
    else if (result.res) this.socket.pause();
    manager.process_events();
  }

  #hangUp() {
    this.closedBy ??= "ldk";
    this.socket.destroySoon();
  }

  #closed() {
    if (this.closedBy === null) {
      this.closedBy = "peer";
      manager.socket_disconnected(this.descriptor);
      manager.process_events();
    }
    Connection.all.delete(this);
    this.#release();
    event("disconnected", { peer: this.nodeId, inbound: this.inbound, by: this.closedBy });
  }

  #release() {
    for (const resolve of this.waiting.splice(0)) resolve();
  }
}

const known = new Set(options.types ?? []);
const tallies = new Map(); // by type
const counts = { received: 0, sent: 0 };
const peers = new Map(); // node id to Connection, after init
const outgoing = []; // [TwoTuple_PublicKeyTypeZ] for LDK to fetch
let kept = []; // what the last process_events call used

function customMessage(type, body) {
  return ldk.Type.new_impl({ type_id: () => type, write: () => body, debug_str: () => `type ${type}` });
}

let reading; // the Type between read and handle_custom_message
const reader = {
  read(signedType, body) {
    const type = signedType & 0xffff; // types arrive sign-extended
    if (!known.has(type)) {
      return ldk.Result_COption_TypeZDecodeErrorZ.constructor_ok(ldk.Option_TypeZ.constructor_none());
    }
    reading = customMessage(type, body);
    return ldk.Result_COption_TypeZDecodeErrorZ.constructor_ok(ldk.Option_TypeZ.constructor_some(reading));
  },
};

const handler = {
  handle_custom_message(message, sender) {
    const type = message.type_id() & 0xffff;
    const payload = Buffer.concat([Buffer.of(type >> 8, type & 0xff), message.write()]);
    counts.received += 1;
    if (!tallies.has(type)) event("received", { peer: hex(sender), payload: hex(payload) });
    else if (tallies.get(type).add(payload)) event("collected", { type, ...tallies.get(type).result() });
    return ldk.Result_NoneLightningErrorZ.constructor_ok();
  },
  get_and_clear_pending_msg() {
    kept = outgoing.splice(0);
    counts.sent += kept.length;
    return kept;
  },
  peer_connected(nodeId, init) {
    const connection = Connection.reading;
    connection.nodeId = hex(nodeId);
    peers.set(connection.nodeId, connection);
    const features = init.get_features().write().subarray(2); // without their length
    event("connected", { peer: connection.nodeId, inbound: connection.inbound, features: hex(features) });
    return ldk.Result_NoneNoneZ.constructor_ok();
  },
  peer_disconnected(nodeId) {
    peers.delete(hex(nodeId));
  },
  provided_node_features: () => ldk.NodeFeatures.constructor_empty(),
  provided_init_features() {
    const bits = options.features ?? [];
    const bytes = Buffer.alloc(Math.max(0, ...bits.map((bit) => (bit >> 3) + 1)));
    for (const bit of bits) bytes[bytes.length - 1 - (bit >> 3)] |= 1 << (bit & 7);
    const length = Buffer.of(bytes.length >> 8, bytes.length & 0xff);
    return ldk.InitFeatures.constructor_read(Buffer.concat([length, bytes])).res;
  },
};

const logger = ldk.Logger.new_impl({
  log(record) {
    const text = record.get_args();
    if (process.env.LDK_LOG) console.error(text);
    // What a peer made of our messages shows nowhere else.
    if (/\b(Ping|Pong|warning|error)\b/i.test(text)) event("log", { text });
  },
});
const now = Math.floor(Date.now() / 1000);
const keys = ldk.KeysManager.constructor_new(Buffer.from(options.seed, "hex"), BigInt(now), 0);
const signer = keys.as_NodeSigner();
const channels = ldk.ErroringMessageHandler.constructor_new();
const ignoring = ldk.IgnoringMessageHandler.constructor_new();
const custom = ldk.CustomMessageHandler.new_impl(handler, reader);
const routing = ignoring.as_RoutingMessageHandler();
const onions = ignoring.as_OnionMessageHandler();
const channelHandler = channels.as_ChannelMessageHandler();
const manager = ldk.PeerManager.constructor_new(
  channelHandler, routing, onions, custom, now, randomBytes(32), logger, signer,
);
globalThis.keep = [keys, signer, channels, ignoring, custom, routing, onions, channelHandler, logger, manager];
const nodeId = hex(signer.get_node_id(ldk.Recipient.LDKRecipient_Node).res);

function connectionTo(peer) {
  const connection = peers.get(peer);
  if (connection === undefined) throw new Error(`not connected to ${peer}`);
  return connection;
}

function queue(peer, type, body) {
  const pair = ldk.TwoTuple_PublicKeyTypeZ.constructor_new(Buffer.from(peer, "hex"), customMessage(type, body));
  outgoing.push(pair);
}

serve({
  /** Accept connections; answers with the port. */
  listen({ host = "127.0.0.1", port = 0 }) {
    const server = net.createServer((socket) => {
      const connection = new Connection(socket, null);
      connection.start();
      const nowhere = ldk.Option_SocketAddressZ.constructor_none();
      if (!manager.new_inbound_connection(connection.descriptor, nowhere).is_ok()) socket.destroy();
    });
    return new Promise((resolve, reject) => {
      server.once("error", reject);
      server.listen(port, host, () => resolve({ port: server.address().port }));
    });
  },

  /** Dial; answers when TCP is up and act one is sent. "connected" follows after init. */
  connect({ node_id, host, port }) {
    return new Promise((resolve, reject) => {
      const socket = net.connect(port, host);
      socket.once("error", reject);
      socket.once("connect", () => {
        const connection = new Connection(socket, node_id);
        connection.start();
        const nowhere = ldk.Option_SocketAddressZ.constructor_none();
        const target = Buffer.from(node_id, "hex");
        const actOne = manager.new_outbound_connection(target, connection.descriptor, nowhere);
        if (!actOne.is_ok()) return reject(new Error("LDK refused to dial"));
        socket.write(actOne.res);
        resolve();
      });
    });
  },

  disconnect({ peer }) {
    connectionTo(peer);
    manager.disconnect_by_node_id(Buffer.from(peer, "hex"));
    manager.process_events();
  },

  /** Send one custom message: `payload` is its type and body in hex. */
  send({ peer, payload }) {
    connectionTo(peer);
    const bytes = Buffer.from(payload, "hex");
    queue(peer, bytes.readUInt16BE(), bytes.subarray(2));
    manager.process_events();
  },

  /** Send `count` payloads of `size` bytes, type included; answers when the socket has taken them all. */
  async flood({ peer, type, count, size }) {
    const connection = connectionTo(peer);
    const atOnce = Math.ceil(FLOOD_BYTES_AT_ONCE / size);
    for (let index = 0; index < count; index += atOnce) {
      connectionTo(peer);
      for (let i = index; i < Math.min(count, index + atOnce); i++) queue(peer, type, floodBody(i, size - 2));
      manager.process_events();
      await connection.flushed();
      await new Promise(setImmediate); // let what arrived meanwhile be read
    }
  },

  /** From now on count messages of `type` instead of telling each; "collected" comes after `count` of them. */
  collect({ type, count }) {
    tallies.set(type, new Tally(count));
  },

  /** Let LDK's timer tick: it pings every peer, and hangs up on one that has not answered the ping before. */
  tick() {
    manager.timer_tick_occurred();
    manager.process_events();
  },

  stats: () => ({ ...counts, peers: [...peers.keys()] }),

  quit() {
    setImmediate(() => process.exit(0));
  },
});

event("ready", { node_id: nodeId });
