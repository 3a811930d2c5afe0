"""The page in a real browser: clicks, keys, uploads, two users, a narrow screen, the dark."""

import re
import shutil

import pytest
from PIL import Image

sync_api = pytest.importorskip("playwright.sync_api", reason="the browser tests need playwright")

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="the browser tests need chromium: apt-get install chromium"),
]

FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)

PAGES = ("Teach", "Recognise", "Packs", "Report")

DESCRIPTION = "A round band of one colour with a hole."

CONTRASTS = """() => {
    const number = (text) => text.match(/[\\d.]+/g).map(Number);
    const light = ([r, g, b]) => [r, g, b].map((v) => v / 255)
        .map((v) => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
        .reduce((sum, v, place) => sum + v * [0.2126, 0.7152, 0.0722][place], 0);
    const behind = (node) => {
        for (; node; node = node.parentElement) {
            const colour = number(getComputedStyle(node).backgroundColor);
            if (colour.length < 4 || colour[3] > 0.5) return colour;
        }
        return [255, 255, 255];
    };
    const found = [];
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
        const node = walker.currentNode.parentElement;
        if (!walker.currentNode.data.trim() || !node.checkVisibility({opacityProperty: true})) continue;
        if (node.closest('[disabled], svg, style, script')) continue;
        const [one, other] = [light(number(getComputedStyle(node).color)), light(behind(node))].sort();
        found.push([(other + 0.05) / (one + 0.05), walker.currentNode.data.trim().slice(0, 40)]);
    }
    return found;
}"""
"""The contrast of each visible text with what is behind it."""

CUT = """() => [...document.querySelectorAll('main *')]
    .filter((node) => node.checkVisibility() && node.getBoundingClientRect().width > 0)
    .filter((node) => node.getBoundingClientRect().right > innerWidth + 1 || node.getBoundingClientRect().left < -1)
    .map((node) => node.tagName + ' ' + node.className + ' ' + node.textContent.slice(0, 40))"""
"""What lies beside the screen."""

CLIPPED = """() => [...document.querySelectorAll('main button, main label, main span, main p, main td, main li')]
    .filter((node) => node.checkVisibility() && node.clientWidth > 0 && node.textContent.trim())
    .filter((node) => ['hidden', 'clip'].includes(getComputedStyle(node).overflowX))
    .filter((node) => node.scrollWidth > node.clientWidth + 1 && getComputedStyle(node).position !== 'absolute')
    .map((node) => node.tagName + ' ' + node.className + ' ' + node.textContent.trim().slice(0, 40))"""
"""Texts that are cut off."""


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as play:
        found = play.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield found
        found.close()


