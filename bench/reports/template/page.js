"use strict";
// Draws what page.html leaves empty, from the JSON in #data (bench/reports/page.py says what is in it).
// Strings reach the page as text nodes and attributes only.

const DATA = JSON.parse(document.getElementById("data").textContent);
const SLOTS = 6; // colours
const state = { board: 0, picked: [] }; // picked: a row or null a slot

// ---------------------------------------------------------------------------- elements

const find = (selector, from = document) => from.querySelector(selector);
const all = (selector, from = document) => [...from.querySelectorAll(selector)];

function html(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

function svg(name, attributes = {}, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

function option(value, words) {
  return html("option", { value }, words);
}

/** Three digits and a real minus sign. */
function digits(x) {
  const size = Math.abs(x);
  const words = size >= 1e5 || (size > 0 && size < 1e-3) ? x.toExponential(1) : x.toPrecision(size >= 1e3 ? 5 : 3);
  return words.replace("-", "−");
}

/** The same without zeros at the end. */
const said = (x) => (x === null ? "–" : digits(x).replace(/(\.\d*?)0+$/, "$1").replace(/\.$/, ""));

const SHAPES = [
  (r) => `M0 ${-r}A${r} ${r} 0 1 1 0 ${r}A${r} ${r} 0 1 1 0 ${-r}Z`,
  (r) => `M${-r} ${-r}H${r}V${r}H${-r}Z`,
  (r) => `M0 ${-1.2 * r}L${1.15 * r} ${0.9 * r}H${-1.15 * r}Z`,
  (r) => `M0 ${-1.35 * r}L${1.35 * r} 0L0 ${1.35 * r}L${-1.35 * r} 0Z`,
  (r) => `M0 ${1.2 * r}L${1.15 * r} ${-0.9 * r}H${-1.15 * r}Z`,
  (r) => `M${-r} ${-r / 3}H${-r / 3}V${-r}H${r / 3}V${-r / 3}H${r}V${r / 3}H${r / 3}V${r}H${-r / 3}V${r / 3}H${-r}Z`,
];

function swatch(slot) {
  const shape = svg("path", { d: SHAPES[slot](5), class: "mark picked" });
  return svg("svg", { viewBox: "-8 -8 16 16", class: `s${slot}`, "aria-hidden": "true" }, shape);
}

// ------------------------------------------------------------------------------- tables

function compare(a, b, down) {
  if (a === "" || b === "") return (a === "") - (b === ""); // what has no value comes last
  const numbers = [a, b].every((x) => x.trim() !== "" && !Number.isNaN(Number(x)));
  const order = numbers ? Number(a) - Number(b) : a.localeCompare(b);
  return down ? -order : order;
}

/** What a cell is sorted by. */
function valueOf(cell) {
  const value = cell.dataset.value ?? cell.textContent.trim();
  const share = /^(\d+)\/(\d+)$/.exec(value); // 2/3
  return share ? String(share[1] / share[2]) : value;
}

function sortBy(table, head) {
  const place = [...head.parentNode.children].indexOf(head);
  const first = all("tbody tr:not(.part)", table)[0];
  const words = head.classList.contains("name") || Number.isNaN(Number(valueOf(first.children[place])));
  const rank = find("button", head).textContent === "rank";
  const before = head.getAttribute("aria-sort");
  const down = before === "ascending" || (before !== "descending" && !words && !rank);
  for (const other of all("thead th", table)) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", down ? "descending" : "ascending");
  for (const body of table.tBodies) {
    const rows = all("tr:not(.part)", body);
    const values = new Map(rows.map((row) => [row, valueOf(row.children[place])]));
    rows.sort((a, b) => compare(values.get(a), values.get(b), down));
    body.append(...rows);
  }
}

function filter() {
  const wanted = find("#filter").value.toLowerCase().split(/\s+/).filter(Boolean);
  for (const row of all("[data-words]")) {
    row.hidden = !wanted.every((word) => row.dataset.words.includes(word));
  }
  const rows = all("tr[data-row]", find(`#leaderboard [data-board="${state.board}"]`));
  const seen = rows.filter((row) => !row.hidden).length;
  find("#shown").textContent = `${seen} of ${rows.length} rows`;
}

// -------------------------------------------------------------------------------- picks

const board = () => DATA.boards[state.board];
const slotOf = (row) => state.picked.indexOf(row);
const picked = () => state.picked.flatMap((row, slot) => (row === null ? [] : [[slot, board().rows[row]]]));

function pick(row, on) {
  const slot = slotOf(row);
  if (!on && slot >= 0) state.picked[slot] = null;
  if (on && slot < 0) {
    const free = state.picked.indexOf(null);
    if (free >= 0) state.picked[free] = row;
    else if (state.picked.length < SLOTS) state.picked.push(row);
    else state.picked[SLOTS - 1] = row; // the last colour moves on
  }
  showPicks();
  draw();
}

function showPicks() {
  for (const row of all("#leaderboard tr[data-row]")) {
    const shown = row.closest("[data-board]").dataset.board === String(state.board);
    const slot = shown ? slotOf(Number(row.dataset.row)) : -1;
    row.className = slot < 0 ? "" : `s${slot}`;
    find(".pick input", row).checked = slot >= 0;
  }
}

// ------------------------------------------------------------------------------- charts

/** Round numbers from low to high, about `wanted` of them, each with its words. */
function ticks(low, high, wanted) {
  const raw = (high - low) / wanted;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((x) => x * power).find((x) => x >= raw);
  const decimals = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
  const found = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + 1e-9 * step; i++) {
    found.push([i * step, (i * step).toFixed(decimals).replace(/^-(?=.*[1-9])/, "−").replace("-", "")]);
  }
  return found;
}

/** What some values span without the few far outside (3 interquartile ranges off the middle half). */
function fences(values) {
  const known = values.filter(Number.isFinite).sort((a, b) => a - b);
  if (known.length <= 8) return [-Infinity, Infinity];
  const [q1, q3] = [0.25, 0.75].map((q) => known[Math.round(q * (known.length - 1))]);
  return [q1 - 3 * (q3 - q1), q3 + 3 * (q3 - q1)];
}

const between = (value, [low, high]) => value >= low && value <= high;

function extent(values, zero) {
  const known = values.filter(Number.isFinite);
  if (zero) known.push(0);
  let low = Math.min(...known), high = Math.max(...known);
  if (low === high) [low, high] = [low - 0.5, high + 0.5];
  const room = 0.04 * (high - low);
  return [zero && low === 0 ? 0 : low - room, high + room];
}

/**
 * A picture and what it says in words, a table and, under the pointer, a line.
 * marks: {x, y, xs, ys: bounds, slot, name, ring, section}; lines: {points, slot, thin, name};
 * rules: {y, name}; edge: points of a staircase.
 */
function chart(figure, { x, y, marks = [], lines = [], rules = [], edge = [], zero = false, onPick }) {
  const open = find("details", figure)?.open ?? false;
  figure.replaceChildren();
  const points = [...marks.map((m) => [m.x, m.y]), ...lines.flatMap((l) => l.points)];
  if (!points.length) {
    figure.append(html("p", { class: "none" }, "Nothing here has both numbers."));
    return;
  }
  const width = Math.max(300, Math.min(figure.clientWidth, 900)), narrow = width < 560;
  const height = narrow ? 300 : 380;
  const kept = [...marks, ...lines].filter((m) => m.slot >= 0 || m.anchor); // never outside
  const across = fences([...marks.map((m) => m.x), ...lines.map((l) => l.points.at(-1)[0])]);
  const upright = fences(points.map((p) => p[1]));
  const near = points.filter(([a, b]) => between(a, across) && between(b, upright));
  const [x0, x1] = extent([
    ...near.map((p) => p[0]),
    ...kept.flatMap((m) => m.points?.map((p) => p[0]) ?? [m.x, ...(m.xs ?? [])]),
  ], zero);
  const [y0, y1] = extent([
    ...near.map((p) => p[1]),
    ...rules.map((r) => r.y).filter((v) => between(v, upright)),
    ...kept.flatMap((m) => m.points?.map((p) => p[1]) ?? [m.y, ...(m.ys ?? [])]),
  ], false);
  const inside = ([a, b]) => between(a, [x0, x1]) && between(b, [y0, y1]);
  const left = 48, right = 12, top = 26, bottom = 40;
  const px = (v) => left + ((v - x0) / (x1 - x0)) * (width - left - right);
  const py = (v) => top + ((y1 - v) / (y1 - y0)) * (height - top - bottom);
  const names = new Set(marks.map((m) => m.name).concat(lines.map((l) => l.name)));
  const words = `${y} against ${x}: ${names.size} rows, from ${said(x0)} to ${said(x1)} and from ${said(y0)} to ${said(y1)}. The table below has the numbers.`;
  const picture = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": words });
  picture.style.maxWidth = `${width}px`;

  for (const [t, said] of ticks(y0, y1, 6)) {
    picture.append(svg("line", { class: "grid", x1: left, x2: width - right, y1: py(t), y2: py(t) }));
    picture.append(svg("text", { x: left - 8, y: py(t) + 4, "text-anchor": "end" }, said));
  }
  for (const [t, said] of ticks(x0, x1, narrow ? 5 : 8)) {
    picture.append(svg("line", { class: "axis", x1: px(t), x2: px(t), y1: height - bottom, y2: height - bottom + 4 }));
    picture.append(svg("text", { x: px(t), y: height - bottom + 18, "text-anchor": "middle" }, said));
  }
  const frame = `${figure.parentNode.id}-frame`;
  const box = { x: left, y: top - 8, width: width - left - right, height: height - top - bottom + 8 };
  picture.append(svg("clipPath", { id: frame }, svg("rect", box)));
  const framed = svg("g", { "clip-path": `url(#${frame})` });
  picture.append(svg("line", { class: "axis", x1: left, x2: width - right, y1: height - bottom, y2: height - bottom }));
  picture.append(svg("text", { class: "title", x: 0, y: 12 }, y));
  picture.append(svg("text", { class: "title", x: width - right, y: height - 4, "text-anchor": "end" }, x));
  for (const rule of rules.filter((r) => between(r.y, [y0, y1]))) {
    picture.append(svg("line", { class: "rule", x1: left, x2: width - right, y1: py(rule.y), y2: py(rule.y) }));
    picture.append(svg("text", { x: width - right, y: py(rule.y) - 5, "text-anchor": "end" }, rule.name));
  }
  const path = (line) => line.map(([a, b], i) => `${i ? "L" : "M"}${px(a).toFixed(1)} ${py(b).toFixed(1)}`).join("");
  if (edge.length > 1) {
    const steps = edge.flatMap(([a, b], i) => (i ? [[a, edge[i - 1][1]], [a, b]] : [[a, b]]));
    framed.append(svg("path", { class: "edge", d: path(steps) }));
  }
  picture.append(framed);
  const under = (a, b) => a.slot - b.slot; // what is picked lies above what is not
  for (const l of [...lines].sort(under)) {
    const look = l.anchor ? "line anchor" : l.slot < 0 ? "line" : `line picked s${l.slot}${l.thin ? " thin" : ""}`;
    framed.append(svg("path", { class: look, d: path(l.points) }));
    if (l.anchor) {
      const [a, b] = l.points.at(-1);
      picture.append(svg("text", { x: px(a) - 4, y: py(b) + 16, "text-anchor": "end" }, l.name));
    }
    if (l.slot < 0 || (l.thin && !l.dots)) continue;
    const every = Math.ceil(l.points.length / 10);
    for (const [a, b] of l.points.filter((_, i) => (l.points.length - 1 - i) % every === 0)) {
      const at = `translate(${px(a).toFixed(1)} ${py(b).toFixed(1)})`;
      framed.append(svg("path", { class: `mark picked s${l.slot}`, d: SHAPES[l.slot](l.dots ? 3 : 4), transform: at }));
    }
  }
  const drawn = [];
  for (const m of marks.filter((m) => inside([m.x, m.y])).sort(under)) {
    const at = `translate(${px(m.x).toFixed(1)} ${py(m.y).toFixed(1)})`;
    const mine = m.slot >= 0;
    for (const [a, b, c, d] of mine ? whiskers(m) : []) {
      picture.append(svg("line", { class: `whisker s${m.slot}`, x1: px(a), y1: py(b), x2: px(c), y2: py(d) }));
    }
    const look = mine ? `mark s${m.slot} ${m.ring ? "ring" : "picked"}` : "mark";
    const shape = svg("path", { class: look, d: SHAPES[mine ? m.slot : 0](mine ? 5.5 : 3.2), transform: at });
    picture.append(shape);
    if (!m.ring) drawn.push([px(m.x), py(m.y), m, shape]);
    const low = py(m.y) > height - bottom - 20;
    if (m.anchor && !mine) picture.append(svg("text", { x: px(m.x) + 4, y: py(m.y) + (low ? -7 : 15) }, m.name));
  }
  const keyed = [...new Set([...marks, ...lines].filter((m) => m.slot >= 0).map((m) => m.slot))].sort();
  const readout = html("p", { class: "readout", "aria-hidden": "true" });
  figure.append(key(keyed), picture, readout);
  const far = [...marks, ...lines].filter((m) => !(m.points ?? [[m.x, m.y]]).every(inside));
  if (far.length) {
    const names = [...new Set(far.map((m) => m.name))].join(", ");
    figure.append(html("p", { class: "far" }, `Outside the picture, at least in part: ${names}. A ticked row never is.`));
  }
  if (drawn.length) point(picture, width, drawn, readout, x, y, onPick);
  figure.append(numbers(marks, lines, x, y, open));
}

function whiskers(m) {
  const found = [];
  if (m.xs && m.xs[0] !== null) found.push([m.xs[0], m.y, m.xs[1], m.y]);
  if (m.ys && m.ys[0] !== null) found.push([m.x, m.ys[0], m.x, m.ys[1]]);
  return found;
}

function key(slots) {
  const name = (slot) => board().rows[state.picked[slot]].name;
  return html("ul", { class: "key" }, ...slots.map((slot) => html("li", {}, swatch(slot), name(slot))));
}

/** The mark nearest to the pointer is told in words; a click picks its row. */
function point(picture, width, drawn, readout, x, y, onPick) {
  let near = null;
  const nearest = (event) => {
    const box = picture.getBoundingClientRect(), scale = width / box.width;
    const at = [(event.clientX - box.left) * scale, (event.clientY - box.top) * scale];
    const away = ([a, b]) => (a - at[0]) ** 2 + (b - at[1]) ** 2;
    const best = drawn.reduce((p, q) => (away(q) < away(p) ? q : p));
    return away(best) < 40 ** 2 ? best : null;
  };
  const leave = () => {
    near?.[3].classList.remove("near");
    near = null;
    readout.textContent = "";
  };
  picture.addEventListener("pointermove", (event) => {
    leave();
    near = nearest(event);
    if (!near) return;
    near[3].classList.add("near");
    readout.textContent = `${near[2].name}: ${x} ${said(near[2].x)}, ${y} ${said(near[2].y)}`;
  });
  picture.addEventListener("pointerleave", leave);
  picture.addEventListener("click", (event) => {
    const best = nearest(event);
    if (best && onPick) onPick(best[2].row);
  });
}

/** The numbers of a picture as a table, made when it is asked for. */
function numbers(marks, lines, x, y, open) {
  const made = html("details", {}, html("summary", {}, "The numbers of this picture"));
  const fill = () => {
    if (!made.open || find("table", made)) return;
    const heads = ["row", x, y].map((words) => html("th", { scope: "col" }, words));
    const told = marks.map((m) => [m.name + (m.ring ? ", where validation liked it best" : ""), m.x, m.y]);
    for (const l of lines) if (l.slot >= 0 || l.anchor) told.push(...l.points.map((p) => [l.name, ...p]));
    const whole = [1, 2].map((i) => told.every((row) => Number.isInteger(row[i])));
    const cell = (value, i) => html("td", { class: "number" }, whole[i] ? String(value) : digits(value));
    const rows = told.map(([name, ...values]) =>
      html("tr", {}, html("th", { scope: "row" }, name), ...values.map(cell)));
    const table = html("table", {}, html("caption", {}, `${y} against ${x}`),
      html("thead", {}, html("tr", {}, ...heads)), html("tbody", {}, ...rows));
    made.append(html("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": `${y} against ${x}` }, table));
  };
  made.addEventListener("toggle", fill);
  made.open = open;
  fill();
  return made;
}

