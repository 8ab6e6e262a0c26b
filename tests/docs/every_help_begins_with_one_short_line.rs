//! Help is read in a terminal: its first line fits there and reads as a sentence.

use clap::Command;

#[test]
fn every_help_begins_with_one_line_of_80_columns_and_a_capital() {
    let mut bad = Vec::new();
    for mut command in encrypt_cloud_image::commands() {
        command.build();
        look_at(&command, &mut bad);
    }
    assert!(bad.is_empty(), "\n{}", bad.join("\n"));
}

fn look_at(command: &Command, bad: &mut Vec<String>) {
    let name = command.get_bin_name().unwrap_or(command.get_name());
    let about = command.get_about().map(ToString::to_string);
    check(name, &about.unwrap_or_default(), bad);
    for argument in command.get_arguments() {
        if argument.is_hide_set() {
            continue;
        }
        let place = format!("{name}: {}", argument.get_id());
        let help = argument.get_help().map(ToString::to_string);
        check(&place, &help.unwrap_or_default(), bad);
        for value in argument.get_possible_values() {
            // The values of a switch are nobody's to type.
            if argument.get_action().takes_values()
                && let Some(help) = value.get_help()
            {
                let place = format!("{place} {}", value.get_name());
                check(&place, &help.to_string(), bad);
            }
        }
    }
    for command in command.get_subcommands() {
        if command.get_name() != "help" {
            look_at(command, bad);
        }
    }
}

fn check(place: &str, help: &str, bad: &mut Vec<String>) {
    let columns = help.chars().count();
    if help.is_empty() {
        bad.push(format!("{place}: no help"));
    } else if help.contains('\n') || columns > 80 {
        bad.push(format!("{place}: {columns} columns: {help:?}"));
    } else if !help.starts_with(char::is_uppercase) {
        bad.push(format!("{place}: no capital first: {help:?}"));
    }
}
