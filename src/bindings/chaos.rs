//! Faults for `rpitr.chaos`: the journal and its guardian, healing, the proxies.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use mlua::{Lua, Table, UserData, UserDataRef, Value};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::internal;
use super::lab::LabHandle;
use super::node::NodeHandle;
use crate::chaos::{
    AckLoss, Cluster, Entry, Guardian, Healed, Healer, Journal, Proxy, Rule, Supervisor, Sweep,
    Swept, heal, sweep,
};
use crate::engine::{HostTable, Keep, Target, json_from_lua, shared};
use crate::failure::{Failure, Kind};
use crate::runtime::{Lab, Node, is_supervised};

/// What healing the faults of dead runs may take.
const SWEEP: Duration = Duration::from_secs(20);

/// The journal of this run's lab, with the guardian that watches it.
#[derive(Debug)]
struct Session {
    lab: Rc<Lab>,
    journal: Journal,
    guardian: RefCell<Option<Guardian>>,
    next: Cell<u64>,
}

impl Session {
    /// Faults are injected only while somebody is there to heal them.
    fn guarded(&self) -> Result<(), Failure> {
        let mut guardian = self.guardian.borrow_mut();
        if guardian
            .as_mut()
            .is_none_or(|guardian| !guardian.is_alive())
        {
            *guardian = Some(Guardian::start(&self.journal)?);
        }
        Ok(())
    }
}

#[derive(Debug, Clone)]
struct SessionHandle(Rc<Session>);
impl UserData for SessionHandle {}

#[derive(Debug)]
struct ProxyHandle(RefCell<Option<Proxy>>);
impl UserData for ProxyHandle {}

impl ProxyHandle {
    fn with<T>(&self, act: impl FnOnce(&Proxy) -> T) -> Result<T, Failure> {
        let proxy = self.0.borrow();
        proxy
            .as_ref()
            .map(act)
            .ok_or_else(|| Failure::new(Kind::State, "the proxy is closed"))
    }
}

pub fn register(host: &HostTable) -> mlua::Result<()> {
    sessions(host)?;
    proxies(host)
}

