// Replays the recorded training step of a plan, and asks the encoder for features between steps. No document is touched.
// Defines one global, `AmclTrainer`.
//
//   new AmclTrainer.Trainer({described, plan, weights, numbers, device, lost, progress})
//     described, numbers   train.json, and the ArrayBuffer of train.bin
//     plan, weights        as of AmclPlayer.open; device, lost and progress too
//   trainer.next           number of the step that comes next, from 0; trainer.planned: how many have a step block
//   trainer.step(told)     starts the next step and gives {index, epoch, rate, done}: `done` resolves with {loss}, and
//                          with the outputs that `told` names. A second step may be started before the first is done.
//   await trainer.restart(own)   to the first step, before anything else runs; own: {bytes, count} to train on in place of
//                          the plan's images
//   await trainer.features(bytes, count)   each image's feature, a Float32Array; images as the plan holds them
//   trainer.proof()        what of the draws differs from the program's, in words; null where nothing does
'use strict';

(function () {
  const { ROW, permutation, views, difference } = AmclDraws;
  // Words of a step block (StepScalars of src/graph/step.rs).
  const [EPOCH, STEP, RATE] = [2, 3, 6];
  const ENTRIES = ['top', 'left', 'height', 'width', 'flip', 'order', 'brightness', 'contrast', 'saturation', 'hue'];
  ENTRIES.push('gray', 'blur radius', 'blur deviation', 'solarisation', 'stored width', 'room');

  const part = (Type, numbers, { offset, bytes }) => new Type(numbers, offset, bytes / Type.BYTES_PER_ELEMENT);

  class Trainer {
    constructor(given) {
      Object.assign(this, given, { pipelines: new Map(), player: null });
      const { described, numbers, plan, weights } = this;
      this.seed = BigInt(described.seed);
      this.planned = described.blocks.bytes / described.block_bytes;
      this.stride = 4 * described.images.words;
      this.shape = { ...described, count: described.views };
      const { from } = plan.buffers[described.images.buffer];
      this.carried = {
        bytes: new Uint8Array(weights, from.offset, described.images.count * this.stride),
        count: described.images.count,
        labels: part(Uint32Array, numbers, described.labels),
      };
      const { count, pixels, labels } = described.test;
      this.test = { bytes: part(Uint8Array, numbers, pixels), count, labels: part(Uint32Array, numbers, labels) };
      this.begin(this.carried.count);
    }

    begin(count) {
      this.count = count;
      this.steps = Math.floor(count / this.described.batch);
      this.next = 0;
      this.order = null;
    }

    program(name) {
      return this.plan.programs.find((p) => p.name === name);
    }

    // Does a step tell this?
    tells(name) {
      return this.program('gradient').outputs.find((o) => o.name === name);
    }

    async restart(own) {
      const { plan, weights, device, pipelines, lost, progress } = this;
      this.player?.close();
      this.player = await AmclPlayer.open(plan, weights, { device, pipelines, lost, progress });
      if (own) await this.player.write(this.described.images.buffer, own.bytes);
      this.begin(own ? own.count : this.carried.count);
    }

    // The ids and views of a step.
    drawn(index) {
      const epoch = Math.floor(index / this.steps);
      if (this.order?.epoch !== epoch) this.order = { epoch, ids: permutation(this.count, this.seed, epoch) };
      const { batch, policy } = this.described;
      const ids = this.order.ids.slice((index % this.steps) * batch, (index % this.steps) * batch + batch);
      return { epoch, ids, table: views(policy, this.shape, ids, this.seed, epoch) };
    }

    // The step's scalars. After the planned ones the last are repeated; numbers of epoch and step go on.
    block(index, epoch) {
      const { blocks, block_bytes: size } = this.described;
      const offset = blocks.offset + Math.min(index, this.planned - 1) * size;
      const block = this.numbers.slice(offset, offset + size);
      const words = new Uint32Array(block);
      words[EPOCH] = epoch;
      words[STEP] = index;
      return { block, rate: new Float32Array(block)[RATE] };
    }

    step(told = []) {
      const index = this.next;
      const { epoch, ids, table } = this.drawn(index);
      const { block, rate } = this.block(index, epoch);
      this.next += 1;
      const gradient = this.player.run(
        'gradient',
        { samples: ids, 'view table': table },
        { step: block, outputs: ['loss', ...told] },
      );
      const optimizer = this.player.run('optimizer', {}, { step: block, outputs: [] });
      const done = Promise.all([gradient, optimizer]).then(([out]) => ({ ...out, loss: out.loss[0] }));
      // Who waits for it hears of it; until then it is no accident.
      done.catch(() => {});
      return { index, epoch, rate, done };
    }

    async features(bytes, count) {
      const program = this.program('features');
      const input = program.inputs.find((i) => i.name === 'images');
      const [output] = program.outputs;
      const [batch, dim] = output.dims;
      const rows = [];
      for (let at = 0; at < count; at += batch) {
        const some = Math.min(batch, count - at);
        const images = new Uint8Array(batch * this.stride);
        images.set(bytes.subarray(at * this.stride, (at + some) * this.stride));
        const out = await this.player.run('features', { [input.name]: images }, { outputs: [output.name] });
        for (let i = 0; i < some; i += 1) rows.push(out[output.name].slice(i * dim, (i + 1) * dim));
      }
      return rows;
    }

    proof() {
      const { described, numbers, seed, shape } = this;
      const { batch, images, policy, proof } = described;
      const order = part(Uint32Array, numbers, proof.order);
      const wrong = difference(permutation(images.count, seed, 0), order);
      if (wrong >= 0) return `the order of the first epoch differs from place ${wrong} on`;
      const table = views(policy, shape, order.subarray(0, batch), seed, 0);
      const other = difference(table, part(Float32Array, numbers, proof.table));
      if (other < 0) return null;
      const row = Math.floor(other / ROW);
      const which = `view ${Math.floor(row / batch) + 1} of sample ${order[row % batch]}`;
      return `${which} differs in its entry "${ENTRIES[other % ROW]}" (${table[other]})`;
    }
  }

  // Classes of images by the folders that they lie in: {classes, labels}; null without at least two folders, or where
  // an image lies in none.
  function foldersOf(names) {
    const folders = names.map((name) => name.split('/').slice(-2, -1)[0]);
    const classes = [...new Set(folders)].sort();
    if (classes.length < 2 || classes.includes(undefined)) return null;
    return { classes, labels: Uint32Array.from(folders, (f) => classes.indexOf(f)) };
  }

  // Some of the ids of n things, evenly spread.
  const spread = (n, some) =>
    Array.from({ length: Math.min(n, some) }, (_, i) => Math.floor((i * n) / Math.min(n, some)));

  globalThis.AmclTrainer = { Trainer, foldersOf, spread };
})();
