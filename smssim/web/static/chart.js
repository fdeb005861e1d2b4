// Charts on uPlot: a legend that reads out values, keyboard, zoom, marks, and a table that says the same.
// A plotter is made once and then only gets new columns.
const DASHES = { dashed: [6, 4], dotted: [2, 3] };
const STEPS = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200,
	1800, 3600, 7200, 14400, 21600, 43200, 86400, 604800];
const FONT = '11px system-ui, sans-serif';
const TABLE_ROWS = 24;

// What the charts over time of a view share.
class TimeAxis {
	constructor() {
		Object.assign(this, { end: 1, zoomed: null, charts: new Set() });
		this.whole = button('Whole run', () => this.zoom(null), { 'aria-disabled': true });
		this.buttons = make('div.tools', { role: 'group', 'aria-label': 'Zoom of all charts over time' },
			button('−', () => this.zoomBy(2), { 'aria-label': 'Zoom out' }),
			button('+', () => this.zoomBy(0.5), { 'aria-label': 'Zoom in' }), this.whole);
	}

	zoom(range) {
		const [from, to] = range || [0, this.end];
		const width = Math.max(to - from, this.end / 400);
		const start = Math.max(0, Math.min(from, this.end - width));
		this.zoomed = width < this.end ? [start, start + width] : null;
		attribute(this.whole, 'aria-disabled', !this.zoomed);
		for (const { plotter, columns } of this.charts) plotter?.setData(columns);
	}

	zoomBy(factor, around) {
		const range = this.zoomed || [0, this.end];
		const centre = around ?? (range[0] + range[1]) / 2;
		this.zoom(range.map((at) => centre + (at - centre) * factor));
	}

	point(time, source) {
		for (const chart of this.charts) if (chart !== source) chart.pointTo(time);
	}
}

const ruled = (tone, more) => ({ stroke: () => colour(tone), width: 1, ...more });
const each = (text) => (plotter, splits) => splits.map(text);
const yAxis = (text, more) => ({
	scale: 'y', font: FONT, size: 58, gap: 4, space: 34, stroke: () => colour('soft'), ticks: { show: false },
	grid: ruled('grid'), values: each(text), ...more,
});
const fromZero = (plotter, low, high) => [0, high > 0 ? uPlot.rangeNum(0, high, 0.05, true)[1] : 10];

// options: name, note, tall; columns(model): x, and one per series that is drawn; series: [{label, colour, dash,
// value(value, x, index)}]; time (a TimeAxis) and end(model), or xRange and xAxis; under and over(plotter, model) paint;
// axes, scales and bands as in uPlot.
class Chart {
	constructor(options) {
		const { name, note, series, tall, time } = options;
		Object.assign(this, { options, time, columns: [[]], plotter: null, index: null });
		const items = series.map(({ label, colour: tone, dash, swatch: kind }) =>
			make('li', swatch(tone, kind || dash), label, make('b')));
		this.values = [make('li.at'), ...items.map((item) => item.lastChild)];
		this.legend = make('ul.legend', this.values[0], ...items);
		this.event = make('p.happening');
		this.plot = make(tall ? 'div.plot.tall' : 'div.plot', {
			role: 'slider', tabindex: 0, 'aria-label': `${name} (chart)`, 'aria-valuemin': 0, 'aria-valuemax': 0,
			'aria-valuenow': 0, keydown: (event) => this.key(event), blur: () => this.pointAt(null),
		});
		this.table = alternative(name, options.rows || (() => this.rows()));
		this.element = make('figure', make('figcaption', make('b', name), note && make('span', note)), this.legend, this.plot,
			this.event, this.table.element);
		time?.charts.add(this);
		this.paint = () => this.plotter?.redraw(false, true);
		painters.add(this.paint);
		this.watch = new ResizeObserver(() => this.resize());
	}

	update(model) {
		this.model = model;
		this.columns = this.options.columns(model);
		if (this.plotter) this.plotter.setData(this.columns);
		else this.create();
		const most = Math.max(0, this.columns[0].length - 1);
		attribute(this.plot, 'aria-valuemax', most);
		this.readOut(this.index === null ? null : Math.min(this.index, most));
		this.table.update();
	}

