// The session protocol, written from docs/session-protocol.md. It knows no LDK: payloads come in by `receive`, and go
// out by the `send` it was made with. What has to be on disk by the page is on the `disk` it was made with (disk.mjs):
//     out/PEER/LANE           {epoch, base, next}
//     out/PEER/LANE/SEQUENCE  a message that is not settled
//     in/PEER/LANE            {epoch, last, refusals}
// and what handlers write down.

import { createHash, randomBytes } from "node:crypto";
import { Code, FrameError, LONGEST_PAYLOAD, SESSION_TYPE, Scope } from "./frames.mjs";
import { decode, encode, inCommon, subject } from "./frames.mjs";

const PIECE = 60000;
const WINDOW = 256n;
const AGAIN_AFTER = 1000; // ms until a gap is told again
const PATIENCE = [5000, 60000]; // ms until messages are sent again: at first, and at most
const REMEMBERED = 64; // transfers sent in full that may still fail
const LONGEST_TIMER = 2 ** 31 - 1; // ms
const REQUESTS = 16; // of one peer at once

/** What one peer may have in transfers: how many, their bytes, and seconds without a new piece. */
export const LIMITS = { transfers: 8, reassembly_bytes: 32 << 20, transfer_seconds: 60 };

/** Thrown by a handler to refuse. */
export class Refuse extends Error {
  constructor(text, code = Code.REFUSED) {
    super(text);
    this.code = code;
  }
}

/** How a request or message ended: by the peer, with a code and text, or by us, without a code. */
export class Failed extends Error {
  constructor(text, code = null) {
    super(text);
    this.code = code;
  }
}

/** The peer takes nothing as long as this: not sent. */
export class TooLong extends Failed {}

const random64 = () => randomBytes(8).readBigUInt64BE();
const typeOf = (payload) => payload.readUInt16BE();
const hex = (bytes) => bytes.toString("hex");

export class Session {
  /**
   * `send(peer, payload)` queues a payload; `room(peer)` resolves when more should be queued. `handlers` are by message
   * type: `reply(payload, signal)`, `stream(payload, signal)` (an async generator) or `take(payload, peer, changes)`,
   * which a plain or reliable message needs; what it puts into `changes` gets on the disk when it ends well.
   * `settled(payload, error)` tells what became of a reliable message, maybe of another process: handled, or `Failed`.
   * `assembles`: the longest payload to put together. `limits`, as `LIMITS`, hold for connections made afterwards.
   */
  constructor({ send, room, handlers, disk, settled, assembles = 16n << 20n, extensions = [] }) {
    Object.assign(this, { send, room, handlers, disk, settled, assembles, extensions });
    this.instance = random64();
    this.limits = LIMITS;
    this.links = new Map();
    this.outbox = new Map(); // by peer and lane
    this.inbox = new Map(); // by peer and lane
    for (const [name, value] of disk.under("out/")) {
      const [, peer, lane, sequence] = name.split("/");
      const outgoing = this.#outgoingLane(peer, BigInt(lane));
      if (sequence === undefined) outgoing.restore(value);
      else outgoing.messages.set(BigInt(sequence), { content: Buffer.from(value, "hex"), givenUp: null });
    }
    for (const [name, value] of disk.under("in/")) {
      const [, peer, lane] = name.split("/");
      this.incomingLane(peer, BigInt(lane)).restore(value);
    }
  }

  connected(peer) {
    this.disconnected(peer);
    const link = new Link(this, peer);
    this.links.set(peer, link);
    link.sayHello(1);
  }

  disconnected(peer) {
    const link = this.links.get(peer);
    this.links.delete(peer);
    link?.end();
  }

  receive(peer, payload) {
    const link = this.links.get(peer);
    if (typeOf(payload) === SESSION_TYPE) link?.receive(payload);
    else this.#plain(peer, payload);
  }

  request(peer, payload, options = {}) {
    return this.#link(peer).ask(payload, { credit: 0, ...options });
  }

  /** Give the parts of a stream one by one. */
  stream(peer, payload, { credit, signal }) {
    return this.#link(peer).askStream(payload, credit, signal);
  }

