//! Of an option that takes one value the last one counts, whichever command it is of: no parser says that it "cannot be used
//! multiple times".

use clap::{Arg, ArgAction, Command};

/// Values of which one fits each option.
const VALUES: [&str; 6] = [
    "value",
    "7",
    "512",
    "0x81000001",
    "a1b2c3d4-0001-4000-8000-000000000001",
    "00256-00770-01284-01798-02312-02826-03340-03854",
];

/// Whether these arguments are parsed up to the help behind them.
fn is_taken(program: &Command, arguments: &[String]) -> bool {
    let name = program.get_name().to_owned();
    let all = [name].into_iter().chain(arguments.iter().cloned());
    let all = all.chain(["--help".to_owned()]);
    let found = program.clone().try_get_matches_from(all);
    found.is_err_and(|error| error.kind() == clap::error::ErrorKind::DisplayHelp)
}

/// Every way to give the option twice is taken; how many there are.
fn check(program: &Command, before: &[String], option: &Arg) -> usize {
    let takes_one = matches!(option.get_action(), ArgAction::Set | ArgAction::SetTrue);
    let Some(long) = option.get_long().filter(|_| takes_one) else {
        return 0;
    };
    let given = if matches!(option.get_action(), ArgAction::SetTrue) {
        vec![format!("--{long}")]
    } else {
        let possible = option.get_possible_values();
        let named = possible.iter().map(|value| value.get_name().to_owned());
        let values = named.chain(VALUES.map(str::to_owned));
        values.map(|value| format!("--{long}={value}")).collect()
    };
    let with = |more: &[&String]| {
        let more = more.iter().map(|argument| (*argument).clone());
        before.iter().cloned().chain(more).collect::<Vec<_>>()
    };
    let given: Vec<_> = given
        .iter()
        .filter(|one| is_taken(program, &with(&[one])))
        .collect();
    assert!(
        !given.is_empty(),
        "{before:?}: no value is taken by --{long}"
    );
    for one in &given {
        for other in &given {
            let both = with(&[one, other]);
            assert!(is_taken(program, &both), "{both:?}");
        }
    }
    given.len()
}

#[test]
fn the_last_one_counts() {
    let mut tried = 0;
    for mut program in encrypt_cloud_image::commands() {
        program.build();
        for option in program.get_arguments() {
            tried += check(&program, &[], option);
        }
        for command in program.get_subcommands() {
            let before = [command.get_name().to_owned()];
            for option in command.get_arguments() {
                if command.get_name() != "help" {
                    tried += check(&program, &before, option);
                }
            }
        }
    }
    assert!(tried > 100, "{tried}");
}
