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
