// A map of points on a canvas, to be pointed at and walked by keyboard. Defines `AmclMap(canvas, on)`.
//
//   on.look(point | null)   a point is pointed at, or none any more
//   on.choose(point)        a point is clicked, or Enter pressed on it
//   map.show(points)        [{x, y, colour, picture?}]: pictures (canvases) stand in frames above all dots
//   map.mark(point | null)  the one that is selected
'use strict';

globalThis.AmclMap = function AmclMap(canvas, on) {
  const MARGIN = 24;
  const REACH = 20;
  const DOT = 3.5;
  const FRAME = 26;
  let points = [];
  let placed = [];
  let current = null;
  let marked = null;
  const context = canvas.getContext('2d');
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  function place() {
    const { width, height } = canvas.getBoundingClientRect();
    const xs = points.map((p) => p.x);
    const ys = points.map((p) => p.y);
    const along = (all, length, flip) => {
      const low = all.reduce((a, b) => Math.min(a, b), Infinity);
      const span = all.reduce((a, b) => Math.max(a, b), -Infinity) - low || 1;
      return all.map((v) => {
        const at = MARGIN + ((v - low) / span) * (length - 2 * MARGIN);
        return flip ? length - at : at;
      });
    };
    const [left, top] = [along(xs, width, false), along(ys, height, true)];
    placed = points.map((point, i) => ({ point, x: left[i], y: top[i] }));
    return [width, height];
  }

  function ring({ x, y, point }, style, width) {
    context.strokeStyle = style;
    context.lineWidth = width;
    context.beginPath();
    context.arc(x, y, point.picture ? FRAME * 0.8 : DOT + 4, 0, 2 * Math.PI);
    context.stroke();
  }

  function draw() {
    const [width, height] = place();
    if (!width) return;
    const scale = globalThis.devicePixelRatio || 1;
    Object.assign(canvas, { width: Math.round(width * scale), height: Math.round(height * scale) });
    context.setTransform(scale, 0, 0, scale, 0, 0);
    for (const p of placed.filter((q) => !q.point.picture)) {
      context.fillStyle = p.point.colour;
      context.beginPath();
      context.arc(p.x, p.y, DOT, 0, 2 * Math.PI);
      context.fill();
    }
    context.imageSmoothingEnabled = false;
    for (const { x, y, point } of placed.filter((q) => q.point.picture)) {
      context.fillStyle = colour('--ink');
      context.fillRect(x - FRAME / 2 - 2, y - FRAME / 2 - 2, FRAME + 4, FRAME + 4);
      context.drawImage(point.picture, x - FRAME / 2, y - FRAME / 2, FRAME, FRAME);
    }
    const at = (point) => placed.find((p) => p.point === point);
    if (at(marked)) ring(at(marked), colour('--mark'), 3);
    if (at(current)) ring(at(current), colour('--focus'), 3);
  }

  function look(point) {
    if (point === current) return;
    current = point;
    draw();
    on.look(point);
  }

  function nearest(x, y, reach) {
    // Of two equally near ones that which lies above.
    let best = null;
    for (const p of placed) {
      const far = Math.hypot(p.x - x, p.y - y) - (p.point.picture ? FRAME / 2 : 0);
      if (far < reach && (!best || far <= best.far)) best = { far, point: p.point };
    }
    return best ? best.point : null;
  }

  // The next point within 45 degrees of a direction.
  function next(dx, dy) {
    const from = placed.find((p) => p.point === current) ?? placed.find((p) => p.point === marked);
    if (!from) return placed[0]?.point ?? null;
    let best = null;
    for (const p of placed) {
      const [x, y] = [p.x - from.x, p.y - from.y];
      const ahead = x * dx + y * dy;
      const aside = Math.abs(x * dy) + Math.abs(y * dx);
      if (p !== from && ahead > 0 && aside <= ahead && (!best || ahead + aside < best.far))
        best = { far: ahead + aside, point: p.point };
    }
    return best ? best.point : current;
  }

  const inside = (event) => {
    const box = canvas.getBoundingClientRect();
    return nearest(event.clientX - box.left, event.clientY - box.top, REACH);
  };
  canvas.addEventListener('pointermove', (event) => look(inside(event)));
  canvas.addEventListener('pointerleave', () => look(null));
  canvas.addEventListener('click', (event) => {
    const point = inside(event);
    look(point);
    if (point) on.choose(point);
  });
  canvas.addEventListener('keydown', (event) => {
    const steps = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    if (steps[event.key]) look(next(...steps[event.key]));
    else if ((event.key === 'Enter' || event.key === ' ') && current) on.choose(current);
    else return;
    event.preventDefault();
  });
  canvas.addEventListener('blur', () => look(null));
  new ResizeObserver(draw).observe(canvas);
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', draw);

  return {
    show(list) {
      points = list;
      if (!points.includes(current)) current = null;
      draw();
    },
    mark(point) {
      marked = point;
      draw();
    },
  };
};
