//! Files: directories that are served, in mount namespaces of their own, with real programs on them.

mod container;
mod crash;
mod ground;
mod left;
mod suites;
mod words;
