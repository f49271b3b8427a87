// An LDK node that speaks the session protocol (session.mjs), driven over JSON lines (json_lines.mjs). The one argument
// is a JSON object: {"seed": 64 hex digits, "disk": path of the file to go on with}. It runs the application of
// tests/vectors/session.json, and keeps the notes it takes.
// Commands: listen connect disconnect request requests stream give_up result send_reliably unsettled notes disturb die
// limit decode encode compare in_common quit. Events: ready connected disconnected handled cancelled delivered failed.

import { Disk } from "./disk.mjs";
import { event, hex, serve } from "./json_lines.mjs";
import { Code, FrameError, Kind, SESSION_TYPE, compareVersions, decode, encode, inCommon, subject } from "./frames.mjs";
import { connect, connectedPeers, disconnect, flushed, listen, send, start } from "./ldk_node.mjs";
import { LIMITS, Refuse, Session, TooLong } from "./session.mjs";

const APPLICATION = "vectors";
const ASK = 0x8ca1, ANSWER = 0x8ca3, COUNT = 0x8ca5, NUMBER = 0x8ca7;
const REFUSE = 0x8ca9, FAIL = 0x8cab, HANG = 0x8cad, NOTE = 0x8caf, NOT_YOURS = 0x8cb3;

const withType = (type, body) => Buffer.concat([Buffer.of(type >> 8, type & 0xff), body]);
const refuse = () => {
  throw new Refuse("not today", 1000);
};
const turnAway = () => {
  throw new Refuse("not for you", Code.NOT_ALLOWED);
};

const handlers = {
  [ASK]: { reply: (payload) => withType(ANSWER, payload.subarray(2)) },
  [COUNT]: {
    async *stream(payload) {
      const count = payload.readUInt16BE(2);
      for (let number = 0; number < count; number++) yield withType(NUMBER, Buffer.of(number >> 8, number & 0xff));
    },
  },
  [REFUSE]: { reply: refuse, take: refuse },
  [FAIL]: {
    reply() {
      throw new Error("a bug, of which nobody else should hear");
    },
  },
  [HANG]: {
    reply(payload, signal) {
      event("handled", { payload: hex(payload) });
      return new Promise((_, reject) => {
        signal.addEventListener("abort", () => {
          event("cancelled", { payload: hex(payload) });
          reject(new Error("cancelled"));
        });
      });
    },
  },
  [NOTE]: {
    take(payload, peer, changes) {
      changes[`note/${disk.under("note/").length}`] = hex(payload);
      event("handled", { payload: hex(payload) });
    },
  },
  [NOT_YOURS]: { reply: turnAway, take: turnAway },
};

/** A disk whose process can be killed at a transaction of choice: before it is written, in its midst, or after it. */
class FatalDisk extends Disk {
  #left = 0;
  #when = "";

  /** Die at the `count`th transaction from now on. */
  die({ count, when }) {
    this.#left = count;
    this.#when = when;
  }