const title = (key) => board().titles[key] ?? String(key).replaceAll("_", " ");

/** Rows that have both metrics, as marks. */
function marksOf(x, y) {
  return board().rows.flatMap((r, row) => {
    const [a, b] = [r.cells[x], r.cells[y]];
    if (!a || !b) return [];
    const anchor = r.section === "control" && r.name === "sft";
    const name = anchor ? "SFT model" : r.section === "trained_on" ? `${r.name} †` : r.name;
    return [{ x: a[0], y: b[0], xs: a.slice(1), ys: b.slice(1), slot: slotOf(row), row, name, section: r.section, anchor }];
  });
}

function drawFrontier() {
  const section = find("#frontier"), select = find("select", section);
  const chosen = board().rewards.includes(select.value) ? select.value : (board().signal ?? board().rewards[0]);
  select.replaceChildren(...board().rewards.map((name) => option(name, title(name))));
  select.value = chosen;
  const marks = marksOf("kl", chosen).filter((m) => m.slot >= 0 || m.section !== "control" || m.anchor);
  const rules = board().rows
    .filter((r) => ["references", "best_of_16"].includes(r.name) && r.cells[chosen])
    .map((r) => ({ y: r.cells[chosen][0], name: r.name.replaceAll("_", " ") }));
  const edge = [];
  for (const m of [...marks].sort((a, b) => a.x - b.x || b.y - a.y)) {
    if (!edge.length || m.y > edge.at(-1)[1]) edge.push([m.x, m.y]);
  }
  chart(find("figure", section), { x: "KL to the SFT model, nats a response", y: title(chosen), marks, rules, edge, zero: true, onPick: toggle });
}

