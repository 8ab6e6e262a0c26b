//! What `--override-datasources` and `--grow-root` promise is what the real cloud-init makes of the image.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use base::storage::FileStorage;
use filesystem::ext4::Filesystem;
use operations::cloud_init::{self, Value};
use serde_json::json;

use crate::conversion::{Edited, edit_root, encrypt_edited};
use crate::support::cloud_init::CloudInit;
use crate::support::image::{Shape, image};
use crate::support::workshop::{Workshop, refused, stderr};
use crate::support::{command, exits, programs, scratch};

const OVERRIDE: &str = "datasource_list: [ Azure ]\n";
const GROWPART_OFF: &str = "growpart:\n    mode: \"off\"\n";

/// Beginnings and ends of names that sort in surprising ways.
const BEGINNINGS: &[&[u8]] = &[
    b"0",
    b"05",
    b"9",
    b"99",
    b"99_",
    b"99-",
    b"99_datasources_override",
    b"99_datasources_",
    b"99_disable_growpart",
    b"100",
    b"A",
    b"Z",
    b"ZZ",
    b"z",
    b"zz",
    b"zz_",
    b"zz-",
    b"zzz",
    b"curtin",
    b"_",
    b"~",
    b"{",
    b"-",
    b".",
    b".z",
    b" ",
    b"\xc3\xa9",
    b"\xff",
    b"\xf0\x90\x80\x80",
    b"\xee\x80\x80",
    b"#",
    b"'",
    b"\t",
];
const ENDS: &[&[u8]] = &[
    b".cfg",
    b"x.cfg",
    b"_.cfg",
    b"-site.cfg",
    b".CFG",
    b".cfg~",
    b".cfg.bak",
    b"\xc3\xbc.cfg",
    b" .cfg",
];

/// Contents, each of which some rule of merging is about.
const CONTENTS: &[&str] = &[
    "datasource_list: [ NoCloud ]\n",
    "datasource_list: [ ConfigDrive, None ]\ngrowpart: {mode: auto, devices: ['/']}\n",
    "datasource_list:\n  - Ec2\n  - GCE\n",
    "datasource_list: {NoCloud: 1}\n",
    "datasource_list: NoCloud\n",
    "datasource_list:\n",
    "datasource_list: []\n",
    "datasource_list: [ off, 12, 'off', ~, 0x1f, 1.5, None ]\n",
    "\"datasource\\x5flist\": [ Escaped ]\n",
    "? datasource_list\n: [ Complex ]\n",
    "x: &a {datasource_list: [ Merged ], growpart: {mode: gpart}}\n<<: *a\n",
    "x: &a [ Anchored ]\ndatasource_list: *a\n",
    "datasource_list: [ First ]\ndatasource_list: [ Second ]\n",
    "merge_how: list(append)+dict(recurse_list)+str()\ndatasource_list: [ Appended ]\n",
    "merge_type: 'dict(replace)'\ngrowpart: {mode: auto}\n",
    "merge_how: list(append)\nother: [ 1 ]\n",
    "merge_how:\ndatasource_list: [ Null ]\n",
    "# datasource_list: [ Comment ]\nother: 1\n",
    "outer:\n  datasource_list: [ Indented ]\n",
    "- datasource_list\n",
    "datasource_list: [ Broken\n",
    "datasource_list: [ One ]\n---\ndatasource_list: [ Two ]\n",
    "datasource_list: !mine [ Tagged ]\n",
    "datasource_list: !!seq [ Tagged ]\n",
    "\tdatasource_list: [ Tab ]\n",
    "",
    "other: 1\n",
    "growpart: {mode: off, ignore_growroot_disabled: true}\n",
    "growpart: {mode: {deep: er}, devices: {a: b}}\n",
    "growpart: auto\n",
    "growpart:\n  mode: 'off'\n  devices: [ / ]\n",
    "system_info: {distro: debian}\nlist: [a, {b: c}]\ntext: |\n  growpart: x\n",
    "conf_d: /nowhere\n",
];

