//! The walk over all ways to boot: chains times the states that shim's variable may be in.
//!
//! The one thing that a boot leaves behind and the next one measures is shim's SBAT level. So all chains
//! are walked with the variable absent; where a shim leaves another level than it found, all are walked once
//! more with that level, until no new one appears. For an ordinary image that is two rounds with equal
//! values; it matters where a second stage is a newer shim. States are the outer loop and chains the inner
//! one: the order of the branches is the order of the leaves of the policy.

use std::collections::BTreeMap;

use super::authority::{self, Authority};
use super::boot::{Boot, BootFile, Chain};
use super::database::{Database as Entries, passed_over};
use super::error::{Error, Problem, Warning};
use super::event::{Event, Source};
use super::gap::Gap;
use super::identity::{self, Namespace, Shim};
use super::reader::{self, Reader};
use super::release::{self, ORIGINAL_LEVEL, Release};
use super::rules::{Profile, Rules};
use super::sections;
use firmware::config::{Database, UefiConfig};
use firmware::shim::Version;
use firmware::{Hash, Kind, Machine, Program, guid, sbat};
use tpm::{Bank, Selection, composite, event_log};

/// Most branches: the leaves that a policy can have.
const MAX_BRANCHES: usize = 4096;

/// What a prediction is made from.
#[derive(Debug, Clone, Copy)]
pub struct Input<'a> {
    /// The guest's variables.
    pub configuration: &'a UefiConfig,
    /// What it boots.
    pub boot: &'a Boot,
    /// The PCRs that are asked for.
    pub profile: Profile,
    /// Who asks for the key in the end.
    pub reader: Reader,
    /// Whose rules count.
    pub rules: Rules,
    /// The bank.
    pub bank: Bank,
}

/// One way to boot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Branch {
    /// The boot file that it ends in.
    pub kernel: String,
    /// The configuration that it holds for, by the name that the caller gives it; empty where there is one alone.
    pub configuration: String,
    /// What is extended into the PCRs that are asked for, in the order of a log.
    pub events: Vec<Event>,
    /// The values of these PCRs.
    pub pcrs: BTreeMap<u8, Vec<u8>>,
    /// The digest over the values that a policy holds.
    pub composite: Vec<u8>,
    /// What of the boot these values do not cover; `None` where they cover it all.
    pub gap: Option<Gap>,
}

/// All ways to boot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prediction {
    /// In the order of the reference, equal ones kept; the configuration is the outermost loop.
    pub branches: Vec<Branch>,
    /// The PCRs that are asked for.
    pub selection: Selection,
    /// What is worth saying, each once.
    pub warnings: Vec<Warning>,
}

impl Prediction {
    /// Adds the branches of another configuration behind these; the same PCRs must be asked for.
    ///
    /// Fails with [`Error::TooManyBranches`].
    pub fn extend(&mut self, other: Self) -> Result<(), Error> {
        if self.branches.len().saturating_add(other.branches.len()) > MAX_BRANCHES {
            return Err(Error::TooManyBranches { max: MAX_BRANCHES });
        }
        self.branches.extend(other.branches);
        for warning in other.warnings {
            if !self.warnings.contains(&warning) {
                self.warnings.push(warning);
            }
        }
        Ok(())
    }

    /// The composite digests in the order of their first branch, each once: the leaves of the policy.
    pub fn composites(&self) -> Vec<&[u8]> {
        let mut found: Vec<&[u8]> = Vec::new();
        for branch in &self.branches {
            if !found.contains(&branch.composite.as_slice()) {
                found.push(&branch.composite);
            }
        }
        found
    }
}

