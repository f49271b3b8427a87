// The session protocol, written from docs/session-protocol.md. It knows no LDK: payloads come in by `receive`, and go
// out by the `send` it was made with. A `Program` is one of those behind a node, which know nothing of each other; it
// has a `Neighbour` for each node that is connected, and in that a `Session` with each program there. What has to be on
// disk by the page is on the `disk` the program was made with (disk.mjs):
//     stores                       the numbers of the stores in it
//     out/NODE/EXTENSION           {lane, epoch, base, next, kept: {program, stores} or null}
//     out/NODE/EXTENSION/SEQUENCE  {content, since}: a message that is not settled
//     in/NODE/LANE                 {epoch, last, refusals}
// and what handlers write down. Reliable delivery is in reliable.mjs.

import { randomInt } from "node:crypto";
import { Code, FrameError, Hello, LONGEST_PAYLOAD, SESSION_TYPE, Scope } from "./frames.mjs";
import { addresses, decode, encode, inCommon, subject } from "./frames.mjs";
import { Failed, Refuse, TooLong, byProgram, random64, typeOf } from "./outcomes.mjs";
import { IncomingLane, OutgoingLane } from "./reliable.mjs";

const PIECE = 60000;
const REMEMBERED = 64; // transfers sent in full that may still fail, and instances that have been started again
const LONGEST_TIMER = 2 ** 31 - 1; // ms
const REQUESTS = 16; // of one peer at once
const LANES = 1024; // of one node, to us
const NUDGE = 1000; // ms until somebody on the connection is told again that there is no session

/**
 * What a peer may have in transfers: how many, their bytes, and seconds without a new piece. What a node may have: so
 * many sessions. What a reliable message of ours waits for: seconds for the program that it knows while another one is
 * there, and in all.
 */
export const LIMITS = {
  transfers: 8,
  reassembly_bytes: 32 << 20,
  transfer_seconds: 60,
  sessions: 16,
  successor_seconds: 60,
  message_seconds: 28 * 24 * 3600,
};

export class Program {
  /**
   * `number`: the program's, the same whenever it is started. `send(node, payload)` queues a payload; `room(node)`
   * resolves when more should be queued. `handlers` are by message type: `reply(payload, signal)`,
   * `stream(payload, signal)` (an async generator) or `take(payload, node, changes)`, which a plain or reliable message
   * needs; what it puts into `changes` gets on the disk when it ends well. `settled(payload, error)` tells what became
   * of a reliable message, maybe of another process: handled, or `Failed`. `warn(text)` is for the operator.
   * `assembles`: the longest payload to put together. `limits`, as `LIMITS`, hold for connections made afterwards.
   */
  constructor({ number, send, room, handlers, disk, settled, warn, assembles = 16n << 20n, extensions = [] }) {
    Object.assign(this, { number, send, room, handlers, disk, settled, warn, assembles, extensions });
    this.instance = randomInt(1, 2 ** 32);
    this.limits = LIMITS;
    this.ended = false;
    this.neighbours = new Map();
    this.outbox = new Map(); // by node and extension
    this.inbox = new Map(); // by node and lane
    if (disk.get("stores") === undefined) disk.commit({ stores: [String(random64())] });
    const written = disk.under("out/").map(([name, value]) => ({ path: name.split("/").slice(1), value }));
    written.sort((a, b) => Number(a.path[2] ?? 0) - Number(b.path[2] ?? 0)); // lanes, then messages in their order
    for (const { path, value } of written) {
      const [node, extension, sequence] = path;
      const lane = this.#outgoingLane(node, decodeURIComponent(extension));
      if (sequence === undefined) lane.restore(value);
      else lane.restoreMessage(BigInt(sequence), value);
    }
    for (const [name, value] of disk.under("in/")) {
      const [, node, lane] = name.split("/");
      this.#incomingLane(node, BigInt(lane)).restore(value);
    }
  }

  get stores() {
    return this.disk.get("stores").map(BigInt);
  }

  connected(node) {
    this.disconnected(node);
    const neighbour = new Neighbour(this, node);
    this.neighbours.set(node, neighbour);
    neighbour.sayHello(Hello.answer);
  }

  disconnected(node) {
    const neighbour = this.neighbours.get(node);
    this.neighbours.delete(node);
    neighbour?.end();
  }

