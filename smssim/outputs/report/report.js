// What only reports draw: plans, and comparisons of several documents.
const TONES = ['sent', 'failed', 'good', 'goal', 'ink', 'warn', 'bad', 'soft'];
const LINES = ['', 'dashed', 'dotted'];

function range(value, says) {
	if (!isKnown(value?.median)) return 'never';
	const [low, high] = [value.low, value.high].map((one) => (isKnown(one) ? says(one) : 'never'));
	return low === high ? says(value.median) : `${says(value.median)} (${low}–${high})`;
}

function planHead() {
	const [verdict, figures] = [verdictLine(), pairs('figures')];
	const update = ({ data: { forecast, verdict: given } }) => {
		const isMissed = forecast.goals.some((goal) => !goal.passed);
		const words = isMissed ? 'A goal is likely to be missed' : 'As wanted';
		verdict.update(isMissed ? 'missed' : 'complete', given ? clean(given.text) : words, '',
			range(forecast.complete_s, clock), 'until complete');
		const rare = Object.entries({ unreachable: count, cost: money }).filter(([name]) => forecast[name]?.high);
		figures.fill([
			...['sent', 'failed', 'retried', 'duplicates'].map((name) => [name, range(forecast[name], count)]),
			...rare.map(([name, says]) => [name, range(forecast[name], says)]),
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
		bands: [{ series: [3, 2], fill: () => colour('band') }],
		scales: { y: { range: () => [0, (total() || 1) * 1.02] } }, axes: [yAxis(count), shareAxis(total)],
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
		const theory = forecast.theory?.valid ? forecast.theory : null;
		show(chart.element, plan);
		if (plan) {
			time.end = last(plan.times_s);
			chart.update(model);
		}
		const cell = ({ low, median, high } = {}) => spread({ low_s: low, median_s: median, high_s: high });
		const some = forecast.unreachable?.high && forecast.reached_reachable_s;
		const heads = ['share', 'plan', ...(some ? ['reachable'] : []), ...(theory ? ['theory'] : [])];
		times.fill(heads, [...PERCENTS, 'complete'].map((key) => {
			const isLast = key === 'complete';
			const inTheory = theory && clock(isLast ? theory.complete_s : theory.reached_s[key]);
			return [isLast ? key : `${key}% sent`, cell(isLast ? forecast.complete_s : forecast.reached_s[key]),
				...(some ? [isLast ? '' : cell(some[key])] : []), ...(theory ? [inTheory] : [])];
		}));
		goals.fill(['goal', 'state', 'probability'], forecast.goals.map((goal) =>
			[clean(goal.goal), OUTCOMES[Number(goal.passed)], percent(goal.probability)]));
		senders.fill(['sender', 'sent', 'failed', 'busy'], forecast.senders.slice(0, 100).map((one) =>
			[clean(one.name), count(one.sent), count(one.failed), percent(one.busy)]));
		const { find, theory: formulas } = forecast;
		const found = find && (isKnown(find.value) ? `${find.value} is enough (${percent(find.probability)})` : clean(find.why));
		write(note, [
			formulas && !theory && `Formulas do not apply: ${clean(formulas.why)}.`,
			find && `${clean(find.setting)}: ${found}.`,
		].filter(Boolean).join(' '));
	};
	return { element, update };
}

const planParts = (time) => [planHead(), planCourse(time), about()];

// ---- Comparison

// The tables of the content without scripts say it already: they are moved into sections.
function kept(id, title) {
	const content = document.getElementById(id);
	return content && section(title, [], make('div.wide', scroll(title, content)));
}

// Without a course, the few times that are known of a run, with straight lines between them.
function courseOf({ kind, plan, history, progress, forecast }) {
	const { total } = progress || forecast;
	const { times_s: planned, elapsed_s: elapsed, sent } = (kind === 'plan' ? plan : history) || {};
	const times = planned || elapsed || [];
	if (times.length > 1) return { times, sent, total: total || 1 };
	const reached = progress ? progress.reached_s || {} : forecast.reached_s;
	const ends = progress ? [progress.elapsed_s, progress.sent] : [forecast.complete_s.median, forecast.sent.median];
	const points = [[0, 0], ...PERCENTS.map((one) => [reached[one]?.median ?? reached[one], (total * one) / 100]), ends];
	const known = points.filter(([at]) => isKnown(at));
	return { times: known.map(([at]) => at), sent: known.map(([, count]) => count), total: total || 1 };
}

function overlay(runs) {
	const names = runs.map((run, i) => `${i + 1} ${clean(run.title, 40)}`);
	const courses = runs.map(courseOf);
	const end = Math.max(1e-3, ...courses.map(({ times }) => last(times) || 0));
	const times = Array.from({ length: 601 }, (_, i) => (i * end) / 600);
	const columns = [times, ...courses.map((course, i) => times.map((at) => {
		const isAway = runs[i].gaps?.some((gap) => at > gap.from_s && at < gap.to_s);
		const value = isAway ? null : valueAt(course.times, course.sent, at);
		return value === null ? null : value / course.total;
	}))];
	const time = new TimeAxis();
	time.end = end;
	const chart = new Chart({
		name: 'Share of all messages sent', note: 'from the start of each run', tall: true, time, end: () => end,
		columns: () => columns,
		series: names.map((name, i) => line(name, TONES[i], LINES[i % 3], percent, { width: 2 })),
		scales: { y: { range: () => [0, 1.02] } }, axes: [yAxis(percent), shareAxis(() => 1)],
	});
	return { chart, element: section('Sent over time', time.buttons, chart.element) };
}

function comparison(root, runs) {
	const { chart, element } = overlay(runs);
	const closed = runs.map((run, i) => {
		const inside = make('div');
		const toggle = () => inside.firstChild || draw(inside, run);
		return make('details.run', { name: 'run', toggle }, make('summary', `${i + 1} ${clean(run.title, 40)}`), inside);
	});
	root.replaceChildren(...[root.querySelector('h1'), kept('runs', 'Runs'), element, kept('differences', 'Differences'),
		kept('seeds', 'Equal by seed?'), ...closed].filter(Boolean));
	chart.update({ gaps: [], stalls: [], events: [] });
}

const views = [];
function draw(root, run) {
	const view = viewIn(root, run.kind === 'plan' ? planParts : runParts);
	view.show(run);
	views.push(view);
	return view;
}

// On paper everything is drawn, and on white.
for (const type of ['beforeprint', 'afterprint']) {
	addEventListener(type, () => {
		document.documentElement.classList.toggle('printing', type === 'beforeprint');
		views.forEach((view) => view.refresh());
		repaint();
	});
}

// Draw a report from its data: one document, or the comparison of several.
smssim.report = ({ runs }) => {
	const root = document.getElementById('app');
	if (runs.length > 1) return comparison(root, runs);
	const ceiling = document.getElementById('ceiling');
	const view = draw(root, runs[0]);
	if (ceiling) root.querySelector('.with-aside > div:last-child').append(ceiling);
	return view;
};
