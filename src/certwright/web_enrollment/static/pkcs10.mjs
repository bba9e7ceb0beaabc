/* Keys and PKCS #10 requests in the browser: WebCrypto makes and uses the key, this file writes the DER around it.
 *
 * RFC 2986 (request), RFC 5280 4.2.1.6 (alternative names), RFC 5958 and RFC 8018 (encrypted private key).
 * Nothing here talks to a network or stores anything.
 */

const OIDS = {
  C: "2.5.4.6", ST: "2.5.4.8", L: "2.5.4.7", O: "2.5.4.10", OU: "2.5.4.11", CN: "2.5.4.3",
  extensionRequest: "1.2.840.113549.1.9.14",
  subjectAlternativeName: "2.5.29.17",
  sha256WithRSA: "1.2.840.113549.1.1.11",
  ecdsaWithSHA256: "1.2.840.10045.4.3.2",
  pbes2: "1.2.840.113549.1.5.13",
  pbkdf2: "1.2.840.113549.1.5.12",
  hmacWithSHA256: "1.2.840.113549.2.9",
  aes256cbc: "2.16.840.1.101.3.4.1.42",
};

export const ALGORITHMS = ["RSA-2048", "RSA-3072", "RSA-4096", "P-256"];
const PBKDF2_ROUNDS = 600000;

/* ---- DER ------------------------------------------------------------ */

function joined(parts) {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) { whole.set(part, at); at += part.length; }
  return whole;
}

function tlv(tag, ...parts) {
  const content = joined(parts);
  const head = [tag];
  if (content.length < 0x80) {
    head.push(content.length);
  } else {
    const octets = [];
    for (let n = content.length; n > 0; n = Math.floor(n / 256)) octets.unshift(n & 0xff);
    head.push(0x80 | octets.length, ...octets);
  }
  return joined([Uint8Array.from(head), content]);
}

const sequence = (...parts) => tlv(0x30, ...parts);
const setOf = (...parts) => tlv(0x31, ...parts);
const octetString = (bytes) => tlv(0x04, bytes);
const bitString = (bytes) => tlv(0x03, Uint8Array.of(0), bytes);
const NULL = Uint8Array.of(0x05, 0x00);
const utf8 = (text) => new TextEncoder().encode(text);

function oid(dotted) {
  const arcs = dotted.split(".").map(Number);
  const octets = [];
  for (const arc of [arcs[0] * 40 + arcs[1], ...arcs.slice(2)]) {
    const group = [arc & 0x7f];
    for (let rest = Math.floor(arc / 128); rest > 0; rest = Math.floor(rest / 128)) group.unshift(0x80 | (rest & 0x7f));
    octets.push(...group);
  }
  return tlv(0x06, Uint8Array.from(octets));
}

/** A non-negative INTEGER from its big-endian octets. */
function unsigned(bytes) {
  let start = 0;
  while (start < bytes.length - 1 && bytes[start] === 0) start += 1;
  const trimmed = bytes.slice(start);
  return tlv(0x02, trimmed[0] & 0x80 ? joined([Uint8Array.of(0), trimmed]) : trimmed);
}

function smallInteger(value) {
  const octets = [];
  for (let n = value; n > 0; n = Math.floor(n / 256)) octets.unshift(n & 0xff);
  return unsigned(Uint8Array.from(octets.length ? octets : [0]));
}

/* ---- names ----------------------------------------------------------- */

/** Name from {CN, O, ...}; most general part first, empty ones left out. */
function subjectName(parts) {
  const rdns = [];
  for (const key of ["C", "ST", "L", "O", "OU", "CN"]) {
    const value = (parts[key] || "").trim();
    if (!value) continue;
    if (key === "C" && !/^[A-Za-z]{2}$/.test(value)) throw new Error("Country is a code of two letters, such as DE.");
    if (value.length > 64) throw new Error(`“${value.slice(0, 20)}…” is longer than the 64 characters a name part may have.`);
    const text = key === "C" ? tlv(0x13, utf8(value.toUpperCase())) : tlv(0x0c, utf8(value));
    rdns.push(setOf(sequence(oid(OIDS[key]), text)));
  }
  return sequence(...rdns);
}

