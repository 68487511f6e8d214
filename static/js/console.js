// What works on every page: menus that close, copy buttons, and an honest word when a request fails.
(() => {
  "use strict";

  function say(text) {
    const notice = document.getElementById("notice");
    if (!notice) return;
    notice.textContent = text;
    notice.hidden = !text;
  }

  // Menus are <details>: they open without a script. Here they also close.
  document.addEventListener("click", (event) => {
    for (const menu of document.querySelectorAll("details[data-menu][open]")) {
      if (!menu.contains(event.target)) menu.open = false;
    }
  });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    for (const menu of document.querySelectorAll("details[data-menu][open]")) {
      menu.open = false;
      menu.querySelector("summary").focus();
    }
  });

  // data-copy names the element whose text is copied.
  async function copy(button) {
    const source = document.getElementById(button.dataset.copy);
    if (!source) return;
    const label = button.querySelector("[data-copy-label]");
    try {
      await navigator.clipboard.writeText(source.textContent);
      button.classList.add("copied");
      if (label) label.textContent = "Copied";
    } catch {
      // No permission, or not a secure origin: select the text, so that the keyboard can copy it.
      getSelection().selectAllChildren(source);
      if (label) label.textContent = "Press Ctrl-C";
    }
    setTimeout(() => {
      button.classList.remove("copied");
      if (label) label.textContent = "Copy";
    }, 2000);
  }
  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-copy]");
    if (button) copy(button);
  });

  // A mark such as [E1] opens the evidence it points to.
  function reveal(hash) {
    const target = hash.length > 1 && document.getElementById(decodeURIComponent(hash.slice(1)));
    const folded = target && target.closest("details");
    if (folded) folded.open = true;
  }
  document.addEventListener("click", (event) => {
    const link = event.target.closest('a[href^="#"]');
    if (link) reveal(link.getAttribute("href"));
  });
  document.addEventListener("DOMContentLoaded", () => reveal(location.hash));

  // A session that ended answers a fragment with the login page: go there as a whole page instead.
  document.addEventListener("htmx:beforeSwap", (event) => {
    const login = document.body.dataset.login;
    const answered = event.detail.xhr && event.detail.xhr.responseURL;
    if (login && answered && new URL(answered).pathname === login) {
      event.detail.shouldSwap = false;
      location.reload();
    }
  });
  document.addEventListener("htmx:afterRequest", (event) => {
    if (event.detail.successful) say("");
  });
  document.addEventListener("htmx:sendError", () => {
    say("The server cannot be reached, so nothing was changed. Check your connection and try again.");
  });
  document.addEventListener("htmx:responseError", (event) => {
    const status = event.detail.xhr.status;
    say(
      status === 403
        ? "That was refused: you may not do this, or the page is too old. Reload it and try again."
        : status === 404
          ? "That is not there any more. Reload the page."
          : `The server could not do that (error ${status}). Nothing was changed; try again in a moment.`,
    );
  });
})();
