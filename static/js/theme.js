// Sets the theme before the first paint: what was chosen here, else what the system says. Loaded in <head>, not deferred.
(() => {
  "use strict";
  const KEY = "theme";
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const system = () => (dark.matches ? "dark" : "light");

  function chosen() {
    try {
      const value = localStorage.getItem(KEY);
      return value === "dark" || value === "light" ? value : null;
    } catch {
      return null; // storage is switched off: the system decides
    }
  }

  function apply() {
    const theme = chosen() || system();
    document.documentElement.dataset.bsTheme = theme;
    const button = document.querySelector("[data-theme-switch]");
    if (button) {
      button.hidden = false;
      button.setAttribute("aria-pressed", String(theme === "dark"));
      button.title = theme === "dark" ? "Switch to light" : "Switch to dark";
    }
  }

  function choose(theme) {
    try {
      // Back at what the system says: follow it again.
      if (theme === system()) localStorage.removeItem(KEY);
      else localStorage.setItem(KEY, theme);
    } catch {
      document.documentElement.dataset.bsTheme = theme;
      return;
    }
    apply();
  }

  document.documentElement.classList.add("scripted");
  apply();
  dark.addEventListener("change", apply);
  window.addEventListener("storage", apply);
  document.addEventListener("DOMContentLoaded", () => {
    apply();
    document.querySelector("[data-theme-switch]")?.addEventListener("click", () => {
      choose(document.documentElement.dataset.bsTheme === "dark" ? "light" : "dark");
    });
  });
})();
