//! The walk along one way to boot: what firmware, each loader and the kernel measure on it, in their order.

use super::authority::{self, Authority};
use super::boot::{BootFile, Chain};
use super::database::{Database as Entries, passed_over};
use super::error::{Error, Problem, Warning};
use super::event::{Event, Source};
use super::gap::Gap;
use super::identity::{self, Namespace, Shim};
use super::input::Input;
use super::reader::{self, Reader};
use super::release::{self, ORIGINAL_LEVEL, Release};
use super::rules::Rules;
use super::sections;
use firmware::config::Database;
use firmware::shim::Version;
use firmware::{Hash, Kind, Machine, Program, guid, sbat};
use tpm::Bank;

/// What stays the same over all branches, and the warnings that they raise.
pub struct Walk<'a> {
    input: Input<'a>,
    db: Entries,
    dbx: Entries,
    hash: Hash,
    pub warnings: Vec<Warning>,
}

/// The levels that shims left, other than those they found.
pub type Levels = Vec<String>;

/// How far a boot is.
#[derive(Default)]
struct Way<'a> {
    /// What was measured.
    events: Vec<Event>,
    /// The SBAT level in shim's variable.
    level: String,
    left: Levels,
    /// The shim that was started last, which judges what is loaded from now on.
    shim: Option<(&'a BootFile, Shim)>,
    /// A program behind that shim loads what comes next, and asks the shim for its verdict.
    is_behind_another: bool,
    namespace: Namespace,
    measured_by_firmware: Vec<Authority>,
    measured_by_shim: Vec<Authority>,
}

