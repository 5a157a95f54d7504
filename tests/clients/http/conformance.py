"""The WebSocket conformance suite (Autobahn's cases, as the kosoku package runs them) against a server and against the same
behind a proxy. A case may not come out worse behind the proxy.

conformance.py SERVER_PORT PROXY_PORT
"""
import json
import pathlib
import subprocess
import sys
import tempfile

RUN = "import sys; from kosoku._cli import main; sys.exit(main())"
# 9 measures speed, 12 and 13 are about compression, which the server does not offer.
LEFT_OUT = ["9.*", "12.*", "13.*"]
RANK = {"OK": 0, "INFORMATIONAL": 0, "NON-STRICT": 1}


def outcomes(port, cases):
    with tempfile.TemporaryDirectory() as place:
        chosen = [word for case in cases for word in ("-i", case)]
        chosen += [word for case in LEFT_OUT for word in ("-x", case)]
        command = [sys.executable, "-c", RUN, *chosen, "-o", place, f"127.0.0.1:{port}"]
        subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=300)
        index = json.loads(pathlib.Path(place, "index.json").read_text())
        (found,) = index.values()
        return {case: (RANK.get(o["behavior"], 2), RANK.get(o["behaviorClose"], 2)) for case, o in found.items()}


def worse(direct, proxied):
    return [case for case in direct if any(p > d for p, d in zip(proxied.get(case, (3, 3)), direct[case]))]


server, proxy = sys.argv[1:]
direct, proxied = outcomes(server, []), outcomes(proxy, [])
left = worse(direct, proxied)
print(f"{len(direct)} cases, {sum(max(o) < 2 for o in direct.values())} passed directly and",
      f"{sum(max(o) < 2 for o in proxied.values())} through the proxy")
# Some depend on what comes first, the answer or the end: those are done again, on both sides.
for _ in range(5):
    if not left:
        break
    print("again:", ", ".join(left))
    left = worse(outcomes(server, left), outcomes(proxy, left))
if left:
    sys.exit(f"worse through the proxy: {', '.join(left)}")
