// An LDK node with programs behind it that speak the session protocol (session.mjs), driven over JSON lines
// (json_lines.mjs). The one argument is a JSON object: {"seed": 64 hex digits, "disk": path of the file to go on with}.
// It begins with one program, "main". Each runs the application of tests/vectors/session.json, as an extension of a
// name of its own perhaps, and keeps the notes it takes. Commands and events have the `program` they are about, if it
// is another than "main".
// Commands: listen connect disconnect connected start_program end_program programs request requests stream give_up
// result send_reliably unsettled notes disturb die limit decode encode compare in_common quit. Events: ready connected
// disconnected handled cancelled delivered failed warning.

import { createHash } from "node:crypto";
import { Disk } from "./disk.mjs";
import { event, hex, serve } from "./json_lines.mjs";
import { Code, FrameError, Kind, SESSION_TYPE, compareVersions, decode, encode, inCommon, subject } from "./frames.mjs";
import { connect, connectedPeers, disconnect, flushed, listen, send, start } from "./ldk_node.mjs";
import { Refuse, TooLong } from "./outcomes.mjs";
import { LIMITS, Program } from "./session.mjs";

const MAIN = { program: "main", extension: "vectors", offset: 0 };
const ASK = 0x8ca1, ANSWER = 0x8ca3, COUNT = 0x8ca5, NUMBER = 0x8ca7;
const REFUSE = 0x8ca9, FAIL = 0x8cab, HANG = 0x8cad, NOTE = 0x8caf, NOT_YOURS = 0x8cb3;
const OFFSETS = [0, 0x100, 0x200]; // from these types to those of other programs

const withType = (type, body) => Buffer.concat([Buffer.of(type >> 8, type & 0xff), body]);
const refuse = () => {
  throw new Refuse("not today", 1000);
};
const turnAway = () => {
  throw new Refuse("not for you", Code.NOT_ALLOWED);
};

/** The application of the vectors, with types so much higher. `tell(event, fields)` tells what happens to it. */
function application(disk, offset, tell) {
  const handlers = {
    [ASK]: { reply: (payload) => withType(ANSWER + offset, payload.subarray(2)) },
    [COUNT]: {
      async *stream(payload) {
        const count = payload.readUInt16BE(2);
        for (let number = 0; number < count; number++) {
          yield withType(NUMBER + offset, Buffer.of(number >> 8, number & 0xff));
        }
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
        tell("handled", { payload: hex(payload) });
        return new Promise((_, reject) => {
          signal.addEventListener("abort", () => {
            tell("cancelled", { payload: hex(payload) });
            reject(new Error("cancelled"));
          });
        });
      },
    },
    [NOTE]: {
      take(payload, node, changes) {
        changes[`note/${disk.under("note/").length}`] = hex(payload);
        tell("handled", { payload: hex(payload) });
      },
    },
    [NOT_YOURS]: { reply: turnAway, take: turnAway },
  };
  return Object.fromEntries(Object.entries(handlers).map(([type, handler]) => [Number(type) + offset, handler]));
}

const TYPES = [ASK, COUNT, REFUSE, FAIL, HANG, NOTE, NOT_YOURS];

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
const running = new Map(); // programs by name: {program, disk, extension}

const nodeId = start({
  seed,
  types: [SESSION_TYPE, ...OFFSETS.flatMap((offset) => TYPES.map((type) => type + offset))],
  on: {
    connected(peer, fields) {
      event("connected", { peer, ...fields });
      for (const { program } of running.values()) program.connected(peer);
    },
    disconnected(peer, fields) {
      for (const { program } of running.values()) program.disconnected(peer);
      event("disconnected", { peer, ...fields });
    },
    received(peer, payload) {
      for (const one of disturbed(payload)) {
        for (const { program } of running.values()) program.receive(peer, one);
      }
    },
  },
});

/** Start a program, or start it again; its number comes of its name. */
function startProgram({ program: name, disk: path, extension, offset }) {
  if (running.has(name)) throw new Error(`the program ${name} is running`);
  const tell = (what, fields) => event(what, name === MAIN.program ? fields : { program: name, ...fields });
  const disk = new FatalDisk(path);
  const program = new Program({
    number: createHash("sha256").update(`${nodeId}/${name}`).digest().readBigUInt64BE(),
    send: (peer, payload) => connectedPeers().includes(peer) && send(peer, disturbed(payload)),
    async room(peer) {
      if (connectedPeers().includes(peer)) await flushed(peer);
      await new Promise(setImmediate); // let what arrived meanwhile be read
    },
    handlers: application(disk, offset, tell),
    disk,
    settled(content, error) {
      const payload = hex(content);
      if (error) tell("failed", { payload, code: error.code, text: error.message });
      else tell("delivered", { payload });
    },
    warn: (text) => tell("warning", { text }),
    extensions: [{ name: extension, versions: ["1.0"], types: TYPES.map((type) => type + offset) }],
  });
  if ([...running.values()].some((other) => other.program.stores.some((store) => program.stores.includes(store)))) {
    tell("warning", { text: "the store is in use by another program" });
    program.renewStore();
  }
  running.set(name, { program, disk, extension });
  for (const peer of connectedPeers()) program.connected(peer);
  return described(name);
}