	create() {
		const { time, options } = this;
		const { series, scales, axes = [yAxis(figure)], bands, under, over, xRange } = options;
		const range = xRange || (() => time.zoomed || [0, options.end ? options.end(this.model) : this.model.elapsed || 1]);
		const paint = (marks, more) => [(plotter) => [time && marks, more].forEach((one) => one?.(plotter, this.model))];
		this.plotter = new uPlot({
			width: Math.max(120, this.plot.clientWidth), height: Math.max(80, this.plot.clientHeight), bands,
			legend: { show: false }, padding: [8, axes.length > 1 ? 0 : 20, 0, 0],
			cursor: {
				y: false, drag: { x: Boolean(time), y: false, setScale: false },
				bind: { dblclick: () => () => time?.zoom(null) },
			},
			scales: { x: { time: false, range }, y: { range: fromZero }, ...scales },
			axes: [this.xAxis(), ...axes],
			series: [{}, ...series.filter((one) => one.draw !== false).map((one) => this.line(one))],
			hooks: {
				drawAxes: paint(stretches, under), draw: paint(events, over),
				setSelect: [() => this.select()], setCursor: [() => this.move()],
			},
		}, this.columns, this.plot);
		this.watch.observe(this.plot);
	}

	line({ colour: tone, dash, width = 1.75, fill: inner, paths }) {
		const gaps = (plotter, series, from, to, found) => {
			const place = (at) => plotter.valToPos(at, 'x', true);
			const away = this.model.gaps.map((gap) => [place(gap.from_s), place(gap.to_s)]);
			return [...found, ...away].sort((one, other) => one[0] - other[0]);
		};
		return {
			width, paths, gaps, dash: DASHES[dash], points: { show: false }, stroke: () => colour(tone),
			fill: inner && (() => colour(inner)),
		};
	}

	xAxis() {
		const border = ruled('line', { show: true });
		return {
			font: FONT, stroke: () => colour('soft'), size: 28, gap: 4, space: 72, incrs: STEPS, grid: { show: false }, border,
			ticks: { ...border, size: 4 }, values: each(tick), ...this.options.xAxis,
		};
	}

	resize() {
		const { clientWidth: width, clientHeight: height } = this.plot;
		const isNew = width !== this.plotter.width || height !== this.plotter.height;
		if (width && isNew) this.plotter.setSize({ width, height });
	}

	select() {
		const { left, width } = this.plotter.select;
		if (width > 3) this.time.zoom([left, left + width].map((at) => this.plotter.posToVal(at, 'x')));
		this.plotter.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
	}

	move() {
		const { left, idx } = this.plotter.cursor;
		const index = left < 0 ? null : idx ?? null;
		if (this.options.onMove) this.options.onMove(this.plotter);
		else if (index === this.index) return;
		this.readOut(index);
		this.time?.point(index === null ? null : this.columns[0][index], this);
	}

	// Point at the same time as another chart, or at none.
	pointTo(time) {
		if (!this.plotter || !this.columns[0].length) return;
		const left = time === null ? -10 : this.plotter.valToPos(time, 'x');
		this.plotter.setCursor({ left, top: left < 0 ? -10 : 0 }, false);
		this.readOut(left < 0 ? null : this.plotter.valToIdx(time));
	}

	pointAt(index) {
		const at = index === null ? null : this.columns[0][index];
		this.pointTo(at);
		this.time?.point(at, this);
	}

