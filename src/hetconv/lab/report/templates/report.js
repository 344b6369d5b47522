"use strict";
for (const part of document.querySelectorAll(".network")) {
  const data = JSON.parse(part.querySelector("script.data").textContent);
  const tables = [...part.querySelectorAll("table.results")];
  const rows = tables.flatMap((table) => [...table.tBodies[0].rows]);
  const hidden = new Set();
  const said = document.createElement("p");
  said.className = "spoken";
  said.setAttribute("role", "status");
  part.prepend(said);

  // Sorting: a button in every heading, by the numbers with which cells begin; cells without one stay last.
  const number = (text) => {
    const found = /^[<\s]*([+\u2212-]?[\d.,]+)/.exec(text);
    return found ? +found[1].replace("\u2212", "-").replaceAll(",", "") : null;
  };
  for (const table of tables) {
    const body = table.tBodies[0];
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const descending = head.getAttribute("aria-sort") === "ascending";
        heads.forEach((other) => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", descending ? "descending" : "ascending");
        const text = (row) => row.cells[column].textContent.trim();
        const order = (one, other) => {
          const [a, b] = column === 0 ? [0, 0] : [number(text(one)), number(text(other))];
          if (a === null || b === null) return (a === null) - (b === null);
          const sign = column === 0 ? text(one).localeCompare(text(other), undefined, { numeric: true }) : a - b;
          return descending ? -sign : sign;
        };
        body.append(...[...body.rows].sort(order));
        said.textContent = `sorted by ${button.textContent.trim()}, ${descending ? "descending" : "ascending"}`;
      });
    });
  }

  // Filtering the tables, and toggling variants in the table's charts.
  const tools = document.createElement("div");
  tools.className = "tools";
  const label = document.createElement("label");
  label.textContent = "Filter variants ";
  const filter = document.createElement("input");
  filter.type = "search";
  label.append(filter);
  tools.append(label);
  filter.addEventListener("input", () => {
    const wanted = filter.value.trim().toLowerCase();
    const shown = data.variants.filter((variant) => variant.name.toLowerCase().includes(wanted));
    const slots = new Set(shown.map((variant) => String(variant.slot)));
    for (const row of rows) row.hidden = !slots.has(row.dataset.slot);
    said.textContent = `${shown.length} of ${data.variants.length} variants shown`;
  });
  tables[0].closest(".scroll").before(tools);

  const marks = (slot) =>
    [...part.querySelectorAll("svg.plot [id]")].filter((mark) =>
      new RegExp(`-(point|mean|measured|theory)-${slot}$|-(run|bar|label)-${slot}-[a-z0-9]+$`).test(mark.id));
  const toggles = document.createElement("div");
  toggles.className = "tools";
  toggles.setAttribute("role", "group");
  toggles.setAttribute("aria-label", "Variants shown in the charts");
  for (const variant of data.variants) {
    const button = document.createElement("button");
    button.type = "button";
    button.dataset.slot = variant.slot;
    button.setAttribute("aria-pressed", "true");
    const glyph = part.querySelector(`tr[data-slot="${variant.slot}"] .mark`).cloneNode(true);
    button.append(glyph, ` ${variant.name}`);
    button.addEventListener("click", () => {
      const off = !hidden.has(variant.slot);
      hidden[off ? "add" : "delete"](variant.slot);
      button.setAttribute("aria-pressed", String(!off));
      for (const mark of marks(variant.slot)) mark.style.display = off ? "none" : "";
    });
    toggles.append(button);
  }
  part.querySelector(".charts").before(toggles);

  // Hovering: the mark nearest to the pointer, in words.
  const tip = document.createElement("div");
  tip.className = "tip";
  tip.hidden = true;
  tip.setAttribute("aria-hidden", "true");
  part.append(tip);
  const place = (event, text) => {
    tip.textContent = text;
    tip.hidden = false;
    tip.style.left = `${Math.min(event.clientX + 12, innerWidth - tip.offsetWidth - 8)}px`;
    tip.style.top = `${event.clientY + 14}px`;
  };
  const middle = (mark) => {
    const box = mark.getBoundingClientRect();
    return [(box.left + box.right) / 2, (box.top + box.bottom) / 2];
  };
  for (const figure of part.querySelectorAll("figure[data-chart]")) {
    const plot = figure.querySelector("svg.plot");
    if (!plot) continue;
    const curves = data.curves[figure.dataset.chart];
    plot.addEventListener("pointerleave", () => { tip.hidden = true; });
    plot.addEventListener("pointermove", (event) => {
      const shown = data.variants.filter((variant) => !hidden.has(variant.slot));
      if (curves) {
        const lines = [];
        let epoch = null;
        for (const { slot, name } of shown) {
          const line = plot.querySelector(`[id$="-mean-${slot}"] path`);
          const curve = curves[slot];
          if (!line || !curve.length) continue;
          if (epoch === null) {
            const box = line.getBoundingClientRect();
            const share = Math.min(1, Math.max(0, (event.clientX - box.left) / (box.width || 1)));
            epoch = Math.round(curve[0][0] + share * (curve[curve.length - 1][0] - curve[0][0]));
          }
          const at = curve.find((pair) => pair[0] === epoch);
          if (at) lines.push(`${name} ${at[1]}`);
        }
        if (lines.length) place(event, `epoch ${epoch}: ${lines.join(", ")}`);
        return;
      }
      let best = null;
      for (const { slot, words } of shown) {
        for (const mark of plot.querySelectorAll(`[id$="-point-${slot}"], [id$="-measured-${slot}"]`)) {
          const [x, y] = middle(mark);
          const far = Math.hypot(x - event.clientX, y - event.clientY);
          if (far < 40 && (best === null || far < best.far)) best = { far, words };
        }
      }
      if (best) place(event, best.words);
      else tip.hidden = true;
    });
  }
}
