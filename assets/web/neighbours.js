// Nearest neighbours by cosine, and their votes: what src/eval/knn.rs does. Defines one global, `AmclNeighbours`.
'use strict';

(function () {
  // A row of length 1, as the program's l2_normalize makes it.
  function unit(row) {
    const norm = Math.sqrt(row.reduce((sum, v) => sum + v * v, 0));
    return Float32Array.from(row, (v) => v / Math.max(norm, 1e-12));
  }

  function dot(a, b) {
    let sum = 0;
    for (let i = 0; i < a.length; i += 1) sum += a[i] * b[i];
    return sum;
  }

  // The bank's rows from the nearest on: [{index, similarity}]. Query and rows have length 1.
  function ranked(query, bank) {
    const all = bank.map((row, index) => ({ index, similarity: dot(query, row) }));
    return all.sort((a, b) => b.similarity - a.similarity || a.index - b.index);
  }

  // Votes of the first k of `near`, each of weight exp(similarity / temperature): classes from the strongest on,
  // [{label, share, count}], shares of all votes.
  function votes(near, labels, { k, temperature }) {
    const first = near.slice(0, k);
    if (!first.length) return [];
    const top = first[0].similarity;
    const classes = new Map();
    let total = 0;
    for (const { index, similarity } of first) {
      // The nearest one's weight is divided out, so that no temperature overflows.
      const weight = Math.exp((similarity - top) / temperature);
      const vote = classes.get(labels[index]) ?? { label: labels[index], share: 0, count: 0 };
      vote.share += weight;
      vote.count += 1;
      total += weight;
      classes.set(labels[index], vote);
    }
    const list = [...classes.values()].map((v) => ({ ...v, share: v.share / total }));
    return list.sort((a, b) => b.share - a.share || a.label - b.label);
  }

  globalThis.AmclNeighbours = { unit, dot, ranked, votes };
})();
