// The beam tree as SVG, for the report and for `cord view`: a page puts this file before its own script.
// Text from models reaches the page through textContent only.
"use strict";
const BeamTree = (() => {
  const [PARENT, TEACHER, SAMPLE, SCORE, KEPT, STOP, TEXT, ERROR] = [0, 1, 2, 3, 4, 5, 6, 7];
  const WIDTH = 58, HEIGHT = 20, COLUMN = 96, LINE = 26, TOP = 26, LEFT = 18;
  // What a filled box and an outlined one mean, and what the columns are, where they are no steps of a beam.
  const WORDS = {
    mcts: ["tried", "unusable"], curation: ["chosen", "not chosen"], single: ["chosen", "not chosen"],
    integration: ["used", "not usable"],
  };
  const COLUMNS = {curation: ["whole trace"], single: ["whole trace"], integration: ["whole trace", "merged"]};
  // Why a text ended, in words; the end of a step and of a thought are what is meant to happen.
  const ENDS = {eos: "ended its turn early", length: "cut off by the token budget", abort: "nothing usable came"};
  const SVG = new Set(["svg", "g", "rect", "path", "text", "title", "circle", "line", "polyline"]);

  const make = (tag, attributes = {}, text) => {
    const node = SVG.has(tag) ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    if (text !== undefined) node.textContent = text;
    return node;
  };
  const colour = teacher => `var(--t${teacher % 8})`;
  const fixed = score => score === null || score === undefined ? "–" : score.toFixed(3);
  const place = (tree, t) => (COLUMNS[tree.pipeline] || [])[t] || `step ${t + 1}`;

  // A verdict in words. "Right" alone is said where nobody checked the steps.
  function verdict(kind, checked) {
    return {right: checked ? "right in every step" : "right answer", lucky: "right answer, a wrong step", wrong: "wrong answer",
      failed: "failed", ungraded: "not graded"}[kind];
  }

  // A step as people read it: without the marker's signs, and without the tag that ends the thought.
  const readable = text => text.replace(/^\s*#+ +/, "").replace(/<\/think>\s*$/, "").trim();

  function chip(teacher, text) {
    const span = make("span", {class: "chip"});
    const dot = make("span", {class: "dot"});
    dot.style.background = colour(teacher);
    span.append(dot, make("span", {}, text));
    return span;
  }

  function describe(tree, teachers, t, i) {
    const c = tree.columns[t][i], [kept, pruned] = WORDS[tree.pipeline] || ["kept", "pruned"];
    const what = c[SAMPLE] < 0 ? "finished before, keeps its place" : c[KEPT] ? kept : pruned;
    const end = ENDS[c[STOP]] && c[SAMPLE] >= 0 ? `, ${ENDS[c[STOP]]}` : "";
    const path = tree.path[t] === i && what !== "chosen" ? ", on the chosen trace" : "";
    return [place(tree, t), teachers[c[TEACHER]], c[SCORE] === null ? "" : `score ${fixed(c[SCORE])}`, `${what}${path}${end}`, c[ERROR]].filter(Boolean).join(", ");
  }

  // Children stand in the order of their parents, so no two edges cross; within a parent, best score first.
  // rows[t][i]: the place of candidate i in column t, undefined for one that is not drawn.
  function rowsOf(tree, drawn) {
    const rows = [];
    tree.columns.forEach((column, t) => {
      const parent = i => t && column[i][PARENT] >= 0 ? rows[t - 1][column[i][PARENT]] ?? -1 : -1;
      const order = column.map((_, i) => i).filter(i => drawn(t, i)).sort((a, b) =>
        parent(a) - parent(b) || (column[b][SCORE] ?? -1) - (column[a][SCORE] ?? -1) || a - b);
      rows.push([]);
      order.forEach((i, at) => { rows[t][i] = at; });
    });
    return rows;
  }

  // Arrows, Home and End move between boxes; `chosen(t, i)` is called for each box that is reached, the first one too.
  // pruned: false draws only what was kept. All kept traces lead to a candidate whose column is merged of them.
  function draw(tree, teachers, chosen, {pruned = true} = {}) {
    const rows = rowsOf(tree, (t, i) => pruned || tree.columns[t][i][KEPT] || tree.path[t] === i);
    const heights = rows.map(places => places.filter(place => place !== undefined).length);
    const tallest = Math.max(1, ...heights);
    const width = LEFT * 2 + 30 + COLUMN * (tree.columns.length - 1) + WIDTH, height = TOP + tallest * LINE + 8;
    const x = t => LEFT + 30 + COLUMN * t;
    const y = (t, i) => TOP + (tallest - heights[t]) / 2 * LINE + rows[t][i] * LINE + LINE / 2;
    const middle = TOP + tallest * LINE / 2;
    const svg = make("svg", {class: "tree", width, height, viewBox: `0 0 ${width} ${height}`, role: "group",
      "aria-label": "Beam tree: left and right go along the steps, up and down within one"});
    const edges = make("g"), bold = make("g"), nodes = make("g");
    svg.append(edges, bold, nodes);
    edges.append(make("circle", {cx: LEFT, cy: middle, r: 4, fill: "var(--quiet)"}));
    const elements = [];
    const edge = (layer, kind, from, to) => {
      const half = (from[0] + to[0]) / 2;
      layer.append(make("path",
        {class: "edge" + kind, d: `M${from[0]},${from[1]}C${half},${from[1]} ${half},${to[1]} ${to[0]},${to[1]}`}));
    };

    tree.columns.forEach((column, t) => {
      svg.append(make("text", {class: "column", x: x(t) + WIDTH / 2, y: 14}, place(tree, t)));
      const merged = t > 0 && tree.pipeline === "integration";
      elements.push([]);
      column.forEach((c, i) => {
        if (rows[t][i] === undefined) return;
        const onPath = tree.path[t] === i, carried = c[SAMPLE] < 0;
        const to = [x(t), y(t, i)];
        const kind = (c[KEPT] ? " kept" : "") + (onPath ? " path" : "") + (carried ? " carried" : "");
        const parents = merged ? tree.columns[t - 1].map((_, k) => k).filter(k => tree.columns[t - 1][k][KEPT])
          : [c[PARENT]];
        for (const parent of parents) {
          const known = parent >= 0 && rows[t - 1][parent] !== undefined;
          edge(onPath ? bold : edges, kind, known ? [x(t - 1) + WIDTH, y(t - 1, parent)] : [LEFT, middle], to);
        }
        const node = make("g", {class: "node" + kind + (c[KEPT] ? "" : " pruned"), tabindex: "-1", role: "button",
          "aria-label": describe(tree, teachers, t, i)});
        if (carried) {
          bold.append(make("path", {class: "edge" + kind, d: `M${to[0]},${to[1]}h${WIDTH}`}));
          node.append(make("rect", {x: to[0], y: to[1] - 6, width: WIDTH, height: 12, fill: "transparent"}));
        } else {
          const box = {x: to[0], y: to[1] - HEIGHT / 2, width: WIDTH, height: HEIGHT, rx: 4};
          const rect = make("rect", box);
          rect.style.stroke = onPath ? "" : colour(c[TEACHER]);
          if (c[KEPT]) rect.style.fill = colour(c[TEACHER]);
          const score = c[ERROR] ? "✗" : c[SCORE] === null ? "–" : c[SCORE].toFixed(2);
          node.append(make("rect", {...box, class: "halo", x: box.x - 3, y: box.y - 3, width: WIDTH + 6, height: HEIGHT + 6}),
            rect, make("text", {x: to[0] + WIDTH / 2, y: to[1]}, `${c[TEACHER] + 1} · ${score}`));
        }
        node.addEventListener("click", () => choose(t, i, true));
        elements[t][i] = node;
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
      chosen(t, i);
    }
    svg.addEventListener("keydown", event => {
      const [t, i] = at, column = tree.columns[t];
      let next = null;
      if (event.key === "ArrowUp" || event.key === "ArrowDown") {
        const found = rows[t].indexOf(rows[t][i] + (event.key === "ArrowUp" ? -1 : 1));
        if (found >= 0) next = [t, found];
      } else if (event.key === "ArrowLeft") {
        if (t > 0 && column[i][PARENT] >= 0) next = [t - 1, column[i][PARENT]];
      } else if (event.key === "ArrowRight") {
        const children = (tree.columns[t + 1] || []).map((c, k) => [c, k])
          .filter(([c, k]) => rows[t + 1][k] !== undefined && (c[PARENT] === i || tree.pipeline === "integration"));
        children.sort((a, b) => (tree.path[t + 1] === b[1]) - (tree.path[t + 1] === a[1])
          || b[0][KEPT] - a[0][KEPT] || rows[t + 1][a[1]] - rows[t + 1][b[1]]);
        if (children.length) next = [t + 1, children[0][1]];
      } else if (event.key === "Home") next = [0, first(0)];
      else if (event.key === "End") next = [(tree.path.length || 1) - 1, first((tree.path.length || 1) - 1)];
      else return;
      event.preventDefault();
      if (next) choose(next[0], next[1], true);
    });
    // The chosen trace's box of a column; where the trace ended before or nothing was chosen, the topmost one.
    function first(t) {
      const found = tree.path[t] ?? -1;
      return found >= 0 ? found : rows[t].indexOf(0);
    }
    const start = heights.findIndex(tall => tall > 0);
    if (start >= 0) choose(start, first(start), false);
    const scroll = make("div", {class: "scroll"});
    scroll.append(svg);
    return {element: scroll, choose: (t, i) => elements[t]?.[i] && choose(t, i, true)};
  }

  return {make, colour, fixed, chip, describe, verdict, readable, ENDS, draw, PARENT, TEACHER, SAMPLE, SCORE, KEPT, STOP, TEXT, ERROR};
})();
