//! Files: directories that are served, in mount namespaces of their own, with real programs on them.

mod crash;
mod ground;
mod programs;
mod suites;
mod words;
