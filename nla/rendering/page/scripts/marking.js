// From the pictures to the rows, and back. Marks carry the data they stand for: `site`, and where known `state`,
// `neuron` (the index of the first), `from` and `to` (ranks in percent).
const RANKED = { "activation-rate": "activation_rate", "firing-frequency": "firing_frequency" };
const UNMARKED = new Set(["histogram-a", "histogram-z"]); // their marks are of no neuron
const siteNamed = new Map(neurons ? neurons.sites.map((site, place) => [site.name, place]) : []);
const orders = new Map();

// The rows of a site as the heatmaps sort them: the dead first, then by the number, unknown last.
function ranked(place, name) {
  const key = `${place} ${name}`;
  if (!orders.has(key)) {
    const { start, neurons: number } = neurons.sites[place];
    const states = columnOf.get("state").values;
    const values = columnOf.get(name).values;
    const dead = neurons.states.indexOf("dead");
    const rank = (row) => (Number.isNaN(values[row]) ? Infinity : values[row]);
    const order = Uint32Array.from({ length: number }, (_, index) => start + index);
    order.sort((a, b) => (states[b] === dead) - (states[a] === dead) || rank(a) - rank(b) || a - b);
    orders.set(key, order);
  }
  return orders.get(key);
}

function pick(figure, datum) {
  const place = siteNamed.get(datum.site);
  if (place === undefined || !siteOf || figure.several) return;
  const { neurons: number, name } = neurons.sites[place];
  const column = RANKED[figure.id];
  if (column && columnOf.has(column) && datum.to !== undefined) {
    const first = Math.round((datum.from * number) / 100);
    const order = ranked(place, column);
    const few = new Set(order.subarray(first, Math.round((datum.to * number) / 100)));
    if (few.size === 1) return show({ site: place, picked: null }, [...few][0]);
    const label = `${counted(few.size)} neurons of ${name}, picked in the picture`;
    return show({ site: place, picked: { label, holds: (row) => few.has(row) } });
  }
  const state = neurons.states.includes(datum.state) ? datum.state : "";
  if (Number.isInteger(datum.neuron)) return show({ site: place, state }, neurons.sites[place].start + datum.neuron);
  return show({ site: place, state });
}

// Marks of a neuron, or of a site where the row is null; says whether any picture shows it.
function markNeuron(place, row) {
  marked = { place, row };
  let some = false;
  for (const figure of figures) some = markIn(figure) || some || !figure.view;
  return some;
}

// A copy on top: the neighbours that are drawn later would hide an outline of the mark itself.
function outline(mark) {
  const copy = mark.cloneNode(false);
  copy.setAttribute("class", "hit");
  copy.setAttribute("aria-hidden", "true");
  mark.parentNode.append(copy);
}

function markIn(figure) {
  for (const old of figure.node.querySelectorAll(".hit")) old.remove();
  if (!marked || !figure.view || UNMARKED.has(figure.id)) return false;
  const { name, neurons: number } = neurons.sites[marked.place];
  const column = RANKED[figure.id];
  const rank = column && marked.row !== null ? ranked(marked.place, column).indexOf(marked.row) : -1;
  const state = marked.row === null ? "" : neurons.states[columnOf.get("state").values[marked.row]];
  let some = false;
  for (const mark of figure.node.querySelectorAll(".mark-rect path, .mark-symbol path")) {
    const datum = mark.__data__ && mark.__data__.datum;
    if (!datum || datum.site !== name) continue;
    // A rank at the border of two cells lies in one of them: half a neuron's width decides.
    const at = ((rank + 0.5) / number) * 100;
    if (rank >= 0 && datum.to !== undefined && (at < datum.from || at >= datum.to)) continue;
    if (rank < 0 && datum.state && state && datum.state !== state) continue;
    outline(mark);
    some = true;
  }
  return some;
}

async function showPicture() {
  const figure = figures.find((each) => each.id === "activation-rate") ?? figures.find((each) => !each.several);
  if (!figure) return;
  await draw(figure);
  markIn(figure);
  figure.node.closest("figure").scrollIntoView({ block: "center", behavior: quick.matches ? "auto" : "smooth" });
}
