//! Another process's memory, held so that it cannot become another one's.

use host::{ProcessError, ProcessId};
use nix::sys::ptrace;
use nix::unistd::Pid;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;

/// The memory of a process as `/proc/PID/mem` gives it: also where the process itself may not write.
#[derive(Debug)]
pub(super) struct Memory {
    id: ProcessId,
    file: File,
}

/// Why memory cannot be had.
#[derive(Debug, thiserror::Error)]
pub(super) enum MemoryError {
    /// The process is gone, or has become another program.
    #[error("process {0} is gone")]
    Gone(u32),
    /// Not for us.
    #[error("its memory may not be opened")]
    NotPermitted,
    /// The kernel's word.
    #[error("{0}")]
    Kernel(#[from] io::Error),
}

impl Memory {
    /// Opens it to be written.
    pub fn open(id: ProcessId) -> Result<Memory, MemoryError> {
        Memory::open_as(id, true)
    }

    /// Opens it only to be read.
    pub fn open_to_read(id: ProcessId) -> Result<Memory, MemoryError> {
        Memory::open_as(id, false)
    }

    fn open_as(id: ProcessId, write: bool) -> Result<Memory, MemoryError> {
        let opened = OpenOptions::new().read(true).write(write).open(format!("/proc/{}/mem", id.pid));
        let file = match opened {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::PermissionDenied => return Err(MemoryError::NotPermitted),
            Err(_) if !id.alive() => return Err(MemoryError::Gone(id.pid)),
            Err(e) => return Err(e.into()),
        };
        // The file holds the memory that it was opened for, whoever has the number from now on.
        match id.stat() {
            Err(ProcessError::Gone(pid)) => Err(MemoryError::Gone(pid)),
            _ => Ok(Memory { id, file }),
        }
    }

    /// Reads so many bytes.
    pub fn read(&self, at: u64, length: usize) -> Result<Vec<u8>, MemoryError> {
        let mut bytes = vec![0; length];
        match self.file.read_exact_at(&mut bytes, at) {
            Ok(()) => Ok(bytes),
            // Of a program that has ended or become another one nothing can be read.
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof || !self.id.alive() => {
                Err(MemoryError::Gone(self.id.pid))
            }
            Err(e) => Err(e.into()),
        }
    }

    /// Reads at most so many bytes: what is mapped there.
    pub fn read_some(&self, at: u64, most: usize) -> Vec<u8> {
        let mut bytes = vec![0; most];
        let mut had = 0;
        while had < most {
            match self.file.read_at(&mut bytes[had..], at + had as u64) {
                Ok(n) if n > 0 => had += n,
                _ => break,
            }
        }
        bytes.truncate(had);
        bytes
    }

    /// Writes, also where the process itself may not. Some kernels allow that to a debugger alone: then `stopped`, one of
    /// its threads that is stopped under our eyes, makes it possible.
    pub fn write(&self, at: u64, bytes: &[u8], stopped: Option<Pid>) -> Result<(), MemoryError> {
        match (self.file.write_all_at(bytes, at), stopped) {
            (Ok(()), _) => Ok(()),
            (Err(_), Some(thread)) => self.poke(thread, at, bytes),
            (Err(_), None) if !self.id.alive() => Err(MemoryError::Gone(self.id.pid)),
            (Err(e), None) => Err(e.into()),
        }
    }

    /// Word by word, as a debugger writes breakpoints.
    fn poke(&self, thread: Pid, at: u64, bytes: &[u8]) -> Result<(), MemoryError> {
        const WORD: u64 = 8;
        let (from, to) = (at & !(WORD - 1), (at + bytes.len() as u64).next_multiple_of(WORD));
        let mut whole = self.read(from, (to - from) as usize)?;
        let skip = (at - from) as usize;
        whole[skip..skip + bytes.len()].copy_from_slice(bytes);
        for (i, word) in whole.chunks_exact(WORD as usize).enumerate() {
            let word = i64::from_ne_bytes(word.try_into().unwrap_or_default());
            let place = (from + i as u64 * WORD) as ptrace::AddressType;
            ptrace::write(thread, place, word).map_err(io::Error::from)?;
        }
        Ok(())
    }
}
