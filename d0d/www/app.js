"use strict";
// Polls status.json and redraws. All text enters the page as text, never as markup.
const $ = id => document.getElementById(id);
const HEADS = ["Name", "State", "CPU", "Memory", "Network", "Disk", "Ports"];
const CELLS = ["Cell", "Kind", "State", "Memory", "Restarts", "Repairs"];
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
function stateClass(s) {
  return { running: "ok", paused: "warn", restarting: "warn", unhealthy: "bad", dead: "bad" }[s] || "";
}
function container(c) {
  const name = [el("span", c.name), el("small", c.image + " · " + c.id.slice(0, 12))];
  const state = [el("span", c.state, stateClass(c.health === "unhealthy" ? "unhealthy" : c.state)), el("small", c.status)];
  if (c.state !== "running" && c.state !== "paused") return row([name, state, "–", "–", "–", bytes(c.disk), "–"], HEADS);
  const m = el("meter");
  m.max = c.memory_limit || 1; m.value = c.memory; m.setAttribute("aria-label", "memory of its limit");
  return row([name, state, cpu(c).toFixed(1) + " %", [el("span", bytes(c.memory) + " of " + bytes(c.memory_limit)), m],
    "↓ " + bytes(c.rx) + "  ↑ " + bytes(c.tx), bytes(c.disk), c.ports.join(", ") || "–"], HEADS);
}
function drawContainers() {
  const text = $("filter").value.toLowerCase(), all = $("all").checked;
  const list = now.containers.filter(c => (all || c.state === "running" || c.state === "paused") &&
    (c.name + " " + c.image).toLowerCase().includes(text));
  list.sort((a, b) => (b.state === "running") - (a.state === "running") || a.name.localeCompare(b.name));
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
function draw() {
  const t = now.totals;
  $("host").textContent = now.host + " · " + now.version;
  $("tiles").replaceChildren(tile("Running", t.running + " of " + t.containers), tile("Images", t.images),
    tile("Image layers", bytes(t.layers)), tile("CPUs", now.cpus), tile("Memory", bytes(now.memory)),
    tile("Cells", now.cells.length), tile("d0d up", span(now.uptime)), tile("OOM kills", t.oom));
  drawContainers();
  $("cellrows").replaceChildren(...now.cells.map(c => row([c.name, c.kind, el("span", c.state, stateClass(c.state)),
    bytes(c.memory), String(c.restarts), String(c.repairs)], CELLS)));
  const ring = $("ringbox");
  if (now.ring) {
    const ol = el("ol", undefined, "ringcells");
    now.cells.forEach(c => ol.append(el("li", c.name + ": " + c.verified + " pages")));
    ring.replaceChildren(ol);
  } else {
    ring.replaceChildren(el("p", "This host (" + now.backend + " backend) has no verification ring."));
  }
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
});
poll();
