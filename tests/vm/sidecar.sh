#!/bin/bash
# sidecar.sh CACHE [6.1|6.12]: tests/e2e/sidecar, what is in network namespaces of it, inside another kernel. See README.md.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd); root=$(cd "$here/../.." && pwd)
export VMTEST_CACHE=$1; version=${2:-6.12}
case $version in 6.1) kernel=cloud;; 6.12) kernel=cloud612;; *) echo "there is 6.1 and 6.12" >&2; exit 2;; esac
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
cd "$root"; target=${CARGO_TARGET_DIR:-$root/target}
tool() { local p; p=$(PATH=$PATH:/usr/sbin:/sbin command -v "$1"); printf -- '-f\n%s\n' "$p"; }
mapfile -t tools < <(for t in nft tc ip unshare nsenter setpriv; do tool $t; done)
# A shell that runs the programs above, and not its own applets of those names.
tools+=(-f "$(realpath /bin/sh):/bin/sh")
cargo build -p murphy
test=$(cargo test --no-run -p murphy --test e2e --message-format=short 2>&1 | sed -n 's/.*Executable.*(\(.*\)).*/\1/p')
strip -o "$work/murphy" "$target/debug/murphy"; strip -o "$work/e2e" "$test"
printf '#!/bin/sh\nip link set lo up\nexec /e2e --test-threads=1 --nocapture sidecar::life::\n' >"$work/go"; chmod +x "$work/go"
# The tests know the program by the path at which it was built.
"$here/vmtest" -e icount -k "$kernel" -M 1500 -t 900 -E MURPHY_E2E=require -E PATH=/usr/sbin:/usr/bin:/sbin:/bin \
  -f "$work/murphy:$(realpath "$target/debug/murphy")" -f "$work/e2e:/e2e" "${tools[@]}" -- "$work/go"
