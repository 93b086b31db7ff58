// The player and the check page by hand-made plans whose results are known: `node tests/portability/pages.mjs [SHOTS]`.
// Each comparison has a control that must fail. See browser.mjs for what it needs.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { open } from './browser.mjs';

const ASSETS = new URL('../../assets/web/', import.meta.url).pathname;

const PRODUCT = `struct Params { m: u32, n: u32, k: u32, pad: u32 }
@group(0) @binding(0) var<storage, read> a: array<f32>;
@group(0) @binding(1) var<storage, read> b: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;
@group(1) @binding(0) var<uniform> p: Params;
@compute @workgroup_size(64) fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    if id.x >= p.m * p.n { return; }
    var sum = 0.0;
    for (var k = 0u; k < p.k; k = k + 1u) { sum = sum + a[id.x / p.n * p.k + k] * b[k * p.n + id.x % p.n]; }
    y[id.x] = sum;
}`;
const SCALE = `struct Params { count: u32, by: f32, pad0: u32, pad1: u32 }
struct Step { by: f32, pad0: f32, pad1: f32, pad2: f32 }
@group(0) @binding(0) var<storage, read_write> y: array<f32>;
@group(1) @binding(0) var<uniform> p: Params;
@group(1) @binding(1) var<uniform> step: Step;
@compute @workgroup_size(64) fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    if id.x < p.count { y[id.x] = y[id.x] * p.by * step.by; }
}`;
const SHADERS = [
  { key: 'product', entry: 'main', wgsl: PRODUCT, step: false },
  { key: 'scale', entry: 'main', wgsl: SCALE, step: true },
  { key: 'broken', entry: 'main', wgsl: `${SCALE}\nfn wrong() -> u32 { return 1.0; }`, step: true },
];
const bits = (v) => new Uint32Array(Float32Array.of(v).buffer)[0];

// y = 2 * step * a b, of a [2,3] that is given and b [3,2] of the weights; "again" scales y by 10 * step where it lies.
const product = {
  shader: 0,
  grid: [1, 1],
  bind: [
    [0, 0, 24],
    [1, 0, 24],
    [2, 0, 16],
  ],
  params: [2, 2, 3, 0],
  label: 'product',
};
const scale = (by) => ({ shader: 1, grid: [1, 1], bind: [[2, 0, 16]], params: [4, bits(by), 0, 0], label: 'scale' });
const y = { name: 'y', dtype: 'f32', dims: [2, 2], buffer: 2, offset: 0 };
const PLAN = {
  format: 'amcl-wgpu plan',
  version: 1,
  made_by: 'a test',
  limits: {},
  step_bytes: 16,
  shaders: SHADERS,
  buffers: [
    { name: 'a', bytes: 24, from: null },
    { name: 'b', bytes: 24, from: { offset: 4, bytes: 24 } },
    { name: 'y', bytes: 16, from: null },
  ],
  programs: [
    {
      name: 'product',
      inputs: [{ name: 'a', dtype: 'f32', dims: [2, 3], buffer: 0, offset: 0 }],
      outputs: [y],
      dispatches: [product, scale(2)],
    },
    { name: 'again', inputs: [], outputs: [y], dispatches: [scale(10)] },
  ],
};

// What is asked of the player, in the page. `b` is [[1,2],[3,4],[5,6]].
async function play(plan) {
  const weights = Float32Array.of(99, 1, 2, 3, 4, 5, 6).buffer;
  const told = (promise) =>
    promise.then(
      () => 'nothing',
      (e) => e.message,
    );
  const step = (by) => Float32Array.of(by, 0, 0, 0);
  const player = await AmclPlayer.open(plan, weights);
  const a = Float32Array.of(1, 0, 0, 0, 1, 1);
  // Asked for at once: they run in their order.
  const [first, unread, again, wrong, kept] = await Promise.all([
    player.run('product', { a }, { step: step(1) }),
    player.run('again', {}, { step: step(2), outputs: [] }),
    player.run('again'),
    told(player.run('product', { a: new Float32Array(5) })),
    player.run('product'),
  ]);
  const out = { first: [...first.y], unread, again: [...again.y], wrong, kept: [...kept.y] };
  // Two runs in flight with a write between them: each reads what was there in its turn.
  const flying = [player.run('product'), player.write(1, Float32Array.of(0, 2, 0, 4)), player.run('product')];
  const [before, , after] = await Promise.all(flying);
  out.written = [[...before.y], [...after.y]];
  out.beyond = await told(player.write(1, new Float32Array(64)));
  out.program = await told(player.run('none'));
  out.input = await told(player.run('again', { a }));
  out.output = await told(player.run('again', {}, { outputs: ['z'] }));
  const broken = structuredClone(plan);
  broken.programs[1].dispatches[0].shader = 2;
  out.shader = await told(AmclPlayer.open(broken, weights));
  const unbound = structuredClone(plan);
  unbound.programs[0].dispatches[0].bind.pop();
  out.bind = await told(AmclPlayer.open(unbound, weights));
  out.weights = await told(AmclPlayer.open(plan, weights.slice(4)));
  out.version = await told(AmclPlayer.open({ ...plan, version: 2 }, weights));
  out.limit = await told(AmclPlayer.open({ ...plan, limits: { maxBufferSize: 2 ** 50 } }, weights));
  let lost = null;
  const other = await AmclPlayer.open(plan, weights, {
    lost: (e) => {
      lost = e.message;
    },
  });
  other.device.destroy();
  await other.device.lost;
  out.lost = [await told(other.run('product', { a })), lost];
  player.close();
  out.closed = await told(player.run('product', { a }));
  return out;
}

