"use strict";
// The table of a fleet's index. Rows come from the JSON in the page and are made as they are looked at;
// every text is put in as text, never as HTML.
const WORDS = ["backdoored", "failed", "refused", "not evaluable", "clean"];
const STEP = 100;
const rows = JSON.parse(document.getElementById("rows").textContent);
const body = document.querySelector("#index tbody");
const more = document.getElementById("more");
const told = document.getElementById("told");
const find = document.getElementById("find");
const only = document.getElementById("only");
const heads = [...document.querySelectorAll("#index th[data-by]")];
let shown = [], made = 0, by = "", up = true;

const element = (tag, text, name) => {
  const one = document.createElement(tag);
  if (text !== undefined) one.textContent = text;
  if (name) one.className = name;
  return one;
};

const spark = (heights, label) => {
  const space = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(space, "svg");
  const wide = Math.max(1, Math.min(5, Math.floor(130 / Math.max(heights.length, 1))));
  const size = { class: "spark", width: wide * heights.length, height: 22, role: "img", "aria-label": label };
  for (const [key, value] of Object.entries(size)) svg.setAttribute(key, value);
  [...heights].forEach((digit, place) => {
    if (digit === "-") return;
    const height = 2 + 20 * parseInt(digit, 36) / 35;
    const bar = document.createElementNS(space, "rect");
    const at = { x: wide * place, y: 22 - height, width: Math.max(wide - 1, 1), height };
    for (const [key, value] of Object.entries(at)) bar.setAttribute(key, value);
    if (digit === "z") bar.setAttribute("class", "top");
    svg.append(bar);
  });
  return svg;
};

const small = (value) => value === null ? "-" : value < 0.001 ? value.toExponential(1) : value.toPrecision(2);

const report = (row) => {
  if (!row.page) return element("span", "-");
  const link = element("a", "report");
  link.href = "reports/" + row.page + ".html";
  link.setAttribute("aria-label", "report on " + row.name);
  return link;
};

const cells = (row, name) => {
  const line = element("tr", undefined, "w" + row.word + "row");
  const add = (content, kind) => {
    const cell = element("td", undefined, kind);
    cell.append(content);
    line.append(cell);
    return cell;
  };
  add(element("span", WORDS[row.word], "word w" + row.word));
  const called = element("bdi", name);
  called.title = row.file;
  add(called, "name");
  add(small(row.p), "num");
  add(row.targets || "-");
  add(row.spark ? spark(row.spark, row.statistic + " by class, the largest " + row.most) : "-");
  add([row.group, row.labels].filter(Boolean).join(" · ") || "-");
  add(row.detector, "nowrap");
  const versions = add("", "num");
  add(row.seconds.toFixed(1), "num");
  add(row.finished.slice(0, 16).replace("T", " "), "nowrap");
  add(report(row), "nowrap");
  add(row.reason || "", "reason");
  return [line, versions];
};

const line = (row) => {
  const [made, place] = cells(row, row.name);
  if (!row.before.length) {
    place.textContent = "1";
    return made;
  }
  const button = element("button", String(row.before.length + 1), "versions");
  button.type = "button";
  button.setAttribute("aria-expanded", "false");
  button.setAttribute("aria-label", (row.before.length + 1) + " versions of " + row.name);
  let open = [];
  button.onclick = () => {
    const opened = open.length === 0;
    button.setAttribute("aria-expanded", String(opened));
    for (const one of open) one.remove();
    open = opened ? row.before.map((old) => {
      const [one, number] = cells(old, "earlier: " + old.sha256);
      one.classList.add("earlier");
      number.textContent = "no. " + old.number;
      return one;
    }) : [];
    made.after(...open);
  };
  place.append(button);
  return made;
};

const further = () => {
  const next = shown.slice(made, made + STEP).map(line);
  made += next.length;
  body.append(...next);
  more.hidden = made >= shown.length;
  const of = shown.length === rows.length ? "" : " of " + rows.length.toLocaleString("en");
  told.textContent = shown.length.toLocaleString("en") + of + " models, " + made.toLocaleString("en") + " listed";
};

const draw = () => {
  const words = find.value.toLowerCase().split(/\s+/).filter(Boolean);
  shown = rows.filter((row) => (only.value === "" || row.word === Number(only.value)) &&
    words.every((word) => row.text.includes(word)));
  if (by) {
    const sign = up ? 1 : -1;
    const value = (row) => by === "versions" ? row.before.length : row[by];
    const order = (a, b) => a === b ? 0 : a === null || a === "" ? 1 : b === null || b === "" ? -1 :
      sign * (typeof a === "string" ? a.localeCompare(b) : a - b);
    shown.sort((a, b) => order(value(a), value(b)));
  }
  body.replaceChildren();
  made = 0;
  further();
};

for (const row of rows) {
  row.text = [row.name, WORDS[row.word], row.targets, row.group, row.labels, row.detector, row.sha256, row.reason]
    .join(" ").toLowerCase();
}
for (const head of heads) {
  head.firstElementChild.onclick = () => {
    up = by === head.dataset.by ? !up : true;
    by = head.dataset.by;
    for (const one of heads) one.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    draw();
  };
}
find.oninput = only.onchange = draw;
more.onclick = () => {
  const first = made;
  further();
  const next = body.querySelectorAll("tr:not(.earlier)")[first];
  if (next) { next.tabIndex = -1; next.focus(); }
};
document.onkeydown = (event) => {
  if (event.key === "/" && !/INPUT|SELECT/.test(document.activeElement.tagName)) {
    event.preventDefault();
    find.focus();
  }
};
new IntersectionObserver((seen) => {
  if (seen.some((one) => one.isIntersecting) && !more.hidden && made) further();
}, { rootMargin: "400px" }).observe(more);
draw();
