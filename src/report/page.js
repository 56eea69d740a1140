// Values under the pointer, curves that can be hidden, and a logarithmic scale. The page is whole without it.
"use strict";
for (const figure of document.querySelectorAll("figure.chart")) {
  const { lines, frames } = JSON.parse(figure.dataset.chart);
  const plot = figure.querySelector(".plot");
  const tip = figure.querySelector(".tip");
  const shown = lines.map(() => true);
  const svgElement = (name, attributes) => {
    const element = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    return element;
  };

  const toggle = figure.querySelector(".scale");
  const isLog = () => figure.classList.contains("is-log");
  if (toggle) {
    toggle.hidden = false;
    toggle.addEventListener("click", () => {
      toggle.setAttribute("aria-pressed", figure.classList.toggle("is-log"));
      leave();
    });
  }

  for (const button of figure.querySelectorAll("[data-line]")) {
    button.addEventListener("click", () => {
      const i = Number(button.dataset.line);
      shown[i] = !shown[i];
      button.setAttribute("aria-pressed", shown[i]);
      for (const kind of ["line", "mark"]) {
        const drawn = plot.querySelectorAll(`[class~="${kind}"]`);
        for (const element of drawn) {
          const classes = element.getAttribute("class").replace(" is-off", "");
          if (classes === `${kind} ${lines[i].class}`) {
            element.setAttribute("class", classes + (shown[i] ? "" : " is-off"));
          }
        }
      }
      leave();
    });
  }

  // The point whose step is the nearest one.
  const nearest = (points, step) => {
    let low = 0, high = points.length - 1;
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (points[middle][0] <= step) low = middle; else high = middle;
    }
    return step - points[low][0] <= points[high][0] - step ? points[low] : points[high];
  };
  const height = (frame, value) => {
    const scale = frame.log ? Math.log : (number) => number;
    const [low, high] = frame.y.map(scale);
    const [bottom, top] = frame.y_pixels;
    return bottom + (scale(value) - low) / (high - low) * (top - bottom);
  };

  const leave = () => {
    tip.hidden = true;
    for (const element of plot.querySelectorAll(".cursor, .dot")) element.remove();
  };
  const move = (event) => {
    leave();
    const frame = frames[isLog() ? 1 : 0];
    const svg = plot.querySelector(isLog() ? ".log svg" : ".linear svg");
    const box = svg.getBoundingClientRect();
    const factor = box.width / svg.viewBox.baseVal.width;
    const [left, right] = frame.x_pixels;
    const [first, last] = frame.x;
    const pixel = (event.clientX - box.left) / factor;
    if (pixel < left || pixel > right) return;
    const asked = first + (pixel - left) / (right - left) * (last - first);
    const visible = lines.filter((_, i) => shown[i]);
    if (visible.length === 0) return;
    const found = visible.map((line) => nearest(line.points, asked));
    const [step] = found.reduce((one, other) =>
      Math.abs(other[0] - asked) < Math.abs(one[0] - asked) ? other : one);
    const x = left + (step - first) / (last - first) * (right - left);
    const [bottom, top] = frame.y_pixels;
    svg.append(svgElement("line", { class: "cursor", x1: x, x2: x, y1: top, y2: bottom }));
    const rows = [`step ${step}`];
    visible.forEach((line, i) => {
      const [at, value] = found[i];
      rows.push(`${line.name} ${Number(value.toPrecision(5))}${at === step ? "" : ` (step ${at})`}`);
      if (frame.log && value <= 0) return;
      const cx = left + (at - first) / (last - first) * (right - left);
      svg.append(svgElement("circle", {
        class: `dot mark ${line.class}`, cx, cy: height(frame, value), r: 4,
      }));
    });
    tip.replaceChildren(...rows.map((row) => {
      const paragraph = document.createElement("p");
      paragraph.textContent = row;
      return paragraph;
    }));
    tip.hidden = false;
    const beside = x * factor + 12;
    const fits = beside + tip.offsetWidth <= box.width;
    tip.style.left = `${fits ? beside : Math.max(0, x * factor - 12 - tip.offsetWidth)}px`;
  };
  plot.addEventListener("pointermove", move);
  plot.addEventListener("pointerdown", move);
  plot.addEventListener("pointerleave", leave);
}
