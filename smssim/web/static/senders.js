// Senders: a heat map of their states over time, and a table that sorts, filters and folds copies.
const [HEIGHT, LINE_MAX, NAMES_MAX, ROWS_MAX] = [560, 20, 60, 50];
const STATES = ['', 'sending', 'waiting', 'lost', 'left'];
const SIGNS = ['', '●', '○', '✕', '–'];
// The codes of the heat map that are no rate: -, w, x, e.
const CODES = { 45: 0, 119: 2, 120: 3, 101: 4 };
const rateOf = (code) => `sending at ${10 * (code - 48)}–${10 * (code - 47)}%`;

// A picture with a column per step, stretched over the time axis.
const heatPart = (time) => {
	let [model, painted, row, lines, perLine, tall] = [null, [], 0, 1, 1, 1];
	const image = document.createElement('canvas');
	const pencil = image.getContext('2d', { willReadFrequently: true });
	const start = (step) => (step ? model.heat.times[step - 1] : model.heat.from);
	const name = (at) => clean(model.names[at], 18);
	const many = () => model.names.length;

	function palette() {
		const shade = (tone, alpha = 255) => [...colour(tone).match(/\w\w/g).map((two) => parseInt(two, 16)), alpha];
		const shades = { 119: shade('waiting'), 120: shade('lost'), 101: shade('left') };
		for (let i = 0; i < 10; i++) shades[48 + i] = shade('rate', 39 + 24 * i);
		return shades;
	}

	function paintStep(step, shades) {
		const pixels = pencil.createImageData(1, image.height);
		for (let line = 0; line < lines; line++) {
			const state = model.heat.columns[step].subarray(line * perLine, (line + 1) * perLine).reduce(worse, 45);
			for (let y = 0; shades[state] && y < tall - (tall > 5); y++) {
				if (state !== 120 || tall < 4 || y % 4 < 2) pixels.data.set(shades[state], 4 * (line * tall + y));
			}
		}
		pencil.putImageData(pixels, step, 0);
	}

	// Paint what is new, or everything after other changes, in runs of equally long steps.
	const under = painter(({ context, top, bottom, x }) => {
		const { times, columns } = model.heat;
		const now = [columns, lines, tall, colour('lost')];
		if (now.some((one, i) => one !== painted[i])) {
			Object.assign(image, { width: 1100, height: lines * tall });
			painted = [...now, 0];
		}
		const shades = painted[4] < times.length && palette();
		for (; painted[4] < times.length; painted[4]++) paintStep(painted[4], shades);
		context.imageSmoothingEnabled = false;
		for (let first = 0, next; first < times.length; first = next) {
			const took = times[first] - start(first);
			next = first + 1;
			while (next < times.length && Math.abs(times[next] - times[next - 1] - took) < took / 2) next++;
			const from = x(start(first));
			context.drawImage(image, first, 0, next - first, image.height, from, top, x(times[next - 1]) - from, bottom - top);
		}
	});

	const over = painter(({ context, left, right, y }) => {
		if (chart.index === null) return;
		const line = row - (row % perLine);
		context.strokeStyle = colour('ink');
		context.strokeRect(left, y(line), right - left, Math.max(2, y(line + perLine) - y(line)));
	});

	function goTo(wanted) {
		row = Math.max(0, Math.min(wanted, many() - 1));
		chart.paint();
	}

	function rows() {
		const { times, columns, from } = model.heat;
		return [['sender', ...STATES.slice(1)], model.names.slice(0, ROWS_MAX).map((one, at) => {
			const spent = [0, 0, 0, 0, 0];
			columns.forEach((column, step) => { spent[CODES[column[at]] ?? 1] += times[step] - start(step); });
			return [one, ...spent.slice(1).map((part) => share(part, (last(times) || 0) - from))];
		})];
	}

	const says = (value, x, step) => {
		const code = (model.heat.columns[step] || [])[row] ?? 45;
		return many() ? `${name(row)}: ${code in CODES ? STATES[CODES[code]] || 'unknown' : rateOf(code)}` : '';
	};
	const chart = new Chart({
		name: 'States of senders', note: 'shade: 0 to 100% of the declared rate; the keys up and down choose a sender', time,
		rows, under, over,
		columns: ({ heat }) => [heat.times.map((end, step) => (start(step) + end) / 2)],
		series: ['', ...STATES.slice(2)].map((label) =>
			({ label, colour: label || 'scale', swatch: 'area', draw: false, value: label ? () => '' : says })),
		scales: { y: { range: () => [0, many() || 1], dir: -1 } },
		axes: [yAxis(String, {
			size: () => (many() > NAMES_MAX ? 58 : 110), grid: { show: false },
			splits: () => {
				const least = (13 * uPlot.pxRatio * many()) / (lines * tall);
				const every = [1, 2, 5, 10, 20].find((one) => one >= least) || 50;
				return Array.from({ length: Math.floor(many() / every) }, (_, i) => (i + 1) * every - 0.5);
			},
			values: each((at) => (many() > NAMES_MAX ? String(at + 0.5) : name(at - 0.5))),
		})],
		onMove: ({ cursor, posToVal }) => cursor.top >= 0 && goTo(Math.floor(posToVal(cursor.top, 'y'))),
		onKey: ({ key, shiftKey }) => {
			const down = { ArrowUp: -1, ArrowDown: 1 }[key];
			if (down) goTo(row + down * (shiftKey ? 10 : 1));
			if (down) chart.readOut(chart.index);
			return down;
		},
	});
	const note = chart.element.appendChild(make('p.note'));

	function update(latest) {
		model = latest;
		const room = HEIGHT * uPlot.pxRatio;
		perLine = Math.ceil(many() / room) || 1;
		lines = Math.ceil(many() / perLine) || 1;
		tall = Math.max(1, Math.floor(Math.min(LINE_MAX * uPlot.pxRatio, room / lines)));
		const height = `${(lines * tall) / uPlot.pxRatio + 36}px`;
		if (chart.plot.style.height !== height) chart.plot.style.height = height;
		row = Math.max(0, Math.min(row, many() - 1));
		chart.update(model);
		show(note, perLine > 1);
		write(note, `A line stands for ${perLine} senders: the lost one decides, or else the slowest.`);
	}
	return { element: chart.element, update };
};

