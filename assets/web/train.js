// The page that trains: starts and pauses the replay, shows what the steps tell, measures what the encoder has learned.
// A harness finds `amclTrain`: ready and idle() (promises), run(steps), add([{name, source}]), restart(), trainer(), state().
'use strict';

(function () {
  const { unit, ranked, votes } = AmclNeighbours;
  // Steps in flight: the next is drawn and queued while the one before is computed and read.
  const FLYING = 2;
  // Steps between two looks at the pairs, and between two measurements within an epoch.
  const [LOOK, MEASURE] = [5, 20];
  // Images of which the nearest are shown, and how many of those; images of one's own that are classified.
  const [SHOWN, NEAR, QUERIES] = [6, 6, 256];
  // Over so many seconds a step, a visitor is told before.
  const SLOW = 1;
  const SOFTWARE = /swiftshader|llvmpipe|lavapipe|software|basic render|warp/i;
  const id = (name) => document.getElementById(name);
  const pause = () => new Promise((resolve) => setTimeout(resolve, 0));
  const percent = (share) => `${(100 * share).toFixed(1)} %`;
  const count = (n, word) => `${n} ${word}${n === 1 ? '' : 's'}`;
  const duration = (s) =>
    s < 90 ? `${s.toPrecision(2)} s` : s < 5400 ? `${Math.round(s / 60)} min` : `${(s / 3600).toFixed(1)} h`;

  let described;
  let trainer;
  let plots;
  let own = null;
  let measured;
  let history;
  let pairs;
  let running = false;
  let looping = Promise.resolve();
  let until = Infinity;
  let failed = false;
  let busy = false;

  function element(tag, properties, ...children) {
    const e = Object.assign(document.createElement(tag), properties);
    e.append(...children);
    return e;
  }

  // ---- what is measured ----

  function imagesOf(bytes, ids) {
    const { stride } = trainer;
    const out = new Uint8Array(ids.length * stride);
    ids.forEach((from, to) => out.set(bytes.subarray(from * stride, (from + 1) * stride), to * stride));
    return { bytes: out, count: ids.length };
  }

  // Whose neighbours are looked for, and among whom: test images among training images; of a visitor's images each
  // among the others.
  function prepare() {
    const all = own ?? trainer.carried;
    const ids = own
      ? AmclTrainer.spread(all.count, described.bank)
      : Array.from({ length: described.bank }, (_, i) => i);
    const bank = { ...imagesOf(all.bytes, ids), labels: all.labels && ids.map((i) => all.labels[i]) };
    const classes = own ? own.classes : described.classes;
    const labelled = Boolean(bank.labels) && classes.length > 1;
    let queries = { ...trainer.test, selves: [] };
    if (own) {
      const selves = AmclTrainer.spread(bank.count, QUERIES);
      queries = {
        ...imagesOf(bank.bytes, selves),
        labels: labelled ? selves.map((i) => bank.labels[i]) : null,
        selves,
      };
    }
    measured = { bank, queries, classes, labelled, strip: AmclTrainer.spread(queries.count, SHOWN), at: -1 };
  }

  // Neighbours of all queries; gives the seconds that the encoder took for an image.
  async function measure() {
    const { bank, queries, labelled, strip } = measured;
    measured.at = trainer.next;
    const rows = (await trainer.features(bank.bytes, bank.count)).map(unit);
    // The first images warm the encoder up; the others tell its pace.
    const before = performance.now();
    const asked = own
      ? queries.selves.map((i) => rows[i])
      : (await trainer.features(queries.bytes, queries.count)).map(unit);
    const seconds = (performance.now() - before) / 1000;
    let right = 0;
    const found = [];
    for (let q = 0; q < asked.length; q += 1) {
      if (q % 16 === 0) await pause();
      const near = ranked(asked[q], rows).filter(({ index }) => index !== queries.selves[q]);
      if (labelled && votes(near, bank.labels, described.knn)[0]?.label === queries.labels[q]) right += 1;
      if (strip.includes(q)) found.push({ query: q, near: near.slice(0, NEAR) });
    }
    if (labelled && asked.length) history.knn.push([trainer.next, (100 * right) / asked.length]);
    showStrip(found);
    render();
    const [batch] = trainer.program('features').outputs[0].dims;
    return seconds / (Math.ceil(Math.max(queries.count, 1) / batch) * batch);
  }

  // Is it time to measure? At an epoch's end (of short ones, at some), within long ones, and after the planned steps.
  function due() {
    const { next, steps, planned } = trainer;
    const since = next - measured.at;
    if (!since || next === planned) return since > 0;
    return next % steps ? (next % steps) % MEASURE === 0 : since >= LOOK;
  }

  // ---- the loop ----

  const wanted = () => running && !failed && trainer.next < until;

  function begin() {
    const look = trainer.next % LOOK === 0 || until - trainer.next === 1;
    return { look, ...trainer.step(look ? history.told : []) };
  }

  async function finish(step) {
    const out = await step.done;
    const at = step.index + 1;
    if (!Number.isFinite(out.loss)) throw new Error(`the loss of step ${at} is ${out.loss}: training has failed`);
    history.losses.push([at, out.loss]);
    history.rates.push([at, step.rate]);
    history.epoch = step.epoch;
    history.times.push(performance.now());
    if (history.times.length > 11) history.times.shift();
    if (step.look && history.told.length) {
      const { dims } = trainer.tells('similarity');
      pairs.add(at, AmclPairs.tell(out, dims, described.amcl));
    }
    render();
  }

  async function loop() {
    const flying = [];
    history.times = [];
    while (flying.length || wanted() || (running && due())) {
      while (flying.length < FLYING && wanted() && !due()) flying.push(begin());
      if (flying.length) await finish(flying.shift());
      else if (due()) {
        await measure();
        history.times = [];
      }
    }
  }

  // Trains until `last` steps are done, or it is paused.
  function go(last) {
    if (running || failed) return looping;
    running = true;
    until = last;
    controls();
    looping = loop()
      .catch((e) => {
        failed = true;
        AmclTrouble(e);
      })
      .finally(() => {
        running = false;
        controls();
      });
    return looping;
  }

  async function halt() {
    running = false;
    await looping;
  }

  // Back to the first step, on the plan's images or a visitor's. Gives the seconds that the encoder takes for an image.
  async function restart() {
    await halt();
    const rows = described.views * described.batch;
    const square = ([, a, b] = []) => described.views === 2 && a === rows && b === rows;
    const told = ['similarity', ...(described.amcl ? ['score'] : [])];
    const all = told.every((name) => square(trainer.tells(name)?.dims));
    history = { losses: [], rates: [], knn: [], times: [], told: all ? told : [], epoch: 0 };
    busy = true;
    controls();
    try {
      await trainer.restart(own);
      prepare();
      makePairs();
      describe();
      return await measure();
    } finally {
      busy = false;
      controls();
    }
  }

  // ---- what is shown ----

  function controls() {
    const { next, planned, steps } = trainer;
    const done = next >= planned;
    id('start').textContent = running ? 'Pause' : done ? 'Go on' : next ? 'Continue' : 'Start';
    id('start').disabled = failed || busy;
    for (const name of ['one', 'over', 'choose', 'choose-folder', 'carried'])
      id(name).disabled = running || failed || busy;
    const rate = history.rates.length ? history.rates[history.rates.length - 1][1].toPrecision(3) : '';
    const beyond = `Beyond the plan, each step has the last one's settings: its learning rate, ${rate}, stays.`;
    let said = `Ready: ${count(planned, 'step')} are planned, ${steps} an epoch.`;
    if (running) said = done ? `Training on. ${beyond}` : 'Training.';
    else if (done) said = `The ${count(planned, 'planned step')} are done. “Go on” trains further. ${beyond}`;
    else if (next) said = `Paused after ${count(next, 'step')}.`;
    if (busy) said = 'Preparing.';
    if (failed) said = 'Training has ended; reload the page to begin again.';
    if (id('status').textContent !== said) id('status').textContent = said;
  }

  // The largest relative difference to the native losses so far.
  function difference() {
    const pairs = history.losses
      .slice(0, described.native.losses.length)
      .map(([at, loss]) => [loss, described.native.losses[at - 1]]);
    const most = pairs.reduce((m, [here, there]) => Math.max(m, Math.abs(here - there) / Math.abs(there)), 0);
    return { steps: pairs.length, most };
  }

  function render() {
    const { losses, rates, knn } = history;
    const last = (list) => list[list.length - 1];
    const { planned, steps, next } = trainer;
    const shown = losses.length;
    Object.assign(id('progress'), { max: planned, value: Math.min(shown, planned) });
    const of = (n, all) => (n > all ? `${n}, ${all} planned` : `${n} of ${all}`);
    id('n-step').textContent = of(shown, planned);
    id('n-epoch').textContent = of(shown ? history.epoch + 1 : 0, Math.ceil(planned / steps));
    id('n-loss').textContent = shown ? last(losses)[1].toFixed(4) : '–';
    id('n-rate').textContent = shown ? last(rates)[1].toPrecision(3) : '–';
    const times = history.times;
    if (!shown) id('n-speed').textContent = '–';
    if (times.length > 1) {
      const speed = (1000 * described.batch * (times.length - 1)) / (last(times) - times[0]);
      id('n-speed').textContent = speed.toFixed(speed < 10 ? 1 : 0);
    }
    id('n-knn').textContent = knn.length ? `${last(knn)[1].toFixed(1)} %` : '–';
    let to = 20;
    while (to < next) to *= 2;
    to = Math.min(to, Math.max(planned, next));
    const range = { from: 0, to };
    const series = [{ points: losses, colour: '--mark' }];
    if (!own) series.push({ points: described.native.losses.map((v, i) => [i + 1, v]), colour: '--ink', dots: true });
    plots.loss.show({ ...range, series });
    plots.rate.show({ ...range, series: [{ points: rates, colour: '--mark' }] });
    const chance = 100 / Math.max(measured.classes.length, 1);
    const level = {
      points: [
        [0, chance],
        [to, chance],
      ],
      colour: '--soft',
      dash: [4, 4],
    };
    plots.knn.show({ ...range, series: [{ points: knn, colour: '--mark' }, level] });
    const ends = (list) =>
      list.length ? `, from ${list[0][1].toPrecision(4)} to ${last(list)[1].toPrecision(4)}` : '';
    for (const [name, list, words] of [
      ['loss', losses, 'Loss'],
      ['rate', rates, 'Learning rate'],
      ['knn', knn, 'kNN accuracy in percent'],
    ])
      id(name).setAttribute('aria-label', `${words}${ends(list)}`);
    renderNative();
    pairs.show(range);
  }

  function renderNative() {
    const { steps, most } = difference();
    const { losses, device } = described.native;
    const all = losses.length;
    id('native').hidden = Boolean(own);
    id('native').textContent = steps
      ? `The largest relative difference to the native losses (${device}), over the first ${count(steps, 'step')}` +
        `${steps < all ? ` of ${all} that are known` : ''}: ${most.toExponential(1)}.`
      : `The native losses (${device}) of the first ${count(all, 'step')} are known; this page's are compared with them.`;
  }

  function makePairs() {
    const { told } = history;
    id('pairs-part').hidden = !told.length;
    const warm = told.includes('score');
    pairs = AmclPairs.charts(id('pairs'), told.length ? trainer.tells('similarity').dims[0] : 0, warm);
    id('pairs-note').textContent =
      `Read every ${LOOK} steps. ` +
      (warm ? 'Temperatures are the median of all pairs and the band from 5 to 95\u00a0% of them. ' : '') +
      'Of a large batch, every so many rows are read.';
  }

  function picture(bytes, index, words, className, title) {
    const { height, width } = described;
    const at = index * trainer.stride;
    const canvas = AmclImages.show(bytes.subarray(at, at + 3 * height * width), height, width);
    canvas.setAttribute('role', 'img');
    canvas.setAttribute('aria-label', title);
    return element('li', { title }, canvas, element('span', { textContent: words, className }));
  }

  function showStrip(found) {
    const { bank, queries, classes, labelled } = measured;
    const rows = found.map(({ query, near }) => {
      const label = labelled ? queries.labels[query] : null;
      const name = labelled ? classes[label] : 'image';
      const first = picture(queries.bytes, query, name, '', `${own ? 'Image' : 'Test image'}, ${name}`);
      const others = near.map(({ index, similarity }) => {
        const cosine = similarity.toFixed(2);
        if (!labelled) return picture(bank.bytes, index, cosine, '', `Neighbour, cosine ${cosine}`);
        const same = bank.labels[index] === label;
        const words = classes[bank.labels[index]];
        const title = `Neighbour, ${words}, ${same ? 'the same class' : 'another class'}, cosine ${cosine}`;
        return picture(bank.bytes, index, same ? '✓' : words, same ? 'same' : '', title);
      });
      return element('li', {}, element('ol', {}, first, ...others));
    });
    id('near').replaceChildren(...rows);
    id('near-note').textContent =
      `After ${count(trainer.next, 'step')}: ${own ? 'some of your images' : 'test images'}, each with the nearest of ` +
      `${bank.count} ${own ? 'of your' : 'training'} images by the encoder's features. ` +
      (labelled ? 'A tick: the same class.' : 'Below: the cosine.');
  }

  function describe() {
    const { batch, title, height, width, knn } = described;
    const { bank, queries, classes, labelled } = measured;
    const images = own ? `${own.count} of your images` : `${trainer.carried.count} images`;
    id('title').textContent = `Pre-training: ${title}`;
    document.title = `Pre-training: ${title}`;
    id('facts').textContent = `From the beginning, on ${images} of ${width}×${height} pixels, ${batch} a step.`;
    id('app').hidden = false;
    id('native-key').hidden = Boolean(own);
    id('knn-part').hidden = !labelled;
    id('n-knn-part').hidden = !labelled;
    id('carried').hidden = !own;
    const whom = own
      ? `Each of ${queries.count} of your images among the others`
      : `${queries.count} test images among ${bank.count} training images`;
    id('knn-note').textContent =
      `${whom}: votes of the ${Math.min(knn.k, bank.count)} nearest, each weighing ` +
      `exp(cosine / ${Number(knn.temperature.toPrecision(4))}). Dashed: chance among ${classes.length} classes.`;
    controls();
  }

  // ---- images of one's own ----

  const refused = (lines) => {
    id('failures').hidden = !lines.length;
    id('failures').textContent = lines.join(' ');
  };

  async function read(list) {
    const { height, width } = described;
    const good = [];
    const bad = [];
    Object.assign(id('reading'), { max: list.length, value: 0, hidden: false });
    for (const { name, source } of list) {
      try {
        good.push({ name, ...AmclImages.fitted(await AmclImages.decode(source), height, width) });
      } catch (e) {
        bad.push(`${name} (${e.message.replace(/\.$/, '')})`);
      }
      id('reading').value += 1;
    }
    id('reading').hidden = true;
    return { good, bad };
  }

  // What is said of images that could not be read.
  const unread = (bad) =>
    bad.length
      ? [`Not read: ${bad.slice(0, 3).join(', ')}${bad.length > 3 ? ` and ${bad.length - 3} more` : ''}.`]
      : [];

  async function add(list) {
    if (failed) return;
    if (busy) {
      refused(['Not taken: the page is still preparing. Give them again.']);
      return;
    }
    await halt();
    busy = true;
    controls();
    try {
      const room = trainer.carried.count;
      const taken = AmclTrainer.spread(list.length, room).map((i) => list[i]);
      const { good, bad } = await read(taken);
      const { batch } = described;
      if (good.length < batch) {
        const had = good.length ? `${count(good.length, 'image')}` : 'No image';
        refused([`${had} could be read, and a step takes ${batch}: give at least ${batch}.`, ...unread(bad)]);
        return;
      }
      refused(unread(bad));
      const bytes = new Uint8Array(good.length * trainer.stride);
      good.forEach((image, i) => bytes.set(image.bytes, i * trainer.stride));
      const folders = AmclTrainer.foldersOf(good.map((g) => g.name));
      own = { bytes, count: good.length, labels: folders?.labels ?? null, classes: folders?.classes ?? [] };
      await restart();
      const resized = good.filter((g) => g.how !== 'exact').length;
      id('own-status').textContent =
        `${good.length} images are there` +
        (list.length > room ? ` of ${list.length}, evenly spread, as the plan has room for ${room}` : '') +
        (resized ? `; ${resized} brought to ${described.width}×${described.height} pixels` : '') +
        (folders
          ? `; classes by their folders: ${folders.classes.slice(0, 12).join(', ')}${folders.classes.length > 12 ? ', …' : ''}`
          : '; without folders they have no classes, so no accuracy is measured') +
        '. The encoder begins anew.';
    } finally {
      busy = false;
      controls();
    }
  }

  // ---- the beginning ----

  function warn(adapter, secondsAnImage) {
    const { batch, views } = described;
    // A step is forward, and backward about twice as much.
    const step = 3 * views * batch * secondsAnImage;
    const name = AmclTrouble.named(adapter);
    const software = SOFTWARE.test(name) || adapter.info?.isFallbackAdapter || adapter.isFallbackAdapter;
    if (!software && step < SLOW) return;
    id('slow').hidden = false;
    id('slow-text').textContent =
      (software ? `The graphics adapter here (${name}) computes on the processor. ` : '') +
      `By the encoder's pace, a step will take about ${duration(step)}, and the ${trainer.planned} planned ones ` +
      `${duration(step * trainer.planned)}. It can be paused at any time.`;
  }

  async function start() {
    described = await AmclFiles.json('train.json');
    const why = AmclPlayer.missing();
    if (why) throw new Error(why);
    const names = ['weights.bin', 'train.bin'];
    const [plan, weights, numbers] = await Promise.all([AmclFiles.json('plan.json'), ...names.map(AmclFiles.bytes)]);
    const { adapter, device } = await AmclPlayer.device(plan.limits, plan.features);
    trainer = new AmclTrainer.Trainer({
      described,
      plan,
      weights,
      numbers,
      device,
      lost: (e) => {
        failed = true;
        AmclTrouble(e);
        controls();
      },
      progress: (ready, all) => {
        id('facts').textContent = `Compiling: ${ready} of ${all} shaders.`;
      },
    });
    plots = {
      loss: AmclPlots(id('loss'), { x: 'step' }),
      rate: AmclPlots(id('rate'), { x: 'step', low: 0 }),
      knn: AmclPlots(id('knn'), { x: 'step', low: 0, high: 100 }),
    };
    const wrong = trainer.proof();
    id('proof').textContent = wrong
      ? `The page's draws are not the program's: ${wrong}. Losses will differ.`
      : `The page's draws are the program's, bit by bit: the first epoch's order of ${described.images.count} images and ` +
        `the first step's ${described.views * described.batch} views.`;
    id('proof').className = wrong ? 'alarm' : '';
    id('how').textContent =
      'Nothing leaves this computer. The page replays the training step that the program has recorded: the same shaders ' +
      'in the same order, with the same draws of images and views, on this graphics adapter by WebGPU.';
    id('device').textContent =
      `Graphics adapter: ${AmclTrouble.named(adapter)}. Plan made by ${plan.made_by}: ` +
      `${plan.programs.map((p) => `${p.dispatches.length} dispatches of ${p.name}`).join(', ')}.`;
    id('own-how').textContent =
      `Drop images or a folder here to train on them, ${described.batch} at least. A folder's subfolders are the classes. ` +
      'They stay on this computer.';
    id('start').addEventListener('click', () => {
      if (running) running = false;
      else go(trainer.next < trainer.planned ? trainer.planned : Infinity);
    });
    id('one').addEventListener('click', () => go(trainer.next + 1));
    id('over').addEventListener('click', () => restart().catch(AmclTrouble));
    id('carried').addEventListener('click', () => {
      own = null;
      id('own-status').textContent = '';
      restart().catch(AmclTrouble);
    });
    AmclInputs.files({
      add: (list) => add(list).catch(AmclTrouble),
      refuse: (what) => refused([`Not read: ${what}.`]),
    });
    warn(adapter, await restart());
  }

  const ready = start();
  ready.catch((e) => {
    id('facts').textContent = '';
    AmclTrouble(e);
  });
  globalThis.amclTrain = {
    ready,
    run: (steps) => go(trainer.next + steps),
    add,
    restart,
    idle: () => looping,
    trainer: () => trainer,
    state: () => ({ ...history, difference: difference(), own: own && { count: own.count, classes: own.classes } }),
  };
})();
