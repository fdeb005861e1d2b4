// A run: verdict, conservation, key figures, progress with plan, forecast and goals, rates, latency.
const PERCENTS = [50, 80, 95, 99];
// By code of the verdict: shape and tone; all others are good.
const LOOKS = {
	late: ['▲', 'warn'], stalled: ['▲', 'warn'], incomplete: ['✕', 'bad'], disagree: ['≠', 'bad'], missed: ['✕', 'bad'],
	starting: ['○'],
};
const wording = (key) => key.replace('_', ' ');
const PARTS = ['sent', 'failed', 'in_flight', 'waiting'];
const RARE = ['unreachable', 'cost']; // not shown if they are 0
const COUNTS = ['attempts', 'retried', 'duplicates', 'senders', 'senders_seen', 'redelivered', RARE[0]];
const FIGURES = [
	['rate_per_s', perSecond, 'overall'], ['avg_time_s', seconds, 'average time'],
	['avg_sent_time_s', seconds, 'average sent'],
	...['p50', 'p95', 'p99'].map((one) => [`latency_${one}_s`, seconds, `latency ${one}`]),
	...COUNTS.map((key) => [key, count, wording(key)]), ['cost', money, 'cost'],
];

const verdictLine = () => {
	const [mark, text, more, done, elapsed] = ['span.mark', 'b', 'span', 'b', 'span'].map((one) => make(one));
	const element = make('div.verdict', { id: 'verdict' }, mark, make('div', text, more), make('div', done, elapsed));
	const update = (code, ...words) => {
		const [shape, tone] = LOOKS[code] || ['✓', 'good'];
		attribute(element, 'data-tone', tone);
		[mark, text, more, done, elapsed].forEach((one, i) => write(one, [shape, ...words][i] || ''));
	};
	return { element, update };
};

const headPart = () => {
	const [verdict, figures] = [verdictLine(), pairs('figures')];
	const [stall, sum, books] = [make('p.stall', { id: 'stall' }), make('p'), make('p', { id: 'books' })];
	const parts = PARTS.map((key) => {
		const [piece, number, part] = [swatch(key, 'area'), make('b'), make('span')];
		const term = make('div', make('dt', swatch(key, 'area'), wording(key)), make('dd', number, ' ', part));
		return { key, piece, number, part, term };
	});

	function update({ progress, data, total, done, elapsed, isFinal }) {
		const { code, text } = data.verdict;
		const pace = text.toLowerCase().includes(data.pace) ? '' : clean(data.pace);
		const { low_s: low, high_s: high } = data.expected?.complete || {};
		const left = low - elapsed > 1 ? `about ${span(low - elapsed, high - elapsed)}` : `up to ${clock(high - elapsed)}`;
		verdict.update(code, clean(text), pace, total ? share(done, total) : progress.complete ? '100%' : '0%',
			isFinal ? `after ${brief(elapsed)}` : `at ${clock(elapsed)}${isKnown(high) ? ` · ${left} left` : ''}`);
		show(stall, data.stall && data.stall !== text);
		write(stall, clean(data.stall));
		for (const { key, piece, number, part } of parts) {
			const some = progress[key];
			write(number, count(some));
			write(part, share(some, total));
			piece.style.flexGrow = Math.max(0, some) / (total || 1);
			show(piece, some > 0);
		}
		const isEqual = total === PARTS.reduce((all, key) => all + progress[key], 0);
		const terms = PARTS.map((key) => `${count(progress[key])} ${wording(key)}`);
		write(sum, `${count(total)} ${isEqual ? '=' : '≠'} ${terms.join(' + ')}`);
		attribute(sum, 'data-tone', !isEqual && 'bad');
		const agrees = [0, 5].includes(progress.exit_code);
		attribute(books, 'data-tone', progress.reason && (agrees ? 'good' : 'bad'));
		write(books, progress.reason ? `${agrees ? '✓' : '✕'} ${clean(progress.reason)}`
			: '○ both books are compared at the end');
		figures.fill([...(isFinal ? [] : [['recent_rate_per_s', perSecond, 'now']]), ...FIGURES]
			.filter(([key]) => key in progress && (progress[key] || !RARE.includes(key)))
			.map(([key, says, name]) => [name, says(progress[key])]));
	}
	const element = make('section.card.head', { 'aria-label': 'Verdict' }, verdict.element, stall,
		make('div.conservation', ...parts.map(({ piece }) => piece)), make('dl.parts', ...parts.map(({ term }) => term)),
		make('div.checks', sum, books), figures.element);
	return { element, update };
};