function meanOf(curves) {
  const sums = new Map();
  for (const [step, value] of curves.flat()) {
    const [total, n] = sums.get(step) ?? [0, 0];
    sums.set(step, [total + value, n + 1]);
  }
  return [...sums].filter(([, s]) => s[1] === curves.length).map(([step, s]) => [step, s[0] / s[1]]).sort((a, b) => a[0] - b[0]);
}

function drawLearning() {
  const section = find("#learning"), select = find("select", section);
  if (!select) return;
  const rows = board().rows;
  const has = (name) => rows.some((r) => r.runs.some((run) => DATA.curves[run]?.[name]));
  const quantities = Object.keys(DATA.quantities).filter(has);
  const chosen = quantities.includes(select.value) ? select.value : quantities[0];
  select.replaceChildren(...quantities.map((name) => option(name, DATA.quantities[name])));
  if (chosen) select.value = chosen;
  const lines = rows.flatMap((r, row) => {
    const curves = r.runs.map((run) => DATA.curves[run]?.[chosen]).filter(Boolean);
    const slot = slotOf(row);
    if (!curves.length) return [];
    if (slot < 0) return [{ points: meanOf(curves), slot, name: r.name }];
    const thin = curves.length > 1 ? curves.map((points) => ({ points, slot, thin: true, name: `${r.name}, a seed` })) : [];
    return [...thin, { points: meanOf(curves), slot, name: r.name }];
  });
  chart(find("figure", section), { x: "updates", y: DATA.quantities[chosen] ?? "", lines, zero: true });
}

