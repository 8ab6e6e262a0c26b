//! Once a run has said what it made, a signal does not change its exit status.

use crate::calls::Call;
use crate::every_call_that_fails::look_at;
use crate::ready;
use crate::runs::{self, Bench, Run};
use crate::support::workshop::stderr;

#[test]
fn at_the_last_message_and_behind() {
    if !ready() {
        return;
    }
    let bench = Bench::new();
    for run in runs::all() {
        let names: &[_] = if crate::all() {
            &["write", "close", "flock"]
        } else {
            &["write"]
        };
        for name in names {
            let Some(call) = last(&bench, &run, name) else {
                continue;
            };
            bench.lay_out(&run);
            let output = bench.faulty(&run, &call, "signal=INT");
            let what = format!("{}, {call:?}: {}", run.name, stderr(&output));
            assert_eq!(output.status.code(), Some(0), "{what}");
            look_at(&bench, &run, &output, &what);
        }
    }
}

/// The last call of a name, where it is not before the last message.
fn last(bench: &Bench, run: &Run, name: &str) -> Option<Call> {
    bench.lay_out(run);
    let trace = bench.path("trace");
    let options = ["-e".to_owned(), format!("trace=write,{name}")];
    let output = bench.traced(run, &trace, &options);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let text = std::fs::read_to_string(&trace).unwrap();
    bench.clear();
    let message = text.lines().rfind(|line| line.contains("write(2, "))?;
    let thread = message.split_whitespace().next()?;
    let calls = text
        .lines()
        .filter(|line| line.split_whitespace().next() == Some(thread));
    let calls: Vec<_> = calls.collect();
    let said = calls.iter().rposition(|line| *line == message)?;
    let is_named = |line: &str| line.contains(&format!(" {name}("));
    let number = calls.iter().filter(|line| is_named(line)).count();
    let is_late = calls.iter().skip(said).any(|line| is_named(line));
    is_late.then(|| Call {
        name: name.to_owned(),
        number,
    })
}
