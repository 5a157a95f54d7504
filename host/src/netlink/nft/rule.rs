//! A rule: what is asked of a packet, and what becomes of it.

use super::{COUNTER, Compare, Header, Meta, QueueBy, Verdict};
use crate::netlink::attrs::Attrs;

/// A rule that is being written: it goes on as long as what it asks holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rule {
    pub(super) expressions: Attrs,
    pub(super) comment: String,
}

/// The register that everything here goes through.
const REGISTER: u32 = 1;

impl Rule {
    /// A rule that everything fulfils.
    pub fn new() -> Rule {
        Rule::default()
    }

    fn then(mut self, name: &str, data: &Attrs) -> Rule {
        let one = Attrs::new().text(1, name).nest(2, data);
        self.expressions = self.expressions.nest(1, &one);
        self
    }

    /// What `nft list` shows beside it.
    pub fn comment(mut self, text: &str) -> Rule {
        self.comment = text.chars().take(120).collect();
        self
    }

    fn load_meta(self, key: Meta) -> Rule {
        self.then("meta", &Attrs::new().be32(2, key.number()).be32(1, REGISTER))
    }

    fn load_bytes(self, header: Header, offset: u32, length: u32) -> Rule {
        let base = match header {
            Header::Network => 1,
            Header::Transport => 2,
        };
        let data = Attrs::new().be32(1, REGISTER).be32(2, base).be32(3, offset).be32(4, length);
        self.then("payload", &data)
    }

    fn compare(self, how: Compare, value: &[u8]) -> Rule {
        let how = match how {
            Compare::Eq => 0,
            Compare::Ne => 1,
            Compare::Lt => 2,
            Compare::Le => 3,
            Compare::Ge => 5,
        };
        let data = Attrs::new().be32(1, REGISTER).be32(2, how).nest(3, &Attrs::new().raw(1, value));
        self.then("cmp", &data)
    }

    /// register = register & mask ^ flip
    fn bits(self, mask: &[u8], flip: &[u8]) -> Rule {
        let length = mask.len() as u32;
        let data = Attrs::new()
            .be32(1, REGISTER)
            .be32(2, REGISTER)
            .be32(3, length)
            .nest(4, &Attrs::new().raw(1, mask))
            .nest(5, &Attrs::new().raw(1, flip));
        self.then("bitwise", &data)
    }

    /// Goes on when that is so of the packet.
    pub fn meta(self, key: Meta, how: Compare, value: &[u8]) -> Rule {
        self.load_meta(key).compare(how, value)
    }

    /// Goes on when the mark, under the mask, is that.
    pub fn mark(self, mask: u32, how: Compare, value: u32) -> Rule {
        self.load_meta(Meta::Mark).bits(&mask.to_ne_bytes(), &[0; 4]).compare(how, &value.to_ne_bytes())
    }

    /// Sets the bits of the mark that the mask has, and leaves the others.
    pub fn set_mark(self, mask: u32, value: u32) -> Rule {
        self.load_meta(Meta::Mark)
            .bits(&(!mask).to_ne_bytes(), &(value & mask).to_ne_bytes())
            .then("meta", &Attrs::new().be32(2, Meta::Mark.number()).be32(3, REGISTER))
    }

    /// Goes on when bytes of a header are so.
    pub fn bytes(self, header: Header, offset: u32, how: Compare, value: &[u8]) -> Rule {
        self.load_bytes(header, offset, value.len() as u32).compare(how, value)
    }

    /// Goes on when bytes of a header are so under a mask.
    pub fn masked(self, header: Header, offset: u32, mask: &[u8], how: Compare, value: &[u8]) -> Rule {
        self.load_bytes(header, offset, mask.len() as u32)
            .bits(mask, &vec![0; mask.len()])
            .compare(how, value)
    }

    /// Goes on when that of the packet is an element of a set that has not ended.
    pub fn meta_in(self, key: Meta, set: &str) -> Rule {
        self.load_meta(key).then("lookup", &Attrs::new().text(1, set).be32(2, REGISTER))
    }

    /// Puts that of the packet into a set, or has it stay there for so many milliseconds more.
    pub fn refresh(self, key: Meta, set: &str, lasts_ms: u64) -> Rule {
        const UPDATE: u32 = 1;
        let data = Attrs::new().text(1, set).be32(3, UPDATE).be32(4, REGISTER).be64(6, lasts_ms);
        self.load_meta(key).then("dynset", &data)
    }