  /** Accept a message: it is on disk when this returns, and `settled` tells the rest. The peer may be away. */
  sendReliably(peer, application, payload) {
    const lane = createHash("sha256").update(application).digest().readBigUInt64BE();
    this.#outgoingLane(peer, lane).add(payload);
  }

  outgoingLanes(peer) {
    return [...this.outbox.values()].filter((lane) => lane.peer === peer);
  }

  incomingLane(peer, number) {
    const key = `${peer}/${number}`;
    if (!this.inbox.has(key)) this.inbox.set(key, new IncomingLane(this, peer, number));
    return this.inbox.get(key);
  }

  /** Have a handler take a message that is not reliable. */
  take(handler, payload, peer) {
    const changes = {};
    const answer = handler.take(payload, peer, changes);
    this.disk.commit(changes);
    return answer;
  }

  established(peer) {
    const link = this.links.get(peer);
    return link?.common ? link : null;
  }

  #outgoingLane(peer, lane) {
    const key = `${peer}/${lane}`;
    if (!this.outbox.has(key)) this.outbox.set(key, new OutgoingLane(this, peer, lane));
    return this.outbox.get(key);
  }

  #plain(peer, payload) {
    const handler = this.handlers[typeOf(payload)];
    try {
      if (handler?.take) this.take(handler, payload, peer);
    } catch (error) {
      if (!(error instanceof Refuse)) throw error; // nobody waits for an answer
    }
  }

  #link(peer) {
    const link = this.established(peer);
    if (link === null) throw new Failed("no session with this peer");
    return link;
  }
}

/** What there is to know of one connection. */
class Link {
  constructor(session, peer) {
    Object.assign(this, { session, peer, limits: session.limits });
    this.hello = null;
    this.common = null;
    this.#begin();
  }

