// The list of problems: filtered and sorted rows, of which only those in sight are drawn.
const List = (() => {
  const {make, colour, fixed, verdict: said} = BeamTree, {KIND, KINDS, PREDICTION, SCORE, STEPS, TOKENS, TEACHERS, SIGN, good} = Data;
  const ROW = 64, BEYOND = 6;
  const SORTS = {
    "file order": p => p.number, "score, low first": p => p.facts?.[SCORE], "score, high first": p => minus(p.facts?.[SCORE]),
    "fewest steps": p => p.facts?.[STEPS], "most steps": p => minus(p.facts?.[STEPS]),
    "shortest": p => p.facts?.[TOKENS], "longest": p => minus(p.facts?.[TOKENS]),
    "most teachers": p => minus(Object.keys(p.facts?.[TEACHERS] ?? {}).length), "id": p => p.id,
  };
  const minus = value => value === null || value === undefined ? null : -value;
  const $ = id => document.getElementById(id);
  let index, problems, shown = [], active = 0, opened = -1, method = 0, onOpen;

  function option(select, value, text) { select.append(make("option", {value}, text)); }

  // An index of `gather`; open(problem number, list's method) is called for the row that is chosen.
  function start(given, open) {
    index = given;
    onOpen = open;
    problems = index.problems.map(([id, question, answer, methods], number) => ({id, question, answer, methods, number,
      words: [id, question, answer, ...Object.values(methods).map(f => f[PREDICTION] ?? "")].join("\n").toLowerCase()}));
    const begin = shared(problems.map(p => p.question));
    for (const p of problems) p.snippet = (begin ? "… " : "") + p.question.slice(begin, begin + 160);
    index.methods.forEach((name, m) => option($("method"), m, name));
    $("method").parentElement.hidden = index.methods.length < 2;
    option($("verdict"), "", "any");
    for (const kind of KINDS) option($("verdict"), kind, said(kind, index.checked));
    if (index.methods.length > 1) option($("verdict"), "differs", "differs between methods");
    option($("teacher"), "", "any teacher");
    index.teachers.forEach((name, t) => option($("teacher"), t, name));
    index.teachers.forEach((name, t) => option($("teacher"), `no${t}`, `none by ${name}`));
    option($("teacher"), "several", "several teachers");
    option($("teacher"), "one", "one teacher alone");
    for (const name of Object.keys(SORTS)) option($("sort"), name, name);
    for (const id of ["method", "verdict", "teacher", "sort"]) $(id).addEventListener("change", () => refresh());
    $("search").addEventListener("input", () => refresh());
    const list = $("list");
    list.addEventListener("scroll", draw);
    new ResizeObserver(draw).observe(list);
    list.addEventListener("keydown", keys);
    list.addEventListener("click", event => {
      const row = event.target.closest("[role=option]");
      if (row) choose(Number(row.dataset.place), true);
    });
    refresh();
  }

  // What all questions begin with says nothing in a list: a snippet begins at the word where they part.
  function shared(texts) {
    if (texts.length < 2) return 0;
    let same = 0;
    while (same < texts[0].length && texts.every(text => text[same] === texts[0][same])) same++;
    return same < 20 ? 0 : texts[0].lastIndexOf(" ", same - 1) + 1;
  }

  const right = kind => kind === "lucky" ? "right" : kind;
  function fits(p, words, verdict, teacher) {
    const facts = p.facts = p.methods[method];
    if (words.some(word => !p.words.includes(word))) return false;
    if (verdict === "differs") {
      if (new Set(Object.values(p.methods).map(f => right(f[KIND]))).size < 2) return false;
    } else if (verdict && facts?.[KIND] !== verdict) return false;
    if (!teacher) return true;
    const used = Object.keys(facts?.[TEACHERS] ?? {});
    if (teacher === "several") return used.length > 1;
    if (teacher === "one") return used.length === 1;
    return teacher.startsWith("no") ? used.length > 0 && !used.includes(teacher.slice(2)) : used.includes(teacher);
  }

  function refresh() {
    method = Number($("method").value || 0);
    const words = $("search").value.toLowerCase().split(/\s+/).filter(Boolean);
    shown = problems.filter(p => fits(p, words, $("verdict").value, $("teacher").value));
    const key = SORTS[$("sort").value];
    const keyed = shown.map(p => [key(p) ?? null, p]);
    keyed.sort(([a, p], [b, q]) => (a === null) - (b === null) || (a < b ? -1 : a > b ? 1 : 0) || p.number - q.number);
    shown = keyed.map(([, p]) => p);
    const graded = shown.filter(p => p.facts && !["failed", "ungraded"].includes(p.facts[KIND]));
    const rights = graded.filter(p => p.facts[KIND] !== "wrong").length;
    $("count").textContent = (shown.length === problems.length ? "" : `${shown.length} of `)
      + `${problems.length} ${problems.length === 1 ? "problem" : "problems"}`
      + (graded.length ? `, ${rights} of ${graded.length} right answers` : "");
    active = Math.max(0, shown.findIndex(p => p.number === opened));
    $("list").scrollTop = Math.max(0, active * ROW - ROW);
    draw();
  }

  function draw() {
    const list = $("list"), top = list.scrollTop;
    const from = Math.max(0, Math.floor(top / ROW) - BEYOND);
    const to = Math.min(shown.length, Math.ceil((top + list.clientHeight) / ROW) + BEYOND);
    const space = make("div", {class: "space", role: "presentation"});
    space.style.height = `${shown.length * ROW}px`;
    for (let i = from; i < to; i++) space.append(row(shown[i], i));
    if (!shown.length) space.append(make("p", {class: "quiet none"}, problems.length ? "No problem fits: clear the search or a filter." : "No problems."));
    list.replaceChildren(space);
    if (shown.length) list.setAttribute("aria-activedescendant", `row${active}`);
    else list.removeAttribute("aria-activedescendant");
  }

  function row(p, place) {
    const facts = p.facts;
    const item = make("div", {role: "option", id: `row${place}`, "data-place": place, "aria-posinset": place + 1,
      "aria-setsize": shown.length, "aria-selected": String(p.number === opened),
      class: "item" + (place === active ? " active" : "")});
    item.style.top = `${place * ROW}px`;
    const head = make("div", {class: "head"});
    const kind = facts?.[KIND];
    const sign = make("span", {class: "sign " + good(kind), role: "img", "aria-label": facts ? said(kind, index.checked) : "not decoded",
      title: facts ? said(kind, index.checked) : "not decoded"}, facts ? SIGN[kind] : "–");
    head.append(sign, make("strong", {}, p.id));
    if (facts && facts[STEPS]) head.append(make("span", {class: "quiet right"}, `S ${fixed(facts[SCORE])} · ${facts[STEPS]} steps`));
    item.append(head, make("div", {class: "snippet"}, p.snippet), shares(facts));
    return item;
  }

  // Who wrote how much of the trace, as a thin bar.
  function shares(facts) {
    const used = Object.entries(facts?.[TEACHERS] ?? {});
    const bar = make("div", {class: "shares", role: "img",
      "aria-label": "steps by " + (used.map(([t, n]) => `${index.teachers[t]} ${n}`).join(", ") || "nobody")});
    for (const [t, n] of used) {
      const part = make("span");
      part.style.flexGrow = n;
      part.style.background = colour(Number(t));
      bar.append(part);
    }
    return bar;
  }

  function keys(event) {
    const page = Math.max(1, Math.floor($("list").clientHeight / ROW) - 1);
    const moves = {ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -Infinity, End: Infinity};
    if (event.key === "Enter") {
      event.preventDefault();
      choose(active, true);
    } else if (event.key in moves) {
      event.preventDefault();
      choose(active + moves[event.key], false);
    }
  }

  function choose(place, open) {
    if (!shown.length) return;
    active = Math.min(shown.length - 1, Math.max(0, place));
    const list = $("list"), top = active * ROW;
    if (top < list.scrollTop) list.scrollTop = top;
    else if (top + ROW > list.scrollTop + list.clientHeight) list.scrollTop = top + ROW - list.clientHeight;
    if (open) onOpen(shown[active].number, method);
    draw();
  }

  return {
    start,
    // The next (+1) or previous (-1) problem of the list as it is filtered and sorted.
    step: by => choose(shown.findIndex(p => p.number === opened) + by, true),
    mark(number) {
      opened = number;
      const place = shown.findIndex(p => p.number === number);
      if (place >= 0) choose(place, false); else draw();
    },
  };
})();