  /** The program ends, and says so unless it dies; nothing comes from it any more. */
  end({ leaving = true } = {}) {
    if (leaving) for (const neighbour of this.neighbours.values()) neighbour.sayHello(Hello.leaving);
    this.ended = true;
    this.send = () => {};
    for (const node of [...this.neighbours.keys()]) this.disconnected(node);
    for (const lane of this.outbox.values()) lane.end();
  }

  /** A payload has come from a node: for this program or another one behind ours. */
  receive(node, payload) {
    if (typeOf(payload) === SESSION_TYPE) this.neighbours.get(node)?.receive(payload);
    else this.#plain(node, payload);
  }

  request(node, extension, payload, options = {}) {
    return this.#address(node, extension, typeOf(payload)).ask(payload, options);
  }

  /** Give the parts of a stream one by one. */
  stream(node, extension, payload, { credit, signal }) {
    return this.#address(node, extension, typeOf(payload)).askStream(payload, credit, signal);
  }

  /** Accept a message: it is on disk when this returns, and `settled` tells the rest. The node may be away. */
  sendReliably(node, extension, payload) {
    this.#outgoingLane(node, extension).add(payload);
  }

  /** Another program has been given a copy of this store: be another store, with other lanes, from now on. */
  renewStore() {
    const changes = [...this.outbox.values()].map((lane) => lane.renewed());
    this.disk.commit(Object.assign({ stores: [String(random64())] }, ...changes));
    for (const lane of this.outbox.values()) lane.restart();
  }

  /** Have a handler take a message that is not reliable. */
  take(handler, payload, node) {
    const changes = {};
    const answer = handler.take(payload, node, changes);
    this.disk.commit(changes);
    return answer;
  }

  /** The sessions with a node. */
  sessions(node) {
    return [...(this.neighbours.get(node)?.sessions.values() ?? [])].filter(({ common }) => common !== null);
  }

  /** Sessions with a node have begun, ended, or say that they speak something else. */
  sessionsChanged(node) {
    for (const lane of this.outbox.values()) if (lane.node === node) lane.reconsider();
  }

  /** Whether a reliable message is under way in a session. */
  sendsIn(session) {
    return [...this.outbox.values()].some((lane) => lane.session === session && lane.waiting);
  }

  data(session, frame) {
    this.#incomingLane(session.node, frame.lane).data(session, frame);
  }

  laneAck(session, frame) {
    const lane = [...this.outbox.values()].find(({ node, number }) => node === session.node && number === frame.id);
    lane?.ack(session, frame);
  }

  #outgoingLane(node, extension) {
    const key = `${node}/${extension}`;
    if (!this.outbox.has(key)) this.outbox.set(key, new OutgoingLane(this, node, extension));
    return this.outbox.get(key);
  }

  /** The lane of that number; the one that was not used for longest is forgotten when there are too many. */
  #incomingLane(node, number) {
    const key = `${node}/${number}`;
    const lane = this.inbox.get(key) ?? new IncomingLane(this, node, number);
    if (!this.inbox.delete(key)) {
      const others = [...this.inbox].filter(([, other]) => other.node === node);
      if (others.length >= LANES) {
        const [oldest, forgotten] = others[0];
        this.inbox.delete(oldest);
        forgotten.forget();
      }
    }
    this.inbox.set(key, lane);
    return lane;
  }

  #plain(node, payload) {
    const handler = this.handlers[typeOf(payload)];
    try {
      if (handler?.take) this.take(handler, payload, node);
    } catch (error) {
      if (!(error instanceof Refuse)) throw error; // nobody waits for an answer
    }
  }

  /** Whom to ask, by "Whom to address". */
  #address(node, extension, type) {
    const sessions = this.sessions(node).sort(byProgram);
    if (sessions.length === 0) throw new Failed("no session with this node");
    const found =
      sessions.find((session) => session.speaks(extension) && session.lists(type, extension)) ??
      sessions.find((session) => session.speaks(extension)) ??
      sessions.find((session) => session.lists(type)) ??
      (sessions.length === 1 ? sessions[0] : undefined);
    if (found === undefined) throw new Failed(`no program there speaks ${extension}`, Code.UNKNOWN_MESSAGE);
    return found;
  }
}

