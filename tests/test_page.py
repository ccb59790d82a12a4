"""The page at `/`, in a real browser: what a person sees in each state, with what devices, and what may not happen."""
import itertools
import json
import os
import re
import shlex
import socket
import urllib.request

import pytest

import films
import page_states
from browser import PROGRAM, Browser
from page_states import HOSTILE, STATES, pipeline
from tools import free_port, wait_until

pytestmark = pytest.mark.skipif(not PROGRAM, reason="no Chromium here (vendor/install browser)")

# Of every text that can be seen: its contrast with what is behind it, if that is less than WCAG's AA asks for.
PALE = """
(() => {
  const canvas = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
  const rgb = colour => { canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1); return [...canvas.getImageData(0, 0, 1, 1).data]; };
  const light = c => { const l = c.slice(0, 3).map(v => (v /= 255) <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4); return .2126 * l[0] + .7152 * l[1] + .0722 * l[2]; };
  const behind = e => { for (; e; e = e.parentElement) { const c = rgb(getComputedStyle(e).backgroundColor); if (c[3] === 255) return c; } return [255, 255, 255]; };
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), pale = new Set();
  while (texts.nextNode()) {
    const e = texts.currentNode.parentElement, style = getComputedStyle(e);
    if (!texts.currentNode.data.trim() || !e.checkVisibility() || /^(script|style|template)$/i.test(e.tagName)) continue;
    const a = light(rgb(e instanceof SVGElement ? style.fill : style.color)), b = light(behind(e));
    const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05), size = parseFloat(style.fontSize);
    if (ratio < (size >= 24 || (size >= 18.66 && style.fontWeight >= 700) ? 3 : 4.5)) pale.add(e.className + ': ' + texts.currentNode.data.slice(0, 40) + ': ' + ratio.toFixed(2));
  }
  return [...pale];
})()"""


@pytest.fixture(scope="module")
def browser():
    with Browser() as one:
        yield one


@pytest.fixture
def process():
    """What the page asks: a made-up one."""
    server = page_states.Server()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def see(browser, process):
    """Opens a state's page, and looks once it has its first answer."""
    pages = []

    def open_page(state, pipelines=None, **look):
        if pipelines:
            process.answers[state] = pipelines
        page = browser.open(f"{process.url}/{state}/", **look)
        pages.append(page)
        page.until("!document.getElementById('sentence').textContent.startsWith('Asking')")
        page.until("[...document.querySelectorAll('.plot')].every(plot => plot.firstChild)")  # charts, once their width is known
        return page

    yield open_page
    for page in pages:
        assert page.complaints == []
        assert all(url.startswith((process.url, "data:")) for url in page.requests), page.requests
        page.close()


def sentence(page):
    return page.text("h1").translate({0x2068: None, 0x2069: None})


def terms(page, selector="dl"):
    """The lists of terms: {term: text}."""
    pairs = page.run(f"[...document.querySelectorAll('{selector} dt')].map(e => [e.textContent, e.nextElementSibling.textContent])")
    return {term: text.translate({0x2068: None, 0x2069: None}) for term, text in pairs}


def tree(page):
    """What a screen reader is told: [(role, name)]."""
    nodes = page.call("Accessibility.getFullAXTree")["nodes"]
    return [(n["role"]["value"], n.get("name", {}).get("value", "")) for n in nodes if not n.get("ignored")]


# States


def test_before_anything_is_known_it_says_so(see):
    page = see("empty")
    assert sentence(page) == "The engine is starting."
    assert page.run("document.getElementById('pipelines').childElementCount") == 0
    assert ("status", "") in tree(page) and ("heading", "The engine is starting.") in tree(page)


def test_a_first_load_has_progress_and_the_time_left(see):
    page = see("loading")
    assert sentence(page) == "All is well: “movies” is being loaded."
    assert page.text("#explanation").startswith("About 3 min left.")
    assert page.text(".load p").split("\n") == ["41 %", "412,000 of about 1,000,000 documents", "about 3 min left"]
    bar = "document.querySelector('[role=progressbar]')"
    assert page.run(f"{bar}.getAttribute('aria-valuenow')") == "41"
    assert page.run(f"Math.round(100 * {bar}.firstChild.getBoundingClientRect().width / {bar}.getBoundingClientRect().width)") in range(1, 43)
    assert ("progressbar", "Documents loaded") in tree(page)
    assert terms(page)["Documents per second"] == "3,218"


def test_a_load_of_unknown_size_tells_what_it_has(see):
    page = see("unknown")
    assert page.text(".load p").strip() == "412,000 documents so far"
    assert page.run("document.querySelector('[role=progressbar]').getAttribute('aria-valuenow')") is None