	key(event) {
		const { key, shiftKey, ctrlKey, metaKey, altKey } = event;
		if (!this.columns[0].length || ctrlKey || metaKey || altKey) return;
		const { min, max } = this.plotter.scales.x;
		const [first, end] = [min, max].map((at) => this.plotter.valToIdx(at));
		const step = Math.max(1, Math.round((end - first) / 100)) * (shiftKey ? 10 : 1);
		const now = this.index ?? end;
		const wanted = { ArrowLeft: now - step, ArrowRight: now + step, Home: first, End: end }[key];
		const factor = { '+': 0.5, '=': 0.5, '-': 2, Escape: 1e9 }[key];
		if (wanted !== undefined) this.pointAt(Math.min(end, Math.max(first, wanted)));
		else if (factor && this.time) this.time.zoomBy(factor, this.columns[0][this.index]);
		else if (!this.options.onKey?.(event)) return;
		event.preventDefault();
		attribute(this.plot, 'aria-valuenow', this.index ?? 0);
		const [x, ...values] = this.texts();
		const said = values.map((value, i) => value && `${this.options.series[i].label} ${value}`);
		attribute(this.plot, 'aria-valuetext', `${x}: ${said.filter(Boolean).join(', ')}. ${this.event.textContent}`);
	}

	// null: the latest point.
	readOut(index) {
		this.index = index;
		this.texts().forEach((text, i) => write(this.values[i], text));
		const { scales: { x }, width } = this.plotter;
		const isTold = index !== null && this.time && this.model.happening;
		write(this.event, isTold ? this.model.happening(this.columns[0][index], (6 * (x.max - x.min)) / width) : '');
	}

	texts(at = this.index ?? this.options.rest?.() ?? this.columns[0].length - 1) {
		const { series, xText = clock } = this.options;
		const x = this.columns[0][at];
		let column = 0;
		return [x === undefined ? '-' : xText(x), ...series.map((one) =>
			one.value(one.draw === false ? null : this.columns[++column][at] ?? null, x, at))];
	}

	// The table: heads, and some rows.
	rows() {
		const { xName = 'time', series } = this.options;
		const end = this.columns[0].length - 1;
		const most = Math.min(end, TABLE_ROWS - 1);
		const places = Array.from({ length: most + 1 }, (_, i) => Math.round((i * end) / (most || 1)));
		return [[xName, ...series.map((one) => one.label)], places.map((at) => this.texts(at))];
	}
}

// ---- Marks: what is painted besides lines. A brush places values with x and y; its unit is a pixel of CSS.

const SHAPES = {
	'▼': [[-1, 0], [1, 0], [0, 1.6]], '▲': [[-1, 1.6], [1, 1.6], [0, 0]], '◆': [[0, 0], [1, 0.9], [0, 1.8], [-1, 0.9]],
	'●': Array.from({ length: 16 }, (_, i) => [Math.cos((i * Math.PI) / 8), Math.sin((i * Math.PI) / 8)]),
};
const BETTER = ['restarted', 'resumed', 'recovered', 'joined', 'back'];
const shapeOf = (kind) => (BETTER.includes(kind) ? '▲' : ['taken over', 'left'].includes(kind) ? '◆' : '▼');

const painter = (paint) => (plotter, ...more) => {
	const { ctx: context, bbox: { left, top, width, height } } = plotter;
	const [x, y] = ['x', 'y'].map((scale) => (value) => plotter.valToPos(value, scale, true));
	context.save();
	context.beginPath();
	context.rect(left, top, width, height);
	context.clip();
	paint({ context, left, top, right: left + width, bottom: top + height, x, y, unit: uPlot.pxRatio }, ...more);
	context.restore();
};

function path({ context, unit }, points, tone, width, dash = []) {
	context.beginPath();
	for (const [x, y] of points) context.lineTo(x, y);
	Object.assign(context, { strokeStyle: colour(tone), fillStyle: colour(tone), lineWidth: width * unit });
	context.setLineDash(dash.map((one) => one * unit));
	if (width) context.stroke();
	else context.fill();
}
const shape = (brush, kind, x, top, size, tone) =>
	path(brush, SHAPES[kind].map(([right, down]) => [x + right * size * brush.unit, top + down * size * brush.unit]),
		tone, 0);

// Shade a stretch of time with a tint and slanted lines, which differ without colour.
function shade(brush, from, to, tint, lines) {
	const { context, top, bottom, unit } = brush;
	const left = Math.max(brush.x(from), brush.left);
	const right = Math.min(Math.max(brush.x(to), left + 2 * unit), brush.right);
	if (brush.x(to) < brush.left || left >= right) return;
	context.save();
	path(brush, [[left, top], [right, top], [right, bottom], [left, bottom]], tint, 0);
	context.clip();
	for (let x = left - (left % (8 * unit)) - bottom + top; x < right; x += 8 * unit) {
		path(brush, [[x, bottom], [x + bottom - top, top]], lines, 1);
	}
	context.restore();
}

