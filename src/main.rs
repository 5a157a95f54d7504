//! murphy
fn main() {}
