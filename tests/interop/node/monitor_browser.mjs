// A page of Chromium, which Playwright drives, for tests of the monitor's page.
// Its one argument is a JSON object: {"chromium": path of the program, "scheme": "light" or "dark"}.

import { chromium } from "playwright-core";
import { event, serve } from "./json_lines.mjs";

const { chromium: executablePath, scheme = "light" } = JSON.parse(process.argv[2]);
const browser = await chromium.launch({ executablePath, args: ["--no-sandbox"] });
const context = await browser.newContext({ colorScheme: scheme, viewport: { width: 1280, height: 800 } });
const page = await context.newPage();

// What a page that is attacked would do, and nothing of the monitor's does
const news = [];
page.on("dialog", (dialog) => (news.push(`dialog ${dialog.message()}`), dialog.dismiss()));
page.on("pageerror", (error) => news.push(`error ${error}`));
page.on("console", (message) => news.push(`console ${message.text()}`));
const addresses = new Set();
page.on("request", (request) => addresses.add(new URL(request.url()).origin));

serve({
  open: ({ address }) => page.goto(address).then(() => null),
  evaluate: ({ expression }) => page.evaluate(expression),
  click: ({ selector }) => page.click(selector),
  press: ({ keys }) => keys.reduce((before, key) => before.then(() => page.keyboard.press(key)), Promise.resolve()),
  fill: ({ selector, text }) => page.fill(selector, text),
  screenshot: ({ path }) => page.screenshot({ path }).then(() => null),
  cookies: () => context.cookies(),

  /** Download what a click gives, to a file. */
  download: async ({ selector, path }) => {
    const [download] = await Promise.all([page.waitForEvent("download"), page.click(selector)]);
    await download.saveAs(path);
    return download.suggestedFilename();
  },

  /** What went wrong or was asked of others so far. */
  news: () => ({ news, addresses: [...addresses] }),
});

process.on("exit", () => browser.close());
event("ready", { node_id: "" });