/// Numbers that are the same in each run.
struct Numbers(u64, bool);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % limit
    }

    /// A content, with characters that somebody mistyped where that is wanted.
    fn content(&mut self, few: usize) -> String {
        const STRAY: &str = "\t\n :-[]{},#&*!|>'\"%@`~?\\<=x0\u{e9}\r";
        let stray: Vec<char> = STRAY.chars().collect();
        let mut content: Vec<char> = CONTENTS[self.below(few)].chars().collect();
        if self.1 {
            for _ in 0..=self.below(2) {
                let place = self.below(content.len() + 1);
                content.insert(place, stray[self.below(stray.len())]);
            }
        }
        content.into_iter().collect()
    }

    fn of<'a, T: ?Sized>(&mut self, list: &[&'a T]) -> &'a T {
        list[self.below(list.len())]
    }
}

/// Fills `etc/cloud` of a tree.
fn plant(root: &Path, numbers: &mut Numbers) {
    let cloud = root.join("etc/cloud");
    let parts = cloud.join("cloud.cfg.d");
    fs::create_dir_all(&parts).unwrap();
    fs::write(cloud.join("outside"), numbers.of(CONTENTS)).unwrap();
    if numbers.below(3) > 0 {
        // The last one leads away from the folder: seldom.
        let few = CONTENTS.len() - usize::from(numbers.below(4) > 0);
        fs::write(cloud.join("cloud.cfg"), numbers.content(few)).unwrap();
    }
    for _ in 0..numbers.below(6) {
        let name = [numbers.of(BEGINNINGS), numbers.of(ENDS)].concat();
        let path = parts.join(OsStr::from_bytes(&name));
        if path.symlink_metadata().is_ok() {
            continue;
        }
        match numbers.below(12) {
            0 => symlink("../outside", path).unwrap(),
            1 => symlink(OsStr::from_bytes(&name), path).unwrap(),
            2 => symlink("outside/below", path).unwrap(),
            3 => fs::create_dir(path).unwrap(),
            _ => fs::write(path, numbers.content(CONTENTS.len() - 1)).unwrap(),
        }
    }
}

/// As `tests/support/merged.py` shows it.
fn shown(value: &Value) -> serde_json::Value {
    match value {
        Value::Text(text) => json!(text),
        Value::Other(_) => json!({"other": true}),
        Value::List(items) => items.iter().map(|item| shown(item)).collect(),
        Value::Map(members) => members
            .iter()
            .map(|(key, value)| (key.clone(), shown(value)))
            .collect(),
    }
}

/// Trees of hostile neighbours: our merge is cloud-init's, and a file of ours under the name that we give it is what
/// cloud-init and ds-identify take.
#[test]
fn files_are_merged_as_cloud_init_merges_them() {
    let Some(judge) = CloudInit::find() else {
        return;
    };
    if !programs(&["mke2fs"]) {
        return;
    }
    let count = if std::env::var_os("ECI_TEST_ALL").is_some() {
        3000
    } else {
        300
    };
    let folder = scratch();
    let trees = folder.path().join("trees");
    let is_mistyped = |number: usize| number.is_multiple_of(3);
    let mut numbers = Numbers(16, false);
    let roots: Vec<PathBuf> = (0..count)
        .map(|number| trees.join(number.to_string()))
        .collect();
    for (number, root) in roots.iter().enumerate() {
        numbers.1 = is_mistyped(number);
        plant(root, &mut numbers);
    }
    let file = folder.path().join("ext4");
    let mut make = command("mke2fs");
    make.args(["-q", "-t", "ext4", "-d"])
        .arg(&trees)
        .arg(&file)
        .arg(if count > 1000 { "400M" } else { "64M" });
    exits(
        make.args(["-N", if count > 1000 { "100000" } else { "8000" }]),
        0,
    );
    let storage = FileStorage::new(File::open(&file).unwrap()).unwrap();
    let filesystem = Filesystem::open_read_only(&storage).unwrap();

    let merged = judge.merged(&roots);
    let mut overridden = Vec::new();
    let mut compared = 0;
    for (number, (root, merged)) in roots.iter().zip(&merged).enumerate() {
        let config =
            cloud_init::CloudInit::read(&filesystem, &format!("/{number}/etc/cloud")).unwrap();
        for key in ["datasource_list", "growpart"] {
            // What we do not say we refuse; what we say is so, unless cloud-init gives up. (Some mistyped YAML is valid in
            // its version 1.2 alone; then ours still has to count.)
            if let (Ok(ours), false) = (config.value(key), merged.is_null() || is_mistyped(number))
            {
                let ours = ours.map(|value: Rc<Value>| shown(&value));
                assert_eq!(
                    ours.as_ref(),
                    merged.get(key),
                    "{key} in tree {number}: {merged}"
                );
                compared += 1;
            }
        }
        let files = [
            ("99_datasources_override.cfg", "datasource_list", OVERRIDE),
            ("99_disable_growpart.cfg", "growpart", GROWPART_OFF),
        ];
        let names: Result<Vec<_>, _> = files
            .iter()
            .map(|(preferred, key, text)| config.name_that_counts(preferred, key, text))
            .collect();
        let Ok(names) = names else {
            continue;
        };
        let parts = root.join("etc/cloud/cloud.cfg.d");
        // A folder of that name is in the way, and `encrypt` says so.
        if names.iter().all(|name| !parts.join(name).is_dir()) {
            for ((_, _, text), name) in files.iter().zip(names) {
                let file = parts.join(name);
                // Replaced, not followed.
                let _ = fs::remove_file(&file);
                fs::write(file, text).unwrap();
            }
            overridden.push(root.clone());
        }
    }
    assert!(
        compared > count / 2 && overridden.len() > count / 3,
        "{compared}, {}",
        overridden.len()
    );
    let mut given_up = 0;
    for (root, merged) in overridden.iter().zip(judge.merged(&overridden)) {
        if merged.is_null() {
            given_up += 1;
            continue;
        }
        assert_eq!(
            merged["datasource_list"],
            json!(["Azure"]),
            "{}",
            root.display()
        );
        assert_eq!(merged["growpart"]["mode"], "off", "{}", root.display());
    }
    assert!(given_up < overridden.len() / 10, "{given_up}");
    let sample = if count > 1000 { 400 } else { 40 };
    for root in overridden.iter().take(sample) {
        assert_eq!(
            judge.identified(root),
            "datasource_list: [ Azure, None ]",
            "{}",
            root.display()
        );
    }
}

