// Draws the beam trees from #payload. Text from models reaches the page through textContent only.
"use strict";
(() => {
  const {teachers, problems} = JSON.parse(document.getElementById("payload").textContent);
  const viewer = document.getElementById("viewer");
  const [PARENT, TEACHER, SAMPLE, SCORE, KEPT, STOP, TEXT, ERROR] = [0, 1, 2, 3, 4, 5, 6, 7];
  const WIDTH = 58, HEIGHT = 20, COLUMN = 96, LINE = 26, TOP = 26, LEFT = 18;
  const VERDICT = {right: "right", lucky: "right, a step is wrong", wrong: "wrong", failed: "failed", ungraded: "not graded"};

  const make = (tag, attributes = {}, text) => {
    const svg = ["svg", "g", "rect", "path", "text", "title", "circle"].includes(tag);
    const node = svg ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    if (text !== undefined) node.textContent = text;
    return node;
  };
  const colour = teacher => `var(--t${teacher % 8})`;
  const fixed = score => score === null ? "–" : score.toFixed(3);
  const good = kind => kind === "right" ? "good" : kind === "wrong" || kind === "failed" ? "bad" : "";

  // report.html#problem=ID&method=NAME shows that tree.
  const state = {problem: 0, method: null};
  function fromAddress() {
    const asked = new URLSearchParams(location.hash.slice(1));
    state.problem = Math.max(0, problems.findIndex(p => p.id === asked.get("problem")));
    state.method = asked.get("method");
  }
  function toAddress() {
    location.replace("#" + new URLSearchParams({problem: problems[state.problem].id, method: state.method}));
  }

  function draw(focus) {
    viewer.replaceChildren();
    if (!problems.length) {
      viewer.append(make("p", {}, "No trajectories yet: cord generate makes them."));
      return;
    }
    const problem = problems[state.problem];
    const methods = Object.keys(problem.methods);
    if (!methods.includes(state.method)) state.method = methods[0];
    const tree = problem.methods[state.method];

    viewer.append(buttons("Problem", problems.map((p, i) => [p.id, i, (p.methods[state.method] || {}).kind]), state.problem,
      i => { state.problem = i; draw("Problem"); toAddress(); }));
    if (methods.length > 1) viewer.append(buttons("Method", methods.map(m => [m, m, problem.methods[m].kind]), state.method,
      m => { state.method = m; draw("Method"); toAddress(); }));
    viewer.append(make("div", {class: "question"}, problem.question));
    viewer.append(facts(problem, tree));
    if (tree.columns.length) {
      const legend = make("div", {class: "row"});
      teachers.forEach((name, t) => legend.append(chip(t, `${t + 1} ${name}`)));
      viewer.append(legend);
      const read = make("div", {class: "read", "aria-live": "polite"});
      const both = make("div", {class: "tree-and-text"});
      both.append(drawTree(tree, read), read);
      viewer.append(both);
    }
    viewer.append(trace(tree));
    if (focus) viewer.querySelector(`[data-row="${focus}"] [aria-pressed="true"]`).focus();
  }

  function buttons(label, options, current, choose) {
    const row = make("div", {class: "row", role: "group", "aria-label": label, "data-row": label});
    row.append(make("span", {class: "quiet"}, label));
    for (const [text, value, kind] of options) {
      const button = make("button", {type: "button", "aria-pressed": String(value === current)}, text + " ");
      if (kind) button.append(make("span", {class: good(kind)}, kind === "right" ? "✓" : kind === "wrong" ? "✗" : kind));
      button.addEventListener("click", () => choose(value));
      row.append(button);
    }
    return row;
  }

  function chip(teacher, text) {
    const span = make("span", {class: "chip"});
    const dot = make("span", {class: "dot"});
    dot.style.background = colour(teacher);
    span.append(dot, make("span", {}, text));
    return span;
  }

  function facts(problem, tree) {
    const line = make("p", {class: "facts"});
    line.append(make("strong", {class: good(tree.kind)}, VERDICT[tree.kind]));
    line.append(` · known answer ${problem.answer} · predicted ${tree.prediction ?? "nothing"} · S ${fixed(tree.score)}`);
    if (tree.tokens.generated_total) line.append(` · ${tree.tokens.generated_total.toLocaleString("en")} tokens generated`);
    if (tree.error) line.append(` · ${tree.error}`);
    return line;
  }

  // Children stand in the order of their parents, so no two edges cross; within a parent, best score first.
  function rowsOf(tree) {
    const rows = [];
    tree.columns.forEach((column, t) => {
      const order = column.map((_, i) => i).sort((a, b) => {
        const pa = t && column[a][PARENT] >= 0 ? rows[t - 1][column[a][PARENT]] : -1;
        const pb = t && column[b][PARENT] >= 0 ? rows[t - 1][column[b][PARENT]] : -1;
        return pa - pb || (column[b][SCORE] ?? -1) - (column[a][SCORE] ?? -1) || a - b;
      });
      rows.push([]);
      order.forEach((i, place) => { rows[t][i] = place; });
    });
    return rows;
  }

  function drawTree(tree, read) {
    const rows = rowsOf(tree);
    const tallest = Math.max(...tree.columns.map(c => c.length));
    const width = LEFT * 2 + 30 + COLUMN * (tree.columns.length - 1) + WIDTH, height = TOP + tallest * LINE + 8;
    const x = t => LEFT + 30 + COLUMN * t;
    const y = (t, i) => TOP + (tallest - tree.columns[t].length) / 2 * LINE + rows[t][i] * LINE + LINE / 2;
    const middle = TOP + tallest * LINE / 2;
    const svg = make("svg", {class: "tree", width, height, viewBox: `0 0 ${width} ${height}`, role: "group",
      "aria-label": "Beam tree: left and right go along the steps, up and down within one"});
    const edges = make("g"), bold = make("g"), nodes = make("g");
    svg.append(edges, bold, nodes);
    edges.append(make("circle", {cx: LEFT, cy: middle, r: 4, fill: "var(--quiet)"}));
    const elements = [];
    const place = t => tree.columns.length > 1 ? `step ${t + 1}` : "whole trace";

    tree.columns.forEach((column, t) => {
      svg.append(make("text", {class: "column", x: x(t) + WIDTH / 2, y: 14}, tree.columns.length > 1 ? place(t) : "traces"));
      elements.push([]);
      column.forEach((c, i) => {
        const onPath = tree.path[t] === i, carried = c[SAMPLE] < 0;
        const from = c[PARENT] < 0 ? [LEFT, middle] : [x(t - 1) + WIDTH, y(t - 1, c[PARENT])];
        const to = [x(t), y(t, i)], half = (from[0] + to[0]) / 2;
        const kind = (c[KEPT] ? " kept" : "") + (onPath ? " path" : "") + (carried ? " carried" : "");
        (onPath ? bold : edges).append(make("path",
          {class: "edge" + kind, d: `M${from[0]},${from[1]}C${half},${from[1]} ${half},${to[1]} ${to[0]},${to[1]}`}));
        const node = make("g", {class: "node" + kind + (c[KEPT] ? "" : " pruned"), tabindex: "-1", role: "button",
          "aria-label": describe(c, place(t))});
        if (carried) {
          bold.append(make("path", {class: "edge" + kind, d: `M${to[0]},${to[1]}h${WIDTH}`}));
          node.append(make("rect", {x: to[0], y: to[1] - 6, width: WIDTH, height: 12, fill: "transparent"}));
        } else {
          const box = {x: to[0], y: to[1] - HEIGHT / 2, width: WIDTH, height: HEIGHT, rx: 4};
          const rect = make("rect", box);
          rect.style.stroke = onPath ? "" : colour(c[TEACHER]);
          if (c[KEPT]) rect.style.fill = colour(c[TEACHER]);
          const score = c[ERROR] ? "error" : c[SCORE] === null ? "–" : c[SCORE].toFixed(2);
          node.append(make("rect", {...box, class: "halo", x: box.x - 3, y: box.y - 3, width: WIDTH + 6, height: HEIGHT + 6}),
            rect, make("text", {x: to[0] + WIDTH / 2, y: to[1]}, `${c[TEACHER] + 1} · ${score}`));
        }
        node.addEventListener("click", () => choose(t, i, true));
        elements[t].push(node);
        nodes.append(node);
      });
    });

    let at = null;
    function choose(t, i, focus) {
      if (at) {
        elements[at[0]][at[1]].classList.remove("chosen");
        elements[at[0]][at[1]].setAttribute("tabindex", "-1");
      }
      at = [t, i];
      elements[t][i].classList.add("chosen");
      elements[t][i].setAttribute("tabindex", "0");
      if (focus) {
        elements[t][i].focus({preventScroll: true});
        elements[t][i].scrollIntoView({block: "nearest", inline: "nearest"});
      }
      const c = tree.columns[t][i];
      read.replaceChildren(chip(c[TEACHER], describe(c, place(t))), make("div", {class: "text"}, c[TEXT] || "(no new text)"));
      read.style.borderColor = colour(c[TEACHER]);
    }
    svg.addEventListener("keydown", event => {
      const [t, i] = at, column = tree.columns[t];
      let next = null;
      if (event.key === "ArrowUp" || event.key === "ArrowDown") {
        const found = rows[t].indexOf(rows[t][i] + (event.key === "ArrowUp" ? -1 : 1));
        if (found >= 0) next = [t, found];
      } else if (event.key === "ArrowLeft" && t > 0) {
        if (column[i][PARENT] >= 0) next = [t - 1, column[i][PARENT]];
      } else if (event.key === "ArrowRight" && t + 1 < tree.columns.length) {
        const children = tree.columns[t + 1].map((c, k) => [c, k]).filter(([c]) => c[PARENT] === i);
        children.sort((a, b) => (tree.path[t + 1] === b[1]) - (tree.path[t + 1] === a[1])
          || b[0][KEPT] - a[0][KEPT] || rows[t + 1][a[1]] - rows[t + 1][b[1]]);
        if (children.length) next = [t + 1, children[0][1]];
      } else if (event.key === "Home") next = [0, tree.path[0] ?? 0];
      else if (event.key === "End" && tree.path.length) next = [tree.path.length - 1, tree.path[tree.path.length - 1]];
      else return;
      event.preventDefault();
      if (next) choose(next[0], next[1], true);
    });
    choose(0, tree.path[0] ?? 0, false);
    const scroll = make("div", {class: "scroll"});
    scroll.append(svg);
    return scroll;
  }

  function describe(c, place) {
    const what = c[SAMPLE] < 0 ? "finished before, keeps its place" : c[KEPT] ? "kept" : "pruned";
    const end = c[STOP] === "step" || c[SAMPLE] < 0 ? "" : `, ended by ${c[STOP]}`;
    return `${place}, ${teachers[c[TEACHER]]}, S ${fixed(c[SCORE])}, ${what}${end}${c[ERROR] ? ", " + c[ERROR] : ""}`;
  }

  function trace(tree) {
    const details = make("details");
    details.append(make("summary", {}, `The chosen trace: ${tree.steps.length} steps`));
    const list = make("ol", {class: "trace"});
    tree.steps.forEach(([teacher, score, text, right], i) => {
      const item = make("li");
      item.style.borderColor = colour(teacher);
      item.append(chip(teacher, `${i + 1}. ${teachers[teacher]}, score ${fixed(score)}`));
      if (right !== null) item.append(make("span", {class: right ? "good" : "bad"}, right ? "step right" : "step wrong"));
      item.append(make("div", {class: "text"}, text));
      list.append(item);
    });
    const last = make("li");
    last.append(make("strong", {}, "Final answer"), make("div", {class: "text"}, tree.final));
    list.append(last);
    details.append(list);
    return details;
  }

  fromAddress();
  draw();
  addEventListener("hashchange", () => { fromAddress(); draw(); });
})();
