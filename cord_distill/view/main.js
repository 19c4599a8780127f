// view.html#problem=ID&method=NAME&beside=NAME shows that problem; without a hash the list is shown alone on a phone.
// A page of one problem shows it at once.
(async () => {
  const {make} = BeamTree;
  const $ = id => document.getElementById(id);
  const view = $("problem");
  let index;
  try {
    index = await Data.unpacked($("index").textContent);
  } catch (error) {
    view.replaceChildren(make("p", {class: "bad"}, `This page cannot be read: ${error.message}`));
    return;
  }
  const numbers = new Map(index.problems.map(([id], p) => [id, p]));

  function address() {
    const asked = new URLSearchParams(location.hash.slice(1));
    const names = Object.fromEntries(["method", "beside"].map(key => [key, index.methods.indexOf(asked.get(key))]));
    const only = index.problems.length === 1 ? 0 : -1;
    return {problem: numbers.get(asked.get("problem")) ?? only, ...names};
  }
  function go(problem, method, beside = -1) {
    const asked = {problem: index.problems[problem][0], method: index.methods[method]};
    if (beside >= 0) asked.beside = index.methods[beside];
    location.hash = new URLSearchParams(asked);
  }

  let last = 0;
  async function show(focus) {
    const asked = address(), turn = ++last;
    document.body.classList.toggle("opened", asked.problem >= 0);
    List.mark(asked.problem);
    if (asked.problem < 0) {
      view.replaceChildren(Overview.draw(index));
      return;
    }
    const [id, question, answer, methods] = index.problems[asked.problem];
    const has = Object.keys(methods).map(Number);
    const method = has.includes(asked.method) ? asked.method : has[0];
    const beside = has.includes(asked.beside) && asked.beside !== method ? asked.beside : -1;
    const picked = beside >= 0 ? [method, beside] : [method];
    let trees;
    try {
      trees = await Promise.all(picked.map(m => Data.chunk(m, asked.problem)));
    } catch (error) {
      view.replaceChildren(make("p", {class: "bad"}, `${id} cannot be read: ${error.message}`));
      return;
    }
    if (turn !== last) return;
    view.replaceChildren(bar(asked.problem, has, method, beside), make("h2", {id: "title"}, id),
      Maths.fill(make("div", {class: "question"}), question), known(answer));
    if (index.cut) view.append(make("p", {class: "quiet"},
      `A large run: candidates off the chosen trace are cut at ${index.cut} characters (cord view --text 0 keeps all).`));
    const both = make("div", {class: "beside"});
    trees.forEach((tree, i) => both.append(Trajectory.draw(tree, index.teachers, index.methods[picked[i]])));
    view.append(both);
    view.scrollTop = 0;
    if (focus) view.focus({preventScroll: true});
  }

  function known(answer) {
    const line = make("p", {class: "facts"}, "Known answer: ");
    line.append(Maths.fill(make("strong"), answer));
    return line;
  }

  function bar(problem, has, method, beside) {
    const row = make("div", {class: "row bar"});
    const button = (text, act, attributes = {}) => {
      const made = make("button", {type: "button", ...attributes}, text);
      made.addEventListener("click", act);
      row.append(made);
    };
    const select = (label, options, value, act) => {
      const frame = make("label", {}, `${label} `), made = make("select");
      for (const [key, text] of options) made.append(make("option", {value: key}, text));
      made.value = value;
      made.addEventListener("change", () => act(Number(made.value)));
      frame.append(made);
      row.append(frame);
    };
    button("← List", back, {class: "back"});
    button("↑", () => List.step(-1), {"aria-label": "Previous problem"});
    button("↓", () => List.step(1), {"aria-label": "Next problem"});
    if (has.length > 1) {
      select("Method", has.map(m => [m, index.methods[m]]), method, m => go(problem, m, beside === m ? -1 : beside));
      select("beside", [[-1, "nothing"], ...has.filter(m => m !== method).map(m => [m, index.methods[m]])], beside,
        m => go(problem, method, m));
    }
    button(Maths.state.source ? "Show maths" : "Show source", () => { Maths.state.source = !Maths.state.source; show(); });
    return row;
  }

  function back() {
    history.pushState(null, "", location.pathname + location.search);
    show();
    $("list").focus();
  }

  addEventListener("keydown", event => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const typing = /^(INPUT|SELECT|TEXTAREA)$/.test(document.activeElement?.tagName);
    if (event.key === "Escape") {
      if (document.activeElement === $("search")) $("list").focus();
      else if (document.body.classList.contains("opened")) back();
    } else if (typing) {
      if (event.key === "Enter" && document.activeElement === $("search")) $("list").focus();
    } else if (event.key === "/") {
      event.preventDefault();
      if (getComputedStyle($("search")).visibility !== "hidden" && !$("search").offsetParent) back();
      $("search").focus();
    } else if (event.key === "j" || event.key === "k") List.step(event.key === "j" ? 1 : -1);
  });
  addEventListener("hashchange", () => show(true));
  addEventListener("popstate", () => show());

  List.start(index, (problem, method) => {
    const asked = address();
    go(problem, method, asked.beside !== method ? asked.beside : -1);
    if (asked.problem === problem) show(true);
  });
  await show();
  document.documentElement.dataset.ready = String(Math.round(performance.now()));
})();
