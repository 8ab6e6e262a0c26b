//! What the compiler does not say of the crates, cargo and a look at their roots do: which crate uses which, where
//! `unsafe` may stand, that one file starts a process, and that what a guest runs needs no C but the cryptographic
//! library.

#![allow(missing_docs, clippy::unwrap_used, clippy::missing_panics_doc)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// The crates from the ground up, each with the crates of this workspace that it uses. A new arrow is a change of the
/// architecture: docs/architecture.md has the same table.
const ARROWS: &[(&str, &[&str])] = &[
    ("base", &[]),
    ("gpt", &["base"]),
    ("image", &["base"]),
    ("probe", &["base"]),
    ("filesystem", &["base"]),
    ("luks2", &["base", "probe"]),
    ("firmware", &["base"]),
    ("tpm", &["base"]),
    ("measure", &["base", "firmware", "tpm"]),
    ("keyobject", &["base", "luks2", "tpm"]),
    (
        "operations",
        &[
            "base",
            "filesystem",
            "firmware",
            "gpt",
            "image",
            "keyobject",
            "luks2",
            "measure",
            "probe",
            "tpm",
        ],
    ),
];

/// The crates that a program in a guest takes.
const IN_A_GUEST: &[&str] = &["base", "gpt", "luks2", "tpm", "keyobject"];

#[test]
fn each_crate_uses_those_that_the_architecture_names() {
    let workspace = metadata();
    let mut found = BTreeMap::new();
    for package in packages(&workspace) {
        let Some(name) = own(&package["name"]) else {
            continue;
        };
        let uses: BTreeSet<_> = dependencies(package)
            .filter_map(|dependency| own(&dependency["name"]))
            .collect();
        found.insert(name, uses);
    }
    let wanted: BTreeMap<_, BTreeSet<_>> = ARROWS
        .iter()
        .map(|(name, uses)| (*name, uses.iter().copied().collect()))
        .collect();
    assert_eq!(found, wanted);
    let text = fs::read_to_string(root().join("docs/architecture.md")).unwrap();
    for (name, uses) in ARROWS {
        let row = text
            .lines()
            .find(|line| line.starts_with(&format!("| `{name}` |")))
            .unwrap_or_else(|| panic!("docs/architecture.md has no row for {name}"));
        let cells = row.trim_end_matches('|').rsplit_once('|').unwrap().1;
        let said: BTreeSet<_> = cells.split('`').skip(1).step_by(2).collect();
        if *name == "operations" {
            assert_eq!(cells.trim(), "all of the above", "{name}");
        } else {
            assert_eq!(said, uses.iter().copied().collect(), "{name}");
        }
    }
}

/// The compiler refuses `unsafe` in all crates but two; each of these has it in one file.
#[test]
fn two_files_hold_unsafe_code() {
    let mut found = Vec::new();
    for file in sources() {
        let text = fs::read_to_string(&file).unwrap();
        let begins = |line: &str| {
            let code = line.split("//").next().unwrap_or_default();
            let after = |start| code[start..].trim_start();
            code.match_indices("unsafe ")
                .map(|(start, word)| after(start + word.len()))
                .any(|next| {
                    ["{", "fn", "impl", "extern"]
                        .iter()
                        .any(|x| next.starts_with(x))
                })
        };
        if text.lines().any(begins) {
            found.push(file.strip_prefix(root()).unwrap().to_owned());
        }
        if file.ends_with("src/lib.rs") {
            let may = ["crates/filesystem", "crates/luks2"]
                .iter()
                .any(|folder| file.starts_with(root().join(folder)));
            assert_eq!(text.contains("#![forbid(unsafe_code)]"), !may, "{file:?}");
        }
    }
    assert_eq!(
        found,
        [
            "crates/filesystem/src/ext4/binding.rs",
            "crates/luks2/src/xts/aws_lc.rs"
        ]
        .map(PathBuf::from)
    );
}

/// But for `--make-room shrink`, which has resize2fs do what nobody should do again.
#[test]
fn one_file_starts_a_process() {
    let starts = |file: &PathBuf| {
        let text = fs::read_to_string(file).unwrap();
        let imports = text
            .split("process::")
            .skip(1)
            .map(|behind| behind.split(';').next());
        let is_command = |named: &str| {
            named
                .split(['{', ',', ':', ' ', '}', '('])
                .any(|x| x == "Command")
        };
        imports.flatten().any(is_command)
            || text.contains("posix_spawn")
            || text.contains("CommandExt")
    };
    let found: Vec<_> = sources().into_iter().filter(starts).collect();
    assert_eq!(
        found,
        [root().join("crates/operations/src/encrypt/shrink.rs")]
    );
}