  #begin() {
    this.asked = new Map(); // by id: {credit, sent, resolve, reject} or a stream's parts
    this.handling = new Map(); // by id: {abort, allowed, sent, wake, timer}
    this.incoming = new Map(); // transfers: {total, size, pieces, timer}
    this.highest = -1n;
    this.outgoing = new Map(); // transfers: {stopped, failed}
    this.nextTransfer = 0n;
    this.nextId = random64() >> 1n;
  }

  /** The connection has ended, or the peer's program has: everything under way is over. */
  end() {
    const { asked, handling, incoming, outgoing } = this;
    this.#begin();
    for (const transfer of outgoing.values()) transfer.stopped = true;
    for (const { timer } of [...incoming.values(), ...handling.values()]) clearTimeout(timer);
    for (const request of handling.values()) request.abort.abort();
    for (const request of asked.values()) request.reject(new Failed("the peer is gone"));
  }

  sayHello(flags) {
    const { instance, extensions, assembles } = this.session;
    this.#send({ kind: "hello", flags, lowest: 1, highest: 1, instance, extensions, assembles, requests: REQUESTS });
  }

  receive(payload) {
    let frame;
    try {
      frame = decode(payload);
    } catch (error) {
      if (!(error instanceof FrameError)) throw error;
      if (this.common) this.#refuseFrame(payload, error);
      return;
    }
    if (frame === null) return;
    if (frame.kind === "hello") this.#hello(frame);
    else if (this.common) this[frame.kind](frame);
  }

  #refuseFrame(payload, error) {
    const about = subject(payload);
    const code = error.reason === "not understood" ? Code.UNSUPPORTED : Code.MALFORMED;
    if (about?.scope === Scope.request && !this.handling.has(about.id)) this.#fail(Scope.request, about.id, code);
    if (about?.scope === Scope.transfer) this.#failTransfer(about.id, code);
  }

  #send(frame) {
    this.session.send(this.peer, encode(frame));
  }

  #fail(scope, id, code, text = "") {
    this.#send({ kind: "failure", scope, id, code, text });
  }

  // Hello

  #hello(frame) {
    const restarted = this.hello !== null && this.hello.instance !== frame.instance;
    const first = this.hello === null;
    if (restarted) this.end();
    this.hello = frame;
    this.common = inCommon({ lowest: 1, highest: 1, extensions: this.session.extensions }, frame);
    if (frame.flags & 1) this.sayHello(0);
    if (this.common && (first || restarted)) {
      for (const lane of this.session.outgoingLanes(this.peer)) lane.restart();
    }
  }

  // Fragments

  /**
   * Send a frame, in fragments if need be; resolves when all of it is queued or its transfer was stopped.
   * `failed(error)` is called if the peer refuses the transfer.
   */
  async transmit(frame, failed = () => {}) {
    const payload = encode(frame);
    if (payload.length <= LONGEST_PAYLOAD) {
      this.session.send(this.peer, payload);
      return;
    }
    if ((this.hello.assembles ?? 0n) < BigInt(payload.length)) {
      throw new TooLong("longer than the peer takes", Code.TOO_LARGE);
    }
    const number = this.nextTransfer++;
    const transfer = { stopped: false, failed };
    this.outgoing.set(number, transfer);
    if (this.outgoing.size > REMEMBERED) this.outgoing.delete(this.outgoing.keys().next().value);
    const total = BigInt(payload.length);
    for (let piece = 0; piece * PIECE < payload.length; piece++) {
      await this.session.room(this.peer);
      if (transfer.stopped) return;
      const content = payload.subarray(piece * PIECE, (piece + 1) * PIECE);
      this.#send({ kind: "fragment", transfer: number, total, size: PIECE, piece, content });
    }
  }

  fragment({ transfer: number, total, size, piece, content }) {
    if (!this.session.assembles) return this.#failTransfer(number, Code.UNSUPPORTED);
    let transfer = this.incoming.get(number);
    if (transfer === undefined) {
      if (number <= this.highest) return undefined;
      if (size < 1024 || total <= BigInt(size)) return this.#failTransfer(number, Code.MALFORMED);
      if (total > this.session.assembles) return this.#failTransfer(number, Code.TOO_LARGE);
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
    if (piece === 0 && typeOf(content) === SESSION_TYPE && content[2] === 2) {
      return this.#failTransfer(number, Code.MALFORMED);
    }
    transfer.pieces.set(piece, Buffer.from(content));
    if (transfer.pieces.size < count) return this.#await(number, transfer);
    this.#forget(number);
    const payload = Buffer.concat(Array.from({ length: count }, (_, index) => transfer.pieces.get(index)));
    return this.session.receive(this.peer, payload);
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

  ask(payload, { credit, signal, wait }) {
    const id = this.nextId++;
    return new Promise((resolve, reject) => {
      const request = { credit, received: 0, resolve, reject, part: null };
      this.asked.set(id, request);
      signal?.addEventListener("abort", () => {
        if (this.#asked(id)) this.#send({ kind: "cancel", scope: Scope.request, id });
        reject(new Failed("given up"));
      });
      const fail = (error) => this.#asked(id)?.reject(error);
      this.transmit({ kind: "request", id, credit, content: payload, wait }, fail).catch(fail);
    });
  }

  askStream(payload, credit, signal) {
    const id = this.nextId++;
    const stream = { credit, received: 0, arrived: [], wake: () => {} }; // arrived: parts, and at last null or an error
    const put = (item) => {
      stream.arrived.push(item);
      stream.wake();
    };
    Object.assign(stream, { part: put, resolve: (last) => (put(last), put(null)), reject: put });
    this.asked.set(id, stream);
    signal?.addEventListener("abort", () => {
      if (this.#asked(id)) this.#send({ kind: "cancel", scope: Scope.request, id });
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
        this.#send({ kind: "ack", scope: Scope.request, flags: 0, id, epoch: 0n, value, failures: [] });
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
      this.#send({ kind: "cancel", scope: Scope.request, id });
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
    const handler = this.session.handlers[typeOf(content)];
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
      if (this.#handled(request)) this.#send({ kind: "reply", id, flags: 2, content: Buffer.alloc(0) });
      return;
    }
    const { session, peer } = this;
    const answer = handler.reply ? await handler.reply(content, abort.signal) : session.take(handler, content, peer);
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
    if (frame.scope === Scope.lane) return this.session.outbox.get(`${this.peer}/${frame.id}`)?.ack(frame);
    const request = this.handling.get(frame.id);
    if (request === undefined || frame.value <= request.allowed) return;
    request.allowed = frame.value;
    request.wake();
  }

  data(frame) {
    this.session.incomingLane(this.peer, frame.lane).data(frame);
  }
}

/** Messages of ours to one peer, in order. */
class OutgoingLane {
  constructor(session, peer, number) {
    Object.assign(this, { session, peer, number });
    this.epoch = BigInt(Date.now()) * 1000n;
    this.base = 1n;
    this.next = 1n;
    this.messages = new Map(); // by sequence, from base on
    this.cursor = 1n; // what to send next
    this.sending = false;
    this.patience = PATIENCE[0];
    this.timer = null;
  }

  /** What the process before had written; the messages come besides. */
  restore({ epoch, base, next }) {
    Object.assign(this, { epoch: BigInt(epoch), base: BigInt(base), next: BigInt(next) });
  }

  add(content) {
    const sequence = this.next++;
    this.messages.set(sequence, { content, givenUp: null });
    this.#commit({ [sequence]: hex(content) });
    this.#pump();
  }

  /** Write the lane's record, and what has changed of its messages. */
  #commit(messages) {
    const name = `out/${this.peer}/${this.number}`;
    const changes = Object.entries(messages).map(([sequence, content]) => [`${name}/${sequence}`, content]);
    const record = { epoch: String(this.epoch), base: String(this.base), next: String(this.next) };
    this.session.disk.commit({ [name]: record, ...Object.fromEntries(changes) });
  }

  /** Start again from base: a session has begun, or patience has ended. */
  restart() {
    this.cursor = this.base;
    this.#pump();
  }

  async #pump() {
    this.#wait();
    if (this.sending) return;
    this.sending = true;
    try {
      for (;;) {
        const link = this.session.established(this.peer);
        if (link === null || this.cursor >= this.next || this.cursor >= this.base + WINDOW) break;
        const sequence = this.cursor++;
        const message = this.messages.get(sequence);
        if (message.givenUp) continue;
        const { number: lane, epoch, base } = this;
        const failed = (error) => this.#refused(epoch, sequence, error);
        const frame = { kind: "data", lane, epoch, base, sequence, content: message.content };
        await link.transmit(frame, failed).catch(failed);
      }
    } finally {
      this.sending = false;
    }
  }

  #wait() {
    clearTimeout(this.timer);
    if (this.base === this.next) return;
    this.timer = setTimeout(() => {
      this.patience = Math.min(2 * this.patience, PATIENCE[1]);
      this.restart();
    }, this.patience);
    this.timer.unref();
  }

  /** A transfer with a message in it failed. */
  #refused(epoch, sequence, error) {
    const message = this.messages.get(sequence);
    if (epoch !== this.epoch || message === undefined || error.code !== Code.TOO_LARGE) return;
    message.givenUp = error;
    this.#settle(this.base - 1n);
  }

  /** Settle all up to `value`, and what was given up next to it: on disk first, then it is told. */
  #settle(value, refused = new Map()) {
    const settled = [];
    for (let message; (message = this.messages.get(this.base)); this.base++) {
      if (this.base > value && !message.givenUp) break;
      const failed = this.base > value ? message.givenUp : refused.get(this.base);
      settled.push([this.base, message.content, failed]);
      this.messages.delete(this.base);
    }
    if (settled.length === 0) return;
    if (this.cursor < this.base) this.cursor = this.base;
    this.#commit(Object.fromEntries(settled.map(([sequence]) => [sequence, null])));
    for (const [, content, failed] of settled) this.session.settled(content, failed);
  }

  ack({ flags, epoch, value, failures }) {
    if (epoch < this.epoch) return;
    if (epoch > this.epoch || value >= this.next) return this.#renumber(epoch);
    if (value >= this.base) this.patience = PATIENCE[0];
    this.#settle(value, new Map(failures.map(({ sequence, code, text }) => [sequence, new Failed(text, code)])));
    if (flags & 1) this.cursor = this.base;
    this.#pump();
  }

  #renumber(epoch) {
    if (epoch === (1n << 62n) - 1n) return;
    const before = [...this.messages.keys()].map((sequence) => [sequence, null]);
    const messages = [...this.messages.values()];
    this.epoch = [epoch + 1n, BigInt(Date.now()) * 1000n].reduce((a, b) => (a > b ? a : b));
    this.messages = new Map(messages.map((message, index) => [BigInt(index + 1), message]));
    this.base = 1n;
    this.next = BigInt(messages.length + 1);
    const after = [...this.messages].map(([sequence, { content }]) => [sequence, hex(content)]);
    this.#commit(Object.fromEntries([...before, ...after]));
    this.restart();
  }
}

