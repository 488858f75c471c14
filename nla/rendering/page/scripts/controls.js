// The search box, the filters, the links to a row, copying.
const shown = byId("shown");
const PRINTED = 40;

function refresh({ keep = false } = {}) {
  const at = keep && active >= 0 ? rows[active] : -1;
  rows = found();
  active = at >= 0 ? rows.indexOf(at) : -1;
  grid.setAttribute("aria-rowcount", rows.length + 1);
  if (active < 0) grid.scrollTop = 0;
  shown.textContent = `${counted(rows.length)} of ${counted(neurons.rows)} neurons`;
  byId("nothing").hidden = rows.length > 0;
  byId("clear").disabled = !(wanted.text || wanted.site || wanted.flag || wanted.states.size || wanted.picked);
  byId("picked").hidden = !wanted.picked;
  if (wanted.picked) byId("picked-label").textContent = wanted.picked.label;
  paint(true);
}

function clearAll() {
  Object.assign(wanted, { text: "", site: "", flag: "", picked: null });
  wanted.states.clear();
  showWanted();
  refresh();
}

function showWanted() {
  byId("search").value = wanted.text;
  byId("site").value = wanted.site;
  byId("flag").value = wanted.flag;
  for (const box of document.querySelectorAll("#states input")) box.checked = wanted.states.has(box.value);
}

// What a picture or the table of sites asks for; the table is scrolled to, and to one row of it where one is named.
function show({ site = "", state = "", flag = "", text = "", picked = null }, row = null) {
  Object.assign(wanted, { site: site === "" ? "" : String(site), flag, text, picked });
  wanted.states = new Set(state ? [state] : []);
  showWanted();
  refresh();
  byId("neurons").scrollIntoView({ behavior: quick.matches ? "auto" : "smooth" });
  grid.focus({ preventScroll: true });
  if (row !== null) move(rows.indexOf(row), { select: true });
}

// A chosen row is named in the address, described below the search, and marked in the pictures.
function choose(row, { address = true } = {}) {
  const site = neurons.sites[siteOf[row]];
  const index = indexOf(row);
  const state = neurons.states[columnOf.get("state").values[row]];
  if (address) history.replaceState(null, "", `#n=${encodeURIComponent(site.name)}:${index}`);
  const marked = markNeuron(siteOf[row], row);
  const text = element("span", {}, element("i", { className: `dot ${state}` }), `${site.name} [${index}] is ${state}`);
  const picture = element("button", { type: "button", textContent: "Show in the pictures", disabled: !marked });
  picture.addEventListener("click", () => showPicture());
  byId("chosen").replaceChildren(text, ...(marked ? [picture] : []));
  byId("chosen").hidden = false;
}

// #n=site:index leads to that row.
function follow() {
  const match = /^#n=(.*):(\d+)$/.exec(location.hash);
  if (!match || !neurons) return;
  let name = match[1];
  try {
    name = decodeURIComponent(name);
  } catch {
    return; // not an address of ours
  }
  const site = neurons.sites.find((each) => each.name === name);
  if (!site || Number(match[2]) >= site.neurons) return;
  const row = site.start + Number(match[2]);
  if (!rows.includes(row)) clearAll();
  byId("neurons").scrollIntoView();
  grid.focus({ preventScroll: true });
  move(rows.indexOf(row));
  choose(row, { address: false });
}

const FORMULA = /^[=+\-@\t\r]/;

function csvText(text) {
  const safe = FORMULA.test(text) ? `'${text}` : text; // as `nla neurons --format csv` has it
  return /[",\n\r]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}

function csvValue(column, row) {
  if (column.name === "site") return csvText(neurons.sites[siteOf[row]].name);
  if (column.name === "index") return indexOf(row);
  if (column.name === "state") return neurons.states[column.values[row]];
  if (column.name === "flags") return flagsOf(row).join(";");
  if (column.steps) return trajectoryOf(column, row).ariaLabel.replaceAll(", ", ";");
  if (column.words) return csvText(column.words[column.values[row]]);
  const value = column.values[row];
  if (Number.isNaN(value)) return "";
  if (!Number.isFinite(value)) return value > 0 ? "inf" : "-inf";
  return column.type === "f4" ? Number(value.toPrecision(8)) : value;
}

function asCsv() {
  const lines = [layout.map((column) => column.name).join(",")];
  for (const row of rows) lines.push(layout.map((column) => csvValue(column, row)).join(","));
  return `${lines.join("\n")}\n`;
}

async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const area = element("textarea", { value: text }); // where a page from a file may not use the clipboard
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
}

async function copyCsv() {
  await copyText(asCsv());
  byId("said").textContent = `${counted(rows.length)} rows copied`;
}

function saveCsv() {
  const link = element("a", { download: "neurons.csv" });
  link.href = URL.createObjectURL(new Blob([asCsv()], { type: "text/csv" }));
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

function printedRows() {
  const table = byId("printed");
  if (!table || !columns.every((column) => column.values)) return;
  const some = layout.filter((column) => page.printed.includes(column.name));
  const lines = [...rows.subarray(0, PRINTED)].map((row) =>
    element("tr", {}, ...some.map((column) => cellOf(column, row)))
  );
  table.tBodies[0].replaceChildren(...lines);
  const all = counted(rows.length);
  byId("printed-note").textContent =
    rows.length > PRINTED ? `The first ${PRINTED} of ${all} neurons as filtered on the page.` : `All ${all} neurons as filtered on the page.`;
}

function wireControls() {
  let waiting = 0;
  byId("search").addEventListener("input", (event) => {
    wanted.text = event.target.value;
    clearTimeout(waiting);
    if (neurons.rows < 20000) refresh();
    else waiting = setTimeout(refresh, 120); // a keystroke is not to wait for a hundred thousand rows
  });
  for (const name of ["site", "flag"]) {
    byId(name).addEventListener("change", (event) => {
      wanted[name] = event.target.value;
      refresh();
    });
  }
  byId("states").addEventListener("change", (event) => {
    wanted.states[event.target.checked ? "add" : "delete"](event.target.value);
    refresh();
  });
  byId("unpick").addEventListener("click", () => {
    wanted.picked = null;
    refresh();
  });
  byId("clear").addEventListener("click", () => {
    clearAll();
    byId("search").focus();
  });
  byId("copy").addEventListener("click", copyCsv);
  byId("save").addEventListener("click", saveCsv);
  for (const link of document.querySelectorAll("a[data-show]")) {
    link.addEventListener("click", (event) => {
      event.preventDefault();
      show(JSON.parse(link.dataset.show));
    });
  }
  addEventListener("hashchange", follow);
  addEventListener("beforeprint", printedRows);
  document.addEventListener("keydown", (event) => {
    if (event.key !== "/" || event.target.closest("input, select, textarea")) return;
    event.preventDefault();
    byId("search").focus();
  });
}
