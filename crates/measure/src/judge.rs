//! Does a signature count: is it good, and does it lead to an entry of a database?

use super::error::Problem;
use super::rules::Rules;
use firmware::chain::{Library, Refusal};
use firmware::pkcs7::Flaw;
use firmware::signature_list::Entry;
use firmware::{Certificate, Effect, Hash, Program, Signature, Skipped};

/// How the signatures of a program are judged, and what was found that speaks against them.
pub(super) struct Judge<'a> {
    program: &'a Program,
    rules: Rules,
    library: Library,
    saw_digest: bool,
    saw_signature: bool,
    /// The first form of a signature that is passed over.
    odd: Option<&'static str>,
    /// The first chain that was built and did not hold: the anchor, and why.
    refused: Option<(String, Refusal)>,
}

impl<'a> Judge<'a> {
    pub fn new(program: &'a Program, rules: Rules, library: Library) -> Self {
        Self {
            program,
            rules,
            library,
            saw_digest: false,
            saw_signature: false,
            odd: None,
            refused: None,
        }
    }

    pub fn follows_reference(&self) -> bool {
        self.rules.follow_reference
    }

    /// Fails for a program with an entry beside its signatures that firmware, or shim, may not pass over.
    pub fn check_skipped(&self) -> Result<(), Problem> {
        let mut skipped = self.program.skipped.iter();
        let decides = |one: &&Skipped| match one.effect {
            Effect::PassedOver => false,
            Effect::FirmwareRefuses => self.library == Library::Firmware,
            Effect::Unknown => true,
        };
        match skipped.find(decides) {
            Some(one) => Err(Problem::SignatureUnread {
                reason: one.reason.clone(),
            }),
            None => Ok(()),
        }
    }

    /// False for a signature that firmware, or shim, passes over.
    pub fn reads(&mut self, signature: &Signature) -> bool {
        let odd = match self.library {
            _ if self.rules.follow_reference => None,
            Library::Firmware if signature.firmware_hash().is_none() => {
                Some("has no ContentInfo around it, or another header than firmware reads")
            }
            Library::Firmware if !signature.is_read_by_firmware() => {
                Some("has a number that is not in its shortest form: firmware does not read it")
            }
            Library::Shim if !signature.is_wrapped() => {
                Some("has no ContentInfo around it: shim refuses it")
            }
            Library::Shim if signature.image_hash() != Hash::Sha256 => {
                Some("is over a digest that is not SHA-256: shim refuses it")
            }
            _ => None,
        };
        self.odd = self.odd.or(odd);
        odd.is_none()
    }

    /// What a signature must be over.
    fn digest_for(&self, signature: &Signature) -> Result<&'a [u8], Problem> {
        match (self.library, signature.firmware_hash()) {
            (Library::Shim, _) => Ok(self.program.image_digest()),
            (Library::Firmware, Some(hash)) => {
                self.program.digest(hash).ok_or(Problem::DigestMissing)
            }
            // edk2 passes over the signature: no digest is the one that it is over.
            (Library::Firmware, None) => Ok(&[]),
        }
    }

    /// The first of these entries that the signature leads to. Fails where that cannot be said of an entry: whatever
    /// stands behind it may then be the wrong one.
    pub fn first<'e>(
        &mut self,
        signature: &Signature,
        entries: impl Iterator<Item = (&'e Entry, Result<&'e Certificate, &'e str>)>,
    ) -> Result<Option<(&'e Entry, &'e Certificate)>, Problem> {
        for (entry, anchor) in entries {
            let anchor = match anchor {
                Ok(anchor) => anchor,
                Err(_) if !self.rules.verify_signatures => continue,
                Err(reason) => {
                    return Err(Problem::EntryUnread {
                        owner: entry.owner,
                        offset_bytes: entry.offset_bytes,
                        reason: reason.to_owned(),
                    });
                }
            };
            if self.accepts(signature, anchor)? {
                return Ok(Some((entry, anchor)));
            }
        }
        Ok(None)
    }

    /// True where the signature is good and leads to `anchor`.
    pub fn accepts(
        &mut self,
        signature: &Signature,
        anchor: &Certificate,
    ) -> Result<bool, Problem> {
        let bag = signature.bag();
        if self.rules.follow_reference {
            return Ok(bag.leads_by_reference(anchor));
        }
        if !self.rules.verify_signatures {
            return Ok(bag.names_lead_to(anchor, self.library));
        }
        let led = bag.leads_to(anchor, self.library);
        if led == Err(Refusal::Unrelated) {
            return Ok(false);
        }
        let digest = self.digest_for(signature)?;
        let led = match signature.flaw(digest) {
            Some(Flaw::Digest) => {
                self.saw_digest = true;
                return Ok(false);
            }
            Some(Flaw::Signature) => {
                self.saw_signature = true;
                return Ok(false);
            }
            Some(Flaw::Unknown) => led.and(Err(Refusal::Unknown {
                certificate: signature.signer().subject().to_string(),
                what: "signed the program by an algorithm or a key that cannot be verified here",
            })),
            None => led,
        };
        match led {
            Ok(()) => Ok(true),
            Err(refusal @ Refusal::Unknown { .. }) => Err(Problem::ChainUnknown {
                signer: signature.signer().subject().to_string(),
                anchor: anchor.subject().to_string(),
                refusal: Box::new(refusal),
            }),
            Err(Refusal::Signature { .. }) => {
                self.saw_signature = true;
                Ok(false)
            }
            Err(refusal) => {
                let refused = (anchor.subject().to_string(), refusal);
                self.refused.get_or_insert(refused);
                Ok(false)
            }
        }
    }

    /// Why the program does not boot, after no signature was accepted.
    pub fn verdict(self, checked: &'static str) -> Problem {
        let signers: Vec<String> = self
            .program
            .signatures
            .iter()
            .map(|signature| signature.signer().subject().to_string())
            .collect();
        if signers.is_empty() {
            return match self.program.skipped.first() {
                Some(skipped) => Problem::NoSignatureRead {
                    reason: skipped.reason.clone(),
                },
                None => Problem::Unsigned { checked },
            };
        }
        let signers = signers.join(" and by ");
        if self.saw_digest {
            Problem::DigestMismatch { signers }
        } else if self.saw_signature {
            Problem::SignatureInvalid { signers }
        } else if let Some((anchor, refusal)) = self.refused {
            Problem::ChainRefused {
                signers,
                anchor,
                refusal: Box::new(refusal),
            }
        } else if let Some(problem) = self.odd {
            Problem::SignatureForm { problem }
        } else {
            Problem::Untrusted { signers, checked }
        }
    }
}