  write(text) {
    if (this.#left === 0 || --this.#left > 0) return super.write(text);
    if (this.#when === "midst") super.write(text.slice(0, text.length / 2));
    if (this.#when === "after") super.write(text);
    process.kill(process.pid, "SIGKILL");
    for (;;); // until it comes
  }
}

/** How often a frame of reliable delivery gets lost, or goes twice, by dice that fall the same way every time. */
const disturbance = { lost: 0, twice: 0, state: 1 };
const counts = { lost: 0, twice: 0 };

function disturbed(payload) {
  if (payload.readUInt16BE() !== SESSION_TYPE || ![Kind.data, Kind.ack].includes(payload[2])) return [payload];
  disturbance.state = (disturbance.state * 48271) % 0x7fffffff;
  const dice = disturbance.state / 0x7fffffff;
  if (dice < disturbance.lost) {
    counts.lost += 1;
    return [];
  }
  if (dice >= disturbance.lost + disturbance.twice) return [payload];
  counts.twice += 1;
  return [payload, payload];
}

const { seed, disk: path } = JSON.parse(process.argv[2]);
const disk = new FatalDisk(path);

const session = new Session({
  send: (peer, payload) => connectedPeers().includes(peer) && send(peer, disturbed(payload)),
  async room(peer) {
    if (connectedPeers().includes(peer)) await flushed(peer);
    await new Promise(setImmediate); // let what arrived meanwhile be read
  },
  handlers,
  disk,
  settled(content, error) {
    const payload = hex(content);
    if (error) event("failed", { payload, code: error.code, text: error.message });
    else event("delivered", { payload });
  },
  extensions: [{ name: APPLICATION, versions: ["1.0"], types: Object.keys(handlers).map(Number) }],
});

const nodeId = start({
  seed,
  types: [SESSION_TYPE, ...Object.keys(handlers).map(Number)],
  on: {
    connected(peer, fields) {
      event("connected", { peer, ...fields });
      session.connected(peer);
    },
    disconnected(peer, fields) {
      session.disconnected(peer);
      event("disconnected", { peer, ...fields });
    },
    received(peer, payload) {
      for (const one of disturbed(payload)) session.receive(peer, one);
    },
  },
});

// The one request or stream under way
let asking = { giveUp: new AbortController(), result: null };

function begin(run) {
  asking = { giveUp: new AbortController(), read: null };
  asking.result = run(asking.giveUp.signal).catch((error) => {
    if (error instanceof TooLong) return "not supported";
    return error.code === null ? "lost" : { code: error.code, text: error.message, parts: asking.parts };
  });
}

async function readStream(parts, used) {
  asking.parts = [];
  const readOn = new Promise((resolve) => (asking.readOn = resolve));
  for (;;) {
    if (asking.parts.length === used) await readOn;
    const { done, value } = await parts.next();
    if (done) return { parts: asking.parts };
    asking.parts.push(hex(value));
  }
}

// JSON has no u64 and no bytes: those are decimal and hexadecimal texts
const U64 = ["instance", "assembles", "transfer", "total", "id", "lane", "epoch", "base", "sequence", "value"];
const plain = (_, value) => (typeof value === "bigint" ? String(value) : value);

function toJson(frame) {
  const content = frame.content && { content: hex(frame.content) };
  return JSON.parse(JSON.stringify({ ...frame, ...content }, plain));
}

function fromJson(fields) {
  const frame = { ...fields };
  for (const name of U64) if (name in frame) frame[name] = BigInt(frame[name]);
  if ("content" in frame) frame.content = Buffer.from(frame.content, "hex");
  frame.failures = frame.failures?.map((refusal) => ({ ...refusal, sequence: BigInt(refusal.sequence) }));
  return frame;
}

function decoded(payload) {
  const bytes = Buffer.from(payload, "hex");
  try {
    const frame = decode(bytes);
    return frame === null ? { reason: "unknown" } : { frame: toJson(frame), bytes: hex(encode(frame)) };
  } catch (error) {
    if (!(error instanceof FrameError)) throw error;
    const about = subject(bytes);
    return { reason: error.reason, ...(about && { subject: { ...about, id: String(about.id) } }) };
  }
}

serve({
  listen,
  connect,
  disconnect,

  request({ peer, payload }) {
    begin(async (signal) => ({ reply: hex(await session.request(peer, Buffer.from(payload, "hex"), { signal })) }));
  },

  /** Ask for all of these at once; gives the replies. */
  requests({ peer, payloads }) {
    const replies = payloads.map((payload) => session.request(peer, Buffer.from(payload, "hex")));
    return Promise.all(replies.map(async (reply) => hex(await reply)));
  },

  /** Ask for a stream and read `used` parts of it at once, the others when `result` is wanted; else all at once. */
  stream({ peer, payload, credit, used = -1 }) {
    begin((signal) => readStream(session.stream(peer, Buffer.from(payload, "hex"), { credit, signal }), used));
  },

  give_up: () => asking.giveUp.abort(),

  result() {
    asking.readOn?.();
    return asking.result;
  },

  send_reliably({ peer, payload, payloads = [payload] }) {
    for (const one of payloads) session.sendReliably(peer, APPLICATION, Buffer.from(one, "hex"));
  },

  /** How many messages on the disk are not settled. */
  unsettled: () => disk.under("out/").filter(([name]) => name.split("/").length === 4).length,

  /** The notes that were taken. */
  notes: () => disk.under("note/").map(([, payload]) => payload),

  /** From now on lose one share of the frames of reliable delivery, both ways, and double another; gives counts. */
  disturb({ lost = 0, twice = 0 }) {
    Object.assign(disturbance, { lost, twice });
    return counts;
  },

  /** For connections made from now on; what is not given is as at first. */
  limit(limits) {
    session.limits = { ...LIMITS, ...limits };
  },

  die: (how) => disk.die(how),

  /** What each payload of type 49373 is: the frame and how it is written, or why it is none. */
  decode: ({ payloads }) => payloads.map(decoded),

  encode: ({ frame }) => hex(encode(fromJson(frame))),

  compare: ({ versions: [left, right] }) => Math.sign(compareVersions(left, right)),

  in_common: ({ hellos }) => inCommon(...hellos.map((payload) => decode(Buffer.from(payload, "hex")))),

  quit() {
    setImmediate(() => process.exit(0));
  },
});

event("ready", { node_id: nodeId });
