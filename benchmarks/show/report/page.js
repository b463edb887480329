(() => {
  "use strict";
  const page = document.documentElement;
  const KEY = "skrelmetric-report-scheme";

  // Browsers may forbid storage to pages that are opened from a file; the choice then lasts as long as the page.
  const remembered = () => { try { return localStorage.getItem(KEY); } catch { return null; } };
  const remember = (scheme) => { try { localStorage.setItem(KEY, scheme); } catch { /* forgotten */ } };

  const isDark = () => page.dataset.scheme
    ? page.dataset.scheme === "dark"
    : matchMedia("(prefers-color-scheme: dark)").matches;

  // Before anything is drawn, so that no other scheme flashes up.
  if (["light", "dark"].includes(remembered())) page.dataset.scheme = remembered();

  const number = (text) => (text === "" ? NaN : Number(text));

  // Missing values come last in either direction.
  function compare(a, b, sign) {
    if (a === "" || b === "") return (a === "") - (b === "");
    const [x, y] = [number(a), number(b)];
    return sign * (isNaN(x) || isNaN(y) ? a.localeCompare(b) : x - y);
  }

  function sort(heading) {
    const button = heading.querySelector("button");
    const table = heading.closest("table");
    const [body] = table.tBodies;
    const before = heading.getAttribute("aria-sort");
    const opposite = { ascending: "descending", descending: "ascending" };
    const direction = before ? opposite[before] : button.dataset.first;
    const value = (row) => row.cells[heading.cellIndex].dataset.value;
    const sign = direction === "ascending" ? 1 : -1;
    body.append(...[...body.rows].sort((a, b) => compare(value(a), value(b), sign)));
    for (const other of heading.parentElement.cells) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", direction);
    const what = button.textContent.trim().replace(/\s+/g, " ");
    document.getElementById("sorted").textContent = `${table.dataset.name} sorted by ${what}, ${direction}`;
  }

  // A link into a section that is folded opens it, and paper has no folds.
  function unfold() {
    const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    for (let around = target?.closest("details"); around; around = around.parentElement.closest("details")) {
      around.open = true;
    }
    target?.scrollIntoView();
  }
  addEventListener("hashchange", unfold);
  addEventListener("beforeprint", () => {
    for (const folded of document.querySelectorAll("main details")) folded.open = true;
  });

  document.addEventListener("DOMContentLoaded", () => {
    if (location.hash) unfold();
    for (const button of document.querySelectorAll("th button")) {
      button.disabled = false;
      button.addEventListener("click", () => sort(button.closest("th")));
    }
    for (const hint of document.querySelectorAll(".with-script")) hint.hidden = false;

    const toggle = document.getElementById("scheme");
    const name = () => { toggle.textContent = isDark() ? "Light colours" : "Dark colours"; };
    toggle.addEventListener("click", () => {
      page.dataset.scheme = isDark() ? "light" : "dark";
      remember(page.dataset.scheme);
      name();
    });
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", name);
    toggle.hidden = false;
    name();
  });
})();
