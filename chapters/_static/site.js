// On every page. An equation, a table or, on a phone, a drawing that is wider than its box scrolls in it, and says so; the
// equation is drawn smaller first.
addEventListener("load", async () => {
  for (const picture of document.querySelectorAll('figure.artefact > :is(img[src$=".svg"], a:has(img[src$=".svg"]))')) {
    const box = document.createElement("div");
    box.className = "picture-scroll";
    picture.replaceWith(box);
    box.append(picture);
  }
  await window.MathJax?.startup?.promise;
  const LEAST = 70; // percent: smaller isn't read
  const fit = () => {
    for (const equation of document.querySelectorAll("div.math mjx-container")) {
      const box = equation.parentElement;
      box.style.fontSize = "";
      const over = equation.scrollWidth / equation.clientWidth;
      if (over > 1) box.style.fontSize = `${Math.max(LEAST, Math.floor(100 / over) - 1)}%`;
    }
    const boxes = ["div.math mjx-container", ".table-scroll", ".picture-scroll", ".pst-scrollable-table-container",
      "[role=region]:has(> table)"];
    for (const box of document.querySelectorAll(boxes.join())) {
      const scrolls = box.scrollWidth > box.clientWidth + 1;
      box.classList.toggle("scrolls", scrolls);
      if (scrolls) box.tabIndex = 0; // for the arrow keys
    }
  };
  addEventListener("resize", fit);
  addEventListener("toggle", fit, true); // a table in a fold has no width before
  fit();
});

// A result of a search shows the text of its page, in which an equation is TeX.
addEventListener("DOMContentLoaded", () => {
  if (typeof Search === "undefined") return;
  const withTeX = Search.htmlToText;
  Search.htmlToText = (...page) => withTeX(...page).replace(/\\lambda/g, "λ").replace(/\\[a-z]+|\\.|[{}]/gi, "");
});
