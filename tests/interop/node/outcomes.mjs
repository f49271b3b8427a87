// How things end, and what else the modules of the session share.

import { randomBytes } from "node:crypto";
import { Code } from "./frames.mjs";

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

export const random64 = () => randomBytes(8).readBigUInt64BE();
export const typeOf = (payload) => payload.readUInt16BE();
export const hex = (bytes) => bytes.toString("hex");

/** Sorts sessions by the numbers of their programs. */
export const byProgram = (a, b) => {
  if (a.hello.program !== b.hello.program) return a.hello.program < b.hello.program ? -1 : 1;
  return a.instance - b.instance;
};