def test_one_that_follows_is_well_and_shows_its_figures(see):
    page = see("following")
    assert sentence(page) == "All is well: “movies” is in sync with its database."
    assert page.run("document.title") == "All is well · etl-engine"
    assert page.text(".head").split("\n") == ["movies", "Following", "for 26.1 h"]
    assert page.text(".route").split("\n") == ["db.example:5432/films", "PostgreSQL", "from the log (WAL)", "movies", "http://search.example:9200"]
    shown = terms(page)
    assert (shown["Documents per second"], shown["Lag of the last change"], shown["Oldest waiting change"]) == ("12.5", "0.4 s", "none")
    assert (shown["Indexed"], shown["Status 200"], shown["Sent"]) == ("1,843,207", "9,123", "812 MB")
    assert (shown["Slot"], shown["Log kept for the slot"], shown["Journal"]) == ("etl_movies", "17 MB", "48 kB")
    assert page.text("footer").startswith("Up 26.1 h · 33 MB of memory · 0.3 % of a processor · 19 open files · 9 threads")


def test_one_that_fails_comes_first_with_reason_and_countdown(see):
    page = see("failing")
    assert sentence(page) == "“genres” is failing; the other 2 pipelines are well."
    assert page.texts("h2") == ["genres", "movies", "persons"]
    note = page.text(".notes li")
    assert note.startswith("Failing: could not read table 'content.genre'") and re.search(r"It tries again in \d+ s\.$", note)
    page.until(f"document.querySelector('.notes li').innerText !== {json.dumps(note)}")  # it counts
    assert page.text("ol[data-f=messages] li div") == "error: could not read table 'content.genre': relation \"content.genre\" does not exist"
    assert page.run("document.title") == "“genres” is failing; the other 2 pipelines are well. · etl-engine"


def test_several_with_one_reason_are_told_at_once(see):
    away = [page_states.waiting(name) for name in ("movies", "persons")]
    page = see("three", lambda: away)
    assert sentence(page) == "Both pipelines are waiting."
    assert page.text("#explanation").translate({0x2068: None, 0x2069: None}).startswith(
        "“movies” and “persons”. Could not reach the search server: connection refused. It tries again in ")  # fmt: skip
    assert sentence(see("failing", lambda: [*away, pipeline("genres")])) == "2 of 3 pipelines are waiting."
    assert sentence(see("dead", lambda: [*away, page_states.letters("genres")])) == "All 3 pipelines need a look."
    loads = [page_states.loading(name) for name in "abcd"]
    assert sentence(see("loading", lambda: loads)) == "All is well: all 4 pipelines are being loaded."
    assert sentence(see("unknown", lambda: loads[:2] + [pipeline()])) == "All is well: “a” and “b” are being loaded."


def test_times_are_in_the_readers_zone(see):
    when = [pipeline(errors=[{"time": "2026-01-05T23:30:10Z", "level": "warn", "message": "x"}])]
    assert see("failing", lambda: when, zone="Asia/Tokyo").text("time") == "6 Jan, 08:30"
    assert see("failing", lambda: when, zone="America/New_York").text("time") == "5 Jan, 18:30"


def test_dead_letters_have_keys_reasons_and_the_command(see):
    page = see("dead")
    assert sentence(page) == "“movies” has 2 dead letters."
    first, second = page.texts("ol[data-f=letters] li")
    assert first.startswith("3d825f60-9fff-4dfe-b294-1a45fa1e115d\n") and "failed to parse field [rating]" in first and second.startswith("7\n")
    assert page.text(".command code") == "etl-engine scripts/movies.lua --keys-from state/movies.rejected"


def test_of_many_dead_letters_the_latest_are_shown(see):
    def many():
        p = page_states.letters(count=5)
        p["dead_letters"]["count"] = 246
        return [p]

    assert see("dead", many).text("h3") == "246 dead letters, the latest 5"


def test_log_that_is_held_back_and_a_transaction_that_is_open_are_told(see):
    page = see("held")
    assert sentence(page) == "“movies” holds back 48 GB of the log."
    slot, transaction = (text.translate({0x2068: None, 0x2069: None}) for text in page.texts(".notes li"))
    assert slot.startswith("Log: PostgreSQL keeps 48 GB of its log for slot etl_movies, which nobody reads.")
    assert transaction.startswith("Open transaction: A transaction has been open for 85 min: pid 4711 (psql), idle in transaction.")