/// Predicts what a guest measures.
pub fn predict(input: &Input<'_>) -> Result<Prediction, Error> {
    let Input {
        configuration,
        boot,
        profile,
        reader,
        rules,
        bank,
    } = *input;
    if profile == Profile::default() || rules.follow_reference && !has_efi_profile(profile) {
        return Err(Error::NoProfile);
    }
    if configuration.is_empty() && rules.secure_boot && !rules.follow_reference {
        return Err(Error::EmptyConfiguration);
    }
    let mut walk = Walk::new(input)?;
    if !rules.allow_no_kernel && has_no_kernel(boot) {
        return Err(Error::NoKernel);
    }
    if boot.chains.is_empty() {
        return Err(Error::NoChain);
    }
    let mut states = vec![String::new()];
    let mut branches = Vec::new();
    let mut next = 0;
    while let Some(state) = states.get(next).cloned() {
        next = next.saturating_add(1);
        let more = boot
            .chains
            .len()
            .saturating_mul(reader.separators(boot).len());
        if branches.len().saturating_add(more) > MAX_BRANCHES {
            return Err(Error::TooManyBranches { max: MAX_BRANCHES });
        }
        for chain in &boot.chains {
            let (events, left) = walk.branch(*chain, &state)?;
            if profile.secure_boot && rules.secure_boot {
                for level in left {
                    if !states.contains(&level) {
                        states.push(level);
                    }
                }
            }
            let (kernel, gap) = walk.end(*chain)?;
            for with_separator in reader.separators(boot) {
                let events = [events.clone(), reader.events(bank, *with_separator)].concat();
                branches.push(Branch {
                    gap: gap.clone(),
                    ..branch(kernel.clone(), events, profile, bank)
                });
            }
        }
    }
    Ok(Prediction {
        branches,
        selection: Selection {
            bank,
            pcrs: profile.pcrs(),
        },
        warnings: walk.warnings,
    })
}

fn has_efi_profile(profile: Profile) -> bool {
    profile.boot_manager || profile.secure_boot
}

fn has_no_kernel(boot: &Boot) -> bool {
    boot.chains.iter().any(|chain| match *chain {
        Chain::Shim { kernel, .. } => kernel.is_none(),
        Chain::Direct(file) => boot.is_shim(file),
    })
}

fn branch(kernel: String, mut events: Vec<Event>, profile: Profile, bank: Bank) -> Branch {
    let wanted = profile.pcrs();
    events.retain(|event| wanted.contains(&event.pcr));
    let digests = events
        .iter()
        .map(|event| (u32::from(event.pcr), event.digest.as_slice()));
    let replayed = event_log::replay(digests, bank);
    let value = |pcr: u8| {
        replayed
            .get(&u32::from(pcr))
            .cloned()
            .unwrap_or_else(|| bank.zero())
    };
    let pcrs: BTreeMap<u8, Vec<u8>> = wanted.into_iter().map(|pcr| (pcr, value(pcr))).collect();
    Branch {
        kernel,
        configuration: String::new(),
        composite: composite(pcrs.values().map(Vec::as_slice)),
        events,
        pcrs,
        gap: None,
    }
}

/// What stays the same over all branches, and the warnings that they raise.
struct Walk<'a> {
    input: Input<'a>,
    db: Entries,
    dbx: Entries,
    hash: Hash,
    warnings: Vec<Warning>,
}

/// The levels that shims left, other than those they found.
type Levels = Vec<String>;

impl<'a> Walk<'a> {
    fn new(input: &Input<'a>) -> Result<Self, Error> {
        let Input {
            configuration,
            profile,
            rules,
            bank,
            ..
        } = *input;
        let lists = |database: Database| {
            configuration
                .lists(database)
                .map_err(|problem| Error::Database {
                    variable: database.name(),
                    problem,
                })
        };
        let (mut db, mut dbx) = (Entries::default(), Entries::default());
        let mut warnings = Vec::new();
        if rules.follow_reference {
            // The reference reads db alone, and only for PCR 7; the others it hashes.
            if profile.secure_boot {
                db = Entries::new(&lists(Database::Db)?);
            }
        } else {
            lists(Database::Pk)?;
            lists(Database::Kek)?;
            let of = [Database::Db, Database::Dbx];
            for (database, entries) in of.into_iter().zip([&mut db, &mut dbx]) {
                let lists = lists(database)?;
                *entries = Entries::new(&lists);
                warnings.extend(passed_over(database, &lists));
            }
        }
        warnings.extend(db.warnings("db"));
        warnings.extend(dbx.warnings("dbx"));
        if !has_efi_profile(profile) {
            warnings.push(Warning::OnlyKernelProfile);
        }
        if let Reader::Systemd { .. } = input.reader {
            warnings.extend(reader::warnings(input.boot, profile));
        }
        Ok(Self {
            input: *input,
            db,
            dbx,
            hash: match bank {
                Bank::Sha256 => Hash::Sha256,
                Bank::Sha384 => Hash::Sha384,
            },
            warnings,
        })
    }

