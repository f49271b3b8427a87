// LSPS0, 1, 2 on a Lightning node of LDK's, as client and as LSP, written from bLIPs 50, 51 and 52.
//
// Driven over JSON lines (json_lines.mjs). The one argument: {"seed": 64 hex digits, "lsp": whether it is an LSP}.
// Commands: listen connect disconnect call raw quit. Events: ready connected disconnected, and "wrong" for whatever of
// a peer's is not as a bLIP has it.

import { createHmac, randomUUID } from "node:crypto";
import { event, serve } from "./json_lines.mjs";
import { connect, disconnect, listen, send, start } from "./ldk_node.mjs";

const TYPE = 37913;
const FEATURE = 729;
const { seed, lsp } = JSON.parse(process.argv[2]);

const waiting = new Map(); // our requests by id
const orders = new Map();
const wrong = (peer, what) => event("wrong", { peer, what });

function write(peer, object) {
  const body = typeof object === "string" ? object : JSON.stringify(object);
  send(peer, [Buffer.concat([Buffer.of(TYPE >> 8, TYPE & 0xff), Buffer.from(body)])]);
}

// What comes ---------------------------------------------------------------------------------------------

const isObject = (value) => value !== null && typeof value === "object" && !Array.isArray(value);

function received(peer, payload) {
  if (payload.readUInt16BE() !== TYPE) return;
  let object = null;
  const text = payload.subarray(2).toString();
  try {
    if (!text.includes("\0")) object = JSON.parse(text);
  } catch {} // no JSON
  if (!isObject(object) || object.jsonrpc !== "2.0") object = null;
  if (lsp) return object?.method && "id" in object ? answer(peer, object) : refuse(peer, text);
  if (object === null || "method" in object) return wrong(peer, `no answer: ${text}`);
  const asked = waiting.get(object.id);
  if (asked === undefined) {
    if (object.id === null) event("unread", { error: object.error });
    return;
  }
  waiting.delete(object.id);
  checkAnswer(peer, object);
  asked(object);
}

function checkAnswer(peer, object) {
  if (("result" in object) === ("error" in object)) wrong(peer, "an answer has a result or an error");
  if ("result" in object && !isObject(object.result)) wrong(peer, "a result is an object");
  if ("error" in object) {
    const { code, message, data } = object.error;
    if (!Number.isInteger(code) || typeof message !== "string") wrong(peer, "an error has a code and a message");
    if (data !== undefined && !isObject(data)) wrong(peer, "data is an object");
    if (code === -32602 && !Array.isArray(data?.unrecognized)) wrong(peer, "-32602 names what is unrecognized");
  }
  checkValues(peer, object.result ?? {}, "result");
}

/** Amounts are strings of digits, times are YYYY-MM-DDThh:mm:ss.uuuZ, by the names that bLIPs 51 and 52 give them. */
function checkValues(peer, value, where) {
  for (const [key, inner] of Object.entries(value)) {
    const path = `${where}.${key}`;
    if (/_m?sat$/.test(key) && !(typeof inner === "string" && /^(0|[1-9][0-9]*)$/.test(inner))) wrong(peer, `amount ${path}`);
    const time = ["valid_until", "expires_at", "created_at", "funded_at"].includes(key);
    if (time && !/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/.test(inner)) wrong(peer, `time ${path} ${inner}`);
    if (inner !== null && typeof inner === "object") checkValues(peer, inner, path);
  }
}

// The LSP ------------------------------------------------------------------------------------------------

class Failure extends Error {
  constructor(code, message, data) {
    super(message);
    Object.assign(this, { code, data });
  }
}

const invalid = (property, message) => new Failure(-32602, "Invalid params", { unrecognized: [], property, message });

function refuse(peer, text) {
  wrong(peer, `no request: ${text}`);
  write(peer, { jsonrpc: "2.0", id: null, error: { code: -32700, message: "parse error" } });
}

function answer(peer, { id, method, params = {} }) {
  if (typeof id !== "string" || id.length < 20) wrong(peer, `id ${JSON.stringify(id)} may be guessed`);
  if (!isObject(params)) wrong(peer, "params are by name");
  const reply = { jsonrpc: "2.0", id };
  try {
    const [names, run] = methods[method] ?? [];
    if (run === undefined) throw new Failure(-32601, "Method not found");
    const unrecognized = Object.keys(params).filter((name) => !names.includes(name));
    if (unrecognized.length) throw new Failure(-32602, "Invalid params", { unrecognized });
    checkValues(peer, { ...params, opening_fee_params: null }, "params");
    write(peer, { ...reply, result: run(params, peer) });
  } catch (error) {
    const { code = -32603, message, data } = error;
    write(peer, { ...reply, error: { code, message, ...(data && { data }) } });
  }
}