impl<'a> Walk<'a> {
    /// Reads the databases.
    pub fn new(input: &Input<'a>) -> Result<Self, Error> {
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
        if !profile.asks_for_firmware() {
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
    pub fn branch(&mut self, chain: &Chain, state: &str) -> Result<(Vec<Event>, Levels), Error> {
        let mut way = Way {
            level: state.to_owned(),
            events: self.before_boot(),
            ..Way::default()
        };
        let mut programs = chain.programs().peekable();
        while let Some(place) = programs.next() {
            let file = self.file(place)?;
            let next = programs.peek().map(|next| self.file(*next)).transpose()?;
            self.load(file, &mut way)?;
            self.start(file, place, next, &mut way)?;
        }
        let last = self.file(chain.last())?;
        if let Some(options) = chain.options() {
            let event = Event::load_options(self.input.bank, options, &last.name);
            way.events.push(event);
        }
        self.unified_kernel(last, &mut way.events)?;
        Ok((way.events, way.left))
    }

    /// The boot file that a chain ends in, and what is not predicted from there on.
    pub fn end(&mut self, chain: &Chain) -> Result<(String, Option<Gap>), Error> {
        let place = chain.last();
        let last = self.file(place)?;
        let addons = self.input.boot.addons.iter();
        let addons = addons.filter(|(kernel, _)| *kernel == place);
        let addons: Vec<_> = addons.map(|(_, path)| path.clone()).collect();
        let gap = Gap::behind(last, !chain.is_of_one(), &addons);
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

    /// Authorities and digest of a program: those of the shim that was started last, or of firmware where none was.
    fn load(&mut self, file: &BootFile, way: &mut Way<'a>) -> Result<(), Error> {
        if let Some((loader, _)) = way.shim {
            self.refuse_other_machine(loader, file)?;
        }
        self.check_form(file)?;
        if self.asks_for_authority() {
            let Self { db, dbx, input, .. } = self;
            let shim = way.shim.as_ref().map(|(_, shim)| shim);
            let of = |program: &Program, db: &Entries, dbx: &Entries, rules| match shim {
                Some(shim) => authority::by_shim(program, shim, db, dbx, rules),
                None => authority::by_firmware(program, db, dbx, rules),
            };
            let authorities = of(&file.program, db, dbx, input.rules).map_err(problem_of(file))?;
            self.compare_with_reference(file, &authorities, |program, db, dbx| {
                of(program, db, dbx, Rules::reference())
            });
            let measured = match shim {
                Some(_) => &mut way.measured_by_shim,
                None => &mut way.measured_by_firmware,
            };
            for authority in authorities {
                // Each keeps a list of what it has measured, and measures nothing of it again.
                if !measured
                    .iter()
                    .any(|earlier| earlier.makes_same_event(&authority))
                {
                    way.events.push(self.authority_event(file, &authority));
                    measured.push(authority);
                }
            }
        }
        way.events.push(self.program_event(file)?);
        Ok(())
    }

    /// What a program changes for those behind it: a shim measures what it is, and judges the next ones.
    fn start(
        &mut self,
        file: &'a BootFile,
        place: usize,
        next: Option<&BootFile>,
        way: &mut Way<'a>,
    ) -> Result<(), Error> {
        let rules = self.input.rules;
        if next.is_none() && way.shim.is_none() && !self.input.boot.is_shim(place) {
            return Ok(());
        }
        let identified = identity::identify(&file.program, rules, &mut way.namespace)
            .map_err(problem_of(file))?;
        if let Some((_, shim)) = way.shim.as_ref().filter(|_| rules.asks_for_sbat()) {
            refused_for_sbat(
                &file.program,
                shim.version,
                &way.level,
                way.is_behind_another,
            )
            .map_err(problem_of(file))?;
        }
        way.is_behind_another = identified.is_none();
        let Some(shim) = identified else {
            return match next {
                Some(next) if !self.starts_others(file) => {
                    Err(problem_of(next)(Problem::UnknownLoader {
                        loader: file.name.clone(),
                    }))
                }
                _ => Ok(()),
            };
        };
        if way.shim.is_none() {
            self.refuse_companions(&shim)?;
        }
        self.level(file, &shim, way)?;
        way.shim = Some((file, shim));
        Ok(())
    }

    /// True for a program that is no shim, and that hands the next one to whoever judged it itself: to firmware, or to the
    /// protocol or the hook of the shim. The reference knows none.
    fn starts_others(&self, file: &BootFile) -> bool {
        !self.input.rules.follow_reference
            && matches!(file.program.kind(), Kind::SystemdBoot | Kind::Grub)
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

    /// Without PCR 7, and where signatures are not verified, nobody asks who signed.
    fn asks_for_authority(&self) -> bool {
        let Input { rules, profile, .. } = self.input;
        rules.secure_boot && (profile.secure_boot || rules.verify_signatures)
    }

    fn authority_event(&self, file: &BootFile, authority: &Authority) -> Event {
        let description = format!("authority for {}: {}", file.name, authority.description);
        Event::authority(
            self.input.bank,
            authority.guid,
            authority.database,
            &authority.data,
            &file.name,
            description,
        )
    }

    fn program_event(&self, file: &BootFile) -> Result<Event, Error> {
        let digest = file.program.digest(self.hash).ok_or(Problem::DigestMissing);
        let source = Source::Program {
            file: file.name.clone(),
        };
        let description = format!("program {}", file.name);
        let folder = match file.folder.as_slice() {
            [] => "EFI\\ubuntu".to_owned(),
            folder => folder.join("\\"),
        };
        let path = format!("\\{folder}\\{}", file.name);
        let digest = digest.map_err(problem_of(file))?;
        Ok(Event::program(digest, &path, source, description))
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
    fn level(&mut self, file: &BootFile, shim: &Shim, way: &mut Way<'_>) -> Result<(), Error> {
        let Some(own) = &shim.level else {
            return Ok(());
        };
        let Input { rules, bank, .. } = self.input;
        if rules.secure_boot {
            self.level_text(file, shim, own, way)?;
        } else if shim.release().resets_level {
            ORIGINAL_LEVEL.clone_into(&mut way.level);
        } else {
            way.level.clone_from(own);
        }
        way.events.push(Event::level(bank, &file.name, &way.level));
        if shim.release().measures_mok_list_trusted && !rules.follow_reference {
            self.warn(Warning::MokListTrusted {
                file: file.name.clone(),
                shim: shim.version,
            });
            way.events.push(Event::mok_list_trusted(bank, &file.name));
        }
        Ok(())
    }

    /// Sets the level to that which a shim leaves in its variable under Secure Boot.
    fn level_text(
        &mut self,
        file: &BootFile,
        shim: &Shim,
        own: &String,
        way: &mut Way<'_>,
    ) -> Result<(), Error> {
        if shim.level_is_built_in && !self.input.rules.follow_reference {
            self.warn(Warning::BuiltInLevel {
                file: file.name.clone(),
                shim: shim.version,
            });
        }
        let is_newer = way.level.is_empty()
            || sbat::is_newer(own, &way.level)
                .map_err(|error| problem_of(file)(Problem::Level(error)))?;
        if is_newer {
            if *own != way.level && !own.is_empty() {
                way.left.push(own.clone());
            }
            way.level.clone_from(own);
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

/// shim refuses a component below the level in force, and what it starts itself without `.sbat`. Of what another program
/// starts, and asks it about, it takes what has none.
fn refused_for_sbat(
    program: &Program,
    shim: Version,
    level: &str,
    is_behind_another: bool,
) -> Result<(), Problem> {
    if !Release::of(shim).asks_for_sbat() {
        return Ok(());
    }
    let section = program.section(".sbat").unwrap_or_default();
    let components = sbat::components(section).map_err(Problem::Sbat)?;
    if components.is_empty() {
        return if is_behind_another {
            Ok(())
        } else {
            Err(Problem::NoSbat { shim })
        };
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
