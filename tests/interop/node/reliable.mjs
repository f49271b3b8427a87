// Reliable delivery, both its sides: "Reliable delivery" of docs/session-protocol.md. What is written where is said in
// session.mjs.

import { Code, LONGEST_PAYLOAD, Scope } from "./frames.mjs";
import { Failed, Refuse, byProgram, hex, random64, typeOf } from "./outcomes.mjs";

const WINDOW = 256n; // messages under way
const WINDOW_BYTES = 1 << 20;
const AGAIN_AFTER = 1000; // ms until a gap is told again
const PATIENCE = [5000, 60000]; // ms until messages are sent again: at first, and at most
const GREATEST_EPOCH = (1n << 62n) - 1n;

const now = () => BigInt(Date.now()) * 1000n;
const greatest = (a, b) => (a > b ? a : b);

/** Messages of ours for one extension at a node, in order. */
export class OutgoingLane {
  constructor(owner, node, extension) {
    Object.assign(this, { owner, node, extension });
    this.number = random64();
    this.epoch = now();
    this.base = 1n;
    this.next = 1n;
    this.kept = null; // {program, stores} of the peer that it was last sent to
    this.messages = new Map(); // by sequence, from base on: {content, since, givenUp, end}
    this.bytes = 0; // of all messages there have been; a message's end is what they were with it
    this.session = null; // where the messages go
    this.cursor = 1n; // what to send next
    this.sending = false;
    this.patience = PATIENCE[0];
    this.timer = null;
    this.missing = { ms: 0, since: null, timer: null }; // how long others were there, and not the program that it knows
  }