def test_an_engine_that_no_longer_answers_is_told_and_so_is_its_return(see, process):
    page = see("following")
    process.answers["following"] = 503
    page.until("document.body.classList.contains('gone')")
    assert re.fullmatch(r"The engine has not answered since \d\d:\d\d:\d\d\.", sentence(page))
    assert "it answered with status 503" in page.text("#explanation") and page.text("#heard") == "No answer"
    assert page.text("h2") == "movies"  # what it told last stays
    del process.answers["following"]
    page.until("!document.body.classList.contains('gone')")
    assert sentence(page).startswith("All is well")
    page.complaints.clear()  # the browser's own, of the 503


def test_an_engine_that_is_gone_before_the_first_answer(see, process):
    process.answers["empty"] = 500
    page = see("empty")
    assert sentence(page) == "The engine does not answer."
    page.complaints.clear()


@pytest.mark.parametrize("width", [360, 1280])
def test_what_others_wrote_is_text(see, width):
    page = see("hostile", width=width)
    assert page.run("document.images.length") == 0 and page.run("document.querySelectorAll('script').length") == 1
    assert HOSTILE in page.texts("h2") and HOSTILE in sentence(page)
    assert page.run("document.title").endswith("etl-engine")
    assert page.run("document.documentElement.scrollWidth") <= width


def test_a_command_is_one_for_a_shell_whatever_the_names(see):
    def odd(**names):
        p = page_states.letters(**names)
        p["dead_letters"]["file"] = "it's `a` \"b\" <b>\nreboot"
        return p

    page = see("dead", lambda: [odd(script="a b'; rm -rf $HOME.lua")])
    assert shlex.split(page.text(".command code")) == ["etl-engine", "a b'; rm -rf $HOME.lua", "--keys-from", "it's `a` \"b\" <b>\nreboot"]
    page = see("dead", lambda: [odd(name=name, script="list.lua") for name in ("a", "b c")])  # a script of two
    assert [shlex.split(text)[1] for text in page.texts(".command code")] == ["list.lua#a", "list.lua#b c"]


# Many


def rows(page):
    return page.texts(".row td:first-child")


def test_fifty_are_a_table_with_problems_first(see):
    page = see("fifty")
    assert sentence(page) == "1 of 50 pipelines is failing, and 3 need a look."
    assert len(rows(page)) == 50 and rows(page)[:7] == ["genres", "movies", "persons", "shop_08", "prices", "reviews", "shop_01"]
    known = tree(page)
    assert [name for role, name in known if role == "columnheader"] == ["Pipeline", "Phase", "Documents/s", "Lag", "Dead letters", "Last hour"]
    assert sum(role == "row" for role, _ in known) == 51


def test_the_table_is_sorted_and_searched(see):
    page = see("fifty")
    page.run("document.querySelector('[data-sort=lag]').click()")
    assert rows(page)[:2] == ["shop_08", "shop_45"]
    assert page.run("[...document.querySelectorAll('[aria-sort]')].map(e => [e.innerText, e.ariaSort])") == [["Lag", "descending"]]
    page.run("document.querySelector('[data-sort=lag]').click()")
    assert rows(page)[-1] == "shop_08"
    page.run("document.querySelector('input').value = ' GEN'; document.querySelector('input').dispatchEvent(new Event('input'))")
    assert rows(page) == ["genres"]
    page.run("document.querySelector('input').value = 'nothing'; document.querySelector('input').dispatchEvent(new Event('input'))")
    assert rows(page) == [] and page.texts("[data-f=nothing]") == ["No pipeline has this in its name."]


def test_a_row_opens_by_the_keyboard_and_stays_open_and_focused(see, process):
    page = see("fifty")
    page.run("document.querySelector('.row button').focus()")
    page.key("Enter")
    assert page.texts(".more .notes li")[0].startswith("Failing: could not read table")
    assert page.run("document.activeElement.ariaExpanded") == "true"
    asked = process.asked["fifty"]
    page.until("document.getElementById('heard').textContent === 'Live'")
    while process.asked["fifty"] < asked + 2:  # answers come, and are shown
        page.run("1")
    assert page.run("document.activeElement.innerText") == "genres" and len(page.texts(".more .notes li")) == 1


# Charts


