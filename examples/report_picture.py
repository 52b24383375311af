"""A picture of a report as a browser shows it at one step.

python examples/report_picture.py recall.html docs/images/report_recall.png --step 20

Needs `pip install playwright` and Chromium, the system's or playwright's own.
"""

import argparse
import shutil
from pathlib import Path

from playwright.sync_api import sync_playwright


def draw(page_file: Path, picture: Path, *, step: int, width: int, height: int | None) -> None:
    """Moves the page's slider to `step` and draws its first `height` pixels, or the whole page."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": width, "height": height or 900})
        page.goto(page_file.resolve().as_uri())
        page.wait_for_selector("html[data-ready]", state="attached", timeout=60_000)
        slider = page.locator("#step")
        slider.evaluate(
            "(element, step) => { element.value = step; element.dispatchEvent(new Event('input')); }", step
        )
        page.wait_for_function(
            "step => document.getElementById('shown').textContent.includes(step)", arg=f"step {step} "
        )
        page.screenshot(path=picture, full_page=height is None)
        browser.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("page", type=Path)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--step", type=int, default=0)
    parser.add_argument("--width", type=int, default=1100, help="Pixels.")
    parser.add_argument("--height", type=int, help="Pixels; without it the whole page.")
    arguments = vars(parser.parse_args())
    draw(arguments.pop("page"), arguments.pop("picture"), **arguments)
