/* What the reader sees of the lambda explorer: sliders, numbers, curve, weights, digits, and the pad to draw on. */
"use strict";

(() => {
  const home = document.getElementById("explorer");
  const PAD = 280; // pixels of the pad's side
  const MARGIN = { left: 46, right: 10, top: 10, bottom: 38 }, WIDTH = 420, HEIGHT = 260; // of the curve
  const CONTRAST = 4; // the largest weight over that of full colour
  const POINTS = 2; // of accuracy, that the sentence gives for removed weights
  const NUMBERS = { accuracy: "accuracy", remaining: "weights that remain", evidence: "evidence, nats",
    likelihood: "log-likelihood, nats", kl: "KL, nats" };
  const NEGATIVE = [33, 102, 172], POSITIVE = [179, 88, 6], REMOVED = [200, 200, 200]; // apart for every kind of eye

  home.innerHTML = `
    <p id="x-status" role="status">Loading the hypernetworks …</p>
    <form class="x-controls" aria-label="Settings">
      <fieldset>
        <legend>Hypernetwork</legend>
        ${Object.entries(explorer.METHODS).map(([name, title], k) =>
          `<label><input type="radio" name="method" value="${name}"${k ? "" : " checked"}> ${title}</label>`).join("")}
      </fieldset>
      <label for="x-lambda">Complexity parameter λ = <output id="x-lambda-value" for="x-lambda"></output></label>
      <input id="x-lambda" type="range" min="-1" max="2" step="0.01" value="0">
      <label for="x-removed">Weights removed: <output id="x-removed-value" for="x-removed"></output></label>
      <input id="x-removed" type="range" min="0" max="99" step="1" value="0">
    </form>
    <dl class="x-numbers" id="x-numbers">
      ${Object.entries(NUMBERS).map(([name, title]) => `<div><dt>${title}</dt><dd id="x-${name}"></dd>
        <dd class="x-beside" id="x-beside-${name}"></dd></div>`).join("")}
    </dl>
    <p class="x-sentence" id="x-sentence"></p>
    <div class="x-pictures">
      <figure><svg id="x-curve" viewBox="0 0 ${WIDTH} ${HEIGHT}" role="img"></svg>
        <figcaption>The pruning curve at this λ, and the setting on it. Dashed: direct training (a), for the nearest λ that it
        was trained for.</figcaption></figure>
      <p class="x-note" id="x-note"></p>
      <figure><canvas id="x-weights" role="img"></canvas>
        <figcaption>The first layer: an image of 28 × 28 mean weights for each hidden unit. Blue is negative, brown positive,
        grey removed.</figcaption></figure>
      <figure><canvas id="x-beside-weights" role="img"></canvas>
        <figcaption>The same of (a), for λ = <output id="x-nearest"></output>. There is one scale of colours for all methods and
        all λ.</figcaption></figure>
    </div>
    <h3 id="x-digits-title">Digits, and what the network makes of them</h3>
    <p>The bars are the predictive distribution over 0 … 9: the network's answer, averaged over 20 draws of the weights that
      remain.</p>
    <div class="x-digits" id="x-digits" role="list" aria-labelledby="x-digits-title"></div>
    <button type="button" id="x-more">Other digits</button>
    <h3 id="x-pad-title">Draw one yourself</h3>
    <p id="x-pad-help">With a mouse, a pen or a finger. With the keyboard: the arrow keys move the pen, the space bar puts it
      down or lifts it, Delete clears the pad.</p>
    <div class="x-drawing">
      <canvas id="x-pad" width="${PAD}" height="${PAD}" tabindex="0" role="application" aria-labelledby="x-pad-title"
        aria-describedby="x-pad-help"></canvas>
      <div class="x-digits" id="x-drawn" role="list" aria-label="Your digit"></div>
    </div>
    <button type="button" id="x-clear">Clear the pad</button>
    <p id="x-heard" class="x-heard" role="status"></p>`;
  const get = (id) => document.getElementById(`x-${id}`);
  const methods = [...home.querySelectorAll("input[name=method]")];
  const nats = (value) => Math.round(value).toLocaleString("en").replace("-", "−");

  // ---- settings ------------------------------------------------------------------------------------------------

  let shown = 0; // the first of the digits in the row
  let drawn = null;
  let current = null;
  let curveTimer = 0;
  let curveOf = {};
  let beside = {}; // the same of direct training, at the nearest lambda

  function settings() {
    const exponent = Number(get("lambda").value);
    return {
      method: methods.find((input) => input.checked).value,
      lam: 10 ** exponent,
      percent: Number(get("removed").value),
    };
  }

  const short = (lam) => String(Number(lam.toPrecision(3)));

  /** The setting that the address's fragment names, #method=linear&lambda=10&removed=90; whatever it leaves out stays. */
  function restore() {
    const given = new URLSearchParams(location.hash.slice(1));
    const exponent = Math.log10(given.get("lambda") || NaN), percent = Number(given.get("removed") || NaN);
    for (const input of methods) if (input.value === given.get("method")) input.checked = true;
    if (Number.isFinite(exponent)) get("lambda").value = exponent;
    if (Number.isFinite(percent)) get("removed").value = percent;
  }

  function update() {
    const began = performance.now(), { method, lam, percent } = settings(), text = short(lam);
    get("lambda-value").textContent = text;
    get("lambda").setAttribute("aria-valuetext", `lambda ${text}`);
    get("removed-value").textContent = `${percent}%`;
    get("removed").setAttribute("aria-valuetext", `${percent} percent of the weights removed`);
    current = { ...explorer.measure(method, lam, percent), lam };
    write("", current);
    drawWeights("", current);
    drawDigits();
    clearTimeout(curveTimer);
    curveTimer = setTimeout(() => { // the slider moves on first
      if (curveOf.method !== method || curveOf.lam !== lam) curveOf = { method, lam, accuracies: explorer.curve(method, lam) };
      const near = explorer.nearest(lam);
      if (beside.lam !== near) beside = { lam: near, accuracies: explorer.curve(explorer.BESIDE, near) };
      if (beside.percent !== percent) {
        Object.assign(beside, explorer.measure(explorer.BESIDE, near, percent));
        write("beside-", beside);
        drawWeights("beside-", beside);
        get("nearest").textContent = short(near);
      }
      drawCurve();
      say();
      home.dataset.ready = "true";
    });
    home.dataset.milliseconds = performance.now() - began;
  }

  function write(before, found) {
    const error = nats(found.logLikelihood.error);
    const values = {
      accuracy: `${(100 * found.accuracy).toFixed(1)}%`,
      remaining: `${found.remaining.toLocaleString("en")} of ${found.weights.toLocaleString("en")}`,
      evidence: `${nats(found.evidence)} ± ${error}`, likelihood: `${nats(found.logLikelihood.value)} ± ${error}`, kl: nats(found.kl),
    };
    for (const name of Object.keys(NUMBERS)) get(before + name).textContent = (before && "(a): ") + values[name];
  }

  function say() {
    const units = explorer.unitsInUse(current.q);
    const removable = ({ accuracies }) => `${explorer.removable(accuracies, POINTS) || `less than ${explorer.LEVELS[1]}`}%`;
    const behind = Math.round(1000 * (beside.accuracy - current.accuracy)) / 10, { percent } = current;
    const standing = behind ? `${Math.abs(behind).toFixed(1)} points ${behind > 0 ? "below" : "above"}` : "as accurate as";
    get("sentence").textContent =
      `λ = ${short(curveOf.lam)}: ${units} hidden unit${units === 1 ? "" : "s"} in use, ${removable(curveOf)} of the weights ` +
      `removable for ${POINTS} points of accuracy; ${percent ? `with ${percent}% removed, ` : ""}${standing} direct training ` +
      `(at λ = ${short(beside.lam)}: ${explorer.unitsInUse(beside.q)} in use, ${removable(beside)} removable).`;
  }

  let resting = 0; // once the sliders rest, the address gets the setting and a screen reader hears the numbers
  function rest() {
    clearTimeout(resting);
    resting = setTimeout(() => {
      const { method, lam, percent } = settings();
      history.replaceState(null, "", `#${new URLSearchParams({ method, lambda: short(lam), removed: percent })}`);
      get("heard").textContent = `Accuracy ${get("accuracy").textContent}, evidence ${get("evidence").textContent} nats, ` +
        `${get("remaining").textContent} weights. ${get("sentence").textContent}`;
    }, 700);
  }

  // ---- pictures ------------------------------------------------------------------------------------------------

  function drawCurve() {
    const { percent: here, accuracy } = current;
    const [levels, behind] = [curveOf, beside].map(({ accuracies }) => explorer.LEVELS.map((percent, k) => [percent, accuracies[k]]));
    const through = (levels, share) => [...levels.filter(([percent]) => percent !== here), [here, share]].sort(([a], [b]) => a - b);
    const x = (percent) => MARGIN.left + (percent / 99) * (WIDTH - MARGIN.left - MARGIN.right);
    const y = (share) => HEIGHT - MARGIN.bottom - share * (HEIGHT - MARGIN.top - MARGIN.bottom);
    const line = (points) => points.map(([percent, share]) => `${x(percent)},${y(share)}`).join(" ");
    const ticks = [0, 0.25, 0.5, 0.75, 1].map((share) =>
      `<line class="x-grid" x1="${MARGIN.left}" x2="${WIDTH - MARGIN.right}" y1="${y(share)}" y2="${y(share)}"/>
       <text x="${MARGIN.left - 6}" y="${y(share) + 4}" text-anchor="end">${100 * share}%</text>`);
    const marks = [0, 20, 40, 60, 80, 99].map((percent) =>
      `<text x="${x(percent)}" y="${HEIGHT - MARGIN.bottom + 16}" text-anchor="middle">${percent}</text>`);
    get("curve").innerHTML = `${ticks.join("")}${marks.join("")}
      <text x="${(WIDTH + MARGIN.left) / 2}" y="${HEIGHT - 4}" text-anchor="middle">weights removed, %</text>
      <polyline class="x-line x-beside" points="${line(through(behind, beside.accuracy))}"/>
      <polyline class="x-line" points="${line(through(levels, accuracy))}"/>
      ${levels.map(([percent, share]) => `<circle class="x-dot" cx="${x(percent)}" cy="${y(share)}" r="2.5"/>`).join("")}
      <circle class="x-here" cx="${x(here)}" cy="${y(accuracy)}" r="7"/>`;
    const told = (points) => points.map(([percent, share]) => `${percent}%: ${(100 * share).toFixed(1)}%`).join(", ");
    get("curve").setAttribute("aria-label",
      `Accuracy on ${explorer.parts.test.length} test digits against the percent of removed weights. ${told(levels)}. ` +
      `Now ${here}% removed: ${(100 * accuracy).toFixed(1)}%. Direct training for λ = ${short(beside.lam)}: ${told(behind)}.`);
  }

  let full = 0; // the weight of full colour, for all methods and lambdas

  function drawWeights(before, { net, name, percent }) {
    const { inputs, hidden } = explorer.models[name];
    const side = Math.round(Math.sqrt(inputs)), across = Math.ceil(Math.sqrt(hidden)), step = side + 1;
    const canvas = get(`${before}weights`);
    if (canvas.width !== across * step - 1) canvas.width = canvas.height = across * step - 1;
    const context = canvas.getContext("2d"), picture = context.createImageData(canvas.width, canvas.height);
    for (let unit = 0; unit < hidden; unit++) {
      const left = (unit % across) * step, top = Math.floor(unit / across) * step;
      for (let i = 0; i < inputs; i++) {
        const at = i * hidden + unit, weight = net.mean.W1[at];
        const strength = Math.min(1, Math.abs(weight) / full), to = weight < 0 ? NEGATIVE : POSITIVE;
        const pixel = 4 * ((top + Math.floor(i / side)) * canvas.width + left + (i % side));
        for (let c = 0; c < 3; c++) picture.data[pixel + c] = net.keepW1[at] ? 255 + (to[c] - 255) * strength : REMOVED[c];
        picture.data[pixel + 3] = 255;
      }
    }
    context.putImageData(picture, 0, 0);
    canvas.setAttribute("aria-label", `First-layer weights of ${hidden} hidden units${before && " by direct training"}; ${percent}% of them removed.`);
  }

  function drawDigits() {
    const row = Array.from({ length: 7 }, (_, k) => explorer.parts.test[(shown + k) % explorer.parts.test.length]);
    fill(get("digits"), row);
    fill(get("drawn"), drawn ? [drawn] : []);
  }

  function fill(list, digits) {
    while (list.children.length > digits.length) list.lastChild.remove();
    explorer.predict(current.net, digits).forEach((probabilities, k) => {
      const item = list.children[k] || list.appendChild(card(probabilities.length));
      const digit = digits[k], answer = probabilities.indexOf(Math.max(...probabilities));
      if (item.digit !== digit) paint(item.querySelector("canvas"), digit.image);
      item.digit = digit;
      item.querySelectorAll("i").forEach((bar, c) => {
        bar.style.height = `calc(${probabilities[c].toFixed(3)} * (100% - 1rem))`; // the digit below it takes 1rem
        bar.classList.toggle("x-best", c === answer);
      });
      const sure = `${answer}, ${(100 * probabilities[answer]).toFixed(0)}%`;
      const truth = digit.label === undefined ? "" : digit.label === answer ? " ✓" : ` ✗ (${digit.label})`;
      item.querySelector("p").textContent = sure + truth;
      item.setAttribute("aria-label", digit.label === undefined ? `Your digit: ${sure}` : `A ${digit.label}, recognised as ${sure}`);
    });
  }

  function card(classes) {
    const item = document.createElement("div");
    item.setAttribute("role", "listitem");
    item.className = "x-card";
    const bars = Array.from({ length: classes }, (_, c) => `<span><i></i><b>${c}</b></span>`).join("");
    item.innerHTML = `<canvas width="28" height="28" aria-hidden="true"></canvas><div class="x-bars" aria-hidden="true">${bars}</div><p></p>`;
    return item;
  }

  function paint(canvas, image) {
    const context = canvas.getContext("2d"), picture = context.createImageData(28, 28);
    for (let i = 0; i < image.length; i++) picture.data.set([255 - image[i], 255 - image[i], 255 - image[i], 255], 4 * i);
    context.putImageData(picture, 0, 0);
  }

  // ---- the pad -------------------------------------------------------------------------------------------------

  const pad = get("pad"), pen = pad.getContext("2d", { willReadFrequently: true });
  const key = { x: PAD / 2, y: PAD / 4, down: false };
  let ink = null; // the strokes without the keyboard's pen on top

  function clear() {
    pen.fillStyle = "#fff";
    pen.fillRect(0, 0, PAD, PAD);
    ink = null;
    key.down = false;
    read();
  }

  function stroke(fromX, fromY, x, y) {
    if (ink) pen.putImageData(ink, 0, 0);
    ink = null;
    pen.strokeStyle = "#000";
    pen.lineWidth = PAD / 13;
    pen.lineCap = "round";
    pen.beginPath();
    pen.moveTo(fromX, fromY);
    pen.lineTo(x, y + 0.01);
    pen.stroke();
  }

  function read() {
    const { data } = ink || pen.getImageData(0, 0, PAD, PAD), gray = new Uint8Array(PAD * PAD);
    for (let i = 0; i < gray.length; i++) gray[i] = 255 - data[4 * i];
    const image = explorer.normalise(gray, PAD);
    drawn = image && explorer.sparse(image);
    if (current) fill(get("drawn"), drawn ? [drawn] : []);
    if (drawn) get("heard").textContent = get("drawn").firstChild.getAttribute("aria-label");
  }

  function place(event) {
    const box = pad.getBoundingClientRect();
    return [(event.clientX - box.left) * PAD / box.width, (event.clientY - box.top) * PAD / box.height];
  }

  let last = null;
  pad.addEventListener("pointerdown", (event) => {
    if (!event.isPrimary || event.button) return; // a second finger, or another button
    pad.setPointerCapture(event.pointerId);
    last = place(event);
    stroke(...last, ...last);
    read();
  });
  pad.addEventListener("pointermove", (event) => {
    if (!last || !event.isPrimary) return;
    const now = place(event);
    stroke(...last, ...now);
    last = now;
    read();
  });
  for (const end of ["pointerup", "pointercancel"]) pad.addEventListener(end, (event) => { if (event.isPrimary) last = null; });

  function showPen() {
    if (ink) pen.putImageData(ink, 0, 0);
    ink = pen.getImageData(0, 0, PAD, PAD);
    pen.lineWidth = 3;
    pen.strokeStyle = key.down ? "#b35806" : "#2166ac";
    pen.beginPath();
    pen.arc(key.x, key.y, 10, 0, 2 * Math.PI);
    pen.stroke();
  }

  pad.addEventListener("keydown", (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey) return; // the browser's own
    const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (step) {
      const from = { ...key };
      key.x = Math.max(0, Math.min(PAD, key.x + 8 * step[0]));
      key.y = Math.max(0, Math.min(PAD, key.y + 8 * step[1]));
      if (key.down) { stroke(from.x, from.y, key.x, key.y); read(); }
    } else if (event.key === " ") {
      key.down = !key.down;
      if (key.down) { stroke(key.x, key.y, key.x, key.y); read(); }
    } else if (event.key === "Delete" || event.key === "Backspace") clear();
    else return;
    event.preventDefault();
    showPen();
  });
  pad.addEventListener("focus", () => { if (pad.matches(":focus-visible")) showPen(); });
  pad.addEventListener("blur", () => { if (ink) { pen.putImageData(ink, 0, 0); ink = null; } });

  /** Nothing but why there is nothing else. */
  const fail = (reason) => {
    home.replaceChildren(get("status"));
    get("status").textContent = reason;
  };

  // ---- start ---------------------------------------------------------------------------------------------------

  explorer.ready.then(() => {
    const names = [...Object.keys(explorer.METHODS), explorer.BESIDE], [{ train, seed }] = names.map((name) => explorer.models[name]);
    const runs = names.map((name) => explorer.models[name].run).join(", ");
    get("note").textContent =
      `Computed here, by this page: the accuracy on ${explorer.parts.test.length.toLocaleString("en")} test digits; the ` +
      `log-likelihood from ${explorer.parts.train.length} training digits and scaled up to all ${train.toLocaleString("en")}, with the ` +
      `standard error of that. Evidence, KL and the units in use are those of the whole posterior, before any weight is removed. ` +
      `(a) is direct training, for the nearest λ that it was trained for: its evidence is that at its own λ. ` +
      `A hidden unit is in use if its mean incoming weights have a norm above ${explorer.IN_USE}. Parameters of seed ${seed}, ` +
      `from the runs ${runs}.`;
    full = explorer.largestWeight(explorer.models[explorer.BESIDE]) / CONTRAST;
    get("status").hidden = true;
    home.classList.add("x-ready");
    clear();
    for (const input of [get("lambda"), get("removed"), ...methods]) input.addEventListener("input", () => { update(); rest(); });
    window.addEventListener("hashchange", () => { restore(); update(); });
    restore();
    home.querySelector("form").addEventListener("submit", (event) => event.preventDefault());
    get("more").addEventListener("click", () => { shown = (shown + 7) % explorer.parts.test.length; drawDigits(); });
    get("clear").addEventListener("click", clear);
    update();
  }, (error) => fail(`The explorer can't compute in this browser (${error.message}).`));
  for (const name of ["digits", ...Object.keys(explorer.METHODS), explorer.BESIDE]) {
    const script = document.createElement("script");
    script.src = `_static/explorer/${name}.js`;
    script.onerror = () => fail(`The file ${script.src} is missing, so the explorer can't compute.`);
    document.body.append(script);
  }
})();