const stretches = painter((brush, { gaps, stalls, elapsed }) => {
	for (const gap of gaps) shade(brush, gap.from_s, gap.to_s, 'paper', 'line');
	for (const stall of stalls) shade(brush, stall.from_s, stall.to_s ?? elapsed, 'stall', 'stall-line');
});

const events = painter((brush, model) => {
	const { top, bottom, unit } = brush;
	let before = -Infinity;
	for (const { at_s: at, kind } of model.events) {
		const x = brush.x(at);
		if (x - before < 3 * unit || x < brush.left || x > brush.right) continue;
		before = x;
		path(brush, [[x, top], [x, bottom]], 'soft', 1, [1, 3]);
		shape(brush, shapeOf(kind), x, top, 4, 'soft');
	}
});

const plan = painter((brush, { times_s: times, sent, sent_low: low, sent_high: high }) => {
	const points = (counts) => times.map((time, i) => [brush.x(time), brush.y(counts[i])]);
	path(brush, [...points(high), ...points(low).reverse()], 'plan-band', 0);
	path(brush, points(sent), 'plan', 1.25, [5, 4]);
});

// From now to when each share is expected; a bar bounds the middle 80%.
const forecast = painter((brush, { data: { expected }, total, elapsed, progress }) => {
	const some = [80, 95, 99].map((percent) => ({ ...expected[percent], y: brush.y((percent / 100) * total) }))
		.filter((one) => isKnown(one.high_s));
	const points = (bound) => some.map((one) => [brush.x(one[bound]), one.y]);
	const now = [brush.x(elapsed), brush.y(progress.sent)];
	path(brush, [now, ...points('low_s'), ...points('high_s').reverse()], 'band', 0);
	for (const { low_s, median_s, high_s, y } of some) {
		const [tick, [low, middle, high]] = [4 * brush.unit, [low_s, median_s, high_s].map(brush.x)];
		path(brush, [[low, y], [high, y]], 'sent', 1.5);
		for (const x of [low, middle, high]) path(brush, [[x, y - tick], [x, y + tick]], 'sent', 1.5);
	}
});

// Write a text beside a point, where there is room.
function label(brush, text, x, y, tone, prefersRight) {
	const { context, left, right, unit } = brush;
	context.font = FONT.replace('11', 11 * unit);
	const width = context.measureText(text).width + 8 * unit;
	const from = x - width < left || (prefersRight && x + width < right) ? x + 7 * unit : x - width;
	context.fillStyle = colour('card');
	context.fillRect(from - 2 * unit, y - 7 * unit, width - 4 * unit, 14 * unit);
	context.fillStyle = colour(tone);
	context.fillText(text, from, y + 4 * unit);
}

const milestones = painter((brush, reached, total) => {
	let lowest = Infinity;
	for (const [percent, time] of Object.entries(reached).filter((one) => isKnown(one[1]))) {
		const [x, y] = [brush.x(time), brush.y((percent / 100) * total)];
		shape(brush, '●', x, y, 4.5, 'sent');
		shape(brush, '●', x, y, 2.5, 'card');
		if (lowest - y < 13 * brush.unit) continue;
		lowest = y;
		label(brush, brief(time), x, y, 'ink');
	}
});

// Deadlines: the line passes left of the corner.
const goals = painter((brush, list, total) => {
	const { bottom, unit } = brush;
	for (const { at_s: at, percent, text } of list.slice(0, 8)) {
		const [x, y] = [brush.x(at), brush.y((percent / 100) * total)];
		path(brush, [[x, bottom], [x, y], [x - 14 * unit, y]], 'goal', 1.5);
		shape(brush, '◆', x, y - 4 * unit, 4.5, 'goal');
		label(brush, clean(text, 30), x, y + 18 * unit, 'goal', true);
	}
});
const marks = { plan, forecast, milestones, goals };