function drawProxy() {
  const marks = marksOf("proxy", "gold").filter((m) => m.slot >= 0 || m.section !== "control" || m.anchor);
  const lines = [];
  for (const [slot, r] of picked()) {
    if (r.peak.proxy !== undefined && r.peak.gold !== undefined) {
      marks.push({ x: r.peak.proxy, y: r.peak.gold, slot, ring: true, name: r.name });
    }
    for (const run of r.runs) {
      const path = DATA.paths[run];
      if (path) lines.push({ points: path.map((p) => p.slice(1)), slot, thin: true, dots: true, name: `${r.name}, seed ${DATA.seeds[run]}` });
    }
  }
  const ladders = new Set(board().rows.flatMap((r) => r.runs.map((run) => JSON.stringify(DATA.best_of_n[run] ?? []))));
  for (const ladder of ladders) {
    const points = JSON.parse(ladder).map((p) => p.slice(1));
    if (points.length) lines.push({ points, slot: -1, anchor: true, name: "best of n" });
  }
  chart(find("#proxy figure"), { x: "proxy reward (SFT samples: mean 0, deviation 1)", y: "gold", marks, lines, onPick: toggle });
}

function drawLengths() {
  const marks = marksOf("length", "win_rate");
  chart(find("#lengths figure"), { x: "tokens of a response", y: "win rate against the SFT model", marks, onPick: toggle });
}

