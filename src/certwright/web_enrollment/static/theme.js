/* Runs before the first paint. Theme: light, dark, or the system's. The console shares the choice. */
(() => {
  "use strict";
  const root = document.documentElement;
  let stored = null;
  try { stored = localStorage.getItem("cw-theme"); } catch { /* storage is switched off: follow the system */ }
  if (stored === "light" || stored === "dark") root.setAttribute("data-bs-theme", stored);
  document.addEventListener("DOMContentLoaded", () => {
    for (const button of document.querySelectorAll("[data-theme-toggle]")) {
      button.hidden = false;
      button.addEventListener("click", () => {
        const now = root.getAttribute("data-bs-theme") || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
        const next = now === "dark" ? "light" : "dark";
        root.setAttribute("data-bs-theme", next);
        try { localStorage.setItem("cw-theme", next); } catch { /* not remembered, still switched */ }
      });
    }
  });
})();
