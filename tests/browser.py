"""Browser in which tests look at pages as readers do."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest


@contextmanager
def chromium() -> Iterator[Any]:
    """Chromium without a window; tests that need it are skipped where there is none."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="needs selenium")
    binary = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chromium-browser")
    driver = shutil.which("chromedriver")
    if not binary or not driver:
        pytest.skip("needs Chromium and its chromedriver on the path")
    options = webdriver.ChromeOptions()
    options.binary_location = binary  # else Selenium looks for one to download
    for argument in (
        "headless=new",
        "no-sandbox",
        "disable-gpu",
        "no-first-run",
        "disable-background-networking",
        "disable-component-update",
        "disable-sync",
        "window-size=1280,900",
    ):
        options.add_argument(f"--{argument}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    chrome = webdriver.Chrome(options=options, service=webdriver.ChromeService(executable_path=driver))
    try:
        yield chrome
    finally:
        chrome.quit()


def device(browser: Any, width: int) -> None:
    """Screen of that many pixels across, of a phone if they are few."""
    size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)


def scheme(browser: Any, name: str) -> None:
    """Colours that the system prefers; no motion, which would still be under way when something is clicked."""
    features = {"prefers-color-scheme": name, "prefers-reduced-motion": "reduce"}
    wishes = [{"name": feature, "value": value} for feature, value in features.items()]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": wishes})


# WCAG 2's contrast of each visible text, also of one that a style sheet writes, with what is painted behind it. Returns
# the number of texts, those below 4.5, or 3 where letters are large, and the background of the page. Icons are letters
# of the private use area.
CONTRASTS = r"""
const pen = new OffscreenCanvas(1, 1).getContext("2d", {willReadFrequently: true});
const painted = colors => {
  for (const [color, opacity] of [["white", 1], ...colors]) {
    [pen.fillStyle, pen.globalAlpha] = [color, opacity];
    pen.fillRect(0, 0, 1, 1);
  }
  return pen.getImageData(0, 0, 1, 1).data;
};
const channel = c => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
const luminance = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
const low = [];
let n = 0;
const judge = (e, style, text) => {
  if (!/[^\s\uE000-\uF8FF]/.test(text) || e.closest(".unseen, script, style, noscript")) return;
  const {width, height} = e.getBoundingClientRect();
  if (!e.checkVisibility({checkOpacity: true, checkVisibilityCSS: true}) || width <= 1 || height <= 1) return;
  const behind = [];
  let opacity = 1;
  for (let up = e; up; up = up.parentElement) {
    behind.unshift([getComputedStyle(up).backgroundColor, 1]);
    opacity *= getComputedStyle(up).opacity;
  }
  const color = e.namespaceURI.endsWith("svg") ? style.fill : style.color;
  const pair = [painted([...behind, [color, opacity]]), painted(behind)].map(luminance);
  const ratio = (Math.max(...pair) + 0.05) / (Math.min(...pair) + 0.05);
  const size = parseFloat(style.fontSize);
  const large = size >= 24 || (size >= 18.66 && style.fontWeight >= 700);
  n += 1;
  if (!(ratio >= (large ? 3 : 4.5))) low.push([ratio, e.tagName, e.getAttribute("class"), text.trim()]);
};
for (const e of document.body.querySelectorAll("*")) {
  for (const node of e.childNodes) {
    if (node.nodeType === Node.TEXT_NODE) judge(e, getComputedStyle(e), node.data);
  }
  for (const part of ["::before", "::after"]) {
    const style = getComputedStyle(e, part);
    if (style.content.startsWith('"')) judge(e, style, style.content.slice(1, -1));
  }
}
return [n, low, getComputedStyle(document.body).backgroundColor];
"""
