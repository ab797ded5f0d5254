// Renders the equations, and opens the source code that stands beside them.
document.addEventListener("DOMContentLoaded", () => {
  renderMathInElement(document.body, {
    delimiters: [
      { left: "\\[", right: "\\]", display: true },
      { left: "\\(", right: "\\)", display: false },
    ],
  });
  if (!/\/(algorithms|concepts)\//.test(location.pathname)) return;
  document.body.classList.add("beside");
  document.querySelectorAll("details.mkdocstrings-source").forEach((source) => (source.open = true));
});