    fn warn(&mut self, warning: Warning) {
        if !self.warnings.contains(&warning) {
            self.warnings.push(warning);
        }
    }

    /// The events of one chain where shim finds this level, and the levels that shims leave.
    fn branch(&mut self, chain: Chain, state: &str) -> Result<(Vec<Event>, Levels), Error> {
        let mut events = self.before_boot();
        let mut left = Levels::new();
        match chain {
            Chain::Direct(shim) if self.input.boot.is_shim(shim) => {
                self.shim_chain(shim, None, state, &mut events, &mut left)?;
            }
            Chain::Direct(file) => {
                let file = self.file(file)?;
                self.load_by_firmware(file, &mut events)?;
                self.unified_kernel(file, &mut events)?;
            }
            Chain::Shim { shim, kernel } => {
                self.shim_chain(shim, kernel, state, &mut events, &mut left)?;
            }
        }
        Ok((events, left))
    }

    /// The boot file that a chain ends in, and what is not predicted from there on.
    fn end(&mut self, chain: Chain) -> Result<(String, Option<Gap>), Error> {
        let place = chain.last();
        let last = self.file(place)?;
        let addons = self.input.boot.addons.iter();
        let addons = addons.filter(|(kernel, _)| *kernel == place);
        let addons: Vec<_> = addons.map(|(_, path)| path.clone()).collect();
        let is_second = matches!(
            chain,
            Chain::Shim {
                kernel: Some(_),
                ..
            }
        );
        let gap = Gap::behind(last, is_second, &addons);
        if let Some(gap) = &gap {
            self.warn(Warning::Gap(gap.clone()));
        }
        if let Some(warning) = self.open_command_line(last) {
            self.warn(warning);
        }
        Ok((last.name.clone(), gap))
    }

    /// A unified kernel image may take its command line from outside; what it takes is in PCR 12 alone.
    fn open_command_line(&self, last: &BootFile) -> Option<Warning> {
        let Input { profile, rules, .. } = self.input;
        if last.program.kind() != Kind::UnifiedKernel || profile.kernel {
            return None;
        }
        let file = last.name.clone();
        if !last.program.has_section(".cmdline") {
            return Some(Warning::OpenCommandLine { file });
        }
        let is_secure = profile.secure_boot && rules.secure_boot;
        (!is_secure).then_some(Warning::CommandLineWithoutSecureBoot { file })
    }

    /// What firmware measures before it loads a program, in the order of its log.
    fn before_boot(&self) -> Vec<Event> {
        let Input {
            configuration,
            bank,
            rules,
            ..
        } = self.input;
        let state = [u8::from(rules.secure_boot)];
        let mut events = vec![Event::variable(
            bank,
            guid::GLOBAL_VARIABLE,
            "SecureBoot",
            &state,
        )];
        for database in Database::ALL {
            let content = configuration.content(database);
            events.push(Event::variable(
                bank,
                database.vendor(),
                database.name(),
                content,
            ));
        }
        events.push(Event::separator(bank, 7));
        if !configuration.omits_ready_to_boot_event {
            events.push(Event::action(bank));
        }
        events.push(Event::separator(bank, 4));
        events
    }

