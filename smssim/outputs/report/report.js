// What only reports draw: plans, and comparisons of several documents.
(() => {
'use strict';
const {
	make, write, show, table, pairs, section, marks, yAxis, Chart, isKnown, clean, count, plural, clock, seconds,
		perSecond, percent, tenths, share, change,
	 line, spread, valueAt, last, PERCENTS,
} = smssim;
const TONES = ['sent', 'failed', 'good', 'goal', 'ink', 'warn', 'bad', 'soft'];
const DASHES = ['', 'dashed', 'dotted'];

const range = (value, says) => (value && isKnown(value.median)
	? `${says(value.median)} (${says(value.low)}–${says(value.high)})` : 'never');

function planHead() {
	const [verdict, figures] = [smssim.verdict(), pairs('figures')];
	const update = ({ data: { forecast, verdict: given } }) => {
		const isMissed = forecast.goals.some((goal) => !goal.passed);
		const words = isMissed ? 'A goal is likely to be missed' : 'As wanted';
		verdict.update(isMissed ? 'missed' : 'complete', given ? clean(given.text) : words, '',
			 range(forecast.complete_s, clock), 'until complete');
		figures.fill([
			...['sent', 'failed', 'retried', 'duplicates'].map((name) => [name, range(forecast[name], count)]),
			['rate', range(forecast.rate_per_s, perSecond)],
			['messages', count(forecast.total)], ['sent in the end', percent(forecast.ceiling)],
			['seeds', count(forecast.seeds)], ['scale', count(forecast.scale)],
		]);
	};
	return { element: make('section.card.head', { 'aria-label': 'Verdict' }, verdict.element, figures.element), update };
}

function planCourse(time) {
	const total = () => chart.model.data.forecast.total;
	const part = (value) => `${count(value)} (${share(value, total())})`;
	const area = { swatch: 'area', width: 0 };
	const chart = new Chart({
		name: 'Messages sent over time, as planned', note: 'median, and the middle 95% of plays', tall: true, time,
		end: () => time.end,
		columns: ({ data: { plan } }) => [plan.times_s, plan.sent, plan.sent_low, plan.sent_high],
		series: [line('sent', 'sent', '', part), ...['low', 'high'].map((name) => line(name, 'band', '', part, area))],
		bands: [{ series: [3, 2], fill: () => smssim.colour('band') }],
		scales: { y: { range: () => [0, (total() || 1) * 1.02] } }, axes: [yAxis(count), smssim.shareAxis(total)],
		over: (plotter, { data }) => {
			marks.goals(plotter, data.goals, total());
			const reached = PERCENTS.map((one) => [one, (data.forecast.reached_s[one] || {}).median]);
			marks.milestones(plotter, Object.fromEntries(reached), total());
		},
	});
	const [times, goals, senders] = ['When shares of all messages are sent', 'Goals', 'Senders'].map(table);
	const note = make('p.note');
	const aside = make('div', times.element, goals.element, senders.element, note);
	const element = section('Course', time.buttons, make('div.with-aside', chart.element, aside));
	const update = (model) => {
		const { forecast, plan } = model.data;
		const theory = forecast.theory && forecast.theory.valid ? forecast.theory : null;
		show(chart.element, plan);
		if (plan) {
			time.end = last(plan.times_s);
			chart.update(model);
		}
		times.fill(['share', 'plan', ...(theory ? ['theory'] : [])], [...PERCENTS, 'complete'].map((key) => {
			const isLast = key === 'complete';
			const { low, median, high } = (isLast ? forecast.complete_s : forecast.reached_s[key]) || {};
			const cell = spread({ low_s: low, median_s: median, high_s: high });
			const inTheory = theory && clock(isLast ? theory.complete_s : theory.reached_s[key]);
			return [isLast ? key : `${key}% sent`, cell, ...(theory ? [inTheory] : [])];
		}));
		goals.fill(['goal', 'state', 'probability'], forecast.goals.map((goal) =>
			[clean(goal.goal), smssim.OUTCOMES[Number(goal.passed)], percent(goal.probability)]));
		senders.fill(['sender', 'sent', 'failed', 'busy'], forecast.senders.slice(0, 100).map((one) =>
			[clean(one.name), count(one.sent), count(one.failed), percent(one.busy)]));
		const { find } = forecast;
		write(note, [
			forecast.theory && !theory && `Theory does not apply: ${clean(forecast.theory.why)}.`,
			find && `${clean(find.setting)}: ${isKnown(find.value) ? `${find.value} is enough (${percent(find.probability)})`
				: clean(find.why)}.`,
		].filter(Boolean).join(' '));
	};
	return { element, update, destroy: () => chart.destroy() };
}

smssim.planParts = (time) => [planHead(), planCourse(time), smssim.about()];

// ---- Comparison

const METRICS = [
	['complete_s', 'complete after', clock],
	...['sent', 'failed', 'attempts', 'retried', 'duplicates'].map((name) => [name, name, count]),
	['rate_per_s', 'rate', perSecond], ...PERCENTS.map((one) => [one, `${one}% sent after`, clock]),
	['avg_time_s', 'average time', seconds],
	...[50, 95, 99].map((one) => [`latency_p${one}_s`, `latency p${one}`, seconds]),
];

// The figures of a run, or the medians of a plan.
function figuresOf({ kind, progress, reached_s: reached, forecast }) {
	const complete_s = kind !== 'plan' && progress.complete ? progress.elapsed_s : null;
	if (kind !== 'plan') return { ...progress, ...progress.reached_s, ...reached, complete_s };
	const all = Object.entries({ ...forecast, ...forecast.reached_s });
	return Object.fromEntries(all.map(([name, value]) => [name,
		value && value.median !== undefined ? value.median : value]));
}

function difference(value, base, says) {
	if (!isKnown(value) || !isKnown(base)) return null;
	return value === base ? 'equal' : change(value - base, says) + (base ? ` (${change(value / base - 1, tenths)})` : '');
}

function comparison(root, { runs, comparison: given }) {
	const all = runs.map(figuresOf);
	const names = runs.map((run, i) => `${i + 1} ${clean(run.title, 40)}`);
	const courses = runs.map(({ kind, plan, history }) => (kind === 'plan' ? plan : history) || { times_s: [], sent: [] })
		.map(({ times_s, elapsed_s, sent }) => ({ times: times_s || elapsed_s, sent }));
	const end = Math.max(1e-3, ...courses.map(({ times }) => last(times) || 0));
	const times = Array.from({ length: 601 }, (_, i) => (i * end) / 600);
	const columns = [times, ...courses.map((course, i) => times.map((at) => {
		const isAway = (runs[i].gaps || []).some((gap) => at > gap.from_s && at < gap.to_s);
		const value = isAway ? null : valueAt(course.times, course.sent, at);
		return value === null ? null : value / (all[i].total || 1);
	}))];
	const time = new smssim.TimeAxis();
	time.end = end;
	const chart = new Chart({
		name: 'Share of all messages sent', note: 'from the start of each run', tall: true, time, end: () => end,
		columns: () => columns,
		series: names.map((name, i) => line(name, TONES[i], DASHES[i % 3], percent, { width: 2 })),
		scales: { y: { range: () => [0, 1.02] } }, axes: [yAxis(percent), smssim.shareAxis(() => 1)],
	});
	const list = table('Differences');
	list.fill(['figure', ...names], METRICS.map(([key, name, says]) =>
		[name, ...all.map((one, i) => ({ text: says(one[key]), small: i && difference(one[key], all[0][key], says) }))]));
	const closed = runs.map((run, i) => {
		const inside = make('div');
		let view = null;
		const toggle = ({ target }) => {
			if (view) view.destroy();
			inside.replaceChildren();
			view = target.open ? smssim.view(inside) : null;
			if (view) view.show(run);
		};
		return make('details.run', { name: 'run', toggle }, make('summary', names[i]), inside);
	});
	root.replaceChildren(make('h1', `Comparison of ${plural(runs.length, 'run')}`),
		make('p', { hidden: !given || !given.text || '' }, clean((given || {}).text)),
		section('Progress', time.buttons, chart.element),
		section('Differences', make('p.note', 'from the first one'), smssim.scroll('Differences', list.element)), ...closed);
	chart.update({ gaps: [], stalls: [], events: [] });
}

// Draw a report from its data: one document, or the comparison of several.
smssim.report = (data) => {
	const root = document.getElementById('app');
	if (data.runs.length > 1) return comparison(root, data);
	const view = smssim.view(root);
	view.show(data.runs[0]);
	return view;
};
})();
