"use strict";
// The page of `ganline app`: it asks the server beside it, and keeps what was drawn in this browser.

const $ = (id) => document.getElementById(id);
const KEEP = 60;
const HELP = {
  draw: "Pictures of one prompt, one seed each, from the seed upwards.",
  sweep: "The same seed at several truncations: 0 is the mean picture, 1 the full variety.",
  mix: "The first picture, with the codes of some layers taken from the second.",
  walk: "A film from the first prompt and seed to the second, and back.",
};
let facts = null, tab = "draw", gallery = [];
const strange = { words: [], count: 0 };  // of the last prompt: what the model never learned

// -- the form ---------------------------------------------------------------

function show() {
  for (const button of document.querySelectorAll("[role=tab]")) {
    const mine = button.dataset.tab === tab;
    button.setAttribute("aria-selected", mine);
    button.tabIndex = mine ? 0 : -1;
    button.hidden = button.dataset.tab === "mix" && facts.layers < 2;
  }
  const takes = { prompt: "text", label: "label", "": "none" }[facts.takes];
  for (const field of document.querySelectorAll(".field")) {
    const { for: kind, in: tabs } = field.dataset;
    field.hidden = (kind && kind !== takes) || (tabs && !tabs.split(" ").includes(tab)) ||
      ("noise" in field.dataset && !facts.draws_noise);
  }
  $("help").textContent = HELP[tab];
  $("go").textContent = { draw: "Draw", sweep: "Sweep", mix: "Mix", walk: "Walk" }[tab];
  complain({});
}

function complain(errors) {
  for (const text of document.querySelectorAll(".field .error")) {
    const field = $(text.id.replace(/-error$/, ""));
    const said = errors[field.id] || "";
    text.textContent = said;
    if (said) field.setAttribute("aria-invalid", "true");
    else field.removeAttribute("aria-invalid");
  }
  $("error").textContent = errors.other || "";
  const first = Object.keys(errors)[0];
  if (first && $(first)) $(first).focus();
}

function whole(id, low, high, name, errors) {
  const text = $(id).value.trim();
  const value = Number(text);
  if (!/^\d+$/.test(text) || value < low || value > high) {
    errors[id] = `${name}: a whole number from ${low} to ${high}.`;
  }
  return value;
}

function psi(text, id, errors) {
  const value = Number(text);
  if (text.trim() === "" || !(value >= -2 && value <= 2)) errors[id] = "psi: a number from -2 to 2.";
  return value;
}

// What the form asks for; null when a field is wrong, which stands beside it then.
function read() {
  const errors = {}, most = facts.limits.images;
  const asked = { tab, model: $("model").value, folder: facts.folder, seed: whole("seed", 0, Number.MAX_SAFE_INTEGER, "Seed", errors) };
  if (facts.takes === "prompt") {
    asked.prompt = $("prompt").value.trim();
    if (!asked.prompt) errors.prompt = "Say what the picture shows.";
    if (asked.prompt.length > facts.limits.prompt_chars) {
      errors.prompt = `At most ${facts.limits.prompt_chars} characters.`;
    }
  }
  if (facts.takes === "label") asked.label = $("label").value;
  if (facts.draws_noise) asked.noise = $("noise").value;
  if (tab === "draw") asked.number = whole("number", 1, most, "Number", errors);
  if (tab === "sweep") {
    asked.psis = $("psis").value.split(",").map((part) => psi(part, "psis", errors));
    if (asked.psis.length > most) errors.psis = `At most ${most} values.`;
  } else {
    asked.psi = psi($("psi").value, "psi", errors);
  }
  if (tab === "mix" || tab === "walk") {
    asked.second = facts.takes === "prompt" ? $("second").value.trim() : "";
    asked.secondSeed = whole("second-seed", 0, Number.MAX_SAFE_INTEGER, "Second seed", errors);
  }
  if (tab === "mix") {
    const text = $("layers").value.trim();
    asked.layers = text ? layersOf(text) : [];
    if (text && !asked.layers.length) {
      errors.layers = `Layers from 0 to ${facts.layers - 1}, as 0-3 or 0,2.`;
    }
  }
  if (tab === "walk") asked.frames = whole("frames", 2, 240, "Frames", errors);
  complain(errors);
  return Object.keys(errors).length ? null : asked;
}

function layersOf(text) {
  const found = new Set();
  for (const part of text.split(",")) {
    const match = part.trim().match(/^(\d+)(?:-(\d+))?$/);
    if (!match) return [];
    const last = Number(match[2] ?? match[1]);
    if (last >= facts.layers) return [];
    for (let layer = Number(match[1]); layer <= last; layer++) found.add(layer);
  }
  return [...found].sort((a, b) => a - b);
}

