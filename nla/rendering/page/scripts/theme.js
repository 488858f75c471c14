// Light, dark, or as the system has it. Colours are CSS variables, in the charts as well: nothing is drawn anew.
const THEMES = ["auto", "light", "dark"];
const themeButton = byId("theme");

function setTheme(theme) {
  if (theme === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  themeButton.textContent = `Theme: ${theme}`;
  themeButton.dataset.now = theme;
}

setTheme(document.documentElement.dataset.theme || "auto");
themeButton.hidden = false;
themeButton.addEventListener("click", () => {
  setTheme(THEMES[(THEMES.indexOf(themeButton.dataset.now) + 1) % THEMES.length]);
});