fn sessions(host: &HostTable) -> mlua::Result<()> {
    host.waiting("chaos_open", |_, lab: UserDataRef<LabHandle>| {
        let lab = lab.0.clone();
        async move {
            // What dead runs have left behind, though their guardians should have seen to it.
            let left = sweep(lab.runtime(), Sweep::default());
            let left = tokio::time::timeout(SWEEP, left).await;
            let session = Session {
                journal: Journal::create(&lab.runtime().state, &lab.id())?,
                guardian: RefCell::default(),
                next: Cell::new(0),
                lab,
            };
            session.guarded()?;
            let failed = left.is_ok_and(|done| done.is_ok_and(|all| all.iter().any(Swept::failed)));
            Ok((SessionHandle(Rc::new(session)), failed))
        }
    })?;
    host.function("chaos_journal", |_, session: UserDataRef<SessionHandle>| {
        Ok(session.0.journal.path().display().to_string())
    })?;
    host.function(
        "chaos_cluster",
        |_, (session, cluster): (UserDataRef<SessionHandle>, Value)| {
            let cluster: Cluster = from_lua(&cluster)?;
            Ok(session.0.journal.set_cluster(&cluster)?)
        },
    )?;
    // When this returns, the fault is on disk and may happen.
    host.function(
        "chaos_begin",
        |_, (session, entry): (UserDataRef<SessionHandle>, Value)| {
            let session = &session.0;
            session.guarded()?;
            let mut entry: Entry = from_lua(&entry)?;
            entry.seq = session.next.get() + 1;
            session.journal.begin(&entry)?;
            session.next.set(entry.seq);
            Ok(entry.seq)
        },
    )?;
    // Not guarded: half a healing helps nobody, and it has its own deadlines.
    host.waiting(
        "chaos_heal",
        |lua, (session, seq, patience): (UserDataRef<SessionHandle>, u64, Option<f64>)| {
            let session = session.0.clone();
            async move {
                let healer = Healer {
                    by: "script",
                    patience: patience.map(Duration::from_secs_f64),
                };
                let healed = heal(&session.journal, &session.lab, seq, healer).await?;
                healed.map(|healed| outcome(&lua, &healed)).transpose()
            }
        },
    )?;
    host.waiting("chaos_close", |_, session: UserDataRef<SessionHandle>| {
        let session = session.0.clone();
        async move {
            let left = session
                .journal
                .read()?
                .map_or(0, |state| state.active.len());
            if left == 0 {
                session.journal.remove()?;
            }
            let guardian = session.guardian.take();
            if let Some(guardian) = guardian {
                guardian.dismiss().await;
            }
            Ok(left)
        }
    })?;
    // Waits until the faults of a lab whose run was killed are healed, by their guardian or here. What there was, and
    // why it could not be healed.
    host.waiting("chaos_settle", |lua, lab: UserDataRef<LabHandle>| {
        let lab = lab.0.clone();
        async move {
            let journal = Journal::of(&lab.runtime().state, &lab.id());
            let only = Sweep {
                only: Some(journal.path()),
                ..Sweep::default()
            };
            let swept = match journal.path().exists() {
                true => sweep(lab.runtime(), only).await?,
                false => Vec::new(),
            };
            let list = lua.create_table().map_err(internal)?;
            for fault in swept {
                let entry = lua.create_table().map_err(internal)?;
                let failure = fault.failure.map(|failure| failure.to_string());
                entry.raw_set("what", fault.what).map_err(internal)?;
                entry.raw_set("failure", failure).map_err(internal)?;
                list.raw_push(entry).map_err(internal)?;
            }
            Ok(list)
        }
    })?;
    // This program again, with the same arguments, until it ends by itself; then this process ends with its exit code.
    host.waiting("supervise", |lua, ()| async move {
        let foreground = shared(&lua)?.roots.foreground.clone();
        let supervisor = Supervisor::new(shared(&lua)?.options.keep != Keep::Never)?;
        foreground.set(Target::Worker);
        let arguments: Vec<_> = std::env::args_os().skip(1).collect();
        match supervisor.run(&arguments).await {
            // Everything was said and cleaned up there.
            Ok(code) => std::process::exit(code),
            Err(error) => {
                foreground.set(Target::Run);
                Err::<(), _>(error.into())
            }
        }
    })?;
    host.function("is_supervised", |_, ()| Ok(is_supervised()))?;
    host.function("chaos_kill_self", |_, ()| {
        let done = kill(Pid::this(), Signal::SIGKILL);
        done.map_err(|error| Failure::new(Kind::Internal, error.to_string()))
    })
}

fn from_lua<T: serde::de::DeserializeOwned>(value: &Value) -> Result<T, Failure> {
    serde_json::from_value(json_from_lua(value)?)
        .map_err(|error| Failure::new(Kind::Internal, error.to_string()))
}

fn outcome(lua: &Lua, healed: &Healed) -> Result<Table, Failure> {
    let fill = || -> mlua::Result<Table> {
        let table = lua.create_table()?;
        table.raw_set("seconds", healed.took.as_secs_f64())?;
        let checks = lua.create_table()?;
        for check in &healed.checks {
            let entry = lua.create_table()?;
            entry.raw_set("name", check.name.as_str())?;
            entry.raw_set("ok", check.ok)?;
            entry.raw_set("detail", check.detail.as_str())?;
            entry.raw_set("seconds", check.millis as f64 / 1e3)?;
            checks.raw_push(entry)?;
        }
        table.raw_set("checks", checks)?;
        table.raw_set("failure", healed.failure().map(ToString::to_string))?;
        Ok(table)
    };
    fill().map_err(internal)
}

