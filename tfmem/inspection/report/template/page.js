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
    place.querySelectorAll(".frame").forEach((frame) => showPicture(frame, episode, here));
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