const toggle = (row) => pick(row, slotOf(row) < 0);

// ------------------------------------------------------------------------------- tokens

function card(heading, ...children) {
  return html("article", { class: "card" }, html("h3", {}, ...heading), ...children);
}

/** Tokens behind tints; what is well above 0 is underlined, below 0 dotted, so that hue is not needed. */
function tinted(tokens, top) {
  const words = html("p", { class: "tokens" });
  for (const [token, reward] of tokens) {
    const line = Math.abs(reward) < top / 20 ? "" : reward > 0 ? "up" : "down";
    const span = html("span", { class: `token ${line}`, title: said(reward) }, token.replaceAll("\n", "⏎") || "∅");
    tint(span, reward, top);
    words.append(span, " ");
  }
  return words;
}

function tint(element, reward, top) {
  const hue = reward > 0 ? "--above" : "--below";
  element.style.backgroundColor = `rgba(var(${hue}), ${(0.55 * Math.min(1, Math.abs(reward) / top)).toFixed(3)})`;
}

function tokenTable(tokens) {
  const made = html("details", {}, html("summary", {}, "as a table"));
  made.addEventListener("toggle", () => {
    if (find("table", made)) return;
    const rows = tokens.map(([token, reward], i) =>
      html("tr", {}, html("td", { class: "number" }, String(i + 1)), html("td", {}, token), html("td", { class: "number" }, said(reward))));
    const heads = ["place", "token", "reward"].map((words) => html("th", { scope: "col" }, words));
    made.append(html("table", {}, html("caption", {}, "Rewards of tokens"), html("thead", {}, html("tr", {}, ...heads)), html("tbody", {}, ...rows)));
  });
  return made;
}

