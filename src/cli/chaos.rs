//! `rpitr chaos`: what can be done about faults from outside of a run.

use std::path::Path;

use super::args::Global;
use crate::chaos::{Sweep, sweep};
use crate::engine::show_failure;
use crate::exit;
use crate::failure::{Failure, Kind};
use crate::runtime::LocalRuntime;

/// `rpitr chaos heal`, to an exit code.
pub fn heal(global: &Global, journal: Option<&Path>) -> i32 {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let outcome = match runtime {
        Ok(runtime) => tokio::task::LocalSet::new().block_on(&runtime, sweep_now(journal)),
        Err(error) => Err(Failure::new(Kind::Internal, error.to_string())),
    };
    outcome.unwrap_or_else(|failure| show_failure(&failure, global.color, global.error_format))
}

async fn sweep_now(journal: Option<&Path>) -> Result<i32, Failure> {
    let runtime = LocalRuntime::from_env().or_else(|_| LocalRuntime::for_containers())?;
    if let Some(path) = journal.filter(|path| !path.exists()) {
        return Err(
            Failure::new(Kind::Arg, format!("there is no journal {}", path.display()))
                .code("usage")
                .hint("a journal is removed once everything in it is healed"),
        );
    }
    let options = Sweep {
        only: journal,
        ..Sweep::default()
    };
    let swept = sweep(&runtime, options).await?;
    let mut code = exit::PASS;
    for fault in &swept {
        match &fault.failure {
            None => outln!("{}: {} healed", fault.lab, fault.what),
            Some(failure) => {
                eprintln!("rpitr: {}: {}: {failure}", fault.lab, fault.what);
                code = exit::CLEANUP;
            }
        }
    }
    if swept.is_empty() {
        outln!("nothing to heal");
    }
    Ok(code)
}
