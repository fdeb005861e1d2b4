// What is painted on charts over time besides lines: stalls, gaps, events, the bands of a plan and of a forecast,
// milestones and deadlines. Paints on the canvas of a plotter, in its pixels.
(() => {
'use strict';
const { colour, isKnown, clean, clock } = smssim;
const GOOD = ['restarted', 'resumed', 'recovered', 'joined', 'back'];
const NEUTRAL = ['taken over', 'left'];
const SHAPES = {
  '▼': [[-1, 0], [1, 0], [0, 1.6]], '▲': [[-1, 1.6], [1, 1.6], [0, 0]], '◆': [[0, 0], [1, 0.9], [0, 1.8], [-1, 0.9]],
};
// The shape of an event: better, different, worse.
const shapeOf = (kind) => (GOOD.includes(kind) ? '▲' : NEUTRAL.includes(kind) ? '◆' : '▼');

// Make a painter that is clipped to the plotting area. Its brush places values with x and y; unit is a pixel of CSS.
const painter = (paint) => (plotter, ...more) => {
  const { ctx: context, bbox: { left, top, width, height } } = plotter;
  const place = (scale) => (value) => plotter.valToPos(value, scale, true);
  context.save();
  context.beginPath();
  context.rect(left, top, width, height);
  context.clip();
  paint({ context, left, top, right: left + width, bottom: top + height, x: place('x'), y: place('y'), unit: uPlot.pxRatio }, ...more);
  context.restore();
};

function path(context, points) {
  context.beginPath();
  for (const [x, y] of points) context.lineTo(x, y);
}

function stroke({ context, unit }, points, tone, width, dash = []) {
  path(context, points);
  context.strokeStyle = colour(tone);
  context.lineWidth = width * unit;
  context.setLineDash(dash.map((one) => one * unit));
  context.stroke();
}

function fill({ context }, points, tone) {
  path(context, points);
  context.fillStyle = colour(tone);
  context.fill();
}

const shape = (brush, kind, x, top, size, tone) =>
  fill(brush, SHAPES[kind].map(([right, down]) => [x + right * size * brush.unit, top + down * size * brush.unit]), tone);

// Shade a stretch of time with a tint, and with slanted lines that tell it apart without colour.
function shade(brush, from, to, tint, lines) {
  const { context, top, bottom, unit } = brush;
  const [left, right] = [Math.max(brush.x(from), brush.left), Math.min(Math.max(brush.x(to), brush.x(from) + 2 * unit), brush.right)];
  if (left >= right) return;
  context.save();
  fill(brush, [[left, top], [right, top], [right, bottom], [left, bottom]], tint);
  context.clip();
  for (let x = left - (left % (8 * unit)) - bottom + top; x < right; x += 8 * unit) {
    stroke(brush, [[x, bottom], [x + bottom - top, top]], lines, 1);
  }
  context.restore();
}

// Under the lines: when nothing moved, and when nothing was recorded.
const stretches = painter((brush, { gaps, stalls, elapsed }) => {
  for (const gap of gaps) shade(brush, gap.from_s, gap.to_s, 'paper', 'line');
  for (const stall of stalls) shade(brush, stall.from_s, stall.to_s ?? elapsed, 'stall', 'stall-line');
});

// Over the lines: each event as a thin line, with its shape at the top.
const events = painter((brush, model) => {
  const { top, bottom, unit } = brush;
  let last = -Infinity;
  for (const event of model.events) {
    const x = brush.x(event.at_s);
    if (x - last < 3 * unit || x < brush.left || x > brush.right) continue;
    last = x;
    stroke(brush, [[x, top], [x, bottom]], 'event', 1, [1, 3]);
    shape(brush, shapeOf(event.kind), x, top, 4, 'event');
  }
});

// The course of a plan: its median and the range of 95%.
const plan = painter((brush, course) => {
  if (!course) return;
  const points = (counts) => course.times_s.map((time, i) => [brush.x(time), brush.y(counts[i])]);
  fill(brush, [...points(course.sent_high), ...points(course.sent_low).reverse()], 'plan-band');
  stroke(brush, points(course.sent), 'plan', 1.25, [5, 4]);
});

// The forecast: from now to when each share is expected to be sent; a bar bounds the middle 80%.
const forecast = painter((brush, { data, total, elapsed, progress, isFinal }) => {
  const some = [80, 95, 99].map((percent) => ({ ...(data.expected || {})[percent], y: brush.y((percent / 100) * total) }))
    .filter((one) => isKnown(one.low_s) && isKnown(one.high_s));
  if (!some.length || isFinal) return;
  const points = (bound) => some.map((one) => [brush.x(one[bound]), one.y]);
  fill(brush, [[brush.x(elapsed), brush.y(progress.sent)], ...points('low_s'), ...points('high_s').reverse()], 'forecast');
  for (const { low_s, median_s, high_s, y } of some) {
    stroke(brush, [[brush.x(low_s), y], [brush.x(high_s), y]], 'sent', 1.5);
    for (const [at, half] of [[low_s, 3], [median_s, 5], [high_s, 3]]) {
      stroke(brush, [[brush.x(at), y - half * brush.unit], [brush.x(at), y + half * brush.unit]], 'sent', 1.5);
    }
  }
});

// Write a text beside a point, on a ground that keeps it readable, where there is room.
function label({ context, left, right, unit }, text, x, y, tone, prefersRight) {
  context.font = smssim.chartFont.replace('11', 11 * unit);
  const width = context.measureText(text).width + 8 * unit;
  const isRight = x - width < left || (prefersRight && x + width < right);
  const from = isRight ? x + 7 * unit : x - width;
  context.fillStyle = colour('veil');
  context.fillRect(from - 2 * unit, y - 7 * unit, width - 4 * unit, 14 * unit);
  context.fillStyle = colour(tone);
  context.fillText(text, from, y + 4 * unit);
}

// When shares of all messages were sent: a point with its time.
const milestones = painter((brush, reached, total) => {
  const { context, unit } = brush;
  let lowest = Infinity;
  for (const [percent, time] of Object.entries(reached || {})) {
    if (!isKnown(time)) continue;
    const [x, y] = [brush.x(time), brush.y((percent / 100) * total)];
    context.beginPath();
    context.arc(x, y, 3.5 * unit, 0, 7);
    Object.assign(context, { fillStyle: colour('card'), strokeStyle: colour('sent'), lineWidth: 2 * unit });
    context.setLineDash([]);
    context.fill();
    context.stroke();
    if (lowest - y < 13 * unit) continue;
    lowest = y;
    label(brush, clock(time), x, y, 'ink');
  }
});

// Deadlines: the line has to pass to the left of the corner.
const goals = painter((brush, list, total) => {
  const { bottom, unit } = brush;
  for (const goal of (list || []).slice(0, 8)) {
    const [x, y] = [brush.x(goal.at_s), brush.y((goal.percent / 100) * total)];
    stroke(brush, [[x, bottom], [x, y], [x - 14 * unit, y]], 'goal', 1.5);
    shape(brush, '◆', x, y - 4 * unit, 4.5, 'goal');
    label(brush, clean(goal.text, 30), x, y + 18 * unit, 'goal', true);
  }
});

smssim.marks = { stretches, events, plan, forecast, milestones, goals, shapeOf };
})();
