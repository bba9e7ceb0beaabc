/* Runs before the first paint. Theme: the account's choice, else this browser's, else the system's. */
(() => {
  const root = document.documentElement;
  let stored = null;
  try { stored = localStorage.getItem("cw-theme"); } catch { /* storage is switched off */ }
  const chosen = ["light", "dark"].includes(root.dataset.theme) ? root.dataset.theme : stored;
  const system = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
  root.setAttribute("data-bs-theme", chosen || system);
})();
