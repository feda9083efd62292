// The browser of single comparisons. All texts reach the page by textContent: nothing in them is markup.
"use strict";
(() => {
  const ROWS_A_PAGE = 50;
  const CACHED_CHARACTERS = 60e6; // of unpacked texts that are kept (assumed: within a phone's memory)
  const BLOCKS_AT_ONCE = 8; // unpacked side by side
  const MAX_DIFF_CELLS = 4e6; // of the table that finds what two texts share (assumed: 50 ms)
  const VERDICTS = { wrong: "wrong", equal: "equal", right: "right", tie: "tie", none: "not scored" };

  const byId = (id) => document.getElementById(id);
  const summary = JSON.parse(byId("rows-summary").textContent);
  const controls = { q: "", model: "0", suite: "", subset: "", show: "", sort: "" };
  let columns = null; // the unpacked index
  let state = { ...controls, row: "", page: "1" };
  let matches = null; // Uint8Array of rows whose texts hold the search, or null
  let order = []; // rows that are listed
  let searchNumber = 0;

  function element(tag, options = {}, ...children) {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(options)) {
      if (name === "text") made.textContent = value;
      else if (name === "className") made.className = value;
      else if (name === "onclick") made.addEventListener("click", value);
      else if (value !== null && value !== undefined) made.setAttribute(name, value);
    }
    made.append(...children.filter((child) => child !== null));
    return made;
  }

  // ---- packed blocks

  async function unpack(base64) {
    const binary = atob(base64.trim());
    const bytes = new Uint8Array(binary.length);
    for (let i = 0; i < binary.length; i++) bytes[i] = binary.charCodeAt(i);
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return JSON.parse(await new Response(stream).text());
  }

  const blocks = [...document.querySelectorAll("script.rows-block")].map((script) => ({
    script, first: Number(script.dataset.first), rows: Number(script.dataset.rows), size: 0, unpacked: null,
  }));
  let cachedCharacters = 0;

  async function textsOf(block) {
    if (block.unpacked) return block.unpacked;
    const unpacked = await unpack(block.script.textContent);
    const size = unpacked.texts.reduce((sum, [text]) => sum + plainText(text).length, 0);
    if (cachedCharacters + size <= CACHED_CHARACTERS && !block.unpacked) {
      cachedCharacters += size;
      block.unpacked = unpacked;
    }
    return unpacked;
  }

  async function rowTexts(row) {
    const block = blocks.find((b) => row >= b.first && row < b.first + b.rows);
    if (!block) return null;
    const { texts, rows } = await textsOf(block);
    return rows[row - block.first].map((index) => (index < 0 ? null : texts[index]));
  }

  function plainText(turns) {
    return typeof turns === "string" ? turns : turns.map(([, text]) => text).join("\n");
  }

  // ---- rewards and verdicts

  function rewardsOf(row, model) {
    const { better, worse } = columns.rewards[model];
    return better[row] === null ? null : [better[row], worse[row]];
  }

  function marginOf(row, model) {
    const rewards = rewardsOf(row, model);
    return rewards ? rewards[0] - rewards[1] : NaN;
  }

  function verdictOf(row, model) {
    const rewards = rewardsOf(row, model);
    if (!rewards) return "none";
    if (columns.tie[row]) return "tie";
    if (rewards[0] === rewards[1]) return "equal";
    return rewards[0] > rewards[1] ? "right" : "wrong";
  }

  // ---- state in the address

  function readAddress() {
    const given = new URLSearchParams(location.hash.slice(1));
    const read = { ...controls, row: "", page: "1" };
    for (const name of Object.keys(read)) if (given.has(name)) read[name] = given.get(name);
    if (!/^\d+$/.test(read.model) || !columns.rewards[Number(read.model)]) read.model = controls.model; // a link may name a model that is not here
    return read;
  }

  function isState() {
    return location.hash === "" || location.hash.includes("=");
  }

  function addressOf(changed) {
    const wanted = { ...state, ...changed };
    const given = new URLSearchParams();
    for (const [name, value] of Object.entries(wanted)) {
      if (value !== "" && value !== ({ ...controls, page: "1" })[name]) given.set(name, value);
    }
    return "#" + (given.toString() || "row=");
  }

  function go(changed, replaces = false) {
    const address = addressOf(changed);
    if (replaces) {
      history.replaceState(null, "", address);
      apply();
    } else location.hash = address;
  }

  // ---- filters

  function fill(select, choices) {
    select.replaceChildren(...choices.map(([value, text]) => element("option", { value, text })));
  }

  function setUpFilters() {
    const numbered = (names) => names.map((name, index) => [String(index), name]);
    fill(byId("filter-model"), numbered(summary.models));
    fill(byId("filter-suite"), [["", "all"], ...numbered(summary.suites)]);
    fill(byId("filter-subset"), [["", "all"], ...numbered(summary.subsets)]);
    byId("filter-model").parentElement.hidden = summary.models.length < 2;
    byId("filter-suite").parentElement.hidden = summary.suites.length < 2;
    byId("filter-subset").parentElement.hidden = summary.subsets.length < 1;
    let waiting = 0;
    byId("filter-q").addEventListener("input", (event) => {
      clearTimeout(waiting);
      waiting = setTimeout(() => go({ q: event.target.value, page: "1" }, true), 200);
    });
    for (const name of ["model", "suite", "subset", "show", "sort"]) {
      byId(`filter-${name}`).addEventListener("change", (event) => {
        const changed = { [name]: event.target.value, page: "1" };
        if (name === "suite") changed.subset = "";
        go(changed);
      });
    }
    byId("filters").addEventListener("submit", (event) => event.preventDefault());
    byId("filters").hidden = false;
  }

  function offerSubsets() {
    const inSuite = new Set();
    for (let row = 0; row < columns.key.length; row++) {
      if (state.suite === "" || columns.suite[row] === Number(state.suite)) inSuite.add(columns.subset[row]);
    }
    for (const option of byId("filter-subset").options) {
      option.hidden = option.disabled = option.value !== "" && !inSuite.has(Number(option.value));
    }
  }

  async function search(text) {
    const number = ++searchNumber;
    const wanted = text.trim().toLowerCase();
    if (!wanted) return null;
    const found = new Uint8Array(columns.key.length);
    for (let row = 0; row < found.length; row++) {
      const said = [columns.name[row], columns.snippet[row], columns.key[row]];
      if (said.some((part) => part.toLowerCase().includes(wanted))) found[row] = 1;
    }
    for (let first = 0; first < blocks.length; first += BLOCKS_AT_ONCE) {
      const batch = blocks.slice(first, first + BLOCKS_AT_ONCE);
      const unpacked = await Promise.all(batch.map(textsOf));
      if (number !== searchNumber) return undefined; // another search began
      unpacked.forEach(({ texts, rows }, i) => {
        const holds = texts.map(([turns]) => plainText(turns).toLowerCase().includes(wanted));
        rows.forEach((indices, row) => {
          if (indices.some((index) => index >= 0 && holds[index])) found[batch[i].first + row] = 1;
        });
      });
      say(`searching, ${Math.round((100 * first) / blocks.length)} %`);
      await new Promise((resume) => setTimeout(resume));
    }
    if (number !== searchNumber) return undefined; // one began in the last pause
    return found;
  }

  function select() {
    const model = Number(state.model) || 0;
    const chosen = [];
    for (let row = 0; row < columns.key.length; row++) {
      if (matches && !matches[row]) continue;
      if (state.suite !== "" && columns.suite[row] !== Number(state.suite)) continue;
      if (state.subset !== "" && columns.subset[row] !== Number(state.subset)) continue;
      if (state.show !== "" && verdictOf(row, model) !== state.show) continue;
      chosen.push(row);
    }
    const keyOf = {
      margin: (row) => marginOf(row, model), "margin-down": (row) => -marginOf(row, model),
      close: (row) => Math.abs(marginOf(row, model)),
    }[state.sort];
    if (keyOf) {
      const keys = new Map(chosen.map((row) => [row, keyOf(row)]));
      const last = (value) => (Number.isNaN(value) ? Infinity : value);
      chosen.sort((a, b) => last(keys.get(a)) - last(keys.get(b)) || a - b);
    }
    return chosen;
  }

  // ---- the list

  function say(text) {
    byId("found").textContent = text;
  }

  function placeOf(row) {
    const subset = columns.subset[row];
    return summary.suites[columns.suite[row]] + (subset < 0 ? "" : ", " + summary.subsets[subset]);
  }

  function listRow(row, model) {
    const verdict = verdictOf(row, model);
    const label = columns.snippet[row] || columns.name[row];
    const link = element("a", { href: addressOf({ row: columns.key[row] }), text: label, title: columns.name[row] });
    return element(
      "tr", { "aria-current": columns.key[row] === state.row ? "true" : null },
      element("td", {}, link),
      element("td", { className: "where", text: placeOf(row) }),
      element("td", { className: "number", text: signed(marginOf(row, model)) }),
      element("td", { className: verdict, text: VERDICTS[verdict] }),
    );
  }

  function showList() {
    const model = Number(state.model) || 0;
    const numPages = Math.max(1, Math.ceil(order.length / ROWS_A_PAGE));
    const page = Math.min(Math.max(1, Number(state.page) || 1), numPages);
    const shown = order.slice((page - 1) * ROWS_A_PAGE, page * ROWS_A_PAGE);
    byId("list").hidden = false;
    byId("list").querySelector("tbody").replaceChildren(...shown.map((row) => listRow(row, model)));
    const count = order.length.toLocaleString("en");
    const wrong = order.filter((row) => verdictOf(row, model) === "wrong").length.toLocaleString("en");
    say(`${count} of ${columns.key.length.toLocaleString("en")} comparisons, ${wrong} of them wrong.`);
    const turn = (to, text) =>
      element("button", { type: "button", text, disabled: to < 1 || to > numPages ? "" : null, onclick: () => go({ page: String(to) }) });
    byId("pages").hidden = numPages === 1;
    byId("pages").replaceChildren(
      turn(page - 1, "Previous"), element("span", { text: `page ${page} of ${numPages}` }), turn(page + 1, "Next"),
    );
  }

  // ---- one comparison

  function signed(number) {
    return Number.isNaN(number) ? "-" : (number > 0 ? "+" : number < 0 ? "−" : "") + Math.abs(number).toFixed(3);
  }

  function words(text) {
    return text.match(/\s+|[\p{L}\p{N}_]+|[^\s\p{L}\p{N}_]/gu) || [];
  }

  // Which words of two texts are in no longest common subsequence: [is of a, is of b], or null where too long.
  function differences(a, b) {
    let start = 0;
    while (start < a.length && start < b.length && a[start] === b[start]) start++;
    let end = 0;
    while (end < a.length - start && end < b.length - start && a[a.length - 1 - end] === b[b.length - 1 - end]) end++;
    const n = a.length - start - end, m = b.length - start - end;
    if (n * m > MAX_DIFF_CELLS) return null;
    const width = m + 1, lengths = new Uint32Array((n + 1) * width);
    for (let i = n - 1; i >= 0; i--) {
      for (let j = m - 1; j >= 0; j--) {
        lengths[i * width + j] = a[start + i] === b[start + j]
          ? lengths[(i + 1) * width + j + 1] + 1
          : Math.max(lengths[(i + 1) * width + j], lengths[i * width + j + 1]);
      }
    }
    const differsA = new Uint8Array(a.length), differsB = new Uint8Array(b.length);
    let i = 0, j = 0;
    while (i < n || j < m) {
      if (i < n && j < m && a[start + i] === b[start + j]) { i++; j++; }
      else if (j >= m || (i < n && lengths[(i + 1) * width + j] >= lengths[i * width + j + 1])) differsA[start + i++] = 1;
      else differsB[start + j++] = 1;
    }
    return [differsA, differsB];
  }

  function marked(parts, differs) {
    const paragraph = element("p", { className: "text", dir: "auto" });
    let i = 0;
    while (i < parts.length) {
      let end = i;
      while (end < parts.length && differs[end] === differs[i]) end++;
      const text = parts.slice(i, end).join("");
      paragraph.append(differs[i] ? element("mark", { text }) : text);
      i = end;
    }
    return paragraph;
  }

  function shownTurns(turns) {
    if (typeof turns === "string") return [element("p", { className: "text", dir: "auto", text: turns })];
    return turns.flatMap(([role, text]) => [
      element("p", { className: "role", text: role }), element("p", { className: "text", dir: "auto", text }),
    ]);
  }

  function cutNote(numLeftOut) {
    return numLeftOut ? element("p", { className: "quiet", text: `${numLeftOut.toLocaleString("en")} more characters are not in this page.` }) : null;
  }

  function rewardTable(row) {
    const head = ["model", "better", "worse", "margin", "verdict"].map((text, i) =>
      element("th", { scope: "col", className: i > 0 && i < 4 ? "number" : "", text }));
    const body = summary.models.map((name, model) => {
      const rewards = rewardsOf(row, model), verdict = verdictOf(row, model);
      const numbers = rewards ? [rewards[0].toFixed(4), rewards[1].toFixed(4), signed(rewards[0] - rewards[1])] : ["-", "-", "-"];
      return element(
        "tr", {}, element("th", { scope: "row", text: name }),
        ...numbers.map((text) => element("td", { className: "number", text })),
        element("td", { className: verdict, text: VERDICTS[verdict] }),
      );
    });
    const table = element("table", {}, element("thead", {}, element("tr", {}, ...head)), element("tbody", {}, ...body));
    return element("div", { className: "wide", role: "region", "aria-label": "Rewards", tabindex: "0" }, table);
  }

  function sidesOf(texts, row) {
    const [better, worse] = [words(plainText(texts[1][0])), words(plainText(texts[2][0]))];
    const differs = differences(better, worse);
    const side = (name, title, parts, which, characters, numLeftOut, given) =>
      element(
        "section", { className: `side ${name}` },
        element("h4", { text: title }), element("p", { className: "quiet", text: `${characters.toLocaleString("en")} characters` }),
        ...(differs ? [marked(parts, differs[which])] : shownTurns(given)), cutNote(numLeftOut),
      );
    const isTie = columns.tie[row];
    const sides = element(
      "div", { className: "sides" },
      side("better", isTie ? "first (a tie in the data)" : "better, by the data", better, 0, columns.characters_better[row], texts[1][1], texts[1][0]),
      side("worse", isTie ? "second" : "worse, by the data", worse, 1, columns.characters_worse[row], texts[2][1], texts[2][0]),
    );
    const box = element("input", { type: "checkbox", id: "mark-differences", checked: "" });
    box.addEventListener("change", () => sides.classList.toggle("plain", !box.checked));
    const choice = differs
      ? element("label", { className: "inline" }, box, "mark what differs")
      : element("p", { className: "quiet", text: "The texts are too long to mark what differs." });
    return [choice, sides];
  }

  async function showComparison() {
    const place = byId("comparison");
    const row = state.row ? columns.key.indexOf(state.row) : -1;
    place.hidden = !state.row;
    if (!state.row) return;
    if (row < 0) {
      place.replaceChildren(element("p", { text: `The comparison ${state.row} is not in this page.` }));
      return;
    }
    const at = order.indexOf(row);
    const step = (to, text) =>
      element("button", { type: "button", text, disabled: at < 0 || to < 0 || to >= order.length ? "" : null,
        onclick: () => go({ row: columns.key[order[to]], page: String(Math.floor(to / ROWS_A_PAGE) + 1) }) });
    const close = element("button", { type: "button", text: "Close", onclick: () => go({ row: "" }) });
    const link = element("a", { href: "#row=" + encodeURIComponent(state.row), text: "link to this comparison" });
    const texts = await rowTexts(row);
    if (state.row !== columns.key[row]) return; // another one was opened meanwhile
    const parts = [
      element("div", { className: "bar" }, step(at - 1, "Previous"), step(at + 1, "Next"), close, link),
      element("h3", { id: "comparison-title", text: `${placeOf(row)}: ${columns.name[row]}` }),
      element("p", { className: "quiet", text: `key ${columns.key[row]}` }),
      rewardTable(row),
    ];
    if (!texts || texts.some((text) => text === null)) {
      parts.push(element("p", { className: "notice", text: "The texts of this comparison are not in this page." }));
    } else {
      const prompt = element("details", { className: "prompt" }, element("summary", { text: "Prompt" }),
        ...shownTurns(texts[0][0]), cutNote(texts[0][1]));
      parts.push(prompt, ...sidesOf(texts, row));
    }
    place.replaceChildren(...parts.filter((part) => part !== null));
    if (shownRow !== state.row) place.scrollIntoView({ block: "nearest" });
    shownRow = state.row;
  }
  let shownRow = "";

  // ---- from the address to the page

  async function apply() {
    if (!isState()) return;
    const before = state;
    state = readAddress();
    for (const name of Object.keys(controls)) {
      const control = byId(`filter-${name}`);
      if (control !== document.activeElement || name !== "q") control.value = state[name];
    }
    if (before.suite !== state.suite) offerSubsets();
    if (before.q !== state.q || (state.q && matches === null)) {
      const found = await search(state.q);
      if (found === undefined) return;
      matches = found;
    }
    order = select();
    showList();
    await showComparison();
  }

  async function start() {
    if (!summary.num_rows) return say("There are no comparisons in this page.");
    if (typeof DecompressionStream === "undefined") {
      return say("This browser cannot unpack the comparisons; one from 2023 or later can.");
    }
    say("unpacking");
    columns = await unpack(byId("rows-index").textContent);
    setUpFilters();
    state = { ...controls, row: "", page: "1" };
    offerSubsets();
    window.addEventListener("hashchange", apply);
    await apply();
    if (!isState()) { order = select(); showList(); }
    document.documentElement.dataset.ready = "true";
  }

  // After the first paint: the tables and charts are there before the comparisons are unpacked.
  requestAnimationFrame(() => setTimeout(start));
})();