async function checkPlayer(browser) {
  const { page } = await browser.visit('empty.html');
  const out = await page.evaluate(play, PLAN);
  assert.deepEqual(out.first, [2, 4, 16, 20]);
  assert.deepEqual(out.unread, {});
  assert.deepEqual(
    out.again,
    [2, 4, 16, 20].map((v) => v * 20 * 20),
    'the step block is kept',
  );
  assert.deepEqual(out.kept, [4, 8, 32, 40], 'an input is kept, and a failed run changes nothing');
  assert.deepEqual(out.written, [
    [4, 8, 32, 40],
    [0, 8, 20, 40],
  ]);
  assert.match(out.beyond, /^write: /);
  assert.match(out.wrong, /product, input a: 20 bytes instead of 24/);
  assert.match(out.program, /no program "none", only product, again/);
  assert.match(out.input, /again: no input "a"/);
  assert.match(out.output, /again: no such outputs/);
  assert.match(out.shader, /shader broken: line \d+: /);
  assert.match(out.bind, /bind groups: /);
  assert.match(out.weights, /weights: 24 bytes instead of 28/);
  assert.match(out.version, /version 2/);
  assert.match(out.limit, /too small.*maxBufferSize/);
  assert.match(out.lost[0], /device was lost \(destroyed\)/);
  assert.equal(out.lost[0], out.lost[1]);
  assert.match(out.closed, /closed/);
  await page.close();
}

// Scaling of 1000 seeded numbers by -3, with 64 words of poison around; the results by an arithmetic of our own.
function cases(folder) {
  const poison = 0x7fc0dead;
  const count = 1000;
  const mask = (1n << 64n) - 1n;
  let state = 7n;
  const unit = () => {
    state = (state + 0x9e3779b97f4a7c15n) & mask;
    let z = state;
    z = ((z ^ (z >> 30n)) * 0xbf58476d1ce4e5b9n) & mask;
    z = ((z ^ (z >> 27n)) * 0x94d049bb133111ebn) & mask;
    return Number((z ^ (z >> 31n)) >> 40n) / 2 ** 24;
  };
  const want = Float32Array.from({ length: count }, () => -3 * Math.fround(-1 + Math.fround(2 * unit())));
  fs.writeFileSync(path.join(folder, 'cases-0.bin'), new Uint8Array(want.buffer));
  const one = (title, change = {}) => ({
    op: 'scale',
    title,
    buffers: [{ name: 'y', bytes: 4 * (count + 64), fill: poison }],
    step: [bits(1), 0, 0, 0],
    dispatches: [
      { shader: 1, grid: [16, 1], bind: [[0, 0, 4 * (count + 64)]], params: [count, bits(-3), 0, 0], label: 'scale' },
    ],
    feeds: [{ dtype: 'f32', n: count, buffer: 0, offset: 0, make: { uniform: [-1, 1], seed: '7' } }],
    expect: [{ dtype: 'f32', n: count, buffer: 0, offset: 0, file: 0, at: 0, nmse: 1e-12, max: 1e-6 }],
    guards: [{ n: 64, buffer: 0, offset: 4 * count }],
    ...change,
  });
  const dispatch = (change) => ({ dispatches: [{ ...one('').dispatches[0], ...change }] });
  const table = {
    format: 'amcl-wgpu cases',
    version: 1,
    made_by: 'a test',
    step_bytes: 16,
    shaders: SHADERS,
    files: ['cases-0.bin'],
    cases: [
      one('scale good'),
      one('scale by another number', dispatch({ params: [count, bits(-3.001), 0, 0] })),
      one('scale too little', dispatch({ params: [count - 1, bits(-3), 0, 0] })),
      one('scale too much', dispatch({ params: [count + 1, bits(-3), 0, 0], shader: 3 })),
      { ...one('broken', dispatch({ shader: 2 })), op: 'broken' },
      { ...one('halves', { features: ['shader-f16'] }), op: 'halves' },
      { ...one('huge', { buffers: [{ name: 'y', bytes: 2 ** 50 }] }), op: 'huge' },
    ],
    left_out: [{ op: 'gemm', title: 'gemm [9000,9000]', reason: 'over 16 MiB' }],
  };
  // One that treads on the guards with a number: poison times a number would stay poison.
  table.shaders.push({
    key: 'stray',
    entry: 'main',
    step: true,
    wgsl: SCALE.replace(
      'y[id.x] * p.by * step.by;',
      'select(y[id.x] * p.by * step.by, 1.0, id.x + 1u == p.count);',
    ).replace('p.count {', 'p.count + u32(p.pad0) {'),
  });
  fs.writeFileSync(path.join(folder, 'cases.json'), JSON.stringify(table));
}

