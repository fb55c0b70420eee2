"use strict";
// Polls status.json and redraws. All text enters the page as text, never as markup.
const $ = id => document.getElementById(id);
const HEADS = ["Name", "State", "CPU", "Memory", "Network", "Disk", "Ports"];
const CELLS = ["Cell", "Kind", "State", "Memory", "CPU", "Restarts", "Repairs"];
let last = null, now = null;

function el(tag, text, cls) {
  const e = document.createElement(tag);
  if (text !== undefined) e.textContent = text;
  if (cls) e.className = cls;
  return e;
}
function bytes(n) {
  const u = ["B", "KiB", "MiB", "GiB", "TiB"];
  let i = 0;
  for (; n >= 1024 && i < 4; i++) n /= 1024;
  return (n >= 100 || i === 0 ? n.toFixed(0) : n.toFixed(1)) + " " + u[i];
}
function span(s) {
  if (s < 90) return Math.floor(s) + " s";
  if (s < 5400) return Math.floor(s / 60) + " min";
  if (s < 172800) return Math.floor(s / 3600) + " h";
  return Math.floor(s / 86400) + " days";
}
function cpu(c) {
  const b = last && last.containers.find(x => x.id === c.id);
  const dt = last ? now.time - last.time : 0;
  return b && dt > 0 && c.cpu >= b.cpu ? 100 * (c.cpu - b.cpu) / dt : 0;
}
function row(cells, heads) {
  const tr = el("tr");
  cells.forEach((c, i) => {
    const td = el("td");
    td.dataset.l = heads[i];
    td.append(...(Array.isArray(c) ? c : [c]));
    tr.append(td);
  });
  return tr;
}
function active(c) { return c.state === "running" || c.state === "paused" || c.state === "restarting"; }
function stateClass(s) {
  return { running: "ok", paused: "warn", restarting: "warn", unhealthy: "bad", dead: "bad" }[s] || "";
}
function container(c) {
  const name = [el("span", c.name), el("small", c.image + " · " + c.id.slice(0, 12))];
  const failed = c.state === "exited" && !/\(0\)/.test(c.status);
  const state = [el("span", c.state, stateClass(c.health === "unhealthy" ? "unhealthy" : failed ? "restarting" : c.state)),
    el("small", c.status)];
  if (!active(c)) return row([name, state, "–", "–", "–", bytes(c.disk), "–"], HEADS);
  const m = el("meter");
  m.max = c.memory_limit || 1; m.value = c.memory; m.setAttribute("aria-label", "memory of its limit");
  return row([name, state, cpu(c).toFixed(1) + " %", [el("span", bytes(c.memory) + " of " + bytes(c.memory_limit)), m],
    "↓ " + bytes(c.rx) + "  ↑ " + bytes(c.tx), [el("span", bytes(c.disk)), el("small", "read " + bytes(c.read) + " · written " + bytes(c.written))],
    c.ports.join(", ") || "–"], HEADS);
}
function drawContainers() {
  const text = $("filter").value.toLowerCase(), all = $("all").checked;
  const list = now.containers.filter(c => (all || active(c)) &&
    (c.name + " " + c.image).toLowerCase().includes(text));
  list.sort((a, b) => active(b) - active(a) || a.name.localeCompare(b.name));
  $("rows").replaceChildren(...list.map(container));
  if (!list.length) {
    const td = el("td", now.containers.length ? "none fits the filter" : "no containers yet: docker run …");
    td.colSpan = 7;
    const tr = el("tr");
    tr.append(td);
    $("rows").append(tr);
  }
}
function tile(name, value) {
  const d = el("div");
  d.append(el("dt", name), el("dd", value));
  return d;
}
// A container's cells are called by its id; people know its name.
function cellName(c) {
  const m = /^(ct|nt)-([0-9a-f]{12})/.exec(c.name);
  const of = m && now.containers.find(x => x.id.startsWith(m[2]));
  return of ? [el("span", of.name + (m[1] === "nt" ? " (network)" : "")), el("small", c.name)] : [el("span", c.name)];
}
function cell(c) {
  const b = last && last.cells.find(x => x.name === c.name), dt = last ? now.time - last.time : 0;
  const use = b && dt > 0 && c.cpu >= b.cpu ? 100 * (c.cpu - b.cpu) / dt : 0;
  return row([cellName(c), c.kind, el("span", c.state, stateClass(c.state)), bytes(c.memory), use.toFixed(1) + " %",
    el("span", c.restarts, c.restarts ? "warn" : "zero"), el("span", c.repairs, c.repairs ? "warn" : "zero")], CELLS);
}
// The ring: each member checks its successor. What was checked since the last look stands out.
function drawRing() {
  if (!now.ring) {
    $("ringbox").replaceChildren(el("p", "This host (" + now.backend + " backend) has no verification ring."));
    return;
  }
  const sum = f => now.cells.reduce((n, c) => n + f(c), 0), ol = el("ol", undefined, "ringcells");
  const repairs = sum(c => c.repairs);
  now.cells.forEach(c => {
    const li = el("li"), b = last && last.cells.find(x => x.name === c.name);
    li.append(cellName(c)[0], el("small", c.verified.toLocaleString() + " pages" + (c.repairs ? " · " + c.repairs + " repaired" : "")));
    li.className = c.repairs ? "repaired" : b && c.verified > b.verified ? "checked" : "";
    ol.append(li);
  });
  ring(sum(c => c.verified), repairs, ol);
}
function ring(pages, repairs, ol) {
  const p = el("p", now.cells.length + " members, " + pages.toLocaleString() + " pages checked, ");
  p.append(el("strong", repairs ? repairs + " repaired" : "nothing to repair", repairs ? "warn" : "ok"));
  $("ringbox").replaceChildren(p, ol);
}
function draw() {
  const t = now.totals;
  $("host").textContent = "on " + now.host + " · " + now.version.replace(/^D0 /, "version ");
  $("tiles").replaceChildren(tile("Running", t.running + " of " + t.containers), tile("Images", t.images),
    tile("Image layers", bytes(t.layers)), tile("CPUs", now.cpus), now.memory_free ? tile("Free of " + bytes(now.memory), bytes(now.memory_free)) : tile("Memory", bytes(now.memory)),
    tile("Cells", now.cells.length), tile("d0d up", span(now.uptime)), tile("OOM kills", t.oom));
  drawContainers();
  $("cellrows").replaceChildren(...now.cells.map(cell));
  drawRing();
  $("eventlist").replaceChildren(...now.events.map(e => {
    const li = el("li"), time = el("time", new Date(e.time * 1000).toLocaleTimeString());
    time.dateTime = new Date(e.time * 1000).toISOString();
    li.append(time, el("span", e.type + " " + e.action + " "), el("strong", e.name));
    return li;
  }));
}
async function poll() {
  try {
    const r = await fetch("status.json", { cache: "no-store" });
    if (!r.ok) throw new Error(r.status);
    last = now;
    now = await r.json();
    draw();
    $("live").textContent = "live · " + new Date().toLocaleTimeString();
    $("live").className = "";
  } catch (e) {
    $("live").textContent = "no answer from d0d; trying again";
    $("live").className = "bad";
  }
  setTimeout(poll, document.hidden ? 10000 : 2000);
}
$("filter").addEventListener("input", () => now && drawContainers());
$("all").addEventListener("change", () => now && drawContainers());
document.addEventListener("keydown", e => {
  if (e.key === "/" && document.activeElement !== $("filter")) { e.preventDefault(); $("filter").focus(); }
  if (e.key === "Escape" && document.activeElement === $("filter")) { $("filter").value = ""; if (now) drawContainers(); }
});
poll();
