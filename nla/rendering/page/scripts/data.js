// What the page holds: one JSON document, and a block of bytes for each column of the neurons.
const byId = (id) => document.getElementById(id);
const page = JSON.parse(byId("page-data").textContent);
const neurons = page.neurons;
const quick = matchMedia("(prefers-reduced-motion: reduce)");

function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in made) made[name] = value;
    else made.setAttribute(name, value);
  }
  made.append(...children); // strings become text nodes: names come from strangers' files
  return made;
}

function fromBase64(text) {
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(text);
  const raw = atob(text);
  const bytes = new Uint8Array(raw.length);
  for (let i = 0; i < raw.length; i++) bytes[i] = raw.charCodeAt(i);
  return bytes;
}

const ARRAYS = { u1: Uint8Array, u4: Uint32Array, f4: Float32Array, f8: Float64Array };

// Blocks are deflated, their bytes taken apart by significance; see nla/rendering/page/neurons.py.
async function unpack(column) {
  const source = byId(`block-${column.place}`);
  const inflated = new Blob([fromBase64(source.textContent.trim())])
    .stream()
    .pipeThrough(new DecompressionStream("deflate"));
  const apart = new Uint8Array(await new Response(inflated).arrayBuffer());
  source.remove();
  const size = ARRAYS[column.type].BYTES_PER_ELEMENT;
  if (size === 1) return apart;
  const together = new Uint8Array(apart.length);
  const length = apart.length / size;
  for (let byte = 0; byte < size; byte++) {
    const part = apart.subarray(byte * length, (byte + 1) * length);
    for (let i = 0, at = byte; i < length; i++, at += size) together[at] = part[i];
  }
  return new ARRAYS[column.type](together.buffer);
}

// Pauses so that the page answers between two long steps.
const breathe = () => new Promise((resolve) => setTimeout(resolve, 0));

const plainCount = new Intl.NumberFormat("en-GB");
const counted = (number) => plainCount.format(number);

function shownNumber(value, whole) {
  if (Number.isNaN(value)) return "–";
  if (!Number.isFinite(value)) return value > 0 ? "∞" : "−∞";
  if (whole) return counted(value);
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-3 || size >= 1e6)) return value.toExponential(2).replace("-", "−");
  return String(Number(value.toPrecision(4))).replace("-", "−");
}
