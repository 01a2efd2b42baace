//! Bundles for `rpitr.chaos`: drawing targets, writing rows down, judging.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use mlua::{LuaString, UserDataRef};

use super::sql::{Conn, run};
use super::wal::{off_thread, view};
use crate::engine::HostTable;
use crate::failure::{Failure, Kind};
use crate::verify::{Bundle, Draw, Order, draw, judge};
use crate::wal::{Lsn, Options, Wal};

pub fn register(host: &HostTable) -> mlua::Result<()> {
    // Targets for real restores, as JSON: [{ target, why }].
    host.waiting(
        "bundle_draw",
        |_, (folder, name, count, adversarial): (String, String, usize, f64)| async move {
            off_thread(move || {
                let bundle = Bundle::open(Path::new(&folder))?;
                let from = bundle.facts.backups.first().map_or(Lsn(0), |b| b.start_lsn);
                let options = Options {
                    timeline: Some(bundle.facts.timeline),
                    ..Options::default()
                };
                let wal = Wal::open(&bundle.archive(), &options)?;
                let order = Order::read(&wal, from)?;
                let request = Draw {
                    seed: bundle.facts.seed,
                    name: &name,
                    count,
                    adversarial,
                };
                json(&draw(&bundle, &order, &request))
            })
            .await
        },
    )?;
    // The verdict on a finished run: as JSON, and as text.
    host.waiting("bundle_judge", |_, folder: String| async move {
        off_thread(move || {
            let verdict = judge(Bundle::open(Path::new(&folder))?)?;
            Ok((json(&verdict)?, verdict.summary()))
        })
        .await
    })?;
    // Copies an archive's WAL and history files into a bundle.
    host.waiting(
        "bundle_archive",
        |_, (archive, folder): (String, String)| async move {
            view(&archive).await?;
            off_thread(move || copy_files(Path::new(&archive), Path::new(&folder))).await
        },
    )?;
    // A file of a bundle, in one step: rpitr may be killed at any moment.
    host.function("bundle_write", |_, (path, text): (String, LuaString)| {
        let (path, beside) = (PathBuf::from(&path), PathBuf::from(format!("{path}.new")));
        fs::write(&beside, text.as_bytes())
            .and_then(|()| fs::rename(&beside, &path))
            .map_err(|error| Failure::io("write", &path, &error))
    })?;
    host.waiting("bundle_remove", |_, folder: String| async move {
        off_thread(move || remove(Path::new(&folder))).await
    })?;
    // Writes what a COPY ... TO STDOUT gives into a compressed file.
    host.waiting(
        "copy_out_file",
        |_, (conn, text, path): (UserDataRef<Conn>, String, String)| {
            let connection = conn.0.clone();
            async move {
                let path = PathBuf::from(path);
                let failed = |error: std::io::Error| Failure::io("write", &path, &error);
                let file = fs::File::create(&path).map_err(failed)?;
                let mut encoder = zstd::Encoder::new(file, 1).map_err(failed)?;
                let mut source = run(&connection, connection.copy_out(&text)).await?;
                let mut rows = 0;
                while let Some(chunk) = run(&connection, source.next()).await? {
                    encoder.write_all(&chunk).map_err(failed)?;
                    rows += 1;
                }
                encoder.finish().map_err(failed)?;
                Ok(rows)
            }
        },
    )
}

fn json(value: &impl serde::Serialize) -> Result<String, Failure> {
    serde_json::to_string_pretty(value)
        .map_err(|error| Failure::new(Kind::Internal, error.to_string()))
}

fn copy_files(from: &Path, to: &Path) -> Result<usize, Failure> {
    fs::create_dir_all(to).map_err(|error| Failure::io("create", to, &error))?;
    let listing = fs::read_dir(from).map_err(|error| Failure::io("list", from, &error))?;
    let mut copied = 0;
    for entry in listing {
        let path = entry
            .map_err(|error| Failure::io("list", from, &error))?
            .path();
        let Some(name) = path.file_name().filter(|_| path.is_file()) else {
            continue;
        };
        fs::copy(&path, to.join(name)).map_err(|error| Failure::io("copy", &path, &error))?;
        copied += 1;
    }
    Ok(copied)
}

/// Only what is a bundle.
fn remove(folder: &Path) -> Result<(), Failure> {
    if !folder.join("bundle.json").is_file() {
        return Ok(());
    }
    fs::remove_dir_all(folder).map_err(|error| Failure::io("remove", folder, &error))
}