/// Commands of debugfs that write `text` into a file of cloud-init's.
fn write_script(folder: &Path, files: &[(&str, &str)]) -> String {
    let mut script = String::new();
    for (number, (path, text)) in files.iter().enumerate() {
        let host = folder.join(format!("planted-{number}"));
        fs::write(&host, text).unwrap();
        // What the image has already, or never has, debugfs would complain about.
        let missing = match path.rsplit_once('/').unwrap().0 {
            "/var/lib/cloud/instance" => vec!["/var/lib/cloud", "/var/lib/cloud/instance"],
            folder if folder.ends_with("/sources") => {
                let parts = folder
                    .match_indices('/')
                    .skip(2)
                    .map(|(at, _)| &folder[..at]);
                parts.chain([folder]).collect()
            }
            _ => Vec::new(),
        };
        for folder in missing {
            let make = format!("mkdir {folder}\n");
            if !script.contains(&make) {
                script += &make;
            }
        }
        let (folder, name) = path.rsplit_once('/').unwrap();
        script += &format!("cd {folder}/\nwrite {} {name}\n", host.display());
    }
    script
}

/// The tree below `/etc` of an encrypted image, as far as cloud-init reads it.
fn extracted(edited: &Edited, root: &Path) {
    for path in edited.after.entries.keys() {
        if path.starts_with("/etc/cloud/") && Path::new(path).extension() == Some(OsStr::new("cfg"))
        {
            let file = root.join(&path[1..]);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, crate::support::judge::small_file(&edited.after, path)).unwrap();
        }
    }
}

#[test]
fn a_later_file_of_the_image_does_not_undo_what_is_promised() {
    let Some(judge) = CloudInit::find() else {
        return;
    };
    if !crate::can_judge() {
        return;
    }
    for later in ["zz-site.cfg", "curtin.cfg", "99_fake.cfg", "ZZZ.cfg"] {
        let folder = scratch();
        let path = format!("/etc/cloud/cloud.cfg.d/{later}");
        let text =
            "datasource_list: [ NoCloud, ConfigDrive ]\ngrowpart: {mode: auto, devices: [/]}\n";
        let script = write_script(folder.path(), &[(&path, text)]);
        let edited = encrypt_edited(&script, &["--override-datasources", "Azure", "--grow-root"]);
        let root = folder.path().join("root");
        extracted(&edited, &root);
        let merged = judge.merged(std::slice::from_ref(&root));
        let expected =
            json!({"datasource_list": ["Azure"], "growpart": {"mode": "off", "devices": ["/"]}});
        assert_eq!(merged, [expected], "{later}");
        assert_eq!(
            judge.identified(&root),
            "datasource_list: [ Azure, None ]",
            "{later}"
        );
    }
}