    fn shim_chain(
        &mut self,
        shim: usize,
        kernel: Option<usize>,
        state: &str,
        events: &mut Vec<Event>,
        left: &mut Levels,
    ) -> Result<(), Error> {
        let rules = self.input.rules;
        let mut namespace = Namespace::new();
        let shim_file = self.file(shim)?;
        self.load_by_firmware(shim_file, events)?;
        let identified = identity::identify(&shim_file.program, rules, &mut namespace)
            .map_err(problem_of(shim_file))?;
        let Some(shim) = identified else {
            return match kernel {
                None => self.unified_kernel(shim_file, events),
                Some(kernel) => Err(problem_of(self.file(kernel)?)(Problem::UnknownLoader {
                    loader: shim_file.name.clone(),
                })),
            };
        };
        self.refuse_companions(&shim)?;
        let mut level = state.to_owned();
        self.level(shim_file, &shim, &mut level, events, left)?;
        let Some(kernel) = kernel else {
            return self.unified_kernel(shim_file, events);
        };
        let kernel = self.file(kernel)?;
        self.refuse_other_machine(shim_file, kernel)?;
        self.load_by_shim(kernel, &shim, events)?;
        let second = identity::identify(&kernel.program, rules, &mut namespace)
            .map_err(problem_of(kernel))?;
        if rules.asks_for_sbat() {
            refused_for_sbat(&kernel.program, shim.version, &level).map_err(problem_of(kernel))?;
        }
        if let Some(second) = second {
            self.level(kernel, &second, &mut level, events, left)?;
        }
        self.unified_kernel(kernel, events)
    }

    /// shim starts no program for another processor than its own; where both are x86, one can be built that does
    /// (`ALLOW_32BIT_KERNEL_ON_X64`).
    fn refuse_other_machine(&self, shim: &BootFile, kernel: &BootFile) -> Result<(), Error> {
        let may_boot =
            |one: Machine, other: Machine| one == other || one.is_x86() && other.is_x86();
        match (shim.program.machine(), kernel.program.machine()) {
            (Some(of_shim), Some(machine))
                if !may_boot(of_shim, machine) && !self.input.rules.follow_reference =>
            {
                Err(problem_of(kernel)(Problem::OtherMachine {
                    machine,
                    loader: shim.name.clone(),
                    of_loader: of_shim,
                }))
            }
            _ => Ok(()),
        }
    }

