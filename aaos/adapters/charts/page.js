// Draws the description that stands in the page, fits it to the window, and binds the buttons.
(async () => {
  const holder = document.getElementById("chart");
  const description = JSON.parse(document.getElementById("description").textContent);
  const beside = description.padding.left + description.padding.right;
  const room = () => Math.max(420, holder.clientWidth - beside);
  description.width = room();
  // ast: expressions are interpreted, not compiled, so that the page may forbid eval.
  const options = { mode: "vega", renderer: "canvas", actions: false, ast: true, bind: "#switches" };
  const { view } = await vegaEmbed(holder, description, options);
  new ResizeObserver(() => view.width(room()).runAsync()).observe(holder);
  const zoomers = { "zoom-in": 0.5, "zoom-out": 2, "zoom-all": 1e9 };
  for (const [id, by] of Object.entries(zoomers)) {
    document.getElementById(id).addEventListener("click", () => {
      const [from, to] = view.signal("xdom");
      view.signal("zoom", { at: (from + to) / 2, by }).runAsync();
    });
  }
})().catch((error) => {
  document.getElementById("chart").textContent = `This browser could not draw the chart: ${error}`;
});
