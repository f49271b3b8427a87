// The monitor's page. What peers say is put in by textContent alone: nothing here makes markup of a text.

const MOST_ROWS = 500;
const find = (id) => document.getElementById(id);
const SIGNS = new Map(Object.entries({ received: "←", sent: "→", error: "!", missed: "…" }));
const WAYS = new Map(Object.entries({ received: "received from ", sent: "sent to " }));

let run = "";
let stream = null;
let filter = "";
let paused = false;
let waiting = [];

function cell(text, name = "") {
  const made = document.createElement("td");
  made.textContent = text;
  if (name) made.className = name;
  return made;
}

const short = (id) => (id.length > 15 ? `${id.slice(0, 8)}…${id.slice(-4)}` : id);

function amount(value) {
  for (const unit of ["", "k", "M", "G", "T"]) {
    if (value < 999.5 || unit === "T") return unit && value < 99.5 ? value.toFixed(1) + unit : value.toFixed(0) + unit;
    value /= 1000;
  }
}

const rate = (value) => (value < 0.05 ? "0" : value < 9.95 ? value.toFixed(1) : amount(value));

function age(seconds) {
  const s = Math.floor(seconds);
  if (s < 60) return `${s}s`;
  if (s < 3600) return `${Math.floor(s / 60)}m${String(s % 60).padStart(2, "0")}s`;
  if (s < 86400) return `${Math.floor(s / 3600)}h${String(Math.floor(s / 60) % 60).padStart(2, "0")}m`;
  return `${Math.floor(s / 86400)}d${Math.floor(s / 3600) % 24}h`;
}

function clock(seconds) {
  const at = new Date(seconds * 1000);
  const two = (number) => String(number).padStart(2, "0");
  return `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}.${String(at.getMilliseconds()).padStart(3, "0")}`;
}

// Charts -------------------------------------------------------------------------------------------

function points(values, top, width, height) {
  const step = width / (values.length - 1);
  return values.map((value, at) => `${(at * step).toFixed(1)},${(height - 2 - (value / top) * (height - 6)).toFixed(1)}`);
}

function drawChart(received, sent) {
  const peak = Math.max(1, ...received, ...sent);
  for (const [name, values] of [["in", received], ["out", sent]]) {
    const line = points(values, peak, 600, 120).join(" L");
    find(`line-${name}`).setAttribute("d", `M${line}`);
    find(`area-${name}`).setAttribute("d", `M0,120 L${line} L600,120 Z`);
    find(`now-${name}`).textContent = rate(values.slice(-5).reduce((sum, value) => sum + value, 0) / 5);
  }
  find("peak").textContent = `peak ${rate(peak)}`;
  find("chart").setAttribute("aria-label", `Messages a second in the last minute: now ${find("now-in").textContent} in, ${find("now-out").textContent} out`);
}

function spark(values) {
  const space = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(space, "svg");
  svg.setAttribute("viewBox", "0 0 120 16");
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS(space, "path");
  path.setAttribute("d", `M${points(values, Math.max(0.001, ...values), 120, 16).join(" L")}`);
  svg.append(path);
  return svg;
}

// State --------------------------------------------------------------------------------------------

function drawState(state) {
  find("program").textContent = state.program;
  find("node").textContent = state.node_id;
  const well = state.state === "connected";
  tell(well ? `up ${age(state.uptime)}${state.missed ? `, missed ${state.missed}` : ""}` : state.state, !well);
  document.title = `${state.program.split(" ")[0]} – oddwire monitor`;
  drawChart(state.received, state.sent);
  const sums = state.bottom;
  find("queue").textContent = `${sums.queue} (${amount(sums.queue_bytes)}B)`;
  for (const name of ["outbox", "tasks", "errors"]) find(name).textContent = sums[name];
  find("errors").className = sums.errors ? "hot" : "";
  find("limits").textContent = sums.limits.join(", ") || "none reached";
  find("peers-total").textContent = state.peers_total;
  find("peers").replaceChildren(...state.peers.map((peer) => {
    const row = document.createElement("tr");
    const id = cell(short(peer.id));
    id.title = `${peer.id} ${peer.address ?? ""}`;
    const hot = (value) => (value ? "number hot" : "number");
    row.append(id, cell(peer.direction ?? ""), cell(age(peer.connected), "number"), cell(peer.queue, hot(peer.queue)),
      cell(peer.outbox, hot(peer.outbox)), cell(rate(peer.rate_in), "number"), cell(rate(peer.rate_out), "number"));
    return row;
  }));
  const busy = (type) => type.rate_in + type.rate_out;
  const types = [...state.types].sort((a, b) => busy(b) - busy(a) || b.received + b.sent - a.received - a.sent);
  find("types").replaceChildren(...types.map((type) => {
    const row = document.createElement("tr");
    const chart = document.createElement("td");
    chart.append(spark(type.series));
    row.append(cell(type.name), cell(`0x${type.type_id.toString(16).padStart(4, "0")}`), cell(rate(type.rate_in), "number"),
      cell(rate(type.rate_out), "number"), cell(amount(type.size), "number"), chart);
    return row;
  }));
}

