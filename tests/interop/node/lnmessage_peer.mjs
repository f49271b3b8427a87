// lnmessage, which dials only, driven over JSON lines (json_lines.mjs). Commands: connect disconnect send commando quit.
// Events: ready connected disconnected received. Its one argument is a JSON object: {"key": 64 hex digits}.

import net from "node:net";
import { event, serve } from "./json_lines.mjs";
import { commands, nodeId } from "./lnmessage_commands.mjs";

const { key } = JSON.parse(process.argv[2]);

serve({
  ...commands(key, event, () => new net.Socket()),

  quit() {
    setImmediate(() => process.exit(0));
  },
});

event("ready", { node_id: nodeId(key) });
