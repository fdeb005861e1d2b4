// The senders of a run: a heat map of their states over time, and a table that sorts, filters and folds copies of one
// sender into one row.
(() => {
'use strict';
const {
  make, attribute, show, write, colour, worse, Chart, clean, count, plural, setting, seconds, percent, share, perSecond, change, isKnown,
} = smssim;
const [HEIGHT, LINE_MAX, NAMES_MAX, ROWS_MAX] = [560, 20, 60, 50];
const STATES = ['', 'sending', 'waiting', 'lost', 'left'];
const SHAPES = ['', '●', '○', '✕', '–'];
// The characters of the heat map that are no rate, by their codes: w, x, e.
const CODES = { 119: 2, 120: 3, 101: 4 };
const stateOf = (code) => (code === 45 ? 'not there, or unknown' : STATES[CODES[code]] || `sending at ${10 * (code - 48)}–${10 * (code - 47)}% of its declared rate`);

// A picture with one column per step, which a chart stretches over its time axis. Where several senders share a line of
// it, the lost one decides, or else the slowest.
smssim.heat = (time) => {
  let [model, painted, row, lines, perLine, tall] = [null, [], 0, 1, 1, 1];
  const image = document.createElement('canvas');
  const pencil = image.getContext('2d', { willReadFrequently: true });
  const start = (step) => (step ? model.heat.times[step - 1] : model.heat.from);
  const name = (at) => clean(model.senders.name[at], 18);
  const many = () => model.senders.name.length;

  function palette() {
    const number = (tone) => colour(tone).match(/\w\w/g).map((two) => parseInt(two, 16));
    const [low, high] = [number('heat-low'), number('heat-high')];
    const shades = { 119: number('waiting'), 120: number('lost'), 101: number('faint') };
    for (let i = 0; i < 10; i++) shades[48 + i] = low.map((one, at) => one + ((high[at] - one) * i) / 9);
    return shades;
  }

  // Lost senders are striped where a line is high enough.
  function paintStep(step, shades) {
    const pixels = pencil.createImageData(1, image.height);
    for (let line = 0; line < lines; line++) {
      const state = model.heat.columns[step].subarray(line * perLine, (line + 1) * perLine).reduce(worse, 45);
      for (let y = 0; shades[state] && y < tall - (tall > 5); y++) {
        pixels.data.set([...shades[state], state === 120 && tall > 3 && y % 4 > 1 ? 60 : 255], 4 * (line * tall + y));
      }
    }
    pencil.putImageData(pixels, step, 0);
  }

  // Paint what is new; everything, if anything else has changed.
  function paintImage() {
    const { times, columns } = model.heat;
    const now = [columns, lines, tall, colour('lost')];
    if (now.some((one, i) => one !== painted[i])) {
      Object.assign(image, { width: 1100, height: Math.max(1, lines * tall) });
      painted = [...now, 0];
    }
    const shades = painted[4] < times.length && palette();
    for (; painted[4] < times.length; painted[4]++) paintStep(painted[4], shades);
  }

  // Draw the picture in runs of steps that took about equally long.
  function under(plotter) {
    paintImage();
    const { times } = model.heat;
    const { ctx: context, bbox: { left, top, width, height } } = plotter;
    context.save();
    context.beginPath();
    context.rect(left, top, width, height);
    context.clip();
    context.imageSmoothingEnabled = false;
    for (let first = 0, next; first < times.length; first = next) {
      const took = times[first] - start(first);
      next = first + 1;
      while (next < times.length && Math.abs(times[next] - times[next - 1] - took) < took / 2) next++;
      const [from, to] = [start(first), times[next - 1]].map((at) => plotter.valToPos(at, 'x', true));
      context.drawImage(image, first, 0, next - first, image.height, from, top, to - from, height);
    }
    context.restore();
  }

  function over(plotter) {
    if (chart.index === null) return;
    const [top, bottom] = [0, perLine].map((more) => plotter.valToPos(row - (row % perLine) + more, 'y', true));
    plotter.ctx.strokeStyle = colour('ink');
    plotter.ctx.strokeRect(plotter.bbox.left, top, plotter.bbox.width, Math.max(2, bottom - top));
  }

  function goTo(wanted) {
    row = Math.max(0, Math.min(wanted, many() - 1));
    chart.paint();
  }

  // How much of the time each of the first senders spent in which state.
  function rows() {
    const { times, columns, from } = model.heat;
    return [['sender', ...STATES.slice(1), 'not there'], model.senders.name.slice(0, ROWS_MAX).map((one, at) => {
      const spent = [0, 0, 0, 0, 0];
      columns.forEach((column, step) => { spent[column[at] === 45 ? 4 : (CODES[column[at]] || 1) - 1] += times[step] - start(step); });
      return [clean(one), ...spent.map((part) => share(part, (times[times.length - 1] || 0) - from))];
    })];
  }

  const chart = new Chart({
    name: 'Senders over time', note: 'the darker, the nearer to the declared rate; the keys up and down choose a sender', time, rows, under, over,
    columns: ({ heat }) => [heat.times.map((end, step) => (start(step) + end) / 2)],
    series: [
      { label: '', colour: 'scale', swatch: 'area', draw: false, value: (value, x, step) => (many() && step >= 0 ? `${name(row)}: ${stateOf(model.heat.columns[step][row])}` : '') },
      ...STATES.slice(2).map((kind) => ({ label: kind, colour: kind, swatch: 'area', draw: false, value: () => '' })),
    ],
    scales: { y: { range: () => [0, many() || 1], dir: -1 } },
    axes: [smssim.yAxis(String, {
      size: () => (many() > NAMES_MAX ? 52 : 110), grid: { show: false },
      splits: () => model.senders.name.map((one, i) => i + 0.5).filter((at, i) => i % Math.ceil((13 * many()) / (chart.plot.clientHeight - 36)) === 0),
      values: (plotter, splits) => splits.map((at) => (many() > NAMES_MAX ? String(at + 0.5) : name(at - 0.5))),
    })],
    onMove: ({ cursor, posToVal }) => cursor.top >= 0 && goTo(Math.floor(posToVal(cursor.top, 'y'))),
    onKey: ({ key, shiftKey }) => {
      const down = { ArrowUp: -1, ArrowDown: 1 }[key];
      if (down) goTo(row + down * (shiftKey ? 10 : 1));
      if (down) chart.readOut(chart.index);
      return Boolean(down);
    },
  });
  const note = make('p.note');
  chart.element.append(note);

  function update(latest) {
    model = latest;
    const room = HEIGHT * uPlot.pxRatio;
    perLine = Math.ceil(many() / room) || 1;
    lines = Math.ceil(many() / perLine) || 1;
    tall = Math.max(1, Math.floor(Math.min(LINE_MAX * uPlot.pxRatio, room / lines)));
    chart.plot.style.height = `${(lines * tall) / uPlot.pxRatio + 36}px`;
    row = Math.max(0, Math.min(row, many() - 1));
    chart.update(model);
    show(note, perLine > 1);
    write(note, `A line stands for ${perLine} senders: the lost one decides, or else the slowest.`);
  }
  return { element: chart.element, update, destroy: () => chart.destroy() };
};

// ---- The table. By column: its head, what it writes, and whether the range among copies stands below.

const COLUMNS = {
  index: ['sender'], code: ['state'], lanes: ['lanes', count], mean: ['mean', setting], average: ['average', seconds, true],
  off: ['± mean', (value) => change(value, percent)], fail: ['fail', percent], failing: ['failing', percent, true],
  failOff: ['± fail', (value) => change(value, percent)], sent: ['sent', count, true], failed: ['failed', count, true],
  rate: ['now', perSecond, true], work: ['work', percent, true], load: ['work / lanes', (value) => (isKnown(value) ? `${value.toFixed(2)}×` : '-')],
};

function rowsOf({ senders: all, data, isFinal }) {
  const column = (name) => all[name] || [];
  const rates = isFinal && all.rate_per_s ? all.rate_per_s : column('recent_rate_per_s');
  return all.name.map((name, i) => {
    const [sent, failed] = [column('sent')[i] || 0, column('failed')[i] || 0];
    return {
      key: `${i}`, name: clean(name), index: i, code: Number(all.state[i]), group: column('group')[i] ?? -1, sent, failed,
      lanes: column('concurrency')[i], mean: column('mean_s')[i], average: column('avg_time_s')[i], fail: column('failure_rate')[i],
      attempts: Math.max(sent + failed, data.max_attempts === 1 ? 0 : column('attempts')[i] || 0), rate: rates[i],
    };
  });
}

// One row for several senders.
function together(copies, key, name) {
  const sum = (of) => copies.reduce((all, row) => all + (of(row) || 0), 0);
  const attempts = sum((row) => row.attempts);
  return {
    ...copies[0], key, name, copies, attempts, average: attempts ? sum((row) => row.average * row.attempts) / attempts : null,
    ...Object.fromEntries(['lanes', 'sent', 'failed', 'rate'].map((one) => [one, sum((row) => row[one])])),
  };
}

// Add what follows from the other figures; `all` is the row of all senders.
function derive(row, all) {
  row.failing = row.attempts ? (row.attempts - row.sent) / row.attempts : null;
  row.off = row.mean && isKnown(row.average) ? row.average / row.mean - 1 : null;
  row.failOff = isKnown(row.failing) ? row.failing - row.fail : null;
  row.work = (row.sent + row.failed) / (all.sent + all.failed);
  row.load = row.work / (row.lanes / all.lanes);
  // Beyond three standard errors, of exponential times and of independent failures.
  row.isOff = {
    off: Math.abs(row.off) * Math.sqrt(row.attempts) > 3,
    failOff: Math.abs(row.failOff) > 3 * Math.sqrt((row.fail * (1 - row.fail)) / row.attempts),
  };
  return row;
}

const inStates = (has) => STATES.slice(1).map((state, i) => [has(state, i + 1), state])
  .filter(([many]) => many).map(([many, state]) => `${count(many)} ${state}`).join(', ');

function cellsOf(row, opened) {
  return Object.entries(COLUMNS).map(([name, [, says, hasRange]]) => {
    const { copies } = row;
    if (name === 'index') return copies ? { text: row.name, key: row.key, expanded: opened.has(row.key) } : { text: row.name, tone: row.isCopy && 'copy' };
    if (name === 'code') return copies ? inStates((state, code) => copies.filter((one) => one.code === code).length)
      : { text: `${SHAPES[row.code]} ${STATES[row.code]}`, tone: row.code === 3 && 'bad' };
    const values = (copies && hasRange ? copies : []).map((one) => one[name]).filter(isKnown);
    const ends = values.length ? [...new Set([Math.min(...values), Math.max(...values)].map(says))] : [];
    return { text: (row.isOff[name] ? '▲ ' : '') + says(row[name]), tone: row.isOff[name] && 'warn', small: ends.length && ends.join('–') };
  });
}

smssim.senders = () => {
  let model = null;
  const sort = { by: 'index', down: false };
  const opened = new Set();
  const redraw = () => model && update(model);
  const search = make('input', { type: 'search', id: 'sender-filter', placeholder: 'Filter by name', 'aria-label': 'Filter senders by name', input: redraw });
  const state = make('select', { id: 'sender-state', 'aria-label': 'Filter senders by state', change: redraw },
    ...STATES.map((one) => make('option', { value: one }, one || 'any state')));
  const [said, others] = [make('p.note', { id: 'sender-count' }), make('p.note')];
  const list = smssim.table('Senders');
  list.element.classList.add('senders');
  list.element.addEventListener('click', ({ target }) => {
    const { key } = (target.closest('button') || target).dataset;
    if (COLUMNS[key]) Object.assign(sort, { by: key, down: sort.by === key ? !sort.down : key !== 'index' && key !== 'code' });
    else if (key && !opened.delete(key)) opened.add(key);
    if (key) redraw();
  });
  const { element, tools } = smssim.section('Senders', smssim.scroll('Senders', list.element), said, others,
    make('p.note', '± mean, ± fail: measured against declared; ▲ by more than chance explains. work / lanes: share of all outcomes, divided by the share of all lanes.'));
  tools.append(search, state);

  // The rows to show: senders that are no copies, groups, and the copies in open groups.
  function arrange(rows, all) {
    const compare = (one, other) => (sort.down ? -1 : 1) * ((one[sort.by] ?? -1) - (other[sort.by] ?? -1)) || one.index - other.index;
    const groups = new Map();
    for (const row of rows) if (row.group >= 0) groups.set(row.group, [...(groups.get(row.group) || []), row]);
    const folded = [...groups].map(([group, copies]) =>
      derive(together(copies, `group ${group}`, `${clean(model.senders.groups[group])} ×${count(copies.length)}`), all));
    return [...rows.filter((row) => row.group < 0), ...folded].sort(compare).flatMap((row) =>
      (opened.has(row.key) ? [row, ...row.copies.sort(compare).map((one) => ({ ...one, isCopy: true }))] : [row]));
  }

  function update(latest) {
    model = latest;
    const rows = rowsOf(model);
    const all = together(rows);
    rows.forEach((row) => derive(row, all));
    const wanted = search.value.trim().toLowerCase();
    const found = rows.filter((row) => row.name.toLowerCase().includes(wanted) && ['', STATES[row.code]].includes(state.value));
    const shown = arrange(found, all);
    const { activeElement: focused } = document;
    const key = list.body.contains(focused) && focused.dataset.key;
    const heads = Object.entries(COLUMNS).map(([one, [text]]) => ({ text: one === 'rate' && model.isFinal ? 'rate' : text, key: one }));
    list.fill(heads, shown.slice(0, ROWS_MAX).map((row) => cellsOf(row, opened)));
    Object.keys(COLUMNS).forEach((one, i) => attribute(list.head.children[i], 'aria-sort', sort.by === one && (sort.down ? 'descending' : 'ascending')));
    const same = key && [...list.body.querySelectorAll('button')].find((one) => one.dataset.key === key);
    if (same && same !== focused) same.focus();
    write(said, (found.length < rows.length ? `${count(found.length)} of ` : '') + plural(rows.length, 'sender') +
      (shown.length > ROWS_MAX ? `; the first ${ROWS_MAX} of ${count(shown.length)} rows are shown: sort or filter to see others` : ''));
    const more = model.data.others || {};
    show(others, more.senders);
    write(others, `${plural(more.senders, 'more sender')}: ${inStates((one) => more[one])}; ${count(more.sent)} sent, ` +
      `${count(more.failed)} failed, ${perSecond(more.recent_rate_per_s)}`);
  }
  return { element, update };
};
})();