function tell(text, lost) {
  if (find("state").textContent !== text) find("state").textContent = text;
  find("state").className = lost ? "lost" : "";
}

// Messages -----------------------------------------------------------------------------------------

function drawRows(rows) {
  if (paused) {
    waiting.push(...rows);
    waiting = waiting.slice(-MOST_ROWS);
    find("pause").textContent = `Go on (${waiting.length}${waiting.length === MOST_ROWS ? "+" : ""})`;
    return;
  }
  const body = find("messages");
  const made = rows.slice(-MOST_ROWS).map((event) => {
    const row = document.createElement("tr");
    row.className = "new";
    if (SIGNS.has(event.kind)) row.classList.add(event.kind);
    row.tabIndex = 0;
    row.dataset.number = event.number;
    const sign = cell(SIGNS.get(event.kind) ?? "·", "sign");
    sign.setAttribute("aria-label", event.kind);
    const peer = cell(short(event.peer));
    peer.title = event.peer;
    row.append(cell(clock(event.time), "time"), sign, peer, cell(event.name), cell(event.size ?? "", "number"), cell(event.line));
    return row;
  });
  body.prepend(...made.reverse());
  while (body.childElementCount > MOST_ROWS) body.lastElementChild.remove();
}

function follow() {
  stream?.close();
  stream = new EventSource(`/api/stream?filter=${encodeURIComponent(filter)}`);
  stream.addEventListener("begin", (event) => {
    run = JSON.parse(event.data).run;
    waiting = [];
    find("messages").replaceChildren();
  });
  stream.addEventListener("rows", (event) => drawRows(JSON.parse(event.data)));
  stream.addEventListener("state", (event) => drawState(JSON.parse(event.data)));
  stream.addEventListener("error", () => {
    tell("the monitor does not answer; trying again", true);
    if (stream.readyState === EventSource.CLOSED) setTimeout(enter, 2000);
  });
}

async function apply(expression) {
  const answer = await fetch(`/api/check?filter=${encodeURIComponent(expression)}`);
  const wrong = answer.ok ? (await answer.json()).error : await answer.text();
  find("wrong").textContent = wrong ?? "";
  if (wrong) return;
  filter = expression;
  follow();
}

function setPaused(value) {
  paused = value;
  find("pause").setAttribute("aria-pressed", String(paused));
  find("pause").textContent = paused ? "Go on (0)" : "Pause";
  if (!paused) {
    const rows = waiting;
    waiting = [];
    drawRows(rows);
  }
}

// A message ----------------------------------------------------------------------------------------

function drawHex(rows, mark) {
  const shown = find("hex");
  const begin = mark?.length ? mark.offset : 0;
  const end = mark?.length ? mark.offset + mark.length : 0;
  const part = (text, name) => {
    const made = document.createElement("span");
    made.textContent = text;
    if (name) made.className = name;
    return made;
  };
  const lines = rows.map((row) => {
    const line = document.createElement("div");
    line.append(part(String(row.offset).padStart(5) + "  ", "offset"));
    const count = row.hex.length / 2;
    for (let at = 0; at < 16; at++) {
      const byte = row.offset + at;
      const on = at < count && byte >= begin && byte < end;
      line.append(part(at < count ? row.hex.slice(2 * at, 2 * at + 2) : "  ", on ? "on" : ""));
      line.append(part(" ", on && byte + 1 < end && at < 15 ? "on" : ""));
    }
    line.append(part(" " + row.text, "text"));
    return line;
  });
  shown.replaceChildren(...lines);
  shown.querySelector(".on")?.scrollIntoView({ block: "nearest" });
}

