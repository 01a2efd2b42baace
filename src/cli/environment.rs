//! `rpitr lab up recovery` and its kin: standing environments. Compose does the work, Lua looks whether
//! the result is what it should be.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use super::args::{Global, LabCommand};
use super::consent::agreed;
use super::run::options;
use crate::compose::{Compose, Environment, Error, is_environment};
use crate::engine::{Program, Source, run as run_engine, show_failure};
use crate::exit;
use crate::failure::{Failure, Kind};
use crate::postgres::{Lookup, pick};
use crate::runtime::{Engine, Error as RuntimeError, LocalRuntime, Service};

/// Runs a command if it is about an environment.
pub fn run(command: &LabCommand, global: &Global) -> Option<i32> {
    let name = match command {
        LabCommand::Up { environment, .. }
        | LabCommand::Down { environment, .. }
        | LabCommand::Ps { environment }
        | LabCommand::Check { environment }
        | LabCommand::Restart { environment, .. }
        | LabCommand::Rebuild { environment, .. }
        | LabCommand::Promote { environment, .. } => environment,
        LabCommand::Logs { lab, .. }
        | LabCommand::Psql { lab, .. }
        | LabCommand::Stop { lab }
        | LabCommand::Start { lab }
            if is_environment(lab) =>
        {
            lab
        }
        _ => return None,
    };
    let outcome = Site::open(name).and_then(|mut site| site.command(command, global));
    Some(
        outcome.unwrap_or_else(|failure| show_failure(&failure, global.color, global.error_format)),
    )
}

/// The environments that are up, for `lab ls`; without an engine there are none.
pub async fn list() {
    let Ok(engine) = Engine::from_env().await else {
        return;
    };
    let mut title = String::new();
    for service in engine.services(None).await.unwrap_or_default() {
        let here = format!(
            "{}  standing  project {}",
            service.environment, service.project
        );
        if here != title {
            outln!("{here}");
            title = here;
        }
        outln!("{}", line(&service));
    }
}

fn line(service: &Service) -> String {
    let port = service.port.map(|port| format!("port {port}"));
    let state = match service.health.as_str() {
        "" | "none" => service.state.clone(),
        health => format!("{} ({health})", service.state),
    };
    format!(
        "  {:<15} {:<9} {:<20} {}",
        service.name,
        service.role,
        state,
        port.unwrap_or_default()
    )
    .trim_end()
    .to_string()
}

/// An environment and the engine it is on.
struct Site {
    runtime: tokio::runtime::Runtime,
    environment: Environment,
    engine: Engine,
}