/** What there is to know of one connection: who behind the node has said hello. */
class Neighbour {
  constructor(owner, node) {
    Object.assign(this, { owner, node, limits: owner.limits });
    this.sessions = new Map(); // by instance
    this.former = new Set(); // instances in whose place another one of the same program has come
    this.dropped = new Set(); // instances whose sessions were ended here, which may not know it
    this.turn = 0;
    this.nudged = -Infinity;
  }

  /** The connection has ended, or our program does. */
  end() {
    for (const session of [...this.sessions.values()]) this.#end(session);
  }

  sayHello(flags, to = 0) {
    const { instance: from, number: program, extensions, assembles, stores } = this.owner;
    const versions = { lowest: 1, highest: 1 };
    const says = { program, extensions, assembles, requests: REQUESTS, stores };
    this.owner.send(this.node, encode({ kind: "hello", to, from, flags, ...versions, ...says }));
  }

  receive(payload) {
    const { to, from, kind } = addresses(payload) ?? {};
    if (from === undefined) return;
    if (to !== this.owner.instance && !(to === 0 && kind === "hello")) return;
    const session = this.sessions.get(from);
    let frame;
    try {
      frame = decode(payload);
    } catch (error) {
      if (!(error instanceof FrameError)) throw error;
      if (session?.common) session.refuseFrame(payload, error);
      return;
    }
    if (frame === null) return;
    if (frame.kind === "hello") {
      this.#hello(frame);
    } else if (session === undefined) {
      this.#nudge(from);
    } else if (session.common) {
      session.heard = ++this.turn;
      session[frame.kind](frame);
    }
  }

  #hello(frame) {
    if (frame.from === this.owner.instance && frame.program === this.owner.number) return; // what we said comes back
    let session = this.sessions.get(frame.from);
    if (frame.flags & Hello.leaving) {
      if (session) this.#end(session);
      return;
    }
    if (session === undefined && this.dropped.has(frame.from)) {
      this.#beginAnew(frame.from);
      return;
    }
    if (session === undefined) {
      this.#begun(frame);
      if (!this.#room()) return;
      session = new Session(this, frame.from);
      this.sessions.set(frame.from, session);
    }
    session.heard = ++this.turn;
    session.introduced(frame);
    if (frame.flags & Hello.answer) this.sayHello(0, frame.from);
    this.owner.sessionsChanged(this.node);
  }

  /** An instance has come that had no session: its program's former one is over, unless it is that itself. */
  #begun({ from, program }) {
    const others = [...this.sessions.values()].filter(({ hello }) => hello.program === program);
    if (this.former.has(from)) {
      if (others.length > 0) this.owner.warn(`two programs of ${this.node} have the number ${program}`);
      return;
    }
    for (const other of others) {
      this.#drop(other);
      remember(this.former, other.instance);
    }
  }

  /** Make room for one more session; false if there is none. */
  #room() {
    if (this.sessions.size < this.limits.sessions) return true;
    const idle = [...this.sessions.values()].filter((session) => !session.busy).sort((a, b) => a.heard - b.heard);
    if (idle.length === 0) return false;
    this.#drop(idle[0]);
    return true;
  }

  /** End a session of which the other end may not know that it has ended. */
  #drop(session) {
    remember(this.dropped, session.instance);
    this.#end(session);
  }

  #end(session) {
    this.sessions.delete(session.instance);
    session.close();
    this.owner.sessionsChanged(this.node);
  }

  /** Somebody takes us for one it has a session with: say that there is none, and ask who that is. */
  #nudge(instance) {
    if (Date.now() < this.nudged + NUDGE) return;
    this.nudged = Date.now();
    this.#beginAnew(instance);
  }

  #beginAnew(instance) {
    this.dropped.delete(instance);
    this.sayHello(Hello.leaving, instance);
    this.sayHello(Hello.answer, instance);
  }
}

function remember(instances, instance) {
  instances.add(instance);
  if (instances.size > REMEMBERED) instances.delete(instances.values().next().value);
}

/** What there is to know of one program at the other end of a connection. */
class Session {
  constructor({ owner, node, limits }, instance) {
    Object.assign(this, { owner, node, limits, instance });
    this.hello = null;
    this.common = null; // what both speak, while there is a session
    this.heard = 0;
    this.#begin();
  }