async function open(number) {
  const answer = await fetch(`/api/messages/${number}`);
  const opened = await answer.json();
  if (opened.error) {
    find("wrong").textContent = opened.error;
    return;
  }
  find("message-title").textContent = opened.title;
  const way = WAYS.get(opened.event) ?? "";
  const size = opened.size === null ? "" : `, ${opened.size} bytes`;
  const latency = opened.latency === null ? "" : `, ${(opened.latency * 1000).toFixed(2)} ms`;
  find("message-from").textContent = `${clock(opened.time)} ${way}${opened.peer}${size}${latency}`;
  const cut = opened.left_out > 0 ? `${opened.left_out} bytes more are not shown. ` : "";
  find("message-remark").textContent = cut + opened.remark;
  const choose = (row, mark) => {
    for (const other of find("fields").children) other.setAttribute("aria-selected", String(other === row));
    drawHex(opened.rows, mark);
  };
  find("fields").replaceChildren(...opened.marks.map((mark) => {
    const row = document.createElement("tr");
    row.tabIndex = 0;
    row.setAttribute("aria-selected", "false");
    if (mark.wrong) row.className = "error";
    const where = mark.length ? [mark.offset, mark.length] : ["", ""];
    row.append(cell(mark.path), cell(where[0], "number"), cell(where[1], "number"), cell(mark.value));
    row.addEventListener("click", () => choose(row, mark));
    row.addEventListener("focus", () => choose(row, mark));
    return row;
  }));
  drawHex(opened.rows, null);
  find("message").showModal();
}

function walk(event, list) {
  const row = event.target.closest("tr");
  if (!row || !list.contains(row)) return;
  const next = { ArrowDown: row.nextElementSibling, ArrowUp: row.previousElementSibling }[event.key];
  if (next) {
    event.preventDefault();
    next.focus();
  } else if (event.key === "Enter" && list.id === "messages") {
    event.preventDefault();
    open(row.dataset.number);
  }
}

// Begin --------------------------------------------------------------------------------------------

async function enter() {
  const token = new URLSearchParams(location.hash.slice(1)).get("token");
  if (token !== null) {
    history.replaceState(null, "", "/");
    const answer = await fetch("/session", { method: "POST", body: token }).catch(() => null);
    if (answer === null || !answer.ok) {
      tell(answer === null ? "the monitor does not answer" : await answer.text(), true);
      return;
    }
  }
  const answer = await fetch("/api/check").catch(() => null);
  if (answer?.status === 401) {
    tell(await answer.text(), true);
  } else if (answer?.ok) {
    follow();
  } else {
    tell("the monitor does not answer; trying again", true);
    setTimeout(enter, 2000);
  }
}

find("controls").addEventListener("submit", (event) => {
  event.preventDefault();
  apply(find("filter").value);
});
find("filter").addEventListener("search", () => apply(find("filter").value));
find("pause").addEventListener("click", () => setPaused(!paused));
find("download").addEventListener("click", () => location.assign(`/api/recording?filter=${encodeURIComponent(filter)}`));
find("messages").addEventListener("click", (event) => {
  const row = event.target.closest("tr");
  if (row) open(row.dataset.number);
});
find("messages").addEventListener("keydown", (event) => walk(event, find("messages")));
find("fields").addEventListener("keydown", (event) => walk(event, find("fields")));
find("close").addEventListener("click", () => find("message").close());
document.addEventListener("keydown", (event) => {
  if (event.target.matches("input") || event.ctrlKey || event.metaKey || event.altKey || find("message").open) return;
  if (event.key === "/") find("filter").focus();
  else if (event.key === " " && !event.target.matches("button")) setPaused(!paused);
  else return;
  event.preventDefault();
});
window.addEventListener("hashchange", enter);
enter();
