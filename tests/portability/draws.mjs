// The training page's draws against the program's: draws.mjs FOLDER, where FOLDER is what
// `amcl-wgpu export RUN --web FOLDER --train` made. Words, order and table must be equal bit for bit. Needs node alone.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import '../../assets/web/draws.js';

const { philox, Stream, PURPOSES, ROW, permutation, views, difference } = globalThis.AmclDraws;
const folder = process.argv[2];
if (!folder) throw new Error('draws.mjs FOLDER');
const described = JSON.parse(fs.readFileSync(path.join(folder, 'train.json')));
const bytes = Uint8Array.from(fs.readFileSync(path.join(folder, 'train.bin')));
const part = (Type, { offset, bytes: length }) => new Type(bytes.buffer, offset, length / 4);
const seed = BigInt(described.seed);

// Known answers of the Random123 distribution (kat_vectors).
const words = (...list) => list.map((w) => w.toString(16)).join(' ');
assert.equal(words(...philox([0, 0, 0, 0], [0, 0])), '6627e8d5 e169c58d bc57ac4c 9b00dbd8');
const ones = 0xffffffff;
assert.equal(words(...philox([ones, ones, ones, ones], [ones, ones])), '408f276d 41c83b0e a20bc7c6 6d5451fd');
const pi = [0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344];
assert.equal(words(...philox(pi, [0xa4093822, 0x299f31d0])), 'd16cfe09 94fdcceb 5001e420 24126ea1');
// A copy goes its own way, and a second block follows the first.
const stream = new Stream((5n << 32n) | 7n, 1, 2, PURPOSES.view0);
stream.skip(3);
const copy = stream.clone();
const ahead = [copy.word(), copy.word(), copy.word()];
assert.deepEqual([stream.word(), stream.word(), stream.word()], ahead);
assert.deepEqual(ahead.slice(1), philox([1, 2, 1, PURPOSES.view0], [7, 5]).slice(0, 2));

// Passing over words leads where drawing them does, from any place in a block.
for (let drawn = 0; drawn < 5; drawn += 1) {
  for (let n = 0; n < 10; n += 1) {
    const [passed, counted] = [0, 1].map(() => new Stream(9n, 0, 1, PURPOSES.view1));
    for (const s of [passed, counted]) for (let i = 0; i < drawn; i += 1) s.word();
    passed.skip(n);
    for (let i = 0; i < n; i += 1) counted.word();
    assert.equal(passed.word(), counted.word(), `${n} words after ${drawn}`);
  }
}

const { batch, policy, proof, images } = described;
const shape = { ...described, count: described.views };
const [wantOrder, wantTable] = [part(Uint32Array, proof.order), part(Float32Array, proof.table)];
assert.equal(wantOrder.length, images.count);
assert.equal(wantTable.length, described.views * batch * ROW);
const order = permutation(images.count, seed, 0);
assert.equal(difference(order, wantOrder), -1, 'the order of the first epoch');
const table = (s, epoch) => views(policy, shape, wantOrder.subarray(0, batch), s, epoch);
assert.equal(difference(table(seed, 0), wantTable), -1, 'the table of the first step');

// Controls: another seed, in its high word alone too, and another epoch give others.
for (const other of [seed + 1n, seed ^ (1n << 32n)]) {
  assert.notEqual(difference(permutation(images.count, other, 0), wantOrder), -1, `the order of seed ${other}`);
  assert.notEqual(difference(table(other, 0), wantTable), -1, `the table of seed ${other}`);
}
assert.notEqual(difference(permutation(images.count, seed, 1), wantOrder), -1, 'the order of another epoch');
assert.notEqual(difference(table(seed, 1), wantTable), -1, 'the table of another epoch');
console.log(`draws: an order of ${order.length} and a table of ${wantTable.length / ROW} rows are the program's`);
