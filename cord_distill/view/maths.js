// Text with its formulas as MathML (Temml). What it cannot read stays as it was written, in code style.
const Maths = (() => {
  // $$..$$, \[..\], \(..\), an environment, or $..$ that opens before a character and closes behind one, not before a
  // digit ("$5 and $6" is money). \boxed{..} outside of these is found by `boxedEnd`.
  const FORMULA = new RegExp([
    String.raw`\$\$([^]+?)\$\$`, String.raw`\\\[([^]+?)\\\]`, String.raw`\\\(([^]+?)\\\)`,
    String.raw`(\\begin\{(align|aligned|equation|gather|cases|[bpvV]?matrix|array|split)(\*?)\}[^]*?\\end\{\5\6\})`,
    String.raw`(?<![\\$\w])\$(?![\s$])((?:[^$\n\\]|\\[^])+?)(?<!\s)\$(?![\d$])`, String.raw`\\(boxed)\{`,
  ].join("|"), "g");
  const LONGEST = 4000;
  const OPTIONS = {throwOnError: true, trust: false, maxExpand: 500, maxSize: [20, 20], strict: false};
  const state = {source: false};

  function boxedEnd(text, open) {
    let depth = 0;
    for (let i = open; i < text.length; i++) {
      if (text[i] === "\\") i++;
      else if (text[i] === "{") depth++;
      else if (text[i] === "}" && --depth === 0) return i + 1;
    }
    return -1;
  }

  // [[text, null] or [as written, formula, display]] in order.
  function pieces(text) {
    const found = [];
    let from = 0;
    FORMULA.lastIndex = 0;
    for (let match; (match = FORMULA.exec(text));) {
      let end = match.index + match[0].length, formula = match[1] ?? match[2] ?? match[3] ?? match[4] ?? match[7];
      if (match[8]) {
        end = boxedEnd(text, end - 1);
        if (end < 0) continue;
        formula = text.slice(match.index, end);
      }
      if (formula.length > LONGEST) continue;
      if (match.index > from) found.push([text.slice(from, match.index), null]);
      found.push([text.slice(match.index, end), formula, Boolean(match[1] || match[2] || match[4])]);
      from = FORMULA.lastIndex = end;
    }
    if (from < text.length) found.push([text.slice(from), null]);
    return found;
  }

  // An answer in words or numbers with blanks between them: formulas have no blanks, and would run it together.
  const WORDS_IN_A_BOX = /^\\boxed\{\s*([^\\{}^_$]*\s[^\\{}^_$]*?)\s*\}$/;

  function fill(node, text) {
    node.replaceChildren();
    if (state.source) {
      node.textContent = text;
      return node;
    }
    for (const [written, formula, displayMode] of pieces(text)) {
      if (formula === null) {
        node.append(written);
        continue;
      }
      const words = WORDS_IN_A_BOX.exec(formula.trim());
      if (words) {
        node.append(BeamTree.make("span", {class: "boxed"}, words[1]));
        continue;
      }
      const place = document.createElement("span");
      try {
        temml.render(formula.trim(), place, {...OPTIONS, displayMode});
        if (place.querySelector("merror, .temml-error")) throw new Error("not readable");
        place.className = displayMode ? "maths display" : "maths";
        place.title = written;
      } catch {
        // Not all that models write is LaTeX: shown as written.
        place.replaceChildren(BeamTree.make("code", {}, written));
      }
      node.append(place);
    }
    return node;
  }

  return {fill, pieces, state};
})();
