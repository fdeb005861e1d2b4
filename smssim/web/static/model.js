// The document of one run as the page holds it: a document replaces it, a frame moves it on by one point.
// Knows the formats of documents and frames, and no elements. Its size is bounded, however long the run is.
(() => {
'use strict';
const [POINTS_MAX, STEPS_MAX, MISSED_S] = [4096, 1024, 5];
const RATES = 'rate_per_s rate_min_per_s rate_max_per_s'.split(' ');
const COLUMNS = ('elapsed_s sent failed in_flight retried duplicates senders avg_time_s ' +
  'latency_p50_s latency_p95_s latency_p99_s').split(' ');
// Which state of a heat map stands for several: lost, then sending (the slower), waiting, left, unknown.
const ORDER = '-ew9876543210x';
const WEIGHTS = Uint8Array.from({ length: 128 }, (_, code) => ORDER.indexOf(String.fromCharCode(code)) + 1);
const worse = (one, other) => (WEIGHTS[one] >= WEIGHTS[other] ? one : other);
const codeAt = (text, at) => (at < text.length ? text.charCodeAt(at) & 127 : 45);

// The final outcomes per second over the sample that ends at this point.
function rateAt({ elapsed_s: at, sent, failed }, i) {
  const [before, done] = i ? [at[i - 1], sent[i - 1] + failed[i - 1]] : [0, 0];
  return at[i] > before ? Math.max(0, sent[i] + failed[i] - done) / (at[i] - before) : 0;
}

// Merge neighbours: what the later one says, and the extremes of both.
function mergeHistory(history) {
  for (const [name, column] of Object.entries(history)) {
    const choose = { rate_min_per_s: Math.min, rate_max_per_s: Math.max }[name] || ((first, second) => second);
    for (let i = 0; i < column.length >> 1; i++) column[i] = choose(column[2 * i], column[2 * i + 1]);
    column.length >>= 1;
  }
  history.rate_per_s = history.elapsed_s.map((_, i) => rateAt(history, i));
}

// Add a point; one at the same time as the last replaces it.
function appendPoint(history, progress) {
  const { elapsed_s: at } = history;
  const place = at.length - Number(at.length > 0 && progress.elapsed_s <= at[at.length - 1]);
  const isNew = place === at.length;
  for (const name of COLUMNS) history[name][place] = progress[name] ?? null;
  if (isNew) for (const name of RATES) history[name][place] = rateAt(history, place);
  if (place >= POINTS_MAX) mergeHistory(history);
}

function mergeHeat(heat) {
  const { columns, times } = heat;
  const half = times.length >> 1;
  heat.columns = columns.slice(0, half).map((_, i) => columns[2 * i].map((state, at) => worse(state, columns[2 * i + 1][at])));
  heat.times = times.slice(0, half).map((_, i) => times[2 * i + 1]);
}

smssim.Model = class {
  // Take a whole document.
  show(data) {
    const { history = {}, senders, events = [], stalls = [], gaps = [] } = data;
    Object.assign(this, { data, events: [...events], stalls, gaps, progress: data.progress || {} });
    this.history = Object.fromEntries([...COLUMNS, ...RATES].map((name) => [name, [...((history || {})[name] || [])]]));
    this.senders = senders || { name: [], state: '', group: [], groups: [] };
    const { from_s: from = 0, times_s: times = [], rows = [] } = data.heat || {};
    // The heat map by steps: of each sender, the code of the character of its state.
    const columns = times.map((_, step) => Uint8Array.from(this.senders.name, (name, i) => codeAt(rows[i] || '', step)));
    this.heat = { from, times: [...times], columns };
  }

  get total() { return this.progress.total || 0; }
  get done() { return (this.progress.sent || 0) + (this.progress.failed || 0); }
  get elapsed() { return this.progress.elapsed_s || 0; }
  get isFinal() { return Boolean(this.progress.final); }

  // Move on by a frame. Return whether nothing is missing; else the document has to be fetched again.
  frame({ version, stalls = [], senders, heat, events, ...rest }) {
    const missed = rest.progress.elapsed_s - this.elapsed > MISSED_S;
    Object.assign(this.data, rest);
    this.progress = rest.progress;
    appendPoint(this.history, this.progress);
    this.stalls = [...this.stalls.filter((one) => !stalls.some((other) => other.from_s === one.from_s)), ...stalls];
    return [this.addSenders(senders, heat), this.addEvents(events), !missed, version === this.data.static_version].every(Boolean);
  }

  addSenders(senders, heat = '') {
    const { times, columns, from } = this.heat;
    if (!senders || senders.state.length !== this.senders.name.length) return !senders;
    Object.assign(this.senders, senders);
    if (heat && this.elapsed > (times[times.length - 1] ?? from)) {
      times.push(this.elapsed);
      columns.push(Uint8Array.from(this.senders.name, (name, i) => codeAt(heat, i)));
      if (times.length > STEPS_MAX) mergeHeat(this.heat);
    }
    return true;
  }

  addEvents(events) {
    if (!events) return true;
    const mine = new Set(this.events.slice(-50).map((event) => JSON.stringify(event)));
    const fresh = events.latest.filter((event) => !mine.has(JSON.stringify(event)));
    if (fresh.length) this.events = [...this.events, ...fresh].sort((one, other) => one.at_s - other.at_s);
    return this.events.length === events.count;
  }

  // Say what happened at about this time: stalls and times without a record that contain it, and events near it.
  happening(time, tolerance) {
    const { clean, clock } = smssim;
    const within = (one) => time >= one.from_s && time <= (one.to_s ?? Infinity);
    return [
      ...this.stalls.filter(within).map((stall) => `stalled: ${clean(stall.reason)}`),
      ...this.gaps.filter(within).map(() => 'no record: the monitor was away'),
      ...this.events.filter((event) => Math.abs(event.at_s - time) <= tolerance).slice(0, 3)
        .map((event) => `${clock(event.at_s)} ${clean(event.text)}`),
    ].join(' · ');
  }
};
smssim.worse = worse;
})();
