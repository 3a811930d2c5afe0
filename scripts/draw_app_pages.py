"""The pictures in docs/app.md: `molyneux app` on the model `mini`, in Debian's chromium, driven as a person would.

Run `python scripts/draw_app_pages.py`; it takes about two minutes on one core, and writes docs/app-*.png.
"""

import io
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Page, sync_playwright

DOCS = Path(__file__).resolve().parents[1] / "docs"
FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update")
COLOURS, WHITE = 256, 250


def main() -> None:
    with tempfile.TemporaryDirectory() as place:
        command = [sys.executable, "-m", "molyneux.cli", "app", "--no-browser"]
        with subprocess.Popen(command, cwd=place, stdout=subprocess.PIPE, text=True) as server:
            assert server.stdout is not None
            try:
                address = server.stdout.readline().split()[0]
                with sync_playwright() as play:
                    browser = play.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
                    draw(browser, address)
            finally:
                server.terminate()


def draw(browser: Any, address: str) -> None:
    page = opened(browser, address, viewport={"width": 1120, "height": 900})
    example(page, "pagoda")
    page.get_by_role("button", name="Model, strength, images").click()
    page.locator("#images input[type=number]").fill("6")
    page.locator("#images input[type=number]").press("Tab")
    page.locator("#cost", has_text="with 6 images").wait_for()
    page.locator("#teach").click()
    page.locator("#lesson", has_text="images of pagoda: 8").wait_for()
    keep(page, "app-teach.png")
    page.locator("#lesson", has_text="Learned").wait_for()

    page.get_by_role("tab", name="Recognise").click()
    page.wait_for_function("document.querySelector('#asked-model input').value.startsWith('pagoda')")
    page.locator("#photos input[type=file]").set_input_files(
        [DOCS.parent / "src/molyneux/photos" / name for name in ("pagoda/summer-palace.jpg", "rocket.jpg")]
    )
    page.locator("#photos", has_text="rocket").wait_for()
    page.locator("#heat").get_by_role("textbox").fill("a curved roof")
    page.locator("#recognise").click()
    page.locator("#answers figure").nth(1).wait_for()
    keep(page, "app-recognise.png")

    page.get_by_role("tab", name="Packs").click()
    page.locator("#held td").wait_for()
    keep(page, "app-packs.png")

    page = opened(browser, address, viewport={"width": 390, "height": 844}, color_scheme="dark")
    example(page, "moongate")
    page.locator("#teach").click()
    page.locator("#lesson", has_text="Learned").wait_for()
    keep(page, "app-dark.png")


def example(page: Page, name: str) -> None:
    page.get_by_role("button", name=f"Try {name}").click()
    page.wait_for_function(f"document.querySelector('#name input, #name textarea').value == {name!r}")


def opened(browser: Any, address: str, **options: Any) -> Page:
    page: Page = browser.new_context(**options).new_page()
    page.set_default_timeout(240_000)
    page.goto(address)
    page.wait_for_selector("#teach")
    return page


def keep(page: Page, name: str) -> None:
    """The page as a PNG of few colours."""
    page.mouse.move(1, 1)
    page.wait_for_timeout(600)
    image = Image.open(io.BytesIO(page.screenshot(full_page=True))).convert("RGB")
    palette = image.quantize(COLOURS, method=Image.Quantize.MEDIANCUT)
    # the paper stays white
    palette.putpalette([255 if value >= WHITE else value for value in palette.getpalette() or []])
    image.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG).save(DOCS / name, optimize=True)
    print(name, image.size, f"{(DOCS / name).stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
