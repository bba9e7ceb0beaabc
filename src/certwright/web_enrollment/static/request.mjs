/* The request page: paste or open a request, or make the key here. The key stays in this page until it is saved. */
import { ALGORITHMS, alternativeNames, buildRequest, makeKey, pem, privateKeyPem } from "./pkcs10.mjs";

const LONGEST = 48 * 1024; // characters; the whole form may have 64 KiB when it arrives
const at = (id) => document.getElementById(id);
const form = at("request");
const select = at("lbCertTemplateID");
const field = at("locTaRequest");
const problem = at("csr-problem");
const outcome = at("make-outcome");
const submit = at("btnSubmit");
let key = null; // {privateKey, fileName, saved}

/* ---- template -------------------------------------------------------- */

function template() {
  const name = select && select.value ? select.value.split(";")[1] : "";
  for (const row of document.querySelectorAll("#about-templates tr[data-template]")) {
    if (row.dataset.template === name) return row.dataset;
  }
  return { supplies: "1", bits: "0", algorithm: "", hint: "" };
}

/** Whether a key of the list is one that the template takes; a CA without templates takes them all. */
function fits(algorithm, chosen) {
  const bits = Number(chosen.bits) || 0;
  const wanted = chosen.algorithm || "";
  if (algorithm === "P-256") return wanted ? wanted === "ECDSA_P256" : bits <= 3072; // as strong as RSA 3072
  return (wanted === "" || wanted === "RSA") && Number(algorithm.slice(4)) >= bits;
}

function templateChosen() {
  const chosen = template();
  if (at("hint-template") && chosen.hint) at("hint-template").textContent = chosen.hint;
  at("names").hidden = chosen.supplies === "0";
  at("no-names").hidden = chosen.supplies !== "0";
  const list = at("mkAlg");
  for (const option of list.options) option.disabled = !fits(option.value, chosen);
  if (list.selectedOptions[0]?.disabled) {
    const fit = [...list.options].find((option) => !option.disabled);
    if (fit) list.value = fit.value;
  }
}

/* ---- where the request comes from ------------------------------------ */

function source() {
  return document.querySelector("[name=cw-source]:checked")?.value || "paste";
}

function sourceChosen() {
  const making = source() === "make";
  at("make").hidden = !making;
  at("paste").hidden = making && !key;
  field.readOnly = making;
  if (!making && key) forgetKey();
  refreshSubmit();
}

function forgetKey() {
  key = null;
  field.value = "";
  outcome.textContent = "";
  at("btnSaveKey").hidden = true;
}

function refreshSubmit() {
  const unsaved = source() === "make" && !(key && key.saved);
  submit.disabled = unsaved;
  at("submit-hint").textContent = !unsaved ? "Nothing is sent before you submit."
    : key ? "Save the private key first." : "Make the key first.";
}

/* ---- paste, open, drop ------------------------------------------------ */

function readPasted() {
  const text = field.value;
  problem.textContent = "";
  if (/-----BEGIN [A-Z ]*PRIVATE KEY-----/.test(text)) {
    problem.textContent = "This is a private key. Keep it to yourself: paste the request that was made with it.";
  } else if (/-----BEGIN CERTIFICATE-----/.test(text)) {
    problem.textContent = "This is a certificate, not a request. Paste the CERTIFICATE REQUEST block.";
  } else if (text.length > LONGEST) {
    problem.textContent = "This is longer than a request can be.";
  }
  field.setAttribute("aria-invalid", problem.textContent ? "true" : "false");
  return !problem.textContent;
}

async function openFile(file) {
  if (!file) return;
  if (file.size > LONGEST) { problem.textContent = `${file.name} is longer than a request can be.`; return; }
  const bytes = new Uint8Array(await file.arrayBuffer());
  field.value = bytes[0] === 0x30 ? pem("CERTIFICATE REQUEST", bytes) : new TextDecoder().decode(bytes);
  readPasted();
  field.focus();
}

