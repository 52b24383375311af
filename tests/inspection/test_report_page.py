"""Reports in a real browser: what they show equals the traced arrays, and nothing comes from elsewhere."""

import shutil
import sys

import numpy as np
import pytest
from playwright.sync_api import Page, sync_playwright

from tfmem.environments import load
from tfmem.errors import InvalidInput
from tfmem.inspection import Trace
from tfmem.inspection.report import Episode, Fact, Report, Table, memory_report, write_page
from tfmem.training import load_run

VALUES = ("action", "reward", "td_error", "return_so_far")
CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium: apt-get install chromium")


def make_trace(steps, *, slots=104, heads=7, writers=2, width=16, actions=4, window=12, seed=0, frames=None):
    """An episode of random numbers, of the shapes that a policy with everything has."""
    draw = np.random.default_rng(seed)

    def weights(*shape):
        return draw.dirichlet(np.full(shape[-1], 0.1), shape[:-1]).astype(np.float32)

    state = {
        "memory": draw.normal(size=(steps, slots, width)).astype(np.float32),
        "read_weights": weights(steps, heads, slots),
        "write_weights": weights(steps, writers, slots),
        "attention": weights(steps, window),
    }
    q_values = draw.normal(size=(steps, actions)).astype(np.float32)
    state["action_slots"] = draw.normal(size=(steps, actions, 6)).astype(np.float32)
    return Trace(
        observation={
            "observation_card": draw.integers(0, 13, (steps, 3)),
            "observation_speed": draw.normal(size=(steps, 2)).astype(np.float32),
        },
        frames=frames,
        action=q_values.argmax(axis=1).astype(np.int32),
        q_values=q_values,
        reward=draw.normal(size=steps).astype(np.float32),
        td_error=draw.normal(size=steps),
        state=state,
        initial_state={name: part[0] for name, part in state.items()},
        explained={},
        truncated=False,
    )


def make_report(kept, ablated, **episode):
    return Report(
        "An episode",
        "Random numbers.",
        [Episode("With memory", kept, **episode), Episode("Without memory", ablated, detailed=False)],
        [Fact("Return", "1.25", "What it got.")],
        [Table("Evidence", "What was erased.", ("Erased", "Action changes"), [("a slot", "40%")])],
    )


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def visit(browser):
    """Opens a page; afterwards it must have had no error and asked for nothing but itself."""
    opened, wrong = [], []

    def visit(path, **context) -> Page:
        page = browser.new_page(**{"viewport": {"width": 1200, "height": 900}, **context})
        opened.append(page)
        page.on("console", lambda message: message.type == "log" or wrong.append(message.text))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("request", lambda request: asked(request.url))

        def asked(url):
            if not url.startswith("data:") and url != path.as_uri():
                wrong.append(url)

        page.goto(path.as_uri())
        page.wait_for_selector("html[data-ready]", timeout=120_000, state="attached")
        return page

    yield visit
    for page in opened:
        page.close()
    assert wrong == []


@pytest.fixture(scope="module")
def episodes():
    return make_trace(200), make_trace(150, seed=1)


@pytest.fixture(scope="module")
def written(episodes, tmp_path_factory):
    path = tmp_path_factory.mktemp("report") / "page.html"
    return write_page(make_report(*episodes, asides={"Action otherwise": episodes[0].action}), path)


def value_of(page, selector):
    """The number that a place of the page holds, as it was written."""
    return float(page.locator(f"{selector} data").first.get_attribute("value"))


def move(page, step):
    page.locator("#step").evaluate(
        "(slider, step) => { slider.value = step; slider.dispatchEvent(new Event('input')); }", step
    )


def table_at(page, array):
    """A section's table of numbers, `[rows, columns]`."""
    table = page.locator(f"""table[data-table*='"array": "{array}"']""").first
    if not table.evaluate("table => table.closest('details').open"):
        table.locator("xpath=ancestor::details/summary").click()
        page.wait_for_function("table => table.tBodies.length", arg=table.element_handle())
    return np.array(
        table.evaluate(
            "t => [...t.tBodies[0].rows].map(r => [...r.querySelectorAll('data')].map(d => +d.value))"
        )
    )


def cursors(page):
    """Where the cursor of each plot over time is."""
    return page.evaluate(
        """() => Bokeh.documents[0].roots().flatMap((plot) => plot.center)
             .filter((part) => part.type === "Span").map((span) => span.location)"""
    )


