//! The archive of a standing compose environment: its containers are found by their labels, its WAL is copied from
//! the volume to a folder of this machine, only what is new.

use std::collections::HashMap;
use std::path::Path;

use bollard::query_parameters::ListContainersOptionsBuilder;

use super::view::{BATCH, LIST, fetch_files, make_folder, parse, remove, store};
use super::{Engine, Error};

const LABEL_ENVIRONMENT: &str = "rpitr.environment";
const LABEL_SERVICE: &str = "rpitr.service";

/// Prints where a service keeps WAL: what it captures itself, else the archive it shares.
const WHERE: &str =
    r#"for d in /wal_archive /archive; do [ -d "$d" ] && echo "$d" && exit 0; done; exit 0"#;

impl Engine {
    /// Copies the WAL a service of a running environment keeps to the folder `into`; false when there is no
    /// such service, or none that keeps WAL.
    pub async fn environment_archive(
        &self,
        environment: &str,
        service: &str,
        into: &Path,
    ) -> Result<bool, Error> {
        let Some(container) = self.environment_container(environment, service).await? else {
            return Ok(false);
        };
        let folder = self
            .must(&container, ("look for", "WAL"), WHERE, &[], None)
            .await?;
        let folder = folder.text();
        let folder = folder.trim();
        if folder.is_empty() {
            return Ok(false);
        }
        self.copy_files(&container, folder, into).await?;
        Ok(true)
    }

    async fn environment_container(
        &self,
        environment: &str,
        service: &str,
    ) -> Result<Option<String>, Error> {
        let filters = HashMap::from([
            (
                "label",
                vec![
                    format!("{LABEL_ENVIRONMENT}={environment}"),
                    format!("{LABEL_SERVICE}={service}"),
                ],
            ),
            ("status", vec!["running".to_string()]),
        ]);
        let options = ListContainersOptionsBuilder::new()
            .filters(&filters)
            .build();
        let running = self.docker.list_containers(Some(options)).await;
        let running = running.map_err(Error::api("list", "containers"))?;
        Ok(running.into_iter().find_map(|container| container.id))
    }

    /// The files directly in a folder. One with the same name and size is the same: archived WAL never
    /// changes; what is still being written is called `.partial`.
    async fn copy_files(&self, container: &str, folder: &str, into: &Path) -> Result<(), Error> {
        let listing = self
            .must(container, ("list", folder), LIST, &[folder], None)
            .await?
            .text();
        make_folder(into)?;
        let (mut wanted, mut names) = (Vec::new(), Vec::new());
        for (kind, size, _, name) in listing.lines().skip(1).filter_map(parse) {
            if !kind.starts_with("regular") {
                continue;
            }
            names.push(name);
            let known = std::fs::metadata(into.join(name)).is_ok_and(|found| found.len() == size);
            if !known || name.ends_with(".partial") {
                wanted.push((name, size));
            }
        }
        for entry in std::fs::read_dir(into).into_iter().flatten().flatten() {
            if !names.iter().any(|name| entry.file_name() == **name) {
                remove(&entry.path())?;
            }
        }
        let mut rest = wanted.as_slice();
        while !rest.is_empty() {
            let mut total = 0;
            let fits = rest.iter().take_while(|(_, size)| {
                total += size;
                total <= BATCH
            });
            let (batch, later) = rest.split_at(fits.count().clamp(1, rest.len().min(500)));
            let names: Vec<&str> = batch.iter().map(|(name, _)| *name).collect();
            for (name, bytes) in fetch_files(self, container, folder, &names).await? {
                store(&into.join(name), &bytes)?;
            }
            rest = later;
        }
        Ok(())
    }
}
