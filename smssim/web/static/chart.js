// Charts on uPlot: a name, a legend that reads out values, keyboard, zoom, and a table that says the same; and the time
// axis that the charts of a view share. A plotter is made once and then only gets new columns.
(() => {
'use strict';
const { make, button, attribute, write, colour, clock } = smssim;
const DASHES = { dashed: [6, 4], dotted: [2, 3] };
const STEPS_S = [10, 15, 20, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200, 86400];
const [ZOOM_MAX, TABLE_ROWS] = [400, 24];
const FONT = '11px system-ui, sans-serif';

// The part of the time axis that is zoomed in on, and the time that is pointed at. `end` is where the axis ends.
class TimeAxis {
  constructor() {
    Object.assign(this, { end: 1, zoomed: null, charts: new Set() });
    this.whole = button('Whole run', () => this.zoom(null), { 'aria-disabled': 'true' });
    this.buttons = make('div.tools', { role: 'group', 'aria-label': 'Zoom of all charts over time' },
      button('−', () => this.zoomBy(2), { 'aria-label': 'Zoom out' }),
      button('+', () => this.zoomBy(0.5), { 'aria-label': 'Zoom in' }), this.whole);
  }

  zoom(range) {
    this.zoomed = null;
    if (range) {
      const width = Math.max(range[1] - range[0], this.end / ZOOM_MAX);
      const from = Math.max(0, Math.min(range[0], this.end - width));
      if (width < this.end) this.zoomed = [from, from + width];
    }
    attribute(this.whole, 'aria-disabled', !this.zoomed && 'true');
    for (const chart of this.charts) if (chart.plotter) chart.plotter.setData(chart.columns);
  }

  zoomBy(factor, around) {
    const range = this.zoomed || [0, this.end];
    const centre = around ?? (range[0] + range[1]) / 2;
    this.zoom(range.map((at) => centre + (at - centre) * factor));
  }

  point(time, source) {
    for (const chart of this.charts) if (chart !== source) chart.pointTo(time);
  }
}

// Where ticks of a time axis go: at multiples of a round step, so that at most this many fit.
function ticks(from, to, most) {
  const rough = (to - from) / Math.max(1, most);
  const power = 10 ** Math.floor(Math.log10(rough));
  const round = [1, 2, 5, 10].map((one) => one * power).find((one) => one >= rough * 0.999);
  const step = rough < 5 ? round : STEPS_S.find((one) => one >= rough) || Math.ceil(rough / 86400) * 86400;
  const first = Math.ceil(from / step - 1e-9);
  return Array.from({ length: Math.max(0, Math.floor(to / step + 1e-9) - first + 1) }, (_, i) => (first + i) * step);
}

// A vertical axis whose values are written by `text`.
const yAxis = (text, more) => ({
  scale: 'y', font: FONT, size: 52, gap: 4, space: 34, stroke: () => colour('soft'), ticks: { show: false },
  grid: { stroke: () => colour('grid'), width: 1 }, values: (plotter, splits) => splits.map(text), ...more,
});
// The range of a scale that starts at 0.
const fromZero = (plotter, low, high) => [0, high > 0 ? uPlot.rangeNum(0, high, 0.05, true)[1] : 1];

// options: name, note, tall; columns(model): x and one per drawn series; series [{label, colour, dash, value(value, x,
// index)}], where those with draw: false are only read out; time (a TimeAxis) and end(model), or xRange and xAxis;
// under(plotter, model) and over(plotter, model) paint; axes, scales and bands as in uPlot; onKey, onMove, rows.
class Chart {
  constructor(options) {
    Object.assign(this, { options, time: options.time, columns: [[]], plotter: null, index: null });
    const { name, note, series, tall, time } = options;
    const items = series.map(({ label, colour: tone, dash = 'solid', swatch = 'line' }) =>
      make('li', make(`i.swatch.${swatch}.${dash}.${tone}`), make('span', label), make('b')));
    this.values = [make('li.at'), ...items.map((item) => item.lastChild)];
    this.legend = make('ul.legend', this.values[0], ...items);
    this.event = make('p.happening');
    this.plot = make(tall ? 'div.plot.tall' : 'div.plot', {
      role: 'slider', tabindex: 0, 'aria-label': `${name} (chart)`, 'aria-valuemin': 0, 'aria-valuemax': 0,
      'aria-valuenow': 0, keydown: (event) => this.key(event), blur: () => this.pointAt(null),
    });
    this.table = smssim.alternative(name, options.rows || (() => this.rows()));
    this.element = make('figure', make('figcaption', make('b', name), note && make('span', note)), this.legend, this.plot,
      this.event, this.table.element);
    if (time) time.charts.add(this);
    this.paint = () => this.plotter && this.plotter.redraw(false, true);
    smssim.painters.add(this.paint);
    this.watch = new ResizeObserver(() => this.resize());
  }

  update(model) {
    this.model = model;
    this.columns = this.options.columns(model);
    if (this.plotter) this.plotter.setData(this.columns);
    else this.create();
    attribute(this.plot, 'aria-valuemax', Math.max(0, this.columns[0].length - 1));
    this.readOut(this.index === null ? null : Math.min(this.index, this.columns[0].length - 1));
    this.table.update();
  }

  create() {
    const { time, options } = this;
    const { series, scales, axes = [yAxis(smssim.compact)], bands, under, over, xRange } = options;
    const range = xRange || (() => time.zoomed || [0, options.end ? options.end(this.model) : this.model.elapsed || 1]);
    const paint = (marks, more) => [(plotter) => {
      if (time) marks(plotter, this.model);
      if (more) more(plotter, this.model);
    }];
    this.plotter = new uPlot({
      width: Math.max(120, this.plot.clientWidth), height: Math.max(80, this.plot.clientHeight), bands,
      legend: { show: false }, padding: [8, axes.length > 1 ? 0 : 12, 0, 0],
      cursor: {
        y: false, drag: { x: Boolean(time), y: false, setScale: false }, points: { size: 7 },
        bind: { dblclick: () => () => time && time.zoom(null) },
      },
      scales: { x: { time: false, range }, y: { range: fromZero }, ...scales },
      axes: [this.xAxis(), ...axes],
      series: [{}, ...series.filter((one) => one.draw !== false).map((one) => this.line(one))],
      hooks: {
        drawAxes: paint(smssim.marks.stretches, under), draw: paint(smssim.marks.events, over),
        setSelect: [() => this.select()], setCursor: [() => this.move()],
      },
    }, this.columns, this.plot);
    this.watch.observe(this.plot);
  }

  line({ colour: tone, dash, width = 1.75, scale = 'y', fill, paths }) {
    return {
      scale, width, paths, dash: DASHES[dash], cap: 'butt', points: { show: false },
      stroke: () => colour(tone), fill: fill && (() => colour(fill)),
      gaps: (plotter, series, from, to, found) => (this.model.gaps || []).reduce((all, gap) =>
        [...all, [gap.from_s, gap.to_s].map((at) => plotter.valToPos(at, 'x', true))], found).sort((one, other) => one[0] - other[0]),
    };
  }

  xAxis() {
    const border = { show: true, stroke: () => colour('line'), width: 1 };
    return {
      font: FONT, stroke: () => colour('soft'), size: 28, gap: 4, grid: { show: false }, border, ticks: { ...border, size: 4 },
      values: (plotter, splits) => splits.map(smssim.tick),
      splits: ({ scales: { x }, bbox }) => ticks(x.min, x.max, bbox.width / uPlot.pxRatio / 72), ...this.options.xAxis,
    };
  }

  resize() {
    const { clientWidth: width, clientHeight: height } = this.plot;
    if (width && (width !== this.plotter.width || height !== this.plotter.height)) this.plotter.setSize({ width, height });
  }

  select() {
    const { left, width } = this.plotter.select;
    if (width > 3) this.time.zoom([left, left + width].map((at) => this.plotter.posToVal(at, 'x')));
    this.plotter.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
  }

  move() {
    const { left, idx } = this.plotter.cursor;
    const index = left < 0 ? null : idx ?? null;
    if (this.options.onMove) this.options.onMove(this.plotter);
    else if (index === this.index) return;
    this.readOut(index);
    if (this.time) this.time.point(index === null ? null : this.columns[0][index], this);
  }

  // Point at this time, because another picture does; null: at none.
  pointTo(time) {
    if (!this.plotter || !this.columns[0].length) return;
    const left = time === null ? -10 : this.plotter.valToPos(time, 'x');
    this.plotter.setCursor({ left, top: left < 0 ? -10 : 0 }, false);
    this.readOut(left < 0 ? null : this.plotter.valToIdx(time));
  }

  pointAt(index) {
    const at = index === null ? null : this.columns[0][index];
    this.pointTo(at);
    if (this.time) this.time.point(at, this);
  }

  key(event) {
    if (!this.columns[0].length || event.ctrlKey || event.metaKey || event.altKey) return;
    const { key, shiftKey } = event;
    const { min, max } = this.plotter.scales.x;
    const [first, last] = [min, max].map((at) => this.plotter.valToIdx(at));
    const step = Math.max(1, Math.round((last - first) / 100)) * (shiftKey ? 10 : 1);
    const now = this.index ?? last;
    const wanted = { ArrowLeft: now - step, ArrowRight: now + step, Home: first, End: last }[key];
    const factor = { '+': 0.5, '=': 0.5, '-': 2 }[key];
    if (wanted !== undefined) this.pointAt(Math.min(last, Math.max(first, wanted)));
    else if (factor && this.time) this.time.zoomBy(factor, this.columns[0][this.index]);
    else if (key === 'Escape' && this.time) this.time.zoom(null);
    else if (!this.options.onKey || !this.options.onKey(event)) return;
    event.preventDefault();
    attribute(this.plot, 'aria-valuenow', this.index ?? 0);
    const [x, ...values] = this.texts();
    const said = values.map((value, i) => `${this.options.series[i].label} ${value}`).join(', ');
    attribute(this.plot, 'aria-valuetext', `${x}: ${said}. ${this.event.textContent}`);
  }

  // Show the values at this point in the legend; null: those of the latest point.
  readOut(index) {
    this.index = index;
    this.texts().forEach((text, i) => write(this.values[i], text));
    const { scales: { x }, width } = this.plotter;
    const isTold = index !== null && this.time && this.model.happening;
    write(this.event, isTold ? this.model.happening(this.columns[0][index], (6 * (x.max - x.min)) / width) : '');
  }

  // What stands at a point: x and the value of each series, as texts.
  texts(at = this.index ?? this.columns[0].length - 1) {
    const { series, xText = clock } = this.options;
    const x = this.columns[0][at];
    let column = 0;
    return [x === undefined ? '-' : xText(x), ...series.map((one) =>
      one.value(one.draw === false ? null : this.columns[++column][at] ?? null, x, at))];
  }

  // The heads and some rows for the table: evenly chosen, and the last one.
  rows() {
    const { xName = 'time', series } = this.options;
    const last = this.columns[0].length - 1;
    const most = Math.min(last, TABLE_ROWS - 1);
    const places = Array.from({ length: most + 1 }, (_, i) => Math.round((i * last) / (most || 1)));
    return [[xName, ...series.map((one) => one.label)], places.map((at) => this.texts(at))];
  }

  destroy() {
    this.watch.disconnect();
    smssim.painters.delete(this.paint);
    if (this.plotter) this.plotter.destroy();
  }
}

Object.assign(smssim, { TimeAxis, yAxis, Chart, chartFont: FONT });
})();
