// The command builder: what is typed into the form is read as the command reads it, and said as the command says it.
(() => {
  const place = document.currentScript.parentElement;
  const known = JSON.parse(place.querySelector("script").textContent);
  const { words, methods } = known;
  const HOLDS = { ">=": (a, b) => a >= b, ">": (a, b) => a > b, "<=": (a, b) => a <= b, "<": (a, b) => a < b };
  const make = (tag, properties = {}, ...content) => {
    const made = Object.assign(document.createElement(tag), properties);
    made.append(...content);
    return made;
  };

  // ---- what the command would say: {value}, or {faults} as [name, reason] ----------------------------------------

  const bounded = (field, value) => {
    if (!Number.isFinite(value)) return words.finite;
    return field.bounds.find(([sign, bound]) => !HOLDS[sign](value, bound))?.[2];
  };

  const fromText = (field, text) => {
    const plain = text.trim().replace(/(?<=\d)_(?=\d)/g, "");
    if (field.items === "number" && /^[+-]?(inf(inity)?|nan)$/i.test(plain)) return { fault: words.finite };
    const form = field.items === "integer" ? /^[+-]?\d+(\.0+)?$/ : /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i;
    if (!form.test(plain)) return { fault: words[field.items] };
    return { value: Number(plain), fault: bounded(field, Number(plain)) };
  };

  const RULES = {
    _distinct: (values) => new Set(values).size < values.length,
    _ends: (values) => values.length !== 2 || values[0] >= values[1],
    _affordable: (widths) => weights(widths) > known.weights,
  };
  const UNSEEN = /(?! )[\p{C}\p{Z}]/u; // as Python's isprintable
  const weights = (widths) => widths.slice(1).reduce((sum, width, k) => sum + width * widths[k], 0);

  const read = (field, text) => {
    if (field.choices) return { value: text, faults: [] };
    if (field.type === "string") return { value: text, faults: UNSEEN.test(text) ? [[field.name, words.printable]] : [] };
    if (field.type !== "array") {
      const { value, fault } = fromText(field, text);
      return { value, faults: fault ? [[field.name, fault]] : [] };
    }
    const inner = text.trim().replace(/^\[(.*)\]$/, "$1");
    const items = inner.trim() ? inner.split(",").map((item) => fromText(field, item)) : [];
    const value = items.map((item) => item.value);
    const faults = items.flatMap(({ fault }, k) => (fault ? [[`${field.name}.${k}`, fault]] : []));
    if (!faults.length && !value.length && !field.rules.includes("_ends")) faults.push([field.name, words.empty]);
    const rule = faults.length ? undefined : field.rules.find((name) => RULES[name](value));
    if (rule) faults.push([field.name, words[rule].replace(/[\d,]{4,}/, weights(value).toLocaleString("en"))]);
    return { value, faults };
  };

  /** A value that was asked for and that the others don't allow. */
  const cut = (p, asked) => {
    const cap = known.caps[p.profile];
    for (const name of asked) {
      let taken;
      if (name === "seeds" && cap.seeds && p.seeds.length > cap.seeds) taken = `(${p.seeds[0]},)`;
      if (name === "epochs" && cap.epochs && p.epochs > cap.epochs) taken = cap.epochs;
      if (name === "momentum" && p.momentum && p.optimizer !== "sgd") taken = "0.0";
      if (taken) return [[name, `would be taken as ${taken}, with profile = ${p.profile} and optimizer = ${p.optimizer}`]];
    }
    return [];
  };

  const count = (number, noun) => `${number} ${noun}${number === 1 ? "" : "s"}`;
  const duration = (seconds) => {
    if (seconds < 90) return `${Math.max(seconds, 1).toFixed(0)} s`;
    return seconds < 5400 ? `${(seconds / 60).toFixed(0)} min` : `${(seconds / 3600).toFixed(1)} h`;
  };

  /** As history.estimate does. */
  const price = (method, p) => {
    const cap = known.caps[p.profile];
    const train = Math.min(cap.train ?? Infinity, (Object.hasOwn(known.datasets, p.dataset) ? known.datasets[p.dataset] : cap.train) ?? NaN);
    const models = Math.min(p.seeds.length, cap.seeds ?? Infinity) * (method.hypernetwork ? 1 : p.lambdas.length);
    const steps = Math.ceil(train / p.batch_size) * Math.min(p.epochs, cap.epochs ?? Infinity);
    const size = models * steps * (100 + p.batch_size * (p.samples ?? 1)) * p.hidden.reduce((a, b) => a + b);
    const rated = method.past.map(([past, seconds]) => [past / size, seconds]);
    const close = rated.filter(([ratio]) => ratio > 0.1 && ratio < 10);
    const rates = (close.length ? close : rated).map(([ratio, seconds]) => seconds / ratio).sort((a, b) => a - b);
    if (!size) return "as long as the folder's digits take";
    if (p.device !== "cpu" || !rates.length) return "unknown: no run of this kind is in the book";
    const cores = models * steps > known.worth ? Math.min(known.cores, models) : 1;
    const quantile = (share) => {
      const place = share * (rates.length - 1), [low, high] = [Math.floor(place), Math.ceil(place)];
      return (rates[low] + (rates[high] - rates[low]) * (place - low)) / cores;
    };
    const startUp = Math.min(known.start_up, quantile(0.5));
    const [middle, ...ends] = [0.5, 0.05, 0.95].map((share) => duration(quantile(share) + startUp));
    const range = ends[0] === ends[1] ? "" : ` (${ends[0]} to ${ends[1]})`;
    return `about ${middle}${range} on ${count(cores, "core")}, estimated from ${count(rates.length, "past run")}`;
  };

  const quoted = (word) => (/^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'"'"'`)}'`);

  /** What the form says: the command and how long it takes, or what is wrong. */
  const built = (letter, typed) => {
    const method = methods[letter], p = {}, faults = [], asked = [];
    for (const field of method.fields) {
      const text = typed[field.name] || field.usual, usual = read(field, field.usual);
      const { value, faults: own } = read(field, text);
      p[field.name] = value;
      faults.push(...own);
      if (own.length || JSON.stringify(value) !== JSON.stringify(usual.value)) asked.push(field.name);
    }
    if (!faults.length) faults.push(...cut(p, asked));
    const set = asked.map((name) => quoted(`${name}=${typed[name]}`));
    const begins = method.starts && !asked.includes("start") ? ["--with-start"] : [];
    const command = ["ccbook", "run", letter, ...(set.length ? ["--set", ...set] : []), ...begins].join(" ");
    return { command, asked, faults, price: faults.length ? "" : price(method, p), own: !Object.hasOwn(known.datasets, p.dataset) };
  };

  // ---- the form --------------------------------------------------------------------------------------------------

  const choice = make("select", { id: "builder-method", name: "method" },
    ...Object.entries(methods).map(([letter, { title }]) => make("option", { value: letter }, title)));
  const [first, others] = [make("div", { className: "fields" }), make("div", { className: "fields" })];
  const more = make("details", {}, make("summary", {}, "More parameters"), others);
  const says = make("div", { className: "says", role: "status" });
  const line = make("code"), copy = make("button", { type: "button" }, "Copy the command");
  const shown = make("pre", { tabIndex: 0, role: "region" }, line);
  shown.setAttribute("aria-label", "The command");
  const note = make("p"), wrong = make("ul");
  says.append(shown, note, wrong);
  const form = make("form", {}, make("label", { htmlFor: choice.id }, "Method"), choice, first, more, says, copy);
  const datasets = make("datalist", { id: "builder-datasets" },
    ...Object.keys(known.datasets).map((value) => make("option", { value })));

  const control = (field, value) => {
    const id = `builder-${field.name}`;
    const input = field.choices
      ? make("select", { id, name: field.name }, ...field.choices.map((each) => make("option", { value: each }, each)))
      : make("input", { id, name: field.name, autocomplete: "off", spellcheck: false, placeholder: field.usual });
    if (field.name === "dataset") input.setAttribute("list", datasets.id);
    input.value = value ?? field.usual;
    if (!input.value) input.value = field.usual; // a choice that there isn't
    input.setAttribute("aria-describedby", `${id}-about`);
    const about = make("small", { id: `${id}-about` }, field.comment);
    return make("div", {}, make("label", { htmlFor: id }, field.name), input, about);
  };

  const typed = () => Object.fromEntries(new FormData(form));
  const draw = (values) => {
    const { fields } = methods[choice.value];
    for (const [box, wanted] of [[first, true], [others, false]])
      box.replaceChildren(...fields.filter((field) => field.first === wanted).map((field) => control(field, values[field.name])));
    if (fields.some(({ name, usual, first: main }) => !main && name in values && values[name] !== usual)) more.open = true;
  };

  const say = () => {
    const values = typed(), { command, asked, faults, price: time, own } = built(choice.value, values);
    shown.hidden = copy.hidden = faults.length > 0;
    line.textContent = command;
    const begins = command.includes("--with-start") ? "; the run that it starts from, if it isn't on record, comes before" : "";
    const folder = own ? " The dataset must be a folder on your machine, which the command checks." : "";
    note.textContent = faults.length ? "The command would refuse this:" : `Takes ${time}${begins}.${folder}`;
    wrong.replaceChildren(...faults.map(([name, reason]) => make("li", {}, make("b", {}, name), ` ${reason}`)));
    for (const input of form.querySelectorAll("[name]"))
      input.setAttribute("aria-invalid", faults.some(([name]) => name.split(".")[0] === input.name));
    return new URLSearchParams([["method", choice.value], ...asked.map((name) => [name, values[name]])]);
  };

  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("input", (event) => {
    if (event.target === choice) { // what was changed stays, where the other method has it
      const before = methods[choice.dataset.drawn].fields, values = typed();
      draw(Object.fromEntries(before.filter((f) => values[f.name] !== f.usual).map((f) => [f.name, values[f.name]])));
      choice.dataset.drawn = choice.value;
    }
    history.replaceState(null, "", `?${say()}${location.hash}`);
  });
  copy.addEventListener("click", async () => {
    getSelection().selectAllChildren(line);
    try {
      await navigator.clipboard.writeText(line.textContent); // which a page on plain http hasn't got
    } catch {
      document.execCommand("copy");
    }
    copy.textContent = "Copied";
    setTimeout(() => { copy.textContent = "Copy the command"; }, 2000);
  });

  const given = Object.fromEntries(new URLSearchParams(location.search));
  choice.value = choice.dataset.drawn = Object.hasOwn(methods, given.method) ? given.method : "a";
  draw(given);
  place.append(datasets, form);
  place.built = built;
  say();
})();
