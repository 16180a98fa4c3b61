"use strict";
(() => {
  const { charts, rows, config } = JSON.parse(document.getElementById("charts").textContent);
  for (const { id, spec, sources } of charts) {
    const datasets = {};
    for (const [name, of] of Object.entries(sources)) datasets[name] = rows[of];
    // `ast`: expressions are interpreted, since the page forbids code that is made from text.
    vegaEmbed(`#${id}`, { ...spec, datasets }, { renderer: "svg", actions: false, ast: true, config }).catch((error) => {
      document.getElementById(id).textContent = "This chart could not be drawn; its figures are in the table below.";
      console.error(error);
    });
  }
})();
