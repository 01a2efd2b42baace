//! Booting the Lua state: libraries, host table, prelude.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Instant;

use mlua::{Function, Lua, LuaOptions, StdLib, Table};

use super::host::HostTable;
use super::options::RunOptions;
use super::scope::Scope;
use super::signals::Roots;
use super::{error_value, loader, render, task};
use crate::bindings;
use crate::failure::{Failure, Kind};
use crate::report::Printer;

/// What host functions share; stored in the Lua state's app data.
#[derive(Debug)]
pub struct Shared {
    pub options: RunOptions,
    pub printer: Rc<Printer>,
    pub roots: Roots,
    pub soft_scope: Rc<Scope>,
    pub hard_scope: Rc<Scope>,
    pub started: Instant,
    /// The tasks that have not ended, by id, with the scope that cancels each.
    pub live_tasks: RefCell<HashMap<u64, Rc<Scope>>>,
    ids: Cell<u64>,
}

impl Shared {
    /// A number no other task or scope of this run has.
    pub fn next_id(&self) -> u64 {
        self.ids.set(self.ids.get() + 1);
        self.ids.get()
    }
}

/// The shared state, from any host function.
pub fn shared(lua: &Lua) -> Result<Rc<Shared>, Failure> {
    lua.app_data_ref::<Rc<Shared>>()
        .map(|shared| Rc::clone(&shared))
        .ok_or_else(|| Failure::new(Kind::Internal, "the engine is not set up"))
}

/// A booted Lua state.
#[derive(Debug)]
pub struct Engine {
    pub lua: Lua,
    pub shared: Rc<Shared>,
    /// The prelude's exports: `main` and what front ends need.
    pub boot: Table,
}

impl Engine {
    pub fn boot(options: RunOptions, printer: Rc<Printer>, roots: Roots) -> mlua::Result<Engine> {
        let lua = new_state()?;
        let shared = Rc::new(Shared {
            options,
            printer,
            soft_scope: Scope::root(roots.soft.clone()),
            hard_scope: Scope::root(roots.hard.clone()),
            roots,
            started: Instant::now(),
            live_tasks: RefCell::default(),
            ids: Cell::new(0),
        });
        lua.set_app_data(shared.clone());

        let host = HostTable::new(&lua, shared.options.inspecting)?;
        host.value("pending", mlua::Value::LightUserData(Lua::poll_pending()))?;
        host.value("options", shared.options.to_lua(&lua)?)?;
        task::register(&host)?;
        error_value::register(&host)?;
        loader::register(&host)?;
        render::register(&host)?;
        bindings::register(&host)?;

        let internal = lua.create_table()?;
        let mut boot = lua.create_table()?;
        for part in PRELUDE {
            let source = loader::stdlib(&format!("prelude/{part}.lua")).unwrap_or_default();
            let chunk: Function = lua
                .load(&*source)
                .set_name(format!("=[rpitr prelude/{part}]"))
                .into_function()?;
            // The last part returns the exports.
            if let Some(exports) = chunk.call::<Option<Table>>((host.table(), &internal))? {
                boot = exports;
            }
        }
        Ok(Engine { lua, shared, boot })
    }
}

/// The prelude's parts in the order they build on each other.
const PRELUDE: [&str; 5] = ["errors", "coroutines", "tasks", "modules", "main"];

/// Lua with `debug`, which the prelude needs for its hook and then takes out of the script's reach.
#[expect(
    unsafe_code,
    reason = "mlua counts the debug library as unsafe; only the prelude sees it"
)]
fn new_state() -> mlua::Result<Lua> {
    let libraries = StdLib::COROUTINE
        | StdLib::TABLE
        | StdLib::IO
        | StdLib::OS
        | StdLib::STRING
        | StdLib::UTF8
        | StdLib::MATH
        | StdLib::DEBUG;
    // SAFETY: the state runs text chunks only (the prelude's `load` refuses bytecode) and the debug
    // library is captured by the prelude and removed from the globals before any script runs.
    let lua = unsafe { Lua::unsafe_new_with(libraries, LuaOptions::new().thread_pool_size(64)) };
    Ok(lua)
}
