// First the table, from the columns that the first view needs; then the rest, while the page answers already.
async function start() {
  if (neurons) {
    const first = ["state", "flags"];
    for (const name of first) columnOf.get(name).values = await unpack(columnOf.get(name));
    prepareRows();
    wireTable();
    wireControls();
    refresh();
    document.documentElement.dataset.ready = "table";
  }
  wireCharts();
  await breathe();
  for (const column of columns.filter((each) => !each.values)) {
    column.values = await unpack(column);
    await breathe();
  }
  if (neurons) {
    refresh({ keep: true });
    printedRows();
    follow();
  }
  document.documentElement.dataset.ready = "all";
  const idle = window.requestIdleCallback ?? ((act) => setTimeout(act, 200));
  idle(() => drawAll(), { timeout: 3000 });
}

// On paper every finding is told in full.
addEventListener("beforeprint", () => {
  for (const folded of document.querySelectorAll(".findings details:not([open])")) {
    folded.open = true;
    addEventListener("afterprint", () => (folded.open = false), { once: true });
  }
});
for (const button of document.querySelectorAll("button[data-copy]")) {
  button.hidden = false;
  button.addEventListener("click", async () => {
    await copyText(button.dataset.copy);
    button.textContent = "Copied";
    setTimeout(() => (button.textContent = "Copy"), 1500);
  });
}
start();
