"""Open a page in Chromium with the size of a desktop or a phone, and list its faults."""

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
    """Start headless Chromium; skip the test if it is not installed."""
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed; on Debian: apt-get install chromium")
    sync = pytest.importorskip("playwright.sync_api")
    with sync.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=["--disable-gpu", "--disable-quic", "--disable-component-update"],
        )
        yield chromium
        chromium.close()


def faults(browser, path: Path, device: str) -> list[str]:
    """List script errors, requests, missing images, and widths that do not fit the device."""
    width, height = SIZES[device]
    phone = device == "phone"  # lays a page without a viewport tag out for a desktop
    context = browser.new_context(
        viewport={"width": width, "height": height}, is_mobile=phone, has_touch=phone
    )
    found = []
    page = context.new_page()
    page.on("pageerror", lambda error: found.append(f"script error: {error}"))

    def refuse(route):
        found.append(f"asks for {route.request.url}")
        route.abort()

    context.route(lambda url: url != path.as_uri() and not url.startswith("data:"), refuse)
    page.goto(path.as_uri())
    seen = page.evaluate(PROBE)
    context.close()
    if seen["missing"]:
        found.append(f"{seen['missing']} images are missing")
    if seen["width"] != width:
        found.append(f"laid out for {seen['width']} pixels, not {width}")
    if seen["content"] > seen["width"]:
        found.append(f"{seen['content']} pixels wide, {seen['width']} are there")
    return found