// The end of the time axis, with room for plan, forecast and near deadlines, in few steps.
function axisEnd({ data: { plan, expected, goals }, elapsed, isFinal }) {
	const planned = Math.max(elapsed, plan ? last(plan.times_s) : 0);
	const most = isFinal ? 1.01 * elapsed : Math.max(planned, Math.min(expected?.complete?.high_s || 0, 4 * planned));
	const end = Math.max(most, ...goals.map((goal) => goal.at_s * 1.04).filter((at) => at < 1.6 * most)) || 1;
	const step = 10 ** Math.floor(Math.log10(end)) / 4;
	return isFinal ? end : Math.ceil(end / step) * step;
}

// A course at a time, between its points; null outside.
function valueAt(times, values, time) {
	const after = times.findIndex((one) => one >= time);
	if (after < 1) return times[after] === time ? values[0] : null;
	const part = (time - times[after - 1]) / (times[after] - times[after - 1]);
	return values[after - 1] + part * (values[after] - values[after - 1]);
}

const shareAxis = (total) => yAxis(String, {
	side: 1, size: 40, splits: () => PERCENTS.map((percent) => (percent / 100) * (total() || 1)),
	values: ({ bbox }) => ['50%', '80%', bbox.height < 280 * uPlot.pxRatio ? '' : '95%', '99%'],
	grid: ruled('line', { dash: [2, 3] }),
});

const OUTCOMES = [{ text: '✕ missed', tone: 'bad' }, { text: '✓ passed', tone: 'good' }, '○ open'];
function goalRows({ data: { judged, goals, reached_s: all, reached_reachable_s: some }, isFinal, elapsed }) {
	if (judged.length) {
		return judged.map(({ text, passed, value, margin }) => [clean(text), OUTCOMES[Number(passed)], value, margin || '-']);
	}
	return goals.map(({ text, percent, reachable, at_s: deadline }) => {
		const at = reachable ? some[reachable] : all[percent];
		const state = isKnown(at) ? Number(at <= deadline) : isFinal || elapsed > deadline ? 0 : 2;
		return [clean(text), OUTCOMES[state], clock(at), change(deadline - at, clock)];
	});
}

const spread = ({ low_s: low, median_s: median, high_s: high }) =>
	(isKnown(median) ? { text: clock(median), small: isKnown(high) && span(low, high) } : 'never');

function milestoneRows({ data, progress, isFinal, elapsed }) {
	const { plan, expected, reached_s: all, reached_reachable_s: some } = data;
	return [...PERCENTS, 'complete'].map((key) => {
		const isLast = key === 'complete';
		const at = isLast ? progress.complete && elapsed : all[key];
		const { low_s: low, high_s: high } = expected?.[key] || {};
		const forecast = isKnown(high) ? { text: span(low, high), small: 'expected (80%)' } : { text: '-' };
		const planned = plan ? [spread((isLast ? plan.complete_s : plan.reached_s[key]) || {})] : [];
		const actual = isKnown(at) ? { text: brief(at), tone: 'strong' } : isFinal ? { text: 'never' } : forecast;
		const reachable = isKnown(some[key]) && { small: `reachable: ${brief(some[key])}` };
		return [isLast ? key : `${key}% sent`, ...planned, { ...actual, ...reachable }];
	});
}

const line = (label, tone, dash, value, more) => ({ label, colour: tone, dash, value, ...more });

const progressPart = (time) => {
	let model = null;
	const part = (value) => `${count(value)} (${share(value, model.total)})`;
	const planned = (value, at) => {
		const { plan } = model.data;
		return plan ? count(valueAt(plan.times_s, plan.sent, Math.min(at, last(plan.times_s)))) : '';
	};
	const chart = new Chart({
		name: 'Messages sent and failed over time', tall: true, time, end: axisEnd,
		columns: ({ history }) => [history.elapsed_s, history.sent, history.failed],
		series: [
			line('sent', 'sent', '', part, { width: 2.25 }), line('failed', 'failed', 'dashed', part),
			line('plan (95%)', 'plan', 'dashed', planned, { draw: false }),
			line('forecast (80%)', 'band', '', () => '', { draw: false, swatch: 'area' }),
		],
		scales: { y: { range: () => [0, (model.total || 1) * 1.02] } }, axes: [yAxis(figure), shareAxis(() => model.total)],
		under: (plotter, { data, isFinal }) => {
			if (data.plan) marks.plan(plotter, data.plan);
			if (data.expected && !isFinal) marks.forecast(plotter, model);
		},
		over: (plotter, { data, total }) => {
			marks.goals(plotter, data.goals, total);
			marks.milestones(plotter, data.reached_s, total);
		},
	});
	const [times, goals] = [table('When shares of all messages were sent'), table('Goals')];
	const aside = make('div', times.element, goals.element);
	const element = section('Progress', time.buttons, make('div.with-aside', chart.element, aside));
	function update(latest) {
		model = latest;
		time.end = axisEnd(model);
		chart.update(model);
		const [, , , forPlan, forForecast] = chart.legend.children;
		show(forPlan, model.data.plan);
		show(forForecast, model.data.expected && !model.isFinal);
		times.fill(['share', ...(model.data.plan ? ['plan'] : []), 'actual'], milestoneRows(model));
		goals.fill(['goal', 'state', 'value', 'margin'], goalRows(model));
	}
	return { element, update };
};