@pytest.fixture
def visit(browser, served):
    """Open the page as a new user; every request goes to the server and to nobody else."""
    contexts, hosts = [], set()

    def open_page(**options):
        context = browser.new_context(**{"viewport": {"width": 1200, "height": 900}} | options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(60_000)
        page.on("request", lambda request: hosts.add(request.url.split("/")[2] if "://" in request.url else ""))
        page.goto(served[0])
        page.wait_for_selector("#teach")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert hosts - {""} == {served[0].split("/")[2]}


def go(page, tab):
    page.get_by_role("tab", name=tab).click()


def fill(page, name, description=DESCRIPTION):
    page.locator("#name").get_by_role("textbox").fill(name)
    page.locator("#description").get_by_role("textbox").fill(description)


def said(page, text):
    """Wait until the lesson says that."""
    page.locator("#lesson", has_text=text).wait_for()


def test_a_whole_lesson_by_clicks(visit, served, tmp_path):
    page = visit()
    page.get_by_role("button", name="Try okapi").click()
    page.wait_for_function("document.querySelector('#name input, #name textarea').value == 'okapi'")
    page.get_by_role("button", name="Model, strength, images").click()
    page.get_by_role("radio", name="0.4", exact=True).check()
    page.locator("#images input[type=number]").fill("3")
    page.locator("#images input[type=number]").press("Tab")
    page.locator("#cost", has_text="no lesson with 3 images").wait_for()
    page.locator("#teach").click()
    page.locator("#lesson .m-images img").nth(2).wait_for()
    assert page.locator("#stop").is_enabled()
    assert page.locator("#teach").is_disabled()
    said(page, "Learned “okapi”")
    assert page.locator("#lesson polyline").count() >= 2
    assert page.locator("#lesson tbody tr").count() == 5

    go(page, "Recognise")
    page.wait_for_function("document.querySelector('#asked-model input').value.startsWith('okapi')")
    page.locator("#shipped").click()
    page.locator("#photos", has_text="coffee").wait_for()
    page.locator("#heat").get_by_role("textbox").fill("a cup")
    page.locator("#recognise").click()
    page.locator("#answers figure").nth(4).wait_for()
    card = page.locator("#answers figure", has_text="coffee.jpg")
    assert [card.get_by_text(when, exact=False).count() for when in ("before", "after")] == [1, 1]
    assert page.get_by_alt_text("heat map of a cup in coffee.jpg").is_visible()

    go(page, "Packs")
    page.locator("#held", has_text="hoofed animal").wait_for()
    page.locator("#shelf label", has_text="okapi, strength 0.4").locator("input").check()
    link = page.locator("#fetched a").first
    for _ in range(5):  # a tick may reach the server after the click that follows it
        page.locator("#download").click()
        try:
            link.wait_for(timeout=6000)
            break
        except sync_api.TimeoutError:
            continue
    with page.expect_download() as fetched:
        link.click()
    assert fetched.value.suggested_filename == "okapi.safetensors"
    page.locator("#leaving label", has_text="okapi").locator("input").check()
    page.locator("#remove").click()
    page.locator("#said", has_text="The new model is").wait_for()
    page.locator("#held", has_text="no packs").wait_for()
    pack = tmp_path / "okapi.safetensors"
    fetched.value.save_as(pack)
    page.locator("#sent input[type=file]").set_input_files(pack)
    page.locator("#said", has_text="In the folder: okapi").wait_for()

    go(page, "Report")
    frame = page.frame_locator("#report iframe")
    frame.get_by_role("heading", name="okapi").first.wait_for()
    assert (served[1] / "runs" / "okapi" / "report.html").is_file()


def test_uploads_are_taken_and_refused(visit, tmp_path):
    page = visit()
    go(page, "Recognise")
    photo, words, large, named = (tmp_path / name for name in ("red.png", "words.txt", "large.png", "words.png"))
    Image.new("RGB", (40, 30), "red").save(photo)
    words.write_text("hello")
    named.write_text("hello")
    large.write_bytes(b"0" * (21 * 2**20))
    upload = page.locator("#photos input[type=file]")
    page.locator("#names").get_by_role("textbox").fill("cat, dog")

    upload.set_input_files([photo, named])
    page.locator("#photos", has_text="words").wait_for()
    page.locator("#recognise").click()
    page.locator("#answers figure", has_text="red.png").wait_for()
    assert "words.png" in page.locator("#answers [role=alert]").inner_text()
    page.locator("#photos").get_by_label("Clear").click()

    upload.set_input_files(words)
    page.get_by_text("Invalid file type").wait_for()
    page.reload()
    page.wait_for_selector("#teach")
    go(page, "Recognise")
    upload.set_input_files(large)
    page.get_by_text("maximum allowed size").wait_for()
    page.locator("#recognise").click()
    assert "no photo was given" in page.locator("#answers [role=alert]").inner_text()


def test_two_users_at_once_have_lessons_of_their_own(visit):
    names = ("<b>first</b> ${1+1} {{x}}".replace("/", "|"), "second")
    one, two = visit(), visit()
    for page, name in ((one, names[0]), (two, names[1])):
        fill(page, name)
        page.get_by_role("button", name="Model, strength, images").click()
        page.locator("#images input[type=number]").fill("8")
        page.locator("#images input[type=number]").press("Tab")
        page.locator("#teach").click()
    said(one, f"Learning “{names[0]}”")
    said(two, "waits")
    one.locator("#stop").click()
    said(one, f"Stopped “{names[0]}”")
    assert one.locator("#lesson b").count() == 0
    said(two, "Learning “second”")
    two.reload()
    two.wait_for_selector("#teach")
    said(two, "Learned “second”")
    assert "first" not in two.locator("#lesson").inner_text()
    assert "second" not in one.locator("#lesson").inner_text()


def check_pages(page):
    """On every page nothing is cut off or beside the screen, and every text has enough contrast to be read."""
    width = page.viewport_size["width"]
    for tab in PAGES:
        go(page, tab)
        page.wait_for_timeout(500)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, tab
        assert page.evaluate(CUT) == [], tab
        assert page.evaluate(CLIPPED) == [], tab
        contrasts = page.evaluate(CONTRASTS)
        assert len(contrasts) > 8
        assert [one for one in contrasts if one[0] < 4.5] == [], tab


def recognise(page):
    go(page, "Recognise")
    page.locator("#shipped").click()
    page.locator("#photos", has_text="coffee").wait_for()
    page.locator("#recognise").click()
    page.locator("#answers figure").nth(4).wait_for()


def darkness(page):
    colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
    return sum(map(int, re.findall(r"\d+", colour)[:3])) < 150


def test_a_narrow_screen_cuts_nothing_off(visit):
    page = visit(viewport={"width": 360, "height": 740}, color_scheme="light")
    fill(page, "a-rather-long-name-of-a-thing-without-any-space-in-it")
    page.get_by_role("button", name="Model, strength, images").click()
    page.locator("#images input[type=number]").fill("1")
    page.locator("#images input[type=number]").press("Tab")
    page.locator("#teach").click()
    said(page, "Learned")
    recognise(page)
    check_pages(page)
    assert not darkness(page)


def test_in_the_dark_every_text_can_be_read(visit):
    page = visit(color_scheme="dark")
    assert darkness(page)
    recognise(page)
    check_pages(page)


def test_the_keyboard_alone_is_enough(visit):
    page = visit()

    def tab_to(wanted):
        for _ in range(60):
            page.keyboard.press("Tab")
            if page.evaluate(f"document.activeElement.closest({wanted!r}) !== null"):
                return
        raise AssertionError(f"no way to {wanted} by Tab")

    tab_to("#name")
    page.keyboard.type("hoop")
    tab_to("#description")
    page.keyboard.type(DESCRIPTION)
    tab_to("#teach")
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none" or page.evaluate(
        "getComputedStyle(document.activeElement).boxShadow"
    ) not in ("none", "")
    page.keyboard.press("Enter")
    said(page, "Learned “hoop”")
    for _ in range(60):
        page.keyboard.press("Shift+Tab")
        if page.evaluate("document.activeElement.getAttribute('role') == 'tab'"):
            break
    while page.evaluate("document.activeElement.textContent.trim()") != "Recognise":
        page.keyboard.press("Shift+Tab")
    page.keyboard.press("Enter")
    tab_to("#shipped")
    page.keyboard.press("Enter")
    page.locator("#photos", has_text="coffee").wait_for()
    tab_to("#recognise")
    page.keyboard.press("Enter")
    page.locator("#answers figure").nth(4).wait_for()
