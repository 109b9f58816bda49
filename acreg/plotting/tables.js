// The tables of a report: a column sorts its table, and a method can be hidden. Without this, the page reads as it is.
"use strict";
(() => {
  const NUMBER = /^([+\u2212-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?)\s*%?(?:\s*\(.*\))?$/i;
  const MISSING = ["", "\u2013"];

  /** The text of a cell without the small print: "0.95" of "0.95 (0.01)" if the bracket is small. */
  function shown(cell) {
    const copy = cell.cloneNode(true);
    copy.querySelectorAll(".sd, .sub").forEach((part) => part.remove());
    return copy.textContent.trim();
  }

  /** The values of a column for sorting: numbers if all of them begin with one, or texts; null is missing. */
  function valuesOf(rows, column) {
    const texts = rows.map((row) => shown(row.cells[column])).map((text) => (MISSING.includes(text) ? null : text));
    const matches = texts.map((text) => text && NUMBER.exec(text));
    if (texts.some((text, i) => text !== null && !matches[i])) return texts;
    return matches.map((match) => match && Number(match[1].replace("\u2212", "-")));
  }

  /** Negative if a comes before b; missing values come last in both directions. */
  function compare(a, b, sign) {
    if (a === null || b === null) return (a === null) - (b === null);
    return sign * (typeof a === "number" ? a - b : a.localeCompare(b, undefined, { numeric: true }));
  }

  /** Sort by a column: ascending, then descending, then in the order of the report. */
  function sortBy(table, order, header) {
    const next = { ascending: "descending", descending: "none" }[header.ariaSort] || "ascending";
    table.querySelectorAll("th[aria-sort]").forEach((other) => (other.ariaSort = "none"));
    header.ariaSort = next;
    const sorted = [...order];
    if (next !== "none") {
      const values = new Map(valuesOf(order, header.cellIndex).map((value, i) => [order[i], value]));
      const sign = next === "ascending" ? 1 : -1;
      sorted.sort((a, b) => compare(values.get(a), values.get(b), sign));
    }
    table.tBodies[0].append(...sorted);
  }

  for (const table of document.querySelectorAll("table.sortable")) {
    const order = [...table.tBodies[0].rows];
    for (const header of order.length > 1 ? table.tHead.rows[0].cells : []) {
      const button = document.createElement("button");
      button.type = "button";
      button.title = "Sort by this column";
      button.append(...header.childNodes);
      header.append(button);
      header.ariaSort = "none";
      button.addEventListener("click", () => sortBy(table, order, header));
    }
  }

  // An element with data-methods="0 2" is about these two methods, and is shown only if both of them are.
  const choice = document.getElementById("methods");
  if (choice) {
    const boxes = [...choice.querySelectorAll("input")];
    const about = [...document.querySelectorAll("[data-methods]")].map((part) => [part, part.dataset.methods.split(" ")]);
    const update = () => {
      const off = new Set(boxes.filter((box) => !box.checked).map((box) => box.value));
      about.forEach(([part, methods]) => (part.hidden = methods.some((method) => off.has(method))));
      choice.querySelector("output").value = `${boxes.length - off.size} of ${boxes.length}`;
    };
    choice.addEventListener("change", update);
    choice.hidden = false;
    update();
  }
})();
