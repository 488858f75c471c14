// The table of neurons: as many rows as are seen are in the document, whatever their number.
const ROW = 28; // pixels, as in style.css
const TALLEST = 8e6; // browsers give up on taller elements; beyond, the scroll bar moves several rows a pixel
const grid = byId("grid");
const body = byId("grid-body");
const layout = [{ name: "site" }, { name: "index" }, ...columns];
let rows = new Uint32Array(0);
let active = -1; // place in `rows` of the row that the keys move
let painted = "";

const room = () => grid.clientHeight - body.offsetTop; // pixels below the headings
const whole = () => rows.length * ROW <= TALLEST;
const tall = () => (whole() ? rows.length * ROW : TALLEST);
const pace = () => (whole() ? ROW : (TALLEST - room()) / (rows.length - room() / ROW)); // pixels of scrolling a row
const pageful = () => Math.max(1, Math.floor(room() / ROW) - 1);

function paint(force = false) {
  const seen = Math.ceil(grid.clientHeight / ROW) + 2;
  const top = grid.scrollTop / pace();
  const first = Math.max(0, Math.min(Math.floor(top) - 6, rows.length - seen - 6));
  const last = Math.min(rows.length, first + seen + 12);
  const now = `${first} ${last} ${active} ${whole() || top}`;
  if (!force && now === painted) return;
  painted = now;
  const above = Math.max(0, grid.scrollTop + (first - top) * ROW);
  const drawn = [];
  for (let place = first; place < last; place++) drawn.push(rowOf(place));
  const spacer = (size) => element("tr", { className: "pad", ariaHidden: "true" }, padding(size));
  body.replaceChildren(spacer(above), ...drawn, spacer(Math.max(0, tall() - above - drawn.length * ROW)));
  grid.setAttribute("aria-activedescendant", active >= first && active < last ? `row-${rows[active]}` : "");
}

function padding(size) {
  const cell = element("td", { colSpan: layout.length });
  cell.style.height = `${size}px`;
  return cell;
}

function rowOf(place) {
  const row = rows[place];
  const made = element("tr", { id: `row-${row}`, role: "row", "aria-rowindex": place + 2 });
  made.dataset.place = place;
  if (place === active) made.setAttribute("aria-selected", "true");
  for (const column of layout) made.append(cellOf(column, row));
  return made;
}

function cellOf(column, row) {
  const cell = element("td", { role: "gridcell" });
  if (column.name === "site") {
    const site = neurons.sites[siteOf[row]];
    cell.textContent = site.short;
    cell.title = site.name;
  } else if (column.name === "index") {
    cell.className = "number";
    cell.textContent = indexOf(row);
  } else if (!column.values) {
    cell.textContent = "…";
  } else if (column.name === "state") {
    const state = neurons.states[column.values[row]];
    cell.append(element("i", { className: `dot ${state}` }), state);
  } else if (column.name === "flags") {
    cell.textContent = flagsOf(row).join(", ").replaceAll("_", "-");
    cell.title = cell.textContent;
  } else if (column.steps) {
    cell.append(trajectoryOf(column, row));
  } else if (column.words) {
    cell.textContent = column.words[column.values[row]];
  } else {
    const value = column.values[row];
    cell.className = value === 0 || Number.isNaN(value) ? "number none" : "number";
    cell.textContent = shownNumber(value, column.whole);
    if (column.name === "activation_rate") {
      cell.classList.add("rate");
      cell.style.setProperty("--share", value || 0);
    }
  }
  return cell;
}

function flagsOf(row) {
  const bits = columnOf.get("flags").values[row];
  return neurons.flags.filter((_, place) => bits & (1 << place));
}

function trajectoryOf(column, row) {
  const states = [];
  for (let step = 0; step < column.steps; step++) {
    states.push(neurons.states[column.values[step * neurons.rows + row]] ?? "unknown");
  }
  const strip = element("span", { className: "strip", role: "img", ariaLabel: states.join(", ") });
  strip.title = states.map((state, step) => `${page.runs[step]}: ${state}`).join("\n");
  strip.append(...states.map((state) => element("i", { className: state })));
  return strip;
}

// Moves to a place among the rows and keeps it in sight.
function move(place, { select = false } = {}) {
  if (!rows.length) return;
  const far = Math.abs(place - active) > 1;
  active = Math.max(0, Math.min(rows.length - 1, place));
  const high = active * pace();
  const low = (active + 1 - (room() - 14) / ROW) * pace();
  const out = high < grid.scrollTop || low > grid.scrollTop;
  if (out && far) grid.scrollTop = (active - 3) * pace(); // the grid's lower end may lie below the window
  else if (out) grid.scrollTop = high < grid.scrollTop ? high : low;
  paint(true);
  if (select) choose(rows[active]);
}

const KEYS = {
  ArrowDown: () => move(active + 1),
  ArrowUp: () => move(active - 1),
  PageDown: () => move(active + pageful()),
  PageUp: () => move(active - pageful()),
  Home: () => move(0),
  End: () => move(rows.length - 1),
  Enter: () => active >= 0 && choose(rows[active]),
  " ": () => active >= 0 && choose(rows[active]),
  ArrowRight: () => grid.scrollBy({ left: 120 }),
  ArrowLeft: () => grid.scrollBy({ left: -120 }),
};

function wireTable() {
  grid.addEventListener("scroll", () => requestAnimationFrame(() => paint()), { passive: true });
  grid.addEventListener("keydown", (event) => {
    const act = event.target === grid && !event.ctrlKey && !event.metaKey && !event.altKey && KEYS[event.key];
    if (!act) return;
    event.preventDefault();
    act();
  });
  grid.addEventListener("focus", () => active < 0 && move(0));
  body.addEventListener("click", (event) => {
    const line = event.target.closest("tr[data-place]");
    if (line) move(Number(line.dataset.place), { select: true });
  });
  for (const button of grid.querySelectorAll("th button")) {
    button.addEventListener("click", () => sortBy(button.dataset.column));
  }
  grid.querySelector("thead").addEventListener("keydown", moveHead);
  addEventListener("resize", () => paint(true));
}

// One of the headings takes the tabulator; arrows lead to the others.
function moveHead(event) {
  const to = { ArrowRight: "nextElementSibling", ArrowLeft: "previousElementSibling" }[event.key];
  const next = to && event.target.closest("th")[to];
  if (!next) return;
  event.preventDefault();
  event.target.tabIndex = -1;
  next.firstElementChild.tabIndex = 0;
  next.firstElementChild.focus();
}

// Numbers the largest first, words from A; then the other way round; then as in the network.
function sortBy(name) {
  const column = columnOf.get(name);
  const down = Boolean(column) && !column.words && name !== "state";
  if (sorted.name !== name) sorted = { name, down };
  else if (sorted.down === down) sorted = { name, down: !down };
  else sorted = { name: "", down: false };
  for (const head of grid.querySelectorAll("th")) {
    const here = head.dataset.column === sorted.name;
    head.setAttribute("aria-sort", here ? (sorted.down ? "descending" : "ascending") : "none");
  }
  refresh();
}
