// Charts are drawn when they come near the view, the rest when the page is idle, all before it is printed.
const figures = page.figures.map((figure) => ({ ...figure, node: byId(`chart-${figure.id}`), drawing: null }));
let marked = null; // the neuron that is marked in the pictures: {site, row}

function draw(figure) {
  figure.drawing ??= drawNow(figure).catch((error) => {
    figure.node.textContent = "This picture cannot be drawn here; its words and numbers stand below.";
    console.error(figure.id, error);
  });
  return figure.drawing;
}

async function drawNow(figure) {
  const { view } = await vegaEmbed(figure.node, fitted(figure), {
    actions: false,
    ast: true, // expressions are interpreted, not compiled: the page's policy forbids eval
    renderer: "svg",
    defaultStyle: false,
    tooltip: { disableDefaultStyle: true },
    logLevel: 1, // errors: what vega finds unusual in a chart is nothing to a reader
  });
  figure.view = view;
  figure.node.classList.add("drawn");
  view.addEventListener("click", (_, item) => item && item.datum && pick(figure, item.datum));
  view.addResizeListener(() => setTimeout(() => markIn(figure)));
  if (marked) markIn(figure);
}

const NARROW = 460; // pixels

// Legends in two columns, titles cut with dots and not by the edge.
function narrow(config, width) {
  const titleLimit = width - 60;
  return {
    ...config,
    legend: { ...config.legend, orient: "top", columns: 2, titleLimit },
    axis: { ...config.axis, titleLimit },
  };
}

// Views that stand side by side take the width there is between them, or stand below one another on a small screen.
function fitted(figure) {
  const width = figure.node.clientWidth;
  const spec = width < NARROW ? { ...figure.spec, config: narrow(figure.spec.config, width) } : figure.spec;
  const views = spec.hconcat;
  if (!views) return spec;
  const { hconcat, ...rest } = spec;
  const height = Math.max(120, figure.height - 130); // less what stands above and below the axes
  if (width < 640) return { ...rest, vconcat: hconcat.map((view) => ({ ...view, height, width: Math.max(120, width - 110) })) };
  return { ...rest, hconcat: hconcat.map((view) => ({ ...view, height, width: (width - 120) / views.length - 18 })) };
}

async function drawAll() {
  for (const figure of figures) {
    await draw(figure);
    await breathe();
  }
  document.documentElement.dataset.drawn = "all";
}

function wireCharts() {
  const near = new IntersectionObserver(
    (entries) => {
      for (const entry of entries) {
        if (!entry.isIntersecting) continue;
        near.unobserve(entry.target);
        draw(figures.find((figure) => figure.node === entry.target));
      }
    },
    { rootMargin: "300px" }
  );
  for (const figure of figures) near.observe(figure.node);
  addEventListener("beforeprint", () => figures.forEach(draw));
  byId("print").hidden = false;
  byId("print").addEventListener("click", async () => {
    await drawAll();
    print();
  });
}
