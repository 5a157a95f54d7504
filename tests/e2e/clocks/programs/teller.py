import sys, time
for line in iter(sys.stdin.readline, ""):
    print(time.time_ns(), flush=True)
