// Replays plans of amcl-wgpu on WebGPU: recorded dispatches, with the buffers, shaders and numbers they need.
// A classic script without dependencies that touches no document. It defines one global, `AmclPlayer`.
//
//   AmclPlayer.missing()                      Why this browser has no WebGPU, in words; null where it has it.
//   await AmclPlayer.device(limits, features) {adapter, device}: asks for limits by WebGPU's names, and for features.
//   await AmclPlayer.open(plan, weights, options)
//     plan       the parsed plan.json
//     weights    ArrayBuffer of weights.bin; may be empty where no buffer is filled from it
//     options    device: a GPUDevice to use in place of one of its own
//                pipelines: a Map that several players of one device share: compiled shaders by their keys
//                progress(done, total): called as shaders get ready
//                lost(error): called if the device is lost
//   await player.run(program, inputs, options)
//     inputs     {name: typed array or ArrayBuffer}, with all bytes. An input left out keeps what it had.
//     options    step: typed array or ArrayBuffer; without it the step block keeps what it had (zeros at first)
//                outputs: names of those to read; all, if left out. With an empty list the run is not waited for.
//     gives      {name: Float32Array | Uint32Array | Uint16Array (the bits of f16)}
//   await player.write(buffer, data)          Replaces the beginning of a buffer, named by its number.
//   player.close()                            Frees the buffers, and the device if it is the player's own.
//
// A plan's programs share its buffers, which keep their contents. Runs and writes are queued in the order of the calls;
// a run is queued before the one ahead has been read. What fails rejects with an Error that says what, where and what to
// do; once the device is lost, or has reported an error outside of a run, everything rejects with that.
'use strict';

