//! What went wrong with a command, told once, and its exit code.

use control::ClientError;
use model::{Problem, Problems};
use std::fmt;
use std::process::ExitCode;

/// Exit code for a command line or a file that is wrong.
pub const WRONG: u8 = 2;
/// Exit code for something that failed.
pub const FAILED: u8 = 5;

/// Why a command did not do what it was asked.
#[derive(Debug)]
pub enum Failure {
    /// The command line asks for something impossible.
    Usage(Problem),
    /// A file is wrong.
    File(Problems),
    /// It was right, but cannot be done here and now.
    Cannot(Vec<Problem>),
    /// The agent could not be asked, or refused.
    Agent(ClientError),
}

/// What a command comes to: its exit code.
pub type Outcome = Result<u8, Failure>;

impl Failure {
    /// Something that cannot be done, with advice.
    pub fn cannot(what: impl Into<String>, hint: impl Into<String>) -> Failure {
        Failure::Cannot(vec![Problem::new(what).hint(hint)])
    }

    /// A wrong command line, with advice.
    pub fn usage(what: impl Into<String>, hint: impl Into<String>) -> Failure {
        Failure::Usage(Problem::new(what).hint(hint))
    }

    /// Its exit code.
    pub fn code(&self) -> u8 {
        match self {
            Failure::Usage(_) | Failure::File(_) => WRONG,
            Failure::Agent(e) => match e.code() {
                Some(control::Code::BadRequest | control::Code::Impossible | control::Code::NotFound) => {
                    WRONG
                }
                _ => FAILED,
            },
            Failure::Cannot(_) => FAILED,
        }
    }
}

impl From<ClientError> for Failure {
    fn from(e: ClientError) -> Failure {
        Failure::Agent(e)
    }
}

impl From<Problems> for Failure {
    fn from(p: Problems) -> Failure {
        Failure::File(p)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tell = |f: &mut fmt::Formatter<'_>, what: &str, hint: Option<&str>| {
            write!(f, "error: {what}")?;
            hint.map_or(Ok(()), |hint| write!(f, "\n  = {hint}"))
        };
        match self {
            Failure::File(problems) => problems.fmt(f),
            Failure::Usage(problem) => tell(f, &problem.what, problem.hint.as_deref()),
            Failure::Cannot(list) => {
                for (i, problem) in list.iter().enumerate() {
                    if i > 0 {
                        f.write_str("\n")?;
                    }
                    tell(f, &problem.what, problem.hint.as_deref())?;
                }
                Ok(())
            }
            Failure::Agent(e) => {
                let text = e.to_string();
                match text.split_once("; ") {
                    Some((what, hint)) => tell(f, what, Some(hint)),
                    None => tell(f, &text, None),
                }
            }
        }
    }
}

/// Tells a failure and ends.
pub fn exit(outcome: Outcome) -> ExitCode {
    match outcome {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            tell!("{failure}");
            ExitCode::from(failure.code())
        }
    }
}
