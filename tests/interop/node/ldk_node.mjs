// A Lightning node of LDK's: its PeerManager on TCP sockets, with a custom message handler.
//
// The bindings hold weak references to what they call back: everything handed to them is kept here as well. An
// exception in a callback kills the WebAssembly instance: callbacks only note what happened, and it is told afterwards.

import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import net from "node:net";
import * as ldk from "lightningdevkit";
import { hex } from "./json_lines.mjs";

const wasm = new URL("node_modules/lightningdevkit/liblightningjs.wasm", import.meta.url);
await ldk.initializeWasmFromBinary(readFileSync(wasm));

let manager;
let told = {}; // what to call: connected, disconnected, received, logged
const happened = []; // calls to make once LDK is not on the stack

let telling = false;

/** Have LDK do something, then tell what came of it, one thing after the other. */
function run(action) {
  action();
  manager.process_events();
  if (telling) return;
  telling = true;
  for (let call; (call = happened.shift()); ) call();
  telling = false;
}

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
    run(() => {
      Connection.reading = this;
      const result = manager.read_event(this.descriptor, data);
      Connection.reading = null;
      if (!result.is_ok()) this.#hangUp();
      else if (result.res) this.socket.pause();
    });
  }

  #hangUp() {
    this.closedBy ??= "ldk";
    this.socket.destroySoon();
  }

  #closed() {
    if (this.closedBy === null) {
      this.closedBy = "peer";
      run(() => manager.socket_disconnected(this.descriptor));
    }
    Connection.all.delete(this);
    this.#release();
    told.disconnected(this.nodeId, { inbound: this.inbound, by: this.closedBy });
  }

  #release() {
    for (const resolve of this.waiting.splice(0)) resolve();
  }
}

const peers = new Map(); // node id to Connection, after init
const outgoing = []; // [TwoTuple_PublicKeyTypeZ] for LDK to fetch
let kept = []; // what the last process_events call used
let known = new Set();
let offered = [];

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
    const peer = hex(sender);
    happened.push(() => told.received(peer, payload));
    return ldk.Result_NoneLightningErrorZ.constructor_ok();
  },
  get_and_clear_pending_msg() {
    kept = outgoing.splice(0);
    return kept;
  },
  peer_connected(nodeId, init) {
    const connection = Connection.reading;
    connection.nodeId = hex(nodeId);
    peers.set(connection.nodeId, connection);
    const features = init.get_features().write().subarray(2); // without their length
    const { inbound } = connection;
    happened.push(() => told.connected(connection.nodeId, { inbound, features: hex(features) }));
    return ldk.Result_NoneNoneZ.constructor_ok();
  },
  peer_disconnected(nodeId) {
    peers.delete(hex(nodeId));
  },
  provided_node_features: () => ldk.NodeFeatures.constructor_empty(),
  provided_init_features() {
    const bytes = Buffer.alloc(Math.max(0, ...offered.map((bit) => (bit >> 3) + 1)));
    for (const bit of offered) bytes[bytes.length - 1 - (bit >> 3)] |= 1 << (bit & 7);
    const length = Buffer.of(bytes.length >> 8, bytes.length & 0xff);
    return ldk.InitFeatures.constructor_read(Buffer.concat([length, bytes])).res;
  },
};

const logger = ldk.Logger.new_impl({
  log(record) {
    const text = record.get_args();
    if (process.env.LDK_LOG) console.error(text);
    told.logged?.(text);
  },
});

/**
 * Start the node; there can be one in a process. `types` are the message types it knows, `features` what it offers
 * besides LDK's own. `on` has `connected(peer, {inbound, features})`, `received(peer, payload)`,
 * `disconnected(peer, {inbound, by})` and perhaps `logged(text)`. Gives the node's id.
 */
export function start({ seed, types = [], features = [], on }) {
  told = on;
  known = new Set(types);
  offered = features;
  const now = Math.floor(Date.now() / 1000);
  const keys = ldk.KeysManager.constructor_new(Buffer.from(seed, "hex"), BigInt(now), 0);
  const signer = keys.as_NodeSigner();
  const channels = ldk.ErroringMessageHandler.constructor_new();
  const ignoring = ldk.IgnoringMessageHandler.constructor_new();
  const custom = ldk.CustomMessageHandler.new_impl(handler, reader);
  const routing = ignoring.as_RoutingMessageHandler();
  const onions = ignoring.as_OnionMessageHandler();
  const channelHandler = channels.as_ChannelMessageHandler();
  manager = ldk.PeerManager.constructor_new(
    channelHandler, routing, onions, custom, now, randomBytes(32), logger, signer,
  );
  globalThis.keep = [keys, signer, channels, ignoring, custom, routing, onions, channelHandler, logger, manager];
  return hex(signer.get_node_id(ldk.Recipient.LDKRecipient_Node).res);
}

function connectionTo(peer) {
  const connection = peers.get(peer);
  if (connection === undefined) throw new Error(`not connected to ${peer}`);
  return connection;
}

/** Accept connections; gives the port. */
export function listen({ host = "127.0.0.1", port = 0 } = {}) {
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
}

/** Dial; done when TCP is up and act one is sent. `connected` follows after init. */
export function connect({ node_id, host, port }) {
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
}

export function disconnect({ peer }) {
  connectionTo(peer);
  run(() => manager.disconnect_by_node_id(Buffer.from(peer, "hex")));
}

/** Send custom messages, each its type and body in one. */
export function send(peer, payloads) {
  connectionTo(peer);
  for (const payload of payloads) {
    const message = customMessage(payload.readUInt16BE(), payload.subarray(2));
    outgoing.push(ldk.TwoTuple_PublicKeyTypeZ.constructor_new(Buffer.from(peer, "hex"), message));
  }
  run(() => {});
}

/** Wait until a peer's socket has taken everything LDK had to send. */
export function flushed(peer) {
  return connectionTo(peer).flushed();
}

/** Let LDK's timer tick: it pings every peer, and hangs up on one that has not answered the ping before. */
export function tick() {
  run(() => manager.timer_tick_occurred());
}

export const connectedPeers = () => [...peers.keys()];
