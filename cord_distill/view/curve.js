// The score along the chosen trace, over the scores of everything that was proposed at each step.
const Curve = (() => {
  const {make, colour, fixed, SCORE, SAMPLE} = BeamTree;
  const HEIGHT = 150, LEFT = 34, RIGHT = 10, TOP = 8, BOTTOM = 22;

  // [step, score, teacher] of the trace: a step's own score, else that of its candidate (MCTS: its mean reward).
  function points(tree) {
    const found = tree.steps.map(([teacher, score], t) =>
      [t, score ?? (tree.steps.length <= tree.columns.length ? tree.columns[t]?.[tree.path[t]]?.[SCORE] : null), teacher]);
    return found.filter(point => point[1] !== null && point[1] !== undefined);
  }

  // null where fewer than two steps have a score. onStep(t) is called for a point that is clicked.
  function draw(tree, teachers, onStep) {
    const trace = points(tree);
    if (trace.length < 2) return null;
    const others = tree.steps.length <= tree.columns.length ? tree.columns.flatMap((column, t) => t < tree.steps.length
      ? column.filter(c => c[SCORE] !== null && c[SAMPLE] >= 0).map(c => [t, c[SCORE]]) : []) : [];
    const scores = [...trace, ...others].map(point => point[1]);
    const inUnit = scores.every(score => score >= 0 && score <= 1);
    const low = inUnit ? 0 : Math.min(...scores), high = inUnit ? 1 : Math.max(...scores, low + 1e-9);
    const count = tree.steps.length, width = Math.max(280, Math.min(760, LEFT + RIGHT + 34 * count));
    const x = t => LEFT + (width - LEFT - RIGHT) * (count > 1 ? t / (count - 1) : 0.5);
    const y = score => TOP + (HEIGHT - TOP - BOTTOM) * (1 - (score - low) / (high - low));
    const svg = make("svg", {class: "curve", viewBox: `0 0 ${width} ${HEIGHT}`, width, height: HEIGHT, role: "img",
      "aria-label": "Score along the trace: " + trace.map(([t, score]) => `step ${t + 1} ${fixed(score)}`).join(", ")});
    for (const share of [0, 0.5, 1]) {
      const score = low + share * (high - low);
      svg.append(make("line", {class: "grid", x1: LEFT, x2: width - RIGHT, y1: y(score), y2: y(score)}),
        make("text", {class: "tick", x: LEFT - 6, y: y(score) + 4, "text-anchor": "end"}, inUnit ? score.toFixed(1) : score.toPrecision(2)));
    }
    const every = Math.ceil(count / 10);
    for (let t = 0; t < count; t += every) {
      svg.append(make("text", {class: "tick", x: x(t), y: HEIGHT - 6, "text-anchor": "middle"}, String(t + 1)));
    }
    for (const [t, score] of others) svg.append(make("circle", {class: "other", cx: x(t), cy: y(score), r: 2}));
    svg.append(make("polyline", {class: "line", points: trace.map(([t, score]) => `${x(t)},${y(score)}`).join(" ")}));
    for (const [t, score, teacher] of trace) {
      const dot = make("circle", {class: "point", cx: x(t), cy: y(score), r: 4.5});
      dot.style.fill = colour(teacher);
      dot.append(make("title", {}, `step ${t + 1}, ${teachers[teacher]}, ${fixed(score)}`));
      dot.addEventListener("click", () => onStep(t));
      svg.append(dot);
    }
    const scroll = make("div", {class: "scroll plain", tabindex: "0", role: "group", "aria-label": "Score curve"});
    scroll.append(svg);
    return scroll;
  }

  return {draw, points};
})();
