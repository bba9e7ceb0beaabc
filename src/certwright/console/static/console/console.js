/* Certwright console: what pages do beside htmx. No framework, no inline handlers (CSP).
   Icons that are set here, icon:check icon:copy icon:sun icon:moon, so that the sprite has them. */
(() => {
  const root = document.documentElement;
  const $ = (selector, from = document) => from.querySelector(selector);
  const $$ = (selector, from = document) => [...from.querySelectorAll(selector)];
  const words = JSON.parse($("#cw-words")?.textContent || "{}");
  const say = (text) => { const live = $("#live"); if (live) { live.textContent = ""; live.textContent = text; } };
  const remember = (key, value) => { try { localStorage.setItem(key, value); } catch { /* switched off */ } };

  /* ---- copy, theme, dialogs ---- */
  const openDialog = (dialog) => {
    if (!dialog || dialog.open) return;
    if (dialog.classList.contains("cw-drawer")) dialog.show(); else dialog.showModal();
    $("input:not([type=hidden]):not([type=checkbox]), textarea, select", dialog)?.focus();
    $$("[data-confirm-word]", dialog).forEach(checkWord);
  };
  const copy = async (button) => {
    await navigator.clipboard.writeText(button.dataset.copy);
    const use = $("use", button), was = use.getAttribute("href");
    use.setAttribute("href", was.replace(/#.*/, "#check"));
    button.classList.add("done");
    say(button.dataset.copied || "");
    setTimeout(() => { use.setAttribute("href", was); button.classList.remove("done"); }, 1400);
  };
  const themeButton = () => $$("[data-theme-toggle] use").forEach((use) => {
    use.setAttribute("href", use.getAttribute("href").replace(/#.*/, root.getAttribute("data-bs-theme") === "dark" ? "#sun" : "#moon"));
  });
  const toggleTheme = () => {
    const next = root.getAttribute("data-bs-theme") === "dark" ? "light" : "dark";
    root.setAttribute("data-bs-theme", next);
    remember("cw-theme", next);
    themeButton();
    document.dispatchEvent(new Event("cw:theme"));
    if (root.dataset.theme && window.htmx) {
      root.dataset.theme = next;
      htmx.ajax("POST", "/account/theme/", { values: { theme: next }, swap: "none" });
    }
  };
  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-copy],[data-theme-toggle],[data-open],[data-close],[data-move],[data-pick-all]");
    if (!button) return;
    if (button.dataset.copy !== undefined) copy(button);
    else if (button.hasAttribute("data-theme-toggle")) toggleTheme();
    else if (button.dataset.open) { event.preventDefault(); prepareDialog(button.dataset.open); openDialog(document.getElementById(button.dataset.open)); }
    else if (button.dataset.move) move(button);
    else if (button.hasAttribute("data-pick-all")) pickAll(button);
    else button.closest("dialog")?.close();
  });
  /* a dialog that came from the server goes away when it is closed */
  document.addEventListener("close", (event) => { if (event.target.closest("#dialogs")) event.target.remove(); }, true);
  /* menus of rows stand above the table, which cuts off what is wider or higher than it */
  document.addEventListener("click", (event) => {
    const toggle = event.target.closest(".cw-table-wrap [data-bs-toggle=dropdown]:not([data-bs-popper-config])");
    if (!toggle) return;
    toggle.dataset.bsPopperConfig = '{"strategy":"fixed"}';
    window.tabler?.Dropdown.getInstance(toggle)?.dispose(); /* made without it when the page was loaded */
  }, true);
  /* a proposal that fills a field of the form it stands in */
  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-fill]");
    const input = button?.closest("form")?.elements[button.dataset.fill];
    if (!input) return;
    const [other, chosen] = (button.dataset.also || "").split("=");
    if (other) input.form.elements[other].value = chosen;
    input.value = button.dataset.value;
    input.dispatchEvent(new Event("input", { bubbles: true }));
    input.focus();
  });
  /* what must be typed before an act that cannot be undone */
  const checkWord = (input) => {
    const submit = $("[type=submit].btn-danger, [type=submit].btn-primary", input.form);
    if (submit) submit.disabled = input.value.trim().toLowerCase() !== input.dataset.confirmWord.toLowerCase();
  };
  document.addEventListener("input", (event) => { if (event.target.dataset?.confirmWord) checkWord(event.target); });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && event.target.dataset?.confirmWord && event.target.closest("dialog")) event.preventDefault();
  });
  const prepareDialog = (id) => {
    const dialog = document.getElementById(id);
    $$("[data-current-query]", dialog || document).forEach((input) => { input.value = location.search.slice(1); });
    $$("[data-current-url]", dialog || document).forEach((input) => { input.value = location.pathname + location.search; });
  };

  /* ---- lists: columns, ticks, rows ---- */
  const move = (button) => {
    const item = button.closest("li");
    if (button.dataset.move === "up") item.previousElementSibling?.before(item); else item.nextElementSibling?.after(item);
    button.focus();
  };
  const picks = () => $$("#rows td.cw-pick input, #rows .cw-queue > li > input");
  const showBulk = () => {
    const count = picks().filter((input) => input.checked).length;
    $$("#rows tr").forEach((row) => { const input = $("td.cw-pick input", row); if (input) row.setAttribute("aria-selected", input.checked); });
    const bar = $("[data-bulk]");
    if (bar) {
      bar.hidden = count === 0;
      const filters = $("[data-filters]"); if (filters) filters.hidden = count > 0;
      const text = $("[data-bulk-count]", bar); if (text) text.textContent = (words.selected || "#").replace("#", count);
    }
  };
  const pickAll = (box) => { picks().forEach((input) => { input.checked = box.checked; }); showBulk(); };
  document.addEventListener("change", (event) => { if (event.target.closest("td.cw-pick, .cw-queue > li")) showBulk(); });
  document.addEventListener("change", (event) => { if (event.target.hasAttribute?.("data-submit")) event.target.form.requestSubmit(); });
  /* "Add filter": only comparisons that fit the column, and fields of its kind */
  const fitFilter = (form) => {
    const column = form.elements.fc.selectedOptions[0], operator = form.elements.fo, fits = column.dataset.operators.split(" ");
    [...operator.options].forEach((option) => { option.hidden = option.disabled = !fits.includes(option.value); });
    if (!fits.includes(operator.value)) operator.value = fits[0];
    [form.elements.fv, form.elements.fw].forEach((input) => { input.type = { time: "date", number: "number" }[column.dataset.kind] || "text"; });
    $("[data-other]", form).hidden = form.elements.fw.disabled = operator.value !== "between";
    $(".form-hint", form).hidden = column.dataset.kind !== "time";
  };
  document.addEventListener("change", (event) => { const form = event.target.closest?.("[data-add-filter]"); if (form) fitFilter(form); });
  $$("[data-add-filter]").forEach(fitFilter);
  let current = -1;
  const rows = () => $$("#rows tbody tr, .cw-queue > li");
  const go = (step) => {
    const all = rows(); if (!all.length) return;
    current = Math.max(0, Math.min(all.length - 1, current + step));
    all.forEach((row, at) => row.classList.toggle("cw-at", at === current));
    const link = $("a.cw-cn, a", all[current]); link?.focus({ preventScroll: true });
    all[current].scrollIntoView({ block: "nearest" });
    if ($("#drawer")?.open || all[current].dataset.number) link?.click();
  };
  /* the queue: what is shown on the right is marked on the left, and an act never meets another request than that */
  let requestShown = $("#request")?.dataset.number;
  const markQueue = () => {
    const shown = $("#request")?.dataset.number; if (!shown) return;
    if (shown !== requestShown) { requestShown = shown; $(".cw-pending")?.classList.add("cw-opened"); }
    $$(".cw-queue > li").forEach((row, at) => { if (row.dataset.number === shown) { row.setAttribute("aria-current", "true"); current = at; } else row.removeAttribute("aria-current"); });
  };
  const isShown = () => !at()?.dataset.number || at().dataset.number === $("#request")?.dataset.number;
  const at = () => rows()[current];
  document.addEventListener("focusin", (event) => { const found = rows().indexOf(event.target.closest("tr, .cw-queue > li")); if (found >= 0) current = found; });
  document.addEventListener("dblclick", (event) => { const row = event.target.closest("#rows tbody tr"); if (row && !event.target.closest("a,button,input")) $("a.cw-cn", row)?.click(); });
  document.addEventListener("contextmenu", (event) => {
    const menu = $(".cw-kebab", event.target.closest("#rows tbody tr") || document.createElement("i"));
    if (menu && !event.target.closest("a,input")) { event.preventDefault(); menu.click(); }
  });

  /* ---- keys ---- */
  let prefix = 0;
  const places = { d: "/", i: "/inventory/", o: "/adcs/orders/", h: "/health/" };
  const place = (key) => places[key] || $(`.cw-side a[href$="/${{ p: "pending", t: "templates" }[key]}/"]`)?.getAttribute("href");
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") { $("#drawer[open]")?.close(); closeFound(); return; }
    if (event.ctrlKey || event.metaKey || event.altKey || document.body.hasAttribute("data-no-keys")) return;
    if (event.target.matches("input:not([type=checkbox]),textarea,select,[contenteditable]") || $("dialog.cw-dlg[open]")) return;
    const key = event.key;
    if (Date.now() - prefix < 900) { prefix = 0; const href = place(key); if (href) location.assign(href); return; }
    const act = (name) => $(`[data-key="${name}"]`, at() || document) || $(`main [data-key="${name}"]`);
    if (key === "g") prefix = Date.now();
    else if (key === "/") { event.preventDefault(); $("#find")?.focus(); }
    else if (key === "?") openDialog($("#keys"));
    else if (key === "n") $('[data-key="n"]') ? $('[data-key="n"]').click() : location.assign("/adcs/orders/new/");
    else if (key === "j" || key === "k") go(key === "j" ? 1 : -1);
    else if (key === "x") { const box = $("td.cw-pick input, :scope > input", at() || document.createElement("i")); if (box) { box.checked = !box.checked; showBulk(); } }
    else if (key === "." && at()) $(".cw-kebab", at())?.click();
    else if (["f", "i", "d"].includes(key)) { if (isShown()) act(key)?.click(); }
    else if (key === "c") $('[data-copy][data-serial]')?.click();
  });

  /* ---- global search ---- */
  const find = $("#find"), found = $("#found");
  const closeFound = () => { if (found) { found.hidden = true; find.setAttribute("aria-expanded", "false"); } };
  const showFound = () => { const some = !!found.firstElementChild && find.value.trim(); found.hidden = !some; find.setAttribute("aria-expanded", some ? "true" : "false"); };
  if (find) {
    document.addEventListener("click", (event) => { if (!event.target.closest(".cw-find")) closeFound(); });
    find.addEventListener("focus", showFound);
    find.closest("form").addEventListener("keydown", (event) => {
      const hits = $$("a", found), here = hits.indexOf(document.activeElement);
      if (event.key === "ArrowDown" && hits.length) { event.preventDefault(); hits[Math.min(here + 1, hits.length - 1)].focus(); }
      if (event.key === "ArrowUp" && here >= 0) { event.preventDefault(); (hits[here - 1] || find).focus(); }
    });
  }

  /* ---- toasts, times ---- */
  const endToast = (toast) => setTimeout(() => toast.remove(), 6000);
  const toast = ({ text, undo }) => {
    const made = $("#cw-toast").content.firstElementChild.cloneNode(true);
    $("span", made).textContent = text;
    if (undo) { const form = $("#cw-undo").content.firstElementChild.cloneNode(true); form.action = undo; made.append(form); }
    $("#toasts").append(made);
    endToast(made);
  };
  document.addEventListener("cw:toast", (event) => toast(event.detail));
  $$("[data-toast]").forEach(endToast);
  const relative = () => $$("time[data-relative]").forEach((time) => {
    const seconds = (Date.now() - Date.parse(time.dateTime)) / 1000;
    if (seconds < 0 || seconds >= 86400) return;
    time.textContent = seconds < 60 ? words.now : seconds < 3600 ? words.minutes.replace("#", Math.floor(seconds / 60)) : words.hours.replace("#", Math.floor(seconds / 3600));
  });
  if (words.now) setInterval(relative, 60000);

  /* ---- htmx: dialogs and drawers that come, sessions that end, answers that do not ---- */
  const stop = (title, more = "") => {
    const notice = $("#cw-stop").content.firstElementChild.cloneNode(true);
    $("strong", notice).textContent = title;
    $("p + p", notice).textContent = more;
    const place = $("dialog[open] [data-refusal]") || $("#refusal");
    place?.replaceChildren(notice);
    notice.scrollIntoView({ block: "nearest" });
  };
  document.addEventListener("htmx:after:swap", () => {
    $$("dialog[data-auto]").forEach((dialog) => { dialog.removeAttribute("data-auto"); openDialog(dialog); });
    const drawer = $("#drawer");
    if (drawer?.firstElementChild && drawer.dataset.shown !== drawer.firstElementChild.dataset.key) { drawer.dataset.shown = drawer.firstElementChild.dataset.key || ""; openDialog(drawer); }
    $$("[data-needs-readable]").forEach((button) => { button.disabled = !!$("[data-unreadable]"); });
    if (found) showFound();
    markQueue();
    showBulk();
  });
  document.addEventListener("htmx:before:request", (event) => {
    const source = event.detail?.ctx?.sourceElement;
    if (document.hidden && source?.getAttribute?.("hx-trigger")?.includes("every")) event.preventDefault();
  });
  /* the session ended: sign in beside what was typed, then do again what was refused */
  let refused = null;
  const signInAgain = ({ sourceElement, sourceEvent } = {}) => {
    const dialog = $("#signed-out"); if (!dialog || dialog.open) return;
    refused = ["click", "submit", "input", "change"].includes(sourceEvent?.type) ? [sourceElement, sourceEvent.type] : null;
    $("[data-sign-in]", dialog).href = `/sign-in/?next=${encodeURIComponent(location.pathname + location.search)}`;
    openDialog(dialog);
    $("[type=password]", dialog).focus();
  };
  const pageOf = async (answer) => new DOMParser().parseFromString(await (await answer).text(), "text/html");
  const signIn = async (form) => {
    const data = new FormData(form);
    data.set("csrfmiddlewaretoken", $("[name=csrfmiddlewaretoken]", await pageOf(fetch(form.action)))?.value || "");
    data.set("next", location.pathname + location.search);
    const answer = await fetch(form.action, { method: "POST", body: data, headers: { "X-Requested-With": "XMLHttpRequest" } });
    const wrong = $("[data-sign-in-error]", form);
    wrong.hidden = answer.ok;
    if (!answer.ok) return;
    const next = (await answer.json()).location || "";
    if (next.startsWith("/sign-in/")) { location.assign(next); return; } /* a second factor */
    const fresh = await pageOf(fetch("/account/"));
    if ($(".cw-me-text", fresh)?.textContent !== $(".cw-me-text")?.textContent) { location.reload(); return; } /* somebody else */
    document.body.setAttribute("hx-headers:inherited", fresh.body.getAttribute("hx-headers:inherited"));
    const token = $("[name=csrfmiddlewaretoken]", fresh)?.value;
    $$("[name=csrfmiddlewaretoken]").forEach((input) => { input.value = token; });
    form.reset();
    form.closest("dialog").close();
    if (refused?.[0]?.isConnected) htmx.trigger(refused[0], refused[1]);
  };
  document.addEventListener("submit", (event) => {
    if (event.target.matches("[data-sign-in-again]")) { event.preventDefault(); signIn(event.target); }
  });
  document.addEventListener("htmx:after:request", (event) => {
    const { response, text: body } = event.detail?.ctx || {};
    const status = response?.status;
    if (status === 401) signInAgain(event.detail.ctx);
    else if (status === 403) stop(words.forbidden);
    else if (status === 404) stop(words.missing, words.again);
    else if (status >= 500) stop(words.fault, (body?.match(/data-incident="([0-9A-F]+)"/) || [])[1] || words.again);
  });
  document.addEventListener("htmx:error", (event) => {
    if (!event.detail?.ctx?.response) stop(words.timeout, words.again);
  });
  markQueue();
  if (location.hash) openDialog($$("dialog").find((dialog) => `#${dialog.id}` === location.hash));
  themeButton();

  /* ---- security keys (WebAuthn), for the pages of signing in ---- */
  const bytes = (text) => Uint8Array.from(atob(text.replace(/-/g, "+").replace(/_/g, "/")), (character) => character.charCodeAt(0));
  const text = (buffer) => btoa(String.fromCharCode(...new Uint8Array(buffer))).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
  const descriptors = (list) => (list || []).map((item) => ({ ...item, id: bytes(item.id) }));
  const makeKey = async ({ publicKey }) => {
    const made = await navigator.credentials.create({ publicKey: { ...publicKey, challenge: bytes(publicKey.challenge), user: { ...publicKey.user, id: bytes(publicKey.user.id) }, excludeCredentials: descriptors(publicKey.excludeCredentials) } });
    return { type: made.type, id: made.id, rawId: text(made.rawId), authenticatorAttachment: made.authenticatorAttachment, response: { clientDataJSON: text(made.response.clientDataJSON), attestationObject: text(made.response.attestationObject), transports: made.response.getTransports?.() || [] }, clientExtensionResults: made.getClientExtensionResults() };
  };
  const useKey = async ({ publicKey }) => {
    const used = await navigator.credentials.get({ publicKey: { ...publicKey, challenge: bytes(publicKey.challenge), allowCredentials: descriptors(publicKey.allowCredentials) } });
    return { type: used.type, id: used.id, rawId: text(used.rawId), authenticatorAttachment: used.authenticatorAttachment, response: { clientDataJSON: text(used.response.clientDataJSON), authenticatorData: text(used.response.authenticatorData), signature: text(used.response.signature), userHandle: used.response.userHandle ? text(used.response.userHandle) : null }, clientExtensionResults: used.getClientExtensionResults() };
  };
  $$(".cw-tabs").forEach((tabs) => { // on a narrow screen the tab that one is on may lie beyond the edge
    const here = $("[aria-current]", tabs);
    if (here && here.offsetLeft + here.offsetWidth > tabs.clientWidth) tabs.scrollLeft = here.offsetLeft + here.offsetWidth + 24 - tabs.clientWidth;
  });
  $$("[data-webauthn]").forEach((button) => button.addEventListener("click", async () => {
    const options = JSON.parse($("#webauthn-options").textContent);
    const input = $("input[name=credential]", button.form);
    try {
      input.value = JSON.stringify(await (button.dataset.webauthn === "create" ? makeKey(options.creation_options) : useKey(options.request_options)));
      button.form.submit();
    } catch (error) { const place = $("[data-webauthn-error]", button.form); if (place) { place.hidden = false; } say(place?.textContent || String(error)); }
  }));
})();
