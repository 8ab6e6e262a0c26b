//! Progress on standard error: a bar on a terminal, a line every ten per cent elsewhere.

use std::io::IsTerminal;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::message::say;
use operations::{Observer, Phase, PublishStep};

/// Shows how far the work is.
pub struct Progress {
    on_terminal: bool,
    bar: Mutex<Option<ProgressBar>>,
    phase: Mutex<Option<Phase>>,
    begun: Mutex<Vec<(Phase, Instant)>>,
    total_bytes: AtomicU64,
    done_bytes: AtomicU64,
    told_tenths: AtomicU64,
}

impl Progress {
    /// Looks whether standard error is a terminal.
    pub fn new() -> Self {
        Self {
            on_terminal: std::io::stderr().is_terminal(),
            bar: Mutex::new(None),
            phase: Mutex::new(None),
            begun: Mutex::new(Vec::new()),
            total_bytes: AtomicU64::new(0),
            done_bytes: AtomicU64::new(0),
            told_tenths: AtomicU64::new(0),
        }
    }

    /// Takes the bar off the terminal, before anything else is written there.
    pub fn clear(&self) {
        if let Some(bar) = self.bar.lock().ok().and_then(|mut bar| bar.take()) {
            bar.finish_and_clear();
        }
    }

    /// Tells what each phase took.
    pub fn say_times(&self) {
        for (phase, took) in self.times() {
            say(&format!("{phase} took {:.1} s\n", took.as_secs_f64()));
        }
    }

    /// The phases in order, and what each took until the next one or now.
    fn times(&self) -> Vec<(Phase, Duration)> {
        let begun = self.begun.lock();
        let begun = begun.map(|begun| begun.clone()).unwrap_or_default();
        let ends = begun.iter().skip(1).map(|(_, next)| *next);
        let ends = ends.chain([Instant::now()]);
        begun
            .iter()
            .zip(ends)
            .map(|((phase, start), end)| (*phase, end.duration_since(*start)))
            .collect()
    }

    fn draw_bar(&self, phase: Phase, total_bytes: u64) {
        let bar = if total_bytes == 0 {
            ProgressBar::new_spinner()
        } else {
            let template = "{msg} [{bar:30}] {percent}% of {total_bytes}, {bytes_per_sec}, {eta}";
            let style = ProgressStyle::with_template(template)
                .unwrap_or_else(|_| ProgressStyle::default_bar())
                .progress_chars("=> ");
            ProgressBar::new(total_bytes).with_style(style)
        };
        bar.set_message(phase.to_string());
        if let Ok(mut slot) = self.bar.lock() {
            *slot = Some(bar);
        }
    }
}

impl Observer for Progress {
    fn begin(&self, phase: Phase, total_bytes: u64) {
        self.clear();
        self.total_bytes.store(total_bytes, Ordering::Relaxed);
        self.done_bytes.store(0, Ordering::Relaxed);
        self.told_tenths.store(0, Ordering::Relaxed);
        if let Ok(mut current) = self.phase.lock() {
            *current = Some(phase);
        }
        if let Ok(mut begun) = self.begun.lock() {
            begun.push((phase, Instant::now()));
        }
        if self.on_terminal {
            self.draw_bar(phase, total_bytes);
        } else {
            say(&format!("{phase}\n"));
        }
    }

    fn advance(&self, bytes: u64) {
        let done = self.done_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if self.on_terminal {
            if let Ok(bar) = self.bar.lock() {
                bar.iter().for_each(|bar| bar.set_position(done));
            }
            return;
        }
        let total = self.total_bytes.load(Ordering::Relaxed).max(1);
        let tenths = done.saturating_mul(10) / total;
        // Whoever passes a tenth first tells it; the others see that it was told.
        if self.told_tenths.fetch_max(tenths, Ordering::Relaxed) < tenths
            && let Ok(phase) = self.phase.lock()
            && let Some(phase) = *phase
        {
            say(&format!("{phase}: {}%\n", tenths * 10));
        }
    }

    fn notice(&self, text: &str) {
        self.clear();
        say(&format!("notice: {text}\n"));
    }

    fn publishing(&self, _: PublishStep) {
        self.clear();
    }
}
