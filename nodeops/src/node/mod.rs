//! What takes resources, of the machine, or inside of a container, a group or a network namespace: children of ours.

mod injector;
mod jobs;
mod left;
mod place;

pub use injector::NodeInjector;

/// Cores that this process may use: affinity and the quota of its control group count.
fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}
