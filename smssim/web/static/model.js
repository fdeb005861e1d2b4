// One run as the page holds it: a document replaces it, a frame moves it on by one point. It is bounded.
// Knows the formats of documents and frames, and no elements.
const [POINTS_MAX, STEPS_MAX, MISSED_S] = [4096, 1024, 5];
const RATES = ['rate_per_s', 'rate_min_per_s', 'rate_max_per_s'];
const COURSES = ['elapsed_s', 'sent', 'failed', 'retried', 'duplicates', 'latency_p50_s', 'latency_p95_s',
	'latency_p99_s'];
// Which state stands for several: the last of them in this order.
const ORDER = '-ew9876543210x';
const weights = Uint8Array.from({ length: 128 }, (_, code) => ORDER.indexOf(String.fromCharCode(code)) + 1);
const worse = (one, other) => (weights[one] < weights[other] ? other : one);
const codesAt = (senders, textOf, step) => Uint8Array.from(senders,
	(_, i) => (textOf(i) || '').charCodeAt(step) & 127 || 45);
const last = (list) => list[list.length - 1];

// By how much columns grow per second, together, since the point before.
function growth({ elapsed_s: times, ...history }, names, i) {
	const [passed, ...grown] = [times, ...names.map((name) => history[name])].map((one) => one[i] - (i && one[i - 1]));
	return passed > 0 ? Math.max(0, grown.reduce((all, one) => all + one)) / passed : 0;
}
const rateAt = (history, i) => growth(history, ['sent', 'failed'], i);

// Merge neighbours: what the later one says, and the extremes of both.
function mergeHistory(history) {
	for (const [name, column] of Object.entries(history)) {
		const choose = { rate_min_per_s: Math.min, rate_max_per_s: Math.max }[name] || ((first, second) => second);
		for (let i = 0; i < column.length >> 1; i++) column[i] = choose(column[2 * i], column[2 * i + 1]);
		column.length >>= 1;
	}
	history.rate_per_s = history.elapsed_s.map((_, i) => rateAt(history, i));
}

function mergeHeat(heat) {
	const [{ columns, times }, half] = [heat, heat.times.length >> 1];
	const merge = (first, second) => first.map((state, at) => worse(state, second[at]));
	heat.columns = columns.slice(0, half).map((_, i) => merge(columns[2 * i], columns[2 * i + 1]));
	heat.times = times.slice(0, half).map((_, i) => times[2 * i + 1]);
}

class Model {
	progress = {};
	show(data) {
		const { progress = {}, events = [], stalls = [], gaps = [], heat, senders } = data;
		Object.assign(this, { data, progress, events, stalls, gaps });
		this.history = Object.fromEntries([...COURSES, ...RATES].map((name) => [name, [...(data.history?.[name] || [])]]));
		this.senders = senders || { name: [], state: '', group: [], groups: [] };
		this.names = this.senders.name.map((name) => clean(name).trim() || '(no name)');
		const { from_s: from = 0, times_s: times = [], rows = [] } = heat || {};
		// The heat map by steps: of each sender, the code of its state.
		const columns = times.map((_, step) => codesAt(this.senders.name, (i) => rows[i], step));
		this.heat = { from, times: [...times], columns };
	}

	get total() { return this.progress.total || 0; }
	get done() { return (this.progress.sent || 0) + (this.progress.failed || 0); }
	get elapsed() { return this.progress.elapsed_s || 0; }
	get isFinal() { return Boolean(this.progress.final); }

	// Move on by a frame. Return whether nothing is missing; else fetch the document again.
	frame({ version, stalls = [], senders, heat, events, ...rest }) {
		if (rest.progress.elapsed_s < this.elapsed && !rest.progress.final) return true; // older than the document
		const missed = rest.progress.elapsed_s - this.elapsed > MISSED_S;
		Object.assign(this.data, rest);
		this.progress = rest.progress;
		this.stalls = [...this.stalls.filter((one) => !stalls.some((other) => other.from_s === one.from_s)), ...stalls];
		this.addPoint();
		const isWhole = [!senders || this.addSenders(senders, heat), !events || this.addEvents(events)].every(Boolean);
		return isWhole && !missed && version === this.data.static_version;
	}

	// Add a point, or replace the last at the same time.
	addPoint() {
		const { history, elapsed } = this;
		const { length } = history.elapsed_s;
		const isNew = !(elapsed <= last(history.elapsed_s));
		const place = isNew ? length : length - 1;
		for (const name of COURSES) history[name][place] = this.progress[name] ?? null;
		if (isNew) for (const name of RATES) history[name][place] = rateAt(history, place);
		if (place >= POINTS_MAX) mergeHistory(history);
	}

	addSenders(senders, step) {
		const { times, columns, from } = this.heat;
		if (senders.state.length !== this.senders.name.length) return false;
		Object.assign(this.senders, senders);
		if (step && this.elapsed > (last(times) ?? from)) {
			times.push(this.elapsed);
			columns.push(codesAt(this.senders.name, (i) => step[i], 0));
			if (times.length > STEPS_MAX) mergeHeat(this.heat);
		}
		return true;
	}

	addEvents({ latest, count }) {
		const mine = new Set(this.events.slice(-50).map((event) => JSON.stringify(event)));
		const fresh = latest.filter((event) => !mine.has(JSON.stringify(event)));
		if (fresh.length) this.events = [...this.events, ...fresh].sort((one, other) => one.at_s - other.at_s);
		return this.events.length === count;
	}

	happening(time, tolerance) {
		const within = (one) => time >= one.from_s && time <= (one.to_s ?? Infinity);
		return [
			...this.stalls.filter(within).map((stall) => `stalled: ${clean(stall.reason)}`),
			...this.gaps.filter(within).map(() => 'no record: the monitor was away'),
			...this.events.filter((event) => Math.abs(event.at_s - time) <= tolerance).slice(0, 3)
				.map((event) => `${clock(event.at_s)} ${clean(event.text)}`),
		].join(' · ');
	}
}
