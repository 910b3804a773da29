// The registry's table: rows that hold every typed word stay, and a click on a title sorts. Without this it is a table.
(() => {
  const registry = document.currentScript.parentElement;
  const [input, counter, body] = ["input", "output", "tbody"].map((name) => registry.querySelector(name));
  const rows = [...body.rows];
  const whole = new Map(rows.map((row) => [row, new Set(row.dataset.words.split(" "))]));

  const filter = () => {
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    // hidden=50 isn't hidden=500, where a run has it; until it is typed whole it is a part
    const exact = new Set(words.filter((word) => word.includes("=") && rows.some((row) => whole.get(row).has(word))));
    let shown = 0;
    for (const row of rows) {
      row.hidden = !words.every((word) => (exact.has(word) ? whole.get(row).has(word) : row.dataset.words.includes(word)));
      shown += !row.hidden;
    }
    counter.value = words.length ? `${shown} of ${rows.length} runs` : `${rows.length} run${rows.length === 1 ? "" : "s"}`;
  };

  const sort = (button) => {
    const head = button.parentElement;
    const largest = head.ariaSort ? head.ariaSort === "ascending" : button.dataset.largest === "1";
    for (const other of head.parentElement.cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", largest ? "descending" : "ascending");
    const value = (row) => row.cells[head.cellIndex].dataset.value;
    const order = new Intl.Collator("en", { numeric: true });
    const compare = (one, other) => {
      const [a, b] = [value(one), value(other)];
      return a !== "" && b !== "" && !isNaN(a) && !isNaN(b) ? a - b : order.compare(a, b);
    };
    rows.sort((one, other) => (largest ? compare(other, one) : compare(one, other)));
    body.append(...rows);
  };

  input.addEventListener("input", filter);
  input.parentElement.hidden = false;
  for (const button of registry.querySelectorAll("th button")) button.addEventListener("click", () => sort(button));
  filter(); // a browser may have kept what was typed before the page was reloaded
})();
