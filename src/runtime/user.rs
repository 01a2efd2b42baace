//! Who servers and PostgreSQL's tools run as. PostgreSQL refuses to run as root, so root steps down.

use std::path::PathBuf;
use std::process::Command;

use nix::unistd::{Uid, User};

use super::Error;

/// The account servers and tools run as. As root, processes get its user and primary group;
/// supplementary groups are dropped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerUser {
    pub name: String,
    pub uid: u32,
    pub gid: u32,
    pub home: PathBuf,
    /// Whether rpitr itself is somebody else (root).
    pub switch: bool,
}

impl ServerUser {
    /// The account this process should use: itself, or as root `RPITR_PG_USER`, or `postgres`.
    pub fn from_env() -> Result<Self, Error> {
        Self::resolve(
            std::env::var("RPITR_PG_USER")
                .ok()
                .filter(|name| !name.is_empty())
                .as_deref(),
        )
    }

    /// Whoever this process is, root included.
    pub fn myself() -> Self {
        let me = Uid::effective();
        let known = User::from_uid(me).ok().flatten();
        match known {
            Some(user) => Self::from_account(user, false),
            // A container may run as a number without an account.
            None => ServerUser {
                name: me.to_string(),
                uid: me.as_raw(),
                gid: nix::unistd::getegid().as_raw(),
                home: std::env::var_os("HOME").map_or_else(|| "/".into(), PathBuf::from),
                switch: false,
            },
        }
    }

    /// As [`ServerUser::from_env`], with the wanted account given.
    pub fn resolve(wanted: Option<&str>) -> Result<Self, Error> {
        let me = Uid::effective();
        if !me.is_root() {
            return Ok(Self::myself());
        }
        let name = wanted.unwrap_or("postgres");
        let user = User::from_name(name)
            .ok()
            .flatten()
            .ok_or_else(|| Error::NoServerUser { tried: name.into() })?;
        if user.uid.is_root() {
            return Err(Error::RootServerUser { name: name.into() });
        }
        Ok(Self::from_account(user, true))
    }

    fn from_account(user: User, switch: bool) -> Self {
        ServerUser {
            name: user.name,
            uid: user.uid.as_raw(),
            gid: user.gid.as_raw(),
            home: user.dir,
            switch,
        }
    }

    /// Makes `command` run as this user.
    pub fn apply(&self, command: &mut Command) {
        use std::os::unix::process::CommandExt;
        if self.switch {
            command.gid(self.gid).uid(self.uid);
        }
    }

    /// Gives a file or directory to this user; a link itself, never what it leads to.
    pub fn own(&self, path: &std::path::Path) -> Result<(), Error> {
        if self.switch {
            std::os::unix::fs::lchown(path, Some(self.uid), Some(self.gid))
                .map_err(Error::io("change the owner of", path))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::{Failure, Kind};

    #[test]
    fn never_root() {
        let me = Uid::effective();
        if me.is_root() {
            let missing = ServerUser::resolve(Some("no-such-account")).unwrap_err();
            assert_eq!(Failure::from(missing).kind, Kind::Environment);
            assert!(ServerUser::resolve(Some("root")).is_err());
        } else {
            let user = ServerUser::resolve(Some("ignored")).unwrap();
            assert_eq!((user.uid, user.switch), (me.as_raw(), false));
        }
    }
}
