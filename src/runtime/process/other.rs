//! Processes as `ps` shows them: best effort for macOS and other systems without `/proc`.
//!
//! The working directory of another process is not known there, so a backend is found as a descendant
//! of its postmaster only; one that has lost its postmaster is not found.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use super::Proc;

fn ps(args: &[&str]) -> String {
    Command::new("ps")
        .args(args)
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .map(|output| String::from_utf8_lossy(&output.stdout).into_owned())
        .unwrap_or_default()
}

const COLUMNS: &str = "pid=,ppid=,state=,lstart=";

pub fn get(pid: i32) -> Option<Proc> {
    parse(
        ps(&["-o", COLUMNS, "-p", &pid.to_string()])
            .lines()
            .next()?,
    )
}

pub fn list() -> Vec<Proc> {
    ps(&["-axo", COLUMNS]).lines().filter_map(parse).collect()
}

fn parse(line: &str) -> Option<Proc> {
    let mut fields = line.split_whitespace();
    Some(Proc {
        pid: fields.next()?.parse().ok()?,
        ppid: fields.next()?.parse().ok()?,
        state: fields.next()?.chars().next()?,
        start: fields.collect::<Vec<_>>().join(" "),
    })
}

pub fn has_env(pid: i32, marker: &str) -> bool {
    ps(&["-Eww", "-o", "command=", "-p", &pid.to_string()])
        .split_whitespace()
        .any(|word| word == marker)
}

pub fn cwd(_pid: i32) -> Option<PathBuf> {
    None
}

pub fn program(pid: i32) -> Option<String> {
    let path = PathBuf::from(ps(&["-o", "comm=", "-p", &pid.to_string()]).trim());
    Some(path.file_name()?.to_str()?.to_string())
}