  get #name() {
    return `out/${this.node}/${encodeURIComponent(this.extension)}`;
  }

  /** Whether there are messages that are not settled. */
  get waiting() {
    return this.base < this.next;
  }

  // What is on the disk

  /** What the process before had written; the messages come besides. */
  restore({ lane, epoch, base, next, kept }) {
    const numbers = { number: BigInt(lane), epoch: BigInt(epoch), base: BigInt(base), next: BigInt(next) };
    Object.assign(this, { ...numbers, kept, cursor: numbers.base });
  }

  restoreMessage(sequence, { content, since }) {
    this.#put(sequence, { content: Buffer.from(content, "hex"), since, givenUp: null });
  }

  #put(sequence, message) {
    this.bytes += message.content.length;
    this.messages.set(sequence, { ...message, end: this.bytes });
  }

  /** The lane's record, and what has changed of its messages, which are null or there. */
  #changes(sequences) {
    const { number, epoch, base, next, kept } = this;
    const record = { lane: String(number), epoch: String(epoch), base: String(base), next: String(next), kept };
    const changes = { [this.#name]: record };
    for (const sequence of sequences) {
      const message = this.messages.get(sequence) ?? null;
      const written = message && { content: hex(message.content), since: message.since };
      changes[`${this.#name}/${sequence}`] = written;
    }
    return changes;
  }

  #commit(sequences = []) {
    this.owner.disk.commit(this.#changes(sequences));
  }

  // Sending

  add(content) {
    const sequence = this.next++;
    this.#put(sequence, { content, since: Date.now(), givenUp: null });
    this.#commit([sequence]);
    this.#pump();
  }

  /** Start again from base. */
  restart() {
    this.cursor = this.base;
    this.#pump();
  }

  /** The sessions with the node are others than before. */
  reconsider() {
    this.#pump();
  }

  /** The program has ended. */
  end() {
    clearTimeout(this.timer);
    clearTimeout(this.missing.timer);
  }

  async #pump() {
    if (this.owner.ended) return;
    this.#giveUpOld();
    this.#choose();
    this.#wait();
    if (this.sending) return;
    this.sending = true;
    try {
      while (this.#choose() !== null && this.#mayGo()) {
        const sequence = this.cursor++;
        const message = this.messages.get(sequence);
        if (message.givenUp) continue;
        this.#keep(this.session.hello);
        const { number: lane, epoch, base } = this;
        const failed = (error) => this.#refused(epoch, sequence, error);
        const frame = { kind: "data", lane, epoch, base, sequence, content: message.content };
        await this.session.transmit(frame, failed).catch(failed);
      }
    } finally {
      this.sending = false;
    }
    this.#wait();
  }

  /** Whether there is a message to be sent, and room for it under way. */
  #mayGo() {
    if (this.cursor >= this.next) return false;
    const [first, message] = [this.messages.get(this.base), this.messages.get(this.cursor)];
    const bytes = message.end - first.end + first.content.length;
    return this.cursor === this.base || (this.cursor < this.base + WINDOW && bytes <= WINDOW_BYTES);
  }

  /** Have on disk to whom the messages go, before they do. */
  #keep({ program, stores = [] }) {
    const kept = { program: String(program), stores: stores.map(String) };
    if (JSON.stringify(kept) === JSON.stringify(this.kept)) return;
    this.kept = kept;
    this.#commit();
  }

  /** Be patient until acks should have come. */
  #wait() {
    if (this.owner.ended) return;
    if (!this.waiting) this.#waitAnew();
    else this.timer ??= setTimeout(() => this.#outOfPatience(), this.patience).unref();
  }

  #outOfPatience() {
    this.timer = null;
    this.patience = Math.min(2 * this.patience, PATIENCE[1]);
    this.restart();
  }

  /** Something has happened: be patient from now on. */
  #waitAnew() {
    clearTimeout(this.timer);
    this.timer = null;
    this.patience = PATIENCE[0];
  }

  // The session of the lane

  /** Find where the messages go: "The session of a lane". Gives it, or null. */
  #choose() {
    const usable = this.owner.sessions(this.node).filter((session) => session.speaks(this.extension));
    const ranks = new Map(usable.map((session) => [session, this.#rank(session)]));
    const known = ({ hello }) => Number(String(hello.program) === this.kept?.program);
    const before = (a, b) => ranks.get(a) - ranks.get(b) || known(b) - known(a) || byProgram(a, b);
    const [best = null] = usable.sort(before);
    const rank = best === null ? null : ranks.get(best);
    const waited = this.#miss(rank);
    let chosen = usable.includes(this.session) ? this.session : null;
    if (this.waiting) {
      if (chosen === null && (rank < 4 || waited)) chosen = best;
      else if (chosen !== null && rank < 4 && rank < ranks.get(chosen)) chosen = best;
    }
    if (chosen !== this.session) {
      this.session = chosen;
      this.cursor = this.base;
      this.#waitAnew();
    }
    return chosen;
  }

  #rank({ hello }) {
    if (this.kept === null) return 3;
    if (hello.stores?.some((store) => this.kept.stores.includes(String(store)))) return 1;
    return String(hello.program) === this.kept.program ? 2 : 4;
  }

  /** Count how long only others are there, none that stands at 1 to 3; true when that was long enough. */
  #miss(rank) {
    const { missing } = this;
    if (missing.since !== null) missing.ms += Date.now() - missing.since;
    missing.since = rank === 4 ? Date.now() : null;
    if (rank !== null && rank < 4) missing.ms = 0;
    clearTimeout(missing.timer);
    const left = this.owner.limits.successor_seconds * 1000 - missing.ms;
    if (rank === 4 && left > 0) missing.timer = setTimeout(() => this.#pump(), left).unref();
    return left <= 0;
  }

  // What became of them

  /** Too old: receivers forget. */
  #giveUpOld() {
    const oldest = Date.now() - this.owner.limits.message_seconds * 1000;
    for (const message of this.messages.values()) {
      if (message.since > oldest) break;
      message.givenUp ??= new Failed("it was not handled in time", Code.EXPIRED);
    }
    this.#settle(this.base - 1n);
  }

  /** A transfer with a message in it failed. */
  #refused(epoch, sequence, error) {
    if (!(error instanceof Failed)) throw error;
    const message = this.messages.get(sequence);
    if (epoch !== this.epoch || message === undefined || error.code !== Code.TOO_LARGE) return;
    message.givenUp = error;
    this.#settle(this.base - 1n);
    this.#pump();
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
    this.#waitAnew();
    this.#commit(settled.map(([sequence]) => sequence));
    for (const [, content, failed] of settled) this.owner.settled(content, failed);
  }

  ack(session, { flags, epoch, value, failures }) {
    if (session !== this.session || epoch < this.epoch) return;
    if (epoch > this.epoch || value >= this.next) return this.#renumber(epoch);
    this.#settle(value, new Map(failures.map(({ sequence, code, text }) => [sequence, new Failed(text, code)])));
    if (flags & 1) this.cursor = this.base;
    this.#pump();
  }

  #renumber(epoch) {
    if (epoch === GREATEST_EPOCH) return;
    this.owner.disk.commit(this.#numbered(epoch + 1n));
    this.restart();
  }

  /** Number the messages from 1 on, in an epoch not less than `least`; gives what to write. */
  #numbered(least) {
    const messages = [...this.messages.values()];
    const former = [...this.messages.keys()];
    this.epoch = greatest(least, now());
    this.messages = new Map(messages.map((message, index) => [BigInt(index + 1), message]));
    this.base = 1n;
    this.cursor = 1n;
    this.next = BigInt(messages.length + 1);
    return this.#changes([...former, ...this.messages.keys()]);
  }

  /** Become another lane, with the same messages; gives what to write. */
  renewed() {
    this.number = random64();
    return this.#numbered(this.epoch + 1n);
  }
}

