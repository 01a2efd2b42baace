//! Host functions for tasks, scopes, events and time: the primitives below `task`, `chan`, `timer`.

use std::rc::Rc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{Either, ready};
use mlua::{AnyUserData, Function, Lua, MultiValue, UserData, UserDataRef};
use tokio::sync::Notify;

use super::guard::guard;
use super::host::HostTable;
use super::scope::{CONTEXT, Reason, Scope, TaskContext, current};
use super::signals::Target;
use super::state::shared;
use crate::failure::{Failure, Kind};

/// A scope as Lua holds it.
#[derive(Debug, Clone)]
struct ScopeHandle(Rc<Scope>);
impl UserData for ScopeHandle {}

/// The scopes of a coroutine that has yielded.
#[derive(Debug)]
struct Parked(Vec<Rc<Scope>>);
impl UserData for Parked {}

/// Something to wait for. Waiters always re-check their condition in a loop, and nothing runs
/// between the check and the wait, so no wake-up is lost.
#[derive(Debug, Clone, Default)]
struct Event(Rc<Notify>);
impl UserData for Event {}

pub fn register(host: &HostTable) -> mlua::Result<()> {
    scopes(host)?;
    tasks(host)?;
    host.function("event_new", |_, ()| Ok(Event::default()))?;
    host.waiting("event_wait", |_, event: UserDataRef<Event>| {
        let event = event.0.clone();
        async move { guard(event.notified()).await }
    })?;
    host.function("event_notify", |_, event: UserDataRef<Event>| {
        event.0.notify_waiters();
        Ok(())
    })?;
    host.waiting("sleep", |_, seconds: f64| match duration(seconds) {
        // Lets the others run, which a timer that is already due would not.
        Ok(Duration::ZERO) => Either::Left(guard(Either::Left(tokio::task::yield_now()))),
        Ok(duration) => Either::Left(guard(Either::Right(tokio::time::sleep(duration)))),
        Err(failure) => Either::Right(ready(Err(failure))),
    })?;
    host.function("now", |lua, ()| {
        let started = shared(lua)?.started;
        Ok(started.elapsed().as_secs_f64())
    })?;
    Ok(())
}

fn scopes(host: &HostTable) -> mlua::Result<()> {
    host.function("scope_enter", |lua, limit: Option<f64>| {
        let parent = current().ok_or_else(no_task)?;
        let limit = limit.map(duration).transpose()?;
        push(lua, Scope::child(&parent, shared(lua)?.next_id(), limit))
    })?;
    // What Ctrl-C is meant for until `scope_background`.
    host.function("scope_foreground", |lua, ()| {
        let parent = current().ok_or_else(no_task)?;
        let shared = shared(lua)?;
        let (scope, trip) = Scope::foreground(&parent, shared.next_id());
        shared.roots.foreground.set(Target::Statement(trip));
        push(lua, scope)
    })?;
    host.function("scope_background", |lua, ()| {
        shared(lua)?.roots.foreground.set(Target::Run);
        Ok(())
    })?;
    // Until then a program of its own has the terminal.
    host.function("scope_foreign", |lua, ()| {
        shared(lua)?.roots.foreground.set(Target::Program);
        Ok(())
    })?;
    host.function("scope_shield", |lua, limit: f64| {
        let shared = shared(lua)?;
        let limit = duration(limit)?;
        push(
            lua,
            Scope::shield(&shared.hard_scope, shared.next_id(), limit),
        )
    })?;
    host.function("scope_leave", |_, scope: UserDataRef<ScopeHandle>| {
        CONTEXT
            .try_with(|context| context.pop(scope.0.id))
            .map_err(|_| no_task())
    })?;
    host.function("scope_cancel", |_, scope: UserDataRef<ScopeHandle>| {
        scope.0.cancel(Reason::Cancelled);
        Ok(())
    })?;
    host.function("scope_code", |_, scope: UserDataRef<ScopeHandle>| {
        Ok(format!("scope:{}", scope.0.id))
    })?;
    // What the instruction hook asks, so it must be cheap and must not fail.
    host.function("scope_tripped", |_, ()| {
        Ok(current().is_some_and(|scope| scope.tripped().is_some()))
    })?;
    host.function("scope_depth", |_, ()| {
        Ok(CONTEXT.try_with(|context| context.depth()).unwrap_or(0))
    })?;
    host.function("scope_detach", |_, depth: usize| {
        let parked = CONTEXT
            .try_with(|context| context.detach(depth))
            .unwrap_or_default();
        Ok((!parked.is_empty()).then_some(Parked(parked)))
    })?;
    host.function("scope_attach", |_, parked: UserDataRef<Parked>| {
        CONTEXT
            .try_with(|context| context.attach(&parked.0))
            .map_err(|_| no_task())
    })?;
    // Why the running task should stop, as an error table; nothing when it should not.
    host.function("scope_reason", |lua, ()| {
        match current().and_then(|scope| scope.tripped()) {
            None => Ok(None),
            Some(reason) => {
                let failure = Failure::from(&reason);
                super::error_value::to_lua(lua, &failure)
                    .map(Some)
                    .map_err(internal)
            }
        }
    })?;
    host.function("deadline_left", |_, ()| {
        let left = current()
            .and_then(|scope| scope.next_deadline())
            .map(|at| at.saturating_duration_since(std::time::Instant::now()));
        Ok(left.map(|left| left.as_secs_f64()))
    })?;
    Ok(())
}

