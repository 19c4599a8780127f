// What stands beside the list while no problem is open: each method in one row, and how to read a tree.
const Overview = (() => {
  const {make, chip} = BeamTree, {KIND, SCORE, STEPS, GENERATED} = Data;
  const READ = "Each column of a beam tree is a step, each box a proposal: its teacher's colour and number, and its score "
    + "(S, how well the known answer is predicted from there, or what else the method selects by; a method that chooses among whole traces scores only their ends). Filled boxes were kept, outlined ones "
    + "pruned; the bold line is the trace that was chosen.";

  const SIGNS = "✓ is a right answer, (✓) a right answer by a trace with a wrong step (lucky), ✗ a wrong answer, ! a "
    + "problem that failed, ? an answer that was not graded.";

  function mean(values, digits) {
    const given = values.filter(value => value !== null && value !== undefined);
    if (!given.length) return "–";
    const average = given.reduce((sum, value) => sum + value, 0) / given.length;
    return average.toLocaleString("en", {minimumFractionDigits: digits, maximumFractionDigits: digits});
  }

  // The clearest thing there is to see: a problem that the first method got right and the next one wrong, side by side.
  function telling(index) {
    const found = index.problems.find(([, , , methods]) => methods[0]?.[KIND] === "right" && methods[1]?.[KIND] === "wrong");
    if (!found) return make("p");
    const [method, beside] = index.methods, line = make("p");
    const href = "#" + new URLSearchParams({problem: found[0], method, beside});
    line.append(make("a", {href}, `${found[0]}: ${method} got it right and ${beside} wrong, side by side`));
    return line;
  }

  // What a step does for the answer, by teacher and in all, where `cord audit` ran: a line per method.
  function effects(index) {
    return (index.effects ?? []).flatMap((found, m) => {
      const said = Object.entries(found).map(([name, effect]) => `${name} ${effect < 0 ? "" : "+"}${effect.toFixed(3)}`);
      return said.length ? [make("p", {}, `${index.methods[m]}: effect of a step on S (cord audit): ${said.join(", ")}`)] : [];
    });
  }

  function draw(index) {
    const part = make("div", {class: "overview"});
    part.append(make("h2", {}, "This run"));
    const table = make("table"), head = make("tr");
    // The same words and numbers as in the report: "right answers" counts the lucky ones too.
    const columns = [["right answers", ["right", "lucky"]], ...index.checked ? [["right in every step", ["right"]]] : [],
      ["wrong answers", ["wrong"]], ["failed", ["failed"]], ["not graded", ["ungraded"]]].filter(([, kinds]) =>
      index.problems.some(([, , , methods]) => Object.values(methods).some(facts => kinds.includes(facts[KIND]))));
    const titles = ["method", "problems", ...columns.map(([title]) => title), "mean S", "mean steps", "tokens/problem"];
    for (const title of titles) head.append(make("th", {scope: "col"}, title));
    table.append(head);
    index.methods.forEach((name, m) => {
      const rows = index.problems.map(([, , , methods]) => methods[m]).filter(Boolean);
      const done = rows.filter(facts => facts[KIND] !== "failed");
      const cells = [rows.length, ...columns.map(([, kinds]) => rows.filter(facts => kinds.includes(facts[KIND])).length),
        mean(done.map(f => f[SCORE]), 3), mean(done.map(f => f[STEPS]), 1), mean(done.map(f => f[GENERATED]), 0)];
      const row = make("tr");
      row.append(make("th", {scope: "row"}, name));
      for (const cell of cells) row.append(make("td", {}, String(cell)));
      table.append(row);
    });
    const wide = make("div", {class: "wide"});
    wide.append(table);
    const teachers = make("p");
    index.teachers.forEach((name, t) => teachers.append(chip(t, `${t + 1} ${name}${index.notes[t] ? `: ${index.notes[t]}` : ""}`)));
    part.append(wide, telling(index), ...effects(index), teachers, make("p", {class: "quiet"}, READ),
      make("p", {class: "quiet"}, `Choose a problem in the list; the bar under each says who wrote how much of its trace. ${SIGNS}`));
    return part;
  }

  return {draw};
})();
