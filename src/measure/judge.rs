//! Does a signature count: is it good, and does it lead to an entry of a database?

use super::error::Problem;
use super::rules::Rules;
use crate::efi::chain::{Library, Refusal};
use crate::efi::pkcs7::Flaw;
use crate::efi::signature_list::Entry;
use crate::efi::{Certificate, Program, Signature};

/// How the signatures of a program are judged, and what was found that speaks against them.
pub(super) struct Judge<'a> {
    program: &'a Program,
    rules: Rules,
    library: Library,
    saw_digest: bool,
    saw_signature: bool,
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
            refused: None,
        }
    }

    pub fn follows_reference(&self) -> bool {
        self.rules.follow_reference
    }

    /// The first of these entries that the signature leads to. Fails where that cannot be said of an entry: whatever
    /// stands behind it may then be the wrong one.
    pub fn first<'e>(
        &mut self,
        signature: &Signature,
        entries: impl Iterator<Item = (&'e Entry, &'e Certificate)>,
    ) -> Result<Option<(&'e Entry, &'e Certificate)>, Problem> {
        for (entry, anchor) in entries {
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
        let led = match signature.flaw(self.program.image_digest()) {
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
            return Problem::Unsigned { checked };
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
        } else {
            Problem::Untrusted { signers, checked }
        }
    }
}
