// lnmessage in a page of Chromium, which Playwright drives; to the test it is as lnmessage_peer.mjs is.
// Its one argument is a JSON object: {"key": 64 hex digits, "chromium": path of the program}.

import { once } from "node:events";
import { createServer } from "node:http";
import { build } from "esbuild";
import { chromium } from "playwright-core";
import { fileURLToPath } from "node:url";
import { event, serve } from "./json_lines.mjs";

const { key, chromium: executablePath } = JSON.parse(process.argv[2]);

const bundle = await build({
  entryPoints: [fileURLToPath(new URL("./lnmessage_page.mjs", import.meta.url))],
  bundle: true,
  write: false,
  format: "iife",
  platform: "browser",
  logLevel: "error",
});
const site = createServer((request, response) => {
  response.setHeader("content-type", "text/html").end("<title>wallet</title>");
}).listen(0, "127.0.0.1");
await once(site, "listening");
const browser = await chromium.launch({ executablePath, args: ["--no-sandbox"] });
const page = await browser.newPage();
page.on("pageerror", (error) => console.error(error));
page.on("console", (message) => console.error(message.text()));
await page.exposeFunction("told", (name, fields) => event(name, fields));
// A page of this machine: Chromium keeps other sites' pages from its addresses
await page.goto(`http://127.0.0.1:${site.address().port}/`);
await page.addScriptTag({ content: bundle.outputFiles[0].text });
const node_id = await page.evaluate((key) => window.start(key), key);

const run = (name) => (parameters) =>
  page.evaluate(([name, parameters]) => window.commands[name](parameters), [name, parameters]);

serve({
  ...Object.fromEntries(["connect", "disconnect", "send", "commando"].map((name) => [name, run(name)])),

  /** The name and version of the browser. */
  browser: () => browser.version(),
});

process.on("exit", () => browser.close());
event("ready", { node_id });
