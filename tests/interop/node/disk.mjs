// A disk: JSON values by name, in one file that grows by a line for each transaction. A line that has no end was being
// written when the process died: nothing of its transaction has happened.

import { closeSync, existsSync, fsyncSync, openSync, readFileSync, renameSync, writeSync } from "node:fs";
import { dirname } from "node:path";

export class Disk {
  #values = new Map();
  #file;

  /** Open the file at `path`, or make it; what was written before is put in order first. */
  constructor(path) {
    const lines = existsSync(path) ? readFileSync(path, "utf8").split("\n").slice(0, -1) : [];
    for (const line of lines) this.#apply(JSON.parse(line));
    const fresh = `${path}.new`;
    this.#file = openSync(fresh, "w");
    this.#append(`${JSON.stringify(Object.fromEntries(this.#values))}\n`);
    renameSync(fresh, path);
    const folder = openSync(dirname(path), "r");
    fsyncSync(folder);
    closeSync(folder);
  }

  /** The value of a name; undefined if it has none. */
  get(name) {
    return this.#values.get(name);
  }

  /** The names that begin so, with their values, in the order in which they were last written. */
  under(prefix) {
    return [...this.#values].filter(([name]) => name.startsWith(prefix));
  }

  /** Change all of this at once: names and their values, null for none. It is on disk when this returns. */
  commit(changes) {
    this.write(`${JSON.stringify(changes)}\n`);
    this.#apply(changes);
  }

  /** Write to the file; here a subclass may come in between. */
  write(text) {
    this.#append(text);
  }

  #append(text) {
    const bytes = Buffer.from(text);
    for (let written = 0; written < bytes.length; ) written += writeSync(this.#file, bytes, written);
    fsyncSync(this.#file);
  }

  #apply(changes) {
    for (const [name, value] of Object.entries(changes)) {
      this.#values.delete(name);
      if (value !== null) this.#values.set(name, value);
    }
  }
}
