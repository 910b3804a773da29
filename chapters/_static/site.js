// On every page. An equation that is wider than its column, as on a phone, is drawn smaller.
addEventListener("load", async () => {
  await window.MathJax?.startup?.promise;
  const fit = () => {
    for (const equation of document.querySelectorAll("div.math mjx-container")) {
      const box = equation.parentElement;
      box.style.fontSize = "";
      const over = equation.scrollWidth / equation.clientWidth;
      if (over > 1) box.style.fontSize = `${Math.max(50, Math.floor(100 / over) - 1)}%`;
    }
  };
  addEventListener("resize", fit);
  fit();
});

// A result of a search shows the text of its page, in which an equation is TeX.
addEventListener("DOMContentLoaded", () => {
  if (typeof Search === "undefined") return;
  const withTeX = Search.htmlToText;
  Search.htmlToText = (...page) => withTeX(...page).replace(/\\lambda/g, "λ").replace(/\\[a-z]+|\\.|[{}]/gi, "");
});