impl Site {
    fn open(name: &str) -> Result<Self, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| Failure::new(Kind::Internal, error.to_string()))?;
        let state = LocalRuntime::for_containers()?.state;
        let environment = Environment::find(name, state.path())?;
        let engine = runtime.block_on(Engine::from_env());
        Ok(Site {
            engine: engine.map_err(RuntimeError::from)?,
            runtime,
            environment,
        })
    }

    fn command(&mut self, command: &LabCommand, global: &Global) -> Result<i32, Failure> {
        match command {
            LabCommand::Up { wait, .. } => self.up(*wait, global),
            LabCommand::Down { volumes, .. } => self.down(*volumes, global.yes),
            LabCommand::Rebuild { wait, .. } => {
                self.confirm(global.yes)?;
                let (compose, environment) = self.compose()?;
                environment.down(&compose, &self.engine, true)?;
                self.up(*wait, global)
            }
            LabCommand::Stop { .. } => {
                let (compose, environment) = self.compose()?;
                environment.stop(&compose, &self.engine)?;
                outln!("{} stopped", self.environment.name);
                Ok(exit::PASS)
            }
            LabCommand::Start { .. } => {
                self.services()?;
                let (compose, environment) = self.compose()?;
                environment.start(&compose, &self.engine)?;
                Ok(self.lua(READY, &[&name_of(&self.environment), "300"], global))
            }
            LabCommand::Ps { .. } => {
                for service in self.services()? {
                    outln!("{}", line(&service));
                }
                Ok(exit::PASS)
            }
            LabCommand::Check { .. } => Ok(self.lua(CHECK, &[&name_of(&self.environment)], global)),
            LabCommand::Restart { service, .. } => {
                Ok(self.lua(RESTART, &[&name_of(&self.environment), service], global))
            }
            LabCommand::Promote { service, .. } => {
                Ok(self.lua(PROMOTE, &[&name_of(&self.environment), service], global))
            }
            LabCommand::Logs { node, .. } => self.logs(node.as_deref()),
            LabCommand::Psql {
                node, arguments, ..
            } => self.psql(node.as_deref(), arguments),
            _ => Err(Failure::new(
                Kind::Internal,
                "not a command for environments",
            )),
        }
    }

    /// The compose command, with files and credentials in place.
    fn compose(&mut self) -> Result<(Compose, Environment), Failure> {
        let compose = Compose::find()?;
        self.runtime
            .block_on(self.environment.prepare(&self.engine))?;
        Ok((compose, self.environment.clone()))
    }

    fn up(&mut self, wait: Duration, global: &Global) -> Result<i32, Failure> {
        let (compose, environment) = self.compose()?;
        if !global.quiet {
            eprintln!(
                "bringing up {}; building its images may take a minute",
                environment.name
            );
        }
        environment.up(&compose, &self.engine)?;
        let seconds = wait.as_secs_f64().to_string();
        Ok(self.lua(READY, &[&environment.name, &seconds], global))
    }

    fn down(&mut self, volumes: bool, yes: bool) -> Result<i32, Failure> {
        if volumes {
            self.confirm(yes)?;
        }
        let (compose, environment) = self.compose()?;
        environment.down(&compose, &self.engine, volumes)?;
        let what = if volumes {
            "containers, networks and volumes"
        } else {
            "containers and networks"
        };
        outln!("{}: {what} removed", environment.name);
        Ok(exit::PASS)
    }

    /// Data go only when somebody said so.
    fn confirm(&self, yes: bool) -> Result<(), Failure> {
        let what = format!(
            "this removes every database of the standing environment {}",
            self.environment.name
        );
        agreed(&what, yes)
    }

    fn services(&self) -> Result<Vec<Service>, Failure> {
        let Environment { name, project, .. } = &self.environment;
        let found = self
            .runtime
            .block_on(self.engine.services(Some((name, project))));
        let found = found.map_err(RuntimeError::from)?;
        match found.is_empty() {
            true => Err(Error::NotUp {
                name: self.environment.name.clone(),
                project: project.clone(),
            }
            .into()),
            false => Ok(found),
        }
    }

    fn service(&self, name: Option<&str>) -> Result<Service, Failure> {
        let services = self.services()?;
        let names: Vec<String> = services
            .iter()
            .map(|service| service.name.clone())
            .collect();
        let wanted = |service: &Service| match name {
            Some(name) => service.name == name,
            None => service.role == "primary",
        };
        services.into_iter().find(wanted).ok_or_else(|| {
            Failure::new(
                Kind::Arg,
                format!(
                    "environment {} has no container {:?}",
                    self.environment.name,
                    name.unwrap_or("primary")
                ),
            )
            .code("usage")
            .hint(format!("it has {}", names.join(", ")))
        })
    }

    fn logs(&self, name: Option<&str>) -> Result<i32, Failure> {
        let services = match name {
            Some(name) => vec![self.service(Some(name))?],
            None => self.services()?,
        };
        for service in &services {
            if services.len() > 1 {
                outln!("==> {} <==", service.name);
            }
            let log = self
                .runtime
                .block_on(self.engine.service_log(&service.container));
            let log = log.map_err(RuntimeError::from)?;
            let _ = std::io::Write::write_all(&mut std::io::stdout(), log.as_ref());
        }
        Ok(exit::PASS)
    }

    /// Becomes psql, as the environment's superuser.
    fn psql(&self, name: Option<&str>, arguments: &[String]) -> Result<i32, Failure> {
        use std::os::unix::process::CommandExt;
        let service = self.service(name)?;
        let env = |name: &str| service.env.get(name).cloned().unwrap_or_default();
        let program = pick(&Lookup::from_env(), None)
            .map_or_else(|_| PathBuf::from("psql"), |install| install.program("psql"));
        let mut command = Command::new(program);
        command
            .args(["--host", &service.host, "--port"])
            .arg(service.port.unwrap_or_default().to_string())
            .args(["--username", &env("POSTGRES_USER")])
            .env("PGPASSWORD", env("POSTGRES_PASSWORD"))
            .env("PGDATABASE", env("POSTGRES_DB"))
            .args(arguments);
        let error = command.exec();
        Err(
            Failure::new(Kind::Environment, format!("cannot run psql: {error}"))
                .hint("install PostgreSQL's client on this machine"),
        )
    }

    fn lua(&self, (name, text): (&str, &str), arguments: &[&str], global: &Global) -> i32 {
        let source = Source {
            name: name.into(),
            text: text.into(),
            folder: None,
        };
        let arguments: Vec<String> = arguments.iter().map(|word| word.to_string()).collect();
        let mut options = options(global);
        options.lab = None;
        run_engine(options, Program::Run, &source, &arguments).code
    }
}

fn name_of(environment: &Environment) -> String {
    environment.name.clone()
}

const READY: (&str, &str) = (
    "rpitr lab up",
    r#"local name, wait = ...
local environment = lab.attach(name, { check = false })
environment:undo_leftovers()
environment:wait_ready { timeout = tonumber(wait) }
environment:assert_healthy()
print(environment:describe())"#,
);

const CHECK: (&str, &str) = (
    "rpitr lab check",
    r#"local results, ok = lab.attach(..., { check = false }):check()
for _, result in ipairs(results) do
  print((result.ok and "ok      " or "FAILED  ") .. result.what)
  if not result.ok then
    print("        " .. result.why)
    if result.mend then print("        mend: " .. result.mend) end
  end
end
os.exit(ok and 0 or 10)"#,
);

const RESTART: (&str, &str) = (
    "rpitr lab restart",
    r#"local name, service = ...
lab.attach(name, { check = false }):restart(service)
print(service .. " restarted")"#,
);

const PROMOTE: (&str, &str) = (
    "rpitr lab promote",
    r#"local name, service = ...
local environment = lab.attach(name, { check = false })
environment:promote(service)
print(service .. " is a primary now, on timeline " .. environment.nodes[service]:timeline())
print("The old primary does not know: keep clients away from it. rpitr lab rebuild " .. name .. " starts over.")"#,
);
