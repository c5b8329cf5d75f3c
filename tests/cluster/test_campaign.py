"""A short campaign of faults that chance picks (campaign.py), and its checks, which must find breaches that are planted."""
from campaign import Table, run
from cluster import SEED, Failed, expect
from history import NEVER, Seen, check_adds, check_counter, check_register

CLUSTERS = [(3, 5), (5, 3)]


def test_short_campaign():
    table = Table()
    failure = run(SEED, CLUSTERS, table, lambda text: None)
    if failure is not None:
        print(table.text(failure))
        raise Failed(failure)
    return "%d rounds: %d done, %d unknown, longest pause %.2f s; %s" % (
        table.all.times, table.all.ops["done"], table.all.ops["unknown"], table.all.pause,
        ", ".join("%d %s" % (n, what) for what, n in table.checked.items()))


def refused(check, *args):
    try:
        check(*args)
        return False
    except Failed:
        return True


def write(value, began, ended):
    return Seen(True, value, began, ended, 1)


def read(value, began, ended):
    return Seen(False, value, began, ended, 1)


def test_register_check_finds_planted_breaches():
    good = [read(None, 0, 1), write("a", 1, 4), read(None, 2, 3), read("a", 2, 5), write("b", 6, 9), write("c", 6, 9), read("c", 7, 8),
            read("b", 8.5, 10), write("d", 11, NEVER), read("b", 12, 13), read("d", 14, 15), write("e", 14, NEVER)]
    expect(not refused(check_register, "k", good), "a good history was refused")
    breaches = {
        "a stale read": [read("b", 16, 17)],
        "the value of before all writes": [read(None, 16, 17)],
        "a value from nowhere": [read("x", 16, 17)],
        "a value from the future": [read("f", 16, 17), write("f", 18, 19)],
        "an acknowledged write that is lost": [write("f", 16, 17), read("d", 18, 19)],
        "reads that disagree about the order": [write("f", 16, 20), write("g", 16, 20), read("f", 21, 22), read("g", 23, 24), read("f", 25, 26)],
        "an old value that comes back": [write("f", 16, 17), read("f", 18, 19), read("d", 20, 21)],
    }
    for what, ops in breaches.items():
        expect(refused(check_register, "k", good + ops), "not found: %s", what)


def test_counter_check_finds_planted_breaches():
    good = [(1, 1, 2), (3, 2.5, 6), (2, 3, 4)]
    expect(not refused(check_counter, 3, good, 0) and not refused(check_counter, 4, good, 1), "a good history was refused")
    for what, args in {"a lost one": (2, good, 0), "one too many": (4, good, 0), "a number twice": (4, good + [(3, 7, 8)], 0),
                       "one that goes back": (4, good + [(4, 7, 8), (5, 1, 1.5)], 9)}.items():
        expect(refused(check_counter, *args), "not found: %s", what)


def test_adds_check_finds_planted_breaches():
    sent, done = {"1", "2", "3"}, {"1", "2"}
    expect(not refused(check_adds, "k", "2,1,", sent, done) and not refused(check_adds, "k", "2,1,3,", sent, done), "good ones were refused")
    for what, text in {"lost": "1,", "twice": "1,2,1,", "from nowhere": "1,2,4,"}.items():
        expect(refused(check_adds, "k", text, sent, done), "not found: %s", what)
