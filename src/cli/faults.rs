//! The names of faults as they are typed.

use clap::builder::{PossibleValue, TypedValueParser};
use clap::error::ErrorKind;
use clap::{Arg, Command, Error};
use std::ffi::OsStr;

/// Any word: whoever mistypes one is told the nearest by who looks it up. Shells are told the names, to complete them.
#[derive(Debug, Clone, Copy)]
pub struct FaultName;

impl TypedValueParser for FaultName {
    type Value = String;

    fn parse_ref(&self, command: &Command, _: Option<&Arg>, value: &OsStr) -> Result<String, Error> {
        let text = value.to_str().map(str::to_owned);
        text.ok_or_else(|| Error::new(ErrorKind::InvalidUtf8).with_cmd(command))
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new(model::catalogue::all().map(|def| PossibleValue::new(def.name).help(def.summary))))
    }
}
