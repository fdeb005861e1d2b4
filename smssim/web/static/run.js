// The head of a run (verdict, why nothing moves, conservation, both books, key figures) and its charts: progress with
// plan, forecast and deadlines, rates, latency. Words come from the document where it has them.
(() => {
'use strict';
const {
  make, write, show, attribute, fit, table, colour, marks, yAxis, Chart, isKnown, rounded, count, share, seconds, setting,
  clock, perSecond, span, change, clean,
} = smssim;
const PERCENTS = [50, 80, 95, 99];
// By code of the verdict: its shape and its tone; all others are good.
const LOOKS = {
  late: ['▲', 'warn'], stalled: ['▲', 'warn'], incomplete: ['✕', 'bad'], disagree: ['≠', 'bad'], missed: ['✕', 'bad'], starting: ['○'],
};
const PARTS = { sent: 'sent', failed: 'failed', in_flight: 'in flight', waiting: 'waiting' };
const FIGURES = [
  ['now', 'recent_rate_per_s', perSecond], ['overall', 'rate_per_s', perSecond], ['average time', 'avg_time_s', seconds],
  ['average sent', 'avg_sent_time_s', seconds], ['latency p50', 'latency_p50_s', seconds], ['latency p95', 'latency_p95_s', seconds],
  ['latency p99', 'latency_p99_s', seconds], ['attempts', 'attempts', count], ['retried', 'retried', count],
  ['duplicates', 'duplicates', count], ['redelivered', 'redelivered', count], ['senders', 'senders', count], ['senders seen', 'senders_seen', count],
];

smssim.head = () => {
  const [mark, text, pace, done, elapsed] = ['span.mark', 'b', 'span', 'b', 'span'].map((one) => make(one));
  const head = make('div.verdict', { id: 'verdict' }, mark, make('div', text, pace), make('div', done, elapsed));
  const [stall, sum, books] = [make('p.stall', { id: 'stall' }), make('p'), make('p', { id: 'books' })];
  const parts = Object.keys(PARTS).map((key) => ({ key, piece: make(`i.${key}`), number: make('b'), part: make('span') }));
  const bar = make('div.conservation', ...parts.map(({ piece }) => piece));
  const terms = parts.map(({ key, number, part }) =>
    make('div', make('dt', make(`i.swatch.area.${key}`), PARTS[key]), make('dd', number, part)));
  const figures = make('dl.figures');

  function update({ progress, data, total, done: finished, elapsed: at, isFinal }) {
    const { code, text: words } = data.verdict || { code: 'starting', text: 'Starting' };
    const [shape, tone] = LOOKS[code] || ['✓', 'good'];
    write(mark, shape);
    attribute(head, 'data-tone', tone);
    write(text, clean(words));
    write(pace, words.toLowerCase().includes(data.pace || '') ? '' : clean(data.pace));
    write(done, total ? share(finished, total) : progress.complete ? '100%' : '0%');
    const { low_s: low, high_s: high } = (data.expected || {}).complete || {};
    const left = !isFinal && isKnown(low) && isKnown(high) ? ` · about ${span(Math.max(0, low - at), Math.max(0, high - at))} left` : '';
    write(elapsed, (isFinal ? 'after ' : 'at ') + clock(at) + left);
    show(stall, data.stall);
    write(stall, clean(data.stall));
    for (const { key, piece, number, part } of parts) {
      write(number, count(progress[key]));
      write(part, share(progress[key], total));
      piece.style.flexGrow = Math.max(0, progress[key] || 0) / (total || 1);
      show(piece, progress[key] > 0);
    }
    const isEqual = total === parts.reduce((all, { key }) => all + (progress[key] || 0), 0);
    write(sum, `${count(total)} ${isEqual ? '=' : '≠'} ${parts.map(({ key }) => `${count(progress[key])} ${PARTS[key]}`).join(' + ')}`);
    attribute(sum, 'data-tone', !isEqual && 'bad');
    const agrees = [0, 5].includes(progress.exit_code);
    attribute(books, 'data-tone', progress.reason && (agrees ? 'good' : 'bad'));
    write(books, progress.reason ? `${agrees ? '✓' : '✕'} ${clean(progress.reason)}` : '○ both books are compared at the end');
    const shown = FIGURES.filter(([name]) => !{ now: isFinal, redelivered: !isFinal }[name]);
    fit(figures, shown.length, () => make('div', make('dt'), make('dd')));
    shown.forEach(([name, key, says], i) => {
      write(figures.children[i].firstChild, name);
      write(figures.children[i].lastChild, says(progress[key]));
    });
  }
  const element = make('section.card.head', { 'aria-label': 'Verdict' }, head, stall, bar, make('dl.parts', ...terms),
    make('div.checks', sum, books), figures);
  return { element, update };
};

// Where the time axis ends: there is room for the plan, the forecast and near deadlines, and it moves in few steps.
function axisEnd({ data: { plan, expected, goals }, elapsed, isFinal }) {
  const planned = plan ? plan.times_s[plan.times_s.length - 1] : 0;
  const last = ((expected || {}).complete || {}).high_s || 0;
  const most = isFinal ? elapsed : Math.max(elapsed, planned, Math.min(last, 4 * Math.max(elapsed, planned)));
  const end = Math.max(most, ...(goals || []).map((goal) => goal.at_s * 1.04).filter((at) => at < 1.6 * most)) || 1;
  const step = 10 ** Math.floor(Math.log10(end)) / 4;
  return isFinal ? end : Math.ceil(end / step) * step;
}

// The value of a course at a time, between its points; null outside.
function valueAt(times, values, time) {
  const after = times.findIndex((one) => one >= time);
  if (after < 1) return after === 0 && times[0] === time ? values[0] : null;
  const part = (time - times[after - 1]) / (times[after] - times[after - 1]);
  return values[after - 1] + part * (values[after] - values[after - 1]);
}

// The axis on the right: lines at 50, 80, 95 and 99% of all messages.
const shareAxis = (total) => yAxis(String, {
  side: 1, size: 40, splits: () => PERCENTS.map((percent) => (percent / 100) * total()),
  values: ({ bbox }) => PERCENTS.map((percent) => (percent === 95 && bbox.height < 280 * uPlot.pxRatio ? '' : `${percent}%`)),
  grid: { stroke: () => colour('line'), width: 1, dash: [2, 3] },
});

// The value that a threshold such as t95<60s or failed<1% compares, and by how much it keeps its bound.
function margin({ threshold, value }, total) {
  const match = /^(\w+?)(_per)?(_s)?\s*([<>])=?\s*([\d.eE+-]+)\s*(%|ms|s|m|h)?$/.exec(threshold.trim());
  if (!match || !isKnown(value)) return [isKnown(value) ? String(rounded(value, 6)) : 'never', '-'];
  const [, name, isRate, isTime, sign, number, unit] = match;
  const bound = number * ({ ms: 0.001, m: 60, h: 3600 }[unit] || 1);
  const compared = unit === '%' ? (100 * value) / (total || Infinity) : value;
  const says = unit === '%' ? (one) => `${rounded(one, 4)}%` : isRate ? perSecond
    : isTime || /^t\d/.test(name) ? seconds : (one) => String(rounded(one, 6));
  return [says(compared), change(sign === '<' ? bound - compared : compared - bound, says)];
}

const OUTCOMES = [{ text: '✕ missed', tone: 'bad' }, { text: '✓ passed', tone: 'good' }, '○ open'];
function goalRows({ data: { goals, reached_s: reached }, progress: { thresholds = [] }, total, isFinal, elapsed }) {
  const rows = thresholds.length ? thresholds.map((one) => [clean(one.threshold), OUTCOMES[Number(one.passed)], ...margin(one, total)])
    : (goals || []).map(({ text, percent, at_s: deadline }) => {
      const at = (reached || {})[percent];
      const state = isKnown(at) ? Number(at <= deadline) : isFinal || elapsed > deadline ? 0 : 2;
      return [clean(text), OUTCOMES[state], clock(at), change(deadline - at, clock)];
    });
  return [['goal', '', 'value', 'margin'], rows];
}

// A cell with a median and, below, the range around it.
const spread = ({ low_s: low, median_s: median, high_s: high }) =>
  (isKnown(median) ? { text: clock(median), small: isKnown(low) && isKnown(high) && span(low, high) } : 'never');

function milestoneRows({ data: { plan, expected, reached_s: reached }, progress, isFinal, elapsed }) {
  const rows = [...PERCENTS, 'complete'].map((key) => {
    const isLast = key === 'complete';
    const at = isLast ? progress.complete && elapsed : (reached || {})[key];
    const { low_s: low, high_s: high } = (expected || {})[key] || {};
    const forecast = isKnown(low) && isKnown(high) ? { text: span(low, high), small: 'expected (80%)' } : '-';
    const planned = plan ? [spread((isLast ? plan.complete_s : plan.reached_s[key]) || {})] : [];
    return [isLast ? key : `${key}% sent`, ...planned, isKnown(at) ? { text: clock(at), tone: 'strong' } : isFinal ? 'never' : forecast];
  });
  return [['', ...(plan ? ['plan'] : []), 'actual'], rows];
}

smssim.progress = (time) => {
  let model = null;
  const part = (value) => `${count(value)} (${share(value, model.total)})`;
  const planned = (value, at) => {
    const { times_s: times = [], sent = [] } = model.data.plan || {};
    return count(valueAt(times, sent, Math.min(at, times[times.length - 1])));
  };
  const chart = new Chart({
    name: 'Messages sent and failed over time', tall: true, time, end: axisEnd,
    columns: ({ history }) => [history.elapsed_s, history.sent, history.failed],
    series: [
      { label: 'sent', colour: 'sent', width: 2.25, value: part }, { label: 'failed', colour: 'failed', dash: 'dashed', value: part },
      { label: 'plan (95%)', colour: 'plan', dash: 'dashed', draw: false, value: planned },
      { label: 'forecast (80%)', colour: 'forecast', swatch: 'area', draw: false, value: () => '' },
    ],
    scales: { y: { range: () => [0, (model.total || 1) * 1.02] } }, axes: [yAxis(smssim.compact), shareAxis(() => model.total)],
    under: (plotter) => {
      marks.plan(plotter, model.data.plan);
      marks.forecast(plotter, model);
    },
    over: (plotter) => {
      marks.goals(plotter, model.data.goals, model.total);
      marks.milestones(plotter, model.data.reached_s, model.total);
    },
  });
  const [times, goals] = [table('When shares of all messages were sent'), table('Goals')];
  const { element, tools } = smssim.section('Progress', make('div.with-aside', chart.element, make('div', times.element, goals.element)));
  tools.append(time.buttons);
  function update(latest) {
    model = latest;
    time.end = axisEnd(model);
    chart.update(model);
    show(chart.legend.children[3], model.data.plan);
    show(chart.legend.children[4], model.data.expected && !model.isFinal);
    times.fill(...milestoneRows(model));
    goals.fill(...goalRows(model));
  }
  return { element, update, destroy: () => chart.destroy() };
};

const line = (label, tone, dash, value, more) => ({ label, colour: tone, dash, value, ...more });
const area = { width: 0, swatch: 'area' };
// The increase of a column per second, since the point before.
const increase = ({ elapsed_s: at }, column) => column.map((value, i) => {
  const [passed, grown] = i ? [at[i] - at[i - 1], value - column[i - 1]] : [at[0], value];
  return passed > 0 ? Math.max(0, grown) / passed : 0;
});

smssim.rates = (time) => [
  new Chart({
    name: 'Rate', note: 'final outcomes per second; the band spans the extremes', time,
    series: [
      line('now', 'sent', 'solid', perSecond), line('overall', 'plan', 'dashed', perSecond),
      line('lowest', 'band', 'solid', perSecond, area), line('highest', 'band', 'solid', perSecond, area),
    ],
    bands: [{ series: [4, 3], fill: () => colour('band') }],
    columns: ({ history: { elapsed_s, sent, failed, rate_per_s, rate_min_per_s, rate_max_per_s } }) =>
      [elapsed_s, rate_per_s, elapsed_s.map((at, i) => (at > 0 ? (sent[i] + failed[i]) / at : 0)), rate_min_per_s, rate_max_per_s],
  }),
  new Chart({
    name: 'Failed, retried, duplicates', note: 'per second', time,
    series: [line('failed', 'failed', 'solid', perSecond), line('retried', 'sent', 'dashed', perSecond), line('duplicates', 'ink', 'dotted', perSecond)],
    columns: ({ history }) => [history.elapsed_s, ...['failed', 'retried', 'duplicates'].map((name) => increase(history, history[name]))],
  }),
];

function histogram() {
  let [bounds, counts] = [[], []];
  const about = (i) => setting(rounded(bounds[i], 3));
  return new Chart({
    name: 'Latency histogram', note: 'from queued to final outcome; logarithmic bounds', xName: 'latency',
    series: [
      line('messages', 'sent', 'solid', count, { swatch: 'area', fill: 'sent-soft', width: 1, paths: uPlot.paths.bars({ size: [0.9, 60] }) }),
      line('share', 'none', 'solid', (value, x, at) => share(counts[at], counts.reduce((all, one) => all + one, 0)), { draw: false }),
    ],
    columns: ({ data }) => {
      ({ bounds_s: bounds, counts } = data.latency || { bounds_s: [], counts: [] });
      return [counts.map((one, i) => i), counts];
    },
    xRange: () => [-0.6, Math.max(1, counts.length) - 0.4],
    xText: (i) => (i === bounds.length ? `above ${about(i - 1)}` : i ? `${about(i - 1)} to ${about(i)}` : `up to ${about(i)}`),
    xAxis: {
      values: (plotter, splits) => splits.map((at) => setting(rounded(bounds[at - 0.5], 2))),
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
      line('latency', 'sent', 'solid', seconds, { width: 2.25 }),
      line('highest', 'none', 'solid', () => seconds((points[points.length - 1] || [])[1]), { draw: false }),
    ],
    columns: ({ data }) => {
      points = (data.spectrum || []).filter((point) => isKnown(point[1]));
      const shown = points.filter(([percent]) => percent < 99.995);
      return [shown.map(([percent]) => place(percent)), shown.map((point) => point[1])];
    },
    scales: { x: { time: false, distr: 3, range: () => [1, 12000] } }, axes: [yAxis(setting)],
    xText: (x) => `${rounded(100 * (1 - 1 / x), 6)}%`,
    xAxis: {
      splits: () => nines.map(place), filter: (plotter, splits) => splits, values: () => nines.map((percent) => `${percent}%`),
      grid: { show: true, stroke: () => colour('grid'), width: 1 },
    },
  });
}

smssim.latencies = (time) => [
  histogram(), spectrum(),
  new Chart({
    name: 'Latency so far', note: 'percentiles of all messages until then', time, axes: [yAxis(setting)],
    series: [line('p50', 'sent', 'solid', seconds), line('p95', 'sent', 'dashed', seconds), line('p99', 'failed', 'dotted', seconds)],
    columns: ({ history }) => [history.elapsed_s, history.latency_p50_s, history.latency_p95_s, history.latency_p99_s],
  }),
];

Object.assign(smssim, { valueAt, shareAxis, spread, line, OUTCOMES, PERCENTS });
})();
