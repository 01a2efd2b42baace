//! Labs for `rpitr.lab`: making and removing them, their credentials, the commands their servers run.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::rc::Rc;

use mlua::{Table, UserData, UserDataRef};

use super::internal;
use super::node::NodeHandle;
use super::standing::StandingHandle;
use crate::engine::{HostTable, guard};
use crate::failure::Failure;
use crate::runtime::{
    Lab, LabOptions, LabRecord, LocalRuntime, ProcessId, local_store, local_view,
};

#[derive(Debug, Clone)]
pub struct LabHandle(pub Rc<Lab>);
impl UserData for LabHandle {}

const PASSWORD: &str = "password";
const PASSFILE: &str = "pgpass";

pub fn register(host: &HostTable) -> mlua::Result<()> {
    labs(host)?;
    others(host)
}

fn labs(host: &HostTable) -> mlua::Result<()> {
    host.waiting("lab_create", |_, options: Table| async move {
        let read = |key: &str| options.get::<Option<String>>(key).unwrap_or_default();
        let lab_options = LabOptions {
            run: read("run").unwrap_or_default(),
            script: read("script"),
            keep: options.get("keep").unwrap_or(false),
        };
        let lab = match read("runtime").as_deref() {
            Some("docker") => {
                let runtime = LocalRuntime::for_containers()?;
                guard(Lab::create_in_containers(&runtime, lab_options)).await??
            }
            _ => Lab::create(&LocalRuntime::from_env()?, lab_options)?,
        };
        write_credentials(&lab, read("superuser"), read("password"))?;
        if let Ok(standing) = options.get::<UserDataRef<StandingHandle>>("beside") {
            let standing = standing.0.clone();
            let services = guard(standing.services()).await??;
            if let Some(primary) = services.iter().find(|service| service.role == "primary") {
                lab.work_beside(primary).await?;
            }
        }
        Ok(LabHandle(Rc::new(lab)))
    })?;
    // The bundle of the run that goes on in it, and whether `lab gc` leaves it to whoever resumes the run.
    host.function(
        "lab_run",
        |_, (lab, folder, keep): (UserDataRef<LabHandle>, Option<String>, bool)| {
            lab.0.set_run_folder(folder.as_deref().map(Path::new))?;
            lab.0.set_keep(keep).map_err(Failure::from)
        },
    )?;
    host.function("lab_info", |lua, lab: UserDataRef<LabHandle>| {
        let table = lua.create_table().map_err(internal)?;
        table.raw_set("id", lab.0.id()).map_err(internal)?;
        table
            .raw_set("folder", text(&lab.0.dir()))
            .map_err(internal)?;
        let record = lab.0.record();
        let runtime = match record.engine {
            Some(_) => "docker",
            None => "local",
        };
        table.raw_set("runtime", runtime).map_err(internal)?;
        table.raw_set("script", record.script).map_err(internal)?;
        table
            .raw_set("created", record.created_at)
            .map_err(internal)?;
        Ok(table)
    })?;
    host.function("lab_keep", |_, lab: UserDataRef<LabHandle>| {
        lab.0.set_keep(true).map_err(Failure::from)
    })?;
    host.function(
        "lab_new_archive",
        |_, (lab, node): (UserDataRef<LabHandle>, String)| Ok(text(&lab.0.new_archive(&node)?)),
    )?;
    // Not guarded: removing a lab is cleanup and runs to its end.
    host.waiting("lab_destroy", |_, lab: UserDataRef<LabHandle>| {
        let lab = lab.0.clone();
        async move { lab.destroy().await.map(|_| ()).map_err(Failure::from) }
    })?;
    host.function("lab_password_file", |_, lab: UserDataRef<LabHandle>| {
        Ok(text(&lab.0.dir().join(PASSWORD)))
    })?;
    host.function("lab_passfile", |_, lab: UserDataRef<LabHandle>| {
        Ok(text(&lab.0.dir().join(PASSFILE)))
    })?;
    host.waiting(
        "lab_mkdir",
        |_, (lab, path): (UserDataRef<LabHandle>, String)| {
            let lab = lab.0.clone();
            async move { lab.make_dir(Path::new(&path)).await.map_err(Failure::from) }
        },
    )?;
    // The commands run in a shell of the server's user.
    host.waiting(
        "archive_push_command",
        |_, (lab, folder): (UserDataRef<LabHandle>, String)| {
            let lab = lab.0.clone();
            async move {
                let command = lab.push_command(Path::new(&folder)).await?;
                Ok(format!("{} %p %f", shell_words(&command)))
            }
        },
    )?;
    host.waiting(
        "archive_fetch_command",
        |_,
         (lab, folder, log, system, tail): (
            UserDataRef<LabHandle>,
            String,
            String,
            Option<String>,
            Option<String>,
        )| {
            let lab = lab.0.clone();
            async move {
                let system = system.and_then(|id| id.parse().ok());
                let tail = tail.as_deref().map(Path::new);
                let work = lab.fetch_command(Path::new(&folder), Path::new(&log), system, tail);
                Ok(format!("{} %f %p", shell_words(&guard(work).await??)))
            }
        },
    )?;
    // What the host reads of a lab's folders lies in volumes when the lab runs in containers.
    host.waiting("local_view", |_, path: String| async move {
        guard(local_view(Path::new(&path))).await??;
        Ok(path)
    })?;
    host.waiting("local_store", |_, path: String| async move {
        Ok(guard(local_store(Path::new(&path))).await??)
    })
}

