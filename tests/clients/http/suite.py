"""Runs cases of conformance against a server, or against a server and the same behind a proxy.

SCRIPT PORT                     one line for each case, and a total
SCRIPT SERVER_PORT PROXY_PORT   the same for both; ends with 1 when a case is worse through the proxy
SCRIPT PORT [PORT] only=TEXT    only cases with this in their name
"""
import sys
import traceback
from concurrent.futures import ThreadPoolExecutor

# Seconds for an answer: at first, so that what never comes holds up little, and whenever a failure would count.
BRIEF, PATIENT = 3, 10

cases = {}


def case(name):
    """Adds a function of a port and a patience; it gives None, or what was wrong."""

    def add(function):
        assert name not in cases, name
        cases[name] = function
        return function

    return add


def outcome(name, port, patience):
    try:
        return cases[name](port, patience)
    except Exception as error:
        return f"{type(error).__name__}: {error} at {traceback.extract_tb(error.__traceback__)[-1].line}"


def outcomes(port, names, alone, patience):
    """All at once, but for those which need to be alone; these come last."""
    together = [name for name in names if name not in alone]
    with ThreadPoolExecutor(12) as pool:
        found = dict(zip(together, pool.map(lambda name: outcome(name, port, patience), together)))
    return {name: found[name] if name in found else outcome(name, port, patience) for name in names}


def show(title, found):
    for name, why in found.items():
        print(f"PASS {name}" if why is None else f"FAIL {name}: {why}")
    print(f"{title}: {sum(why is None for why in found.values())} of {len(found)} passed")


def main(tolerated=(), alone=()):
    """Runs what the command line says. `tolerated` names what may be worse through the proxy, `alone` what harms others."""
    ports = [int(word) for word in sys.argv[1:] if word.isdigit()]
    only = [word.removeprefix("only=") for word in sys.argv[1:] if word.startswith("only=")]
    names = [name for name in cases if not only or any(text in name for text in only)]
    assert {*tolerated, *alone} <= set(cases)
    if len(ports) == 1:
        return show("in all", outcomes(ports[0], names, alone, BRIEF))
    server, proxy = ports
    direct, proxied = outcomes(server, names, alone, BRIEF), outcomes(proxy, names, alone, BRIEF)
    # What failed through the proxy alone is done again, with more patience and one by one.
    for _ in range(3):
        left = [name for name in names if proxied[name] is not None and direct[name] is None and name not in tolerated]
        for name in left:
            print(f"again: {name}: {proxied[name]}")
            proxied[name] = outcome(name, proxy, PATIENT)
    show("directly", direct)
    show("through the proxy", proxied)
    better = [name for name in names if direct[name] is not None and proxied[name] is None]
    worse = [name for name in names if direct[name] is None and proxied[name] is not None]
    print(f"better through the proxy: {', '.join(better) or 'none'}")
    print(f"worse through the proxy: {', '.join(worse) or 'none'}")
    if set(worse) - set(tolerated):
        sys.exit(1)