function startTokens() {
  const section = find("#tokens"), run = find(".run", section), prompt = find(".prompt", section);
  if (!run) return;
  const names = new Map(DATA.boards.flatMap((b) => b.rows.flatMap((r) => r.runs.map((name) => [name, r.name]))));
  const label = (name) => `${names.get(name) ?? name}, seed ${DATA.seeds[name]}`;
  run.append(...Object.keys(DATA.tokens).map((name) => option(name, label(name))));
  const asked = new Map(DATA.boards.flatMap(({ samples }) => samples?.prompts.map((p) => [p.split + p.id, samples.texts[p.prompt]]) ?? []));
  const show = () => {
    const rows = DATA.tokens[run.value], at = Math.max(0, Math.min(prompt.selectedIndex, rows.length - 1));
    prompt.replaceChildren(...rows.map((row, i) => option(i, row.id)));
    prompt.selectedIndex = at;
    const sizes = rows.flatMap((row) => [...(row.end ?? []), ...(row.references ?? [])].map((t) => Math.abs(t[1]))).sort((a, b) => a - b);
    const top = sizes[Math.floor(0.95 * (sizes.length - 1))] || 1;
    const cards = [["end", "the policy's answer"], ["references", "the reference"]].filter(([who]) => rows[at][who]).map(([who, name]) => {
      const tokens = rows[at][who], sum = tokens.reduce((s, t) => s + t[1], 0);
      return card([name], tinted(tokens, top), html("p", { class: "facts" }, `sum ${said(sum)}`), tokenTable(tokens));
    });
    const scale = html("p", { class: "scale" }, said(-top));
    for (const share of [-1, -0.5, 0, 0.5, 1]) {
      const box = html("i");
      tint(box, share * top, top);
      scale.append(box);
    }
    scale.append(said(top));
    const known = asked.get(rows[at].split + rows[at].id);
    const before = known ? [card([rows[at].id], html("p", { dir: "auto" }, known))] : [];
    for (const context of before) context.classList.add("asked");
    find(".heat", section).replaceChildren(...before, scale, ...cards);
  };
  run.addEventListener("change", show);
  prompt.addEventListener("change", show);
  show();
}

