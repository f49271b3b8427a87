// The frames of the session protocol, written from docs/session-protocol.md: "Frames" and the rules of each kind.
// A frame is an object with its `kind` and the fields the page names: `to` and `from` are the instances, u64 fields are
// BigInt, contents are Buffers.

export const SESSION_TYPE = 49373;
export const LONGEST_PAYLOAD = 65535;
const MOST = (1n << 62n) - 1n;

export const Kind = { hello: 9, fragment: 10, request: 11, reply: 12, failure: 13, cancel: 14, data: 15, ack: 16 };
export const Hello = { answer: 1, leaving: 2 };
export const Scope = { request: 1, transfer: 2, lane: 3 };
export const Code = {
  INTERNAL: 1, UNKNOWN_MESSAGE: 2, MALFORMED: 3, REFUSED: 4, QUOTA: 5, NOT_ALLOWED: 6, NO_REPLY: 7, UNSUPPORTED: 8,
  TOO_LARGE: 9, EXPIRED: 10,
};

const ADDRESSES = [["to", 4], ["from", 4]];
const HEADERS = {
  hello: [["flags", 1], ["lowest", 1], ["highest", 1], ["program", 8]],
  fragment: [["transfer", 8], ["total", 8], ["size", 2], ["piece", 4]],
  request: [["id", 8], ["credit", 4]],
  reply: [["id", 8], ["flags", 1]],
  failure: [["scope", 1], ["id", 8], ["code", 2]],
  cancel: [["scope", 1], ["id", 8]],
  data: [["lane", 8], ["epoch", 8], ["base", 8], ["sequence", 8]],
  ack: [["scope", 1], ["flags", 1], ["id", 8], ["epoch", 8], ["value", 8]],
};
const NAMES = Object.fromEntries(Object.entries(Kind).map(([name, number]) => [number, name]));
const SCOPES = { failure: [1, 2], cancel: [1, 2], ack: [1, 3] };
const VERSION = /^(0|[1-9][0-9]{0,8})(\.(0|[1-9][0-9]{0,8}))*$/;
const NAME = /^[!-~]+$/;

/** A frame that is `malformed` or `not understood`. */
export class FrameError extends Error {
  constructor(reason, text) {
    super(`${reason}: ${text}`);
    this.reason = reason;
  }
}

const malformed = (text) => new FrameError("malformed", text);

// Integers ----------------------------------------------------------------------------------------------

function readUint(bytes, at, size) {
  return size === 8 ? bytes.readBigUInt64BE(at) : bytes.readUIntBE(at, size);
}

function writeUint(value, size) {
  const bytes = Buffer.alloc(size);
  if (size === 8) bytes.writeBigUInt64BE(BigInt(value));
  else bytes.writeUIntBE(Number(value), 0, size);
  return bytes;
}

function writeTruncated(value) {
  const bytes = writeUint(value, 8);
  let start = 0;
  while (start < 8 && bytes[start] === 0) start += 1;
  return bytes.subarray(start);
}

function readTruncated(bytes, size) {
  if (bytes.length > size) throw malformed(`an integer of ${bytes.length} bytes`);
  if (bytes[0] === 0) throw malformed("an integer that starts with zero");
  const value = bytes.length === 0 ? 0n : BigInt(`0x${bytes.toString("hex")}`);
  return size === 8 ? value : Number(value);
}

function readBigsize(bytes, at) {
  if (at >= bytes.length) throw malformed("a bigsize is missing");
  const first = bytes[at];
  if (first < 0xfd) return [BigInt(first), at + 1];
  const size = { 0xfd: 2, 0xfe: 4, 0xff: 8 }[first];
  if (at + 1 + size > bytes.length) throw malformed("a bigsize is cut off");
  const value = BigInt(readUint(bytes, at + 1, size));
  if (value < { 2: 0xfdn, 4: 0x10000n, 8: 0x100000000n }[size]) throw malformed("a bigsize is not minimal");
  return [value, at + 1 + size];
}

function writeBigsize(value) {
  return value < 0xfd ? writeUint(value, 1) : Buffer.concat([Buffer.of(0xfd), writeUint(value, 2)]);
}

// Records -----------------------------------------------------------------------------------------------

const truncated = (size) => ({ read: (bytes) => readTruncated(bytes, size), write: writeTruncated });
const stores = {
  read: (bytes) => bytes, // to be looked at with the content
  write: (numbers) => Buffer.concat(numbers.map((number) => writeUint(number, 8))),
};

const RECORDS = {
  hello: { 1: ["assembles", truncated(8)], 3: ["requests", truncated(4)], 5: ["stores", stores] },
  request: { 1: ["wait", truncated(4)], 3: ["urgent", truncated(0)] },
};

