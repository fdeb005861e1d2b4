// Whole documents on the page: a run, a plan, or a comparison of several. Draws what is in sight; the rest follows when
// it comes into sight, or when nothing else is to do.
(() => {
'use strict';
const {
  make, write, show, table, marks, yAxis, Chart, isKnown, clean, count, plural, clock, seconds, perSecond, percent, share, change, setting,
  section, line, spread, valueAt, PERCENTS,
} = smssim;
const EVENTS_SHOWN = 40;
const RUN_COLOURS = ['sent', 'failed', 'run-3', 'run-4', 'run-5', 'run-6', 'run-7', 'run-8'];

// ---- A run

function eventList() {
  let [model, isLong] = [null, false];
  const list = table('Events');
  const more = smssim.button('', () => {
    isLong = !isLong;
    update(model);
  });
  const { element, tools } = section('Events', list.element);
  tools.append(more);
  function update(latest) {
    model = latest;
    const { events } = model;
    const shown = isLong ? events : events.slice(-EVENTS_SHOWN);
    list.fill(['time', '', 'event'], shown.map(({ at_s: at, kind, text }) => [clock(at), `${marks.shapeOf(kind)} ${clean(kind, 20)}`, clean(text)]));
    show(more, events.length > EVENTS_SHOWN);
    write(more, isLong ? `Only the last ${EVENTS_SHOWN}` : `All ${count(events.length)} events`);
    show(element, events.length);
  }
  return { element, update };
}

function about() {
  const list = make('dl.about');
  const { element } = section('About', list);
  const update = ({ data, progress }) => {
    const rows = [
      ['command', data.command], ['run', progress.run_id], ['began', (data.began || '').replace('T', ' ').replace(/Z$/, ' UTC')],
      ['seed', data.seed], ['attempts at most', data.max_attempts], ['smssim', data.smssim],
    ].filter(([, value]) => value || value === 0);
    smssim.fit(list, rows.length, () => make('div', make('dt'), make('dd')));
    rows.forEach((row, i) => row.forEach((text, at) => write(list.children[i].children[at], clean(text, 2000))));
  };
  return { element, update };
}

// Several parts that are updated one by one, as one section.
function together(title, parts) {
  const { element } = section(title, make('div.charts', ...parts.map((part) => part.element)));
  return { element, parts };
}

function runParts(time) {
  return [
    smssim.head(), smssim.progress(time), together('Rates', smssim.rates(time)), smssim.senders(),
    together('Senders over time', [smssim.heat(time)]), together('Latency', smssim.latencies(time)), eventList(), about(),
  ];
}

// ---- A plan

const range = (value, says) => (value && isKnown(value.median) ? `${says(value.median)} (${says(value.low)}–${says(value.high)})` : 'never');
const asTime = (value) => spread(value ? { low_s: value.low, median_s: value.median, high_s: value.high } : {});

function planHead() {
  const list = make('dl.figures');
  const [text, mark] = [make('b'), make('span.mark')];
  const head = make('div.verdict', { id: 'verdict' }, mark, make('div', text));
  const update = ({ data: { forecast, verdict } }) => {
    const missed = forecast.goals.filter((goal) => !goal.passed).length;
    write(mark, missed ? '✕' : '✓');
    smssim.attribute(head, 'data-tone', missed ? 'bad' : 'good');
    write(text, verdict ? clean(verdict.text) : `Plan: complete after ${range(forecast.complete_s, clock)}`);
    const figures = [
      ['messages', count(forecast.total)], ['sent', range(forecast.sent, count)], ['failed', range(forecast.failed, count)],
      ['retried', range(forecast.retried, count)], ['duplicates', range(forecast.duplicates, count)],
      ['rate', range(forecast.rate_per_s, perSecond)], ['sent in the end', percent(forecast.ceiling)], ['seeds played', count(forecast.seeds)],
      ['scale', `1 : ${count(forecast.scale)}`],
    ];
    smssim.fit(list, figures.length, () => make('div', make('dt'), make('dd')));
    figures.forEach((row, i) => row.forEach((said, at) => write(list.children[i].children[at], said)));
  };
  return { element: make('section.card.head', { 'aria-label': 'Verdict' }, head, list), update };
}

function planCourse(time) {
  const total = () => chart.model.data.forecast.total;
  const part = (value) => `${count(value)} (${share(value, total())})`;
  const chart = new Chart({
    name: 'Messages sent over time, as planned', note: 'median, and the middle 95% of plays', tall: true, time,
    end: ({ data: { plan } }) => plan.times_s[plan.times_s.length - 1],
    columns: ({ data: { plan } }) => [plan.times_s, plan.sent, plan.sent_low, plan.sent_high],
    series: [line('sent', 'sent', 'solid', part), line('low', 'band', 'solid', part), line('high', 'band', 'solid', part)],
    bands: [{ series: [3, 2], fill: () => smssim.colour('band') }],
    scales: { y: { range: () => [0, (total() || 1) * 1.02] } }, axes: [yAxis(smssim.compact), smssim.shareAxis(() => total())],
    over: (plotter, { data }) => {
      marks.goals(plotter, data.goals, total());
      marks.milestones(plotter, Object.fromEntries(PERCENTS.map((one) => [one, (data.forecast.reached_s[one] || {}).median])), total());
    },
  });
  const tables = [table('When shares of all messages are sent'), table('Goals'), table('Senders')];
  const why = make('p.note');
  const { element, tools } = section('Course', make('div.with-aside', chart.element, make('div', ...tables.map((one) => one.element), why)));
  tools.append(time.buttons);
  const update = (model) => {
    const { forecast, plan } = model.data;
    const { theory, find } = forecast;
    if (plan) {
      time.end = plan.times_s[plan.times_s.length - 1];
      chart.update(model);
    }
    const isValid = theory && theory.valid;
    const all = { ...forecast.reached_s, complete: forecast.complete_s };
    const inTheory = { ...(theory || {}).reached_s, complete: (theory || {}).complete_s };
    tables[0].fill(['', 'plan', ...(isValid ? ['theory'] : [])], [...PERCENTS, 'complete'].map((key) =>
      [isKnown(key) ? `${key}% sent` : key, asTime(all[key]), ...(isValid ? [clock(inTheory[key])] : [])]));
    tables[1].fill(['goal', '', 'probability'], forecast.goals.map((goal) => [clean(goal.goal), smssim.OUTCOMES[Number(goal.passed)], percent(goal.probability)]));
    tables[2].fill(['sender', 'sent', 'failed', 'busy'], forecast.senders.slice(0, 100).map((one) =>
      [clean(one.name), count(one.sent), count(one.failed), percent(one.busy)]));
    write(why, [theory && !isValid && `No theory: ${clean(theory.why)}.`, find && (isKnown(find.value)
      ? `${clean(find.setting)} = ${find.value} is enough (${percent(find.probability)}).` : `${clean(find.setting)}: no value will do, because ${clean(find.why)}.`)].filter(Boolean).join(' '));
  };
  return { element, update, destroy: () => chart.destroy() };
}

// ---- Views

// Make a view in an element: show(document), frame(frame), destroy().
smssim.view = (root) => {
  const [model, time] = [new smssim.Model(), new smssim.TimeAxis()];
  let [kind, parts, queue, spoken] = [null, [], [], {}];
  const [heading, told] = [make('h1'), make('p.unseen', { role: 'status', 'aria-live': 'polite' })];
  const watch = new IntersectionObserver((entries) => entries.forEach(({ target, isIntersecting }) => {
    const part = parts.find((one) => one.element === target);
    if (!part) return;
    part.isSeen = isIntersecting;
    if (isIntersecting) refresh(part);
  }), { rootMargin: '100px' });

  function refresh(part) {
    if (!part.isStale) return;
    part.isStale = false;
    part.update(model);
  }

  // Work off what is out of sight, one part at a time.
  function work() {
    const part = queue.shift();
    if (part) refresh(part);
    if (queue.length) setTimeout(work);
  }

  function build() {
    destroy();
    const made = kind === 'plan' ? [planHead(), planCourse(time), about()] : runParts(time);
    parts = made.flatMap((one) => one.parts || [one]);
    root.replaceChildren(heading, ...made.map((one) => one.element), told);
    parts.forEach((part) => watch.observe(part.element));
  }

  function say() {
    const { data, total, done, isFinal } = model;
    const tenth = total ? Math.floor((10 * done) / total) : 0;
    const now = { tenth, stall: data.stall && data.stall.replace(/\d[\d.]* m?s/g, ''), isFinal };
    const words = isFinal && !spoken.isFinal ? `${data.verdict.text}. ${share(done, total)} after ${clock(model.elapsed)}`
      : now.stall && now.stall !== spoken.stall ? data.stall : tenth !== spoken.tenth ? `${10 * tenth}% done. ${(data.verdict || {}).text}` : '';
    if (words) write(told, clean(words));
    spoken = now;
  }

  function draw(isAll) {
    parts.forEach((part, i) => {
      part.isStale = true;
      if (part.isSeen || i === 0) refresh(part);
    });
    if (kind === 'run') say();
    if (!isAll) return;
    if (!queue.length) setTimeout(work);
    queue = [...parts];
  }

  function destroy() {
    watch.disconnect();
    parts.forEach((part) => part.destroy && part.destroy());
    [parts, queue] = [[], []];
  }

  const printAll = () => parts.forEach(refresh);
  addEventListener('beforeprint', printAll);

  return {
    model, time,
    show(data) {
      if (data.kind === 'run' && model.data && model.progress.run_id !== (data.progress || {}).run_id) {
        time.zoom(null);
        spoken = {};
      }
      model.show(data);
      write(heading, clean(data.title || 'Run', 120));
      if (kind !== data.kind) {
        kind = data.kind;
        build();
      }
      draw(true);
    },
    frame(frame) {
      const isWhole = model.frame(frame);
      draw(model.isFinal);
      return isWhole;
    },
    destroy() {
      destroy();
      removeEventListener('beforeprint', printAll);
    },
  };
};

// ---- Comparison

const about_s = (value) => clock(value);
const METRICS = [
  ['complete after', (p, d) => (d.kind === 'plan' ? (d.forecast.complete_s || {}).median : p.complete ? p.elapsed_s : null), clock],
  ['sent', (p) => p.sent, count], ['failed', (p) => p.failed, count], ['attempts', (p) => p.attempts, count], ['retried', (p) => p.retried, count],
  ['duplicates', (p) => p.duplicates, count], ['rate', (p) => p.rate_per_s, perSecond],
  ...PERCENTS.map((one) => [`${one}% sent after`, (p, d) => (d.kind === 'plan' ? p.reached_s[one] : (d.reached_s || p.reached_s || {})[one]), clock]),
  ['average time', (p) => p.avg_time_s, seconds], ['latency p50', (p) => p.latency_p50_s, seconds],
  ['latency p95', (p) => p.latency_p95_s, seconds], ['latency p99', (p) => p.latency_p99_s, seconds],
];

// The figures of a run, or the medians of a plan.
function figuresOf({ kind, progress, forecast }) {
  const medians = (all) => Object.fromEntries(Object.entries(all).map(([name, value]) => [name, value && typeof value === 'object' ? value.median ?? null : value]));
  return kind === 'plan' ? { ...medians(forecast), reached_s: medians(forecast.reached_s) } : progress || {};
}

function difference(value, base, says) {
  if (!isKnown(value) || !isKnown(base) || value === base) return isKnown(value) && value === base ? 'equal' : null;
  return change(value - base, says) + (base ? ` (${change(value / base - 1, percent)})` : '');
}

function comparison(root, { runs, comparison: said }) {
  const all = runs.map(figuresOf);
  const names = runs.map((run, i) => `${i + 1} ${clean(run.title, 40)}`);
  const courses = runs.map(({ kind, plan, history }) => (kind === 'plan' ? plan : history) || { sent: [] })
    .map(({ times_s, elapsed_s, sent }) => ({ times: times_s || elapsed_s || [], sent }));
  const end = Math.max(1e-3, ...courses.map(({ times }) => times[times.length - 1] || 0));
  const times = Array.from({ length: 601 }, (_, i) => (i * end) / 600);
  const inGap = (run, at) => (run.gaps || []).some((gap) => at > gap.from_s && at < gap.to_s);
  const columns = [times, ...courses.map((course, i) => times.map((at) => {
    const value = inGap(runs[i], at) ? null : valueAt(course.times, course.sent, at);
    return value === null ? null : value / (all[i].total || 1);
  }))];
  const time = new smssim.TimeAxis();
  time.end = end;
  const chart = new Chart({
    name: 'Share of all messages sent', note: 'from the start of each run', tall: true, time, end: () => end, columns: () => columns,
    series: names.map((name, i) => line(name, RUN_COLOURS[i], ['solid', 'dashed', 'dotted'][i % 3], percent, { width: 2 })),
    scales: { y: { range: () => [0, 1.02] } }, axes: [yAxis(percent), smssim.shareAxis(() => 1)],
  });
  const differences = table('Differences');
  differences.fill(['', ...names], METRICS.map(([name, of, says]) => {
    const values = all.map((one, i) => of(one, runs[i]));
    return [name, ...values.map((value, i) => ({ text: says(value), small: i ? difference(value, values[0], says) : null }))];
  }));
  const words = said && (said.text || said.reason);
  const course = section('Progress', chart.element);
  course.tools.append(time.buttons);
  const closed = runs.map((run, i) => {
    const inside = make('div');
    let view = null;
    return make('details.run', { name: 'run', toggle: ({ target }) => {
      if (view) view.destroy();
      inside.replaceChildren();
      view = target.open ? smssim.view(inside) : null;
      if (view) view.show(run);
    } }, make('summary', names[i]), inside);
  });
  root.replaceChildren(make('h1', `Comparison of ${plural(runs.length, 'run')}`), words && make('p', clean(words)), course.element,
    section('Differences', make('p.note', 'Differences are from the first one.'), smssim.scroll('Differences', differences.element)).element, ...closed);
  chart.update({ gaps: [], stalls: [], events: [] });
}

// Draw a report from its data: one document, or the comparison of several.
smssim.report = (data) => {
  const root = document.getElementById('app');
  if (data.runs.length > 1) return comparison(root, data);
  const view = smssim.view(root);
  root.replaceChildren();
  view.show(data.runs[0]);
  return view;
};
})();