const IPV4 = /^(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})$/;
const HOST = /^(\*\.)?([A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?\.)*[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?$/;

function ipv4(text) {
  const found = IPV4.exec(text);
  if (!found) return null;
  const octets = found.slice(1).map(Number);
  return octets.every((octet) => octet < 256) ? Uint8Array.from(octets) : null;
}

function ipv6(text) {
  if (!text.includes(":") || /[^0-9A-Fa-f:.]/.test(text)) return null;
  let source = text;
  const tail = /(\d+\.\d+\.\d+\.\d+)$/.exec(source);
  if (tail) {
    const octets = ipv4(tail[1]);
    if (!octets) return null;
    const hex = (a, b) => ((a << 8) | b).toString(16);
    source = source.slice(0, tail.index) + `${hex(octets[0], octets[1])}:${hex(octets[2], octets[3])}`;
  }
  const halves = source.split("::");
  if (halves.length > 2) return null;
  const groups = (half) => (half === "" ? [] : half.split(":"));
  const left = groups(halves[0]);
  const right = halves.length === 2 ? groups(halves[1]) : [];
  const gap = 8 - left.length - right.length;
  if (halves.length === 2 ? gap < 1 : gap !== 0) return null;
  const all = [...left, ...Array(halves.length === 2 ? gap : 0).fill("0"), ...right];
  if (!all.every((group) => /^[0-9A-Fa-f]{1,4}$/.test(group))) return null;
  const octets = new Uint8Array(16);
  all.forEach((group, i) => { const n = parseInt(group, 16); octets[2 * i] = n >> 8; octets[2 * i + 1] = n & 0xff; });
  return octets;
}

/** A host name in the form certificates carry, or null. */
function hostName(text) {
  let host = text;
  if (/[^\x00-\x7f]/.test(host)) {
    const wild = host.startsWith("*.") ? "*." : "";
    try { host = wild + new URL(`https://${host.slice(wild.length)}/`).hostname; } catch { return null; }
  }
  return host.length <= 253 && HOST.test(host) ? host : null;
}

/** One GeneralName (DER) from what people write: an IP address, a mail address or a DNS name. */
function generalName(text) {
  const address = ipv4(text) || ipv6(text);
  if (address) return tlv(0x87, address);
  if (/^[^@\s]+@[^@\s]+$/.test(text) && /^[\x21-\x7e]+$/.test(text)) return tlv(0x81, utf8(text));
  const host = hostName(text);
  if (!host || IPV4.test(text)) throw new Error(`“${text}” is neither a DNS name nor an IP or e-mail address.`);
  return tlv(0x82, utf8(host));
}

/** The lines of the field, and the common name when it is a DNS name that is not among them. */
export function alternativeNames(text, commonName = "") {
  const names = text.split(/[\s,;]+/).filter(Boolean);
  const cn = commonName.trim();
  if (cn.includes(".") && !cn.includes(" ") && hostName(cn) && !IPV4.test(cn)
      && !names.some((name) => name.toLowerCase() === cn.toLowerCase())) {
    names.unshift(cn);
  }
  return names;
}

/* ---- keys and requests ----------------------------------------------- */

/** A new key pair that can be exported. */
export function makeKey(algorithm, subtle = globalThis.crypto.subtle) {
  if (!ALGORITHMS.includes(algorithm)) throw new Error(`No such key: ${algorithm}`);
  const parameters = algorithm === "P-256"
    ? { name: "ECDSA", namedCurve: "P-256" }
    : { name: "RSASSA-PKCS1-v1_5", modulusLength: Number(algorithm.slice(4)), publicExponent: Uint8Array.of(1, 0, 1), hash: "SHA-256" };
  return subtle.generateKey(parameters, true, ["sign", "verify"]);
}

/** A PKCS #10 request (DER), signed with SHA-256.
 *
 * @param keys what makeKey gave
 * @param subject {CN, O, OU, L, ST, C}, any of them empty
 * @param names alternative names as written by people
 */
export async function buildRequest(keys, subject, names, subtle = globalThis.crypto.subtle) {
  const elliptic = keys.privateKey.algorithm.name === "ECDSA";
  const publicKey = new Uint8Array(await subtle.exportKey("spki", keys.publicKey));
  const attributes = [];
  if (names.length) {
    const value = sequence(...names.map(generalName));
    const extension = sequence(oid(OIDS.subjectAlternativeName), octetString(value));
    attributes.push(sequence(oid(OIDS.extensionRequest), setOf(sequence(extension))));
  }
  const info = sequence(smallInteger(0), subjectName(subject), publicKey, tlv(0xa0, ...attributes));
  const parameters = elliptic ? { name: "ECDSA", hash: "SHA-256" } : { name: "RSASSA-PKCS1-v1_5" };
  let signature = new Uint8Array(await subtle.sign(parameters, keys.privateKey, info));
  if (elliptic) { // WebCrypto gives r and s side by side, X.509 wants a SEQUENCE
    signature = sequence(unsigned(signature.slice(0, 32)), unsigned(signature.slice(32)));
  }
  const algorithm = elliptic ? sequence(oid(OIDS.ecdsaWithSHA256)) : sequence(oid(OIDS.sha256WithRSA), NULL);
  return sequence(info, algorithm, bitString(signature));
}

/** The private key as PEM: PKCS #8, encrypted with AES-256 when there is a password. */
export async function privateKeyPem(privateKey, password = "", crypto = globalThis.crypto) {
  const plain = new Uint8Array(await crypto.subtle.exportKey("pkcs8", privateKey));
  if (!password) return pem("PRIVATE KEY", plain);
  const salt = crypto.getRandomValues(new Uint8Array(16));
  const iv = crypto.getRandomValues(new Uint8Array(16));
  const base = await crypto.subtle.importKey("raw", utf8(password), "PBKDF2", false, ["deriveKey"]);
  const key = await crypto.subtle.deriveKey(
    { name: "PBKDF2", hash: "SHA-256", salt, iterations: PBKDF2_ROUNDS }, base,
    { name: "AES-CBC", length: 256 }, false, ["encrypt"]);
  const sealed = new Uint8Array(await crypto.subtle.encrypt({ name: "AES-CBC", iv }, key, plain));
  const derivation = sequence(oid(OIDS.pbkdf2), sequence(
    octetString(salt), smallInteger(PBKDF2_ROUNDS), sequence(oid(OIDS.hmacWithSHA256), NULL)));
  const cipher = sequence(oid(OIDS.aes256cbc), octetString(iv));
  return pem("ENCRYPTED PRIVATE KEY", sequence(sequence(oid(OIDS.pbes2), sequence(derivation, cipher)), octetString(sealed)));
}

/** PEM, 64 characters a line. */
export function pem(label, bytes) {
  let binary = "";
  for (let at = 0; at < bytes.length; at += 8192) binary += String.fromCharCode(...bytes.subarray(at, at + 8192));
  const lines = btoa(binary).match(/.{1,64}/g) || [];
  return `-----BEGIN ${label}-----\n${lines.join("\n")}\n-----END ${label}-----\n`;
}
