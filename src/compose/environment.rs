//! One standing environment: where its files are, what its project is called, up and down.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::{Compose, Error};
use crate::runtime::Engine;

include!(concat!(env!("OUT_DIR"), "/compose.rs"));

/// The environments there are.
pub const NAMES: &[&str] = &["recovery", "pitr"];

/// Whether a name on the command line means an environment rather than a lab.
pub fn is_environment(name: &str) -> bool {
    NAMES.contains(&name)
}

/// A standing environment and its compose project.
#[derive(Debug, Clone)]
pub struct Environment {
    pub name: String,
    pub project: String,
    /// Where its compose file is.
    folder: PathBuf,
    /// Whether that is a copy rpitr makes, rather than somebody's checkout.
    copied: bool,
}

impl Environment {
    /// The environment of that name: from the checkout this command runs in, else from a copy in the
    /// state folder.
    pub fn find(name: &str, state_root: &Path) -> Result<Self, Error> {
        if !is_environment(name) {
            return Err(Error::Unknown { name: name.into() });
        }
        let here = PathBuf::from("compose").join(name);
        let copied = !here.join("docker-compose.yml").exists();
        let folder = match copied {
            false => std::path::absolute(&here).map_err(io("find", &here))?,
            true => state_root.join("compose").join(name),
        };
        Ok(Environment {
            name: name.into(),
            project: project(name, &folder),
            folder,
            copied,
        })
    }

    /// Sees to it that files and credentials are there.
    pub async fn prepare(&mut self, engine: &Engine) -> Result<(), crate::failure::Failure> {
        let root = self.folder.parent().unwrap_or(&self.folder);
        if self.copied {
            write_files(root)?;
        }
        if !self.folder.join(".env").exists() {
            let image = match std::env::var("RPITR_POSTGRES_IMAGE") {
                Ok(image) if !image.is_empty() => Some(image),
                _ => engine.image_at_hand().await?,
            };
            self.make_credentials(root, image)?;
        }
        self.project = project(&self.name, &self.folder);
        Ok(())
    }

    fn make_credentials(&self, root: &Path, image: Option<String>) -> Result<(), Error> {
        let failed = |output: String| Error::Credentials {
            name: self.name.clone(),
            output,
        };
        let mut command = Command::new("sh");
        command.arg(root.join("new-env")).arg(&self.name);
        if let Some(image) = image {
            command.env("RPITR_POSTGRES_IMAGE", image);
        }
        let output = command
            .stdin(Stdio::null())
            .output()
            .map_err(|error| failed(error.to_string()))?;
        match output.status.success() {
            true => Ok(()),
            false => Err(failed(String::from_utf8_lossy(&output.stderr).into_owned())),
        }
    }

    /// Builds what is new and starts what does not run; again, it changes nothing.
    pub fn up(&self, compose: &Compose, engine: &Engine) -> Result<(), Error> {
        self.run(compose, engine, &["up", "--build", "--detach"])
    }

    pub fn stop(&self, compose: &Compose, engine: &Engine) -> Result<(), Error> {
        self.run(compose, engine, &["--profile", "inspect", "stop"])
    }

    pub fn start(&self, compose: &Compose, engine: &Engine) -> Result<(), Error> {
        self.run(compose, engine, &["start"])
    }

    /// Removes containers and networks; with `volumes` the data, the archive and the images, too.
    pub fn down(&self, compose: &Compose, engine: &Engine, volumes: bool) -> Result<(), Error> {
        let mut arguments = vec!["--profile", "inspect", "down"];
        if volumes {
            arguments.extend(["--volumes", "--rmi", "local"]);
        }
        self.run(compose, engine, &arguments)
    }

    fn run(&self, compose: &Compose, engine: &Engine, arguments: &[&str]) -> Result<(), Error> {
        compose.run(&self.folder, &self.project, &engine.address, arguments)
    }
}

/// COMPOSE_PROJECT_NAME, as compose itself would find it.
fn project(name: &str, folder: &Path) -> String {
    let set = std::env::var("COMPOSE_PROJECT_NAME").ok();
    let written = || {
        let text = std::fs::read_to_string(folder.join(".env")).ok()?;
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("COMPOSE_PROJECT_NAME="));
        line.map(|value| value.trim().to_string())
    };
    set.filter(|value| !value.is_empty())
        .or_else(written)
        .unwrap_or_else(|| format!("rpitr-{name}"))
}

fn write_files(root: &Path) -> Result<(), Error> {
    for (name, text) in FILES {
        let path = root.join(name);
        if std::fs::read_to_string(&path).is_ok_and(|old| old == *text) {
            continue;
        }
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(io("create", folder))?;
        }
        std::fs::write(&path, text).map_err(io("write", &path))?;
        // Whoever builds the images may not be who wrote the files.
        let mode = std::fs::Permissions::from_mode(0o644);
        std::fs::set_permissions(&path, mode).map_err(io("change the mode of", &path))?;
    }
    Ok(())
}

fn io(doing: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    let path = path.to_path_buf();
    move |source| Error::Io {
        doing,
        path,
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_an_environment_needs_is_embedded() {
        let dir = tempfile::tempdir().unwrap();
        write_files(dir.path()).unwrap();
        for name in NAMES {
            assert!(dir.path().join(name).join("docker-compose.yml").exists());
        }
        assert!(dir.path().join("common/archive.sh").exists());
        assert!(FILES.iter().all(|(name, _)| !name.ends_with("/.env")));
    }

    #[test]
    fn the_project_is_what_the_credentials_say() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(project("recovery", dir.path()), "rpitr-recovery");
        std::fs::write(dir.path().join(".env"), "A=b\nCOMPOSE_PROJECT_NAME=mine\n").unwrap();
        assert_eq!(project("recovery", dir.path()), "mine");
    }
}
