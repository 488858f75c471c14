// Which rows are shown, and in which order.
const wanted = { text: "", site: "", flag: "", states: new Set(), picked: null };
const columns = neurons ? neurons.columns.map((column, place) => ({ ...column, place })) : [];
const columnOf = new Map(columns.map((column) => [column.name, column]));
let siteOf = null; // [rows] place of each row's site
let sorted = { name: "", down: false };

const indexOf = (row) => row - neurons.sites[siteOf[row]].start;

function prepareRows() {
  siteOf = new Uint32Array(neurons.rows);
  neurons.sites.forEach((site, place) => siteOf.fill(place, site.start, site.start + site.neurons));
}

// A search is words, all of which must hold: `dead`, `site:act.4`, `index:12`, `margin<1`; "…" holds blanks together.
const WORD = /(?:([\w-]+)(:|<=|>=|<|>|=))?(?:"([^"]*)"|(\S+))/g;

function conditions(text) {
  const made = [];
  for (const [, name, operator, quoted, bare] of text.toLowerCase().matchAll(WORD)) {
    made.push(condition(name, operator, quoted ?? bare));
  }
  return made;
}

function condition(name, operator, value) {
  const column = columnOf.get(name);
  if (operator && operator !== ":" && (name === "index" || (column && column.values && !column.steps))) {
    const number = Number(value.replace("%", "")) / (value.endsWith("%") ? 100 : 1);
    const of = name === "index" ? indexOf : (row) => column.values[row];
    // Single precision is what the page holds: 0.1 is to equal 0.1.
    const limit = column && column.type === "f4" ? Math.fround(number) : number;
    const holds = {
      "<": (row) => of(row) < limit,
      ">": (row) => of(row) > limit,
      "<=": (row) => of(row) <= limit,
      ">=": (row) => of(row) >= limit,
      "=": (row) => of(row) === limit,
    };
    return holds[operator];
  }
  if (operator && name === "site") return inSites(value);
  if (operator && name === "index") return (row) => String(indexOf(row)) === value;
  if (operator && name === "state") return inStates(value);
  if (operator && name === "flag") return inFlags(value);
  const word = operator ? `${name}${operator}${value}` : value;
  const parts = [inSites(word), inStates(word), inFlags(word)];
  for (const each of columns.filter((one) => one.words && one.values)) {
    const match = each.words.map((one) => one.toLowerCase().includes(word));
    parts.push((row) => match[each.values[row]]);
  }
  if (/^\d+$/.test(word)) parts.push((row) => indexOf(row) === Number(word));
  return (row) => parts.some((holds) => holds(row));
}

function inSites(word) {
  const match = neurons.sites.map((site) => site.name.toLowerCase().includes(word));
  return (row) => match[siteOf[row]];
}

function inStates(word) {
  const match = neurons.states.map((state) => state.startsWith(word));
  const values = columnOf.get("state").values;
  return (row) => match[values[row]];
}

function inFlags(word) {
  const bits = neurons.flags.reduce((sum, flag, place) => sum + (flag.startsWith(word) ? 1 << place : 0), 0);
  const values = columnOf.get("flags").values;
  return (row) => (values[row] & bits) !== 0;
}

function found() {
  const holds = conditions(wanted.text);
  const states = columnOf.get("state").values;
  const flags = columnOf.get("flags").values;
  const shown = neurons.states.map((state) => wanted.states.size === 0 || wanted.states.has(state));
  const bit = wanted.flag ? 1 << neurons.flags.indexOf(wanted.flag) : 0;
  const site = wanted.site === "" ? null : neurons.sites[Number(wanted.site)];
  const from = site ? site.start : 0;
  const to = site ? site.start + site.neurons : neurons.rows;
  const rows = new Uint32Array(to - from);
  let length = 0;
  for (let row = from; row < to; row++) {
    if (!shown[states[row]] || (bit && !(flags[row] & bit))) continue;
    if (wanted.picked && !wanted.picked.holds(row)) continue;
    if (holds.every((each) => each(row))) rows[length++] = row;
  }
  return inOrder(rows.subarray(0, length));
}

// Unknown numbers come last, whichever way; equal ones stay in the order of the network.
function inOrder(rows) {
  if (!sorted.name) return rows;
  const sign = sorted.down ? -1 : 1;
  const key = keyOf(sorted.name);
  return rows.sort((a, b) => {
    const [x, y] = [key(a), key(b)];
    if (x === y) return a - b;
    if (x !== x || y !== y) return x === x ? -1 : y === y ? 1 : a - b;
    return x < y ? -sign : sign;
  });
}

function keyOf(name) {
  if (name === "site") return (row) => siteOf[row];
  if (name === "index") return indexOf;
  const column = columnOf.get(name);
  if (!column.steps) return (row) => column.values[row];
  return (row) => changes(column, row);
}

// A trajectory is sorted by how often the state changed.
function changes(column, row) {
  let number = 0;
  for (let step = 1; step < column.steps; step++) {
    number += column.values[step * neurons.rows + row] !== column.values[(step - 1) * neurons.rows + row];
  }
  return number;
}
