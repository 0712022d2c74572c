"use strict";
// A click on a column heading (or Enter, or space: it is a button) sorts the rows of its table, a second one the other way.
for (const button of document.querySelectorAll("thead button")) {
  button.addEventListener("click", () => {
    const heading = button.closest("th");
    const headings = [...heading.parentElement.children];
    const body = heading.closest("table").tBodies[0];
    const column = headings.indexOf(heading);
    const ascending = heading.getAttribute("aria-sort") !== "ascending";
    for (const each of headings) each.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", ascending ? "ascending" : "descending");
    const keys = new Map([...body.rows].map((row) => [row, key(row.cells[column])]));
    const rows = [...body.rows].sort((one, other) => compare(keys.get(one), keys.get(other), ascending ? 1 : -1));
    body.append(...rows);
  });
}

function key(cell) {
  const text = cell.dataset.key ?? cell.textContent.trim();
  if (text === "" || text === "-") return null;
  return Number.isNaN(Number(text)) ? text : Number(text);
}

// Numbers before words; empty cells last, whichever way; equal ones as they were.
function compare(one, other, sign) {
  if (one === null || other === null) return (one === null) - (other === null);
  if (typeof one !== typeof other) return typeof one === "number" ? -1 : 1;
  return sign * (typeof one === "number" ? one - other : one.localeCompare(other, "en", { numeric: true }));
}
