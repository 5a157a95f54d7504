//! The vocabulary of murphy: what can go wrong, on what, when, and what came of it.
//!
//! Pure: no sockets, no files, no clocks. Whatever depends on time takes it as an argument.
#![forbid(unsafe_code)]

pub mod catalogue;
mod chaosmesh;
pub mod connection;
pub mod draw;
pub mod event;
pub mod experiment;
pub mod fault;
pub mod histogram;
pub mod matcher;
pub mod operation;
pub mod percent;
pub mod problem;
pub mod ramp;
pub mod request;
pub mod sample;
pub mod share;
pub mod stub;
pub mod target;
pub mod units;
pub mod value;
pub mod verdict;
pub mod yaml;

pub use catalogue::{FaultDef, ParamDef};
pub use connection::{ConnectionFault, ConnectionState, ConnectionView};
pub use event::{Event, EventKind};
pub use experiment::Experiment;
pub use fault::{Fault, Injection, titled};
pub use histogram::Histogram;
pub use matcher::Matcher;
pub use operation::FileOperation;
pub use problem::{Problem, Problems};
pub use ramp::Ramp;
pub use request::{RequestFault, RequestState, RequestView, Talker};
pub use sample::{Evidence, Sample};
pub use share::{Per, Share};
pub use stub::{Stub, StubServer};
pub use target::{Target, TargetKind, TargetRef, TargetSpec};
pub use value::{ParamType, Value};
pub use verdict::{RunRecord, Verdict};