// -- asking the server --------------------------------------------------------

async function ask(path, body, model) {
  const answer = await fetch(`v1/${path}?model=${encodeURIComponent(model)}`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
  });
  strange.count = Number(answer.headers.get("X-Words-Not-Known") || 0);
  if (answer.ok) return answer;
  throw await answer.json().catch(() => ({ error: `the server answered ${answer.status}` }));
}

function subject(asked) {
  if ("prompt" in asked) return { prompt: asked.prompt };
  return "label" in asked ? { label: asked.label } : {};
}

const BESIDE = { n: "number", truncation: "psi", style: "second", style_seeds: "second-seed" };

async function draw(asked) {
  $("go").disabled = true;
  $("status").textContent = "Drawing ...";
  strange.words = [];
  const started = performance.now();
  try {
    const count = await { draw: drawn, sweep: drawn, mix: mixed, walk: walked }[asked.tab](asked);
    const seconds = ((performance.now() - started) / 1000).toFixed(2);
    $("status").textContent = `${count} in ${seconds} s.${toldOfWords()}`;
  } catch (error) {
    $("status").textContent = "";
    const where = BESIDE[error.where] || error.where;
    const known = where && $(where) && $(`${where}-error`);
    complain({ [known ? where : "other"]: error.error || "The server does not answer. Is it still running?" });
  }
  $("go").disabled = false;
}

function toldOfWords() {
  if (strange.words.length) return ` The model never learned: ${strange.words.join(", ")}.`;
  return strange.count ? ` The model never learned ${strange.count} of the words.` : "";
}

async function drawn(asked) {
  const body = { ...subject(asked), seed: asked.seed, format: "json" };
  if (asked.noise) body.noise = asked.noise;
  if (asked.tab === "sweep") body.truncation = asked.psis;
  else Object.assign(body, { n: asked.number, truncation: asked.psi });
  const found = (await (await ask("images", body, asked.model)).json()).images;
  strange.words = [...new Set(found.flatMap((image) => image.words_not_known || []))];
  add(found.map((image) => ({
    src: `data:image/png;base64,${image.png_base64}`,
    asked: { ...asked, tab: "draw", seed: image.seed, psi: image.truncation, number: 1 },
  })));
  return found.length === 1 ? "1 picture" : `${found.length} pictures`;
}

async function mixed(asked) {
  const body = { ...subject(asked), seed: asked.seed, style_seeds: [asked.secondSeed], truncation: asked.psi };
  if (asked.second) body.style = asked.second;
  if (asked.layers.length) body.layers = asked.layers;
  if (asked.noise) body.noise = asked.noise;
  const found = (await (await ask("mix", body, asked.model)).json()).images;
  add(found.map((image) => ({ src: `data:image/png;base64,${image.png_base64}`, asked })));
  return "1 mix";
}

async function walked(asked) {
  const seeds = [asked.seed, asked.secondSeed];
  const body = { seeds, frames: asked.frames, loop: true, truncation: asked.psi };
  if ("prompt" in asked) body.prompts = [asked.prompt, asked.second || asked.prompt];
  if ("label" in asked) body.labels = [asked.label, asked.label];
  if (asked.noise) body.noise = asked.noise;
  const film = await (await ask("walk", body, asked.model)).blob();
  add([{ src: URL.createObjectURL(film), film: true, asked }]);
  return "1 walk";
}

// Other pictures of the same coarse layers: the fine half is taken from new seeds.
async function vary(item) {
  const { asked } = item;
  const half = Math.ceil(facts.layers / 2);
  const layers = Array.from({ length: facts.layers - half }, (_, i) => half + i);
  for (let i = 0; i < 4; i++) {
    await draw({ ...asked, tab: "mix", second: "", secondSeed: dice(), layers });
  }
}

// -- the gallery ----------------------------------------------------------------

function words(asked) {
  const parts = [asked.prompt ?? asked.label ?? "", `seed ${asked.seed}`, `psi ${asked.psi}`];
  if (asked.tab === "mix") parts.push(`layers of ${asked.second || "the same"}, seed ${asked.secondSeed}`);
  if (asked.tab === "walk") parts.push(`to ${asked.second || "the same"}, seed ${asked.secondSeed}`);
  return parts.filter(Boolean).join(", ");
}