fn proxies(host: &HostTable) -> mlua::Result<()> {
    // A way to a node's server, for the script or for other nodes; both ends as host and port.
    host.waiting(
        "proxy_open",
        |lua, (node, inside): (UserDataRef<NodeHandle>, bool)| {
            let node = node.0.clone();
            async move {
                let endpoint = node.endpoint_for_script();
                let host = match (&*node, inside) {
                    (Node::Docker(container), true) => container
                        .gateway()
                        .await?
                        .unwrap_or_else(|| "127.0.0.1".into()),
                    _ => "127.0.0.1".to_string(),
                };
                let proxy = Proxy::open(&host, &format!("{}:{}", endpoint.host, endpoint.port))?;
                describe(&lua, proxy).map_err(internal)
            }
        },
    )?;
    host.function(
        "proxy_add",
        |_, (proxy, id, rule): (UserDataRef<ProxyHandle>, u64, Table)| {
            let rule = read_rule(&rule).map_err(internal)?;
            let rule = rule.ok_or_else(|| Failure::new(Kind::Internal, "no such rule"))?;
            proxy.with(|proxy| proxy.add(id, rule))
        },
    )?;
    host.function(
        "proxy_remove",
        |_, (proxy, id): (UserDataRef<ProxyHandle>, u64)| proxy.with(|proxy| proxy.remove(id)),
    )?;
    host.function("proxy_stats", |lua, proxy: UserDataRef<ProxyHandle>| {
        let stats = proxy.with(Proxy::stats)?;
        let fill = || -> mlua::Result<Table> {
            let table = lua.create_table()?;
            table.raw_set("open", stats.open)?;
            table.raw_set("accepted", stats.accepted)?;
            table.raw_set("torn", stats.torn)?;
            table.raw_set("up", stats.up)?;
            table.raw_set("down", stats.down)?;
            table.raw_set("commits", stats.commits)?;
            table.raw_set("acks_lost", stats.acks_lost)?;
            Ok(table)
        };
        fill().map_err(internal)
    })?;
    host.function("proxy_close", |_, proxy: UserDataRef<ProxyHandle>| {
        drop(proxy.0.take());
        Ok(())
    })?;
    host.waiting("node_address", |_, node: UserDataRef<NodeHandle>| {
        let node = node.0.clone();
        async move {
            let seen = node.as_container("disconnect")?.inspection().await?;
            let address = seen.networks.into_iter().next().map(|(_, address)| address);
            Ok(address.filter(|address| !address.is_empty()))
        }
    })
}

fn describe(lua: &Lua, proxy: Proxy) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    let address: SocketAddr = proxy.address;
    table.raw_set("host", address.ip().to_string())?;
    table.raw_set("port", address.port())?;
    table.raw_set("target", proxy.target.as_str())?;
    table.raw_set(
        "handle",
        lua.create_userdata(ProxyHandle(RefCell::new(Some(proxy))))?,
    )?;
    Ok(table)
}

fn read_rule(table: &Table) -> mlua::Result<Option<Rule>> {
    let seconds = |key: &str| -> mlua::Result<Duration> {
        let seconds: Option<f64> = table.get(key)?;
        Ok(Duration::from_secs_f64(seconds.unwrap_or(0.0).max(0.0)))
    };
    Ok(match table.get::<String>("rule")?.as_str() {
        "cut" => Some(Rule::Cut {
            up: table.get("up")?,
            down: table.get("down")?,
        }),
        "latency" => Some(Rule::Latency {
            delay: seconds("delay")?,
            jitter: seconds("jitter")?,
        }),
        "rate" => Some(Rule::Rate(table.get("bytes")?)),
        "reset" => Some(Rule::Reset),
        "ack_loss" => Some(Rule::AckLoss(AckLoss {
            seed: table.get("seed")?,
            probability: table.get("probability")?,
            every: table.get("every")?,
            most: table.get("most")?,
        })),
        _ => None,
    })
}
