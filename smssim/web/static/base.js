// Words and elements. Numbers, times and foreign text as people read them, in the style of the terminal
// (smssim/words.py); making and updating elements, and the colours of the style sheet. Knows nothing about runs.
window.smssim = {};
(() => {
'use strict';

// ---- Numbers, times and foreign text

const UNITS = [[1e9, 'G'], [1e6, 'M'], [1e3, 'k'], [0, '']];
const whole = new Intl.NumberFormat('en-US', { maximumFractionDigits: 0 });
const isKnown = Number.isFinite;
// Make a function that writes a known number, and a dash for an unknown one.
const known = (write) => (number) => (isKnown(number) ? write(number) : '-');
const rounded = (number, figures) => Number(number.toPrecision(figures));
const three = (number) => (number === 0 ? '0' : number.toFixed(number < 0.9995 ? 3 : number < 9.995 ? 2 : number < 99.95 ? 1 : 0));
const two = (number) => String(number).padStart(2, '0');

const count = known((number) => whole.format(number));
const plural = (number, thing) => `${count(number)} ${thing}${number === 1 ? '' : 's'}`;
// A time in milliseconds or seconds, to about three digits.
const seconds = known((time) => (time < 0.9995 ? `${three(1000 * time)} ms` : time < 99.995 ? `${time.toFixed(2)} s` : `${count(time)} s`));
// A time from a setting, like 20 ms, 0.25 ms or 1.5 s.
const setting = known((time) => (time < 1 ? `${rounded(1000 * time, 4)} ms` : `${rounded(time, 5)} s`));

// An elapsed time like 12.3 s, 4m05s, 1h02m03s, 12.3 days or 45.6 years.
const clock = known((time) => {
  if (time < 99.95) return `${time.toFixed(1)} s`;
  if (time >= 360000) return time < 86395680 ? `${(time / 86400).toFixed(1)} days` : `${(time / 31557600).toFixed(1)} years`;
  const [hours, minutes, rest] = hms(time);
  return hours ? `${hours}h${two(minutes)}m${two(rest)}s` : `${minutes}m${two(rest)}s`;
});
const hms = (time) => [Math.floor(Math.round(time) / 3600), Math.floor(Math.round(time) / 60) % 60, Math.round(time) % 60];
// A time on an axis, like 20 s, 2m or 1h30m.
const tick = (time) => (time < 120 ? `${rounded(time, 4)} s` : hms(time).map((part, i) => (part ? part + 'hms'[i] : '')).join(''));
// A range of times.
const span = (low, high) => (clock(low) === clock(high) ? clock(low) : `${clock(low)}–${clock(high)}`.replace(/ s(–.* s)$/, '$1'));

// A rate in at most eight characters, like 12,345/s, 123k/s or 1.23M/s.
const perSecond = known((rate) => {
  if (rate < 99999.5) return `${rate < 999.5 ? three(rate) : count(rate)}/s`;
  return rate < 999500 ? `${three(rate / 1e3)}k/s` : `${three(rate / 1e6)}M/s`;
});

// A number on an axis, like 0, 250, 12k or 1.5M.
function compact(number) {
  const [unit, letter] = UNITS.find(([least]) => number >= least);
  return rounded(number / (unit || 1), 4) + letter;
}

// A share of a whole, truncated to tenths; only the whole is 100%, only 0 is 0%.
function share(part, all) {
  if (!isKnown(part) || !all) return '-';
  const tenths = Math.floor((1000 * part) / all + 1e-9);
  if (part === 0 || part === all) return part ? '100%' : '0%';
  return tenths < 1 ? '<0.1%' : tenths === 1000 ? '>99.9%' : `${(tenths / 10).toFixed(1)}%`;
}
const percent = known((rate) => `${rounded(100 * rate, 3)}%`);
// A difference with its sign.
const change = (number, write) => (isKnown(number) ? (number < 0 ? '−' : '+') + write(Math.abs(number)) : '-');

// Foreign text on one line: characters that can't be printed are escaped, as in the terminal.
function clean(text, length = 300) {
  const all = Array.from(String(text ?? ''));
  const some = all.length > length ? [...all.slice(0, length - 1), '…'] : all;
  return some.join('').replace(/(?! )[\p{C}\p{Z}]/gu, (one) => `\\u${one.codePointAt(0).toString(16).padStart(4, '0')}`);
}

// ---- Elements: a node is touched only when its value changes, and text is always set as text

// Make an element. "div.card" has a class. Then come properties, if any (functions listen, others are attributes),
// and children, where missing ones are left out.
function make(what, ...children) {
  const [tag, ...classes] = what.split('.');
  const made = document.createElement(tag);
  if (classes.length) made.className = classes.join(' ');
  const properties = children[0] && children[0].constructor === Object ? children.shift() : {};
  for (const [name, value] of Object.entries(properties)) {
    if (typeof value === 'function') made.addEventListener(name, value);
    else attribute(made, name, value);
  }
  made.append(...children.filter(Boolean));
  return made;
}
const button = (text, click, more) => make('button', { type: 'button', click, ...more }, text);

// Set an attribute; remove it if the value is missing or false.
function attribute(node, name, value) {
  if (value === undefined || value === null || value === false) node.removeAttribute(name);
  else if (node.getAttribute(name) !== String(value)) node.setAttribute(name, value);
}

// Set the text of an element that has no other children.
function write(node, text) {
  if (!node.firstChild) node.textContent = text;
  else if (node.firstChild.data !== text) node.firstChild.data = text;
}

function show(node, isShown) {
  if (node.hidden === Boolean(isShown)) node.hidden = !isShown;
}

// Give an element exactly this many children, keeping those that it has.
function fit(parent, wanted, create) {
  while (parent.childElementCount > wanted) parent.lastElementChild.remove();
  while (parent.childElementCount < wanted) parent.append(create(parent.childElementCount));
  return parent.children;
}

// Fill a row. A cell is a text, or an object: text, tone, small (a second line), and with a key what its button has.
function fillRow(line, cells, create) {
  const places = fit(line, cells.length, create);
  cells.forEach((cell, i) => {
    const { text, tone, small, key, expanded } = typeof cell === 'object' ? cell : { text: cell };
    attribute(places[i], 'data-tone', tone);
    attribute(places[i], 'data-small', small);
    if (Boolean(places[i].firstElementChild) !== Boolean(key)) places[i].replaceChildren(...(key ? [button('')] : []));
    if (key) attribute(places[i].firstChild, 'data-key', key);
    if (key) attribute(places[i].firstChild, 'aria-expanded', expanded);
    write(key ? places[i].firstChild : places[i], text);
  });
  return places;
}

// A table whose rows are lists of cells, the first of which is the head of its row. Refilling reuses the elements.
function table(caption) {
  const [head, body] = [make('tr'), make('tbody')];
  const element = make('table', make('caption.unseen', caption), make('thead', head), body);
  const fill = (heads, rows) => {
    fillRow(head, heads, () => make('th', { scope: 'col' }));
    fit(body, rows.length, () => make('tr'));
    rows.forEach((row, i) => fillRow(body.children[i], row, (at) => (at ? make('td') : make('th', { scope: 'row' }))));
    show(element, rows.length);
  };
  return { element, head, body, fill };
}

// A box in which something wide scrolls sideways, also by keyboard.
const scroll = (name, content) => make('div.scroll', { role: 'region', tabindex: 0, 'aria-label': name }, content);

// The table that says the same as a picture. Its rows are asked for only while it is open.
function alternative(name, ask) {
  const { element: content, fill } = table(name);
  const update = () => element.open && fill(...ask());
  const summary = make('summary', 'Table', make('span.unseen', `: ${name}`));
  const element = make('details.alternative', { toggle: update }, summary, scroll(`Table: ${name}`, content));
  return { element, update };
}

function section(title, ...content) {
  const tools = make('div.tools');
  return { tools, element: make('section.card', make('header', make('h2', title), tools), ...content) };
}

// ---- Colours: canvases take them from the style sheet, and are repainted when they change

const colours = new Map();
const painters = new Set();
function colour(name) {
  if (!colours.has(name)) colours.set(name, getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim());
  return colours.get(name);
}
function repaint({ type }) {
  document.documentElement.classList.toggle('printing', type === 'beforeprint');
  colours.clear();
  for (const paint of painters) paint();
}
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', repaint);
addEventListener('beforeprint', repaint);
addEventListener('afterprint', repaint);

Object.assign(smssim, {
  isKnown, rounded, count, plural, seconds, setting, clock, tick, span, perSecond, compact, share, percent, change, clean,
  make, button, attribute, write, show, fit, table, scroll, alternative, section, colour, painters,
});
})();