    /// Goes on when it comes in at, or goes out at, the loopback interface (`Eq`) or at any other one (`Ne`).
    pub fn loopback(self, key: Meta, how: Compare) -> Rule {
        let mut name = [0; 16];
        name[..2].copy_from_slice(b"lo");
        self.meta(key, how, &name)
    }

    /// Goes on for so many of 2³² packets, at random.
    pub fn chance(self, share: u32) -> Rule {
        let swap = Attrs::new().be32(1, REGISTER).be32(2, REGISTER).be32(3, 1).be32(4, 4).be32(5, 4);
        // A modulus of 2³²-1 is the largest there is.
        self.then("numgen", &Attrs::new().be32(1, REGISTER).be32(2, u32::MAX).be32(3, 1))
            .then("byteorder", &swap)
            .compare(Compare::Lt, &share.to_be_bytes())
    }

    /// Counts in a counter with a name.
    pub fn count(self, counter: &str) -> Rule {
        self.then("objref", &Attrs::new().be32(1, COUNTER).text(2, counter))
    }

    /// Decides.
    pub fn verdict(self, verdict: Verdict<'_>) -> Rule {
        let (code, chain) = match verdict {
            Verdict::Drop => (0_i32, None),
            Verdict::Accept => (1, None),
            Verdict::Jump(chain) => (-3, Some(chain)),
            Verdict::Goto(chain) => (-4, Some(chain)),
            Verdict::Return => (-5, None),
        };
        let mut inner = Attrs::new().be32(1, code as u32);
        if let Some(chain) = chain {
            inner = inner.text(2, chain);
        }
        self.then("immediate", &Attrs::new().be32(1, 0).nest(2, &Attrs::new().nest(2, &inner)))
    }

    fn immediate(self, value: &[u8]) -> Rule {
        self.then("immediate", &Attrs::new().be32(1, REGISTER).nest(2, &Attrs::new().raw(1, value)))
    }

    /// Sends it out at another interface instead.
    pub fn forward(self, interface: u32) -> Rule {
        self.immediate(&interface.to_ne_bytes()).then("fwd", &Attrs::new().be32(1, REGISTER))
    }

    /// Lets a program decide; without one it goes on.
    pub fn queue(self, by: QueueBy, number: u16) -> Rule {
        match by {
            QueueBy::Native => {
                let one = 1_u16.to_be_bytes();
                self.then("queue", &Attrs::new().raw(1, &number.to_be_bytes()).raw(2, &one).raw(3, &one))
            }
            QueueBy::Compat => {
                // struct xt_NFQ_info_v3: number, how many queues, flags (1: bypass); aligned to eight bytes.
                let mut info = [0; 8];
                info[..2].copy_from_slice(&number.to_ne_bytes());
                info[2..4].copy_from_slice(&1_u16.to_ne_bytes());
                info[4..6].copy_from_slice(&1_u16.to_ne_bytes());
                self.then("target", &Attrs::new().text(1, "NFQUEUE").be32(2, 3).raw(3, &info))
            }
        }
    }

    /// Refuses it: TCP with a reset, else with ICMP.
    pub fn reject(self, with_reset: bool) -> Rule {
        // ICMPX (2) picks the message of either family; code 1 is "port unreachable".
        let (kind, code) = if with_reset { (1, 0) } else { (2, 1) };
        self.then("reject", &Attrs::new().be32(1, kind).raw(2, &[code]))
    }

    /// Goes on for the first packet of a TCP connection alone. What changes addresses must ask for that: where the kernel
    /// did not track connections before, each of their packets looks like a first one, and they would be reset.
    pub fn opens_tcp(self) -> Rule {
        // Of the flags (offset 13) FIN, SYN, RST and ACK, only SYN.
        self.meta(Meta::Transport, Compare::Eq, &[6]).masked(
            Header::Transport,
            13,
            &[0x17],
            Compare::Eq,
            &[0x02],
        )
    }

    /// Leads it to a port of this machine instead.
    pub fn redirect(self, port: u16) -> Rule {
        self.immediate(&port.to_be_bytes()).then("redir", &Attrs::new().be32(1, REGISTER))
    }
}
