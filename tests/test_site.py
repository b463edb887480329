"""Pages of the documentation as they are seen: `python -m sphinx docs docs/_build/html` builds them."""

from base64 import b64decode
from io import BytesIO
from itertools import pairwise
from pathlib import Path

import pytest
from matplotlib import image

from tests.browser import CONTRASTS, chromium, device, scheme

SITE = Path(__file__).parents[1] / "docs" / "_build" / "html"
PAGES = [
    "index",
    "start",
    "how_it_works",
    "guide/criteria",
    "results/tables",
    "gallery/index",
    "gallery/plot_grid_search",
    "reference/index",
    "reference/generated/skrelmetric.RAMLLinear",
]


@pytest.fixture(scope="module")
def browser():
    if not (SITE / "index.html").is_file():
        pytest.skip("needs the built documentation in docs/_build/html")
    with chromium() as chrome:
        chrome.execute_cdp_cmd("Network.enable", {})
        chrome.execute_cdp_cmd("Network.setBlockedURLs", {"urls": ["http://*", "https://*"]})
        yield chrome


@pytest.fixture(
    scope="module",
    params=[(page, width, name) for name in ("light", "dark") for width in (1280, 390) for page in PAGES],
    ids=lambda of: f"{of[0]}-{of[1]}-{of[2]}",
)
def shown(browser, request):
    page, width, name = request.param
    device(browser, width)
    scheme(browser, name)
    browser.get((SITE / f"{page}.html").as_uri())
    assert browser.execute_script("return document.documentElement.dataset.theme") == name
    return browser


# Elements of which a part is out of sight to the side, unless the keyboard scrolls them.
CUT = """
return [...document.querySelectorAll("body, main *")].filter(
  e => e.scrollWidth > e.clientWidth + 1 && e.clientWidth > 1 && e.tabIndex < 0 && e.checkVisibility()
       && getComputedStyle(e).overflowX !== "visible"
).map(e => `${e.tagName}.${e.className}: ${e.scrollWidth} in ${e.clientWidth}`);
"""


def test_nothing_is_out_of_sight_to_the_side(shown):
    assert shown.execute_script("return document.documentElement.scrollWidth <= innerWidth")
    assert shown.execute_script(CUT) == []


def test_text_stands_off_its_background(shown):
    n_texts, low, _ = shown.execute_script(CONTRASTS)
    assert n_texts > 30
    assert low == []


def test_structure_is_for_every_reader(shown):
    levels = shown.execute_script(
        "return [...document.querySelectorAll('h1, h2, h3, h4, h5, h6')].map(e => Number(e.tagName[1]))"
    )
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    # A thumbnail may have an empty one: its title stands below it, in the same link.
    without = (
        "return [...document.images].filter(e => !e.alt && !e.closest('.sphx-glr-thumbcontainer')).map(e => e.src)"
    )
    assert shown.execute_script(without) == []


# One element of each kind that Tab stops at.
STOPS = """
const kinds = {};
for (const e of document.querySelectorAll("a[href], button, input, summary, [tabindex]")) {
  if (e.tabIndex >= 0 && e.checkVisibility({checkVisibilityCSS: true})) kinds[`${e.tagName}.${e.className}`] ??= e;
}
return Object.entries(kinds);
"""
FOCUSED = """
const [e] = arguments;
e.scrollIntoView({block: "center"});
e.focus({preventScroll: true});
const {x, y, width, height} = e.getBoundingClientRect();
return [document.activeElement === e && e.matches(":focus-visible"), x + scrollX, y + scrollY, width, height];
"""
STILL = """
const style = document.createElement("style");
style.textContent = "* { transition: none !important; }";
document.head.append(style);
"""


def picture(browser, x, y, width, height):
    around = {"x": x - 6, "y": y - 6, "width": width + 12, "height": height + 12, "scale": 1}
    taken = browser.execute_cdp_cmd("Page.captureScreenshot", {"clip": around})
    return image.imread(BytesIO(b64decode(taken["data"])))


@pytest.mark.parametrize("name", ["light", "dark"])
def test_focus_shows(browser, name):
    keys = pytest.importorskip("selenium.webdriver").Keys
    device(browser, 1280)
    scheme(browser, name)
    looked_at = set()
    for page in PAGES:
        browser.get((SITE / f"{page}.html").as_uri())
        browser.execute_script(STILL)
        browser.switch_to.active_element.send_keys(keys.TAB)  # from now on focus counts as that of a keyboard
        for kind, element in browser.execute_script(STOPS):
            if kind in looked_at:
                continue
            looked_at.add(kind)
            focused, *place = browser.execute_script(FOCUSED, element)
            assert focused, kind
            with_focus = picture(browser, *place)
            browser.execute_script("arguments[0].blur()", element)
            changed = abs(with_focus - picture(browser, *place)).max(axis=2) > 0.3
            assert changed.sum() > 2 * (place[2] + place[3]), f"{kind} shows no focus"  # as a line around it would
    assert len(looked_at) > 15