field.addEventListener("input", readPasted);
at("btnOpen").addEventListener("click", () => at("csrFile").click());
at("csrFile").addEventListener("change", (event) => openFile(event.target.files[0]));
for (const kind of ["dragenter", "dragover"]) {
  field.addEventListener(kind, (event) => { if (!field.readOnly) { event.preventDefault(); field.classList.add("cw-drop"); } });
}
field.addEventListener("dragleave", () => field.classList.remove("cw-drop"));
field.addEventListener("drop", (event) => {
  field.classList.remove("cw-drop");
  if (field.readOnly || !event.dataTransfer.files.length) return;
  event.preventDefault();
  openFile(event.dataTransfer.files[0]);
});

/* ---- make a key ------------------------------------------------------- */

function say(text, kind) {
  outcome.textContent = text;
  outcome.className = `cw-outcome cw-outcome-${kind}`;
}

async function make() {
  const value = (id) => at(id).value;
  const supplies = template().supplies !== "0";
  const subject = supplies
    ? { CN: value("mkCN"), O: value("mkO"), OU: value("mkOU"), L: value("mkL"), ST: value("mkST"), C: value("mkC") } : {};
  const names = supplies ? alternativeNames(value("mkSAN"), subject.CN) : [];
  if (supplies && !subject.CN.trim() && !names.length) {
    say("Give a common name or an alternative name.", "stop");
    at("mkCN").focus();
    return;
  }
  const button = at("btnMake");
  button.disabled = true;
  say("Making the key…", "wait");
  try {
    const keys = await makeKey(ALGORITHMS.includes(value("mkAlg")) ? value("mkAlg") : ALGORITHMS[0]);
    field.value = pem("CERTIFICATE REQUEST", await buildRequest(keys, subject, names));
    const base = (subject.CN || names[0] || "certificate").trim().replace(/^\*\./, "wildcard.").replace(/[^A-Za-z0-9.-]+/g, "_").slice(0, 60);
    key = { privateKey: keys.privateKey, fileName: `${base}.key`, saved: false };
    at("paste").hidden = false;
    at("btnSaveKey").hidden = false;
    at("btnSaveKey").focus();
    say("The key is made and the request is filled in below. Save the private key, then submit.", "check");
  } catch (error) {
    say(error.message || "This browser could not make the key.", "stop");
  } finally {
    button.disabled = false;
    refreshSubmit();
  }
}

async function saveKey() {
  const text = await privateKeyPem(key.privateKey, at("mkPW").value);
  const address = URL.createObjectURL(new Blob([text], { type: "application/x-pem-file" }));
  const link = document.createElement("a");
  link.href = address;
  link.download = key.fileName;
  link.click();
  setTimeout(() => URL.revokeObjectURL(address), 10000);
  key.saved = true;
  say(`The private key was saved as ${key.fileName}. Keep it where only the owner of the certificate can read it.`, "check");
  refreshSubmit();
}

at("btnMake").addEventListener("click", make);
at("btnSaveKey").addEventListener("click", saveKey);
if (!globalThis.crypto?.subtle) {
  at("btnMake").disabled = true;
  say("This browser cannot make keys on this page.", "stop");
}

/* ---- start ------------------------------------------------------------ */

select?.addEventListener("change", templateChosen);
for (const radio of document.querySelectorAll("[name=cw-source]")) {
  radio.checked = radio.value === form.dataset.source;
  radio.addEventListener("change", sourceChosen);
}
form.addEventListener("submit", (event) => {
  if (source() === "paste" && !readPasted()) { event.preventDefault(); field.focus(); return; }
  submit.disabled = true; // once is enough: a second request would be a second certificate
  setTimeout(() => { submit.disabled = false; }, 15000);
});
addEventListener("beforeunload", (event) => { if (key && !key.saved) event.preventDefault(); });
addEventListener("pageshow", () => { templateChosen(); sourceChosen(); });
templateChosen();
sourceChosen();
