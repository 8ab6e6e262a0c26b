//! The part of a reference page that comes from the parser's definitions.
//!
//! A page is written by hand but for one part between two comments, [`BEGIN`] and [`END`]: what the parser
//! knows stands there, everything else around it. A test takes this file in as well and compares.

use std::fmt::Write as _;

use clap::{Arg, Command};

/// The line before the generated part.
pub const BEGIN: &str =
    "<!-- From here on generated from the parser's definitions by cargo xtask docs. -->";
/// The line behind it.
pub const END: &str = "<!-- Here ends the generated part. -->";

/// The page with its generated part as it should be. A page that is not there yet consists of that part.
pub fn merge(page: &str, command: Command) -> Result<String, String> {
    let name = command.get_name().to_owned();
    let part = format!("{BEGIN}\n\n{}\n\n{END}", generated(command).trim_end());
    if page.is_empty() {
        return Ok(format!("# `{name}`\n\n{part}\n"));
    }
    let (before, rest) = page
        .split_once(BEGIN)
        .ok_or_else(|| format!("the page of {name} has no line {BEGIN}"))?;
    let (_, behind) = rest
        .split_once(END)
        .ok_or_else(|| format!("the page of {name} has no line {END}"))?;
    Ok(format!("{before}{part}{behind}"))
}

fn generated(mut command: Command) -> String {
    command.build();
    let mut text = String::new();
    one_command(&mut text, &command);
    text
}

/// A command and then its subcommands.
fn one_command(text: &mut String, command: &Command) {
    let name = command.get_bin_name().unwrap_or(command.get_name());
    let _ = writeln!(text, "## `{name}`\n");
    let about = command.get_long_about().or(command.get_about());
    if let Some(about) = about {
        let _ = writeln!(text, "{}\n", prose(&about.to_string()));
    }
    let usage = command.clone().render_usage().to_string();
    let _ = writeln!(text, "```text\n{}\n```\n", usage.trim());
    let subcommands: Vec<_> = command
        .get_subcommands()
        .filter(|command| !command.is_hide_set() && command.get_name() != "help")
        .collect();
    if !subcommands.is_empty() {
        text.push_str("### Commands\n\n");
    }
    for command in &subcommands {
        let about = command.get_about().map(ToString::to_string);
        let about = prose(&about.unwrap_or_default());
        let _ = writeln!(text, "- `{}`: {about}", command.get_name());
    }
    if !subcommands.is_empty() {
        text.push('\n');
    }
    let mut headings: Vec<&str> = Vec::new();
    for argument in visible(command) {
        if !headings.contains(&heading(argument)) {
            headings.push(heading(argument));
        }
    }
    for title in headings {
        let _ = writeln!(text, "### {title}\n");
        for argument in visible(command).filter(|argument| heading(argument) == title) {
            one_argument(text, argument);
        }
    }
    let after = command.get_after_long_help().or(command.get_after_help());
    if let Some(after) = after {
        let _ = writeln!(text, "{}\n", prose(&after.to_string()));
    }
    for command in subcommands {
        one_command(text, command);
    }
}

fn visible(command: &Command) -> impl Iterator<Item = &Arg> {
    // As the help shows them: positional arguments first.
    let shown = |argument: &&Arg| !argument.is_hide_set();
    let all = || command.get_arguments().filter(shown);
    all()
        .filter(|argument| argument.is_positional())
        .chain(all().filter(|argument| !argument.is_positional()))
}

fn heading(argument: &Arg) -> &str {
    argument
        .get_help_heading()
        .unwrap_or(if argument.is_positional() {
            "Arguments"
        } else {
            "Options"
        })
}

fn one_argument(text: &mut String, argument: &Arg) {
    let mut forms = Vec::new();
    let values = if argument.get_action().takes_values() {
        let names = argument.get_value_names().unwrap_or_default();
        let names: Vec<_> = names.iter().map(ToString::to_string).collect();
        names.join(" ")
    } else {
        String::new()
    };
    forms.extend(argument.get_short().map(|short| format!("-{short}")));
    forms.extend(argument.get_long().map(|long| format!("--{long}")));
    if argument.is_positional() {
        forms.push(values);
    } else if let Some(last) = forms.last_mut().filter(|_| !values.is_empty()) {
        let _ = write!(last, " {values}");
    }
    let _ = write!(text, "- `{}`", forms.join(", "));
    let help = argument.get_long_help().or(argument.get_help());
    let help = prose(&help.map(ToString::to_string).unwrap_or_default());
    let _ = writeln!(text, ": {}\n", help.replace("\n\n", "\n\n  "));
    if !argument.get_action().takes_values() {
        return;
    }
    let default = argument.get_default_values().first();
    let default = default.map(|value| value.to_string_lossy().into_owned());
    let values = argument.get_possible_values();
    let mut default_is_told = false;
    for value in values.iter().filter(|value| !value.is_hide_set()) {
        let _ = write!(text, "  - `{}`", value.get_name());
        if let Some(help) = value.get_help() {
            let _ = write!(text, ": {}", prose(&help.to_string()));
        }
        if default.as_deref() == Some(value.get_name()) {
            text.push_str(" (default)");
            default_is_told = true;
        }
        text.push('\n');
    }
    match default.filter(|_| !default_is_told) {
        Some(default) => {
            let _ = writeln!(text, "  Default: `{default}`\n");
        }
        None if !values.is_empty() => text.push('\n'),
        None => {}
    }
}

/// Help as Markdown: what has a meaning there is escaped, but in code.
fn prose(help: &str) -> String {
    let mut in_code = false;
    let mut text = String::new();
    for character in help.trim().chars() {
        in_code ^= character == '`';
        if !in_code && matches!(character, '<' | '*' | '_' | '[') {
            text.push('\\');
        }
        text.push(character);
    }
    text
}
