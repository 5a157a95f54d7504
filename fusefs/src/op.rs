//! What can be done with files: the operations, and sets of them.

use std::ops::BitOr;

macro_rules! operations {
    ($($(#[doc = $doc:literal])* $name:ident = $word:literal,)*) => {
        /// An operation on a file or a directory.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum Op { $($(#[doc = $doc])* $name,)* }

        impl Op {
            /// All of them.
            pub const ALL: &'static [Op] = &[$(Op::$name,)*];

            /// Its word in files, on command lines and in lists.
            pub fn word(self) -> &'static str {
                match self { $(Op::$name => $word,)* }
            }
        }
    };
}

operations! {
    /// A name is looked up in a directory.
    Lookup = "lookup",
    /// Attributes are read.
    Getattr = "getattr",
    /// Owner, permissions or times are set.
    Setattr = "setattr",
    /// A file is cut or extended to a length.
    Truncate = "truncate",
    /// The target of a symbolic link is read.
    Readlink = "readlink",
    /// A special file is made.
    Mknod = "mknod",
    /// A directory is made.
    Mkdir = "mkdir",
    /// A name is removed.
    Unlink = "unlink",
    /// A directory is removed.
    Rmdir = "rmdir",
    /// A symbolic link is made.
    Symlink = "symlink",
    /// A name is changed.
    Rename = "rename",
    /// A file gets another name.
    Link = "link",
    /// A file is opened.
    Open = "open",
    /// A file is created and opened.
    Create = "create",
    /// Data is read.
    Read = "read",
    /// Data is written.
    Write = "write",
    /// A descriptor is closed by its process.
    Flush = "flush",
    /// The last descriptor of an opening is closed.
    Release = "release",
    /// Data is made durable: fsync, fdatasync, msync.
    Fsync = "fsync",
    /// A directory is opened.
    Opendir = "opendir",
    /// A directory is listed.
    Readdir = "readdir",
    /// A directory is made durable.
    Fsyncdir = "fsyncdir",
    /// The filesystem's size is asked for.
    Statfs = "statfs",
    /// An extended attribute is set.
    Setxattr = "setxattr",
    /// An extended attribute is read.
    Getxattr = "getxattr",
    /// Extended attributes are listed.
    Listxattr = "listxattr",
    /// An extended attribute is removed.
    Removexattr = "removexattr",
    /// Space is reserved or given back.
    Fallocate = "fallocate",
    /// Data is copied within the filesystem.
    Copy = "copy_file_range",
    /// Data or a hole is looked for.
    Lseek = "lseek",
}

impl Op {
    /// The operation of that word.
    pub fn of(word: &str) -> Option<Op> {
        Op::ALL.iter().copied().find(|op| op.word() == word)
    }
}

/// Some operations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Ops(u64);

impl Ops {
    pub(crate) const NONE: Ops = Ops(0);

    /// Those of a list.
    pub(crate) const fn of(list: &[Op]) -> Ops {
        let (mut bits, mut i) = (0, 0);
        while i < list.len() {
            bits |= 1 << list[i] as u8;
            i += 1;
        }
        Ops(bits)
    }

    /// All but closing, which no program is told anything about.
    pub(crate) fn all() -> Ops {
        Ops(Ops::of(Op::ALL).0 & !Ops::of(&[Op::Release]).0)
    }

    /// Those of words of the catalogue; `all` is all of them.
    pub(crate) fn of_words(words: &[String]) -> Ops {
        words.iter().fold(Ops::NONE, |ops, word| match word.as_str() {
            "all" => ops | Ops::all(),
            word => Op::of(word).map_or(ops, |op| ops | Ops::of(&[op])),
        })
    }

    pub(crate) fn has(self, op: Op) -> bool {
        self.0 & (1 << op as u8) != 0
    }

    pub(crate) fn meets(self, other: Ops) -> bool {
        self.0 & other.0 != 0
    }
}

impl BitOr for Ops {
    type Output = Ops;
    fn bitor(self, other: Ops) -> Ops {
        Ops(self.0 | other.0)
    }
}

/// Operations that change something.
pub(crate) const CHANGES: Ops = Ops::of(&[
    Op::Setattr,
    Op::Truncate,
    Op::Mknod,
    Op::Mkdir,
    Op::Unlink,
    Op::Rmdir,
    Op::Symlink,
    Op::Rename,
    Op::Link,
    Op::Create,
    Op::Write,
    Op::Setxattr,
    Op::Removexattr,
    Op::Fallocate,
    Op::Copy,
]);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_catalogue_has_the_same_words() {
        let mut known = model::catalogue::FILE_OPERATIONS.to_vec();
        assert_eq!(known.remove(0), "all");
        assert_eq!(known, Op::ALL.iter().map(|op| op.word()).collect::<Vec<_>>());
        assert!(Op::ALL.len() < 64);
        assert!(Ops::all().has(Op::Read) && !Ops::all().has(Op::Release));
    }
}
