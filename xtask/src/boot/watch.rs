//! Watching a boot until the console says how it ends.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::account::{self, Account};
use super::console::{Console, find};
use super::machine::{Heard, Running};
use super::sign::{self, RECOVERY_PROMPT, SYSTEMDS_PROMPT, Sign};

/// A guest that writes nothing for so long is given up. A good one was silent for two minutes on a busy machine.
const SILENCE: Duration = Duration::from_secs(900);
/// How long a boot may take at all.
const LIMIT: Duration = Duration::from_secs(3600);

/// How a boot ended.
#[derive(Debug)]
pub enum Outcome {
    /// A unit in the real root told what it is booted from.
    Root(Account),
    Refused(Refusal),
    /// Nothing that decides was seen. This is neither a success nor a refusal.
    Unknown(String),
}

/// A boot that ended before its root.
#[derive(Debug)]
pub struct Refusal {
    /// What ended it.
    pub decisive: &'static str,
    /// All that the console had to say until then.
    pub text: Vec<u8>,
}

impl Refusal {
    /// Whether it is the one that was expected, with its reason.
    pub fn is(&self, sign: &Sign) -> bool {
        self.decisive == sign.decisive && find(&self.text, sign.reason).is_some()
    }
}

/// What is typed where a recovery key is asked for.
#[derive(Clone, Copy)]
pub enum Answer<'a> {
    /// No key: the reader then says why it had to ask.
    Wrong,
    Key(&'a str),
}

/// Reads the console of a running machine until something decides. `nonce` is what the guest's disk alone knows.
pub fn watch(running: &mut Running, nonce: &str, answer: Answer, log: &Path) -> Result<Outcome> {
    let mut console = Console::new(log)?;
    let prompts: &[_] = match answer {
        Answer::Wrong => &[RECOVERY_PROMPT],
        Answer::Key(_) => &[RECOVERY_PROMPT, SYSTEMDS_PROMPT],
    };
    let mut decision = Decision::new(nonce, prompts);
    let start = Instant::now();
    loop {
        let reason = match running.wait(SILENCE)? {
            Heard::Bytes(_) if start.elapsed() > LIMIT => {
                format!("nothing decides within {LIMIT:?}")
            }
            Heard::Bytes(bytes) => {
                console.push(&bytes)?;
                match decision.look(console.text()) {
                    Some(Seen::Outcome(outcome)) => return Ok(outcome),
                    Some(Seen::RecoveryPrompt) => running.type_line(match answer {
                        Answer::Wrong => "0",
                        Answer::Key(key) => key,
                    })?,
                    None => {}
                }
                continue;
            }
            Heard::Silence => format!("the console is silent for {SILENCE:?}"),
            Heard::End => "the guest ended without a word that decides".to_owned(),
        };
        return Ok(Outcome::Unknown(reason));
    }
}

enum Seen {
    Outcome(Outcome),
    RecoveryPrompt,
}

/// What was looked at already.
struct Decision {
    /// What is answered.
    prompts: &'static [&'static str],
    beginning: String,
    end: String,
    /// Nothing before this place is looked at again.
    floor: usize,
    /// Up to this place everything was looked at; a text may have begun shortly before.
    scanned: usize,
    /// Where the account's lines begin.
    account: Option<usize>,
}

impl Decision {
    /// No text that is looked for is longer.
    const LONGEST: usize = 128;

    fn new(nonce: &str, prompts: &'static [&'static str]) -> Self {
        Self {
            prompts,
            beginning: account::beginning(nonce),
            end: account::end(nonce),
            floor: 0,
            scanned: 0,
            account: None,
        }
    }

    /// The first thing in `text` that decides, behind what was seen before.
    fn look(&mut self, text: &[u8]) -> Option<Seen> {
        let from = self.scanned.saturating_sub(Self::LONGEST).max(self.floor);
        self.scanned = text.len();
        let Some(account) = self.account else {
            return self.look_for_first(text, from);
        };
        let end = from.max(account) + find(&text[from.max(account)..], &self.end)?;
        let lines = String::from_utf8_lossy(&text[account..end]);
        Some(Seen::Outcome(Outcome::Root(Account::read(&lines))))
    }

    fn look_for_first(&mut self, text: &[u8], from: usize) -> Option<Seen> {
        let place = |word: &str| find(&text[from..], word).map_or(usize::MAX, |at| from + at);
        let account = place(&self.beginning);
        let first_of = |texts: &[&'static str]| {
            let places = texts.iter().map(|text| (place(text), *text));
            places.min().unwrap_or((usize::MAX, ""))
        };
        let (prompt, asked) = first_of(self.prompts);
        let (refusal, decisive) = first_of(sign::DECISIVE);
        match account.min(prompt).min(refusal) {
            usize::MAX => None,
            first if first == account => {
                self.account = Some(account + self.beginning.len());
                self.look(text)
            }
            first if first == prompt => {
                self.floor = prompt + asked.len();
                Some(Seen::RecoveryPrompt)
            }
            _ => Some(Seen::Outcome(Outcome::Refused(Refusal {
                decisive,
                text: text.to_vec(),
            }))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(text: &str) -> String {
        let mut decision = Decision::new("17", &[RECOVERY_PROMPT]);
        let mut words = Vec::new();
        // As it comes: byte after byte.
        for end in 0..=text.len() {
            match decision.look(&text.as_bytes()[..end]) {
                Some(Seen::RecoveryPrompt) => words.push("asks".to_owned()),
                Some(Seen::Outcome(Outcome::Root(account))) => {
                    words.push(format!("root {}", account.fact("root")));
                    break;
                }
                Some(Seen::Outcome(Outcome::Refused(refusal))) => {
                    words.push(refusal.decisive.to_owned());
                    break;
                }
                Some(Seen::Outcome(Outcome::Unknown(_))) | None => {}
            }
        }
        words.join(", ")
    }

    #[test]
    fn an_account_counts_when_it_is_whole_and_of_this_disk() {
        let account = "@@boot-proof 17 begin\nroot=x\n@@boot-proof 17 end\n";
        assert_eq!(seen(account), "root x");
        assert_eq!(seen(&account.replace("17", "18")), "");
        assert_eq!(seen(&account.replace(" end", "")), "");
    }

    #[test]
    fn the_first_text_decides() {
        let prompt = "Please enter the recovery key for disk /dev/x: (press TAB)";
        let refusal = "error: current session digest not found in policy data\n";
        let decisive = "current session digest not found in policy data";
        assert_eq!(
            seen(&format!("{prompt}{prompt}\n{refusal}Boot has failed")),
            format!("asks, asks, {decisive}")
        );
        assert_eq!(seen("rd.emergency=poweroff panic=5 boot has failed"), "");
        assert_eq!(
            seen("Warning: Boot has failed. To debug"),
            "Boot has failed"
        );
    }

    #[test]
    fn a_refusal_is_the_expected_one_with_its_reason_alone() {
        let refusal = |text: &str| Refusal {
            decisive: "FAILED",
            text: text.into(),
        };
        let sign = Sign {
            decisive: "FAILED",
            reason: "wrong PCR",
            meaning: "",
        };
        assert!(refusal("wrong PCR\nFAILED").is(&sign));
        assert!(!refusal("wrong TPM\nFAILED").is(&sign));
        assert!(!refusal("wrong PCR\nFAILED").is(&Sign {
            decisive: "Boot has failed",
            ..sign
        }));
    }
}
