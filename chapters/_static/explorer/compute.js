/* The lambda explorer: makes the posterior for any lambda from a hypernetwork's own parameters, prunes and tests it.

A classic script without requests, so that it works from a disk too. The formulae are those of the package:
methods/, objective.py, posterior.py, pruning.py; tests/test_browser.py compares the numbers. */
"use strict";

const explorer = (() => {
  const DRAWS = 20; // of the weights, behind each predictive distribution
  const LEVELS = [0, 10, 20, 30, 40, 50, 60, 70, 80, 90, 91, 92, 93, 94, 95, 96, 97, 98, 99]; // percent removed
  const METHODS = { tempered: "(g) tempered", low_rank: "(c) low-rank", linear: "(e) linear" };
  const BESIDE = "direct"; // the method behind them, which has a posterior for a few lambdas alone
  const TENSORS = ["W1", "b1", "W2", "b2"];
  const SPEED = 3; // of tempered.py
  const IN_USE = 0.5; // norm of a hidden unit's mean incoming weights
  const FEEDS = { scaled: (lam) => lam / 100, log: Math.log10, raw: (lam) => lam };
  const models = {};
  const parts = {};
  let arrived, failed; // called when all parameters and the digits are here, or when some can't be read
  const waiting = new Promise((resolve, reject) => { [arrived, failed] = [resolve, reject]; });

  // ---- numbers -------------------------------------------------------------------------------------------------

  async function unpack(packed) {
    const bytes = Uint8Array.from(atob(packed), (c) => c.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Response(stream).arrayBuffer();
  }

  /** What the scripts of parameters and digits call. */
  async function receive(name, about, packed) {
    try {
      take(name, about, await unpack(packed));
    } catch (error) { // of a browser that can't unpack, or of a file that is cut short
      failed(error);
    }
  }

  function take(name, about, buffer) {
    if (name === "digits") {
      Object.assign(parts, readDigits(about, new Uint8Array(buffer)));
    } else {
      const codes = new Uint16Array(buffer);
      const tensors = {}, shapes = {};
      let at = 0;
      for (const tensor of about.tensors) {
        const length = tensor.shape.reduce((a, b) => a * b, 1);
        tensors[tensor.name] = Float32Array.from(codes.subarray(at, at + length), (code) => tensor.low + code * tensor.step);
        shapes[tensor.name] = tensor.shape;
        at += length;
      }
      const [inputs, hidden] = shapes["W1.a"] || shapes["mean.W1.B1"] || shapes["mean.W1.b3"] || shapes["0.mean.W1"];
      models[name] = { ...about, name, tensors, shapes, inputs, hidden };
    }
    if (parts.test && [...Object.keys(METHODS), BESIDE].every((method) => models[method])) arrived();
  }

  function readDigits(about, bytes) {
    const read = {};
    let at = 0;
    ["train", "test"].forEach((part, k) => {
      const count = about.digits[k];
      const images = Array.from({ length: count }, (_, n) => bytes.subarray(at + n * about.pixels, at + (n + 1) * about.pixels));
      at += count * about.pixels;
      const labels = bytes.subarray(at, at + count);
      at += count;
      read[part] = images.map((image, n) => sparse(image, labels[n]));
    });
    return read;
  }

  /** A digit as the pixels that aren't background: scaled to [-1, 1] the background is -1, the others -1 + value.

  Their number is filled up to a multiple of eight, because firstLayer takes eight at a time. Of x = -1 + value the square
  is 1 + value (value - 2). */
  function sparse(image, label) {
    const places = [], values = [];
    for (let i = 0; i < image.length; i++) if (image[i]) { places.push(i); values.push(image[i] / 127.5); }
    while (places.length % 8) { places.push(0); values.push(0); }
    return {
      image, label, places: Uint16Array.from(places), values: Float64Array.from(values),
      squares: Float64Array.from(values, (value) => value * (value - 2)),
    };
  }

  /** The generated posterior: each tensor as Float32Array, under mean and log_std. */
  function generate(model, lam) {
    const q = { mean: {}, log_std: {} };
    if (model.lambdas.length) {
      const k = model.lambdas.indexOf(nearest(lam, model));
      for (const part of ["mean", "log_std"]) for (const name of TENSORS) q[part][name] = model.tensors[`${k}.${part}.${name}`];
      return q;
    }
    if (model.tensors["W1.a"]) {
      for (const name of TENSORS) [q.mean[name], q.log_std[name]] = tempered(model, name, lam);
      return q;
    }
    const z = Math.fround(FEEDS[model.feed](Math.fround(lam)));
    for (const part of ["mean", "log_std"]) {
      for (const name of TENSORS) {
        const t = (leaf) => model.tensors[`${part}.${name}.${leaf}`];
        q[part][name] = t("b3") ? line(z, t("b2"), t("b3")) : lowRank(z, t);
      }
    }
    return q;
  }

  /** The lambda that the method behind was trained for, and whose logarithm is nearest. */
  function nearest(lam, model = models[BESIDE]) {
    return model.lambdas.reduce((a, b) => (Math.abs(Math.log(b / lam)) < Math.abs(Math.log(a / lam)) ? b : a));
  }

  function line(z, slope, constant) {
    const out = new Float32Array(constant.length);
    for (let i = 0; i < out.length; i++) out[i] = constant[i] + z * slope[i];
    return out;
  }

  function lowRank(z, t) {
    const f = t("f_weight").map((weight, k) => Math.max(0, z * weight + t("f_bias")[k]));
    const vector = (U, c) => c.map((start, j) => {
      let sum = start;
      for (let k = 0; k < f.length; k++) sum += f[k] * U[k * c.length + j];
      return sum;
    });
    const rows = vector(t("U1"), t("c1")), B = t("B1");
    if (!t("U2")) return rows.map((value, i) => value + B[i]);
    const columns = vector(t("U2"), t("c2")), out = new Float32Array(B.length);
    for (let i = 0, at = 0; i < rows.length; i++)
      for (let j = 0; j < columns.length; j++, at++) out[at] = rows[i] * columns[j] + B[at];
    return out;
  }

  /** tempered.py's mean and log standard deviation of a tensor. */
  function tempered(model, name, lam) {
    const [low, high] = model.lam_range.map(Math.log), logLam = Math.log(lam);
    const t = Math.max(-1, Math.min(1, (2 * logLam - low - high) / (high - low)));
    const tensor = (what) => model.tensors[`${name}.${what}`];
    const a = tensor("a"), m = polynomial(tensor("m"), a.length, t);
    const curves = (what) => model.shapes[`${name}.a`].map((width, axis) => polynomial(tensor(what + axis), width, t));
    const factor = outer(curves("gain").map((curve) => curve.map(Math.exp)), (first, second) => first * second);
    const shift = outer(curves("shift"), (first, second) => first + second), logPrior = Math.log(model.prior_std);
    const mean = new Float32Array(m.length), logStd = new Float32Array(m.length);
    for (let i = 0; i < m.length; i++) {
      const x = SPEED * (a[i] + shift[i]) - logLam, e = Math.exp(-Math.abs(x));
      mean[i] = m[i] * factor[i] * (x > 0 ? 1 : e) / (1 + e);
      logStd[i] = logPrior - (Math.max(x, 0) + Math.log1p(e)) / 2;
    }
    return [mean, logStd];
  }

  /** The polynomial with the given values at Chebyshev nodes, at t, for each of width places; values [nodes, width]. */
  function polynomial(values, width, t) {
    const out = new Float64Array(width), count = values ? values.length / width : 0;
    const nodes = Array.from({ length: count }, (_, k) => (count > 1 ? -Math.cos(Math.PI * k / (count - 1)) : 0));
    nodes.forEach((node, k) => {
      const weight = nodes.reduce((product, other, j) => (j === k ? product : product * (t - other) / (node - other)), 1);
      for (let i = 0; i < width; i++) out[i] += weight * values[k * width + i];
    });
    return out;
  }

  function outer([first, second], join) {
    if (!second) return first;
    const out = new Float64Array(first.length * second.length);
    for (let i = 0, at = 0; i < first.length; i++) for (let j = 0; j < second.length; j++) out[at++] = join(first[i], second[j]);
    return out;
  }

  /** Deviations; and for each weight matrix (mean / deviation)², its order of removal, smallest first, sorted if asked for. */
  function prepare(q) {
    q.variance = {};
    q.order = {};
    for (const name of TENSORS) {
      const logStd = q.log_std[name], variance = q.variance[name] = new Float64Array(logStd.length);
      for (let i = 0; i < variance.length; i++) variance[i] = Math.exp(2 * logStd[i]);
      if (name.startsWith("b")) continue;
      const mean = q.mean[name], ratios = new Float32Array(mean.length);
      for (let i = 0; i < ratios.length; i++) ratios[i] = mean[i] * mean[i] / variance[i];
      let inOrder = null;
      q.order[name] = { ratios, sorted: () => (inOrder ??= ratios.slice().sort()) };
    }
    return q;
  }

  /** 1 for each weight that stays when a percent of its matrix is removed; of equals the first go first. */
  function kept({ ratios, sorted }, percent) {
    const remove = Math.floor(ratios.length * percent / 100), keep = new Uint8Array(ratios.length).fill(1);
    if (!remove) return keep;
    const inOrder = sorted(), bound = inOrder[remove - 1];
    let equals = remove;
    while (equals && inOrder[equals - 1] === bound) equals--;
    let left = remove - equals;
    for (let i = 0; i < keep.length; i++) if (ratios[i] < bound || (ratios[i] === bound && left-- > 0)) keep[i] = 0;
    return keep;
  }

  function masked(values, keep) {
    const out = new Float64Array(values.length);
    for (let i = 0; i < out.length; i++) out[i] = keep[i] * values[i]; // quicker than a branch
    return out;
  }

  /** The posterior's network with a percent of its weights removed. */
  function prune(q, percent) {
    const net = { q, percent, mean: { b1: q.mean.b1, b2: q.mean.b2 } };
    for (const name of ["W1", "W2"]) {
      net[`keep${name}`] = kept(q.order[name], percent);
      net.mean[name] = masked(q.mean[name], net[`keep${name}`]);
    }
    net.background = background(net.mean.W1, net.mean.b1, -1);
    return net;
  }

  /** Variances of the network, removed weights without any. */
  function withVariance(net) {
    const v = net.q.variance;
    net.variance = { b1: v.b1, b2: v.b2, W1: masked(v.W1, net.keepW1), W2: masked(v.W2, net.keepW2) };
    net.varianceBackground = background(net.variance.W1, v.b1, 1);
    return net;
  }

  /** The first layer's answer to an empty image. */
  function background(W, b, pixel) {
    const out = Float64Array.from(b), n = out.length;
    for (let at = 0; at < W.length; at += n) for (let j = 0; j < n; j++) out[j] += pixel * W[at + j];
    return out;
  }

  function firstLayer(places, values, W, start, out) {
    const n = start.length;
    out.set(start);
    for (let i = 0; i < places.length; i += 8) {
      const v0 = values[i], v1 = values[i + 1], v2 = values[i + 2], v3 = values[i + 3];
      const v4 = values[i + 4], v5 = values[i + 5], v6 = values[i + 6], v7 = values[i + 7];
      const p0 = places[i] * n, p1 = places[i + 1] * n, p2 = places[i + 2] * n, p3 = places[i + 3] * n;
      const p4 = places[i + 4] * n, p5 = places[i + 5] * n, p6 = places[i + 6] * n, p7 = places[i + 7] * n;
      for (let j = 0; j < n; j++)
        out[j] += v0 * W[p0 + j] + v1 * W[p1 + j] + v2 * W[p2 + j] + v3 * W[p3 + j]
          + v4 * W[p4 + j] + v5 * W[p5 + j] + v6 * W[p6 + j] + v7 * W[p7 + j];
    }
    return out;
  }

  function secondLayer(h, W, b, out, squares) {
    const n = b.length;
    for (let k = 0; k < n; k++) out[k] = b[k];
    for (let j = 0, at = 0; j < h.length; j++, at += n) {
      if (h[j] <= 0) continue;
      const value = squares ? h[j] * h[j] : h[j];
      for (let k = 0; k < n; k++) out[k] += value * W[at + k];
    }
    return out;
  }

  function largest(values) {
    let best = 0;
    for (let k = 1; k < values.length; k++) if (values[k] > values[best]) best = k;
    return best;
  }

  /** Share of the test digits that the mean network classifies rightly. */
  function accuracy(net) {
    const h = new Float64Array(net.background.length), out = new Float64Array(net.mean.b2.length);
    let right = 0;
    for (const digit of parts.test) {
      firstLayer(digit.places, digit.values, net.mean.W1, net.background, h);
      if (largest(secondLayer(h, net.mean.W2, net.mean.b2, out)) === digit.label) right++;
    }
    return right / parts.test.length;
  }

  /** Accuracy at every level of LEVELS. Weights come back from the last level to the first, each computed with once. */
  function curve(q) {
    const n = q.mean.b1.length, keep = LEVELS.map((percent) => kept(q.order.W1, percent));
    const level = new Uint8Array(q.mean.W1.length); // the first at which the weight is gone
    for (const kept of keep) for (let i = 0; i < level.length; i++) level[i] += kept[i];
    const last = LEVELS.length - 1, hidden = parts.test.map(() => new Float64Array(n)), out = new Float64Array(q.mean.b2.length);
    const accuracies = new Array(LEVELS.length);
    for (let l = last; l >= 0; l--) {
      const { starts, columns, weights } = rows(q.mean.W1, n, level, l, l === last);
      const bias = new Float64Array(n);
      if (l === last) bias.set(q.mean.b1);
      for (let i = 0; i < weights.length; i++) bias[columns[i]] -= weights[i];
      const W2 = masked(q.mean.W2, kept(q.order.W2, LEVELS[l]));
      let right = 0;
      parts.test.forEach((digit, d) => {
        const h = hidden[d], { places, values } = digit;
        for (let j = 0; j < n; j++) h[j] += bias[j];
        for (let i = 0; i < places.length; i++) {
          const value = values[i], end = starts[places[i] + 1];
          for (let at = starts[places[i]]; at < end; at++) h[columns[at]] += value * weights[at];
        }
        if (largest(secondLayer(h, W2, q.mean.b2, out)) === digit.label) right++;
      });
      accuracies[l] = right / parts.test.length;
    }
    return accuracies;
  }

  /** The weights that are gone at the next level and not at this one, row by row. */
  function rows(W, n, level, l, last) {
    const starts = new Uint32Array(W.length / n + 1), columns = new Uint16Array(W.length), weights = new Float64Array(W.length);
    let at = 0;
    for (let i = 0; i < W.length; i++) {
      if (i % n === 0) starts[i / n] = at;
      if (last ? level[i] > l : level[i] === l + 1) { columns[at] = i % n; weights[at++] = W[i]; }
    }
    starts[W.length / n] = at;
    return { starts, columns: columns.subarray(0, at), weights: weights.subarray(0, at) };
  }

  /** The most weights, in percent, that can go for so many points of accuracy; of the levels of a curve. */
  function removable(accuracies, points) {
    const beyond = accuracies.findIndex((share) => share < accuracies[0] - points / 100 - 1e-9);
    return LEVELS[(beyond < 0 ? LEVELS.length : beyond) - 1];
  }

  /** How many hidden units have mean incoming weights of a norm above IN_USE. */
  function unitsInUse(q) {
    const squares = new Float64Array(q.mean.b1.length);
    q.mean.W1.forEach((weight, i) => { squares[i % squares.length] += weight * weight; });
    return squares.filter((sum) => sum > IN_USE ** 2).length;
  }

  /** The largest absolute mean weight of the first layer over the lambdas that a model was trained for. */
  function largestWeight(model) {
    const size = (lam) => generate(model, lam).mean.W1.reduce((most, weight) => Math.max(most, Math.abs(weight)), 0);
    return Math.max(...model.lambdas.map(size));
  }

  /** KL(q || N(0, prior_std² I)) in nats, objective.kl. */
  function kl(q, priorStd) {
    let sum = 0;
    for (const name of TENSORS) {
      const mean = q.mean[name], logStd = q.log_std[name], variance = q.variance[name];
      for (let i = 0; i < mean.length; i++)
        sum += (mean[i] * mean[i] + variance[i]) / (2 * priorStd * priorStd) - logStd[i] + Math.log(priorStd) - 0.5;
    }
    return sum;
  }

  /** The same standard normal numbers at every call, so that a move of lambda isn't lost in noise. */
  const noise = (() => {
    const out = new Float64Array(1 << 17);
    let state = 1;
    const uniform = () => { // mulberry32
      state = (state + 0x6d2b79f5) | 0;
      let t = Math.imul(state ^ (state >>> 15), 1 | state);
      t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
      return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
    };
    for (let i = 0; i < out.length; i += 2) {
      const radius = Math.sqrt(-2 * Math.log(1 - uniform())), angle = 2 * Math.PI * uniform();
      out[i] = radius * Math.cos(angle);
      out[i + 1] = radius * Math.sin(angle);
    }
    return out;
  })();

  /** Logits under weights drawn from q, by local reparameterisation: posterior.sampled_logits, for one digit. */
  function sampler(net) {
    const n = net.background.length, classes = net.mean.b2.length;
    const mean = new Float64Array(n), variance = new Float64Array(n), h = new Float64Array(n);
    const out = new Float64Array(classes), spread = new Float64Array(classes);
    let at = 0;
    const next = () => noise[at++ & (noise.length - 1)];
    return (digit, draws, use) => {
      firstLayer(digit.places, digit.values, net.mean.W1, net.background, mean);
      firstLayer(digit.places, digit.squares, net.variance.W1, net.varianceBackground, variance);
      for (let draw = 0; draw < draws; draw++) {
        for (let j = 0; j < n; j++) h[j] = mean[j] + Math.sqrt(variance[j]) * next();
        secondLayer(h, net.mean.W2, net.mean.b2, out);
        secondLayer(h, net.variance.W2, net.variance.b2, spread, true);
        for (let k = 0; k < classes; k++) out[k] += Math.sqrt(spread[k]) * next();
        use(out);
      }
    };
  }

  function logSumExp(values) {
    const top = values[largest(values)];
    let sum = 0;
    for (const value of values) sum += Math.exp(value - top);
    return top + Math.log(sum);
  }

  /** E_q log p(D | w) in nats, from a few training digits and scaled up to all, with its standard error. */
  function logLikelihood(net, trainDigits, count = parts.train.length, draws = 1) {
    const digits = parts.train.slice(0, count), sample = sampler(net);
    let sum = 0, squares = 0;
    for (const digit of digits) {
      let value = 0;
      sample(digit, draws, (logits) => { value += (logits[digit.label] - logSumExp(logits)) / draws; });
      sum += value;
      squares += value * value;
    }
    const n = digits.length, variance = Math.max(0, squares / n - (sum / n) ** 2);
    return { value: trainDigits * sum / n, error: trainDigits * Math.sqrt(variance / n) };
  }

  /** The predictive distribution of each digit: the softmax, averaged over draws of the weights. */
  function predict(net, digits) {
    const sample = sampler(net);
    return digits.map((digit) => {
      const total = new Float64Array(net.mean.b2.length);
      sample(digit, DRAWS, (logits) => {
        const norm = logSumExp(logits);
        for (let k = 0; k < total.length; k++) total[k] += Math.exp(logits[k] - norm) / DRAWS;
      });
      return total;
    });
  }

  const latest = {}; // each method's last posterior and its measures; a move of the pruning slider needs no other
  function at(name, lam) {
    if (latest[name]?.lam !== lam) {
      const model = models[name], q = prepare(generate(model, lam)), complexity = kl(q, model.prior_std);
      const whole = withVariance(prune(q, 0)), fit = logLikelihood(whole, model.train);
      latest[name] = { name, lam, q, whole, kl: complexity, logLikelihood: fit, evidence: fit.value - lam * complexity };
    }
    return latest[name];
  }

  /** Every number of a setting. */
  function measure(name, lam, percent) {
    const now = at(name, lam), net = percent ? withVariance(prune(now.q, percent)) : now.whole;
    const weights = net.keepW1.length + net.keepW2.length;
    const removed = [net.keepW1, net.keepW2].reduce((sum, keep) => sum + Math.floor(keep.length * percent / 100), 0);
    return { ...now, net, percent, accuracy: accuracy(net), weights, remaining: weights - removed };
  }

  /** A drawing as the digits of MNIST are: 20 pixels at its longer side, its centre of mass in the middle. */
  function normalise(gray, side) {
    let left = side, right = -1, top = side, bottom = -1;
    for (let y = 0; y < side; y++) for (let x = 0; x < side; x++) if (gray[y * side + x] > 20) {
      left = Math.min(left, x); right = Math.max(right, x); top = Math.min(top, y); bottom = Math.max(bottom, y);
    }
    if (right < 0) return null;
    const step = Math.max(right - left + 1, bottom - top + 1) / 20;
    const small = new Float64Array(28 * 28);
    let mass = 0, massX = 0, massY = 0;
    const shrink = (originX, originY) => {
      small.fill(0);
      mass = massX = massY = 0;
      for (let y = 0; y < 28; y++) for (let x = 0; x < 28; x++) {
        let sum = 0, count = 0;
        for (let v = Math.floor(originY + y * step); v < originY + (y + 1) * step; v++)
          for (let u = Math.floor(originX + x * step); u < originX + (x + 1) * step; u++) {
            count++;
            if (u >= 0 && v >= 0 && u < side && v < side) sum += gray[v * side + u];
          }
        const value = count ? sum / count : 0;
        small[y * 28 + x] = value;
        mass += value; massX += value * (x + 0.5); massY += value * (y + 0.5);
      }
    };
    const originX = (left + right + 1) / 2 - 14 * step, originY = (top + bottom + 1) / 2 - 14 * step;
    shrink(originX, originY);
    shrink(originX + (massX / mass - 14) * step, originY + (massY / mass - 14) * step);
    return Uint8Array.from(small, (value) => Math.round(Math.min(255, value)));
  }

  return {
    receive, ready: waiting, models, parts, LEVELS, METHODS, BESIDE, IN_USE, nearest, measure, curve: (name, lam) => curve(at(name, lam).q),
    predict, sparse, normalise, logLikelihood, generate, prepare, prune, withVariance, kl, removable, unitsInUse, largestWeight,
  };
})();