@pytest.mark.parametrize("step", [0, 77, 199])
def test_values_shown_equal_the_traced_arrays(visit, written, episodes, step):
    page = visit(written.page)
    move(page, step)
    for i, episode in enumerate(episodes):
        here = min(step, len(episode) - 1)
        shown = {name: value_of(page, f"#episode-{i} [data-value={name}]") for name in VALUES}
        assert shown["action"] == episode.action[here]
        assert np.float32(shown["reward"]) == episode.reward[here]
        assert shown["td_error"] == episode.td_error[here]
        np.testing.assert_allclose(shown["return_so_far"], episode.reward[: here + 1].sum(), rtol=1e-5)
        for name, part in episode.observation.items():
            chips = page.locator(f"#episode-{i} [data-part={name}] data").evaluate_all(
                "chips => chips.map((chip) => +chip.value)"
            )
            np.testing.assert_array_equal(np.array(chips, part.dtype), part[here])
        assert page.locator(f"#episode-{i} .ended").is_visible() == (step >= len(episode))
    state = episodes[0].state
    for array, expected in {
        "q_values": episodes[0].q_values[step][:, np.newaxis],
        "read_weights": state["read_weights"][step].T,
        "write_weights": state["write_weights"][step].T,
        "attention": state["attention"][step][::-1, np.newaxis],
        "memory": state["memory"][step],
        "action_slots": state["action_slots"][step],
    }.items():
        np.testing.assert_array_equal(table_at(page, array).astype(np.float32), expected, err_msg=array)


def test_the_slider_moves_every_linked_view(visit, written, episodes):
    page = visit(written.page)
    found = cursors(page)
    assert len(found) == 3 + 7 + 2 + 1  # timelines, read heads, write heads, attention
    assert set(found) == {0}
    move(page, 123)
    assert set(cursors(page)) == {123}
    reads = episodes[0].state["read_weights"][123]
    for head, weights in enumerate(reads):
        place = page.locator(f"[data-view=read_weights-0-{head}]")
        assert int(place.get_attribute("data-row")) == weights.argmax()
        assert place.inner_text().startswith(f"slot {weights.argmax()}:")
    attention = episodes[0].state["attention"][123]
    ago = page.locator("[data-view=attention-0-0]").get_attribute("data-row")
    assert int(ago) == len(attention) - 1 - attention.argmax()
    memory = page.evaluate(
        "() => Array.from(Bokeh.documents[0].get_model_by_name('memory-0:data').data.image[0])"
    )
    np.testing.assert_array_equal(np.array(memory, np.float32), episodes[0].state["memory"][123].reshape(-1))
    bars = page.evaluate("() => Bokeh.documents[0].get_model_by_name('q-0:data').data")
    np.testing.assert_array_equal(np.array(bars["top"], np.float32), episodes[0].q_values[123])
    assert np.argmax(bars["alpha"]) == episodes[0].action[123]
    page.wait_for_function("() => document.getElementById('told').textContent.startsWith('Step 123.')")


def test_heat_maps_hold_the_weights(visit, written, episodes):
    page = visit(written.page)
    image = page.evaluate(
        """() => { const image = Bokeh.documents[0].get_model_by_name("read_weights-0-3:data").data.image[0];
                   return [image.shape, Array.from(image)]; }"""
    )
    drawn = np.array(image[1], np.float32).reshape(image[0])
    np.testing.assert_array_equal(drawn, episodes[0].state["read_weights"][:, 3].T)


def test_a_click_on_a_heat_map_moves_the_slider(visit, written):
    page = visit(written.page)
    plot = page.locator("#read_weights-0-1")
    plot.scroll_into_view_if_needed()
    box = plot.bounding_box()
    page.mouse.click(box["x"] + 0.6 * box["width"], box["y"] + 0.4 * box["height"])
    page.wait_for_function("() => document.getElementById('step').value > 0")
    step = int(page.locator("#step").input_value())
    assert 80 < step < 130
    assert set(cursors(page)) == {step}