  #begin() {
    this.asked = new Map(); // by id: {credit, sent, resolve, reject} or a stream's parts
    this.handling = new Map(); // by id: {abort, allowed, sent, wake, timer}
    this.incoming = new Map(); // transfers: {total, size, pieces, timer}
    this.highest = -1n;
    this.outgoing = new Map(); // transfers: {stopped, sent, failed}
    this.nextTransfer = 0n;
    this.nextId = random64() >> 1n;
  }

  /** The connection has ended, or the peer's program has: everything under way is over. */
  close() {
    this.common = null;
    const { asked, handling, incoming, outgoing } = this;
    this.#begin();
    for (const transfer of outgoing.values()) transfer.stopped = true;
    for (const { timer } of [...incoming.values(), ...handling.values()]) clearTimeout(timer);
    for (const request of handling.values()) {
      request.abort.abort();
      request.wake();
    }
    for (const request of asked.values()) request.reject(new Failed("the peer is gone"));
  }

  /** The peer has said hello, perhaps again. */
  introduced(hello) {
    const common = inCommon({ lowest: 1, highest: 1, extensions: this.owner.extensions }, hello);
    if (common === null) this.close();
    this.hello = hello;
    this.common = common;
  }

  /** Whether there is anything under way. */
  get busy() {
    const { asked, handling, incoming, outgoing } = this;
    const sending = [...outgoing.values()].some(({ stopped, sent }) => !stopped && !sent);
    return asked.size + handling.size + incoming.size > 0 || sending || this.owner.sendsIn(this);
  }

  /** Whether both speak an extension. */
  speaks(extension) {
    return Object.hasOwn(this.common.extensions, extension);
  }

  /** Whether the peer takes messages of a type, for this extension or for any. */
  lists(type, extension) {
    const all = this.hello.extensions;
    return all.some(({ name, types }) => (extension === undefined || name === extension) && types.includes(type));
  }

  refuseFrame(payload, error) {
    const about = subject(payload);
    const code = error.reason === "not understood" ? Code.UNSUPPORTED : Code.MALFORMED;
    if (about?.scope === Scope.request && !this.handling.has(about.id)) this.#fail(Scope.request, about.id, code);
    if (about?.scope === Scope.transfer) this.#failTransfer(about.id, code);
  }

  #encoded(frame) {
    return encode({ ...frame, to: this.instance, from: this.owner.instance });
  }

  send(frame) {
    this.owner.send(this.node, this.#encoded(frame));
  }

  /** How many bytes a frame has. */
  measure(frame) {
    return this.#encoded(frame).length;
  }

  #fail(scope, id, code, text = "") {
    this.send({ kind: "failure", scope, id, code, text });
  }

  // Fragments

  /**
   * Send a frame, in fragments if need be; resolves when all of it is queued or its transfer was stopped.
   * `failed(error)` is called if the peer refuses the transfer.
   */
  async transmit(frame, failed) {
    const payload = this.#encoded(frame);
    if (payload.length <= LONGEST_PAYLOAD) {
      this.owner.send(this.node, payload);
      return;
    }
    if ((this.hello.assembles ?? 0n) < BigInt(payload.length)) {
      throw new TooLong("longer than the peer takes", Code.TOO_LARGE);
    }
    const number = this.nextTransfer++;
    const transfer = { stopped: false, sent: false, failed };
    this.outgoing.set(number, transfer);
    if (this.outgoing.size > REMEMBERED) this.outgoing.delete(this.outgoing.keys().next().value);
    const total = BigInt(payload.length);
    for (let piece = 0; piece * PIECE < payload.length; piece++) {
      await this.owner.room(this.node);
      if (transfer.stopped) return;
      const content = payload.subarray(piece * PIECE, (piece + 1) * PIECE);
      this.send({ kind: "fragment", transfer: number, total, size: PIECE, piece, content });
    }
    transfer.sent = true;
  }

  fragment({ transfer: number, total, size, piece, content }) {
    if (!this.owner.assembles) return this.#failTransfer(number, Code.UNSUPPORTED);
    let transfer = this.incoming.get(number);
    if (transfer === undefined) {
      if (number <= this.highest) return undefined;
      if (size < 1024 || total <= BigInt(size)) return this.#failTransfer(number, Code.MALFORMED);
      if (total > this.owner.assembles) return this.#failTransfer(number, Code.TOO_LARGE);
      const others = [...this.incoming.values()];
      const bytes = others.reduce((sum, { total }) => sum + Number(total), Number(total));
      const { transfers, reassembly_bytes: most } = this.limits;
      if (others.length >= transfers || bytes > most) return this.#failTransfer(number, Code.QUOTA);
      this.highest = number;
      transfer = { total, size, pieces: new Map() };
      this.incoming.set(number, transfer);
    } else if (total !== transfer.total || size !== transfer.size) {
      return this.#failTransfer(number, Code.MALFORMED);
    }
    const count = Math.ceil(Number(total) / size);
    const length = piece === count - 1 ? Number(total) - piece * size : size;
    if (piece >= count || content.length !== length) return this.#failTransfer(number, Code.MALFORMED);
    if (transfer.pieces.has(piece)) return undefined;
    if (piece === 0 && typeOf(content) === SESSION_TYPE && !this.#mayHold(content)) {
      return this.#failTransfer(number, Code.MALFORMED);
    }
    transfer.pieces.set(piece, Buffer.from(content));
    if (transfer.pieces.size < count) return this.#await(number, transfer);
    this.#forget(number);
    const payload = Buffer.concat(Array.from({ length: count }, (_, index) => transfer.pieces.get(index)));
    return this.owner.receive(this.node, payload);
  }

  /** Whether fragments may hold the frame that begins so: none of fragments, nor one with other addresses. */
  #mayHold(content) {
    const { to, from, kind } = addresses(content) ?? {};
    return kind !== "fragment" && to === this.owner.instance && from === this.instance;
  }

  /** Give the next piece its time. */
  #await(number, transfer) {
    clearTimeout(transfer.timer);
    const expire = () => this.#failTransfer(number, Code.EXPIRED);
    transfer.timer = setTimeout(expire, this.limits.transfer_seconds * 1000).unref();
  }

  /** Drop a transfer; false if it is not under way. */
  #forget(number) {
    clearTimeout(this.incoming.get(number)?.timer);
    return this.incoming.delete(number);
  }

  #failTransfer(number, code) {
    if (!this.#forget(number) && number <= this.highest) return;
    if (number > this.highest) this.highest = number;
    this.#fail(Scope.transfer, number, code);
  }

  // Requests: the caller

  ask(payload, { credit = 0, signal, wait }) {
    this.#mayAsk();
    const id = this.nextId++;
    return new Promise((resolve, reject) => {
      const request = { credit, received: 0, resolve, reject, part: null };
      this.asked.set(id, request);
      signal?.addEventListener("abort", () => {
        if (this.#asked(id)) this.send({ kind: "cancel", scope: Scope.request, id });
        reject(new Failed("given up"));
      });
      const fail = (error) => this.#asked(id)?.reject(error);
      this.transmit({ kind: "request", id, credit, content: payload, wait }, fail).catch(fail);
    });
  }

  /** Throw if the peer does not handle as many requests at once as there would be. */
  #mayAsk() {
    const most = this.hello.requests ?? REQUESTS;
    if (this.asked.size >= most) throw new Failed(`the peer handles ${most} requests at once`);
  }

  askStream(payload, credit, signal) {
    this.#mayAsk();
    const id = this.nextId++;
    const stream = { credit, received: 0, arrived: [], wake: () => {} }; // arrived: parts, and at last null or an error
    const put = (item) => {
      stream.arrived.push(item);
      stream.wake();
    };
    Object.assign(stream, { part: put, resolve: (last) => (put(last), put(null)), reject: put });
    this.asked.set(id, stream);
    signal?.addEventListener("abort", () => {
      if (this.#asked(id)) this.send({ kind: "cancel", scope: Scope.request, id });
      put(new Failed("given up"));
    });
    const fail = (error) => this.#asked(id)?.reject(error);
    this.transmit({ kind: "request", id, credit, content: payload }, fail).catch(fail);
    return this.#parts(id, stream, credit);
  }

  async *#parts(id, stream, credit) {
    for (let used = 1; ; used++) {
      while (stream.arrived.length === 0) await new Promise((resolve) => (stream.wake = resolve));
      const item = stream.arrived.shift();
      if (item === null) return;
      if (item instanceof Error) throw item;
      yield item;
      if (this.asked.get(id) === stream && (used + credit - stream.credit) * 2 >= credit) {
        stream.credit = used + credit;
        const value = BigInt(stream.credit);
        this.send({ kind: "ack", scope: Scope.request, flags: 0, id, epoch: 0n, value, failures: [] });
      }
    }
  }

  /** Take a request of ours out of those that are open. */
  #asked(id) {
    const request = this.asked.get(id);
    this.asked.delete(id);
    return request;
  }

  reply({ id, flags, content }) {
    const request = this.asked.get(id);
    if (request === undefined) return;
    if (flags & 2) {
      this.asked.delete(id);
      if (request.part) request.part(null);
      else request.reject(new Failed("no reply", Code.NO_REPLY));
      return;
    }
    if ((flags & 1 || request.part) && request.received >= request.credit) {
      this.asked.delete(id);
      this.send({ kind: "cancel", scope: Scope.request, id });
      request.reject(new Failed("a part without credit", Code.MALFORMED));
      return;
    }
    request.received += 1;
    if (flags & 1) return request.part(content);
    this.asked.delete(id);
    request.resolve(content);
  }

  failure({ scope, id, code, text }) {
    if (scope === Scope.request) return this.#asked(id)?.reject(new Failed(text, code));
    const transfer = this.outgoing.get(id);
    if (transfer === undefined) return undefined;
    this.outgoing.delete(id);
    transfer.stopped = true;
    return transfer.failed(new Failed(text, code));
  }

  // Requests: the handler's side

  request({ id, credit, content, wait }) {
    if (this.handling.has(id)) return;
    if (this.handling.size >= REQUESTS) return this.#fail(Scope.request, id, Code.QUOTA);
    const handler = this.owner.handlers[typeOf(content)];
    if (handler === undefined) return this.#fail(Scope.request, id, Code.UNKNOWN_MESSAGE);
    if (handler.stream && credit === 0) return this.#fail(Scope.request, id, Code.UNSUPPORTED);
    const request = { id, abort: new AbortController(), allowed: BigInt(credit), sent: 0n, wake: () => {} };
    this.handling.set(id, request);
    if (wait !== undefined && !handler.stream) {
      const expire = () => this.#failRequest(request, new Failed("", Code.EXPIRED));
      request.timer = setTimeout(expire, Math.min(wait, LONGEST_TIMER)).unref();
    }
    this.#handle(request, handler, content).catch((error) => this.#failRequest(request, error));
  }

  async #handle(request, handler, content) {
    const { id, abort } = request;
    const failed = (error) => this.#failRequest(request, error, true);
    if (handler.stream) {
      for await (const part of handler.stream(content, abort.signal)) {
        while (request.sent >= request.allowed && !abort.signal.aborted) {
          await new Promise((resolve) => (request.wake = resolve));
        }
        if (abort.signal.aborted) return;
        request.sent += 1n;
        await this.transmit({ kind: "reply", id, flags: 1, content: part }, failed);
      }
      if (this.#handled(request)) this.send({ kind: "reply", id, flags: 2, content: Buffer.alloc(0) });
      return;
    }
    const { owner, node } = this;
    const answer = handler.reply ? await handler.reply(content, abort.signal) : owner.take(handler, content, node);
    if (!answer) throw new Failed("", Code.NO_REPLY);
    if (this.#handled(request)) await this.transmit({ kind: "reply", id, flags: 0, content: answer }, failed);
  }

  /** End a request of the peer's; false if it had ended before. */
  #handled(request) {
    clearTimeout(request.timer);
    return this.handling.get(request.id) === request && this.handling.delete(request.id);
  }

  #failRequest(request, error, transferFailed = false) {
    const told = error instanceof Refuse || error instanceof Failed;
    if (!this.#handled(request) && !transferFailed) return;
    request.abort.abort();
    this.#fail(Scope.request, request.id, told ? error.code : Code.INTERNAL, told ? error.message : "");
  }

  cancel({ scope, id }) {
    if (scope === Scope.transfer) return void this.#forget(id);
    const request = this.handling.get(id);
    if (request === undefined) return;
    this.#handled(request);
    request.abort.abort();
    request.wake();
  }

  // Acks, and reliable delivery

  ack(frame) {
    if (frame.scope === Scope.lane) return this.owner.laneAck(this, frame);
    const request = this.handling.get(frame.id);
    if (request === undefined || frame.value <= request.allowed) return;
    request.allowed = frame.value;
    request.wake();
  }

  data(frame) {
    this.owner.data(this, frame);
  }
}
