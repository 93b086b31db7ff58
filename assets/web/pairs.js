// What a step tells about its pairs of views: similarities, and AMCL's temperatures. Defines one global, `AmclPairs`.
//
//   AmclPairs.tell({similarity, score}, [heads, rows], amcl)   what is shown of a step; score is absent where
//                                                  temperatures are none of AMCL's
//   AmclPairs.charts(parent, heads, warm)          charts of so many heads, of temperatures too if `warm`; gives
//                                                  {add(step, told), show({from, to})}
'use strict';

(function () {
  const BINS = 60;
  // Negatives of a head that are looked at, at most.
  const PAIRS = 1 << 16;
  const KINDS = ['positive', 'negative'];
  const centre = (bin) => -1 + (2 * (bin + 0.5)) / BINS;

  // The share `at` of sorted values.
  const quantile = (sorted, at) => sorted[Math.round(at * (sorted.length - 1))];
  const band = (values) => {
    const sorted = values.sort();
    return { low: quantile(sorted, 0.05), median: quantile(sorted, 0.5), high: quantile(sorted, 0.95) };
  };

  // What the pairs of a step tell, head by head: {similarity: {positive, negative}: shares of BINS bins over [-1, 1],
  // temperature: {positive, negative}: {low, median, high} or null}. Row i's positive is the other view of its sample;
  // the diagonal is no pair. Of all rows, so many are taken that a head has no more than PAIRS negatives.
  function tell({ similarity, score }, [heads, rows], amcl) {
    const taken = AmclTrainer.spread(rows, Math.max(1, Math.floor(PAIRS / rows)));
    const out = [];
    for (let head = 0; head < heads; head += 1) {
      const counts = { positive: new Float32Array(BINS), negative: new Float32Array(BINS) };
      const temperatures = {
        positive: new Float32Array(taken.length),
        negative: new Float32Array(taken.length * (rows - 2)),
      };
      let [positives, negatives] = [0, 0];
      for (const i of taken) {
        for (let j = 0; j < rows; j += 1) {
          if (j === i) continue;
          const at = (head * rows + i) * rows + j;
          const positive = j === (i + rows / 2) % rows;
          const kind = positive ? 'positive' : 'negative';
          const bin = Math.floor(((similarity[at] + 1) / 2) * BINS);
          counts[kind][Math.min(Math.max(bin, 0), BINS - 1)] += 1;
          if (score) {
            const place = positive ? positives++ : negatives++;
            temperatures[kind][place] = amcl.tau_min + amcl.range / (1 + Math.exp(score[at]));
          }
        }
      }
      const shares = (all) => {
        const sum = all.reduce((a, b) => a + b, 0) || 1;
        return all.map((v) => v / sum);
      };
      out.push({
        similarity: { positive: shares(counts.positive), negative: shares(counts.negative) },
        temperature: score ? { positive: band(temperatures.positive), negative: band(temperatures.negative) } : null,
      });
    }
    return out;
  }

  // A figure with its canvas, and the chart on it.
  function chart(parent, caption, axes) {
    const [figure, words, canvas] = ['figure', 'figcaption', 'canvas'].map((tag) => document.createElement(tag));
    words.textContent = caption;
    canvas.setAttribute('role', 'img');
    canvas.setAttribute('aria-label', caption);
    figure.append(words, canvas);
    parent.append(figure);
    const plot = AmclPlots(canvas, axes);
    return {
      // `of` makes a kind's curve; `told` is what a kind's says in words.
      show(range, of, told) {
        const series = [
          { ...of('negative'), colour: '--focus', dash: [6, 4] },
          { ...of('positive'), colour: '--mark' },
        ];
        plot.show({ ...range, series });
        canvas.setAttribute('aria-label', `${caption}: ${KINDS.map((kind) => `${kind} ${told(kind)}`).join(', ')}`);
      },
    };
  }

  function charts(parent, count, warm) {
    const each = (make) => Array.from({ length: count }, (_, h) => make(h + 1));
    parent.replaceChildren();
    const temperatures = warm ? each((h) => chart(parent, `Head ${h}: temperatures`, { x: 'step' })) : [];
    const similarities = each((h) =>
      chart(parent, `Head ${h}: similarities, shares of the pairs`, { x: 'cosine', low: 0 }),
    );
    const steps = [];

    function show(range) {
      if (!steps.length) return;
      const { told: latest } = steps[steps.length - 1];
      temperatures.forEach((t, h) => {
        const along = (kind, of) => steps.map(({ at, told }) => [at, ...of(told[h].temperature[kind])]);
        const curve = (kind) => ({
          points: along(kind, (v) => [v.median]),
          band: along(kind, (v) => [v.low, v.high]),
        });
        t.show(range, curve, (kind) => `median ${latest[h].temperature[kind].median.toFixed(3)}`);
      });
      similarities.forEach((s, h) => {
        const shares = (kind) => [...latest[h].similarity[kind]];
        const curve = (kind) => ({ points: shares(kind).map((v, i) => [centre(i), v]), fill: true });
        const mean = (kind) => shares(kind).reduce((sum, v, i) => sum + v * centre(i), 0);
        s.show({ from: -1, to: 1 }, curve, (kind) => `mean ${mean(kind).toFixed(2)}`);
      });
    }

    return { add: (at, told) => steps.push({ at, told }), show };
  }

  globalThis.AmclPairs = { tell, charts };
})();