/// A crate that could serve other programs says nothing that only the user of ours could follow.
#[test]
fn what_could_serve_others_names_no_option() {
    let help = |arguments: &[&str]| {
        let program = env!("CARGO_BIN_EXE_encrypt-cloud-image");
        let output = Command::new(program).args(arguments).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let commands = help(&["--help"]);
    let names = commands.lines().filter_map(|line| {
        let name = line.strip_prefix("  ")?.split(' ').next()?;
        (!name.is_empty() && !name.starts_with('-')).then_some(name)
    });
    let text: String = names.map(|name| help(&[name, "--help"])).collect();
    let is_of_name = |x: char| x.is_ascii_alphanumeric() || x == '-';
    let options = |text: &str| -> BTreeSet<String> {
        let behind = text.split("--").skip(1);
        behind
            .filter_map(|text| text.split(|x| !is_of_name(x)).next())
            .filter(|name| !name.is_empty())
            .map(|name| name.trim_end_matches('-').to_owned())
            .collect()
    };
    let ours = options(&text);
    assert!(ours.contains("bind-pcr11") && ours.len() > 40, "{ours:?}");
    for name in [
        "base", "gpt", "probe", "luks2", "firmware", "tpm", "measure",
    ] {
        let folder = root().join("crates").join(name);
        for file in sources().iter().filter(|file| file.starts_with(&folder)) {
            let found = options(&fs::read_to_string(file).unwrap());
            let found: Vec<_> = found.intersection(&ours).collect();
            assert!(found.is_empty(), "{} names {found:?}", file.display());
        }
    }
}

/// What is linked (`links`) into a crate that a guest runs, directly or through others.
#[test]
fn a_guest_needs_no_c_but_the_cryptographic_library() {
    let workspace = metadata();
    let by_id: BTreeMap<_, _> = packages(&workspace)
        .map(|package| (package["id"].as_str().unwrap(), package))
        .collect();
    let nodes: BTreeMap<_, _> = workspace["resolve"]["nodes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|node| (node["id"].as_str().unwrap(), node))
        .collect();
    let mut todo: Vec<&str> = by_id
        .iter()
        .filter(|(_, package)| own(&package["name"]).is_some_and(|name| IN_A_GUEST.contains(&name)))
        .map(|(id, _)| *id)
        .collect();
    assert_eq!(todo.len(), IN_A_GUEST.len());
    let (mut seen, mut linked) = (BTreeSet::new(), BTreeSet::new());
    while let Some(id) = todo.pop() {
        if !seen.insert(id) {
            continue;
        }
        if by_id[id]["links"].is_string() {
            linked.insert(by_id[id]["name"].as_str().unwrap());
        }
        for dependency in nodes[id]["deps"].as_array().unwrap() {
            let kinds = dependency["dep_kinds"].as_array().unwrap();
            if kinds.iter().any(|kind| kind["kind"].is_null()) {
                todo.push(dependency["pkg"].as_str().unwrap());
            }
        }
    }
    // The first is the binding of the second.
    assert_eq!(linked, BTreeSet::from(["aws-lc-rs", "aws-lc-sys"]));
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every source file of the library's crates and of the programs, in a fixed order.
fn sources() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders: Vec<_> = fs::read_dir(root().join("crates"))
        .unwrap()
        .map(|entry| entry.unwrap().path().join("src"))
        .collect();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    found.sort();
    assert!(found.len() > 200, "only {} files were found", found.len());
    found
}

fn metadata() -> Value {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked", "--offline"])
        .args(["--filter-platform", "x86_64-unknown-linux-gnu"])
        .current_dir(root())
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn packages(workspace: &Value) -> impl Iterator<Item = &Value> {
    workspace["packages"].as_array().unwrap().iter()
}

/// What a package takes for its code; not for its tests, nor for its build script.
fn dependencies(package: &Value) -> impl Iterator<Item = &Value> {
    let all = package["dependencies"].as_array().unwrap().iter();
    all.filter(|dependency| dependency["kind"].is_null())
}

/// The name of a crate of this workspace, without the prefix.
fn own(name: &Value) -> Option<&str> {
    name.as_str().unwrap().strip_prefix("eci-")
}

/// The use cases of `operations` and the commands of the programs: a module never uses one that uses it. `common` lies
/// beneath all, and the modules of errors, which name the parts that they come from, do not count.
#[test]
fn no_module_uses_its_user() {
    for folder in ["crates/operations/src", "crates/cli/src"] {
        let uses = uses_of_modules(&root().join(folder));
        assert!(uses.len() > 7, "{uses:?}");
        for (module, used) in &uses {
            for other in used {
                let back = reached(&uses, other);
                assert!(!back.contains(module), "{folder}: {module} and {other}");
            }
        }
        if let Some(used) = uses.get("common") {
            assert_eq!(*used, BTreeSet::new(), "{folder}: common");
        }
    }
}

/// The modules of a crate, each with those that its files name from the crate's root.
fn uses_of_modules(source: &Path) -> BTreeMap<String, BTreeSet<String>> {
    let mut files: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
    for file in sources().iter().filter(|file| file.starts_with(source)) {
        let first = file.strip_prefix(source).unwrap().iter().next().unwrap();
        let module = first.to_str().unwrap().trim_end_matches(".rs").to_owned();
        files.entry(module).or_default().push(file.clone());
    }
    let modules: BTreeSet<String> = files.keys().cloned().collect();
    let named = |file: &PathBuf| {
        let text = fs::read_to_string(file).unwrap();
        let code = text
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"));
        let code: String = code.collect::<Vec<_>>().join("\n");
        let behind = |start: &str| {
            let group = start
                .strip_prefix('{')
                .map(|group| group.split('}').next().unwrap());
            let names = group.unwrap_or_else(|| start.split([':', ';', ' ']).next().unwrap());
            names
                .split([',', '\n', ' ', ':'])
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        code.split("crate::")
            .skip(1)
            .flat_map(behind)
            .collect::<Vec<_>>()
    };
    files
        .into_iter()
        .filter(|(module, _)| module != "lib")
        .map(|(module, files)| {
            let found = files.iter().flat_map(named);
            let used = found.filter(|name| modules.contains(name) && *name != module);
            (module.clone(), used.collect())
        })
        .collect()
}

fn reached(uses: &BTreeMap<String, BTreeSet<String>>, from: &str) -> BTreeSet<String> {
    let (mut seen, mut todo) = (BTreeSet::new(), vec![from.to_owned()]);
    while let Some(module) = todo.pop() {
        for next in uses.get(&module).into_iter().flatten() {
            if seen.insert(next.clone()) {
                todo.push(next.clone());
            }
        }
    }
    seen
}
