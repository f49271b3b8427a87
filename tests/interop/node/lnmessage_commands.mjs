// What a test can have lnmessage do, in Node.js or in a page: connect, disconnect, send, commando.

import LnMessage from "lnmessage";
import { getPublicKey } from "lnmessage/dist/crypto.js";

const MAC_SIZE = 16; // it hands on each message with the MAC stuck to its end

const hex = (bytes) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
const bytes = (text) => Uint8Array.from(text.match(/../g) ?? [], (byte) => parseInt(byte, 16));

export const nodeId = (key) => hex(getPublicKey(key));

/** Return the commands of one lnmessage with this private key; `makeSocket` makes what carries TCP, if it is wanted. */
export function commands(key, event, makeSocket) {
  let peer;
  return {
    /** Dial; "connected" follows when the other end's init has come and ours is sent. A host may begin with ws://. */
    connect({ node_id, host, port }) {
      const webSocket = host.startsWith("ws://");
      peer = new LnMessage({
        remoteNodePublicKey: node_id,
        ip: host.replace("ws://", ""),
        port,
        privateKey: key,
        ...(webSocket ? { wsProtocol: "ws:" } : { tcpSocket: makeSocket() }),
      });
      peer.decryptedMsgs$.subscribe((bytes) => {
        event("received", { peer: node_id, payload: hex(bytes.subarray(0, bytes.length - MAC_SIZE)) });
      });
      let connected = false;
      peer.connectionStatus$.subscribe((status) => {
        if (status === "connected") event("connected", { peer: node_id });
        if (status === "disconnected" && connected) event("disconnected", { peer: node_id });
        connected = status === "connected";
      });
      peer.connect(false);
    },

    disconnect() {
      peer.disconnect();
    },

    send({ payload }) {
      peer.socket.send(peer.noise.encryptMessage(peer.Buffer.from(bytes(payload))));
    },

    /** Run a command on the node by its commando: {"result": ...}, or {"error": ...} as lnmessage has it. */
    async commando({ method, params, rune }) {
      try {
        return { result: await peer.commando({ method, params, rune }) };
      } catch (error) {
        return { error: { code: error.code, message: error.message, data: error.data } };
      }
    },
  };
}
