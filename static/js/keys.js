// The keyboard: one key does what one control of the page does, and "?" lists them. Never while one writes.
(() => {
  "use strict";

  const PATIENCE = 1500; // milliseconds between g and the letter of a page
  const CONTROLS = {
    "/": "#filter_q",
    a: "#acknowledge",
    s: "#snooze",
    n: "#note_form textarea",
    r: "#analyze",
    "?": "[data-keys-open]",
  };
  let going = 0; // when g was pressed

  function writing(target) {
    return target.isContentEditable || target.matches("textarea, select, input:not([type=checkbox], [type=radio], [type=button])");
  }

  function use(control) {
    if (control.matches("input, textarea")) control.focus();
    else control.click();
    if (control.matches("summary")) control.parentElement.querySelector(".menu-body button:not([hidden]), .menu-body a")?.focus();
  }

  // j and k walk along the rows; from nowhere they start at the first, and stop at the ends.
  function walk(step) {
    const rows = [...document.querySelectorAll(".row-link")];
    const at = rows.indexOf(document.activeElement);
    const next = at < 0 ? 0 : Math.min(Math.max(at + step, 0), rows.length - 1);
    rows[next]?.focus();
    return rows.length > 0;
  }

  function pressed(key, target) {
    if (Date.now() - going < PATIENCE) {
      going = 0;
      const page = document.querySelector(`[data-go="${CSS.escape(key)}"]`);
      page?.click();
      return Boolean(page);
    }
    if (key === "g") {
      going = Date.now();
      return true;
    }
    if (key === "j" || key === "k") return walk(key === "j" ? 1 : -1);
    if (key === "o" && target.matches(".row-link")) {
      target.click();
      return true;
    }
    const control = Object.hasOwn(CONTROLS, key) && document.querySelector(CONTROLS[key]);
    if (control) use(control);
    return Boolean(control);
  }

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented || document.querySelector("dialog[open]")) return;
    if (writing(event.target)) {
      if (event.key === "Escape") event.target.blur();
    } else if (pressed(event.key, event.target)) {
      event.preventDefault();
    }
  });

  document.addEventListener("DOMContentLoaded", () => {
    const opener = document.querySelector("[data-keys-open]");
    const help = document.getElementById("keys");
    if (!opener || !help) return;
    opener.hidden = false;
    opener.addEventListener("click", () => help.showModal());
  });
})();
