// What the page holds: #index is read at the start, a row's chunk (#cMETHOD-PROBLEM) when it is opened.
const Data = (() => {
  async function unpacked(text) {
    if (!globalThis.DecompressionStream) throw new Error("this browser is too old: it has no DecompressionStream");
    const bytes = Uint8Array.from(atob(text), char => char.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
    return new Response(stream).json();
  }

  // Chunks stand behind this script, so the one that is asked for may not be read yet.
  async function chunk(method, problem) {
    const id = `c${method}-${problem}`;
    const complete = () => document.readyState !== "loading" || document.getElementById(id)?.nextSibling;
    while (!complete()) await new Promise(done => setTimeout(done, 20));
    const tree = await unpacked(document.getElementById(id).textContent);
    for (const column of tree.columns) for (const c of column) c[BeamTree.TEXT] = tree.texts[c[BeamTree.TEXT]];
    for (const step of tree.steps) step[2] = tree.texts[step[2]];
    return tree;
  }

  const [KIND, PREDICTION, SCORE, STEPS, TOKENS, GENERATED, TEACHERS, ERROR] = [0, 1, 2, 3, 4, 5, 6, 7];
  const KINDS = ["right", "lucky", "wrong", "failed", "ungraded"];
  const SIGN = {right: "✓", lucky: "(✓)", wrong: "✗", failed: "!", ungraded: "?"};
  const good = kind => kind === "right" ? "good" : kind === "wrong" || kind === "failed" ? "bad" : "";

  return {unpacked, chunk, KINDS, SIGN, good, KIND, PREDICTION, SCORE, STEPS, TOKENS, GENERATED, TEACHERS, ERROR};
})();
