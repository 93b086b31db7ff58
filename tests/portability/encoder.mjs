// The page of an exported encoder: encoder.mjs FOLDER [--images DIR --features FILE] [--shots DIR]
// FOLDER is what `amcl-wgpu export RUN --web FOLDER` made. Its gallery's pixels must give its gallery's features; the
// images of DIR, in the order of their names, the rows of FILE (`amcl-wgpu embed RUN --data DIR -o FILE.npy`). What a
// visitor does is done: files chosen and dropped, features saved, the map walked by keyboard, a frame of the camera
// kept. Prints what was measured as JSON.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { open } from './browser.mjs';

const BOUND = 1e-5;
const CAMERA = ['--use-fake-device-for-media-stream', '--use-fake-ui-for-media-stream'];
const text = { type: 'string' };
const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { images: text, features: text, shots: text },
});
const folder = path.resolve(positionals[0] ?? '.');
const described = JSON.parse(fs.readFileSync(path.join(folder, 'page.json')));
const { gallery, dim } = described;

// Rows of a .npy of f32.
function rowsOf(bytes) {
  const head = bytes.subarray(10, 10 + bytes.readUInt16LE(8)).toString();
  assert.match(head, /'<f4'.*False/);
  const columns = Number(/\(\d+, *(\d+)/.exec(head)[1]);
  const all = new Float32Array(Uint8Array.from(bytes.subarray(10 + bytes.readUInt16LE(8))).buffer);
  return Array.from({ length: all.length / columns }, (_, i) => all.slice(i * columns, (i + 1) * columns));
}

const unit = (row) => row.map((v) => v / Math.hypot(...row));
const largest = (row) => row.reduce((m, v) => Math.max(m, Math.abs(v)), 0);
// The largest difference, in shares of the largest feature.
const distance = (rows, others) =>
  Math.max(...rows.map((row, i) => largest(row.map((v, k) => v - others[i][k])))) / Math.max(...others.map(largest));

// In the page: features of the first images of the gallery, from their tiles; and of the first
// alone, moved a pixel aside.
async function galleryFeatures(count) {
  const described = await AmclFiles.json('page.json');
  const { tile, columns, sprites } = described.gallery;
  const picture = await createImageBitmap(new Blob([await AmclFiles.bytes(sprites)]));
  const { data } = AmclImages.pixels(picture, picture.width, picture.height);
  const tiles = (many, aside) =>
    Array.from({ length: many }, (_, i) =>
      Uint8Array.from({ length: 3 * tile * tile }, (_, j) => {
        const [x, y] = [Math.floor(j / 3) % tile, Math.floor(j / 3 / tile)];
        const at = (Math.floor(i / columns) * tile + y) * picture.width + (i % columns) * tile + ((x + aside) % tile);
        return data[4 * at + (j % 3)];
      }),
    );
  const rows = async (many, aside) => (await amclPage.embed(tiles(many, aside))).map((r) => [...r]);
  return { exact: await rows(count, 0), aside: await rows(1, 1) };
}

async function checkGallery(page) {
  if (!gallery || gallery.tile !== described.width || gallery.tile !== described.height) return null;
  const count = Math.min(gallery.count, described.batch + 1);
  const numbers = fs.readFileSync(path.join(folder, gallery.file));
  const all = new Float32Array(numbers.buffer.slice(numbers.byteOffset + gallery.features.offset), 0, count * dim);
  const want = Array.from({ length: count }, (_, i) => all.slice(i * dim, (i + 1) * dim));
  const got = await page.evaluate(galleryFeatures, count);
  const far = distance(got.exact.map(unit), want);
  assert.ok(far < BOUND, `features of the gallery's pixels are ${far} off`);
  const control = distance(got.aside.map(unit), want);
  assert.ok(control > 10 * BOUND, `an image that is moved has the same features (${control})`);
  return { images: count, largest: far, moved: control };
}

async function saved(page, button) {
  const [download] = await Promise.all([page.waitForEvent('download'), page.click(button)]);
  return fs.readFileSync(await download.path());
}

const encoded = (page, count) =>
  page.waitForFunction((n) => amclPage.items.length + amclPage.failures.length >= n, count);

async function checkFiles(page) {
  const tile = await page.evaluate(async () => {
    const canvas = AmclImages.show(
      new Uint8Array(3 * 60 * 40).map((_, i) => (i * 37) % 256),
      40,
      60,
    );
    const blob = await new Promise((resolve) => {
      canvas.toBlob(resolve, 'image/png');
    });
    return [...new Uint8Array(await blob.arrayBuffer())];
  });
  const image = (name, bytes) => ({
    name,
    mimeType: name.endsWith('.png') ? 'image/png' : 'text/csv',
    buffer: Buffer.from(bytes),
  });
  const many = Array.from({ length: described.batch + 1 }, (_, i) => image(`image ${i}.png`, tile));
  await page.setInputFiles('#files', [...many, image('broken.png', [1, 2, 3]), image('labels.csv', [1])]);
  await encoded(page, many.length + 1);
  const state = await page.evaluate(() => ({
    items: amclPage.items.map((i) => [...i.feature]),
    failures: amclPage.failures,
  }));
  assert.equal(state.items.length, many.length);
  assert.match(state.failures.join(), /^broken\.png/);
  const rows = rowsOf(await saved(page, '#save-npy'));
  assert.deepEqual(
    rows.map((r) => [...r]),
    state.items,
  );
  const json = JSON.parse(await saved(page, '#save-json'));
  assert.deepEqual(
    json.images.map((i) => i.name),
    many.map((m) => m.name),
  );
  assert.deepEqual(json.images[1].features, state.items[1]);
  if (gallery?.labels) {
    const votes = Object.values(json.images[0].votes);
    assert.ok(Math.abs(votes.reduce((a, b) => a + b, 0) - 1) < 1e-6, 'votes are shares');
  }
}

// What is dropped is taken, wherever it lands.
async function checkDrop(page) {
  const before = await page.evaluate(() => amclPage.items.length + amclPage.failures.length);
  await page.evaluate(async () => {
    const dropped = new DataTransfer();
    const blob = await new Promise((resolve) => {
      document.getElementById('seen').toBlob(resolve, 'image/png');
    });
    dropped.items.add(new File([blob], 'dropped.png', { type: 'image/png' }));
    dropped.items.add(new File(['x'], 'notes.txt', { type: 'text/plain' }));
    const event = new DragEvent('drop', { dataTransfer: dropped, bubbles: true, cancelable: true });
    document.querySelector('h1').dispatchEvent(event);
    if (!event.defaultPrevented) throw new Error('the browser would open the file in place of the page');
  });
  await encoded(page, before + 1);
  assert.equal(await page.evaluate(() => amclPage.items.at(-1).name), 'dropped.png');
}

async function checkMap(page) {
  await page.focus('#map');
  // Not to the left of the leftmost.
  let under = '';
  for (const key of ['ArrowLeft', 'ArrowRight']) {
    if (under) break;
    await page.keyboard.press(key);
    under = await page.innerText('#under');
  }
  assert.ok(under.length > 0, 'an arrow key leads to an image, which is named');
  await page.keyboard.press('Enter');
  assert.ok((await page.innerText('#detail-title')).includes(under.replace(/, yours$/, '')));
  return under;
}

async function checkCamera(page) {
  const before = await page.evaluate(() => amclPage.items.length + amclPage.failures.length);
  await page.click('#camera-on');
  await page.waitForFunction(() => /cosine|compare/.test(document.getElementById('live').textContent));
  await page.click('#keep');
  await encoded(page, before + 1);
  await page.click('#camera-off');
  assert.equal(await page.evaluate(() => amclPage.items.at(-1).name), 'frame 1');
}

async function checkAttention(page) {
  await page.click('#thumbs button');
  await page.waitForSelector('#heads-field:not([hidden])');
  const inks = [];
  for (const head of ['-1', '0', String(described.attention.heads - 1)]) {
    await page.selectOption('#heads', head);
    inks.push(await page.evaluate(() => document.getElementById('heat').toDataURL()));
  }
  assert.ok(new Set(inks).size > 1, 'heads look at different places');
}

// Images of a folder against what `embed` wrote of them.
async function checkImages(page) {
  const want = rowsOf(fs.readFileSync(values.features));
  const names = fs
    .readdirSync(values.images, { recursive: true })
    .filter((n) => /\.(png|jpe?g|bmp|webp)$/i.test(n))
    .sort();
  assert.equal(names.length, want.length, 'as many images as rows');
  const before = await page.evaluate(() => amclPage.items.length + amclPage.failures.length);
  await page.setInputFiles(
    '#files',
    names.map((n) => path.join(values.images, n)),
  );
  await encoded(page, before + names.length);
  const got = await page.evaluate(
    (n) => amclPage.items.slice(-n).map((i) => ({ how: i.how, feature: [...i.feature] })),
    names.length,
  );
  // Decoders of JPEGs differ, so these are measured and not judged.
  const kind = ({ how }, i) => (/\.jpe?g$/i.test(names[i]) ? `JPEG ${how}` : how);
  const kinds = got.map(kind);
  const out = {};
  for (const k of new Set(kinds)) {
    const some = got.map((g, i) => [g.feature, want[i]]).filter((_, i) => kinds[i] === k);
    const far = distance(...[0, 1].map((side) => some.map((pair) => pair[side])));
    out[k] = { images: some.length, largest: far };
    assert.ok(!['exact', 'resized'].includes(k) || far < BOUND, `images of the kind "${k}" are ${far} off`);
  }
  return out;
}

const browser = await open(folder, { flags: CAMERA });
try {
  const begin = Date.now();
  const { page, complaints } = await browser.visit();
  await page.evaluate(() => amclPage.ready);
  const seconds = { ready: (Date.now() - begin) / 1000 };
  await page.evaluate(({ height, width }) => amclPage.embed([new Uint8Array(3 * height * width)]), described);
  seconds.first_feature = (Date.now() - begin) / 1000;
  const measured = { chromium: browser.version, seconds, gallery: await checkGallery(page) };
  if (values.images) measured.images = await checkImages(page);
  else await checkFiles(page);
  await checkDrop(page);
  if (gallery?.map) measured.map = await checkMap(page);
  await checkCamera(page);
  if (described.attention) await checkAttention(page);
  assert.deepEqual(complaints, []);
  if (values.shots) await browser.shoot(page, values.shots, 'encoder');
  measured.file = await browser.asFile('index.html', 'amclPage');
  console.log(JSON.stringify(measured, null, 1));
} finally {
  await browser.close();
}
