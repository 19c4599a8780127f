// One problem under one method: its verdict, score curve, beam tree and final trace.
const Trajectory = (() => {
  const {make, colour, fixed, chip, describe, verdict, readable, ENDS, TEACHER, TEXT, KEPT} = BeamTree;
  const {good} = Data;
  // Trees with more boxes wait for a click.
  const LARGE = 1500;
  const TREE = {mcts: "Search tree", curation: "Whole traces", single: "Whole traces", integration: "Traces and replies"};
  const number = value => value.toLocaleString("en");

  // tree: of Data.chunk. `name` is said where two stand side by side.
  function draw(tree, teachers, name) {
    const part = make("section", {class: "trajectory", "aria-label": name});
    part.append(make("h3", {}, name), facts(tree));
    if (tree.error) part.append(make("p", {class: "bad"}, `This problem failed: ${tree.error}. The next cord generate tries it again.`));
    part.append(legend(tree, teachers));
    const steps = trace(tree, teachers);
    const jump = t => {
      const item = steps.querySelectorAll("li")[t];
      steps.open = true;
      item.scrollIntoView({block: "nearest"});
      item.focus({preventScroll: true});
    };
    const curve = Curve.draw(tree, teachers, jump);
    if (curve) part.append(heading("Score along the trace", "dots: all that was proposed"), curve);
    else if (tree.steps.length) part.append(make("p", {class: "quiet"}, "The trace was scored as a whole: it has no curve."));
    part.append(beam(tree, teachers), steps);
    return part;
  }

  function heading(text, note) {
    const head = make("h4", {}, text);
    head.append(make("span", {class: "quiet"}, ` ${note}`));
    return head;
  }

  function facts(tree) {
    const line = make("p", {class: "facts"});
    line.append(make("strong", {class: good(tree.kind)}, verdict(tree.kind, tree.steps.some(step => step[3] !== null))));
    const said = [`predicted ${tree.prediction ?? "nothing"}`, `S ${fixed(tree.score)}`];
    if (tree.tokens.reasoning) said.push(`${number(tree.tokens.reasoning)} reasoning tokens`);
    if (tree.tokens.generated_total) said.push(`${number(tree.tokens.generated_total)} generated in all`);
    if (ENDS[tree.stop]) said.push(ENDS[tree.stop]);
    line.append(" · " + said.join(" · "));
    return line;
  }

  function legend(tree, teachers) {
    const row = make("div", {class: "row"});
    const counts = new Map();
    for (const column of tree.columns) for (const c of column) if (!counts.has(c[TEACHER])) counts.set(c[TEACHER], 0);
    for (const [teacher] of tree.steps) counts.set(teacher, (counts.get(teacher) ?? 0) + 1);
    for (const [t, steps] of [...counts].sort((a, b) => a[0] - b[0])) {
      row.append(chip(t, `${t + 1} ${teachers[t]}: ${steps} of ${tree.steps.length} steps`));
    }
    return row;
  }

  function beam(tree, teachers) {
    const boxes = tree.columns.reduce((sum, column) => sum + column.length, 0);
    if (!boxes) return make("p", {class: "quiet"}, "No candidates were recorded.");
    const details = make("details", {class: "beam"});
    const steps = tree.columns.length > 1 && tree.pipeline !== "integration" ? ` in ${tree.columns.length} steps` : "";
    details.append(make("summary", {}, `${TREE[tree.pipeline] || "Beam tree"}: ${boxes} candidates${steps}`));
    const read = make("div", {class: "read", "aria-live": "polite"});
    const chosen = (t, i) => {
      const c = tree.columns[t][i];
      read.style.borderColor = colour(c[TEACHER]);
      read.replaceChildren(chip(c[TEACHER], describe(tree, teachers, t, i)),
        Maths.fill(make("div", {class: "text"}), readable(c[TEXT]) || "(no new text)"));
    };
    let drawn = false;
    const fill = pruned => {
      const both = make("div", {class: "tree-and-text"});
      both.append(BeamTree.draw(tree, teachers, chosen, {pruned}).element, read);
      details.querySelector(".tree-and-text")?.remove();
      details.append(both);
    };
    const unfold = () => {
      if (drawn || !details.open) return;
      drawn = true;
      if (tree.columns.some(column => column.some(c => !c[KEPT]))) {
        const label = make("label", {class: "quiet"}), box = make("input", {type: "checkbox"});
        box.addEventListener("change", () => fill(!box.checked));
        label.append(box, " only what was kept");
        details.append(label);
      }
      fill(true);
    };
    details.addEventListener("toggle", unfold);
    details.open = boxes <= LARGE;
    unfold();
    return details;
  }

  function trace(tree, teachers) {
    if (!tree.steps.length) return make("p", {class: "quiet"}, "No trace.");
    const details = make("details", {class: "final", open: ""});
    details.append(make("summary", {}, `The final trace: ${tree.steps.length} ${tree.steps.length > 1 ? "steps" : "step"}`));
    const list = make("ol", {class: "trace"});
    tree.steps.forEach(([teacher, score, text, right, tokens, category], t) => {
      const item = make("li", {tabindex: "-1"});
      item.style.borderColor = colour(teacher);
      const said = [`${t + 1}. ${teachers[teacher]}`];
      if (score !== null) said.push(`score ${fixed(score)}`);
      if (tokens) said.push(`${number(tokens)} tokens`);
      if (category) said.push(category);
      item.append(chip(teacher, said.join(", ")));
      if (right !== null) item.append(make("span", {class: right ? "good" : "bad"}, right ? "✓ step right" : "✗ step wrong"));
      item.append(Maths.fill(make("div", {class: "text"}), readable(text)));
      list.append(item);
    });
    const last = make("li", {tabindex: "-1"});
    last.append(make("strong", {}, "Final answer"), Maths.fill(make("div", {class: "text"}), tree.final.trim() || "(empty)"));
    list.append(last);
    details.append(list);
    return details;
  }

  return {draw};
})();