/** Messages of one peer to us, in order. */
class IncomingLane {
  constructor(session, peer, number) {
    Object.assign(this, { session, peer, number });
    this.epoch = 0n;
    this.last = 0n;
    this.taken = 0n;
    this.refusals = new Map();
    this.kept = false; // on disk, as something was handled, not all refused
    this.queue = [];
    this.working = false;
    this.gapTold = { taken: null, at: 0 };
  }

  /** What the process before had written. */
  restore({ epoch, last, refusals }) {
    Object.assign(this, { epoch: BigInt(epoch), last: BigInt(last), taken: BigInt(last), kept: true });
    for (const [sequence, code, text] of refusals) {
      this.refusals.set(BigInt(sequence), { sequence: BigInt(sequence), code, text });
    }
  }

  /** One transaction: the lane's record, and what a handler has changed. */
  #commit(changes) {
    const refusals = [...this.refusals.values()].map(({ sequence, code, text }) => [String(sequence), code, text]);
    const record = { epoch: String(this.epoch), last: String(this.last), refusals };
    this.session.disk.commit({ ...changes, [`in/${this.peer}/${this.number}`]: record });
  }

  data({ epoch, base, sequence, content }) {
    if (epoch < this.epoch) return this.#ack();
    if (epoch > this.epoch) {
      if (this.taken > this.last) return; // what was taken under the epoch before ends first
      Object.assign(this, { epoch, last: base - 1n, taken: base - 1n, refusals: new Map() });
    }
    if (base - 1n > this.last) {
      this.last = base - 1n;
      if (this.taken < this.last) this.taken = this.last;
    }
    for (const refused of this.refusals.keys()) if (refused < base) this.refusals.delete(refused);
    if (sequence <= this.last) return this.#ack();
    if (sequence <= this.taken) return;
    if (sequence > this.taken + 1n) return this.#gap();
    this.taken = sequence;
    this.queue.push([sequence, Buffer.from(content)]);
    this.#work();
  }

  async #work() {
    if (this.working) return;
    this.working = true;
    for (let item; (item = this.queue.shift()); ) {
      const [sequence, content] = item;
      const handler = this.session.handlers[typeOf(content)];
      let changes = {};
      try {
        if (handler?.take === undefined) throw new Refuse("nobody takes this", Code.UNKNOWN_MESSAGE);
        handler.take(content, this.peer, changes);
        this.kept = true;
      } catch (error) {
        changes = {};
        const told = error instanceof Refuse;
        this.refusals.set(sequence, {
          sequence,
          code: told ? error.code : Code.INTERNAL,
          text: told ? error.message : "",
        });
      }
      if (this.last < sequence) this.last = sequence;
      if (this.kept) this.#commit(changes);
      this.#ack();
    }
    this.working = false;
  }

  #gap() {
    if (this.gapTold.taken === this.taken && Date.now() < this.gapTold.at + AGAIN_AFTER) return;
    this.gapTold = { taken: this.taken, at: Date.now() };
    this.#ack(1);
  }

  #ack(flags = 0) {
    if (this.session.established(this.peer) === null) return;
    const { number: id, epoch, last: value } = this;
    const failures = [...this.refusals.values()].filter(({ sequence }) => sequence <= value);
    const frame = { kind: "ack", scope: Scope.lane, flags, id, epoch, value, failures };
    let payload = encode(frame);
    for (let length = 512; payload.length > LONGEST_PAYLOAD; length = Math.floor(length / 2)) {
      const shorter = failures.map((one) => ({ ...one, text: one.text.slice(0, length / 4) }));
      payload = encode({ ...frame, failures: shorter });
    }
    this.session.send(this.peer, payload);
  }
}
