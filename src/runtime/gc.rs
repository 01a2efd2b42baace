//! Removing what runs of rpitr left behind.

use std::collections::HashSet;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::Duration;

use chrono::{DateTime, Utc};

use super::docker::Engine;
use super::lab::{self, Destroyed, SOCKET_ROOT};
use super::marker::Marker;
use super::{Error, LabRecord, LocalRuntime, Use, helper};

/// What to remove. A lab that a running process owns or is attached to is never touched.
#[derive(Debug, Clone, Copy, Default)]
pub struct GcOptions {
    /// Kept labs, too.
    pub all: bool,
    /// Only labs created at least this long ago.
    pub older_than: Option<Duration>,
}

/// What was removed, and what was not.
#[derive(Debug, Default)]
pub struct GcReport {
    pub destroyed: Vec<Destroyed>,
    /// Directories with a marker that no record names.
    pub orphans: Vec<PathBuf>,
    /// Labs that only a Docker engine knew.
    pub containers: Vec<String>,
    /// Bundles of runs that nobody asked for and nobody can go on with.
    pub runs: Vec<PathBuf>,
    /// Copies of the rpitr program.
    pub helpers: Vec<String>,
    /// Labs that are in use.
    pub live: Vec<String>,
    /// Labs left because they are kept or too young.
    pub spared: Vec<String>,
    /// What could not be removed, and why.
    pub failed: Vec<(String, Error)>,
}

impl LocalRuntime {
    /// Removes labs whose owner is gone, orphan directories and unused helpers.
    pub async fn gc(&self, options: GcOptions) -> Result<GcReport, Error> {
        let mut report = GcReport::default();
        let (records, unreadable) = self.registry().list()?;
        let all_readable = unreadable.is_empty();
        for error in unreadable {
            let what = match &error {
                Error::BadRecord { path, .. } => path.display().to_string(),
                _ => "registry".to_string(),
            };
            report.failed.push((what, error));
        }
        for record in records {
            if self.registry().use_of(&record) != Use::None {
                report.live.push(record.id);
            } else if (record.keep && !options.all) || is_young(&record, options.older_than) {
                report.spared.push(record.id);
            } else {
                self.collect(record, &mut report).await;
            }
        }
        // An orphan may belong to a record that cannot be read: then nothing is guessed.
        if all_readable {
            self.remove_orphans(&mut report).await?;
            self.remove_containers(&mut report).await;
            self.remove_runs(options, &mut report)?;
            report.helpers = helper::prune(&self.state)?;
        }
        Ok(report)
    }

    /// Removes a lab unless somebody has begun to use it.
    async fn collect(&self, record: LabRecord, report: &mut GcReport) {
        match self.registry().claim(&record.id, Use::is_none) {
            Ok(true) => match lab::destroy(self, &record).await {
                Ok(destroyed) => report.destroyed.push(destroyed),
                Err(error) => report.failed.push((record.id, error)),
            },
            Ok(false) => report.live.push(record.id),
            // Somebody else was quicker.
            Err(Error::LabGone { .. }) => {}
            Err(error) => report.failed.push((record.id, error)),
        }
    }

    /// Containers, networks and volumes with rpitr's labels that no record names. Without an engine there
    /// are none to find.
    async fn remove_containers(&self, report: &mut GcReport) {
        let Ok(engine) = Engine::from_env().await else {
            return;
        };
        let known = || {
            let (records, _) = self.registry().list()?;
            Ok::<_, Error>(records.into_iter().map(|record| record.id).collect())
        };
        // Found first, then compared: a lab that is just being made has its record before anything else.
        let found = match engine.labs_of(self.state.path()).await {
            Ok(found) => found,
            Err(error) => return report.failed.push((engine.address.clone(), error.into())),
        };
        let known: HashSet<String> = match known() {
            Ok(known) => known,
            Err(error) => return report.failed.push((engine.address.clone(), error)),
        };
        for lab in found.into_iter().filter(|lab| !known.contains(lab)) {
            match engine.remove_lab(&lab).await {
                Ok(_) => report.containers.push(lab),
                Err(error) => report.failed.push((lab, error.into())),
            }
        }
    }

    /// Bundles nobody asked for whose lab is gone. Those of a verdict that is not a pass stay: they are the proof.
    fn remove_runs(&self, options: GcOptions, report: &mut GcReport) -> Result<(), Error> {
        let entries = std::fs::read_dir(self.state.runs_dir());
        let found: Vec<_> = entries.into_iter().flatten().flatten().collect();
        // Read after the folders: a run has its lab before its bundle.
        let (records, _) = self.registry().list()?;
        for entry in found {
            let path = entry.path();
            let named = |record: &LabRecord| {
                record.run_folder.as_ref() == Some(&path) || *record.run == *entry.file_name()
            };
            let age = entry.metadata().and_then(|folder| folder.modified());
            let age = age.ok().and_then(|changed| changed.elapsed().ok());
            let young = options
                .older_than
                .is_some_and(|limit| age.is_none_or(|age| age < limit));
            if young || records.iter().any(named) || path.join("verdict.json").exists() {
                continue;
            }
            match self.state.discard_run(&path) {
                Ok(()) => report.runs.push(path),
                Err(error) => report.failed.push((path.display().to_string(), error)),
            }
        }
        Ok(())
    }

    /// Directories that carry a marker of this state root, or of one that is gone, and that no
    /// record names.
    async fn remove_orphans(&self, report: &mut GcReport) -> Result<(), Error> {
        let mut found = Vec::new();
        for (parent, prefix) in [
            (self.state.labs_dir(), ""),
            (PathBuf::from(SOCKET_ROOT), "rpitr-"),
        ] {
            for entry in std::fs::read_dir(&parent).into_iter().flatten().flatten() {
                let path = entry.path();
                let is_ours = entry.file_name().to_string_lossy().starts_with(prefix)
                    && entry
                        .metadata()
                        .is_ok_and(|dir| dir.is_dir() && [0, self.user.uid].contains(&dir.uid()));
                if is_ours && let Some(marker) = Marker::read(&path) {
                    found.push((path, marker));
                }
            }
        }
        // Read after the directories: a lab that is just being made has its record first.
        let (records, _) = self.registry().list()?;
        let known: HashSet<&str> = records.iter().map(|record| record.id.as_str()).collect();
        for (path, marker) in found {
            let here = marker.state_root == self.state.path();
            let named = path
                .file_name()
                .is_some_and(|name| name == marker.lab.as_str());
            if !named
                || known.contains(marker.lab.as_str())
                || (!here && marker.state_root.exists())
            {
                continue;
            }
            let removed = match lab::kill_processes(&marker.lab, &path).await {
                Ok(_) => marker.remove_dir(&path),
                Err(error) => Err(error),
            };
            match removed {
                Ok(_) => report.orphans.push(path),
                Err(error) => report.failed.push((path.display().to_string(), error)),
            }
        }
        Ok(())
    }
}

fn is_young(record: &LabRecord, older_than: Option<Duration>) -> bool {
    let Some(limit) = older_than else {
        return false;
    };
    DateTime::parse_from_rfc3339(&record.created_at)
        .ok()
        .and_then(|created| (Utc::now() - created.to_utc()).to_std().ok())
        .is_some_and(|age| age < limit)
}