    fn file(&self, index: usize) -> Result<&'a BootFile, Error> {
        self.input.boot.files.get(index).ok_or(Error::NoChain)
    }

    /// Authority and digest of the first program.
    fn load_by_firmware(&mut self, file: &BootFile, events: &mut Vec<Event>) -> Result<(), Error> {
        self.check_form(file)?;
        if self.asks_for_authority() {
            let Self { db, dbx, input, .. } = self;
            let authorities = authority::by_firmware(&file.program, db, dbx, input.rules);
            let authorities = authorities.map_err(problem_of(file))?;
            self.compare_with_reference(file, &authorities, |program, db, dbx| {
                authority::by_firmware(program, db, dbx, Rules::reference())
            });
            self.push_authorities(file, authorities, events);
        }
        self.push_program(file, events)
    }

    /// Authorities and digest of what shim loads.
    fn load_by_shim(
        &mut self,
        file: &BootFile,
        shim: &Shim,
        events: &mut Vec<Event>,
    ) -> Result<(), Error> {
        self.check_form(file)?;
        if self.asks_for_authority() {
            let Self { db, dbx, input, .. } = self;
            let authorities = authority::by_shim(&file.program, shim, db, dbx, input.rules);
            let authorities = authorities.map_err(problem_of(file))?;
            self.compare_with_reference(file, &authorities, |program, db, dbx| {
                authority::by_shim(program, shim, db, dbx, Rules::reference())
            });
            self.push_authorities(file, authorities, events);
        }
        self.push_program(file, events)
    }

    /// Without PCR 7, and where signatures are not verified, nobody asks who signed.
    fn asks_for_authority(&self) -> bool {
        let Input { rules, profile, .. } = self.input;
        rules.secure_boot && (profile.secure_boot || rules.verify_signatures)
    }

    fn push_authorities(
        &self,
        file: &BootFile,
        authorities: Vec<Authority>,
        events: &mut Vec<Event>,
    ) {
        for authority in authorities {
            let description = format!("authority for {}: {}", file.name, authority.description);
            events.push(Event::authority(
                self.input.bank,
                authority.guid,
                authority.database,
                &authority.data,
                &file.name,
                description,
            ));
        }
    }

    fn push_program(&self, file: &BootFile, events: &mut Vec<Event>) -> Result<(), Error> {
        let digest = file.program.digest(self.hash).ok_or(Problem::DigestMissing);
        let source = Source::Program {
            file: file.name.clone(),
        };
        let description = format!("program {}", file.name);
        let path = format!("\\EFI\\ubuntu\\{}", file.name);
        let digest = digest.map_err(problem_of(file))?;
        events.push(Event::program(digest, &path, source, description));
        Ok(())
    }

    /// Forms of a signed file that the reference refuses, or firmware and shim.
    fn check_form(&mut self, file: &BootFile) -> Result<(), Error> {
        let rules = self.input.rules;
        let form = |problem| problem_of(file)(Problem::SignatureForm { problem });
        // The reference reads all signatures or none.
        if let (true, Some(skipped)) = (rules.follow_reference, file.program.skipped.first()) {
            let reason = skipped.reason.clone();
            return Err(problem_of(file)(Problem::NoSignatureRead { reason }));
        }
        for signature in &file.program.signatures {
            if !signature.names_pe_image_data() {
                if rules.follow_reference {
                    return Err(form("announces its content as 1.3.6.1.4.1.311.2.1.21"));
                }
                self.warn(Warning::IndirectDataOid {
                    file: file.name.clone(),
                });
            }
            if signature.image_hash() != Hash::Sha256 && rules.follow_reference {
                return Err(form("is over a digest that is not SHA-256"));
            }
        }
        let count = file.program.bytes_behind_table;
        if count > 0 && rules.secure_boot && rules.verify_signatures {
            return Err(problem_of(file)(Problem::BytesBehindTable { count }));
        }
        Ok(())
    }

    /// Warns where the reference has other authorities for a program that both let boot.
    fn compare_with_reference(
        &mut self,
        file: &BootFile,
        ours: &[Authority],
        reference: impl Fn(&Program, &Entries, &Entries) -> Result<Vec<Authority>, Problem>,
    ) {
        if self.input.rules.follow_reference || !self.input.profile.secure_boot {
            return;
        }
        let reference = reference(&file.program, &self.db, &self.dbx).unwrap_or_default();
        if reference != ours {
            let names = |authorities: &[Authority]| {
                let names: Vec<_> = authorities
                    .iter()
                    .map(|authority| authority.description.as_str())
                    .collect();
                if names.is_empty() {
                    "nothing".to_owned()
                } else {
                    names.join("; then ")
                }
            };
            self.warn(Warning::ReferenceDiffers {
                file: file.name.clone(),
                ours: names(ours),
                reference: names(&reference),
            });
        }
    }

    /// Files beside shim that it would load and measure before the kernel.
    fn refuse_companions(&self, shim: &Shim) -> Result<(), Error> {
        let Input { rules, boot, .. } = self.input;
        if rules.follow_reference {
            return Ok(());
        }
        let release = shim.release();
        let names = &boot.beside_shim;
        let error = |name: &String, problem| Error::Program {
            file: name.clone(),
            problem,
        };
        if let Some(name) = release::companion(names, release.choosers) {
            let problem = Problem::ChoosesForShim { shim: shim.version };
            return Err(error(name, problem));
        }
        match release::companion(names, release.companions) {
            Some(name) if rules.secure_boot => {
                Err(error(name, Problem::LoadedByShim { shim: shim.version }))
            }
            _ => Ok(()),
        }
    }

    /// What a shim measures of itself: its SBAT level, its own where that is newer than the one it finds; then
    /// `MokListTrusted`.
    fn level(
        &mut self,
        file: &BootFile,
        shim: &Shim,
        variable: &mut String,
        events: &mut Vec<Event>,
        left: &mut Levels,
    ) -> Result<(), Error> {
        let Some(own) = &shim.level else {
            return Ok(());
        };
        let Input { rules, bank, .. } = self.input;
        if rules.secure_boot {
            self.level_text(file, shim, own, variable, left)?;
        } else if shim.release().resets_level {
            ORIGINAL_LEVEL.clone_into(variable);
        } else {
            variable.clone_from(own);
        }
        events.push(Event::level(bank, &file.name, variable));
        if shim.release().measures_mok_list_trusted && !rules.follow_reference {
            self.warn(Warning::MokListTrusted {
                file: file.name.clone(),
                shim: shim.version,
            });
            events.push(Event::mok_list_trusted(bank, &file.name));
        }
        Ok(())
    }

    /// Sets `variable` to the level that a shim leaves there under Secure Boot.
    fn level_text(
        &mut self,
        file: &BootFile,
        shim: &Shim,
        own: &String,
        variable: &mut String,
        left: &mut Levels,
    ) -> Result<(), Error> {
        if shim.level_is_built_in && !self.input.rules.follow_reference {
            self.warn(Warning::BuiltInLevel {
                file: file.name.clone(),
                shim: shim.version,
            });
        }
        let is_newer = variable.is_empty()
            || sbat::is_newer(own, variable)
                .map_err(|error| problem_of(file)(Problem::Level(error)))?;
        if is_newer {
            if own != variable && !own.is_empty() {
                left.push(own.clone());
            }
            variable.clone_from(own);
        }
        Ok(())
    }

    /// What systemd's stub measures of the image that it belongs to, and loads out of it.
    fn unified_kernel(&self, file: &BootFile, events: &mut Vec<Event>) -> Result<(), Error> {
        let Input { profile, bank, .. } = self.input;
        if profile.sections {
            let sections = sections::events(file, bank, self.hash);
            events.extend(sections.map_err(problem_of(file))?);
            events.push(sections::phase(bank));
        }
        self.inner_kernel(file, events)
    }

    /// The kernel inside of a unified kernel image, which systemd's stub loads through firmware: with
    /// Secure Boot on under a hook that leaves firmware's measurement out.
    fn inner_kernel(&self, file: &BootFile, events: &mut Vec<Event>) -> Result<(), Error> {
        if self.input.rules.secure_boot || file.program.kind() != Kind::UnifiedKernel {
            return Ok(());
        }
        let version = file
            .stub_version()
            .ok_or(Problem::UnknownStub)
            .map_err(problem_of(file))?;
        if !(252..=257).contains(&version) {
            return Ok(()); // these load it without firmware's help, or by its own file handle
        }
        let digest = file
            .program
            .inner_kernel_digest(self.hash)
            .ok_or(Problem::DigestMissing);
        let source = Source::InnerKernel {
            file: file.name.clone(),
        };
        let description = format!("kernel inside of {}", file.name);
        let digest = digest.map_err(problem_of(file))?;
        events.push(Event::program(digest, "", source, description));
        Ok(())
    }
}

fn problem_of(file: &BootFile) -> impl Fn(Problem) -> Error {
    let file = file.name.clone();
    move |problem| Error::Program {
        file: file.clone(),
        problem,
    }
}

/// shim refuses what has no `.sbat`, or a component below the level in force.
fn refused_for_sbat(program: &Program, shim: Version, level: &str) -> Result<(), Problem> {
    if !Release::of(shim).asks_for_sbat() {
        return Ok(());
    }
    let section = program.section(".sbat").unwrap_or_default();
    let components = sbat::components(section).map_err(Problem::Sbat)?;
    if components.is_empty() {
        return Err(Problem::NoSbat { shim });
    }
    match sbat::forbidden(&components, level) {
        None => Ok(()),
        Some((component, needed)) => Err(Problem::SbatTooOld {
            component: component.name.clone(),
            generation: component.generation,
            needed,
        }),
    }
}
