// The report's beam trees, from #payload (beam_tree.js draws them). Text from models stays text.
"use strict";
(() => {
  const {make, colour, fixed, chip, describe, verdict, readable, draw: drawTree, TEACHER, TEXT} = BeamTree;
  const {teachers, notes, pair, problems} = JSON.parse(document.getElementById("payload").textContent);
  const viewer = document.getElementById("viewer");
  const said = tree => verdict(tree.kind, tree.steps.some(step => step[3] !== null));
  const named = t => `${t + 1} ${teachers[t]}${notes[t] ? `: ${notes[t]}` : ""}`;
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
      teachers.forEach((_, t) => legend.append(chip(t, named(t))));
      viewer.append(legend);
      const read = make("div", {class: "read", "aria-live": "polite"});
      const both = make("div", {class: "tree-and-text"});
      const show = (t, i) => {
        const c = tree.columns[t][i];
        read.replaceChildren(chip(c[TEACHER], describe(tree, teachers, t, i)), make("div", {class: "text"}, readable(c[TEXT]) || "(no new text)"));
        read.style.borderColor = colour(c[TEACHER]);
      };
      both.append(drawTree(tree, teachers, show).element, read);
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

  function facts(problem, tree) {
    const line = make("p", {class: "facts"});
    line.append(make("strong", {class: good(tree.kind)}, said(tree)));
    line.append(` · known answer ${problem.answer} · answered ${tree.prediction ?? "nothing"} · S ${fixed(tree.score)}`);
    if (tree.tokens.generated_total) line.append(` · ${tree.tokens.generated_total.toLocaleString("en")} tokens generated`);
    if (tree.error) line.append(` · ${tree.error}`);
    return line;
  }

  function trace(tree) {
    const details = make("details");
    details.append(make("summary", {}, `The chosen trace: ${tree.steps.length} steps`), steps(tree));
    return details;
  }

  function steps(tree) {
    const list = make("ol", {class: "trace"});
    tree.steps.forEach(([teacher, score, text, right], i) => {
      const item = make("li");
      item.style.borderColor = colour(teacher);
      item.append(chip(teacher, teachers[teacher] + (score === null ? "" : `, score ${fixed(score)}`)));
      if (right !== null) item.append(make("span", {class: right ? "good" : "bad"}, right ? "✓ step right" : "✗ step wrong"));
      item.append(make("div", {class: "text"}, readable(text)));
      list.append(item);
    });
    const last = make("li");
    last.append(make("strong", {}, "Final answer"), make("div", {class: "text"}, tree.final.trim()));
    list.append(last);
    return list;
  }

  // The first problem under the two methods that the report is about, where one was right and the other wrong.
  function beside() {
    if (!pair) return;
    const problem = problems[0], view = document.getElementById("pairview"), both = make("div", {class: "beside"});
    view.append(make("div", {class: "question"}, problem.question), make("p", {class: "facts"}, `Known answer: ${problem.answer}`));
    for (const method of pair) {
      const tree = problem.methods[method], part = make("div");
      const line = make("p", {class: "facts"});
      line.append(make("strong", {}, method), ": ", make("strong", {class: good(tree.kind)}, said(tree)), ` · S ${fixed(tree.score)}`);
      part.append(line, steps(tree));
      both.append(part);
    }
    view.append(both);
    document.getElementById("two").hidden = false;
  }

  fromAddress();
  beside();
  draw();
  addEventListener("hashchange", () => { fromAddress(); draw(); });
})();