const LIST: &str = "datasource_list: [ NoCloud ]\n";

#[test]
fn what_no_name_of_a_file_mends_is_refused() {
    if !crate::can_judge() {
        return;
    }
    let long = format!("{LIST}{}", "#\n".repeat(1 << 17));
    let parts = "/etc/cloud/cloud.cfg.d";
    for (file, text, message) in [
        (
            format!("{parts}/~x.cfg"),
            LIST,
            "it sets datasource_list, and cloud-init takes it after every name of ours: give it a name that begins with a digit",
        ),
        (
            format!("{parts}/05_x.cfg"),
            "datasource_list: {NoCloud: 1}\n",
            "its datasource_list is a mapping, which cloud-init puts in the place of what is set to override it: take it out",
        ),
        (
            format!("{parts}/05_x.cfg"),
            "merge_how: list(append)\ndatasource_list: [ NoCloud ]\n",
            "it sets datasource_list, and merge_how in it changes how cloud-init merges that: take datasource_list or merge_how out",
        ),
        (
            format!("{parts}/05_x.cfg"),
            "- datasource_list\n",
            "it may set datasource_list, and it cannot be read as YAML (it is no mapping): mend or remove it",
        ),
        (
            format!("{parts}/05_x.cfg"),
            &format!("## template: jinja\n{LIST}"),
            "it may set datasource_list, and it is a Jinja template: mend or remove it",
        ),
        (
            format!("{parts}/05_x.cfg"),
            &long,
            "it may set datasource_list, and it is longer than 262144 bytes: mend or remove it",
        ),
        // ds-identify reads it all the same: the shell takes the backslash out.
        (
            format!("{parts}/zz_x.cfg"),
            "dat\\asource_list: !mine [ \"NoCloud ]\n",
            "it may set datasource_list, and it cannot be read as YAML (the tag !mine is unknown): mend or remove it",
        ),
        (
            "/etc/cloud/ds-identify.cfg".to_owned(),
            "data\\source\\\n: NoCloud\n",
            "it sets the datasource \"NoCloud\", above every list: take the line out",
        ),
        (
            "/etc/cloud/cloud.cfg".to_owned(),
            "conf_d: /etc/other.d\n",
            "conf_d in it leads cloud-init away from cloud.cfg.d: take conf_d out",
        ),
        (
            "/etc/cloud/ds-identify.cfg".to_owned(),
            "# x\ndatasource: \"NoCloud\" # y\n",
            "it sets the datasource \"NoCloud\", above every list: take the line out",
        ),
        (
            "/var/lib/cloud/instance/obj.pkl".to_owned(),
            "x",
            "cloud-init keeps the datasource of an earlier boot there, and asks no list where it finds that again: run cloud-init clean in the image",
        ),
    ] {
        let workshop = Workshop::new();
        let source = workshop.source(image(Shape::Tiny));
        let folder = scratch();
        edit_root(&source, &write_script(folder.path(), &[(&file, text)]));
        let mut encrypt = workshop.encrypt();
        encrypt.args([
            "--override-datasources",
            "Azure",
            "-o",
            "output.img",
            "source.img",
        ]);
        assert_eq!(
            refused(&mut encrypt),
            format!("error: source.img: --override-datasources: {file}: {message}\n")
        );
        assert_eq!(workshop.names(), ["source.img"]);
    }
    let workshop = Workshop::new();
    let source = workshop.source(image(Shape::Tiny));
    edit_root(
        &source,
        &format!("cd {parts}\nsymlink 05_x.cfg /run/site.cfg\n"),
    );
    let mut encrypt = workshop.encrypt();
    encrypt.args(["--grow-root", "-o", "output.img", "source.img"]);
    assert_eq!(
        refused(&mut encrypt),
        format!(
            "error: source.img: --grow-root: {parts}/05_x.cfg: it may set growpart, and it is a link to what the image does not hold: mend or remove it\n"
        )
    );
}

