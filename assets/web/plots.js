// Small charts on canvases, in the page's colours, light and dark. Defines one global, `AmclPlots`.
//
//   AmclPlots(canvas, {x, low, high})          x: what the x axis is; low, high: ends of the y axis, where they are fixed
//   plot.show({series, from, to})                series: [{points: [[x, y], ...], band: [[x, low, high], ...], colour: a CSS
//                                                variable's name, dash, dots, fill}]; from, to: ends of the x axis
//
// Charts are drawn once a frame at most, however often they are told something new.
'use strict';

globalThis.AmclPlots = function AmclPlots(canvas, axes) {
  const [LEFT, RIGHT, TOP, BOTTOM] = [46, 10, 10, 36];
  const FONT = 11;
  const context = canvas.getContext('2d');
  let shown = { series: [], from: 0, to: 1 };
  let waiting = false;
  const variable = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  // Round numbers that divide low..high into about `count` parts.
  function ticks(low, high, count) {
    const rough = (high - low) / count;
    const unit = 10 ** Math.floor(Math.log10(rough));
    const by = unit * [1, 2, 5, 10].find((m) => m * unit >= rough * 0.999);
    const out = [];
    for (let v = Math.ceil(low / by - 1e-9) * by; v <= high + by * 1e-9; v += by) out.push(v);
    const digits = Math.max(0, -Math.floor(Math.log10(by) + 1e-9));
    return { at: out, words: (v) => (digits > 4 && v ? v.toExponential(1) : v.toFixed(digits > 4 ? 0 : digits)) };
  }

  function ends() {
    const all = shown.series.flatMap((s) => [
      ...(s.points ?? []).map((p) => p[1]),
      ...(s.band ?? []).flatMap((b) => [b[1], b[2]]),
    ]);
    const finite = all.filter(Number.isFinite);
    const low = axes.low ?? finite.reduce((a, b) => Math.min(a, b), Infinity);
    const high = axes.high ?? finite.reduce((a, b) => Math.max(a, b), -Infinity);
    if (!(high >= low)) return [0, 1];
    const room = high > low ? 0.06 * (high - low) : Math.abs(high) * 0.05 || 0.5;
    return [axes.low ?? low - room, axes.high ?? high + room];
  }

  function frame(width, height, x, y, [low, high]) {
    context.font = `${FONT}px system-ui, sans-serif`;
    context.strokeStyle = variable('--rule');
    context.fillStyle = variable('--soft');
    context.lineWidth = 1;
    const up = ticks(low, high, 4);
    context.textAlign = 'right';
    context.textBaseline = 'middle';
    for (const v of up.at) {
      context.beginPath();
      context.moveTo(LEFT, Math.round(y(v)) + 0.5);
      context.lineTo(width - RIGHT, Math.round(y(v)) + 0.5);
      context.stroke();
      context.fillText(up.words(v), LEFT - 6, y(v));
    }
    const along = ticks(shown.from, shown.to, Math.min(6, Math.max(2, Math.floor(width / 80))));
    context.textAlign = 'center';
    context.textBaseline = 'top';
    for (const v of along.at) context.fillText(along.words(v), x(v), height - BOTTOM + 5);
    context.fillText(axes.x, (LEFT + width - RIGHT) / 2, height - FONT - 3);
  }

  function one(series, x, y, floor) {
    const { points = [], band = [], colour, dash, dots, fill } = series;
    context.strokeStyle = variable(colour);
    context.fillStyle = variable(colour);
    const line = (list) => list.forEach(([px, py], i) => context[i ? 'lineTo' : 'moveTo'](x(px), y(py)));
    if (band.length) {
      context.globalAlpha = 0.2;
      context.beginPath();
      line(band.map((b) => [b[0], b[2]]));
      for (const b of [...band].reverse()) context.lineTo(x(b[0]), y(b[1]));
      context.fill();
      context.globalAlpha = 1;
    }
    if (!points.length) return;
    if (fill) {
      context.globalAlpha = 0.2;
      context.beginPath();
      context.moveTo(x(points[0][0]), floor);
      for (const p of points) context.lineTo(x(p[0]), y(p[1]));
      context.lineTo(x(points[points.length - 1][0]), floor);
      context.fill();
      context.globalAlpha = 1;
    }
    context.lineWidth = dots ? 1.25 : 2;
    context.setLineDash(dash ?? []);
    if (!dots) {
      context.beginPath();
      line(points);
      context.stroke();
    }
    context.setLineDash([]);
    // A line of one point would not be seen.
    if (!dots && points.length > 1) return;
    for (const p of points) {
      context.beginPath();
      context.arc(x(p[0]), y(p[1]), 3.5, 0, 2 * Math.PI);
      context[dots ? 'stroke' : 'fill']();
    }
  }

  function draw() {
    waiting = false;
    const { width, height } = canvas.getBoundingClientRect();
    if (!width) return;
    const scale = globalThis.devicePixelRatio || 1;
    Object.assign(canvas, { width: Math.round(width * scale), height: Math.round(height * scale) });
    context.setTransform(scale, 0, 0, scale, 0, 0);
    const [low, high] = ends();
    const span = shown.to - shown.from || 1;
    const x = (v) => LEFT + ((v - shown.from) / span) * (width - LEFT - RIGHT);
    const y = (v) => height - BOTTOM - ((v - low) / (high - low)) * (height - BOTTOM - TOP);
    frame(width, height, x, y, [low, high]);
    for (const series of shown.series) one(series, x, y, height - BOTTOM);
  }

  function soon() {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(draw);
  }

  new ResizeObserver(soon).observe(canvas);
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', soon);

  return {
    show(what) {
      shown = what;
      soon();
    },
  };
};