fn tasks(host: &HostTable) -> mlua::Result<()> {
    host.function(
        "task_spawn",
        |lua, (inside, body, arguments): (Option<UserDataRef<ScopeHandle>>, Function, MultiValue)| {
            let parent = inside
                .map(|handle| handle.0.clone())
                .or_else(current)
                .ok_or_else(no_task)?;
            let shared = shared(lua)?;
            let id = shared.next_id();
            let scope = Scope::child(&parent, id, None);
            let thread = lua.create_thread(body).map_err(internal)?;
            let future = thread.into_async::<()>(arguments).map_err(internal)?;
            let context = TaskContext::new(id, scope.clone());
            shared.live_tasks.borrow_mut().insert(id, scope);
            // The body is the prelude's, which runs the script's function protected; its outcome
            // travels through a Lua table.
            let body = future.map(move |_| {
                shared.live_tasks.borrow_mut().remove(&id);
            });
            tokio::task::spawn_local(CONTEXT.scope(context, body));
            Ok(id)
        },
    )?;
    host.function("task_cancel", |lua, id: u64| {
        let scope = shared(lua)?.live_tasks.borrow().get(&id).cloned();
        if let Some(scope) = scope {
            scope.cancel(Reason::Cancelled);
        }
        Ok(())
    })?;
    host.function("task_current", |_, ()| {
        Ok(CONTEXT.try_with(|context| context.id).unwrap_or(0))
    })?;
    host.function("task_count", |lua, ()| {
        Ok(shared(lua)?.live_tasks.borrow().len())
    })?;
    host.function("exit", |lua, code: i32| {
        shared(lua)?.roots.soft.cancel(Reason::Exit { code });
        Ok(())
    })?;
    // What `os.exit` was called with, if it was.
    host.function("exit_code", |lua, ()| {
        Ok(match shared(lua)?.roots.soft.reason() {
            Some(Reason::Exit { code }) => Some(*code),
            _ => None,
        })
    })?;
    Ok(())
}

fn push(lua: &Lua, scope: Rc<Scope>) -> Result<AnyUserData, Failure> {
    CONTEXT
        .try_with(|context| context.push(scope.clone()))
        .map_err(|_| no_task())?;
    lua.create_userdata(ScopeHandle(scope)).map_err(internal)
}

fn duration(seconds: f64) -> Result<Duration, Failure> {
    // A century, so that `math.huge` means "no limit" and arithmetic on instants cannot overflow.
    const LONGEST: f64 = 100.0 * 365.0 * 86_400.0;
    if seconds.is_nan() || seconds < 0.0 {
        return Err(Failure::new(
            Kind::Arg,
            format!("{seconds} is not a duration"),
        ));
    }
    Ok(Duration::from_secs_f64(seconds.min(LONGEST)))
}

fn no_task() -> Failure {
    Failure::new(Kind::Internal, "called outside of a task")
}

fn internal(error: mlua::Error) -> Failure {
    Failure::new(Kind::Internal, error.to_string())
}
