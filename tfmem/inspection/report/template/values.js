// The page's values, and how they are told. All scripts here share one scope.

const report = JSON.parse(document.getElementById("report").textContent);
const slider = document.getElementById("step");
const playButton = document.getElementById("play");
const MOST_COLUMNS = 1000;
// The Q-value of an action that is not allowed.
const NOT_ALLOWED = report.forbidden;

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
