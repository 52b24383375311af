"use strict";
(async () => {
  const report = JSON.parse(document.getElementById("report").textContent);
  const slider = document.getElementById("step");
  const playButton = document.getElementById("play");
  const MOST_COLUMNS = 1000;
  const NOT_ALLOWED = -1e9;

  // Values: {shape, every, values} of every array of every episode.

  const TYPES = {
    float32: Float32Array, float64: Float64Array, int8: Int8Array, int16: Int16Array, int32: Int32Array,
    uint8: Uint8Array, uint16: Uint16Array, uint32: Uint32Array,
  };

  async function unpack({ dtype, shape, every, data }) {
    const text = atob(data);
    const bytes = new Uint8Array(text.length);
    for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
    const whole = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return { shape, every, values: new TYPES[dtype](await new Response(whole).arrayBuffer()) };
  }

  const product = (numbers) => numbers.reduce((a, b) => a * b, 1);

  function rowAt({ shape, every, values }, step) {
    const size = product(shape.slice(1));
    const row = Math.floor(step / every);
    return values.subarray(row * size, (row + 1) * size);
  }

  for (const episode of report.episodes) {
    const packed = Object.entries(episode.arrays);
    const unpacked = await Promise.all(packed.map(([, one]) => unpack(one)));
    episode.arrays = Object.fromEntries(packed.map(([name], i) => [name, unpacked[i]]));
  }

  const at = (episode, step) => Math.min(step, episode.steps - 1);

  // Numbers as text. A float of 32 bits has nine digits at most.

  function text(value) {
    if (value <= NOT_ALLOWED) return "not allowed";
    if (Number.isInteger(value)) return String(value);
    return Math.abs(value) < 1e-3 ? value.toExponential(1) : value.toFixed(3);
  }

  function put(place, value) {
    const number = place.firstElementChild ?? place.appendChild(document.createElement("data"));
    number.value = String(value);
    number.textContent = text(value);
  }

  // What is shown at a step, outside of the plots.

  function showObservation(place, episode, step) {
    const list = place.querySelector(".observation");
    for (const [i, { name, label }] of episode.observation.entries()) {
      if (!list.children[2 * i]) {
        const term = list.appendChild(document.createElement("dt"));
        term.textContent = label;
        list.appendChild(document.createElement("dd")).dataset.part = name;
      }
      const values = rowAt(episode.arrays[name], step);
      const chips = list.children[2 * i + 1];
      while (chips.children.length < Math.min(values.length, 64)) {
        chips.appendChild(document.createElement("span"));
      }
      [...chips.children].forEach((chip, j) => put(chip, values[j]));
    }
  }

  function showPicture(place, { pictures, arrays }, step) {
    const image = place.querySelector(".picture");
    const [width, height] = pictures.size;
    const shown = pictures.index[Math.floor(step / pictures.every)];
    image.classList.toggle("pixelated", Math.max(width, height) < 100);
    image.dataset.image = shown;
    image.src = `data:image/png;base64,${pictures.images[shown]}`;
    if (!arrays.region_attention) return;
    const canvas = place.querySelector(".regions");
    const [, rows, columns] = arrays.region_attention.shape;
    const weights = rowAt(arrays.region_attention, step);
    const greatest = Math.max(...weights) || 1;
    [canvas.hidden, canvas.width, canvas.height] = [false, columns, rows];
    const veil = new ImageData(columns, rows);
    // What is attended to stays clear; the rest is dimmed.
    weights.forEach((weight, i) => { veil.data[4 * i + 3] = 200 * (1 - weight / greatest); });
    canvas.getContext("2d").putImageData(veil, 0, 0);
  }

  function showTable(table, step) {
    const { episode: index, array, row, column, rows_last, newest_last } = JSON.parse(table.dataset.table);
    const episode = report.episodes[index];
    const { shape } = episode.arrays[array];
    const values = rowAt(episode.arrays[array], at(episode, step));
    const matrix = shape.length === 3;
    const [rows, columns] = !matrix ? [shape[1], 1] : rows_last ? [shape[2], shape[1]] : [shape[1], shape[2]];
    if (!table.tBodies.length) {
      const names = Array.from({ length: columns }, (_, j) =>
        !matrix ? column : rows_last ? `${column} ${j + 1}` : `${column} ${j}`);
      const head = table.createTHead().insertRow();
      for (const name of [row, ...names]) {
        head.appendChild(Object.assign(document.createElement("th"), { scope: "col", textContent: name }));
      }
      const body = table.createTBody();
      for (let i = 0; i < rows; i++) {
        const line = body.insertRow();
        line.appendChild(Object.assign(document.createElement("th"), { scope: "row", textContent: i }));
        for (let j = 0; j < columns; j++) line.insertCell();
      }
    }
    for (let i = 0; i < rows; i++) {
      for (let j = 0; j < columns; j++) {
        const place = newest_last ? rows - 1 - i : rows_last ? j * rows + i : i * columns + j;
        put(table.tBodies[0].rows[i].cells[j + 1], values[place]);
      }
    }
  }

  const showTables = () => document.querySelectorAll("details[open] table[data-table]")
    .forEach((table) => showTable(table, Number(slider.value)));
  document.querySelectorAll("details").forEach((one) => one.addEventListener("toggle", showTables));

  // The plots. Bokeh draws; a plot's parts are found by their names.

  let plots = null;
  const part = (view, name) => plots.get_model_by_name(`${view.name}:${name}`);

  function asImage(values, height, width) {
    const { ndarray } = Bokeh.require("core/util/ndarray");
    return ndarray(values, { dtype: "float32", shape: [height, width] });
  }

  // [rows, steps], the greatest of the steps that share a column.
  function overTime({ shape, values, every }, { head, newest_last, kind }, steps) {
    const heads = shape.length === 3 ? shape[1] : 1;
    const rows = shape[shape.length - 1];
    const joined = Math.ceil(shape[0] / MOST_COLUMNS);
    const columns = Math.ceil(shape[0] / joined);
    const image = new Float32Array(rows * columns).fill(-Infinity);
    for (let t = 0; t < shape[0]; t++) {
      const column = Math.floor(t / joined);
      for (let i = 0; i < rows; i++) {
        const value = values[(t * heads + head) * rows + i];
        const place = (newest_last ? rows - 1 - i : i) * columns + column;
        if (value > image[place]) image[place] = value;
      }
    }
    return { image: [asImage(image, rows, columns)], dw: [columns * joined * every], dh: [rows] };
  }

  function fillOnce(view) {
    if (view.kind === "lines") {
      view.episodes.forEach((index, i) => {
        const { values } = report.episodes[index].arrays[view.array];
        part(view, `data:${i}`).data = { x: Array.from(values.keys()), y: Array.from(values) };
      });
    } else if (view.kind === "heat") {
      const { arrays } = report.episodes[view.episode];
      part(view, "data").data = overTime(arrays[view.array], view);
    }
  }

  function strongest(view, step) {
    const place = document.querySelector(`.strongest[data-view="${view.name}"]`);
    const { shape } = report.episodes[view.episode].arrays[view.array];
    const rows = shape[shape.length - 1];
    const values = rowAt(report.episodes[view.episode].arrays[view.array], step)
      .subarray(view.head * rows, (view.head + 1) * rows);
    let best = 0;
    values.forEach((value, i) => { if (value > values[best]) best = i; });
    const row = view.newest_last ? rows - 1 - best : best;
    place.dataset.row = row;
    place.dataset.value = values[best];
    place.textContent = `${view.row.replace("{}", row)}: ${text(values[best])}`;
  }

  function showView(view, step) {
    if (view.kind === "lines") {
      if (plots) part(view, "cursor").location = step;
      return;
    }
    const episode = report.episodes[view.episode];
    const here = at(episode, step);
    const values = rowAt(episode.arrays[view.array], here);
    if (view.kind === "heat") {
      strongest(view, here);
      if (plots) part(view, "cursor").location = here;
    } else if (plots && view.kind === "matrix") {
      const [, rows, columns] = episode.arrays[view.array].shape;
      const image = asImage(Float32Array.from(values), rows, columns);
      part(view, "data").data = { image: [image], dw: [columns], dh: [rows] };
    } else if (plots && view.kind === "bars") {
      const [action] = rowAt(episode.arrays.action, here);
      part(view, "data").data = {
        x: Array.from(values.keys()),
        top: Array.from(values, (value) => (value <= NOT_ALLOWED ? NaN : value)),
        alpha: Array.from(values, (_, i) => (i === action ? 1 : 0.12)),
      };
    }
  }

  // Time.

  function show(step) {
    document.getElementById("shown").textContent = `step ${step} of ${report.steps - 1}`;
    slider.setAttribute("aria-valuetext", `step ${step} of ${report.steps - 1}`);
    report.episodes.forEach((episode, i) => {
      const place = document.getElementById(`episode-${i}`);
      const here = at(episode, step);
      place.querySelectorAll("[data-value]").forEach((value) =>
        put(value, rowAt(episode.arrays[value.dataset.value], here)[0]));
      if (episode.observation.length) showObservation(place, episode, here);
      if (episode.pictures) showPicture(place, episode, here);
      place.querySelector(".ended").hidden = step < episode.steps;
    });
    for (const view of report.views) showView(view, step);
    showTables();
    tell(step);
  }

  let telling = 0;
  // Screen readers are told once the slider rests.
  function tell(step) {
    clearTimeout(telling);
    telling = setTimeout(() => {
      const parts = report.episodes.map((episode) => {
        const value = (name) => text(rowAt(episode.arrays[name], at(episode, step))[0]);
        return `${episode.name}: action ${value("action")}, reward ${value("reward")}, return ${value("return_so_far")}`;
      });
      document.getElementById("told").textContent = `Step ${step}. ${parts.join(". ")}.`;
    }, 400);
  }

  function moveTo(step) {
    const next = Math.max(0, Math.min(report.steps - 1, Math.round(step)));
    if (next === Number(slider.value)) return;
    slider.value = next;
    show(next);
  }

  let timer = 0;
  function play(on) {
    clearInterval(timer);
    timer = 0;
    playButton.setAttribute("aria-pressed", String(on));
    playButton.setAttribute("aria-label", on ? "Pause" : "Play");
    playButton.firstElementChild.textContent = on ? "❚❚" : "▶";
    if (!on) return;
    if (Number(slider.value) === report.steps - 1) moveTo(0);
    timer = setInterval(() => {
      moveTo(Number(slider.value) + 1);
      if (Number(slider.value) === report.steps - 1) play(false);
    }, 200);
  }

  slider.addEventListener("input", () => show(Number(slider.value)));
  playButton.addEventListener("click", () => play(!timer));
  document.addEventListener("keydown", (event) => {
    const direction = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    const typing = event.target !== slider && event.target.closest?.("button, summary, a, input");
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    if (direction) {
      event.preventDefault();
      moveTo(Number(slider.value) + direction * (event.shiftKey ? 10 : 1));
    } else if (event.key === " " && !typing) {
      event.preventDefault();
      play(!timer);
    }
  });

  // Light and dark.

  const dark = matchMedia("(prefers-color-scheme: dark)");
  function colour() {
    const style = getComputedStyle(document.documentElement);
    const [ink, line] = ["--quiet", "--line"].map((name) => style.getPropertyValue(name).trim());
    const palettes = report.palettes[dark.matches ? "dark" : "light"];
    for (const plot of plots.roots()) {
      plot.outline_line_color = line;
      for (const axis of [...plot.below, ...plot.left]) {
        axis.axis_line_color = axis.major_tick_line_color = line;
        axis.axis_label_text_color = axis.major_label_text_color = ink;
      }
      for (const grid of plot.center) if (grid.type === "Grid") grid.grid_line_color = line;
    }
    for (const view of report.views) {
      const colours = part(view, "colours");
      if (colours) colours.palette = palettes[colours.tags[0]];
    }
  }

  show(0);
  await new Promise(requestAnimationFrame);
  const { Document } = Bokeh.require("document");
  plots = Document.from_json(report.document);
  colour();
  report.views.forEach(fillOnce);
  report.views.forEach((view) => showView(view, Number(slider.value)));
  for (const view of report.views) {
    if (view.kind !== "lines" && view.kind !== "heat") continue;
    const plot = plots.get_model_by_name(view.name);
    for (const event of ["tap", "pan"]) plot.on_event(event, ({ x }) => moveTo(x));
    document.getElementById(view.name).classList.add("scrubs");
  }
  const places = plots.roots().map((plot) => document.getElementById(plot.name));
  await Bokeh.embed.add_document_standalone(plots, document.body, places);
  dark.addEventListener("change", colour);
  document.documentElement.dataset.ready = Math.round(performance.now());
})();
