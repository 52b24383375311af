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

function showPicture(frame, { pictures: looked_at, arrays }, step) {
  const image = frame.querySelector(".picture");
  const pictures = looked_at[frame.dataset.pictures];
  const [width, height] = pictures.size;
  const shown = pictures.index[Math.floor(step / pictures.every)];
  image.classList.toggle("pixelated", Math.max(width, height) < 100);
  image.dataset.image = shown;
  image.src = `data:image/png;base64,${pictures.images[shown]}`;
  if (!arrays.region_attention) return;
  const canvas = frame.querySelector(".regions");
  const [, rows, columns] = arrays.region_attention.shape;
  const weights = rowAt(arrays.region_attention, step);
  const greatest = Math.max(...weights) || 1;
  [canvas.hidden, canvas.width, canvas.height] = [false, columns, rows];
  const veil = new ImageData(columns, rows);
  // What is attended to glows; dark pictures show it, too.
  weights.forEach((weight, i) => veil.data.set([250, 204, 21, 170 * (weight / greatest)], 4 * i));
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
