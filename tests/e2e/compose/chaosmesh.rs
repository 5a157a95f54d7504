//! Files of Chaos Mesh, as they are, on the shop's containers: labels mean their compose services.

use super::shop::Shop;
use std::path::Path;

#[test]
#[ignore = "by hand: downloads a Docker engine"]
fn files_of_chaos_mesh_run_as_they_are() {
    let Some(shop) = Shop::open() else { return };
    let before = shop.seen();
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e/compose/chaosmesh");
    for (file, sees) in [
        ("network.yaml", "net_delay"),
        ("http.yaml", "abort"),
        ("io.yaml", "io_error"),
        ("time.yaml", "clock"),
        ("stress.yaml", "memory"),
        ("kill.yaml", "kill"),
    ] {
        let path = dir.join(file).display().to_string();
        // Buyers, so that there is something to be met.
        let done = std::thread::scope(|scope| {
            let run = scope.spawn(|| shop.run(&["run", &path]));
            while !run.is_finished() {
                let _ = shop.ask("POST", "/checkout");
            }
            run.join().unwrap()
        });
        println!("{}", done.out.lines().filter(|l| !l.contains("sample")).collect::<Vec<_>>().join("\n"));
        assert!(done.code == 0 && done.out.contains("HELD") && done.out.contains(sees), "{file}: {done:?}");
        shop.sells();
        if file != "kill.yaml" {
            shop.is_again(&before, file);
        }
    }
}
