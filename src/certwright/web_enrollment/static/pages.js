/* What every page does with a script: shows what needs one, copies, and lets the encoding choose the download. */
"use strict";

function getEncoding() {
  const base64 = document.getElementById("rbB64Enc");
  return base64 && base64.checked ? "Enc=b64" : "Enc=bin";
}

function follow(id) {
  const link = document.getElementById(id);
  if (link) link.click();
}

/* Automation written for other servers calls these two by name. */
function handleGetCert() { follow("lnkCertificate"); }
function handleGetChain() { follow("lnkChain"); }

document.addEventListener("DOMContentLoaded", () => {
  for (const part of document.querySelectorAll("[data-needs-script]")) part.hidden = false;

  const downloads = document.querySelectorAll("[data-download]");
  const point = () => {
    for (const link of downloads) link.setAttribute("href", `${link.dataset.download}&${getEncoding()}`);
  };
  if (downloads.length) {
    for (const radio of document.querySelectorAll("[name=rbEncoding]")) radio.addEventListener("change", point);
    point();
  }

  const announce = document.getElementById("announce");
  for (const button of document.querySelectorAll("[data-copy]")) {
    if (!navigator.clipboard) continue;
    button.hidden = false;
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(button.dataset.copy);
      announce.textContent = `Copied ${button.dataset.label}`;
      button.classList.add("cw-done");
      setTimeout(() => button.classList.remove("cw-done"), 1400);
    });
  }
});