const rateCharts = (time) => [
	new Chart({
		name: 'Rate', note: 'final outcomes per second; the band spans the extremes', time,
		series: [
			line('now', 'sent', '', perSecond), line('overall', 'plan', 'dashed', perSecond),
			...['low', 'high'].map((name) => line(name, 'band', '', perSecond, { width: 0, swatch: 'area' })),
		],
		bands: [{ series: [4, 3], fill: () => colour('band') }],
		columns: ({ history: { elapsed_s: times, sent, failed, ...rates } }) => [times, rates.rate_per_s,
			times.map((at, i) => (at > 0 ? (sent[i] + failed[i]) / at : 0)), rates.rate_min_per_s, rates.rate_max_per_s],
	}),
	new Chart({
		name: 'Failed, retried, duplicates', note: 'per second', time,
		series: [
			line('failed', 'failed', '', perSecond), line('retried', 'sent', 'dashed', perSecond),
			line('duplicates', 'ink', 'dotted', perSecond),
		],
		columns: ({ history }) => [history.elapsed_s, ...COURSES.slice(2, 5).map((name) =>
			history[name].map((_, i) => growth(history, [name], i)))],
	}),
];

function histogram() {
	let [bounds, counts] = [[], []];
	const about = (i) => setting(rounded(bounds[i] || 0, 3));
	return new Chart({
		name: 'Latency histogram', note: 'from queued to final outcome; logarithmic bounds', xName: 'latency',
		series: [line('messages', 'sent', '', count,
			{ swatch: 'area', fill: 'band', width: 1, paths: uPlot.paths.bars({ size: [0.9, 60] }) })],
		columns: ({ data }) => {
			({ bounds_s: bounds, counts } = data.latency);
			return [counts.map((one, i) => i), counts];
		},
		rest: () => counts.indexOf(Math.max(...counts)),
		xRange: () => [-0.6, Math.max(1, counts.length) - 0.4],
		xText: (i) => (i < bounds.length ? `${i ? `${about(i - 1)} to` : 'up to'} ${about(i)}` : `above ${about(i - 1)}`),
		xAxis: {
			values: each((at) => setting(rounded(bounds[at - 0.5], 2))),
			splits: ({ bbox }) => {
				const every = Math.ceil((bounds.length * 60 * uPlot.pxRatio) / bbox.width) || 1;
				return bounds.map((bound, i) => i + 0.5).filter((at, i) => i % every === every >> 1);
			},
		},
	});
}

function spectrum() {
	let points = [];
	const place = (percent) => 1 / (1 - percent / 100);
	const nines = [0, 90, 99, 99.9, 99.99];
	return new Chart({
		name: 'Percentiles', note: 'the latency that this share of messages does not exceed', xName: 'percentile',
		series: [
			line('latency', 'sent', '', seconds, { width: 2.25 }),
			line('highest', 'paper', '', () => seconds(last(points)?.[1]), { draw: false }),
		],
		columns: ({ data }) => {
			points = data.spectrum.filter((point) => isKnown(point[1]));
			const shown = points.filter(([percent]) => percent < 99.995);
			return [shown.map(([percent]) => place(percent)), shown.map((point) => point[1])];
		},
		scales: { x: { time: false, distr: 3, range: () => [1, 12000] } }, axes: [yAxis(setting)],
		xText: (x) => `${rounded(100 * (1 - 1 / x), 6)}%`,
		xAxis: {
			splits: () => nines.map(place), filter: (plotter, splits) => splits,
			values: () => nines.map((percent) => `${percent}%`),
			grid: ruled('grid'),
		},
	});
}

const latencyCharts = (time) => [histogram(), spectrum(), new Chart({
	name: 'Latency so far', note: 'percentiles of all messages until then', time, axes: [yAxis(setting)],
	series: [
		line('p50', 'sent', '', seconds), line('p95', 'sent', 'dashed', seconds), line('p99', 'failed', 'dotted', seconds),
	],
	columns: ({ history }) => ['elapsed_s', ...COURSES.slice(5)].map((name) => history[name]),
})];