async function checkTable(browser, shots) {
  const { page } = await browser.visit('check.html');
  await page.evaluate(() => amclCheck.ready);
  const report = await page.evaluate(() => amclCheck.run());
  const fault = Object.fromEntries(report.failures.map((f) => [f.title, f.fault]));
  assert.deepEqual([report.passed, report.failed], [1, 4], JSON.stringify(report.failures));
  assert.match(fault['scale by another number'], /element \d+: /);
  assert.match(fault['scale too little'], /result 0, element 999: /);
  assert.match(fault['scale too much'], /wrote past the end of y/);
  assert.match(fault.broken, /shader broken: line/);
  assert.deepEqual(
    report.left.map((l) => l.title),
    ['halves', 'huge', 'gemm [9000,9000]'],
  );
  assert.equal(report.complete, true);
  assert.deepEqual(JSON.parse(await page.inputValue('#report')), report);
  const good = report.ops.find((o) => o.op === 'scale');
  assert.deepEqual([good.passed, good.failed], [1, 3]);
  if (shots) await browser.shoot(page, shots, 'check');
  await page.close();
}

// Pages that cannot work say why, and what to do.
async function checkTrouble(browser, folder, shots) {
  const said = async (name, options) => {
    const { page } = await browser.visit(name, options);
    await page.waitForSelector('#trouble:not([hidden])');
    if (shots) await browser.shoot(page, shots, `trouble-${name.startsWith('file') ? 'file' : 'index'}`);
    const text = await page.innerText('#trouble');
    await page.close();
    return text;
  };
  assert.match(await said('index.html'), /page\.json is not there/);
  assert.match(await said(`file://${folder}/index.html`), /has to be served[^]*python3 -m http\.server/);
  const { page } = await browser.visit('check.html');
  await page.addInitScript(() => {
    Object.defineProperty(Navigator.prototype, 'gpu', { value: undefined });
  });
  await page.reload();
  await page.waitForSelector('#trouble:not([hidden])');
  assert.match(await page.innerText('#trouble'), /needs WebGPU[^]*no WebGPU/);
  if (shots) await browser.shoot(page, shots, 'trouble-webgpu');
  await page.close();
}

const shots = process.argv[2];
const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'pages-'));
const asset = (name) => fs.readFileSync(path.join(ASSETS, name), 'utf8');
// Pages include their heads, as the program writes them.
const whole = (text) => text.replace(/<!-- include (\S+) -->\n/g, (_, part) => asset(part));
for (const name of fs.readdirSync(ASSETS)) fs.writeFileSync(path.join(folder, name), whole(asset(name)));
fs.writeFileSync(
  path.join(folder, 'empty.html'),
  '<!doctype html><title>empty</title><link rel="icon" href="data:,"><script src="player.js"></script>',
);
cases(folder);
const browser = await open(folder);
try {
  await checkPlayer(browser);
  await checkTable(browser, shots);
  await checkTrouble(browser, folder, shots);
  console.log(`player, check page and troubles: as they should be (Chromium ${browser.version})`);
} finally {
  await browser.close();
  fs.rmSync(folder, { recursive: true });
}
