// What runs in the page: lnmessage's commands, for lnmessage_browser.mjs to call.

import { commands, nodeId } from "./lnmessage_commands.mjs";

window.start = (key) => {
  window.commands = commands(key, (name, fields) => window.told(name, fields));
  return nodeId(key);
};