def test_a_chart_has_axes_and_tells_a_minute_to_pointer_and_keyboard(see):
    page = see("following")
    labels = page.run("[...document.querySelectorAll('.plot')].map(p => [...p.querySelectorAll('text')].map(t => t.textContent))")
    assert labels[0][:3] == ["0", "500", "1,000"] and labels[1][:3] == ["0", "1 s", "2 s"]
    assert all(re.fullmatch(r"\d\d:(00|15|30|45)", text) for text in labels[0][3:]) and len(labels[0]) >= 6
    assert page.texts("figcaption span")[0].endswith(" in all") and page.texts("figcaption span")[1].startswith("at most ")
    page.run("document.querySelector('.plot').focus()")
    page.key("ArrowLeft")
    last = page.run("document.activeElement.ariaValueText")
    assert re.fullmatch(r"\d\d:\d\d: \d+", last) and page.texts("figcaption span")[0] == last
    assert re.fullmatch(r"\d\d:\d\d: [\d.]+ s", page.texts("figcaption span")[1])
    page.key("ArrowLeft")
    assert page.run("document.activeElement.ariaValueText") != last
    page.key("Escape")
    assert page.texts("figcaption span")[0].endswith(" in all")
    x, y = page.run("(r => [r.x + r.width / 2, r.y + 40])(document.querySelectorAll('.plot')[1].getBoundingClientRect())")
    page.point(x, y)
    page.until("document.querySelectorAll('.cursor').length === 2")
    assert re.fullmatch(r"\d\d:\d\d: .*", page.texts("figcaption span")[0])


def test_a_process_without_history_has_empty_charts(see):
    page = see("fresh")
    assert page.texts("figcaption span") == ["the first minute is not over"] * 2


# Everywhere


@pytest.mark.parametrize("state", STATES)
def test_each_state_fits_a_phone_and_is_readable(see, state):
    page = see(state)
    page.run("document.querySelectorAll('.row button').forEach((b, i) => i < 5 && b.click())")
    page.run("document.querySelectorAll('details').forEach(d => d.open = true)")
    for width, dark in itertools.product((360, 850, 1280), (False, True)):
        page.look(width=width, height=740, dark=dark)
        assert page.run("document.documentElement.scrollWidth") <= width
        assert width < 850 or page.run("[...document.querySelectorAll('.row td:first-child')].every(name => name.clientWidth > 120)")
        assert page.run(PALE) == []
        name = f"{state}-{width}{'-dark' if dark else ''}.png"
        page.picture(os.path.join(page_states.ROOT, "build", "page", name))


def test_pale_text_would_be_noticed(see):
    page = see("following")
    page.run("document.documentElement.style.setProperty('--soft', '#999')")
    assert {text.split(":")[1].strip() for text in page.run(PALE)} >= {"Documents per second", "0", "Slot"}


def test_dark_is_dark(see):
    def panel(dark):
        return page.run("getComputedStyle(document.querySelector('.card')).backgroundColor") if page.look(dark=dark) is None else None

    page = see("following")
    assert panel(dark=True) == "rgb(22, 29, 27)" and panel(dark=False) == "rgb(255, 255, 255)"


def test_everything_that_can_be_used_has_a_name_and_is_reached_by_tab(see):
    page = see("dead")
    used = [(role, name) for role, name in tree(page) if role in ("button", "link", "slider", "searchbox", "progressbar")]
    assert sorted(role for role, _ in used) == ["button", "button", "link", "link", "slider", "slider"] and all(name for _, name in used)
    reached = []
    for _ in range(7):
        page.key("Tab")
        reached.append(page.run("document.activeElement.getAttribute('aria-label') || document.activeElement.innerText.trim()"))
    assert reached[0] == "Pause" and "Copy" in reached and reached[-2:] == ["Status as JSON", "Metrics"]


def test_it_does_not_ask_while_it_is_hidden_or_paused(see, process):
    page = see("following")

    def asked_in_a_while():
        before = process.asked["following"]
        page.run("new Promise(done => setTimeout(done, 4500))")
        return process.asked["following"] - before

    page.run("Object.defineProperty(document, 'hidden', { value: true, configurable: true }); document.dispatchEvent(new Event('visibilitychange'))")
    assert asked_in_a_while() <= 1  # one may have been on its way
    before = process.asked["following"]
    page.run("delete document.hidden; document.dispatchEvent(new Event('visibilitychange'))")
    while process.asked["following"] == before:
        page.run("1")
    page.run("document.getElementById('pause').click()")
    assert page.text("#heard") == "Paused" and page.text("#pause") == "Resume"
    assert asked_in_a_while() <= 1


def test_the_page_is_small(process):
    assert len(page_states.page()) < 40 * 1024


# The engine itself


def listens(port):
    with socket.socket() as s:
        return s.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def watch(browser, engine):
    """Starts the engine, and opens its page: (running, page)."""
    pages = []

    def start(*words, **options):
        port = free_port()
        running = engine.start(*words, "--listen", f"127.0.0.1:{port}", **options)
        url = f"http://127.0.0.1:{port}/"
        wait_until(lambda: listens(port))
        page = browser.open(url)
        pages.append((page, url))
        return running, page

    yield start
    for page, url in pages:
        assert all(asked.startswith((url, "data:")) for asked in page.requests), page.requests
        assert [c for c in page.complaints if "ERR_CONNECTION_REFUSED" not in c] == []  # of those that ended
        page.close()


