#!/bin/bash
# network.sh CACHE [6.1|6.12] [native|emulated|bench]: tests/e2e/network, or the bench, inside another kernel. See README.md.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd); root=$(cd "$here/../.." && pwd)
export VMTEST_CACHE=$1; version=${2:-6.12} engine=${3:-native}
case $version in 6.1) kernel=cloud;; 6.12) kernel=cloud612;; *) echo "there is 6.1 and 6.12" >&2; exit 2;; esac
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
cd "$root"; target=${CARGO_TARGET_DIR:-$root/target}
tool() { local p; p=$(PATH=$PATH:/usr/sbin:/sbin command -v "$1"); printf -- '-f\n%s\n' "$p"; }
mapfile -t tools < <(for t in nft tc ip unshare nsenter; do tool $t; done)
# A shell that runs the programs above, and not its own applets of those names.
tools+=(-f "$(realpath /bin/sh):/bin/sh")
if [ "$engine" = bench ]; then
  cargo build --release -p murphy -p murphy-benches --bin murphy --bin network
  strip -o "$work/murphy" "$target/release/murphy"
  printf '#!/bin/sh\nip link set lo up\nexec /bench --murphy /murphy --quick emulated native plain\n' >"$work/go"
  files=(-f "$work/murphy:/murphy" -f "$target/release/network:/bench")
else
  cargo build -p murphy
  test=$(cargo test --no-run -p murphy --test e2e --message-format=short 2>&1 | sed -n 's/.*Executable.*(\(.*\)).*/\1/p')
  strip -o "$work/murphy" "$target/debug/murphy"; strip -o "$work/e2e" "$test"
  printf '#!/bin/sh\nip link set lo up\nexec /e2e --test-threads=1 network:: --skip network::session\n' >"$work/go"
  # The tests know the program by the path at which it was built.
  files=(-f "$work/murphy:$(realpath "$target/debug/murphy")" -f "$work/e2e:/e2e")
fi
chmod +x "$work/go"
"$here/vmtest" -e icount -k "$kernel" -M 1500 -t 900 -E MURPHY_NETWORK_ENGINE="$engine" -E MURPHY_E2E=require \
  -E MURPHY_NETWORK_SECONDS="${MURPHY_NETWORK_SECONDS:-0}" \
  -E PATH=/usr/sbin:/usr/bin:/sbin:/bin "${files[@]}" "${tools[@]}" -- "$work/go"
