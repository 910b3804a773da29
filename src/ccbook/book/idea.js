// The moving pictures of the page on the idea: each takes the place of the still one in its figure, which stays without this.
(() => {
  const data = JSON.parse(document.currentScript.previousElementSibling.textContent);
  const W = 640, H = 400, M = { left: 80, right: 16, top: 12, bottom: 60 };
  const fixed = (value, digits) => value.toFixed(digits).replace("-", "−");
  const name = (lam) => String(Number(lam.toPrecision(3)));
  const log = (from, to, a, b) => (v) => a + ((Math.log(v) - Math.log(from)) / (Math.log(to) - Math.log(from))) * (b - a);
  const linear = (from, to, a, b) => (v) => a + ((v - from) / (to - from)) * (b - a);

  /** A picture with a slider for lambda above it and a sentence beneath; draw(lam) gives [the picture, the sentence]. */
  function picture(id, range, legend, draw) {
    const figure = document.getElementById(id);
    if (!figure) return; // in Jupyter the still picture is enough
    const home = document.createElement("div");
    home.className = "live";
    home.innerHTML = `<label>λ = <output></output>
        <input type="range" min="${range[0]}" max="${range[1]}" step="0.01" value="0"></label>
      <svg viewBox="0 0 ${W} ${H}" role="img"></svg><ul>${legend}</ul><p aria-live="polite"></p>`;
    figure.classList.add("is-live");
    figure.prepend(home);
    const [slider, output, svg, words] = ["input", "output", "svg", "p"].map((part) => home.querySelector(part));
    const update = () => {
      const lam = 10 ** Number(slider.value), [marks, sentence] = draw(lam);
      output.textContent = name(lam);
      slider.setAttribute("aria-valuetext", `lambda ${name(lam)}`);
      svg.innerHTML = marks;
      words.innerHTML = sentence;
      svg.setAttribute("aria-label", words.textContent);
    };
    slider.addEventListener("input", update);
    update();
  }

  function axes(x, y, ticks, titles) {
    const right = W - M.right, bottom = H - M.bottom;
    return ticks[0].map((v) => `<path class="grid" d="M${x(v)} ${M.top}V${bottom}"/>
        <text x="${x(v)}" y="${bottom + 22}" text-anchor="middle">${name(v)}</text>`).join("") +
      ticks[1].map((v) => `<path class="grid" d="M${M.left} ${y(v)}H${right}"/>
        <text x="${M.left - 6}" y="${y(v) + 5}" text-anchor="end">${name(v)}</text>`).join("") +
      `<text x="${(M.left + right) / 2}" y="${H - 8}" text-anchor="middle">${titles[0]}</text>
       <text transform="translate(22 ${(M.top + bottom) / 2}) rotate(-90)" text-anchor="middle">${titles[1]}</text>`;
  }

  // ---- the plane -------------------------------------------------------------------------------------------------

  const ends = (key) => [0.8 * Math.min(...data.points.map((p) => p[key])), 1.25 * Math.max(...data.points.map((p) => p[key]))];
  const ticks = ([from, to]) => [-3, -2, -1, 0, 1].flatMap((d) => [1, 2, 5].map((n) => n * 10 ** d)).filter((v) => v > from && v < to);
  const [across, upwards] = [ends("weights"), ends("labels")];
  const x = log(...across, M.left, W - M.right), y = log(...upwards, H - M.bottom, M.top);
  const colour = (method) => `style="--colour: ${method.colour === "#000000" ? "currentColor" : method.colour}"`;
  const curves = data.methods.map((method) => {
    const own = data.points.filter((point) => point.method === method.method);
    const dots = own.map((p) => `<circle cx="${x(p.weights)}" cy="${y(p.labels)}" r="4"><title>${method.title}, λ = ${name(p.lam)}</title></circle>`);
    return `<g class="${method.solid ? "solid" : "dashed"}" ${colour(method)}><path d="M${own.map((p) => `${x(p.weights)} ${y(p.labels)}`).join("L")}"/>${dots.join("")}</g>`;
  }).join("");

  function plane(lam) {
    const priced = data.methods.map((method) => data.points.filter((p) => p.method === method.method)
      .map((p) => ({ ...p, ...method, cost: p.labels + lam * p.weights })).reduce((a, b) => (b.cost < a.cost ? b : a)));
    const [best, ...others] = priced.sort((a, b) => a.cost - b.cost);
    const line = Array.from({ length: 300 }, (_, k) => across[0] * (across[1] / across[0]) ** (k / 299))
      .map((v) => [v, best.cost - lam * v]).filter(([, v]) => v > upwards[0] && v < upwards[1]);
    const marks = `${axes(x, y, [ticks(across), ticks(upwards)], data.axes)}${curves}
      <path class="cost" d="M${line.map(([u, v]) => `${x(u)} ${y(v)}`).join("L")}"/>
      <circle class="touch" cx="${x(best.weights)}" cy="${y(best.labels)}" r="9"/>`;
    const more = others.map((p) => `<b ${colour(p)}>${p.short}</b> ${fixed(100 * (p.cost / best.cost - 1), 0)}%`).join(", ");
    return [marks, `At λ = ${name(lam)} the line touches <b ${colour(best)}>${best.title}</b>, trained or asked for
      λ = ${name(best.lam)}: ${fixed(best.weights, 3)} bits for the weights and ${fixed(best.labels, 3)} for the labels, a cost
      of ${fixed(best.cost, 3)}. The best networks of the other methods cost more: ${more}.`];
  }
  picture("idea-plane", [-1.5, 2.5], data.methods.map((m) => `<li class="${m.solid ? "solid" : "dashed"}" ${colour(m)}>${m.title}</li>`).join(""), plane);

  // ---- one weight ------------------------------------------------------------------------------------------------

  const { h, m, prior, line } = data.weight, RANGE = 0.35, FLOOR = 220, COLOURS = ["#1f77b4", "#d62728"];
  const w = linear(-RANGE, RANGE, M.left, W - M.right), high = linear(0, 1, FLOOR, M.top);

  function terms(lam) {
    const share = h / (h + lam / prior ** 2), at = (k) => line[k] + (line[k + 1] * lam) / 100;
    return [["best posterior", m * share, prior * Math.sqrt(1 - share)], ["straight line", at(0), Math.exp(at(2))]]
      .map(([title, mean, std]) => ({ title, mean, std, fit: (h / 2) * ((mean - m) ** 2 + std ** 2),
        price: lam * (Math.log(prior / std) - 0.5 + (mean ** 2 + std ** 2) / (2 * prior ** 2)) }));
  }
  const widest = Math.max(...Array.from({ length: 31 }, (_, k) => terms(10 ** (-1 + k / 10))[1]).map((t) => t.fit + t.price));
  const LEFT = 190, nats = linear(0, widest, LEFT, W - M.right);
  const bell = (mean, std) => "M" + Array.from({ length: 281 }, (_, k) => -RANGE + (k * RANGE) / 140)
    .map((v) => `${w(v)} ${high(Math.exp(-(((v - mean) / std) ** 2) / 2))}`).join("L");
  const tick = (at, y, v) => `<text x="${at}" y="${y}" text-anchor="middle">${v}</text>`;

  function weight(lam) {
    const both = terms(lam);
    const bars = both.map((t, k) => `<g style="--colour: ${COLOURS[k]}" transform="translate(0 ${268 + 44 * k})">
        <text x="${LEFT - 8}" y="21" text-anchor="end">${t.title}</text>
        <rect x="${LEFT}" width="${nats(t.fit) - LEFT}" height="30"/>
        <rect class="price" x="${nats(t.fit)}" width="${nats(t.price) - LEFT}" height="30"/></g>`).join("");
    const bells = both.map((t, k) => `<g class="solid" style="--colour: ${COLOURS[k]}"><path d="${bell(t.mean, t.std)}"/></g>`).join("");
    const marks = [-0.2, 0, 0.2].map((v) => tick(w(v), FLOOR + 22, fixed(v, 1))).join("") +
      [0, 2, 4, 6, 8].map((v) => tick(nats(v), H - 20, v)).join("") +
      `<text x="${LEFT - 20}" y="${H - 20}" text-anchor="end">nats</text>`;
    const words = both.map((t) => `the ${t.title} has mean ${fixed(t.mean, 3)} and width ${fixed(t.std, 3)}, loses
      ${fixed(t.fit, 2)} nats of fit and pays ${fixed(t.price, 2)}, together ${fixed(t.fit + t.price, 2)}`);
    return [`<path class="grid" d="M${M.left} ${FLOOR}H${W - M.right}"/>${marks}<path class="prior" d="${bell(0, prior)}"/>${bells}${bars}`,
      `At λ = ${name(lam)} ${words.join("; ")}.`];
  }
  const legend = [["currentColor", "prior"], [COLOURS[0], "best posterior"], [COLOURS[1], "straight line"]];
  picture("idea-weight", [-1, 2], legend.map(([c, title], k) => `<li class="${k ? "solid" : "dashed"}" style="--colour: ${c}">${title}</li>`).join(""), weight);
})();