function described(name) {
  const { program, extension } = running.get(name);
  const { number, instance, stores } = program;
  return { program: String(number), instance, stores: stores.map(String), extension };
}

/** A running program, by its name. */
function find(name = MAIN.program) {
  if (!running.has(name)) throw new Error(`no program ${name} is running`);
  return running.get(name);
}

startProgram({ ...MAIN, disk: path });

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
const U64 = ["program", "assembles", "transfer", "total", "id", "lane", "epoch", "base", "sequence", "value"];
const plain = (_, value) => (typeof value === "bigint" ? String(value) : value);

function toJson(frame) {
  const content = frame.content && { content: hex(frame.content) };
  return JSON.parse(JSON.stringify({ ...frame, ...content }, plain));
}

function fromJson(fields) {
  const frame = { ...fields };
  for (const name of U64) if (name in frame) frame[name] = BigInt(frame[name]);
  if ("content" in frame) frame.content = Buffer.from(frame.content, "hex");
  frame.stores = frame.stores?.map(BigInt);
  frame.failures = frame.failures?.map((refusal) => ({ ...refusal, sequence: BigInt(refusal.sequence) }));
  return frame;
}

function decoded(payload) {
  const bytes = Buffer.from(payload, "hex");
  try {
    const frame = decode(bytes);
    return frame === null ? { reason: "ignored" } : { frame: toJson(frame), bytes: hex(encode(frame)) };
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
  connected: () => connectedPeers(),

  /** Start one more program with a disk of its own, or one that has ended; its types are so much higher. */
  start_program: ({ program, disk, extension = MAIN.extension, offset = MAIN.offset }) =>
    startProgram({ program, disk, extension, offset }),

  /** End a program; unless it is leaving, nobody is told. */
  end_program({ program: name, leaving = true }) {
    find(name).program.end({ leaving });
    running.delete(name);
  },

  /** The numbers of the programs that are running, by name. */
  programs: () => Object.fromEntries([...running.keys()].map((name) => [name, described(name)])),

  request({ peer, payload, program, extension = find(program).extension }) {
    begin(async (signal) => {
      const reply = find(program).program.request(peer, extension, Buffer.from(payload, "hex"), { signal });
      return { reply: hex(await reply) };
    });
  },

  /** Ask for all of these at once; gives the replies. */
  requests({ peer, payloads, program, extension = find(program).extension }) {
    const asking = find(program).program;
    const replies = payloads.map((payload) => asking.request(peer, extension, Buffer.from(payload, "hex")));
    return Promise.all(replies.map(async (reply) => hex(await reply)));
  },

  /** Ask for a stream and read `used` parts of it at once, the others when `result` is wanted; else all at once. */
  stream({ peer, payload, credit, used = -1, program, extension = find(program).extension }) {
    const content = Buffer.from(payload, "hex");
    begin(async (signal) => {
      return readStream(find(program).program.stream(peer, extension, content, { credit, signal }), used);
    });
  },

  give_up: () => asking.giveUp.abort(),

  result() {
    asking.readOn?.();
    return asking.result;
  },

  send_reliably({ peer, payload, payloads = [payload], program, extension = find(program).extension }) {
    for (const one of payloads) find(program).program.sendReliably(peer, extension, Buffer.from(one, "hex"));
  },

  /** How many messages on the disk are not settled. */
  unsettled: ({ program }) =>
    find(program).disk.under("out/").filter(([name]) => name.split("/").length === 4).length,

  /** The notes that were taken. */
  notes: ({ program }) => find(program).disk.under("note/").map(([, payload]) => payload),

  /** From now on lose one share of the frames of reliable delivery, both ways, and double another; gives counts. */
  disturb({ lost = 0, twice = 0 }) {
    Object.assign(disturbance, { lost, twice });
    return counts;
  },

  /** For connections made from now on; what is not given is as at first. */
  limit(limits) {
    for (const { program } of running.values()) program.limits = { ...LIMITS, ...limits };
  },

  die: ({ program, ...how }) => find(program).disk.die(how),

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
