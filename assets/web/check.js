// The page of `amcl-wgpu check --web`: runs the case table (cases.json) and makes a report.
// A harness finds `amclCheck`: ready (a promise), run({op, every}) which gives the report.
'use strict';

(function () {
  const { make, toHalf, fromHalf, judge } = AmclJudge;
  const FORMAT = 'amcl-wgpu cases';
  const VERSION = 1;
  const SIZES = ['maxBufferSize', 'maxStorageBufferBindingSize'];
  const LIMITS = [
    ...SIZES,
    'maxStorageBuffersPerShaderStage',
    'maxComputeWorkgroupStorageSize',
    'maxComputeInvocationsPerWorkgroup',
    'maxComputeWorkgroupsPerDimension',
  ];
  const id = (name) => document.getElementById(name);
  let table;
  let gpu;
  let report = null;
  let stopped = false;
  let files = new Map();

  // The cases follow their files, so that the last one is all that is kept.
  async function file(index) {
    if (!files.has(index)) files = new Map([[index, await AmclFiles.bytes(table.files[index])]]);
    return files.get(index);
  }

  async function carried({ file: index, at }, Type, n) {
    const bytes = await file(index);
    if (bytes.byteLength < at + 4 * n)
      throw new Error(`${table.files[index]} is too short: the folder is not of one check`);
    return new Type(bytes, at, n);
  }

  async function contents(feed) {
    const Type = feed.dtype === 'u32' ? Uint32Array : Float32Array;
    const values = feed.make ? make(feed.n, feed.make) : await carried(feed, Type, feed.n);
    return feed.dtype === 'f16' ? Uint16Array.from(values, toHalf) : values;
  }

  // Why a case cannot run here; none where it can.
  function hindered(c) {
    const absent = (c.features ?? []).find((f) => !gpu.device.features.has(f));
    if (absent) return `the adapter or the browser has no ${absent}`;
    const { maxBufferSize, maxStorageBufferBindingSize } = gpu.device.limits;
    const largest = Math.max(...c.buffers.map((b) => b.bytes));
    if (largest > maxBufferSize) return `a buffer of ${largest} bytes, and the adapter's hold ${maxBufferSize}`;
    const widest = Math.max(...c.dispatches.flatMap((d) => d.bind.map((b) => b[2])));
    if (widest > maxStorageBufferBindingSize)
      return `${widest} bytes are bound, and the adapter binds ${maxStorageBufferBindingSize}`;
    return null;
  }

  function planOf(c) {
    const tensor = (t, name) => ({ name, dtype: t.dtype, dims: [t.n], buffer: t.buffer, offset: t.offset });
    const guards = (c.guards ?? []).map((g, i) => tensor({ ...g, dtype: 'u32' }, `guard ${i}`));
    const inputs = c.feeds.map((f, i) => tensor(f, `input ${i}`));
    const outputs = [...c.expect.map((e, i) => tensor(e, `result ${i}`)), ...guards];
    const { step_bytes, shaders } = table;
    return {
      format: 'amcl-wgpu plan',
      version: AmclPlayer.VERSION,
      step_bytes,
      buffers: c.buffers,
      shaders,
      programs: [{ name: c.title, inputs, outputs, dispatches: c.dispatches }],
    };
  }

  async function runCase(c, pipelines) {
    const inputs = {};
    for (const [i, feed] of c.feeds.entries()) inputs[`input ${i}`] = await contents(feed);
    const player = await AmclPlayer.open(planOf(c), new ArrayBuffer(0), { device: gpu.device, pipelines });
    try {
      const got = await player.run(c.title, inputs, { step: c.step && Uint32Array.from(c.step) });
      let share = 0;
      for (const [i, expect] of c.expect.entries()) {
        const want = await carried(expect, expect.dtype === 'u32' ? Uint32Array : Float32Array, expect.n);
        const raw = got[`result ${i}`];
        const result = judge(expect.dtype === 'f16' ? Float32Array.from(raw, fromHalf) : raw, want, expect);
        share = Math.max(share, result.share);
        if (result.fault) return { share, fault: `result ${i}, ${result.fault}` };
      }
      for (const [i, guard] of (c.guards ?? []).entries()) {
        const { name, fill } = c.buffers[guard.buffer];
        if (got[`guard ${i}`].some((w) => w !== fill)) return { share, fault: `wrote past the end of ${name}` };
      }
      return { share, fault: '' };
    } finally {
      player.close();
    }
  }

  function fresh() {
    const info = gpu.adapter.info ?? {};
    const fields = ['vendor', 'architecture', 'device', 'description'].map((k) => [k, info[k] ?? '']);
    return {
      format: 'amcl-wgpu check in a browser',
      version: 1,
      made_by: table.made_by,
      when: new Date().toISOString(),
      browser: navigator.userAgent,
      adapter: Object.fromEntries(fields),
      features: [...gpu.device.features].sort(),
      limits: Object.fromEntries(LIMITS.map((l) => [l, gpu.device.limits[l]])),
      complete: false,
      seconds: 0,
      passed: 0,
      failed: 0,
      left_out: 0,
      ops: [],
      failures: [],
      left: [],
    };
  }

  // Runs the cases of an op, or all; of those every n-th.
  async function run({ op = '', every = 1 } = {}) {
    stopped = false;
    report = fresh();
    const ops = new Map();
    const begin = performance.now();
    const chosen = table.cases.filter((c) => !op || c.op === op).filter((_, i) => i % every === 0);
    const count = (name, what) => {
      if (!ops.has(name)) ops.set(name, { op: name, passed: 0, failed: 0, left_out: 0, worst: 0 });
      ops.get(name)[what] += 1;
      report[what] += 1;
      return ops.get(name);
    };
    const leave = ({ op: name, title }, reason) => {
      count(name, 'left_out');
      report.left.push({ title, reason });
    };
    const pipelines = new Map();
    let lost = null;
    gpu.device.lost.then((l) => {
      lost = l;
    });
    for (const [i, c] of chosen.entries()) {
      const why = hindered(c);
      if (why) leave(c, why);
      else {
        let result;
        try {
          result = await runCase(c, pipelines);
        } catch (e) {
          if (e instanceof AmclFiles.Missing) throw e;
          result = { share: 0, fault: e.message };
        }
        const row = count(c.op, result.fault ? 'failed' : 'passed');
        row.worst = Math.max(row.worst, result.share);
        if (result.fault) report.failures.push({ title: c.title, fault: result.fault });
      }
      show(i + 1, chosen.length);
      if (lost || stopped) {
        report.failures.push({
          title: c.title,
          fault: lost ? `the graphics device was lost: ${lost.message}` : 'stopped here',
        });
        break;
      }
    }
    for (const c of (table.left_out ?? []).filter((l) => !op || l.op === op)) leave(c, c.reason);
    const done = report.passed + report.failed + report.left_out;
    report.complete = !op && every === 1 && done === table.cases.length + (table.left_out ?? []).length;
    report.seconds = Math.round((performance.now() - begin) / 100) / 10;
    report.ops = [...ops.values()].sort((a, b) => (a.op < b.op ? -1 : 1));
    display();
    return report;
  }

  function show(done, all) {
    Object.assign(id('progress'), { hidden: false, max: all, value: done });
    id('status').textContent =
      `${done} of ${all} cases: ${report.passed} passed, ${report.failed} failed, ${report.left_out} left out.`;
  }

  function cell(tag, textContent, className = '') {
    return Object.assign(document.createElement(tag), { textContent, className });
  }

  const share = (v) => (v < 10 ? v.toFixed(3) : v.toExponential(1));

  function display() {
    id('progress').hidden = true;
    id('result').hidden = false;
    const verdict = report.failed
      ? 'Some kernels do not work here.'
      : report.complete
        ? 'All that ran agrees.'
        : 'What ran agrees; not all did.';
    id('status').textContent =
      `${verdict} ${report.passed} passed, ${report.failed} failed, ${report.left_out} left out, ` +
      `in ${report.seconds} s.`;
    id('matrix').replaceChildren(
      ...report.ops.map((o) => {
        const row = document.createElement('tr');
        const head = cell('th', o.op);
        head.scope = 'row';
        row.append(
          head,
          cell('td', o.passed, o.passed ? 'number passed' : 'number'),
          cell('td', o.failed, o.failed ? 'number failed' : 'number'),
          cell('td', o.left_out, 'number'),
          cell('td', o.passed + o.failed ? share(o.worst) : '–', 'number'),
        );
        return row;
      }),
    );
    const list = (part, at, entries, word) => {
      id(part).hidden = !entries.length;
      id(at).replaceChildren(...entries.map((e) => cell('li', `${e.title}: ${e[word]}`)));
    };
    list('failed-part', 'failed', report.failures, 'fault');
    list('left-part', 'left', report.left, 'reason');
    id('report').value = JSON.stringify(report, null, 1);
  }

  async function start() {
    table = await AmclFiles.json('cases.json');
    if (table.format !== FORMAT || table.version !== VERSION) {
      throw new Error(
        `cases.json: ${table.format}, version ${table.version}, and this page reads ${FORMAT}, version ${VERSION}; ` +
          'make the folder anew',
      );
    }
    const why = AmclPlayer.missing();
    if (why) throw new Error(why);
    // As much memory as the adapter gives, and the features that some case names: the rest are WebGPU's defaults.
    const adapter = await navigator.gpu.requestAdapter({ powerPreference: 'high-performance' });
    const limits = adapter ? Object.fromEntries(SIZES.map((l) => [l, adapter.limits[l]])) : {};
    const wanted = new Set(table.cases.flatMap((c) => c.features ?? []));
    gpu = await AmclPlayer.device(
      limits,
      [...wanted].filter((f) => adapter?.features.has(f)),
    );
    id('about').textContent =
      `${table.cases.length} cases, made by ${table.made_by}. ` +
      `Graphics adapter: ${AmclTrouble.named(gpu.adapter)}. ` +
      'The screen may stutter while they run, for some minutes.';
    for (const op of [...new Set(table.cases.map((c) => c.op))].sort()) id('op').append(cell('option', op));
    id('app').hidden = false;
    id('run').addEventListener('click', async () => {
      id('run').disabled = true;
      id('stop').disabled = false;
      try {
        await run({ op: id('op').value });
      } catch (e) {
        AmclTrouble(e);
      }
      id('run').disabled = false;
      id('stop').disabled = true;
    });
    id('stop').addEventListener('click', () => {
      stopped = true;
    });
    id('copy').addEventListener('click', async () => {
      id('report').select();
      try {
        await navigator.clipboard.writeText(id('report').value);
        id('copy').textContent = 'Copied';
      } catch {
        id('copy').textContent = 'Selected: copy it with Ctrl+C';
      }
    });
    id('save').addEventListener('click', () =>
      AmclFiles.download('amcl-wgpu-check.json', id('report').value, 'application/json'),
    );
  }

  const ready = start();
  ready.catch(AmclTrouble);
  globalThis.amclCheck = { ready, run };
})();
