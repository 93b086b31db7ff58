// The page that trains: train.mjs FOLDER [--steps N] [--shots DIR] [--file]
// FOLDER is what `amcl-wgpu export RUN --web FOLDER --train --device D` made. The losses of its first steps, at most N,
// must be those that the program gave on D; training under another seed must differ. Of one driver they are the same
// bits. Devices that round otherwise part, since rounding grows with every step: of the quickstart, at batch 256, this
// page and the processor by 4e-5 in 11 steps, 5e-4 in 17 and 3e-3 in 20. What a visitor does is done: steps
// by keyboard, a pause, own images. With --file the page is also opened from file://. Prints what was measured as JSON.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { open } from './browser.mjs';

const BOUND = 1e-3;
const text = { type: 'string' };
const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { steps: text, shots: text, file: { type: 'boolean' } },
});
const folder = path.resolve(positionals[0] ?? '.');
const described = JSON.parse(fs.readFileSync(path.join(folder, 'train.json')));
const steps = Math.min(described.native.losses.length, Number(values.steps ?? Infinity));

const difference = (losses) => Math.max(...losses.map(([at, v]) => Math.abs(v / described.native.losses[at - 1] - 1)));
const losses = (page) => page.evaluate(() => amclTrain.state().losses);

async function checkLosses(page) {
  assert.match(await page.innerText('#proof'), /bit by bit/);
  await page.focus('#one');
  await page.keyboard.press('Enter');
  await page.waitForFunction(() => amclTrain.state().losses.length === 1 && !document.getElementById('one').disabled);
  const begin = Date.now();
  await page.evaluate((n) => amclTrain.run(n), steps - 1);
  const ms = (Date.now() - begin) / (steps - 1);
  const got = await losses(page);
  assert.deepEqual(
    got.map(([at]) => at),
    Array.from({ length: steps }, (_, i) => i + 1),
  );
  const far = difference(got);
  assert.ok(far < BOUND, `losses are ${far} off: ${got.map(([, v]) => v)}`);
  assert.ok((await page.innerText('#native')).includes(`first ${steps} steps`));
  const state = await page.evaluate(() => amclTrain.state());
  assert.ok(Math.abs(state.difference.most - far) < 1e-9, 'the page tells the same difference');
  return { steps, largest: far, ms_a_step: Math.round(ms), knn: state.knn };
}

// Paused, a step that is under way is finished, and none begins; another seed has other draws and other losses.
async function checkControl(page) {
  const wrong = await page.evaluate(async () => {
    amclTrain.trainer().seed += 1n;
    await amclTrain.restart();
    const words = amclTrain.trainer().proof();
    document.getElementById('start').click();
    while (!amclTrain.state().losses.length) await new Promise((resolve) => setTimeout(resolve, 20));
    document.getElementById('start').click();
    await amclTrain.idle();
    amclTrain.trainer().seed -= 1n;
    return words;
  });
  assert.match(wrong, /differs/);
  const got = await losses(page);
  assert.ok(got.length < 6, `${got.length} steps in spite of the pause`);
  assert.match(await page.innerText('#status'), new RegExp(`Paused after ${got.length} step`));
  const far = difference(got.slice(0, 1));
  assert.ok(far > BOUND, `another seed gives the same loss (${far})`);
  return far;
}

// Images of one's own: fewer than a batch are refused, others replace the plan's, with classes by their folders.
async function checkOwn(page) {
  const give = (count) =>
    page.evaluate(async (n) => {
      const canvas = document.createElement('canvas');
      Object.assign(canvas, { width: 50, height: 40 });
      const context = canvas.getContext('2d');
      const list = [];
      for (let i = 0; i < n; i += 1) {
        context.fillStyle = `hsl(${(i * 137) % 360} 70% 50%)`;
        context.fillRect(0, 0, 50, 40);
        context.fillStyle = '#fff';
        if (i % 2) context.fillRect(10 + (i % 20), 10, 12, 20);
        const source = await new Promise((resolve) => {
          canvas.toBlob(resolve, 'image/png');
        });
        list.push({ name: `all/${i % 2 ? 'boxes' : 'plain'}/${i}.png`, source });
      }
      list.push({ name: 'all/broken.png', source: new Blob(['x']) });
      await amclTrain.add(list);
    }, count);
  await give(described.batch - 1);
  assert.match(
    await page.innerText('#failures'),
    new RegExp(`${described.batch - 1} images? could be read, and a step takes ${described.batch}.*broken\\.png`),
  );
  assert.equal(await page.evaluate(() => amclTrain.state().own), null);
  await give(described.batch + 3);
  const own = await page.evaluate(() => amclTrain.state().own);
  assert.deepEqual(own, { count: described.batch + 3, classes: ['boxes', 'plain'] });
  assert.match(await page.innerText('#own-status'), /boxes, plain/);
  await page.evaluate(() => amclTrain.run(1));
  const [[, loss]] = await losses(page);
  const far = Math.abs(loss / described.native.losses[0] - 1);
  assert.ok(Number.isFinite(loss) && far > BOUND, `images of one's own have the loss of the plan's (${loss})`);
  return { loss };
}

const browser = await open(folder);
try {
  const begin = Date.now();
  const { page, complaints } = await browser.visit('train.html');
  await page.evaluate(() => amclTrain.ready);
  const measured = { chromium: browser.version, seconds_to_ready: (Date.now() - begin) / 1000 };
  measured.losses = await checkLosses(page);
  if (values.shots) await browser.shoot(page, values.shots, 'train');
  measured.other_seed = await checkControl(page);
  measured.own = await checkOwn(page);
  if (values.shots) await browser.shoot(page, values.shots, 'train-own');
  assert.deepEqual(complaints, []);
  await page.close();
  if (values.file) measured.file = await browser.asFile('train.html', 'amclTrain');
  console.log(JSON.stringify(measured, null, 1));
} finally {
  await browser.close();
}
