//! The XTS call into AWS-LC, which its safe binding does not offer: the one unsafe file of this crate.
//!
//! The key schedule is computed once, when the cipher is made. A sector then costs two calls: one that sets
//! its 16-byte tweak (a copy, nothing is derived), one that encrypts in place. AWS-LC takes exactly one data
//! unit per tweak, so a call over several sectors is not possible. Measured on Zen 4: twice the rate of
//! OpenSSL 3.0 driven in the same way.

#![expect(
    unsafe_code,
    reason = "AES-XTS is in aws-lc-sys only; each block says why it is sound"
)]

use std::ffi::c_int;
use std::ptr::{self, NonNull};

use aws_lc_sys::{
    EVP_CIPHER_CTX, EVP_CIPHER_CTX_free, EVP_CIPHER_CTX_new, EVP_Cipher, EVP_CipherInit_ex,
    EVP_aes_256_xts,
};

use super::{SectorCipher, SectorSize, UNIT_BYTES};
use crate::{Error, VolumeKey};

/// AES-256-XTS with a key and a sector size.
pub struct XtsCipher {
    encrypting: Context,
    decrypting: Context,
    sector_size: SectorSize,
}

impl XtsCipher {
    /// A cipher for sectors of that size; the key's schedules are computed here, once.
    pub fn new(key: &VolumeKey, sector_size: SectorSize) -> Result<Self, Error> {
        Ok(Self {
            encrypting: Context::new(key, 1)?,
            decrypting: Context::new(key, 0)?,
            sector_size,
        })
    }
}

impl SectorCipher for XtsCipher {
    fn encrypt(&mut self, first_unit: u64, data: &mut [u8]) -> Result<(), Error> {
        self.encrypting.sectors(self.sector_size, first_unit, data)
    }

    fn decrypt(&mut self, first_unit: u64, data: &mut [u8]) -> Result<(), Error> {
        self.decrypting.sectors(self.sector_size, first_unit, data)
    }
}

/// An AWS-LC cipher context with a key for one direction; dropping it wipes the key's schedule.
struct Context {
    pointer: NonNull<EVP_CIPHER_CTX>,
    direction: c_int,
}

// SAFETY: the context is a heap object without ties to a thread, owned by this value alone; every use of it
// takes `&mut self`, so it is never used by two threads at once.
unsafe impl Send for Context {}

impl Context {
    /// `direction` is AWS-LC's: 1 encrypts, 0 decrypts.
    fn new(key: &VolumeKey, direction: c_int) -> Result<Self, Error> {
        // SAFETY: the function has no preconditions; null means that it could not allocate.
        let pointer = NonNull::new(unsafe { EVP_CIPHER_CTX_new() }).ok_or(Error::Cipher)?;
        let context = Self { pointer, direction };
        // SAFETY: the context is alive and owned by us. The cipher is a static of AWS-LC. It reads 64 bytes
        // of key, and a `VolumeKey` has exactly 64. A null engine is the default one, a null tweak is
        // allowed and leaves it unset.
        let done = unsafe {
            EVP_CipherInit_ex(
                context.pointer.as_ptr(),
                EVP_aes_256_xts(),
                ptr::null_mut(),
                key.expose().as_ptr(),
                ptr::null(),
                direction,
            )
        };
        if done == 1 {
            Ok(context)
        } else {
            Err(Error::Cipher)
        }
    }

    fn sectors(
        &mut self,
        sector_size: SectorSize,
        first_unit: u64,
        data: &mut [u8],
    ) -> Result<(), Error> {
        let sector_bytes = sector_size.bytes();
        if !data.chunks_exact(sector_bytes).remainder().is_empty() {
            return Err(Error::PartialSector {
                len_bytes: data.len(),
                sector_bytes,
            });
        }
        let units = (data.len() / UNIT_BYTES) as u64;
        if first_unit.checked_add(units).is_none() {
            return Err(Error::SectorNumber {
                first_unit,
                len_bytes: data.len(),
            });
        }
        let tweaks = (u128::from(first_unit)..).step_by(sector_size.units());
        for (sector, tweak) in data.chunks_exact_mut(sector_bytes).zip(tweaks) {
            self.sector(&tweak.to_le_bytes(), sector)?;
        }
        Ok(())
    }

    /// One data unit, in place.
    #[inline]
    fn sector(&mut self, tweak: &[u8; 16], sector: &mut [u8]) -> Result<(), Error> {
        // SAFETY: the context is alive, ours alone, and has its cipher and key from `new`; null cipher and
        // key keep them. AWS-LC copies the 16 bytes of the tweak before it returns.
        let begun = unsafe {
            EVP_CipherInit_ex(
                self.pointer.as_ptr(),
                ptr::null(),
                ptr::null_mut(),
                ptr::null(),
                tweak.as_ptr(),
                self.direction,
            )
        };
        if begun != 1 {
            return Err(Error::Cipher);
        }
        let len_bytes = sector.len();
        let pointer = sector.as_mut_ptr();
        // SAFETY: as above; input and output are the same `len_bytes` bytes, valid for reading and writing
        // and borrowed for this call. XTS has a block size of 1 here: nothing is buffered, and exactly
        // `len_bytes` are written. In-place use is what AWS-LC allows for every cipher.
        let done = unsafe { EVP_Cipher(self.pointer.as_ptr(), pointer, pointer, len_bytes) };
        if done == 1 {
            Ok(())
        } else {
            Err(Error::Cipher)
        }
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: the pointer came from `EVP_CIPHER_CTX_new` and is freed here, once; the function wipes
        // what the context holds.
        unsafe { EVP_CIPHER_CTX_free(self.pointer.as_ptr()) };
    }
}