def test_the_keyboard_moves_and_plays(visit, written):
    page = visit(written.page)
    for key, step in (("ArrowRight", 1), ("Shift+ArrowRight", 11), ("ArrowLeft", 10)):
        page.keyboard.press(key)
        assert page.locator("#step").input_value() == str(step)
        assert page.locator("#shown").inner_text() == f"step {step} of 199"
    page.locator("#step").focus()
    page.keyboard.press("End")
    assert set(cursors(page)) == {199}
    page.keyboard.press("Home")
    page.keyboard.press("Space")
    assert page.locator("#play").get_attribute("aria-pressed") == "true"
    page.wait_for_function("() => document.getElementById('step').value > 1")
    page.keyboard.press("Space")
    assert page.locator("#play").get_attribute("aria-label") == "Play"


def test_a_page_of_200_steps_is_small_and_soon_ready(browser, written):
    assert written.bytes == written.page.stat().st_size <= 5_000_000
    page = browser.new_page(viewport={"width": 1200, "height": 900})
    # The time that the page's thread itself needs: what else runs on the machine does not count.
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable", {"timeDomain": "threadTicks"})
    page.goto(written.page.as_uri())
    page.wait_for_selector("html[data-ready]", timeout=120_000, state="attached")
    metrics = {
        metric["name"]: metric["value"] for metric in session.send("Performance.getMetrics")["metrics"]
    }
    page.close()
    assert metrics["TaskDuration"] < 2


def test_dark_mode_changes_the_colours(visit, written):
    def colours(page):
        return page.evaluate(
            """() => { const plot = Bokeh.documents[0].get_model_by_name("read_weights-0-0");
                 const map = Bokeh.documents[0].get_model_by_name("read_weights-0-0:colours");
                 return [getComputedStyle(document.body).backgroundColor, map.palette[0],
                         JSON.stringify(plot.left[0].major_label_text_color)]; }"""
        )

    page = visit(written.page, color_scheme="light")
    light = colours(page)
    page.emulate_media(color_scheme="dark")
    page.wait_for_function(
        "light => Bokeh.documents[0].get_model_by_name('read_weights-0-0:colours').palette[0] !== light",
        arg=light[1],
    )
    dark = colours(page)
    assert all(a != b for a, b in zip(light, dark, strict=True)), (light, dark)