// ------------------------------------------------------------------------------ answers

const browser = { at: 0, order: [] };

/** The prompts as they come, or where the picked rows differ most in what ranks first. */
function orderPrompts() {
  const { prompts, metrics, runs } = board().samples;
  browser.order = prompts.map((_, i) => i);
  if (!find("#samples .apart").checked) return;
  const judge = metrics.findIndex((name) => name !== "kl" && name !== "length") + 1;
  const spread = (i) => {
    const values = picked().map(([, r]) => runs[answering(r)]?.[i]?.[judge]).filter((v) => v !== null && v !== undefined);
    return values.length > 1 ? Math.max(...values) - Math.min(...values) : -1;
  };
  const values = browser.order.map(spread);
  browser.order.sort((a, b) => values[b] - values[a]);
}

/** The run of a row with the seed that is asked for, else its first. */
function answering(row) {
  const seed = find("#samples .seed").value;
  return row.runs.find((run) => String(DATA.seeds[run]) === seed) ?? row.runs[0];
}

function startAnswers() {
  const section = find("#samples"), prompt = find(".prompt", section);
  const go = (to) => {
    const n = browser.order.length;
    browser.at = ((to % n) + n) % n;
    showAnswers();
  };
  find(".before", section).addEventListener("click", () => go(browser.at - 1));
  find(".next", section).addEventListener("click", () => go(browser.at + 1));
  prompt.addEventListener("change", () => go(prompt.selectedIndex));
  find(".seed", section).addEventListener("change", drawAnswers);
  find(".apart", section).addEventListener("change", () => {
    browser.at = 0;
    drawAnswers();
  });
}

function drawAnswers() {
  const section = find("#samples"), found = board().samples, seed = find(".seed", section);
  find("form", section).hidden = !found;
  find(".count", section).textContent = found
    ? `${found.prompts.length} of ${found.of} test prompts are in this page${found.prompts.length < found.of ? ", evenly chosen to keep it small; all are in the per-prompt files" : ""}.`
    : "The per-prompt files of this table hold no answers.";
  if (!found) return find(".answers", section).replaceChildren();
  const seeds = [...new Set(board().rows.flatMap((r) => r.runs.map((run) => DATA.seeds[run])))].sort((a, b) => a - b).map(String);
  const before = seed.value;
  seed.replaceChildren(...seeds.map((s) => option(s, s)));
  seed.value = seeds.includes(before) ? before : seeds[0];
  orderPrompts();
  browser.at = Math.min(browser.at, found.prompts.length - 1);
  const words = (i) => (found.prompts[i].prompt === null ? "" : `  ${found.texts[found.prompts[i].prompt].slice(0, 60)}`);
  find(".prompt", section).replaceChildren(...browser.order.map((i, place) => option(place, found.prompts[i].id + words(i))));
  showAnswers();
}