(function () {
  const FORMAT = 'amcl-wgpu plan';
  const VERSION = 1;
  // Uniforms lie at multiples of this, WebGPU's default alignment.
  const ALIGN = 256;
  // As natively: long enough to amortise, short enough for drivers that kill long work.
  const DISPATCHES_PER_SUBMIT = 64;
  const SIZES = { f32: 4, u32: 4, f16: 2 };
  const ARRAYS = { f32: Float32Array, u32: Uint32Array, f16: Uint16Array };

  const upTo = (bytes, align) => Math.ceil(bytes / align) * align;
  const bytesOf = (tensor) => tensor.dims.reduce((a, b) => a * b, SIZES[tensor.dtype]);
  const paramBytes = (dispatch) => upTo(4 * dispatch.params.length, ALIGN);

  function bytesIn(data, what, wants = data?.byteLength) {
    const view = ArrayBuffer.isView(data);
    if (!view && !(data instanceof ArrayBuffer)) throw new Error(`${what}: wants a typed array or an ArrayBuffer`);
    if (data.byteLength !== wants) throw new Error(`${what}: ${data.byteLength} bytes instead of ${wants}`);
    return view ? new Uint8Array(data.buffer, data.byteOffset, wants) : new Uint8Array(data);
  }

  function missing() {
    if (globalThis.navigator?.gpu) return null;
    if (globalThis.isSecureContext !== false) return 'this browser has no WebGPU';
    return 'WebGPU is offered to pages from https:// or localhost alone, and this page comes from elsewhere';
  }

  async function device(limits = {}, features = []) {
    const why = missing();
    if (why) throw new Error(why);
    const adapter = await navigator.gpu.requestAdapter({ powerPreference: 'high-performance' });
    if (!adapter) throw new Error('the browser has WebGPU, but no graphics adapter for it');
    const small = Object.entries(limits).filter(([name, want]) => !(adapter.limits[name] >= want));
    if (small.length) {
      const list = small.map(([name, want]) => `${name} ${want} (it has ${adapter.limits[name] ?? 'none'})`);
      throw new Error(`the graphics adapter is too small for this plan, which needs ${list.join(', ')}`);
    }
    const absent = features.filter((f) => !adapter.features.has(f));
    if (absent.length) throw new Error(`the graphics adapter has no ${absent.join(', ')}, which this plan needs`);
    return { adapter, device: await adapter.requestDevice({ requiredLimits: limits, requiredFeatures: features }) };
  }

  // Runs `work`, which must not wait, within error scopes, and rejects with what they caught.
  async function scoped(device, during, work) {
    const kinds = ['validation', 'out-of-memory', 'internal'];
    for (const kind of kinds) device.pushErrorScope(kind);
    let caught;
    try {
      work();
    } finally {
      caught = Promise.all(kinds.map(() => device.popErrorScope()));
    }
    const error = (await caught).find((e) => e);
    if (error) throw new Error(`${during}: ${error.message}`);
  }

  function check(plan, weights) {
    if (plan.format !== FORMAT) throw new Error(`plan: its format is "${plan.format}" instead of "${FORMAT}"`);
    if (plan.version !== VERSION) {
      throw new Error(`plan: version ${plan.version}, and this player reads ${VERSION}; take both from one export`);
    }
    const ends = Math.max(0, ...plan.buffers.map((b) => (b.from ? b.from.offset + b.from.bytes : 0)));
    if (weights.byteLength < ends) {
      throw new Error(`weights: ${weights.byteLength} bytes instead of ${ends}; take plan and weights from one export`);
    }
  }

  class Player {
    constructor(plan, device, own, options) {
      Object.assign(this, { plan, device, own, failure: null, closed: false, programs: new Map() });
      this.tail = Promise.resolve();
      this.uncaptured = (event) => {
        this.failure ??= new Error(`the graphics device reports: ${event.error.message}`);
      };
      device.addEventListener('uncapturederror', this.uncaptured);
      device.lost.then((info) => {
        if (this.closed) return;
        this.failure = new Error(`the graphics device was lost (${info.reason}): ${info.message} Reload to go on.`);
        options.lost?.(this.failure);
      });
    }

    // Storage buffers with their contents, the parameters of all dispatches, and the step block.
    allocate(weights) {
      const { device, plan } = this;
      const { STORAGE, UNIFORM, COPY_SRC, COPY_DST, MAP_READ } = GPUBufferUsage;
      const buffer = (label, bytes, usage, mappedAtCreation = false) =>
        device.createBuffer({ label, size: Math.max(16, upTo(bytes, 16)), usage, mappedAtCreation });
      this.buffers = plan.buffers.map((b) => {
        const filled = Boolean(b.from || b.fill);
        const made = buffer(b.name, b.bytes, STORAGE | COPY_SRC | COPY_DST, filled);
        if (!filled) return made;
        const to = made.getMappedRange();
        if (b.fill) new Uint32Array(to).fill(b.fill);
        if (b.from) new Uint8Array(to).set(new Uint8Array(weights, b.from.offset, b.from.bytes));
        made.unmap();
        return made;
      });
      const dispatches = plan.programs.flatMap((p) => p.dispatches);
      const size = dispatches.reduce((sum, d) => sum + paramBytes(d), 0);
      this.params = buffer('parameters', size, UNIFORM, true);
      let next = 0;
      for (const d of dispatches) {
        new Uint32Array(this.params.getMappedRange(next, 4 * d.params.length)).set(d.params);
        next += paramBytes(d);
      }
      this.params.unmap();
      this.step = buffer('step', plan.step_bytes ?? 0, UNIFORM | COPY_DST);
      for (const p of plan.programs) {
        let at = 0;
        const outputs = p.outputs.map((o) => {
          const place = { ...o, at, bytes: bytesOf(o) };
          at += upTo(place.bytes, 8);
          return place;
        });
        const inputs = new Map(p.inputs.map((i) => [i.name, i]));
        // A run reads into a buffer that no other run is reading from.
        const staging = () => buffer(`${p.name}: outputs`, at, MAP_READ | COPY_DST);
        this.programs.set(p.name, { name: p.name, inputs, outputs, staging, free: [staging()], steps: [] });
      }
    }

    // Compiles those of the plan's shaders that `pipelines` lacks, all at once.
    async compile(pipelines, progress) {
      const { device, plan } = this;
      const used = new Set(plan.programs.flatMap((p) => p.dispatches.map((d) => d.shader)));
      const ready = new Map();
      const one = async (index) => {
        const { key, entry, wgsl } = plan.shaders[index];
        if (!pipelines.has(key)) pipelines.set(key, pipeline(device, key, entry, wgsl));
        ready.set(index, await pipelines.get(key));
        progress?.(ready.size, used.size);
      };
      await Promise.all([...used].map(one));
      return ready;
    }

    bind(ready) {
      let at = 0;
      for (const p of this.plan.programs) {
        this.programs.get(p.name).steps = p.dispatches.map((d) => {
          const pipeline = ready.get(d.shader);
          const group = (index, resources) => {
            const entries = resources.map((resource, binding) => ({ binding, resource }));
            return this.device.createBindGroup({ label: d.label, layout: pipeline.getBindGroupLayout(index), entries });
          };
          const storage = d.bind.map(([b, offset, size]) => ({ buffer: this.buffers[b], offset, size }));
          const uniform = [{ buffer: this.params, offset: at, size: 4 * d.params.length }];
          if (this.plan.shaders[d.shader].step) uniform.push({ buffer: this.step });
          at += paramBytes(d);
          return { pipeline, storage: group(0, storage), uniform: group(1, uniform), grid: d.grid };
        });
      }
    }

    // Does `work` when all before it is done. What fails is told to its caller, and the next has its turn.
    queued(during, work) {
      const done = this.tail.then(() => {
        if (this.closed) throw new Error('the player was closed');
        if (this.failure) throw this.failure;
        return scoped(this.device, during, work);
      });
      this.tail = done.catch(() => {});
      return done;
    }

    async run(name, inputs = {}, options = {}) {
      const program = this.programs.get(name);
      if (!program) throw new Error(`the plan has no program "${name}", only ${[...this.programs.keys()].join(', ')}`);
      const wanted = program.outputs.filter((o) => !options.outputs || options.outputs.includes(o.name));
      if (wanted.length < (options.outputs?.length ?? 0)) throw new Error(`${name}: no such outputs`);
      const staging = wanted.length ? (program.free.pop() ?? program.staging()) : null;
      try {
        await this.queued(name, () => this.submit(program, inputs, options.step, wanted, staging));
        return staging ? await read(staging, wanted) : {};
      } catch (e) {
        // A lost device ends everything under way; its own message says more than theirs.
        throw this.failure ?? e;
      } finally {
        if (this.closed) staging?.destroy();
        else if (staging) program.free.push(staging);
      }
    }

    write(index, data) {
      return this.queued('write', () => write(this.device.queue, this.buffers[index], 0, bytesIn(data, 'write')));
    }

    submit(program, inputs, step, wanted, staging) {
      const { queue } = this.device;
      for (const [name, data] of Object.entries(inputs)) {
        const input = program.inputs.get(name);
        if (!input) throw new Error(`${program.name}: no input "${name}" in ${[...program.inputs.keys()].join(', ')}`);
        const bytes = bytesIn(data, `${program.name}, input ${name}`, bytesOf(input));
        write(queue, this.buffers[input.buffer], input.offset, bytes);
      }
      if (step) write(queue, this.step, 0, bytesIn(step, 'step', this.plan.step_bytes ?? 0));
      for (let at = 0; at < program.steps.length; at += DISPATCHES_PER_SUBMIT) {
        const encoder = this.device.createCommandEncoder({ label: program.name });
        const pass = encoder.beginComputePass();
        for (const d of program.steps.slice(at, at + DISPATCHES_PER_SUBMIT)) {
          pass.setPipeline(d.pipeline);
          pass.setBindGroup(0, d.storage);
          pass.setBindGroup(1, d.uniform);
          pass.dispatchWorkgroups(...d.grid);
        }
        pass.end();
        queue.submit([encoder.finish()]);
      }
      if (!wanted.length) return;
      const copies = this.device.createCommandEncoder({ label: `${program.name}: outputs` });
      for (const o of wanted) {
        copies.copyBufferToBuffer(this.buffers[o.buffer], o.offset, staging, o.at, upTo(o.bytes, 4));
      }
      queue.submit([copies.finish()]);
    }

    close() {
      this.closed = true;
      this.device.removeEventListener('uncapturederror', this.uncaptured);
      for (const b of [...(this.buffers ?? []), this.params, this.step]) b?.destroy();
      for (const p of this.programs.values()) for (const b of p.free) b.destroy();
      if (this.own) this.device.destroy();
    }
  }

  // Copies take whole words; the last one is filled up with zeros.
  function write(queue, buffer, offset, bytes) {
    const words = bytes.length % 4 ? new Uint8Array(upTo(bytes.length, 4)) : bytes;
    if (words !== bytes) words.set(bytes);
    queue.writeBuffer(buffer, offset, words);
  }

  async function read(staging, wanted) {
    await staging.mapAsync(GPUMapMode.READ);
    const range = staging.getMappedRange();
    const arrays = wanted.map((o) => [o.name, new ARRAYS[o.dtype](range.slice(o.at, o.at + o.bytes))]);
    staging.unmap();
    return Object.fromEntries(arrays);
  }

  async function pipeline(device, key, entry, wgsl) {
    let module = null;
    try {
      await scoped(device, 'module', () => {
        module = device.createShaderModule({ label: key, code: wgsl });
      });
      const compute = { module, entryPoint: entry };
      return await device.createComputePipelineAsync({ label: key, layout: 'auto', compute });
    } catch (e) {
      const messages = module ? (await module.getCompilationInfo()).messages.filter((m) => m.type === 'error') : [];
      const said = messages.length ? messages.map((m) => `line ${m.lineNum}: ${m.message}`).join('; ') : e.message;
      throw new Error(`shader ${key}: ${said}`);
    }
  }

  async function open(plan, weights, options = {}) {
    check(plan, weights);
    const own = !options.device;
    const gpu = options.device ?? (await device(plan.limits, plan.features)).device;
    const player = new Player(plan, gpu, own, options);
    try {
      const allocated = scoped(gpu, 'memory', () => player.allocate(weights));
      const [ready] = await Promise.all([player.compile(options.pipelines ?? new Map(), options.progress), allocated]);
      await scoped(gpu, 'bind groups', () => player.bind(ready));
    } catch (e) {
      player.close();
      throw player.failure ?? e;
    }
    return player;
  }

  globalThis.AmclPlayer = { missing, device, open, VERSION };
})();