// By column: head, format, and whether the range among copies stands below.
const signed = (value) => change(value, tenths);
const COLUMNS = {
	index: ['sender'], code: ['state'], lanes: ['lanes', count], mean: ['mean', setting],
	average: ['average', seconds, true], off: ['± mean', signed], fail: ['fail', percent],
	failing: ['failing', tenths, true], failOff: ['± fail', signed], sent: ['sent', count, true],
	failed: ['failed', count, true], rate: ['now', perSecond, true], work: ['work', tenths, true],
	load: ['of lanes', tenths],
};
const NAMES = Object.keys(COLUMNS);

function sumOf(copies, key, name) {
	const sum = (of) => copies.reduce((all, row) => all + (of(row) || 0), 0);
	const counts = ['lanes', 'sent', 'failed', 'attempts', 'rate'].map((one) => [one, sum((row) => row[one])]);
	const totals = Object.fromEntries(counts);
	const average = sum((row) => row.average * row.attempts) / totals.attempts;
	return { ...copies[0], ...totals, key, name, copies, average };
}

// Add what follows from the other figures; `all` is the row of all senders.
function derive(row, all) {
	row.failing = (row.attempts - row.sent) / row.attempts;
	row.off = isKnown(row.average) ? row.average / row.mean - 1 : null;
	row.failOff = row.failing - row.fail;
	row.work = (row.sent + row.failed) / (all.sent + all.failed);
	row.load = row.lanes / all.lanes;
	return row;
}

function rowsOf({ senders: all, names, data, isFinal }) {
	const { sent, failed, attempts = [], rate_per_s: overall, recent_rate_per_s: recent = [] } = all;
	const rate = (isFinal && overall) || recent;
	const rows = names.map((name, i) => ({
		key: `${i}`, name, index: i, code: Number(all.state[i]), group: all.group[i] ?? -1, lanes: all.concurrency[i],
		mean: all.mean_s[i], average: all.avg_time_s[i], fail: all.failure_rate[i], sent: sent[i], failed: failed[i],
		attempts: Math.max(sent[i] + failed[i], data.max_attempts === 1 ? 0 : attempts[i] || 0), rate: rate[i],
	}));
	const total = sumOf(rows);
	return [rows.map((row) => derive(row, total)), total];
}

const inStates = (many) =>
	STATES.filter((state) => many(state)).map((state) => `${count(many(state))} ${state}`).join(', ');

