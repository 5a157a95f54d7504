//! Changes of tables, chains, rules, sets and counters that take effect together.

use super::{COUNTER, Family, Hook, OWNER, Rule};
use crate::netlink::attrs::Attrs;

const NEW_TABLE: u16 = 0;
const DEL_TABLE: u16 = 2;
const NEW_CHAIN: u16 = 3;
const DEL_CHAIN: u16 = 5;
const NEW_RULE: u16 = 6;
const DEL_RULE: u16 = 8;
const NEW_SET: u16 = 9;
const NEW_OBJECT: u16 = 18;
const DEL_OBJECT: u16 = 20;
const CREATE: u16 = 0x400;
const EXCLUSIVE: u16 = 0x200;
const APPEND: u16 = 0x800;

/// Changes that take effect together.
#[derive(Debug)]
pub struct Batch {
    pub(super) messages: Vec<(u16, u16, u8, Attrs)>,
}

impl Default for Batch {
    fn default() -> Batch {
        Batch::new()
    }
}

impl Batch {
    /// No change yet.
    pub fn new() -> Batch {
        Batch { messages: Vec::new() }
    }

    /// Whether it would change nothing.
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    fn push(&mut self, kind: u16, flags: u16, family: Family, body: Attrs) {
        self.messages.push((kind, flags, family.number(), body));
    }

    /// Makes a table that is this socket's own, and is gone with it (`flags owner`). Linux 5.12.
    pub fn table(&mut self, family: Family, table: &str) {
        self.push(NEW_TABLE, CREATE | EXCLUSIVE, family, Attrs::new().text(1, table).be32(2, OWNER));
    }

    /// Makes a table that stays when this socket is gone.
    pub fn lasting_table(&mut self, family: Family, table: &str) {
        self.push(NEW_TABLE, CREATE | EXCLUSIVE, family, Attrs::new().text(1, table).be32(2, 0));
    }

    /// Makes a set of address families (`meta nfproto`) that rules put elements into, which end by themselves after so many
    /// milliseconds.
    pub fn set_of_families(&mut self, family: Family, table: &str, set: &str, lasts_ms: u64) {
        // NFT_SET_TIMEOUT, and NFT_SET_EVAL: elements come from rules.
        const FLAGS: u32 = 0x10 | 0x20;
        // What nft(8) prints elements as.
        const TYPE_NFPROTO: u32 = 2;
        let body = Attrs::new()
            .text(1, table)
            .text(2, set)
            .be32(3, FLAGS)
            .be32(4, TYPE_NFPROTO)
            .be32(5, 1)
            .nest(9, &Attrs::new().be32(1, 16))
            .be32(10, 1)
            .be64(11, lasts_ms);
        self.push(NEW_SET, CREATE | EXCLUSIVE, family, body);
    }

    /// Removes a table with everything in it.
    pub fn remove_table(&mut self, family: Family, table: &str) {
        self.push(DEL_TABLE, 0, family, Attrs::new().text(1, table));
    }

    /// Makes a chain that sees packets at a hook. `kind` is `filter` or `nat`; what reaches its end goes on.
    pub fn base_chain(
        &mut self,
        family: Family,
        table: &str,
        chain: &str,
        kind: &str,
        hook: &Hook,
        priority: i32,
    ) {
        let mut at = Attrs::new().be32(1, hook.number()).be32(2, priority as u32);
        if let Some(device) = hook.device() {
            at = at.text(3, device);
        }
        let body = Attrs::new().text(1, table).text(3, chain).nest(4, &at).be32(5, 1).text(7, kind);
        self.push(NEW_CHAIN, CREATE | EXCLUSIVE, family, body);
    }

    /// Makes a chain that others lead to.
    pub fn chain(&mut self, family: Family, table: &str, chain: &str) {
        self.push(NEW_CHAIN, CREATE | EXCLUSIVE, family, Attrs::new().text(1, table).text(3, chain));
    }

    /// Removes a chain; nothing may lead to it.
    pub fn remove_chain(&mut self, family: Family, table: &str, chain: &str) {
        self.push(DEL_CHAIN, 0, family, Attrs::new().text(1, table).text(3, chain));
    }

    /// Empties a chain.
    pub fn flush(&mut self, family: Family, table: &str, chain: &str) {
        self.push(DEL_RULE, 0, family, Attrs::new().text(1, table).text(2, chain));
    }

    /// Puts a rule at the end of a chain.
    pub fn rule(&mut self, family: Family, table: &str, chain: &str, rule: &Rule) {
        let mut body = Attrs::new().text(1, table).text(2, chain).nest(4, &rule.expressions);
        if !rule.comment.is_empty() {
            let text = rule.comment.as_bytes();
            // The way nft(8) keeps comments: type 0, length, text with its zero.
            let mut data = vec![0, text.len() as u8 + 1];
            data.extend(text);
            data.push(0);
            body = body.raw(7, &data);
        }
        self.push(NEW_RULE, CREATE | APPEND, family, body);
    }

    /// Makes a counter.
    pub fn counter(&mut self, family: Family, table: &str, counter: &str) {
        let zero = Attrs::new().be64(1, 0).be64(2, 0);
        let body = Attrs::new().text(1, table).text(2, counter).be32(3, COUNTER).nest(4, &zero);
        self.push(NEW_OBJECT, CREATE | EXCLUSIVE, family, body);
    }

    /// Removes a counter; no rule may use it.
    pub fn remove_counter(&mut self, family: Family, table: &str, counter: &str) {
        let body = Attrs::new().text(1, table).text(2, counter).be32(3, COUNTER);
        self.push(DEL_OBJECT, 0, family, body);
    }
}