def test_a_narrow_screen_scrolls_only_downwards(visit, written):
    page = visit(written.page, viewport={"width": 360, "height": 740}, has_touch=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


def test_headings_labels_and_tables_are_there_for_screen_readers(visit, written):
    page = visit(written.page)
    headings = page.get_by_role("heading").all_inner_texts()
    for heading in (
        "An episode",
        "At this step",
        "Over time",
        "What it reads",
        "What is in memory",
        "What each action found",
        "Evidence",
    ):
        assert heading in headings
    assert page.get_by_role("slider", name="Step of the episode").count() == 1
    assert page.get_by_role("button", name="Play").count() == 1
    assert page.get_by_role("cell", name="40%").count() == 1
    assert page.get_by_role("status").count() == 2  # the step beside the slider, and what is told of it


def test_a_long_episode_is_thinned_and_says_so(visit, tmp_path):
    steps = 10_000
    kept, ablated = make_trace(steps, slots=32, heads=3, writers=1, width=8), make_trace(steps, seed=1)
    written = write_page(make_report(kept, ablated), tmp_path / "long.html")
    assert written.bytes <= 5_000_000
    page = visit(written.page)
    link = page.get_by_role("link", name="long.npz")
    assert link.get_attribute("href") == "long.npz"
    assert "once in" in page.locator("section:has(#thinned)").inner_text()
    with np.load(written.arrays) as arrays:
        np.testing.assert_array_equal(arrays["0/state/read_weights"], kept.state["read_weights"])
        np.testing.assert_array_equal(arrays["1/reward"], ablated.reward)
    for step in (0, 6_543, steps - 1):
        move(page, step)
        assert np.float32(value_of(page, "#episode-0 [data-value=reward]")) == kept.reward[step]
        assert set(cursors(page)) == {step}
    shape = page.evaluate(
        "() => Bokeh.documents[0].get_model_by_name('read_weights-0-0:data').data.image[0].shape"
    )
    assert shape[0] == 32
    assert 100 < shape[1] <= 1_000
    moves = page.evaluate(
        """() => { const slider = document.getElementById("step"), start = performance.now();
             for (let i = 0; i < 20; i++) {
               slider.value = 400 * i; slider.dispatchEvent(new Event("input")); }
             return (performance.now() - start) / 20; }"""
    )
    assert moves < 250


def test_joined_steps_keep_their_peaks(visit, tmp_path):
    kept = make_trace(3_000, slots=8, heads=1, writers=1, width=2)
    weights = np.zeros_like(kept.state["read_weights"])
    weights[1_234, 0, 5] = 1.0
    kept.state["read_weights"][:] = weights
    written = write_page(make_report(kept, make_trace(10, seed=1)), tmp_path / "peak.html")
    page = visit(written.page)
    shape, values = page.evaluate(
        """() => { const image = Bokeh.documents[0].get_model_by_name("read_weights-0-0:data").data.image[0];
                   return [image.shape, Array.from(image)]; }"""
    )
    rows, columns = np.nonzero(np.reshape(values, shape))
    assert rows.tolist() == [5]
    assert columns.tolist() == [1_234 // 3]


def test_frames_and_attention_over_their_regions(visit, tmp_path):
    frames = np.zeros([20, 40, 60, 3], np.uint8)
    frames[np.arange(20), :, np.arange(20) * 3] = 255
    kept = make_trace(20, frames=frames)
    regions = np.zeros([20, 4, 6], np.float32)
    regions[:, 1, 2] = 1
    image = np.zeros([20, 5, 5, 1], np.uint8)
    image[8:, 3, 4] = 200
    parts = {"explained": {"region_attention": regions}, "observation": {**kept.observation, "image": image}}
    kept = Trace(**{**kept.__dict__, **parts})
    written = write_page(make_report(kept, make_trace(20, seed=1)), tmp_path / "frames.html")
    page = visit(written.page)
    move(page, 7)

    def shown(name, height, width):
        pixels = page.evaluate(
            """async ([name, height, width]) => {
                 const image = document.querySelector(`#episode-0 [data-pictures="${name}"] .picture`);
                 await image.decode();
                 const context = new OffscreenCanvas(width, height).getContext("2d");
                 context.drawImage(image, 0, 0);
                 return Array.from(context.getImageData(0, 0, width, height).data); }""",
            [name, height, width],
        )
        return np.reshape(pixels, [height, width, 4])[..., :3]

    np.testing.assert_array_equal(shown("frames", 40, 60), frames[7])
    assert not shown("image", 5, 5).any()
    move(page, 8)
    np.testing.assert_array_equal(shown("image", 5, 5), np.broadcast_to(image[8], [5, 5, 3]))
    veil = page.evaluate(
        """() => { const canvas = document.querySelector("#episode-0 .regions");
             return Array.from(canvas.getContext("2d").getImageData(0, 0, 6, 4).data); }"""
    )
    glows = np.reshape(veil, [4, 6, 4])[..., 3] > 0
    np.testing.assert_array_equal(glows, regions[7] == 1)


def test_a_report_of_a_policy(trained_folder, visit, tmp_path):
    run = load_run(trained_folder)
    environment = load(run.config.env_id, num_envs=1)
    report = memory_report(
        run.policy, environment, name="a run", env_id=run.config.env_id, seed=3, gamma=run.config.gamma
    )
    kept, ablated = (episode.trace for episode in report.episodes)
    assert kept.total_reward > 0.9 > ablated.total_reward
    page = visit(write_page(report, tmp_path / "policy.html").page)
    names = page.locator(".facts dt").all_inner_texts()
    values = page.locator(".facts dd:not(.meaning)").all_inner_texts()
    facts = dict(zip(names, values, strict=True))
    assert facts["Return with memory"] == f"{kept.total_reward:.3f}"
    assert facts["Return without memory"] == f"{ablated.total_reward:.3f}"
    assert "Reads reach back" in facts
    assert page.get_by_role("heading", name="Is the picture true?").count() == 1


def test_a_report_has_one_or_two_episodes(episodes, tmp_path):
    with pytest.raises(InvalidInput, match="the number of episodes must be 1 or 2"):
        write_page(Report("x", "y", []), tmp_path / "page.html")


def test_a_report_without_bokeh_names_the_extra(episodes, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "bokeh", None)
    for name in [name for name in sys.modules if name.startswith(("tfmem.inspection.report.", "bokeh."))]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(InvalidInput, match=r"a report needs bokeh: pip install 'tfmem\[report\]'"):
        write_page(make_report(*episodes), tmp_path / "page.html")
