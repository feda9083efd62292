// Sorting the leaderboard: a press on a heading sorts by its column, a second one the other way round.
"use strict";
(() => {
  const table = document.getElementById("leaderboard");
  const headings = [...table.tHead.rows[0].cells];
  const body = table.tBodies[0];

  function valueOf(row, column) {
    const value = row.cells[column].dataset.value;
    return value !== "" && !Number.isNaN(Number(value)) ? Number(value) : value;
  }

  function sortBy(column) {
    const before = headings[column].getAttribute("aria-sort");
    const isScore = column > 0 && column < headings.length - 1; // the higher the better: best first
    const first = isScore ? "descending" : "ascending";
    const order = before === first ? (first === "ascending" ? "descending" : "ascending") : first;
    headings.forEach((heading) => heading.removeAttribute("aria-sort"));
    headings[column].setAttribute("aria-sort", order);
    const sign = order === "ascending" ? 1 : -1;
    const rows = [...body.rows].sort((a, b) => {
      const [x, y] = [valueOf(a, column), valueOf(b, column)];
      if (x === "" || y === "") return (x === "") - (y === ""); // what is missing is last either way
      return sign * (typeof x === "number" && typeof y === "number" ? x - y : String(x).localeCompare(String(y)));
    });
    body.append(...rows);
  }

  headings.forEach((heading, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = heading.textContent;
    button.addEventListener("click", () => sortBy(column));
    heading.replaceChildren(button);
  });
})();
