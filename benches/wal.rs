//! Reads the WAL of a directory and compares with other programs, in one run. `benches/wal.sh`
//! makes the WAL and calls this with the directory and the `pg_waldump` of the same major.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use rpitr::wal::{AnalysisOptions, Finding, Options, Wal, analyse};

/// How often each is measured; the best counts.
const TRIES: usize = 3;

/// Seconds on the clock, and of processors: on a busy machine only the latter can be compared.
#[derive(Clone, Copy)]
struct Time {
    wall: f64,
    cpu: f64,
}

impl Time {
    /// How many times as long the other takes.
    fn against(self, other: Time) -> String {
        format!(
            "{:>6.2} x ({:.2} x in processor time)",
            other.wall / self.wall,
            other.cpu / self.cpu
        )
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().filter(|a| a != "--bench").collect();
    let [_, archive, waldump] = &arguments[..] else {
        eprintln!("usage: benches/wal.sh");
        std::process::exit(2);
    };
    let archive = Path::new(archive);
    let mut segments: Vec<PathBuf> = std::fs::read_dir(archive)
        .expect("the archive can be listed")
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.file_name().is_some_and(|name| name.len() == 24))
        .collect();
    segments.sort();
    let bytes: u64 = segments
        .iter()
        .map(|p| p.metadata().map_or(0, |m| m.len()))
        .sum();
    println!("{} segments, {:.0} MB", segments.len(), bytes as f64 / 1e6);

    let one = best(|| scan(archive, 1));
    let two = best(|| scan(archive, 2));
    let resident = resident_mb();
    let name = |path: Option<&PathBuf>| {
        let name = path.and_then(|p| p.file_name()).unwrap_or_default();
        name.to_string_lossy().into_owned()
    };
    let range = format!("{} {}", name(segments.first()), name(segments.last()));
    let dir = archive.display();
    let stats = best(|| shell(&format!("{waldump} --stats -p {dir} {range} > /dev/null")));
    let grep = best(|| {
        shell(&format!(
            "{waldump} -p {dir} {range} | grep -c COMMIT > /dev/null"
        ))
    });
    let cat = best(|| shell(&format!("cat {dir}/* > /dev/null")));
    let line = |what: &str, time: Time| {
        println!(
            "{what:<34}{:>8.3} s {:>6.0} MB/s {:>8.3} s of processors",
            time.wall,
            bytes as f64 / 1e6 / time.wall,
            time.cpu
        );
    };
    line("rpitr, full analysis, 1 thread", one);
    line("rpitr, full analysis, 2 threads", two);
    line("pg_waldump --stats", stats);
    line("pg_waldump | grep COMMIT", grep);
    line("cat", cat);
    println!(
        "pg_waldump --stats / 1 thread   {} goal 1.1",
        one.against(stats)
    );
    println!(
        "pg_waldump --stats / 2 threads  {} goal 2",
        two.against(stats)
    );
    println!(
        "pg_waldump | grep / 1 thread    {} goal 10",
        one.against(grep)
    );
    println!(
        "pg_waldump | grep / 2 threads   {} goal 10",
        two.against(grep)
    );
    println!(
        "2 threads / cat                 {} the limit is 1",
        cat.against(two)
    );
    println!("resident memory                 {resident:>6.0} MB, goal below 64");

    for (suffix, pack, unpack) in [
        ("zst", "zstd -q -T0", "zstd -dc"),
        ("gz", "gzip", "gzip -dc"),
    ] {
        let packed = tempfile::tempdir().expect("a temporary directory");
        for segment in &segments {
            let to = packed
                .path()
                .join(format!("{}.{suffix}", name(Some(segment))));
            shell(&format!(
                "{pack} -c {} > {}",
                segment.display(),
                to.display()
            ));
        }
        let peer = best(|| {
            shell(&format!(
                "{unpack} {}/* > /dev/null",
                packed.path().display()
            ))
        });
        for threads in [1, 2] {
            let mine = best(|| scan(packed.path(), threads));
            println!(
                "{unpack} / {threads} thread(s) on .{suffix} {}",
                mine.against(peer)
            );
        }
    }
    println!("resident memory at the end       {:>6.0} MB", resident_mb());
}

fn best(mut run: impl FnMut()) -> Time {
    let mut best = Time {
        wall: f64::INFINITY,
        cpu: f64::INFINITY,
    };
    for _ in 0..TRIES {
        let (start, before) = (Instant::now(), processor_seconds());
        run();
        best.wall = best.wall.min(start.elapsed().as_secs_f64());
        best.cpu = best.cpu.min(processor_seconds() - before);
    }
    best
}

/// What this process and its finished children used so far.
fn processor_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or_default();
    // User and system time, then the same of children, in hundredths of a second.
    let ticks = fields.split_whitespace().skip(11).take(4);
    ticks.filter_map(|t| t.parse::<f64>().ok()).sum::<f64>() / 100.0
}

fn scan(archive: &Path, threads: usize) {
    let wal = Wal::open(archive, &Options::default()).expect("the archive can be read");
    let options = AnalysisOptions {
        threads,
        ..AnalysisOptions::default()
    };
    let (mut transactions, mut rows, mut incidents) = (0u64, 0u64, 0u64);
    let analysis = analyse(&wal, &options, |finding, _| {
        match finding {
            Finding::Transaction(transaction) => {
                transactions += 1;
                rows += transaction.rows().total();
            }
            Finding::Incident(_) => incidents += 1,
            _ => {}
        }
        ControlFlow::Continue(())
    })
    .expect("the analysis runs");
    assert!(
        !analysis.summary.end.is_damage(),
        "{}",
        analysis.summary.end
    );
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        println!(
            "{} records, {transactions} transactions, {rows} row changes, {incidents} incidents",
            analysis.summary.records
        );
    });
}

fn shell(command: &str) {
    let status = Command::new("sh")
        .args(["-c", command])
        .stderr(Stdio::null())
        .status()
        .expect("sh runs");
    // pg_waldump ends with an error where the WAL ends.
    let _ = status;
}

/// The most memory this process ever had.
fn resident_mb() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kb = line.and_then(|rest| rest.split_whitespace().next()?.parse::<f64>().ok());
    kb.unwrap_or(f64::NAN) / 1000.0
}