function add(items) {
  gallery = [...items, ...gallery].slice(0, KEEP);
  save();
  paint();
}

function save() {
  const kept = gallery.filter((item) => !item.film);
  for (let count = kept.length; count >= 0; count--) {
    try {
      localStorage.setItem("ganline-gallery", JSON.stringify(kept.slice(0, count)));
      return;
    } catch { /* too much for this browser: keep fewer */ }
  }
}

function paint() {
  $("gallery").replaceChildren(...gallery.map((item) => {
    const figure = document.createElement("figure");
    const said = words(item.asked);
    const picture = document.createElement(item.film ? "video" : "img");
    picture.src = item.src;
    if (item.film) Object.assign(picture, { controls: true, loop: true, ariaLabel: said });
    else picture.alt = said;
    const caption = document.createElement("figcaption");
    caption.textContent = said;
    const buttons = document.createElement("p");
    buttons.className = "buttons";
    const save = document.createElement("a");
    save.textContent = "Save";
    save.href = item.src;
    save.download = `${said.replace(/[^a-z0-9]+/gi, "_")}.${item.film ? "mp4" : "png"}`;
    buttons.append(save, button("Command", () => copy(command(item.asked))));
    if (item.asked.tab === "draw" && facts.layers > 1 && item.asked.model === $("model").value) {
      buttons.append(button("Variations", () => vary(item)));
    }
    buttons.append(button("Use", () => fill(item.asked)));
    figure.append(picture, caption, buttons);
    return figure;
  }));
}

function button(text, action) {
  const made = document.createElement("button");
  made.type = "button";
  made.textContent = text;
  made.addEventListener("click", action);
  return made;
}

async function fill(asked) {
  const models = [...$("model").options].map((option) => option.value);
  if (asked.model !== $("model").value && models.includes(asked.model)) {
    $("model").value = asked.model;
    await choose(asked.model);
  }
  tab = asked.tab;
  show();
  const values = { prompt: asked.prompt, label: asked.label, seed: asked.seed, psi: asked.psi,
    number: asked.number, second: asked.second, "second-seed": asked.secondSeed, noise: asked.noise,
    layers: asked.layers?.join(","), frames: asked.frames };
  for (const [id, value] of Object.entries(values)) if (value !== undefined) $(id).value = value;
  $("seed").focus();
}

// -- copying --------------------------------------------------------------------

const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

// Where the model of a picture lies; what was drawn before the server told has the name alone.
function placeOf(asked) {
  return asked.folder || { bundled: "bundled/release", release: "artifacts/release" }[asked.model] || asked.model;
}

function command(asked) {
  const what = "prompt" in asked ? [quoted(asked.prompt)] : "label" in asked ? ["--label", quoted(asked.label)] : [];
  const second = asked.second ? [quoted(asked.second)] : [];
  const more = asked.tab === "sweep" ? [`--psis=${asked.psis.join(",")}`] : [`--psi=${asked.psi}`];
  if (asked.noise && asked.noise !== "const") more.push("--noise", asked.noise);
  if (asked.model !== "release") more.push("--model", quoted(placeOf(asked)));
  const rest = {
    draw: ["generate", ...what, "--seed", asked.seed, "-n", asked.number ?? 1, ...more, "--out", "drawn.png"],
    sweep: ["sweep", ...what, "--seed", asked.seed, ...more, "--out", "sweep.png"],
    mix: ["mix", ...what, ...second, "--rows", asked.seed, "--cols", asked.secondSeed,
      ...(asked.layers?.length ? ["--mix-layers", asked.layers.join(",")] : []), ...more, "--out", "mix.png"],
    walk: ["interpolate", ...what, ...second, "--seeds", `${asked.seed},${asked.secondSeed}`,
      "--frames", asked.frames, "--loop", ...more, "--out", "walk.mp4"],
  }[asked.tab];
  return ["ganline", ...rest].join(" ");
}