// Any frame ---------------------------------------------------------------------------------------------

/** Whom a payload of type 49373 is for, and from: `{to, from, kind}`; null for one to ignore, from nobody. */
export function addresses(payload) {
  if (payload.length < 11) return null;
  const [to, from] = [payload.readUInt32BE(3), payload.readUInt32BE(7)];
  return from === 0 ? null : { to, from, kind: NAMES[payload[2]] };
}

/** Read a payload of type 49373: a frame, or null for one that is to be ignored. Throws FrameError. */
export function decode(payload) {
  const { to, kind } = addresses(payload) ?? {};
  if (kind === undefined || (to === 0 && kind !== "hello")) return null;
  const header = [...ADDRESSES, ...HEADERS[kind]];
  let at = 3;
  if (payload.length < at + header.reduce((sum, [, size]) => sum + size, 0) + 4) throw malformed("header cut off");
  const frame = { kind };
  for (const [name, size] of header) {
    frame[name] = readUint(payload, at, size);
    at += size;
  }
  if (SCOPES[kind] !== undefined && !SCOPES[kind].includes(frame.scope)) return null;
  const end = at + 4 + payload.readUInt32BE(at);
  if (end > payload.length) throw malformed("content cut off");
  const content = payload.subarray(at + 4, end);
  readRecords(frame, payload, end);
  CONTENTS[kind](frame, content);
  return frame;
}

function readRecords(frame, payload, start) {
  const found = [];
  let last = -1n;
  for (let at = start; at < payload.length; ) {
    const [type, lengthAt] = readBigsize(payload, at);
    if (type <= last) throw malformed("records do not ascend");
    last = type;
    const [length, valueAt] = readBigsize(payload, lengthAt);
    if (length > BigInt(payload.length - valueAt)) throw malformed("a record is cut off");
    at = valueAt + Number(length);
    found.push([type, payload.subarray(valueAt, at)]);
  }
  for (const [type, value] of found) {
    const known = RECORDS[frame.kind]?.[type];
    if (known !== undefined) frame[known[0]] = known[1].read(value);
    else if (type % 2n === 0n) throw new FrameError("not understood", `record ${type}`);
  }
}

/** Write a frame as a payload. */
export function encode(frame) {
  const parts = [writeUint(SESSION_TYPE, 2), writeUint(Kind[frame.kind], 1)];
  for (const [name, size] of [...ADDRESSES, ...HEADERS[frame.kind]]) parts.push(writeUint(frame[name], size));
  const content = CONTENT_WRITERS[frame.kind]?.(frame) ?? frame.content ?? Buffer.alloc(0);
  parts.push(writeUint(content.length, 4), content);
  for (const [type, [name, form]] of Object.entries(RECORDS[frame.kind] ?? {})) {
    if (frame[name] === undefined) continue;
    const value = form.write(frame[name]);
    parts.push(Buffer.of(Number(type)), writeBigsize(value.length), value);
  }
  return Buffer.concat(parts);
}

/** What to answer a frame with that `decode` refused: its scope and id, or null. */
export function subject(payload) {
  const scope = { [Kind.request]: Scope.request, [Kind.fragment]: Scope.transfer }[payload[2]];
  return payload.length < 19 || scope === undefined ? null : { scope, id: payload.readBigUInt64BE(11) };
}

// Contents ----------------------------------------------------------------------------------------------

function message(content) {
  if (content.length < 2) throw malformed("no message in it");
  if (content.readUInt16BE() === SESSION_TYPE) throw malformed("a frame in it");
  return content;
}

function text(bytes) {
  if (bytes.length > 1000) throw malformed("text too long");
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw malformed("text is not UTF-8");
  }
}

const CONTENTS = {
  hello(frame, content) {
    if (frame.flags & Hello.answer && frame.flags & Hello.leaving) throw malformed("leaving, and wants an answer");
    if (frame.lowest === 0 || frame.lowest > frame.highest) throw malformed("versions");
    if (content.length > 32768) throw malformed("hello too long");
    if (frame.stores !== undefined) frame.stores = readStores(frame.stores);
    frame.extensions = readExtensions(content);
  },
  fragment(frame, content) {
    frame.content = content;
  },
  request(frame, content) {
    frame.content = message(content);
  },
  reply(frame, content) {
    if (frame.flags & 2) {
      if (frame.flags & 1 || content.length > 0) throw malformed("an end that is more than that");
      frame.content = content;
    } else {
      frame.content = message(content);
    }
  },
  failure(frame, content) {
    frame.text = text(content);
  },
  cancel(frame, content) {
    if (content.length > 0) throw malformed("cancel with content");
  },
  data(frame, content) {
    const { epoch, base, sequence } = frame;
    if (epoch < 1n || base < 1n || sequence < base || sequence > base + 1023n) throw malformed("numbers");
    if (epoch > MOST || base > MOST || sequence > MOST) throw malformed("numbers too great");
    frame.content = message(content);
  },
  ack(frame, content) {
    if (frame.value > MOST || frame.epoch > MOST) throw malformed("numbers too great");
    if (frame.scope === Scope.request && (frame.epoch !== 0n || content.length > 0)) throw malformed("a stream's ack");
    if (frame.scope === Scope.lane && frame.epoch === 0n) throw malformed("epoch 0");
    frame.failures = readRefusals(content, frame.value);
  },
};

