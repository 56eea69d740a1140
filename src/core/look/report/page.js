// Tooltips, hiding of curves, logarithmic scale, and zooming into a range of steps. The page works without the script.
"use strict";
// A smaller drag is a click.
const LEAST_PIXELS = 6;
const LEAST_STEPS = 1;
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
  const frameNow = () => frames[isLog() ? 1 : 0];
  const svgNow = () => plot.querySelector(isLog() ? ".log svg" : ".linear svg");
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

  // The point nearest to a step.
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

  // The shown range of steps; null shows all steps.
  let zoom = null;
  const steps = () => zoom ?? frameNow().x;
  // The pointer's position in pixels of the drawing, and page pixels per drawing pixel.
  const place = (event) => {
    const svg = svgNow();
    const box = svg.getBoundingClientRect();
    const factor = box.width / svg.viewBox.baseVal.width;
    return { pixel: (event.clientX - box.left) / factor, factor, box };
  };

  const leave = () => {
    tip.hidden = true;
    for (const element of plot.querySelectorAll(".cursor, .dot")) element.remove();
  };
  const move = (event) => {
    leave();
    const frame = frameNow();
    const svg = svgNow();
    const { pixel, factor, box } = place(event);
    const [left, right] = frame.x_pixels;
    const [first, last] = steps();
    if (pixel < left || pixel > right) return;
    const asked = first + (pixel - left) / (right - left) * (last - first);
    const visible = lines.filter((_, i) => shown[i]);
    if (visible.length === 0) return;
    const found = visible.map((line) => nearest(line.points, asked));
    const [step] = found.reduce((one, other) =>
      Math.abs(other[0] - asked) < Math.abs(one[0] - asked) ? other : one);
    if (step < first || step > last) return;
    const x = left + (step - first) / (last - first) * (right - left);
    const [bottom, top] = frame.y_pixels;
    svg.append(svgElement("line", { class: "cursor", x1: x, x2: x, y1: top, y2: bottom }));
    const rows = [`step ${step}`];
    visible.forEach((line, i) => {
      const [at, value] = found[i];
      rows.push(`${line.name} ${Number(value.toPrecision(5))}${at === step ? "" : ` (step ${at})`}`);
      if (frame.log && value <= 0 || at < first || at > last) return;
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

  // The elements that zooming moves, with their initial positions.
  const drawings = [...plot.querySelectorAll("svg")].map((svg, i) => {
    const frame = frames[i];
    const [left, right] = frame.x_pixels;
    const [bottom, top] = frame.y_pixels;
    const clip = svgElement("clipPath", { id: `${figure.id}-${i}` });
    // Margin for the width of lines and marks.
    clip.append(svgElement("rect", {
      x: left - 4, y: top - 4, width: right - left + 8, height: bottom - top + 8,
    }));
    svg.prepend(clip);
    const curves = [...svg.querySelectorAll("polyline, circle")].filter((element) =>
      lines.some((line) => [`line ${line.class}`, `mark ${line.class}`].includes(element.getAttribute("class"))));
    for (const curve of curves) curve.setAttribute("clip-path", `url(#${clip.id})`);
    const scale = [...svg.querySelectorAll("text")].filter((text) => Number(text.getAttribute("y")) > bottom);
    const ticks = [...svg.querySelectorAll("polyline.frame")].filter((line) =>
      line.points.length === 2 && line.points[0].x === line.points[1].x && line.points[0].y >= bottom);
    const points = curves.map((curve) =>
      curve.points ? [...curve.points].map(({ x, y }) => [x, y]) : Number(curve.getAttribute("cx")));
    return { svg, frame, curves, points, whole: [...scale, ...ticks], numbers: scale[0] };
  });

  // At most five round steps within a range.
  const roundSteps = ([first, last]) => {
    const decade = 10 ** Math.floor(Math.log10((last - first) / 5));
    const apart = Math.max(1, [1, 2, 5, 10].map((by) => by * decade).find((by) => (last - first) / by <= 5));
    const round = [];
    for (let step = Math.ceil(first / apart) * apart; step <= last; step += apart) round.push(step);
    return round;
  };

  const all = figure.querySelector(".all");
  const draw = () => {
    all.hidden = zoom === null;
    figure.classList.toggle("is-zoomed", zoom !== null);
    for (const { svg, frame, curves, points, whole, numbers } of drawings) {
      const [left, right] = frame.x_pixels;
      const [from, to] = frame.x;
      const [first, last] = zoom ?? frame.x;
      const moved = (pixel) => {
        const step = from + (pixel - left) / (right - left) * (to - from);
        return left + (step - first) / (last - first) * (right - left);
      };
      curves.forEach((curve, i) => {
        if (curve.points) {
          curve.setAttribute("points", points[i].map(([x, y]) => `${moved(x)},${y}`).join(" "));
        } else {
          curve.setAttribute("cx", moved(points[i]));
        }
      });
      for (const element of whole) element.classList.toggle("is-off", zoom !== null);
      for (const element of svg.querySelectorAll(".round")) element.remove();
      if (zoom === null || !numbers) continue;
      for (const step of roundSteps(zoom)) {
        const text = numbers.cloneNode();
        text.textContent = step;
        text.setAttribute("x", left + (step - first) / (last - first) * (right - left));
        text.setAttribute("class", "mark text round");
        svg.append(text);
      }
    }
    leave();
  };

  // Dragging selects a range of steps; releasing zooms into it.
  let from = null;
  const marked = (event) => {
    const [left, right] = frameNow().x_pixels;
    const to = Math.min(right, Math.max(left, place(event).pixel));
    return [Math.min(from, to), Math.max(from, to)];
  };
  const unmark = () => {
    for (const element of plot.querySelectorAll(".marked")) element.remove();
  };
  const letGo = () => {
    unmark();
    from = null;
  };
  plot.addEventListener("pointerdown", (event) => {
    move(event);
    const { pixel } = place(event);
    const [left, right] = frameNow().x_pixels;
    if (event.button !== 0 || pixel < left || pixel > right) return;
    from = pixel;
    plot.setPointerCapture(event.pointerId);
  });
  plot.addEventListener("pointermove", (event) => {
    move(event);
    if (from === null) return;
    unmark();
    const [bottom, top] = frameNow().y_pixels;
    const [x, end] = marked(event);
    svgNow().append(svgElement("rect", { class: "marked", x, y: top, width: end - x, height: bottom - top }));
  });
  plot.addEventListener("pointerup", (event) => {
    if (from === null) return;
    const [left, right] = frameNow().x_pixels;
    const [first, last] = steps();
    const [begin, end] = marked(event).map((pixel) => first + (pixel - left) / (right - left) * (last - first));
    const isWide = marked(event)[1] - marked(event)[0] > LEAST_PIXELS;
    letGo();
    if (isWide && end - begin >= LEAST_STEPS) {
      zoom = [begin, end];
      draw();
    }
  });
  plot.addEventListener("pointercancel", letGo);
  plot.addEventListener("pointerleave", leave);
  const showAll = () => {
    zoom = null;
    draw();
  };
  plot.addEventListener("dblclick", showAll);
  all.addEventListener("click", showAll);
}