// Texts and numbers look in JSON as they do in Python.
function python(asked) {
  const said = JSON.stringify;
  const what = said(asked.prompt ?? asked.label ?? "no prompt");
  const second = asked.second ? said(asked.second) : what;
  const noise = asked.noise && asked.noise !== "const" ? `, noise=${said(asked.noise)}` : "";
  const last = asked.tab === "mix" || asked.tab === "walk" ? `, truncation=${said(asked.psi)}${noise})` : "";
  const opened = ["", `model, card = load_release(${said(placeOf(asked))})`];
  const release = "from components.artifacts.release import load_release";
  if (asked.tab === "mix") {
    const half = Array.from({ length: Math.ceil(facts.layers / 2) }, (_, layer) => layer);
    const layers = said(asked.layers.length ? asked.layers : half);
    return [release, "from components.sampling import mix", ...opened,
      `images = mix(model, [${what}], [${asked.seed}], [${second}], [${asked.secondSeed}], ${layers}${last}`,
      "# uint8 [1, H, W, 3]"].join("\n");
  }
  if (asked.tab === "walk") {
    return ["from pathlib import Path", "", release,
      "from components.pictures.animation import enlarge, write_animation",
      "from components.sampling import Keyframe, walk", ...opened,
      `stops = [Keyframe(prompt=${what}, seed=${asked.seed}), Keyframe(prompt=${second}, seed=${asked.secondSeed})]`,
      `batches = walk(model, stops, ${asked.frames}, loop=True${last}`,
      "frames = (enlarge(image) for images in batches for image in images)",
      'write_animation(frames, Path("walk.mp4"), 20)'].join("\n");
  }
  const psis = asked.tab === "sweep" ? asked.psis : Array(asked.number ?? 1).fill(asked.psi);
  const seeds = asked.tab === "sweep" ? psis.map(() => asked.seed) : psis.map((_, i) => asked.seed + i);
  return [release, "from components.sampling import generate", ...opened,
    `images = generate(model, [${what}] * ${seeds.length}, seeds=${said(seeds)}, truncation=${said(psis)}${noise})`,
    "# uint8 [N, H, W, 3]"].join("\n");
}

function copy(text) {
  $("copied").textContent = text;
  $("copied").hidden = false;
  const done = navigator.clipboard ? navigator.clipboard.writeText(text) : Promise.reject();
  done.then(() => { $("status").textContent = "Copied."; }, () => { $("status").textContent = "Mark it below to copy it."; });
}

const dice = () => Math.floor(Math.random() * 1e6);

// -- start ----------------------------------------------------------------------

async function choose(name) {
  $("status").textContent = "Opening the model ...";
  const answer = await fetch(`v1/model?model=${encodeURIComponent(name)}`);
  const found = await answer.json();
  if (!answer.ok) {
    $("status").textContent = "";
    return complain({ other: found.error });
  }
  facts = found;
  $("label").replaceChildren(...facts.labels.map((text) => new Option(text, text)));
  const words = facts.words.length ? ` It knows ${facts.words.length} words: ${facts.words.join(", ")}.` : "";
  $("status").textContent = `${facts.resolution_px} px, ${facts.family}.${words}`;
  if (tab === "mix" && facts.layers < 2) tab = "draw";
  show();
  paint();
  $("go").disabled = false;
}

async function start() {
  const { models } = await (await fetch("v1/models")).json();
  $("model").replaceChildren(...models.map((model) => new Option(model.title, model.id)));
  const form = JSON.parse(localStorage.getItem("ganline-form") || "{}");
  for (const [id, value] of Object.entries(form)) if ($(id)) $(id).value = value;
  if (!$("model").value) $("model").selectedIndex = 0;
  gallery = JSON.parse(localStorage.getItem("ganline-gallery") || "[]");
  await choose($("model").value);
}

$("model").addEventListener("change", () => choose($("model").value));
$("dice").addEventListener("click", () => { $("seed").value = dice(); });
$("clear").addEventListener("click", () => { gallery = []; save(); paint(); });
$("as-command").addEventListener("click", () => { const asked = read(); if (asked) copy(command(asked)); });
$("as-python").addEventListener("click", () => {
  const asked = read();
  if (asked) copy(python(asked));
});
$("tabs").addEventListener("click", (event) => {
  if (event.target.dataset.tab) { tab = event.target.dataset.tab; show(); }
});
$("tabs").addEventListener("keydown", (event) => {
  const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  if (!step) return;
  const there = [...document.querySelectorAll("[role=tab]:not([hidden])")];
  const next = there[(there.findIndex((one) => one.dataset.tab === tab) + step + there.length) % there.length];
  tab = next.dataset.tab;
  show();
  next.focus();
});
$("form").addEventListener("submit", (event) => {
  event.preventDefault();
  const asked = facts && read();
  if (!asked) return;
  const ids = ["model", "prompt", "second", "seed", "second-seed", "number", "psi", "psis", "layers", "frames", "noise"];
  localStorage.setItem("ganline-form", JSON.stringify(Object.fromEntries(ids.map((id) => [id, $(id).value]))));
  draw(asked);
});
start().catch(() => complain({ other: "The server does not answer. Is it still running?" }));
