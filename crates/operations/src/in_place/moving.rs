//! Moving the data: a chunk of plain bytes becomes ciphertext 16 MiB further on, from the filesystem's end to its start.
//!
//! A chunk is not longer than the header, so its destination begins where the chunk ends, or behind: what a chunk needs
//! to be converted again is never overwritten by converting it. Key, tweaks, edits and the map of used blocks are the
//! same whenever it is, so the ciphertext is.

use super::tail::{KEPT_HEAD_BYTES, Tail};
use super::view::PlainView;
use crate::Error;
use crate::common::data_pass::{self, Encryption, FreeSpace, Part, Pass};
use crate::common::half_converted::record::{Facts, Sha256, sha256};
use crate::common::observer::{Observer, StopFlag};
use base::number::to_usize;
use base::secret::Entropy;
use base::storage::{MemoryStorage, ReadAt, WriteAt};
use filesystem::ext4::{BlockBitmap, Filesystem};
use luks2::{HEAD_BYTES, VolumeKey};

/// How many random bytes are written at a time.
const RANDOM_BYTES: u64 = 1 << 20;

/// What moves, and with which key.
pub struct Moving<'a> {
    /// The partition.
    pub partition: &'a dyn WriteAt,
    /// Which conversion.
    pub facts: Facts,
    /// The key.
    pub volume_key: &'a VolumeKey,
    /// How many threads encrypt.
    pub threads: usize,
}

impl Moving<'_> {
    /// Which bytes of the edited filesystem are in use, at a boundary.
    pub fn used(&self, tail: &Tail, boundary_bytes: u64) -> Result<BlockBitmap, Error> {
        let view = self.view(tail, boundary_bytes);
        let used = Filesystem::open_read_only(&view).and_then(|open| open.used_blocks());
        used.map_err(|problem| Error::in_root_filesystem(problem, &(0..view.len_bytes())))
    }

    /// Converts the chunk that ends at a boundary, and makes it durable. Returns the new boundary, and the digest of what
    /// was written.
    pub fn convert(
        &self,
        tail: &Tail,
        used: &BlockBitmap,
        boundary_bytes: u64,
        observer: &dyn Observer,
    ) -> Result<(u64, Sha256), Error> {
        let start = self.facts.chunk_start_bytes(boundary_bytes);
        let view = self.view(tail, boundary_bytes);
        let len = to_usize(boundary_bytes - start); // 16 MiB at most
        let chunk = MemoryStorage::new(vec![0; len]);
        let part = Part {
            source: Box::new(view),
            used: Some(used),
            range: start..boundary_bytes,
            output_bytes: 0,
            free_space: FreeSpace::Encrypt,
            encryption: Some(self.encryption(start)),
        };
        // A stop is heard between chunks.
        let parts = [part];
        let pass = Pass::new(&parts, &chunk);
        data_pass::run_one(pass, self.threads, observer, &StopFlag::new())?;
        let bytes = chunk.into_bytes();
        self.partition
            .write_all_at(&bytes, HEAD_BYTES + start)
            .and_then(|()| self.partition.flush())
            .map_err(Error::Output)?;
        Ok((start, sha256(&bytes)))
    }

    /// SHA-256 of the chunk behind a boundary as it lies there.
    pub fn last_sha256(&self, boundary_bytes: u64) -> Result<Sha256, Error> {
        let end = self.facts.last_chunk_end_bytes(boundary_bytes);
        let len_bytes = end.unwrap_or(boundary_bytes) - boundary_bytes;
        let len = to_usize(len_bytes); // 16 MiB at most
        let chunk = self.partition.read_vec(HEAD_BYTES + boundary_bytes, len);
        Ok(sha256(&chunk.map_err(Error::Source)?))
    }

    /// Overwrites what is left when all data have moved: the plain bytes below the segment, and behind the filesystem
    /// what lay there, the tail among it. Makes it durable.
    pub fn clear_rest(
        &self,
        entropy: &mut dyn Entropy,
        observer: &dyn Observer,
        stop: &StopFlag,
    ) -> Result<(), Error> {
        let mut random = vec![0; to_usize(RANDOM_BYTES)];
        for at in (KEPT_HEAD_BYTES..HEAD_BYTES).step_by(random.len()) {
            entropy.fill(&mut random)?;
            self.partition
                .write_all_at(&random, at)
                .map_err(Error::Output)?;
        }
        let filesystem_bytes = self.facts.filesystem_bytes;
        let nothing = MemoryStorage::default();
        let part = Part {
            source: Box::new(nothing),
            used: None,
            range: filesystem_bytes..self.facts.segment_bytes(),
            output_bytes: HEAD_BYTES + filesystem_bytes,
            free_space: FreeSpace::Encrypt,
            encryption: Some(self.encryption(filesystem_bytes)),
        };
        let parts = [part];
        data_pass::run_one(
            Pass::new(&parts, self.partition),
            self.threads,
            observer,
            stop,
        )?;
        self.partition.flush().map_err(Error::Output)
    }

    fn view<'v>(&'v self, tail: &'v Tail, boundary_bytes: u64) -> PlainView<'v> {
        PlainView {
            partition: self.partition,
            tail,
            facts: &self.facts,
            volume_key: self.volume_key,
            boundary_bytes,
        }
    }

    fn encryption(&self, start_bytes: u64) -> Encryption<'_> {
        Encryption {
            volume_key: self.volume_key,
            sector_size: self.facts.sector_size,
            first_unit: start_bytes / 512,
        }
    }
}
