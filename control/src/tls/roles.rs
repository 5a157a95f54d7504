//! What the bearer of a client's certificate may do, by the names in it.

use crate::caller::Role;
use std::str::FromStr;

/// A name in a certificate, and what its bearer may do: `ada=admin`, `*=viewer`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoleRule {
    name: String,
    role: Role,
}

/// Why a text is no rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} says no role: write NAME=viewer, NAME=operator or NAME=admin; NAME is the certificate's common name or one of \
     its DNS, URI or mail names, * everyone else"
)]
pub struct RoleError(String);

impl FromStr for RoleRule {
    type Err = RoleError;

    fn from_str(text: &str) -> Result<RoleRule, RoleError> {
        // Names may have signs of equality in them, roles have none.
        let (name, role) = text.rsplit_once('=').ok_or_else(|| RoleError(text.to_owned()))?;
        let role = [Role::Viewer, Role::Operator, Role::Admin].into_iter().find(|r| r.word() == role.trim());
        match (name.trim(), role) {
            (name, Some(role)) if !name.is_empty() => Ok(RoleRule { name: name.to_owned(), role }),
            _ => Err(RoleError(text.to_owned())),
        }
    }
}

/// All rules. Without any, every certificate of the authority makes an operator; once someone is named, others only look
/// (and halt, as everyone may) unless `*` says otherwise.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Roles(Vec<RoleRule>);

impl Roles {
    /// What those may do who have these names: the most that any of them gives.
    pub fn of(&self, names: &[String]) -> Role {
        // Who is called * is not everyone.
        let own = self.0.iter().filter(|rule| rule.name != ANYONE && names.contains(&rule.name));
        let own = own.map(|r| r.role);
        let others = || self.0.iter().filter(|rule| rule.name == ANYONE).map(|r| r.role).max();
        let unsaid = if self.0.is_empty() { Role::Operator } else { Role::Viewer };
        own.max().or_else(others).unwrap_or(unsaid)
    }
}

impl FromIterator<RoleRule> for Roles {
    fn from_iter<I: IntoIterator<Item = RoleRule>>(rules: I) -> Roles {
        Roles(rules.into_iter().collect())
    }
}

/// Who is not named.
const ANYONE: &str = "*";

/// How events and audit lines name someone with these names: by the first, without what a terminal would act on.
pub(crate) fn caller_name(names: &[String]) -> String {
    let shown = |name: &String| -> String {
        name.chars().map(|c| if c.is_control() { '?' } else { c }).take(LONGEST).collect()
    };
    names.first().map_or_else(|| "someone (certificate)".to_owned(), |name| shown(name) + " (certificate)")
}

/// Longer names are cut where they are shown.
const LONGEST: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_give_roles() {
        let roles = |rules: &[&str]| rules.iter().map(|r| r.parse::<RoleRule>().unwrap()).collect::<Roles>();
        let names = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
        let ada = names(&["ada", "ada@shop.example"]);
        assert_eq!(roles(&[]).of(&ada), Role::Operator);
        assert_eq!(roles(&["ada=admin"]).of(&ada), Role::Admin);
        assert_eq!(roles(&["bob=admin"]).of(&ada), Role::Viewer);
        assert_eq!(roles(&["bob=admin", "*=operator"]).of(&ada), Role::Operator);
        assert_eq!(roles(&["ada=viewer", "*=operator"]).of(&ada), Role::Viewer);
        assert_eq!(roles(&["ada=viewer", "ada@shop.example=operator"]).of(&ada), Role::Operator);
        assert_eq!(roles(&["CN=ada=admin"]).of(&names(&["CN=ada"])), Role::Admin);
        assert_eq!(roles(&["*=admin", "ada=viewer"]).of(&names(&["ada", "*"])), Role::Viewer);
        for wrong in ["ada", "=admin", "ada=root", "ada=", ""] {
            assert!(wrong.parse::<RoleRule>().unwrap_err().to_string().contains("NAME=viewer"), "{wrong}");
        }
    }

    #[test]
    fn names_are_shown_without_tricks() {
        assert_eq!(caller_name(&["ada".to_owned()]), "ada (certificate)");
        assert_eq!(caller_name(&["a\u{1b}[2Jb\n".to_owned()]), "a?[2Jb? (certificate)");
        assert_eq!(caller_name(&[]), "someone (certificate)");
        assert!(caller_name(&["x".repeat(10_000)]).len() < 200);
    }
}