/// Labs that other processes made.
fn others(host: &HostTable) -> mlua::Result<()> {
    // A machine that only runs containers has no account for servers.
    let runtime = || LocalRuntime::from_env().or_else(|_| LocalRuntime::for_containers());
    host.function("lab_attach", move |_, (id, adopt): (String, bool)| {
        let lab = Lab::attach(&runtime()?, &id)?;
        if adopt {
            lab.adopt()?;
        }
        Ok(LabHandle(Rc::new(lab)))
    })?;
    host.function("lab_list", move |lua, ()| {
        let registry = runtime()?.registry();
        let fill = |record: LabRecord| -> mlua::Result<Table> {
            let table = lua.create_table()?;
            table.raw_set("condition", registry.condition(&record))?;
            table.raw_set("id", record.id)?;
            table.raw_set("script", record.script)?;
            table.raw_set("created", record.created_at)?;
            let names: Vec<String> = record.nodes.into_iter().map(|node| node.name).collect();
            table.raw_set("nodes", names)?;
            Ok(table)
        };
        let (records, _) = registry.list()?;
        let labs = records.into_iter().map(fill);
        labs.collect::<mlua::Result<Vec<Table>>>().map_err(internal)
    })?;
    // The process that owns a lab, unless that is this one or its supervisor, or is gone.
    host.function("lab_owner", |_, lab: UserDataRef<LabHandle>| {
        let record = lab.0.record();
        let other = record.owner != ProcessId::owner() && record.owner_alive();
        Ok(other.then_some(record.owner.pid))
    })?;
    host.function("lab_exists", |_, lab: UserDataRef<LabHandle>| {
        Ok(lab.0.exists())
    })?;
    // The superuser and the password.
    host.function("lab_credentials", |_, lab: UserDataRef<LabHandle>| {
        let read = |name: &str| {
            let path = lab.0.dir().join(name);
            fs::read_to_string(&path).map_err(|error| Failure::io("read", &path, &error))
        };
        let user = read(PASSFILE)?.split(':').nth(3).map(str::to_string);
        Ok((user, read(PASSWORD)?.trim_end().to_string()))
    })?;
    host.waiting("lab_nodes", |_, lab: UserDataRef<LabHandle>| {
        let lab = lab.0.clone();
        async move {
            let nodes = guard(lab.members()).await??.into_iter();
            Ok(nodes
                .map(|node| NodeHandle(Rc::new(node)))
                .collect::<Vec<_>>())
        }
    })
}

/// The superuser's password, made up unless there is one: for initdb, and as a pass file for clients and standbys. Only the
/// server's user and root can read either.
fn write_credentials(
    lab: &Lab,
    superuser: Option<String>,
    password: Option<String>,
) -> Result<(), Failure> {
    let random = || (0..4).map(|_| format!("{:08x}", rand::random::<u32>()));
    let password = password.unwrap_or_else(|| random().collect());
    let user = superuser.unwrap_or_else(|| "postgres".into());
    let escaped = password.replace('\\', r"\\").replace(':', r"\:");
    let contents = [
        (PASSWORD, format!("{password}\n")),
        (PASSFILE, format!("*:*:*:{user}:{escaped}\n")),
    ];
    for (name, text) in contents {
        let path = lab.dir().join(name);
        let write = || {
            fs::write(&path, "")?;
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
            fs::write(&path, text)
        };
        write().map_err(|error| Failure::io("write", &path, &error))?;
        lab.runtime().user.own(&path)?;
    }
    Ok(())
}

/// Words of a shell command inside a server parameter.
fn shell_words(words: &[String]) -> String {
    let words: Vec<String> = words.iter().map(|word| quoted(Path::new(word))).collect();
    words.join(" ")
}

/// A path as one word of a shell command inside a server parameter, where `%` has a meaning.
fn quoted(path: &Path) -> String {
    let path = path.display().to_string().replace('%', "%%");
    if path
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || "/._-%+,:=@".contains(c))
    {
        return path;
    }
    format!("'{}'", path.replace('\'', r"'\''"))
}

pub(super) fn text(path: &Path) -> String {
    path.display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_survive_the_shell() {
        assert_eq!(quoted(Path::new("/var/lib/a-b")), "/var/lib/a-b");
        assert_eq!(quoted(Path::new("/my labs/it's")), r"'/my labs/it'\''s'");
        assert_eq!(quoted(Path::new("/100%")), "/100%%");
    }
}