const CONTENT_WRITERS = {
  hello: (frame) => Buffer.concat(frame.extensions.flatMap(writeExtension)),
  failure: (frame) => Buffer.from(frame.text),
  ack: (frame) => Buffer.concat(frame.failures.map(writeRefusal)),
};

/** Reads a content field by field. */
class Fields {
  constructor(bytes) {
    this.bytes = bytes;
    this.at = 0;
  }

  get more() {
    return this.at < this.bytes.length;
  }

  take(size) {
    if (this.at + size > this.bytes.length) throw malformed("ends within a field");
    this.at += size;
    return this.bytes.subarray(this.at - size, this.at);
  }

  uint(size) {
    return readUint(this.take(size), 0, size);
  }
}

function readStores(bytes) {
  if (bytes.length === 0 || bytes.length > 32 * 8 || bytes.length % 8 > 0) throw malformed("stores");
  return Array.from({ length: bytes.length / 8 }, (_, index) => readUint(bytes, index * 8, 8));
}

function readExtensions(content) {
  const fields = new Fields(content);
  const extensions = [];
  while (fields.more) {
    const name = fields.take(fields.uint(1)).toString("latin1");
    if (!NAME.test(name)) throw malformed("name");
    if (extensions.length > 0 && name <= extensions.at(-1).name) throw malformed("names do not ascend");
    const versions = Array.from({ length: fields.uint(1) }, () => fields.take(fields.uint(1)).toString("latin1"));
    if (versions.length === 0 || !versions.every((version) => VERSION.test(version))) throw malformed("versions");
    const types = Array.from({ length: fields.uint(2) }, () => fields.uint(2));
    if (types.some((type, index) => index > 0 && type <= types[index - 1])) throw malformed("types do not ascend");
    extensions.push({ name, versions, types });
  }
  if (extensions.length > 255) throw malformed("too many extensions");
  return extensions;
}

function writeExtension({ name, versions, types }) {
  return [
    writeUint(name.length, 1),
    Buffer.from(name),
    writeUint(versions.length, 1),
    ...versions.flatMap((version) => [writeUint(version.length, 1), Buffer.from(version)]),
    writeUint(types.length, 2),
    ...types.map((type) => writeUint(type, 2)),
  ];
}

function readRefusals(content, value) {
  const fields = new Fields(content);
  const refusals = [];
  while (fields.more) {
    const sequence = fields.uint(8);
    if (sequence <= (refusals.at(-1)?.sequence ?? 0n) || sequence > value) throw malformed("refusals do not ascend");
    const code = fields.uint(2);
    refusals.push({ sequence, code, text: text(fields.take(fields.uint(2))) });
  }
  return refusals;
}

function writeRefusal({ sequence, code, text }) {
  const bytes = Buffer.from(text);
  return Buffer.concat([writeUint(sequence, 8), writeUint(code, 2), writeUint(bytes.length, 2), bytes]);
}

// What two hellos have in common ------------------------------------------------------------------------

export function compareVersions(left, right) {
  const [a, b] = [left, right].map((version) => version.split(".").map(Number));
  for (let index = 0; index < Math.min(a.length, b.length); index++) {
    if (a[index] !== b[index]) return a[index] - b[index];
  }
  return a.length - b.length;
}

/** The session's version and each common extension's; null without a version in common. */
export function inCommon(ours, theirs) {
  const version = Math.min(ours.highest, theirs.highest);
  if (version < Math.max(ours.lowest, theirs.lowest)) return null;
  const extensions = Object.create(null); // a name may be anything
  for (const { name, versions } of ours.extensions) {
    const other = theirs.extensions.find((extension) => extension.name === name)?.versions ?? [];
    const both = versions.filter((version) => other.includes(version)).sort(compareVersions);
    if (both.length > 0) extensions[name] = both.at(-1);
  }
  return { version, extensions };
}