function cellsOf(row, opened) {
	const { copies, code, isCopy, key, name } = row;
	const figures = NAMES.slice(2).map((column) => {
		const [, says, hasRange] = COLUMNS[column];
		const values = copies && hasRange ? copies.map((one) => one[column]).filter(isKnown) : [];
		const ends = new Set([Math.min(...values), Math.max(...values)].map(says));
		const range = [...ends].join('–').replace(/( \w+|%|\/s)(–.*)\1$/, '$2$1');
		return { text: says(row[column]), small: values.length > 1 && range };
	});
	const state = copies ? inStates((wanted) => copies.filter((one) => STATES[one.code] === wanted).length)
		: { text: `${SIGNS[code]} ${STATES[code]}`, tone: code === 3 && 'bad' };
	const opens = copies && { key, expanded: String(opened.has(key)) };
	return [{ text: name, tone: isCopy && 'copy', ...opens }, state, ...figures];
}

const sendersPart = () => {
	let model = null;
	const sort = { by: 'index', down: false };
	const opened = new Set();
	const redraw = () => model && update(model);
	const search = make('input', { type: 'search', id: 'sender-filter', placeholder: 'Filter by name',
		'aria-label': 'Filter senders by name', input: redraw });
	const state = make('select', { id: 'sender-state', 'aria-label': 'Filter senders by state', change: redraw },
		...STATES.map((one) => make('option', { value: one }, one || 'any state')));
	const said = make('p.note', { id: 'sender-count' });
	const list = table('Senders');
	list.element.classList.add('senders');
	list.element.addEventListener('click', ({ target }) => {
		const { key } = target.dataset;
		if (COLUMNS[key]) Object.assign(sort, { by: key, down: sort.by === key ? !sort.down : NAMES.indexOf(key) > 1 });
		else if (key && !opened.delete(key)) opened.add(key);
		redraw();
	});
	const element = section('Senders', make('div.tools', search, state), scroll('Senders', list.element),
		said, make('p.note', '± is measured less declared. work, of lanes: shares of all outcomes and of all lanes.'));

	// The rows: senders that are no copies, groups, and the copies in open ones.
	function arrange(rows, all) {
		const value = (row) => row[sort.by] ?? -1;
		const compare = (one, other) => (sort.down ? -1 : 1) * (value(one) - value(other)) || one.index - other.index;
		const fold = (name, group) => {
			const copies = rows.filter((row) => row.group === group);
			return derive(sumOf(copies, `group ${name}`, `${clean(name)} ×${count(copies.length)}`), all);
		};
		const folded = model.senders.groups.map(fold).filter((row) => row.copies.length);
		return [...rows.filter((row) => row.group < 0), ...folded].sort(compare).flatMap((row) =>
			(opened.has(row.key) ? [row, ...row.copies.sort(compare).map((one) => ({ ...one, isCopy: true }))] : row));
	}

	function update(latest) {
		model = latest;
		const [rows, all] = rowsOf(model);
		const wanted = search.value.trim().toLowerCase();
		const found = rows.filter((row) => row.name.toLowerCase().includes(wanted) &&
			['', STATES[row.code]].includes(state.value));
		const shown = arrange(found, all);
		const { activeElement: focused } = document;
		const key = list.body.contains(focused) && focused.dataset.key;
		const heads = NAMES.map((one) => ({ text: one === 'rate' && model.isFinal ? 'rate' : COLUMNS[one][0], key: one }));
		list.fill(heads, shown.slice(0, ROWS_MAX).map((row) => cellsOf(row, opened)));
		NAMES.forEach((one, i) => attribute(list.head.children[i], 'aria-sort',
			sort.by === one && (sort.down ? 'descending' : 'ascending')));
		const same = key && [...list.body.querySelectorAll('button')].find((one) => one.dataset.key === key);
		if (same && same !== focused) same.focus();
		const more = model.data.others;
		const words = [(found.length < rows.length ? `${count(found.length)} of ` : '') + plural(rows.length, 'sender')];
		if (shown.length > ROWS_MAX) words.push(`${ROWS_MAX} of ${count(shown.length)} rows: sort or filter to see others`);
		if (more.senders) {
			words.push(`${plural(more.senders, 'more sender')}: ${inStates((state) => more[state])}`,
				`${count(more.sent)} sent, ${count(more.failed)} failed, ${perSecond(more.recent_rate_per_s)}`);
		}
		write(said, words.join('; '));
	}
	return { element, update };
};
