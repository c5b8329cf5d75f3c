"""The checks of load.py catch what they are for: planted breaches in made-up histories."""
from cluster import Failed, expect
from load import Op, check_linearizable


def op(kind, began, ended, value, fate="done"):
    return Op(kind, began, ended, value, 1, fate, None)


def refused(ops):
    try:
        check_linearizable(ops)
        return False
    except Failed:
        return True


def test_checker_catches_planted_breaches():
    good = [op("incr", 1, 2, 1), op("read", 1.5, 1.7, 0), op("read", 1.5, 1.8, 1), op("incr", 3, 5, 2), op("read", 4, 6, 1),
            op("read", 7, 8, 2)]
    expect(not refused(good), "a good history was refused")
    expect(not refused(good + [op("incr", 6, 9, None, "unknown"), op("read", 8.5, 8.7, 3)]), "an unknown increment may show")
    expect(refused(good + [op("read", 7, 8, 1)]), "a stale read was not caught")
    expect(refused(good + [op("read", 7, 8, 3)]), "a value from nowhere was not caught")
    expect(refused(good + [op("incr", 7, 8, 2)]), "a number given twice was not caught")
    expect(refused([op("incr", 1, 2, 2)]), "an increment applied twice was not caught")
