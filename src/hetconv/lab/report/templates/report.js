"use strict";
for (const part of document.querySelectorAll(".network")) {
  const data = JSON.parse(part.querySelector("script.data").textContent);
  const table = part.querySelector("table.results");
  const body = table.tBodies[0];
  const hidden = new Set();
  const said = document.createElement("p");
  said.className = "spoken";
  said.setAttribute("role", "status");
  part.prepend(said);

  // Sorting: a button in every heading; empty cells stay last.
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
      const key = (row) => {
        const cell = row.cells[column];
        return column === 0 ? cell.textContent.trim() : cell.dataset.value === undefined ? null : +cell.dataset.value;
      };
      const order = (one, other) => {
        const [a, b] = [key(one), key(other)];
        if (a === null || b === null) return (a === null) - (b === null);
        const sign = column === 0 ? a.localeCompare(b, undefined, { numeric: true }) : a - b;
        return descending ? -sign : sign;
      };
      body.append(...[...body.rows].sort(order));
      said.textContent = `sorted by ${button.textContent.trim()}, ${descending ? "descending" : "ascending"}`;
    });
  });

  // Filtering the table, and toggling variants in the table's charts.
  const tools = document.createElement("div");
  tools.className = "tools";
  const label = document.createElement("label");
  label.textContent = "Filter variants ";
  const filter = document.createElement("input");
  filter.type = "search";
  label.append(filter);
  tools.append(label);
  filter.addEventListener("input", () => {
    let shown = 0;
    for (const row of body.rows) {
      row.hidden = !row.cells[0].textContent.toLowerCase().includes(filter.value.trim().toLowerCase());
      shown += !row.hidden;
    }
    said.textContent = `${shown} of ${body.rows.length} variants shown`;
  });
  table.closest(".scroll").before(tools);

  const marks = (slot) =>
    [...part.querySelectorAll("svg.plot [id]")].filter((mark) =>
      new RegExp(`-(point|mean|label|measured|theory)-${slot}$|-(run|bar)-${slot}-[0-9]+$`).test(mark.id));
  const toggles = document.createElement("div");
  toggles.className = "tools";
  toggles.setAttribute("role", "group");
  toggles.setAttribute("aria-label", "Variants shown in the charts");
  for (const variant of data.variants) {
    const button = document.createElement("button");
    button.type = "button";
    button.dataset.slot = variant.slot;
    button.setAttribute("aria-pressed", "true");
    const glyph = body.querySelector(`tr[data-slot="${variant.slot}"] .mark`).cloneNode(true);
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
  const words = (slot) => {
    const row = body.querySelector(`tr[data-slot="${slot}"]`);
    const cell = (name) => {
      const column = heads.findIndex((head) => head.dataset.key === name);
      const unit = heads[column].querySelector(".unit");
      return `${row.cells[column].textContent.trim()} ${unit ? unit.textContent : ""}`.trim();
    };
    return `${row.cells[0].textContent.trim()}: ${cell("accuracy")}, ${cell("macs")} MACs, ${cell("latency")}, ` +
      `${cell("training")} of training, ${cell("difference")} to dense (${cell("difference_interval")})`;
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
      for (const { slot } of shown) {
        for (const mark of plot.querySelectorAll(`[id$="-point-${slot}"], [id$="-measured-${slot}"]`)) {
          const [x, y] = middle(mark);
          const far = Math.hypot(x - event.clientX, y - event.clientY);
          if (far < 40 && (best === null || far < best.far)) best = { far, slot };
        }
      }
      if (best) place(event, words(best.slot));
      else tip.hidden = true;
    });
  }
}
