// Words in the style of the terminal (smssim/words.py), elements, and the colours of the style sheet.
// Knows nothing about runs. The scripts of a page share one scope; `smssim` is what others may use.
window.smssim = {};
const whole = new Intl.NumberFormat('en-US', { maximumFractionDigits: 0 });
const isKnown = Number.isFinite;
// Writes a dash for an unknown number.
const known = (write) => (number) => (isKnown(number) ? write(number) : '-');
const rounded = (number, figures) => Number(number.toPrecision(figures));
const digits = (number) => (number < 0.9995 ? 3 : number < 9.995 ? 2 : number < 99.95 ? 1 : 0);
const three = (number) => (number ? number.toFixed(digits(number)) : '0');
const two = (number) => String(number).padStart(2, '0');
const parts = (time) => [3600, 60, 1].map((unit, i) => Math.floor(Math.round(time) / unit) % (i ? 60 : Infinity));

const count = known((number) => whole.format(number));
const figure = (number) => (number < 10 ? String(rounded(number, 2)) : count(number));
const plural = (number, thing) => `${count(number)} ${thing}${number === 1 ? '' : 's'}`;
const seconds = known((time) =>
	(time < 0.9995 ? `${three(1000 * time)} ms` : `${time < 99.995 ? time.toFixed(2) : count(time)} s`));
const setting = known((time) => (time < 1 ? `${rounded(1000 * time, 4)} ms` : `${rounded(time, 5)} s`));
const clock = known((time) => {
	const [hours, minutes, rest] = parts(time);
	if (time < 99.95) return `${time.toFixed(1)} s`;
	if (hours >= 100) return `${(time / 86400).toFixed(1)} days`;
	return hours ? `${hours}h${two(minutes)}m${two(rest)}s` : `${minutes}m${two(rest)}s`;
});
const brief = (time) => (time < 1 ? seconds : clock)(time);
// A time on an axis, like 20 s, 2m or 1h30m.
const tick = (time) =>
	(time < 120 ? `${rounded(time, 4)} s` : parts(time).map((part, i) => (part ? part + 'hms'[i] : '')).join(''));
const span = (low, high) =>
	(clock(low) === clock(high) ? clock(low) : `${clock(low)}–${clock(high)}`.replace(/ s(–.* s)$/, '$1'));
const perSecond = known((rate) => {
	if (rate < 99999.5) return `${rate < 999.5 ? three(rate) : count(rate)}/s`;
	return rate < 999500 ? `${three(rate / 1e3)}k/s` : `${three(rate / 1e6)}M/s`;
});
// A share, truncated to tenths; only the whole is 100%, only 0 is 0%.
function share(part, all) {
	if (!isKnown(part) || !all) return '-';
	if (part === 0 || part === all) return part ? '100%' : '0%';
	const tenths = Math.floor((1000 * part) / all + 1e-9);
	return tenths < 1 ? '<0.1%' : tenths === 1000 ? '>99.9%' : `${(tenths / 10).toFixed(1)}%`;
}
const money = known((cost) =>
	cost.toLocaleString('en-US', { minimumFractionDigits: 2, maximumFractionDigits: cost < 1 ? 4 : 2 }));
const percent = known((rate) => `${rounded(100 * rate, 3)}%`);
const tenths = known((rate) => `${(100 * rate).toFixed(1)}%`);
function change(number, write) {
	const text = write(Math.abs(number));
	return /[1-9]/.test(text) ? (number < 0 ? '−' : '+') + text : text;
}
// Foreign text on one line; characters that can't be printed are escaped.
function clean(text, length = 300) {
	const all = Array.from(String(text ?? ''));
	const some = all.length > length ? [...all.slice(0, length - 1), '…'] : all;
	return some.join('').replace(/(?! )[\p{C}\p{Z}]/gu, (one) => `\\u${one.codePointAt(0).toString(16).padStart(4, '0')}`);
}

