//! The commands that stand in a page, and what the page says that they print.
//!
//! A fenced block `console` has lines that begin with `$ `, each a command for the shell (a `\` at the end
//! continues it), and between them what it prints. In expected output
//!
//! - every number stands for every other, with its unit of size, and so does white space,
//! - `…` stands for any text within a line, and alone on a line for any lines.
//!
//! A command without output is run, and its output not compared. What is exported is there for the section's later commands. Comments of HTML steer the tests:
//!
//! - `<!-- files: disk.img = stock -->` puts files into the folder of the section (a heading of level 2),
//! - `<!-- exits: 1 -->` is the exit status of the commands of the next block; 0 without it,
//! - `<!-- not run: why -->` leaves the next block out.

/// What stands below a heading of level 2.
#[derive(Debug, Default)]
pub struct Section {
    /// Its heading.
    pub title: String,
    /// Files that the commands need: name and kind.
    pub files: Vec<(String, String)>,
    /// The commands, in order.
    pub commands: Vec<Command>,
}

impl Section {
    /// True where one of the commands is this program.
    pub fn calls(&self, program: &str) -> bool {
        let mut lines = self.commands.iter().map(|command| &command.line);
        lines.any(|line| line.split_whitespace().any(|word| word == program))
    }
}

/// A command and what it should do.
#[derive(Debug)]
pub struct Command {
    /// For the shell.
    pub line: String,
    /// Standard output and standard error; empty: whatever.
    pub output: Vec<String>,
    /// The exit status.
    pub exits: i32,
}

/// The sections of a page that have commands.
pub fn sections(page: &str) -> Vec<Section> {
    let mut sections = vec![Section::default()];
    let (mut exits, mut skip) = (0, false);
    let mut block: Option<(bool, Vec<&str>)> = None;
    for line in page.lines() {
        let section = sections.last_mut().expect("one at least");
        if let Some((is_console, lines)) = &mut block {
            if line != "```" {
                lines.push(line);
                continue;
            }
            if *is_console && !skip {
                section.commands.extend(commands(lines, exits));
            }
            (block, exits, skip) = (None, 0, false);
        } else if let Some(language) = line.strip_prefix("```") {
            block = Some((language == "console", Vec::new()));
        } else if let Some(title) = line.strip_prefix("## ") {
            sections.push(Section {
                title: title.to_owned(),
                ..Section::default()
            });
        } else if let Some(comment) = comment(line, "files") {
            let pairs = comment.split(',').filter_map(|pair| pair.split_once('='));
            let pairs = pairs.map(|(name, kind)| (name.trim().to_owned(), kind.trim().to_owned()));
            section.files.extend(pairs);
        } else if let Some(status) = comment(line, "exits") {
            exits = status.parse().expect("a number in <!-- exits: N -->");
        } else if comment(line, "not run").is_some() {
            skip = true;
        }
    }
    sections.retain(|section| !section.commands.is_empty());
    sections
}

fn comment<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    let inner = line.trim().strip_prefix("<!-- ")?.strip_suffix(" -->")?;
    inner.strip_prefix(name)?.strip_prefix(": ")
}

fn commands(lines: &[&str], exits: i32) -> Vec<Command> {
    let mut commands: Vec<Command> = Vec::new();
    let mut continues = false;
    for line in lines {
        let last = commands.last_mut();
        if let Some(command) = line.strip_prefix("$ ") {
            commands.push(Command {
                line: command.to_owned(),
                output: Vec::new(),
                exits,
            });
        } else if let Some(last) = last {
            if continues {
                last.line = format!("{}\n{line}", last.line);
            } else {
                last.output.push((*line).to_owned());
                continue;
            }
        } else {
            panic!("a block console begins with a command, not with {line:?}");
        }
        continues = line.ends_with('\\');
    }
    commands
}

/// True where `output` is what `expected` says.
pub fn is_as_expected(expected: &[String], output: &[&str]) -> bool {
    match expected.split_first() {
        None => output.is_empty(),
        Some((first, rest)) if first.trim() == "…" => {
            (0..=output.len()).any(|skipped| is_as_expected(rest, &output[skipped..]))
        }
        Some((first, rest)) => output.split_first().is_some_and(|(line, others)| {
            is_line(&leveled(first), &leveled(line)) && is_as_expected(rest, others)
        }),
    }
}

/// Compares a line, in which `…` stands for any text.
fn is_line(expected: &str, line: &str) -> bool {
    match expected.split_once('…') {
        None => expected == line,
        Some((start, rest)) => line.strip_prefix(start).is_some_and(|line| {
            let ends = (0..=line.len()).filter(|end| line.is_char_boundary(*end));
            ends.into_iter().any(|end| is_line(rest, &line[end..]))
        }),
    }
}

/// A line in which all numbers and sizes are alike, and white space is one space.
fn leveled(line: &str) -> String {
    let mut text = String::new();
    let mut rest = line;
    while let Some(first) = rest.chars().next() {
        if first.is_ascii_digit() {
            rest = rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
            text.push('0');
            for unit in [" GiB", " MiB", " KiB", " B"] {
                if let Some(behind) = rest.strip_prefix(unit) {
                    rest = behind;
                    text.push_str(" B");
                    break;
                }
            }
        } else {
            text.push(first);
            rest = &rest[first.len_utf8()..];
        }
    }
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn numbers_sizes_and_ellipses_stand_for_others() {
    let expected = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
    let same = |page: &str, output: &str| {
        is_as_expected(&expected(page), &output.lines().collect::<Vec<_>>())
    };
    assert!(same("disk: 2.2 GiB, 3.1 s", "disk:  16.0 MiB,  0.4 s"));
    assert!(!same("disk: 2.2 GiB", "disk: 16"));
    assert!(!same("disk: 2.2 GiB", "disc: 2.2 GiB"));
    assert!(same("a\n…\nz", "a\nb\nc\nz"));
    assert!(same("a\n…\nz", "a\nz"));
    assert!(!same("a\n…\nz", "a\nb"));
    assert!(same("UUID: …-…!", "UUID: 1f-2e!"));
    assert!(!same("UUID: …-…!", "UUID: 1f-2e"));
    assert!(!same("one", "one\ntwo"));
}

#[test]
fn a_page_is_taken_apart_by_headings_and_blocks() {
    let page = "# T\n\n## A\n<!-- files: x = stock, y = kernel -->\n<!-- exits: 1 -->\n```console\n$ one \\\n  more\nout\n$ two\n```\n\
                ```sh\n$ not this\n```\n## B\n<!-- not run: needs the network -->\n```console\n$ three\n```\n## C\n```console\n$ four\n```\n";
    let sections = sections(page);
    let titles: Vec<_> = sections.iter().map(|section| &section.title).collect();
    assert_eq!(titles, ["A", "C"]);
    assert_eq!(sections[0].files[1], ("y".to_owned(), "kernel".to_owned()));
    let [one, two] = &sections[0].commands[..] else {
        panic!("{sections:?}");
    };
    assert_eq!((one.line.as_str(), one.exits), ("one \\\n  more", 1));
    assert_eq!(one.output, ["out"]);
    assert_eq!((two.line.as_str(), two.output.len()), ("two", 0));
    assert_eq!(sections[1].commands[0].exits, 0);
}
