// A document on the page. What is in sight is drawn at once, the rest later.
const EVENTS_MAX = 100;

function eventList() {
	const [list, note] = [table('Events'), make('p.note')];
	list.element.classList.add('words');
	const element = section('Events', [], scroll('Events', list.element), note);
	const update = ({ events }) => {
		list.fill(['time', 'kind', 'event'], events.slice(-EVENTS_MAX).map(({ at_s: at, kind, text }) =>
			[clock(at), `${shapeOf(kind)} ${clean(kind, 20)}`, clean(text)]));
		write(note, events.length > EVENTS_MAX ? `The last ${EVENTS_MAX} of ${count(events.length)} events.` : '');
		show(element, events.length);
	};
	return { element, update };
}

function about() {
	const list = pairs('about');
	const update = ({ data, progress }) => list.fill([
		['command', data.command], ['run', progress.run_id],
		['began', (data.began || '').replace('T', ' ').replace('Z', ' UTC')],
		['seed', data.seed], ['attempts at most', data.max_attempts], ['smssim', data.smssim],
	].filter(([, value]) => value || value === 0).map(([name, value]) => [name, clean(value, 2000)]));
	return { element: section('About', [], list.element), update };
}

const chartsOf = (title, parts) =>
	({ element: section(title, [], make('div.charts', ...parts.map((part) => part.element))), parts });

const runParts = (time) => [
	headPart(), progressPart(time), chartsOf('Rates', rateCharts(time)), sendersPart(),
	chartsOf('Senders over time', [heatPart(time)]), chartsOf('Latency', latencyCharts(time)), eventList(), about(),
];

// Make a view in an element: show(document), frame(frame), refresh().
const viewIn = (root, partsOf) => {
	const [model, time] = [new Model(), new TimeAxis()];
	const made = partsOf(time);
	const parts = made.flatMap((one) => one.parts || [one]);
	let [queue, spoken] = [[], {}];
	const [heading, told] = [make('h1'), make('p.unseen', { id: 'told', role: 'status' })];
	const watch = new IntersectionObserver((entries) => entries.forEach(({ target, isIntersecting }) => {
		const part = parts.find((one) => one.element === target);
		part.isSeen = isIntersecting;
		if (isIntersecting && model.data) later([part, ...queue]);
	}), { rootMargin: '100px' });
	parts.forEach((part) => watch.observe(part.element));

	function refresh(part) {
		if (part.isStale) part.update(model);
		part.isStale = false;
	}

	// Draw these parts, each in a task of its own.
	function later(wanted) {
		if (!queue.length) setTimeout(work);
		queue = wanted;
	}
	function work() {
		if (queue.length) refresh(queue.shift());
		if (queue.length) setTimeout(work);
	}

	// Speak at steps of 10%, of stalls, and at the end.
	function say() {
		const { data: { stall, verdict: { text } }, total, done, isFinal } = model;
		const now = { tenth: total && Math.floor((10 * done) / total), stall: Boolean(stall), isFinal };
		let words = now.tenth !== spoken.tenth ? `${10 * now.tenth}% done. ${text}` : '';
		if (now.stall && !spoken.stall) words = stall;
		if (isFinal && !spoken.isFinal) words = `${text}: ${share(done, total)} after ${clock(model.elapsed)}`;
		if (words) write(told, clean(words));
		spoken = now;
	}

	function draw(isAll) {
		parts.forEach((part, i) => {
			part.isStale = true;
			if (i === 0 || (part.isSeen && !isAll)) refresh(part);
		});
		if (model.progress.run_id) say();
		if (isAll) later([...parts]);
	}

	return {
		model, time,
		show(data) {
			if (!model.data) root.replaceChildren(heading, ...made.map((one) => one.element), told);
			else if (data.progress.run_id !== model.progress.run_id) {
				time.zoom(null);
				spoken = {};
			}
			model.show(data);
			write(heading, clean(data.title || 'Run', 120));
			draw(true);
		},
		frame(frame) {
			const isWhole = model.frame(frame);
			draw(model.isFinal);
			return isWhole;
		},
		refresh: () => parts.forEach(refresh),
	};
};