function showAnswers() {
  const section = find("#samples"), { prompts, texts, metrics, runs } = board().samples;
  const at = browser.order[browser.at], asked = prompts[at];
  find(".prompt", section).selectedIndex = browser.at;
  const known = asked.prompt !== null;
  const top = html("article", { class: "card asked" }, html("h3", {}, asked.id),
    html("p", known ? { dir: "auto" } : { class: "missing" }, known ? texts[asked.prompt] : "The prompt itself is not among the records: the control copied_prompt has it."));
  const cards = asked.reference === null ? [] : [card(["reference"], html("p", { dir: "auto" }, texts[asked.reference].trim()))];
  for (const [slot, r] of picked()) {
    const run = answering(r), answer = runs[run]?.[at];
    const heading = [swatch(slot), r.runs.length > 1 ? `${r.name}, seed ${DATA.seeds[run]}` : r.name];
    if (!answer) {
      cards.push(card(heading, html("p", { class: "missing" }, "no answer recorded")));
      continue;
    }
    const facts = metrics.flatMap((name, i) => (answer[i + 1] === null ? [] : [`${title(name)} ${said(answer[i + 1])}`]));
    cards.push(card(heading, html("p", texts[answer[0]].trim() ? { dir: "auto" } : { class: "missing" }, texts[answer[0]].trim() || "(empty)"), html("p", { class: "facts" }, facts.join(" · "))));
  }
  if (!picked().length) cards.push(card(["no row is ticked"], html("p", {}, "Tick rows in the leaderboard to read their answers here.")));
  find(".answers", section).replaceChildren(top, html("div", { class: "cards" }, ...cards));
}

// -------------------------------------------------------------------------------- start

function draw() {
  drawFrontier();
  drawLearning();
  drawProxy();
  drawLengths();
  drawAnswers();
}

function choose(index) {
  state.board = index;
  state.picked = [...board().picked];
  browser.at = 0;
  for (const part of all("[data-board]")) part.hidden = part.dataset.board !== String(index);
  showPicks();
  filter();
  draw();
}

/** What a reader chose outlives a reload, where the browser keeps anything for a file. Rows by name. */
const nameOf = (row) => `${row.section} ${row.name}`;

function remember() {
  const rows = state.picked.map((row) => row !== null && nameOf(board().rows[row]));
  const kept = { board: state.board, rows, filter: find("#filter").value };
  try {
    sessionStorage.setItem(location.pathname, JSON.stringify(kept));
  } catch {} // refused: the page begins anew
}

function recall() {
  let kept = null;
  try {
    kept = JSON.parse(sessionStorage.getItem(location.pathname));
  } catch {} // refused
  choose(Math.min(kept?.board ?? 0, DATA.boards.length - 1));
  if (!kept) return;
  const rows = board().rows.map(nameOf);
  state.picked = kept.rows.map((name) => (rows.includes(name) ? rows.indexOf(name) : null));
  find("#filter").value = kept.filter;
  if (find("#board")) find("#board").value = state.board;
  showPicks();
  filter();
  draw();
}

/** What an address in this page points at is shown, though it was folded away. */
function unfold() {
  const target = document.getElementById(location.hash.slice(1));
  if (target instanceof HTMLDetailsElement) {
    target.open = true;
    target.scrollIntoView();
  }
}

for (const table of all(".sortable")) {
  for (const head of all("thead th:has(button)", table)) {
    find("button", head).addEventListener("click", () => sortBy(table, head));
  }
}
for (const box of all(".every")) {
  box.addEventListener("change", () => find("table", box.closest(".board")).classList.toggle("all", box.checked));
}
for (const box of all("#leaderboard .pick input")) {
  box.addEventListener("change", () => pick(Number(box.closest("tr").dataset.row), box.checked));
}
for (const form of all("form")) form.addEventListener("submit", (event) => event.preventDefault());
find("#filter").addEventListener("input", filter);
find("#board")?.addEventListener("change", (event) => choose(Number(event.target.value)));
find("#frontier select").addEventListener("change", drawFrontier);
find("#learning select")?.addEventListener("change", drawLearning);
window.addEventListener("hashchange", unfold);
let resized = 0;
window.addEventListener("resize", () => {
  cancelAnimationFrame(resized);
  resized = requestAnimationFrame(draw);
});
if (DATA.boards.length) {
  startTokens();
  startAnswers();
  recall();
  window.addEventListener("pagehide", remember);
}
unfold();