/** Messages of one lane of a node's to us, in order. Handlers of ours wait for nothing: what is taken is handled. */
export class IncomingLane {
  constructor(owner, node, number) {
    Object.assign(this, { owner, node, number });
    this.epoch = 0n;
    this.last = 0n;
    this.refusals = [];
    this.kept = false; // on disk, as something was handled, not all refused
    this.gapTold = { last: null, at: 0 };
  }

  get #name() {
    return `in/${this.node}/${this.number}`;
  }

  /** What the process before had written. */
  restore({ epoch, last, refusals }) {
    Object.assign(this, { epoch: BigInt(epoch), last: BigInt(last), kept: true });
    this.refusals = refusals.map(([sequence, code, text]) => ({ sequence: BigInt(sequence), code, text }));
  }

  forget() {
    if (this.kept) this.owner.disk.commit({ [this.#name]: null });
  }

  data(session, { epoch, base, sequence, content }) {
    if (epoch < this.epoch) return this.#ack(session);
    if (epoch > this.epoch) Object.assign(this, { epoch, last: base - 1n, refusals: [] });
    this.last = greatest(this.last, base - 1n);
    this.refusals = this.refusals.filter((refused) => refused.sequence >= base);
    if (sequence <= this.last) return this.#ack(session);
    if (sequence > this.last + 1n) return this.#gap(session);
    if (this.#handle(sequence, Buffer.from(content))) this.#ack(session);
    return undefined;
  }

  /** Handle a message, or refuse it; false if neither can be written down now. */
  #handle(sequence, content) {
    const handler = this.owner.handlers[typeOf(content)];
    let [changes, refusals] = [{}, this.refusals];
    try {
      if (handler?.take === undefined) throw new Refuse("nobody takes this", Code.UNKNOWN_MESSAGE);
      handler.take(content, this.node, changes);
    } catch (error) {
      const [code, text] = error instanceof Refuse ? [error.code, error.message] : [Code.INTERNAL, ""];
      [changes, refusals] = [{}, [...refusals, { sequence, code, text }]];
    }
    const kept = this.kept || refusals.at(-1)?.sequence !== sequence;
    const list = refusals.map(({ sequence, code, text }) => [String(sequence), code, text]);
    const record = { epoch: String(this.epoch), last: String(sequence), refusals: list };
    try {
      if (kept) this.owner.disk.commit({ ...changes, [this.#name]: record });
    } catch (error) {
      this.owner.warn(`a message that has come cannot be handled now: ${error}`);
      return false;
    }
    Object.assign(this, { last: sequence, refusals, kept });
    return true;
  }

  #gap(session) {
    if (this.gapTold.last === this.last && Date.now() < this.gapTold.at + AGAIN_AFTER) return;
    this.gapTold = { last: this.last, at: Date.now() };
    this.#ack(session, 1);
  }

  #ack(session, flags = 0) {
    const { number: id, epoch, last: value, refusals: failures } = this;
    const frame = { kind: "ack", scope: Scope.lane, flags, id, epoch, value, failures };
    for (let length = 500; session.measure(frame) > LONGEST_PAYLOAD; length /= 2) {
      frame.failures = failures.map((one) => ({ ...one, text: one.text.slice(0, length / 4) }));
    }
    session.send(frame);
  }
}