// Make an element from tag.class, properties (functions listen, others are attributes) and children.
function make(what, ...children) {
	const [tag, ...classes] = what.split('.');
	const made = document.createElement(tag);
	if (classes.length) made.className = classes.join(' ');
	const properties = children[0]?.constructor === Object ? children.shift() : {};
	for (const [name, value] of Object.entries(properties)) {
		if (typeof value === 'function') made.addEventListener(name, value);
		else attribute(made, name, value);
	}
	made.append(...children.filter(Boolean));
	return made;
}
function swatch(tone, kind = 'line') {
	const mark = make('i', { class: `swatch ${kind} ${tone}` });
	mark.style.setProperty('--tint', `var(--${tone})`);
	return mark;
}
const button = (text, click, more) => make('button', { type: 'button', click, ...more }, text);

// Set an attribute, or remove it. Like all that follows, touch nothing that stays the same.
function attribute(node, name, value) {
	if (value === undefined || value === null || value === false) node.removeAttribute(name);
	else if (node.getAttribute(name) !== String(value)) node.setAttribute(name, value);
}
function write(node, text) {
	if (!node.firstChild) node.textContent = text;
	else if (node.firstChild.data !== text) node.firstChild.data = text;
}
const show = (node, isShown) => attribute(node, 'hidden', isShown ? null : '');
// Give an element exactly this many children.
function fit(parent, wanted, create) {
	while (parent.childElementCount > wanted) parent.lastElementChild.remove();
	while (parent.childElementCount < wanted) parent.append(create(parent.childElementCount));
	return [...parent.children];
}

// A cell is a text, or has text, tone, small (a second line), and key if it is a button.
function fillRow(row, cells, create) {
	fit(row, cells.length, create).forEach((place, i) => {
		const { text, tone, small, key, expanded } = cells[i].text === undefined ? { text: cells[i] } : cells[i];
		attribute(place, 'data-tone', tone);
		attribute(place, 'data-small', small);
		if (!place.firstElementChild !== !key) place.replaceChildren(...(key ? [button('')] : []));
		const inner = key ? place.firstChild : place;
		attribute(inner, 'data-key', key);
		attribute(inner, 'aria-expanded', expanded);
		write(inner, text);
	});
}

function table(caption) {
	const [head, body] = [make('tr'), make('tbody')];
	const element = make('table', make('caption.unseen', caption), make('thead', head), body);
	const fill = (heads, rows) => {
		fillRow(head, heads, () => make('th', { scope: 'col' }));
		fit(body, rows.length, () => make('tr')).forEach((row, i) =>
			fillRow(row, rows[i], (at) => (at ? make('td') : make('th', { scope: 'row' }))));
		show(element, rows.length);
	};
	return { element, head, body, fill };
}

function pairs(kind) {
	const element = make(`dl.${kind}`);
	const fill = (rows) => fit(element, rows.length, () => make('div', make('dt'), make('dd'))).forEach((place, i) =>
		rows[i].forEach((text, at) => write(place.children[at], text)));
	return { element, fill };
}

const scroll = (name, content) => make('div.scroll', { role: 'region', tabindex: 0, 'aria-label': name }, content);

// The table of a picture; its rows are asked for only while it is open.
function alternative(name, ask) {
	const content = table(name);
	const update = () => element.open && content.fill(...ask());
	const element = make('details.alternative', { toggle: update },
		make('summary', 'Table', make('span.unseen', `: ${name}`)),
		scroll(`Table: ${name}`, content.element));
	return { element, update };
}

const section = (title, tools, ...content) =>
	make('section.card', make('header', make('h2', title), ...[tools].flat()), ...content);

// Colours, for canvases: repainted when they change.
const colours = new Map();
const painters = new Set();
function colour(name) {
	const style = getComputedStyle(document.documentElement);
	if (!colours.has(name)) colours.set(name, style.getPropertyValue(`--${name}`));
	return colours.get(name);
}
function repaint() {
	colours.clear();
	for (const paint of painters) paint();
}
matchMedia('(prefers-color-scheme: dark)').onchange = repaint;