/// A warning stands where the real cloud-init finds no module, and nowhere else; with its modules in the image and without.
#[test]
fn names_that_cloud_init_does_not_find_are_told() {
    let Some(judge) = CloudInit::find() else {
        return;
    };
    if !crate::can_judge() {
        return;
    }
    let own = judge.datasources();
    let mut names = own.clone();
    assert!(names.contains(&"Azure".to_owned()), "{names:?}");
    let in_lower_case = names.iter().map(|name| name.to_ascii_lowercase());
    names.extend(in_lower_case.collect::<Vec<_>>());
    names.extend(["AZURE", "Azur", "Helpers", "__init__"].map(str::to_owned));
    let found = judge.finds(&names);
    assert!(found.contains(&true) && found.contains(&false));
    let list = names.join(",");
    let modules: Vec<_> = own
        .iter()
        .map(|name| format!("/usr/lib/python3/dist-packages/cloudinit/sources/DataSource{name}.py"))
        .collect();
    for (whose, planted) in [
        ("the image's cloud-init", &modules[..]),
        ("cloud-init", &[]),
    ] {
        let workshop = Workshop::new();
        let source = workshop.source(image(Shape::Tiny));
        let folder = scratch();
        let files: Vec<_> = planted.iter().map(|path| (path.as_str(), "")).collect();
        edit_root(&source, &write_script(folder.path(), &files));
        let mut encrypt = workshop.encrypt();
        encrypt.args([
            "--override-datasources",
            &list,
            "--dry-run",
            "-o",
            "output.img",
            "source.img",
        ]);
        let talk = stderr(&exits(&mut encrypt, 0));
        let told: Vec<_> = talk
            .lines()
            .filter(|line| line.starts_with("warning: --override-datasources: "))
            .collect();
        let expected: Vec<_> = names
            .iter()
            .zip(&found)
            .filter(|(_, found)| !**found)
            .map(|(name, _)| match own.iter().find(|own| own.eq_ignore_ascii_case(name)) {
                Some(own) => format!("warning: --override-datasources: {whose} calls the datasource {own}, and passes over {name}: write it so"),
                None => format!("warning: --override-datasources: {whose} has no datasource {name}, and passes over it"),
            })
            .collect();
        assert_eq!(told, expected);
    }
}

#[test]
fn what_keeps_cloud_init_from_its_work_is_told() {
    if !crate::can_judge() {
        return;
    }
    let no_growing = |reason: &str| {
        format!(
            "warning: the image's cloud-init does not grow the root at the first boot: {reason}; --grow-root grows the partition now\n"
        )
    };
    let file = "/etc/cloud/cloud.cfg.d/50_x.cfg";
    let list = ["--override-datasources", "Azure,Azur"];
    for (path, text, options, warning) in [
        (
            "/etc/cloud/cloud-init.disabled",
            "",
            &list[..],
            "warning: --override-datasources: /etc/cloud/cloud-init.disabled switches cloud-init off\n".to_owned(),
        ),
        (
            "/etc/cloud/ds-identify.cfg",
            "policy: disabled\n",
            &[],
            no_growing("the policy in /etc/cloud/ds-identify.cfg switches cloud-init off"),
        ),
        (file, "growpart: {mode: off}\n", &[], no_growing("its growpart has the mode \"off\"")),
        (file, "growpart: off\n", &[], no_growing("its growpart is no mapping")),
        ("/etc/growroot-disabled", "", &[], no_growing("/etc/growroot-disabled is there")),
        (
            "/usr/lib/python3/dist-packages/cloudinit/sources/DataSourceAzure.py",
            "",
            &list[..],
            "warning: --override-datasources: the image's cloud-init has no datasource Azur, and passes over it\n".to_owned(),
        ),
    ] {
        let workshop = Workshop::new();
        let source = workshop.source(image(Shape::Tiny));
        let folder = scratch();
        edit_root(&source, &write_script(folder.path(), &[(path, text)]));
        let mut encrypt = workshop.encrypt();
        encrypt.args(options).args(["--dry-run", "-o", "output.img", "source.img"]);
        let talk = stderr(&exits(&mut encrypt, 0));
        assert!(talk.contains(&warning), "{path}: {talk}");
    }
}