def test_the_engine_shows_what_it_does(pg, search_one, script, watch, engine):
    films.table(pg)
    strict = 'mappings = { dynamic = "strict", properties = { n = { type = "integer" } } },'
    path = script(films.plain(document="return { n = tonumber(row.v) or row.v == 'odd' and row.v or 0 }", sink=strict))
    running, page = watch(path, "--follow")
    page.until("document.getElementById('sentence').textContent.startsWith('All is well') && document.querySelector('.pill').textContent === 'Following'")
    assert sentence(page) == "All is well: “films” is in sync with its database."
    with urllib.request.urlopen(page.run("location.href")) as answer:
        assert answer.headers["Content-Security-Policy"] == page_states.policy(answer.read())
    wait_until(lambda: terms(page)["Indexed"] == "20")
    shown = terms(page)
    assert (shown["Rejected"], shown["Script"], shown["Failed runs"]) == ("0", path, "0")
    assert page.text(".route").split("\n")[0::3] == [f"127.0.0.1:{pg.port}/{pg.name}", "t"] and search_one.url in page.text(".route")
    page.until("document.querySelector('figcaption span').textContent.endsWith('20 in all')")
    pg.execute("UPDATE t SET v = 'odd', modified = clock_timestamp() WHERE id = 3")
    page.until("document.getElementById('sentence').textContent.endsWith('has 1 dead letter.')")
    assert page.texts("ol[data-f=letters] li")[0].startswith("3\n") and "failed to parse" in page.text("ol[data-f=letters] li")
    assert shlex.split(page.text(".command code")) == ["etl-engine", path, "--keys-from", f"{engine.state}.rejected"]
    page.picture(os.path.join(page_states.ROOT, "build", "page", "engine.png"))
    pg.execute("UPDATE t SET v = '5' WHERE id = 3")  # no poll sees it, but the command on the page delivers it
    assert engine(*shlex.split(page.text(".command code"))[1:]).returncode == 0
    page.until("document.getElementById('sentence').textContent.startsWith('All is well')")
    assert search_one.get("t", "3") == {"n": 5} and page.texts("ol[data-f=letters]") == []
    assert running.stop().returncode == 143
    page.until("document.body.classList.contains('gone')")
    assert sentence(page).startswith("The engine has not answered since") and "no connection" in page.text("#explanation")


def test_the_engine_shows_which_one_fails(pg, search_one, script, watch, engine):
    for name in ("one", "two"):
        pg.execute(f"CREATE TABLE {name} (id int PRIMARY KEY, v text, modified timestamptz DEFAULT clock_timestamp())")
    paths = [script(films.plain(table=name, index=name).replace('name = "films"', f'name = "{name}"').replace("FILE_PATH_STATE", f"STATE_{name}"),
                    f"{name}.lua") for name in ("one", "two")]  # fmt: skip
    _, page = watch(*paths, "--follow", env={f"STATE_{name}": f"{engine.state}.{name}" for name in ("one", "two")})
    page.until("document.getElementById('sentence').textContent.includes('both pipelines are in sync')")
    pg.execute("DROP TABLE two")
    page.until("document.getElementById('sentence').textContent.includes('is failing')")
    assert sentence(page) == "“two” is failing; the other pipeline is well."
    assert page.texts("h2") == ["two", "one"] and "two" in page.text(".notes li")
    page.until("document.querySelector('ol[data-f=messages] li') !== null")
    pg.execute("CREATE TABLE two (id int PRIMARY KEY, v text, modified timestamptz DEFAULT clock_timestamp())")
    page.until("document.getElementById('sentence').textContent.includes('both pipelines are in sync')", timeout=90)


def test_the_engine_shows_a_load_under_way(pg, search_one, script, watch):
    films.table(pg, rows=20000)
    pg.execute("ANALYZE t")  # of what it knows, the engine says how much is left
    slow = "id, v, (SELECT 1 FROM pg_sleep(0.005 + 0 * id)) AS waited"
    _, page = watch(script(films.plain(columns=slow)), "--follow")
    page.until("/^[1-9]/.test(document.querySelector('.load:not([hidden]) p')?.innerText)")
    assert sentence(page) == "All is well: “films” is being loaded."
    assert re.match(r"\d+ %\n[\d,]+ of about [\d,]+ documents", page.text(".load p"))
    page.picture(os.path.join(page_states.ROOT, "build", "page", "engine-loading.png"))
