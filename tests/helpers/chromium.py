"""Opening a page in Chromium as a desk and a phone would, and saying what is wrong with it."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
SIZES = {"desktop": (1280, 900), "phone": (390, 844)}
PROBE = """() => ({
    width: document.documentElement.clientWidth,
    content: document.documentElement.scrollWidth,
    missing: [...document.images].filter(image => !image.naturalWidth).length,
})"""


@contextmanager
def open_chromium() -> Iterator:
    """Start Chromium, without a window; skip the test where it is missing."""
    if CHROMIUM is None:
        pytest.skip("no Chromium to open the pages with; on Debian: apt-get install chromium")
    sync = pytest.importorskip("playwright.sync_api", reason="no playwright to steer Chromium with")
    with sync.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=["--disable-gpu", "--disable-quic", "--disable-component-update"],
        )
        yield chromium
        chromium.close()


def faults(browser, path: Path, device: str) -> list[str]:
    """Open a page on a device and list what is wrong with it.

    A phone is more than a narrow window: it lays a page without a viewport tag out for a desk.
    """
    width, height = SIZES[device]
    phone = device == "phone"
    context = browser.new_context(
        viewport={"width": width, "height": height}, is_mobile=phone, has_touch=phone
    )
    found = []
    page = context.new_page()
    page.on("pageerror", lambda error: found.append(f"script error: {error}"))

    def no_request(route):
        found.append(f"asks for {route.request.url}")
        route.abort()

    context.route(lambda url: url != path.as_uri() and not url.startswith("data:"), no_request)
    page.goto(path.as_uri())
    seen = page.evaluate(PROBE)
    if seen["missing"]:
        found.append(f"{seen['missing']} images are missing")
    if seen["width"] != width:
        found.append(f"laid out for {seen['width']} pixels, not {width}")
    if seen["content"] > seen["width"]:
        found.append(f"{seen['content']} pixels wide, {seen['width']} are there")
    context.close()
    return found