const info = {
  min_required_channel_confirmations: 0, min_funding_confirms_within_blocks: 6, supports_zero_channel_reserve: true,
  max_channel_expiry_blocks: 1000, min_initial_client_balance_sat: "0", max_initial_client_balance_sat: "10000",
  min_initial_lsp_balance_sat: "1", max_initial_lsp_balance_sat: "100000000", min_channel_balance_sat: "50000",
  max_channel_balance_sat: "100000000",
};

function createOrder(wish) {
  if (typeof wish.announce_channel !== "boolean") throw invalid("announce_channel", "Not a boolean");
  for (const side of ["lsp", "client"]) {
    const [least, most] = ["min", "max"].map((word) => `${word}_initial_${side}_balance_sat`);
    const balance = BigInt(wish[`${side}_balance_sat`]);
    if (balance < BigInt(info[least])) throw new Failure(100, "Option mismatch", { property: least });
    if (balance > BigInt(info[most])) throw new Failure(100, "Option mismatch", { property: most });
  }
  if (wish.token) throw new Failure(102, "Unrecognized or stale token", {});
  const { refund_onchain_address: refund, ...mirrored } = wish;
  const expires_at = "2100-01-01T00:00:00.000Z";
  const total = String(BigInt(wish.client_balance_sat) + 8888n);
  const way = { state: "EXPECT_PAYMENT", expires_at, fee_total_sat: "8888", order_total_sat: total };
  const order = {
    order_id: randomUUID(), ...mirrored, token: "", created_at: new Date().toISOString(), order_state: "CREATED",
    payment: {
      bolt11: { ...way, invoice: "lnbcrt1" },
      bolt13: { later: true }, // clients ignore payments that they do not know
      ...(refund && { onchain: { ...way, address: "bcrt1q", min_onchain_payment_confirmations: 1, refund_onchain_address: refund } }),
    },
    channel: null, "example-undefined-key-that-clients-should-ignore": true,
  };
  orders.set(order.order_id, order);
  return order;
}

// The promise is of the very text of each field, so it has to come back as it was sent
const promised = (params, peer) => createHmac("sha256", seed).update(JSON.stringify([peer, ...params])).digest("base64");

function menu(peer) {
  return [1200, 2400].map((proportional) => {
    const params = {
      min_fee_msat: "546000", proportional, valid_until: "2100-02-23T08:47:30Z", min_lifetime: 1008,
      max_client_to_self_delay: 2016, min_payment_size_msat: "1000", max_payment_size_msat: "1000000000",
    };
    return { ...params, promise: promised(Object.values(params), peer) };
  });
}

function buy({ opening_fee_params, payment_size_msat }, peer) {
  const { promise, ...params } = opening_fee_params;
  if (promise !== promised(Object.values(params), peer)) throw new Failure(201, "Invalid opening fee params");
  if (payment_size_msat !== undefined) {
    const size = BigInt(payment_size_msat);
    const share = (size * BigInt(params.proportional) + 999999n) / 1000000n;
    const fee = share < BigInt(params.min_fee_msat) ? BigInt(params.min_fee_msat) : share;
    if (fee >= size) throw new Failure(202, "Payment size too small");
  }
  return { jit_channel_scid: "29451x4815x1", lsp_cltv_expiry_delta: 144 };
}

const ORDER = ["lsp_balance_sat", "client_balance_sat", "required_channel_confirmations",
  "funding_confirms_within_blocks", "channel_expiry_blocks", "token", "refund_onchain_address", "announce_channel"];

const methods = {
  "lsps0.list_protocols": [[], () => ({ protocols: [1, 2], "example-undefined-key": true })],
  "lsps1.get_info": [[], () => info],
  "lsps1.create_order": [ORDER, createOrder],
  "lsps1.get_order": [["order_id"], ({ order_id }) => {
    if (!orders.has(order_id)) throw new Failure(101, "Not found", {});
    return orders.get(order_id);
  }],
  "lsps2.get_info": [["token"], (_, peer) => ({ opening_fee_params_menu: menu(peer) })],
  "lsps2.buy": [["opening_fee_params", "payment_size_msat"], buy],
};

// ------------------------------------------------------------------------------------------------------

const nodeId = start({
  seed,
  types: [TYPE],
  features: lsp ? [FEATURE] : [],
  on: {
    connected: (peer, fields) => event("connected", { peer, ...fields }),
    disconnected: (peer, fields) => event("disconnected", { peer, ...fields }),
    received,
  },
});

serve({
  listen,
  connect,
  disconnect,

  /** Call a method of an LSP; gives its answer, the whole object. */
  call({ peer, method, params }) {
    const id = randomUUID();
    return new Promise((resolve) => {
      waiting.set(id, resolve);
      write(peer, { jsonrpc: "2.0", id, method, params });
    });
  },

  /** Send any text in a message of LSPS0. */
  raw({ peer, text }) {
    write(peer, text);
  },

  quit() {
    setImmediate(() => process.exit(0));
  },
});

event("ready", { node_id: nodeId });
