// The way a test drives a peer: JSON objects, one a line. Commands come in on stdin:
//     {"id": 1, "command": "connect", ...}
// each is answered on stdout, in whatever order they finish:
//     {"id": 1, "result": ...}  or  {"id": 1, "error": "text"}
// and what happens meanwhile is told as {"event": "connected", ...}. The process ends when stdin does.

import { createHash } from "node:crypto";
import { createInterface } from "node:readline";

// Libraries print on the console; stdout is ours.
console.log = console.info = console.error;

export const hex = (bytes) => Buffer.from(bytes).toString("hex");

function write(object) {
  process.stdout.write(JSON.stringify(object) + "\n");
}

export function event(name, fields = {}) {
  write({ event: name, ...fields });
}

/** Answer commands with the function of that name in `commands` until stdin ends. */
export function serve(commands) {
  const lines = createInterface({ input: process.stdin });
  lines.on("line", async (line) => {
    const { id, command, ...parameters } = JSON.parse(line);
    try {
      if (!Object.hasOwn(commands, command)) throw new Error(`unknown command ${command}`);
      write({ id, result: (await commands[command](parameters)) ?? null });
    } catch (error) {
      write({ id, error: String(error?.message ?? error) });
    }
  });
  lines.on("close", () => process.exit(0));
}

/** Body of the `index`th message of a flood: its index, little endian, over and over. */
export function floodBody(index, size) {
  const body = Buffer.alloc(size);
  const word = Buffer.alloc(4);
  word.writeUInt32LE(index);
  return body.fill(word);
}

/** What arrived of one type that is counted instead of told: how many, how many bytes, and a digest of all in order. */
export class Tally {
  constructor(goal) {
    this.goal = goal;
    this.count = 0;
    this.bytes = 0;
    this.digest = createHash("sha256");
  }

  /** Add one whole payload; say whether the goal was reached by it. */
  add(payload) {
    const length = Buffer.alloc(4);
    length.writeUInt32BE(payload.length);
    this.digest.update(length).update(payload);
    this.count += 1;
    this.bytes += payload.length;
    return this.count === this.goal;
  }

  result() {
    return { count: this.count, bytes: this.bytes, digest: this.digest.copy().digest("hex") };
  }
}
