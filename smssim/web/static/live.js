// The live page: which run is shown, its stream, and how old the figures are. The stream is closed while the page is
// hidden; after any break the whole document is fetched.
const [STALE_MS, RETRY_MS, FETCH_MS, SILENT_MS] = [3000, 2000, 5000, 15000];

const live = () => {
	const [status, save, choice, app] = ['live', 'save', 'run', 'app'].map((id) => document.getElementById(id));
	const view = viewIn(app, runParts);
	let run = new URLSearchParams(location.search).get('run');
	let [source, retry, heard, fetched, over, connected, turn] = [null, null, 0, 0, null, false, 0];
	const at = (path) => `/api/${path}?run=${encodeURIComponent(run)}`;

	function tell() {
		const old = `${Math.floor((Date.now() - heard) / 1000)} s old`;
		const { data, done, total, progress } = view.model;
		let [kind, words] = !progress.run_id || Date.now() - heard < STALE_MS ? ['live', 'live'] : ['old', old];
		if (!connected) [kind, words] = ['wait', heard ? `reconnecting · ${old}` : 'connecting'];
		if (over !== null) [kind, words] = ['over', over];
		attribute(status, 'data-state', kind);
		write(status, words);
		if (data) document.title = `${total ? share(done, total) : ''} ${clean(data.title, 60)} – smssim`;
	}

	async function answer(path) {
		const got = await fetch(path, { cache: 'no-store', signal: AbortSignal.timeout(SILENT_MS) });
		if (!got.ok) throw new Error(got.status);
		return got;
	}

	async function load(mine = turn) {
		fetched = Date.now();
		const data = await (await answer(at('state'))).json();
		if (mine !== turn) return;
		view.show(data);
		heard = Date.now();
		if (!data.progress.run_id) fetched = 0;
		document.body.classList.toggle('empty', !fetched);
		if (data.progress.final && over === null) await finish();
		tell();
	}

	// Keep the report: the server may end.
	async function finish() {
		over = 'ended';
		close();
		try {
			const report = await (await answer(at('report'))).blob();
			if (save.href.startsWith('blob:')) URL.revokeObjectURL(save.href);
			save.href = URL.createObjectURL(report);
			save.download = `${(view.model.data.title || 'run').replace(/[^\w.-]+/g, '-').slice(0, 60)}.html`;
			await choose();
		} catch { /* the link to the server stays */ }
	}

	function close() {
		if (source) source.close();
		clearTimeout(retry);
		source = retry = null;
	}

	function onFrame({ data }) {
		const frame = JSON.parse(data);
		heard = Date.now();
		connected = true;
		const isWhole = view.frame(frame);
		tell();
		if (frame.progress.final) {
			finish().then(() => load()).catch(() => {}).then(tell);
		} else if (!isWhole && Date.now() - fetched > FETCH_MS) load().catch(() => {});
	}

	// Fetch the document and follow the stream; try again if that fails.
	async function connect() {
		close();
		const mine = ++turn;
		const again = () => {
			if (mine !== turn) return;
			connected = false;
			close();
			tell();
			if (over === null && !document.hidden) retry = setTimeout(connect, RETRY_MS);
		};
		try {
			await choose();
			save.href = at('report');
			await load(mine);
			if (mine !== turn || over !== null || document.hidden) return;
			connected = true;
			source = new EventSource(at('events'));
			source.addEventListener('frame', onFrame);
			source.addEventListener('over', ({ data }) => {
				const { reason } = JSON.parse(data);
				over ??= `monitor ended${reason ? `: ${clean(reason, 80)}` : ''}`;
				close();
				tell();
			});
			source.onerror = again;
		} catch ({ message }) {
			if (message === '404') run = null; // a new monitor
			again();
		}
		tell();
	}

	// The runs of this server; first the newest that runs.
	async function choose() {
		const runs = await (await answer('/api/runs')).json();
		const newest = [...runs].reverse();
		run ??= (newest.find((one) => one.state === 'running') || newest[0])?.run_id || '';
		fit(choice, runs.length, () => make('option'));
		runs.forEach((one, i) => {
			choice.children[i].value = one.run_id;
			const name = clean(one.title || one.run_id, 40);
			write(choice.children[i], `${name} · ${clean(one.state, 20)} · ${plural(one.total, 'message')}`);
		});
		choice.value = run;
		show(choice.parentElement, runs.length > 1);
	}

	choice.addEventListener('change', () => {
		[run, over, heard] = [choice.value, null, 0];
		connect();
	});
	document.addEventListener('visibilitychange', () => {
		if (over !== null) return;
		if (document.hidden) {
			turn++;
			close();
		} else connect();
	});
	setInterval(() => {
		tell();
		if (source && Date.now() - heard > SILENT_MS) connect(); // the network may be dead
	}, 1000);
	connect();
	return view;
};
smssim.page = live();
