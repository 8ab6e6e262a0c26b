//! The Kubernetes Job in docs/fleet.md is one, by Kubernetes' own schema, and calls this program as it can be called.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::support::{command, data, exits, programs, run, scratch};

/// The Job, as JSON.
fn job() -> Value {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/fleet.md");
    let text = std::fs::read_to_string(page).unwrap();
    let (_, behind) = text.split_once("```yaml\n").unwrap();
    let (yaml, _) = behind.split_once("```\n").unwrap();
    let folder = scratch();
    let file = folder.path().join("job.yaml");
    std::fs::write(&file, yaml).unwrap();
    let script = "import json, sys, yaml; print(json.dumps(yaml.safe_load(open(sys.argv[1]))))";
    let json = run(command("python3").args(["-c", script]).arg(&file));
    serde_json::from_str(&json).unwrap()
}

fn ready() -> bool {
    programs(&["python3", "jsonschema"])
}

/// The exit status of a validator that is not ours.
fn judge(job: &Value, code: i32) {
    let folder = scratch();
    let file = folder.path().join("job.json");
    std::fs::write(&file, job.to_string()).unwrap();
    let mut validator = command("jsonschema");
    validator.arg("--instance").arg(file);
    exits(validator.arg(data("kubernetes/job-1.31.json")), code);
}

#[test]
fn the_job_follows_the_schema_of_kubernetes() {
    if !ready() {
        return;
    }
    let job = job();
    judge(&job, 0);
    // What people get wrong is found.
    for (pointer, member, wrong) in [
        ("/spec", "completion", Value::from(3)),
        ("/spec", "parallelism", Value::from("eight")),
        ("", "apiVersion", Value::from("batch/v2")),
        ("/spec/template/spec", "initContainer", Value::from(0)),
        (
            "/spec/template/spec/initContainers/1",
            "arguments",
            Value::from("x"),
        ),
    ] {
        let mut changed = job.clone();
        changed.pointer_mut(pointer).unwrap()[member] = wrong;
        judge(&changed, 1);
    }
}

#[test]
fn it_calls_the_program_with_options_that_it_has() {
    if !ready() {
        return;
    }
    let job = job();
    let spec = &job["spec"];
    assert_eq!(spec["completionMode"], "Indexed");
    let containers = spec["template"]["spec"]["initContainers"]
        .as_array()
        .unwrap();
    let provision = containers
        .iter()
        .find(|one| one["name"] == "provision")
        .unwrap();
    let words = |member: &str| -> Vec<String> {
        let words = provision[member].as_array().unwrap().iter();
        words
            .map(|word| word.as_str().unwrap().to_owned())
            .collect()
    };
    let (line, arguments) = (words("command"), words("args"));
    assert_eq!(line[0], "encrypt-cloud-image");
    let rule = &spec["podFailurePolicy"]["rules"][0]["onExitCodes"];
    assert_eq!(
        (&rule["containerName"], &rule["values"][0]),
        (&provision["name"], &Value::from(2))
    );
    let env = &provision["env"][0];
    assert!(arguments.contains(&format!(
        "--guests=/fleet/shards/$({})",
        env["name"].as_str().unwrap()
    )));
    // The parser takes them, and then misses the file of guests: exit status 1, and not the 2 of wrong usage.
    let mut program = Command::new(env!("CARGO_BIN_EXE_encrypt-cloud-image"));
    let output = exits(program.args(&line[1..]).args(&arguments), 1);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        said.starts_with("error: /fleet/shards/$(SHARD): cannot read the guests"),
        "{said}"
    );
}
