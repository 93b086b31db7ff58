// The page of an exported encoder: takes images, queues them into the plan's batch, shows what the features tell.
// What a visitor adds are `items`: {name, source (a Blob) or bytes, feature, how, near, votes, thumb}.
// A harness finds `amclPage`: ready (a promise), embed([RGB bytes of an image, ...]), add(files), items, failures.
'use strict';

(function () {
  const { unit, dot, ranked, votes } = AmclNeighbours;
  // Neighbours shown, and classes of a vote.
  const SHOWN = 12;
  const CLASSES = 6;
  // Side of the small pictures in lists and on the map.
  const THUMB = 64;
  const id = (name) => document.getElementById(name);
  const percent = (share) => `${(100 * share).toFixed(share < 0.0995 ? 1 : 0)} %`;

  const items = [];
  const waiting = [];
  const failures = [];
  let page;
  let player;
  let gallery = null;
  let map = null;
  let selected = null;
  let working = null;
  let done = 0;

  function element(tag, properties, ...children) {
    const e = Object.assign(document.createElement(tag), properties);
    e.append(...children);
    return e;
  }

  // ---- the encoder ----

  function program(name) {
    return player.plan.programs.find((p) => p.name === name);
  }

  // Features of images that are given as RGB bytes of the plan's size, batch by batch.
  async function embed(images) {
    const input = program(page.program).inputs.find((i) => i.name === page.pixels.input);
    const rows = [];
    for (let at = 0; at < images.length; at += page.batch) {
      const some = images.slice(at, at + page.batch);
      const packed = AmclImages.pack(some, input, page.batch);
      const { features } = await player.run(page.program, { [page.pixels.input]: packed }, { outputs: ['features'] });
      some.forEach((_, i) => rows.push(features.slice(i * page.dim, (i + 1) * page.dim)));
    }
    return rows;
  }

  async function prepared(item) {
    if (item.bytes) return { bytes: item.bytes, how: item.how };
    return AmclImages.fitted(await AmclImages.decode(item.source, page.alpha), page.height, page.width);
  }

  async function workOnce(some) {
    const ready = [];
    for (const item of some) {
      try {
        const { bytes, how } = await prepared(item);
        Object.assign(item, { how, thumb: small(AmclImages.show(bytes, page.height, page.width)) });
        ready.push({ item, bytes });
      } catch (e) {
        failures.push(`${item.name} (${e.message.replace(/\.$/, '')})`);
      }
    }
    const rows = await embed(ready.map((r) => r.bytes));
    ready.forEach(({ item }, i) => {
      item.feature = rows[i];
      items.push(item);
      id('thumbs').append(element('li', {}, tile(item)));
    });
  }

  // Encodes all that waits. While it does, more may come.
  async function work() {
    try {
      while (waiting.length) {
        const some = waiting.splice(0, page.batch);
        await workOnce(some);
        done += some.length;
        progress();
        if (items.length && !selected) select({ item: items[0] });
        drawMap();
      }
    } catch (e) {
      waiting.length = 0;
      AmclTrouble(e);
    } finally {
      working = null;
      done = 0;
    }
  }

  function add(list) {
    for (const entry of list) waiting.push(entry);
    progress();
    working ??= work();
    return working;
  }

  function progress() {
    const all = done + waiting.length;
    Object.assign(id('progress'), { hidden: !waiting.length, max: Math.max(all, 1), value: done });
    const count = (how) => items.filter((i) => i.how === how).length;
    const size = `${page.width}×${page.height}`;
    const parts = [
      waiting.length
        ? `${done} of ${all} encoded.`
        : `${items.length} ${items.length === 1 ? 'image' : 'images'} encoded.`,
      count('exact') && `${count('exact')} of exactly ${size} pixels went in as they are.`,
      count('resized') && `${count('resized')} resized to ${size} by this page's own code, as the program does it.`,
      count('canvas') && `${count('canvas')} resized to ${size} by the browser, which differs from the program.`,
    ];
    id('status').textContent = items.length || waiting.length ? parts.filter(Boolean).join(' ') : '';
    id('failures').hidden = !failures.length;
    const more = failures.length > 3 ? ` and ${failures.length - 3} more` : '';
    id('failures').textContent = `Could not be read: ${failures.slice(0, 3).join(', ')}${more}.`;
    id('own').hidden = !items.length;
  }

  // ---- pictures ----

  const className = (label) => page.classes[label] ?? `class ${label}`;
  const galleryName = (index) => {
    const parts = [gallery.names?.[index], gallery.labels && className(gallery.labels[index])].filter(Boolean);
    return parts.join(', ') || `gallery image ${index}`;
  };

  // A gallery image, cut out of the sprites. Its size is the style's, so that the position is given in shares.
  function sprite(index) {
    const { columns, count } = gallery.described;
    const rows = Math.ceil(count / columns);
    const share = (at, all) => (all > 1 ? `${(100 * at) / (all - 1)}%` : '0%');
    const e = element('span', { className: 'picture' });
    e.setAttribute('role', 'img');
    e.setAttribute('aria-label', `Picture of ${galleryName(index)}`);
    Object.assign(e.style, {
      backgroundImage: `url("${gallery.sprites}")`,
      backgroundSize: `${100 * columns}% ${100 * rows}%`,
      backgroundPosition: `${share(index % columns, columns)} ${share(Math.floor(index / columns), rows)}`,
    });
    return e;
  }

  // A copy of a canvas, of at most THUMB pixels a side.
  function small(canvas) {
    const share = Math.min(1, THUMB / Math.max(canvas.width, canvas.height));
    const copy = element('canvas', {
      width: Math.ceil(canvas.width * share),
      height: Math.ceil(canvas.height * share),
    });
    copy.getContext('2d').drawImage(canvas, 0, 0, copy.width, copy.height);
    return copy;
  }

  const pictureOf = ({ item, index }) => {
    if (!item) return sprite(index);
    const picture = small(item.thumb);
    picture.className = 'picture';
    picture.setAttribute('role', 'img');
    picture.setAttribute('aria-label', `Picture of ${item.name}`);
    return picture;
  };

  function tile(item) {
    const button = element('button', { type: 'button', className: 'tile', title: item.name });
    button.append(pictureOf({ item }), element('span', { textContent: item.name.split('/').pop() }));
    button.setAttribute('aria-pressed', 'false');
    button.addEventListener('click', () => select({ item }));
    item.tile = button;
    return button;
  }

  // ---- what a feature tells ----

  // Neighbours and votes of a feature: of the gallery, or where there is none, of the other images.
  function judged(feature, self) {
    const query = unit(feature);
    if (gallery) {
      const near = ranked(query, gallery.rows).filter(({ index }) => index !== self.index);
      return {
        near: near.map((n) => ({ target: { index: n.index }, ...n })),
        votes: gallery.labels ? votes(near, gallery.labels, page.knn) : [],
      };
    }
    const others = items.filter((i) => i !== self.item);
    const near = ranked(
      query,
      others.map((i) => unit(i.feature)),
    );
    return { near: near.map((n) => ({ target: { item: others[n.index] }, ...n })), votes: [] };
  }

  // What a frame of the camera looks like, in words.
  async function look({ bytes }) {
    const [feature] = await embed([bytes]);
    const { near, votes: list } = judged(feature, {});
    if (!near.length) return 'Keep a frame to compare with.';
    const [{ target, similarity }] = near;
    const verdict = list.length ? `${className(list[0].label)}, ${percent(list[0].share)} of the votes; ` : '';
    return `${verdict}nearest: ${target.item?.name ?? galleryName(target.index)}, cosine ${similarity.toFixed(3)}`;
  }

  function select(target) {
    selected = target;
    for (const item of items) item.tile.setAttribute('aria-pressed', String(item === target.item));
    const name = target.item ? target.item.name : galleryName(target.index);
    const result = judged(target.item ? target.item.feature : gallery.rows[target.index], target);
    id('detail').hidden = false;
    id('detail-title').textContent = target.item ? name : `Of the gallery: ${name}`;
    showVotes(result.votes);
    id('near-title').textContent = gallery ? 'Nearest in the gallery' : 'Nearest among your images';
    id('near').replaceChildren(
      ...result.near.slice(0, SHOWN).map(({ target: t, similarity }) => {
        const title = t.item ? t.item.name : galleryName(t.index);
        const button = element(
          'button',
          { type: 'button', className: 'tile', title },
          pictureOf(t),
          element('span', { textContent: title }),
          element('span', { textContent: similarity.toFixed(3) }),
        );
        button.addEventListener('click', () => {
          select(t);
          id('near').querySelector('button')?.focus();
        });
        return element('li', {}, button);
      }),
    );
    map?.mark(pointOf(target));
    showImage(target, name).catch(AmclTrouble);
  }

  function showVotes(list) {
    id('votes-part').hidden = !list.length;
    if (!list.length) return;
    const k = Math.min(
      page.knn.k,
      list.reduce((sum, v) => sum + v.count, 0),
    );
    id('verdict').textContent =
      `${className(list[0].label)}: ${percent(list[0].share)} of the votes of ${k} neighbours, ` +
      `each weighing exp(cosine / ${Number(page.knn.temperature.toPrecision(4))}).`;
    id('votes').replaceChildren(
      ...list.slice(0, CLASSES).map(({ label, share, count }) => {
        const bar = element('span', { className: 'bar' });
        bar.style.width = `${100 * share}%`;
        const cell = element('td', {}, bar);
        cell.style.width = '40%';
        return element(
          'tr',
          {},
          element('th', { scope: 'row', textContent: className(label) }),
          element('td', { className: 'number', textContent: percent(share) }),
          element('td', { className: 'number', textContent: count }),
          cell,
        );
      }),
    );
  }

  async function showImage(target, name) {
    id('heads-field').hidden = true;
    id('heat').hidden = true;
    const seen = id('seen');
    seen.setAttribute('aria-label', `${name}, as the encoder sees it`);
    let bytes;
    if (target.item) {
      bytes = (await prepared(target.item)).bytes;
      if (selected !== target) return;
      Object.assign(seen, { width: page.width, height: page.height });
      seen.getContext('2d').drawImage(AmclImages.show(bytes, page.height, page.width), 0, 0);
    } else {
      const { tile: side, columns } = gallery.described;
      const picture = await gallery.picture;
      Object.assign(seen, { width: side, height: side });
      const from = [(target.index % columns) * side, Math.floor(target.index / columns) * side];
      seen.getContext('2d').drawImage(picture, ...from, side, side, 0, 0, side, side);
    }
    const how = target.item?.how;
    id('seen-note').textContent =
      how === 'exact'
        ? 'As it is in the file.'
        : how
          ? `Brought to ${page.width}×${page.height} pixels.`
          : 'Of the gallery.';
    if (page.attention && bytes) await showAttention(target, bytes, name);
  }

  // ---- attention ----

  // The part of an image that the encoder sees: the row of the table of views that the plan was filled with.
  function view(inputs, weights) {
    const table = inputs.find((i) => i.name === 'views');
    const from = table && player.plan.buffers[table.buffer].from;
    if (!from) return [0, 0, page.height, page.width];
    return [...new Float32Array(weights.slice(from.offset + table.offset, from.offset + table.offset + 16))];
  }

  async function showAttention(target, bytes, name) {
    const { attention } = page;
    const run = program(attention.program);
    const input = run.inputs.find((i) => i.name === attention.input);
    const result = await player.run(
      attention.program,
      { [attention.input]: AmclImages.pack([bytes], input, 1) },
      { outputs: [attention.output] },
    );
    if (selected !== target) return;
    const all = result[attention.output];
    const tokens = all.length / attention.heads;
    const grid = Math.floor(Math.sqrt(tokens));
    // The class token, if it stands among the tokens, is the first.
    const skip = tokens - grid * grid;
    const heads = id('heads');
    const draw = () => {
      const chosen = Number(heads.value);
      const some = chosen < 0 ? Array.from({ length: attention.heads }, (_, h) => h) : [chosen];
      const at = (i) => some.reduce((sum, h) => sum + all[h * tokens + skip + i], 0) / some.length;
      const values = Array.from({ length: grid * grid }, (_, i) => at(i));
      heat(values, grid, attention.view);
      id('heat').setAttribute('aria-label', `Attention over ${name}, ${heads.selectedOptions[0].textContent}`);
    };
    heads.onchange = draw;
    id('heads-field').hidden = false;
    draw();
  }

  // A square of weights over the image: clear at the smallest, a full yellow at the largest. The browser smooths it.
  function heat(values, grid, [top, left, height, width]) {
    const small = element('canvas', { width: grid, height: grid });
    const image = new ImageData(grid, grid);
    const [least, most] = [Math.min(...values), Math.max(...values)];
    const share = (v) => (v - least) / (most - least || 1);
    values.forEach((v, i) => image.data.set([255, 70 + 160 * share(v), 0, 255 * share(v)], 4 * i));
    id('heat-note').textContent =
      `Clear: ${least.toPrecision(2)}, yellow: ${most.toPrecision(2)}; ` +
      `spread evenly over the image it were ${(1 / values.length).toPrecision(2)}.`;
    small.getContext('2d').putImageData(image, 0, 0);
    const scale = 8;
    const canvas = Object.assign(id('heat'), { width: scale * page.width, height: scale * page.height, hidden: false });
    canvas.getContext('2d').drawImage(small, scale * left, scale * top, scale * width, scale * height);
  }

  // ---- the map ----

  let points = [];
  const pointOf = (target) =>
    points.find((p) => (target.item ? p.target.item === target.item : p.target.index === target.index)) ?? null;
  const classColour = (label) => `hsl(${Math.round((360 * label) / Math.max(page.classes.length, 1))} 65% 50%)`;

  function drawMap() {
    if (!map) return;
    const { mean, axes } = gallery.described.map;
    const own = items.map((item) => {
      const centred = unit(item.feature).map((v, i) => v - mean[i]);
      return { x: dot(centred, axes[0]), y: dot(centred, axes[1]), picture: item.thumb, target: { item } };
    });
    points = [...gallery.points, ...own];
    map.show(points);
    map.mark(selected && pointOf(selected));
  }

  function describe(point) {
    const under = id('under');
    if (!point) return under.replaceChildren();
    const { target } = point;
    const words = target.item ? `${target.item.name}, yours` : galleryName(target.index);
    return under.replaceChildren(pictureOf(target), element('span', { textContent: words }));
  }

  // ---- files out ----

  function saveJson() {
    const { made_by } = player.plan;
    const { method, backbone, dim } = page;
    const images = items.map((item) => {
      const list = judged(item.feature, { item }).votes;
      return {
        name: item.name,
        resized: item.how !== 'exact',
        votes: Object.fromEntries(list.map((v) => [className(v.label), v.share])),
        features: [...item.feature],
      };
    });
    AmclFiles.download('features.json', JSON.stringify({ made_by, method, backbone, dim, images }), 'application/json');
  }

  function clear() {
    waiting.length = 0;
    items.length = 0;
    failures.length = 0;
    selected = null;
    id('thumbs').replaceChildren();
    id('detail').hidden = true;
    progress();
    drawMap();
    id('choose').focus();
  }

  // ---- the beginning ----

  async function openGallery(described) {
    const numbers = await AmclFiles.bytes(described.file);
    const part = (Type, at) => new Type(numbers, at.offset, at.bytes / 4);
    const flat = part(Float32Array, described.features);
    const rows = Array.from({ length: described.count }, (_, i) => flat.subarray(i * page.dim, (i + 1) * page.dim));
    const sprites = AmclFiles.address(described.sprites);
    const picture = new Image();
    picture.src = sprites;
    const labels = described.labels ? part(Uint32Array, described.labels) : null;
    gallery = {
      described,
      rows,
      labels,
      names: described.names,
      sprites,
      picture: picture.decode().then(() => picture),
    };
    if (!described.map) return;
    const xy = part(Float32Array, described.map.xy);
    gallery.points = rows.map((_, index) => ({
      x: xy[2 * index],
      y: xy[2 * index + 1],
      colour: labels ? classColour(labels[index]) : 'hsl(210 65% 50%)',
      target: { index },
    }));
    map = AmclMap(id('map'), { look: describe, choose: (point) => select(point.target) });
    id('map-part').hidden = false;
    if (labels && page.classes.length <= 20) {
      id('legend').replaceChildren(
        ...page.classes.map((name, label) => {
          const chip = element('span', { className: 'chip' });
          chip.style.background = classColour(label);
          return element('li', {}, chip, name);
        }),
      );
    }
  }

  async function start() {
    page = await AmclFiles.json('page.json');
    id('title').textContent = page.title;
    document.title = page.title;
    const facts = [
      `method ${page.method}`,
      `epoch ${page.epoch}`,
      `images of ${page.width}×${page.height} pixels`,
      `features of ${page.dim} numbers`,
    ];
    id('facts').textContent = `${facts.join(', ')}.`;
    const why = AmclPlayer.missing();
    if (why) throw new Error(why);
    const [plan, weights] = await Promise.all([AmclFiles.json('plan.json'), AmclFiles.bytes('weights.bin')]);
    const { adapter, device } = await AmclPlayer.device(plan.limits, plan.features);
    player = await AmclPlayer.open(plan, weights, {
      device,
      progress: (ready, all) => {
        id('facts').textContent = `Compiling: ${ready} of ${all} shaders.`;
      },
      lost: AmclTrouble,
    });
    id('facts').textContent = `${facts.join(', ')}.`;
    if (page.attention) {
      page.attention.view = view(program(page.attention.program).inputs, weights);
      const choice = (value, textContent) => element('option', { value, textContent });
      id('heads').append(
        choice(-1, 'mean of all heads'),
        ...Array.from({ length: page.attention.heads }, (_, h) => choice(h, `head ${h + 1}`)),
      );
    }
    id('app').hidden = false;
    if (page.gallery) await openGallery(page.gallery);
    id('device').textContent =
      `Graphics adapter: ${AmclTrouble.named(adapter)}. ` +
      `Plan made by ${plan.made_by}: ${plan.programs.reduce((n, p) => n + p.dispatches.length, 0)} dispatches ` +
      `of ${plan.shaders.length} shaders, ${page.batch} images at once.`;
    id('how').textContent =
      'Nothing leaves this computer: the encoder runs on its graphics adapter by WebGPU, with the shaders that ' +
      `trained it. The largest centred square of an image is brought to ${page.width}×${page.height} pixels by an ` +
      "antialiased triangle, in the program's own arithmetic; decoders of JPEGs differ by a few levels between " +
      'browser and program, and transparent pixels lose their colours here.';
    const refuse = (what) => {
      failures.push(what);
      progress();
    };
    AmclInputs.files({ add, refuse });
    AmclInputs.camera({
      add,
      refuse,
      look,
      fit: (pixels) => AmclImages.fitted(pixels, page.height, page.width),
      fail: AmclTrouble,
    });
    id('save-npy').addEventListener('click', () =>
      AmclFiles.download(
        'features.npy',
        AmclFiles.npy(
          items.map((i) => i.feature),
          page.dim,
        ),
        'application/octet-stream',
      ),
    );
    id('save-json').addEventListener('click', saveJson);
    id('clear').addEventListener('click', clear);
  }

  const ready = start();
  ready.catch((e) => {
    id('facts').textContent = '';
    AmclTrouble(e);
  });
  globalThis.amclPage = { ready, embed, add: (files) => add(AmclInputs.images(files)), items, failures };
})();
