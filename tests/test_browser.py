"""Book, app and JupyterLab in a real browser (`make browser`); failures leave a screenshot in build/."""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager

import pytest
from conftest import ROOT

pytestmark = pytest.mark.browser
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
SITE = ROOT / "build" / "site"
CHART = "img[alt^='Measures along']"
PHONE, DESK = {"width": 400, "height": 800}, {"width": 1280, "height": 900}


@pytest.fixture(scope="module")
def browser():
    if CHROMIUM is None:
        pytest.skip("chromium is not installed")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"]
        )
        yield browser
        browser.close()


@pytest.fixture
def page(browser, request):
    page = browser.new_page(viewport=DESK)
    page.set_default_timeout(180_000)
    page.errors = []
    page.on("pageerror", lambda error: page.errors.append(str(error)))
    failed = request.session.testsfailed
    yield page
    if request.session.testsfailed > failed:
        (ROOT / "build").mkdir(exist_ok=True)
        page.screenshot(path=ROOT / "build" / f"failed-{request.node.name}.png", full_page=True)
    page.close()


@contextmanager
def served(*command: str, path: str = ""):
    """The address of a server: {port} in the command becomes a free port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}/{path}"
    arguments = [a.format(port=port) for a in command]
    environment = os.environ | {"PYTHONNOUSERSITE": "1"}
    with subprocess.Popen([sys.executable, "-m", *arguments], cwd=ROOT, env=environment) as server:
        try:
            end = time.time() + 60
            while True:
                try:
                    urllib.request.urlopen(f"http://127.0.0.1:{port}/{path and 'api'}", timeout=5)
                    break
                except OSError:
                    assert time.time() < end, f"no answer from {arguments}"
                    assert server.poll() is None, f"{arguments} ended"
                    time.sleep(0.3)
            yield address
        finally:
            server.terminate()


@pytest.fixture(scope="module")
def book():
    if not (SITE / "index.html").exists():
        for command in (["docs/book.py", "build/book", "build/site"],):
            subprocess.run([sys.executable, *command], cwd=ROOT, check=True)
    with served(
        "http.server", "{port}", "--bind", "127.0.0.1", "--directory", str(SITE)
    ) as address:
        yield address


def overflow(page) -> int:
    """By how many pixels the page is wider than the window."""
    return page.evaluate("document.documentElement.scrollWidth - innerWidth")


def test_the_book_is_searched(page, book):
    page.goto(book)
    page.locator(".sidebar-search").first.fill("extrapolate")
    page.keyboard.press("Enter")
    page.wait_for_selector("#search-results li")
    found = page.locator("#search-results li").all_inner_texts()
    assert any("05" in text for text in found)
    page.locator("#search-results li a").first.click()
    page.wait_for_load_state()
    assert "extrapolat" in page.locator("main, article").first.inner_text().lower()
    assert not page.errors


def test_the_book_in_the_dark(page, book):
    page.goto(book)
    color = "getComputedStyle(document.body).backgroundColor"
    seen = {page.evaluate(color)}
    for _ in range(2):  # automatic, dark, light
        page.locator(".theme-toggle:visible").first.click()
        seen.add(page.evaluate(color))
    assert len(seen) == 2


def test_every_page_of_the_book_fits(page, book):
    pages = sorted(p.relative_to(SITE) for p in SITE.rglob("*.html") if "_static" not in p.parts)
    assert len(pages) > 20
    for window in (PHONE, DESK):
        page.set_viewport_size(window)
        for path in pages:
            page.goto(book + str(path))
            assert overflow(page) <= 0, f"{path} is too wide at {window['width']} px"
            images = "[...document.images].filter(i => i.complete && !i.naturalWidth).length"
            assert page.evaluate(images) == 0, f"{path} lacks an image"
    assert not page.errors


def test_controls_have_static_twins_in_the_book(page, book):
    page.goto(book + "notebooks/05_editing.html")
    twin = page.locator(".chosen").first
    assert "α" in twin.inner_text()
    assert "%" in twin.inner_text()
    assert page.locator(".chosen").count() == 1
    assert page.locator("script[type*='widget-view']").count() == 0


def test_the_app_answers_to_the_keyboard(page):
    with served("voila", "notebooks/app.ipynb", "--no-browser", "--port={port}") as address:
        page.goto(address)
        page.wait_for_selector(CHART)
        chart, words = page.locator(CHART), page.locator("text=[MASK] at α")
        handle = page.locator(".noUi-handle")
        handle.focus()
        before, image = chart.get_attribute("alt"), chart.get_attribute("src")
        predictions = page.locator(".widget-html").first.inner_text()
        for _ in range(8):
            page.keyboard.press("ArrowRight")
        page.wait_for_function(
            "document.querySelector('.widget-html').innerText.includes('α = 2,')"
        )
        assert chart.get_attribute("alt") != before
        assert chart.get_attribute("src") != image
        assert page.locator(".widget-html").first.inner_text() != predictions
        assert words.count() == 1
        bias = float(chart.get_attribute("alt").split("WEAT effect size d ")[1].split(",")[0])
        assert bias < float(before.split("WEAT effect size d ")[1].split(",")[0])

        places = page.locator(".widget-html").last
        everywhere = places.inner_text()
        page.locator("select").nth(2).select_option("attention")
        page.wait_for_function(
            "a => [...document.querySelectorAll('.widget-html')].at(-1).innerText !== a",
            arg=everywhere,
        )
        page.locator("input[type=text]").first.fill("she is a surgeon .")
        page.wait_for_selector("text=write [MASK] where")
        page.set_viewport_size(PHONE)
        page.wait_for_timeout(500)
        assert overflow(page) <= 0
        assert not page.errors


def test_a_notebook_in_jupyterlab(page, tmp_path):
    shutil.copy(ROOT / "notebooks" / "05_editing.ipynb", tmp_path)
    server = [
        "jupyterlab",
        "--no-browser",
        "--port={port}",
        "--allow-root",
        "--IdentityProvider.token=",
    ]
    server += [f"--ServerApp.root_dir={tmp_path}", "--LabApp.news_url="]
    with served(*server, path="lab/tree/05_editing.ipynb") as address:
        page.goto(address)
        page.wait_for_selector(".jp-NotebookPanel-notebook")
        page.wait_for_selector("text=Python 3")
        page.wait_for_timeout(2000)
        page.locator(".lm-MenuBar-itemLabel", has_text="Run").click()
        page.locator(".lm-Menu-itemLabel", has_text="Run All Cells").first.click()
        page.wait_for_selector(".noUi-handle", state="attached")
        page.locator(".noUi-handle").scroll_into_view_if_needed()
        pane = page.locator(".widget-html", has_text="α =").first
        before = pane.inner_text()
        page.locator(".noUi-handle").focus()
        page.keyboard.press("ArrowRight")
        page.wait_for_function(
            "a => ![...document.querySelectorAll('.widget-html')].some(x => x.innerText === a)",
            arg=before,
        )
        assert "α = 0.25" in pane.inner_text()
        assert (
            page.locator(".jp-RenderedText[data-mime-type*='stderr'], .jp-mod-error").count() == 0
        )
