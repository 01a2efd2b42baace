//! Random numbers that a seed repeats.

use std::cell::RefCell;

use mlua::{Function, Lua};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use sha2::{Digest, Sha256};

use crate::engine::{HostTable, shared};
use crate::failure::{Failure, Kind};

pub fn register(host: &HostTable) -> mlua::Result<()> {
    // A generator called like `math.random`. Its stream depends on the run's seed and its name only,
    // so that one part of a drill drawing more numbers does not shift another's.
    host.function("random_new", |lua, name: String| {
        let run_seed = shared(lua)?.options.seed;
        let digest = Sha256::digest(format!("{run_seed}/{name}"));
        let mut seed = [0; 32];
        seed.copy_from_slice(&digest);
        generator(lua, StdRng::from_seed(seed))
            .map_err(|error| Failure::new(Kind::Internal, error.to_string()))
    })?;
    // The same from a seed that is given: what is drawn from it may be drawn again in another run.
    host.function("random_seeded", |lua, (seed, name): (i64, String)| {
        let digest = Sha256::digest(format!("{}/{name}", seed as u64));
        generator(lua, ChaCha8Rng::from_seed(digest.into()))
            .map_err(|error| Failure::new(Kind::Internal, error.to_string()))
    })
}

fn generator(lua: &Lua, rng: impl RngExt + 'static) -> mlua::Result<Function> {
    let rng = RefCell::new(rng);
    lua.create_function(move |_, (low, high): (Option<i64>, Option<i64>)| {
        let mut rng = rng.borrow_mut();
        let (low, high) = match (low, high) {
            (None, _) => return Ok(mlua::Value::Number(rng.random::<f64>())),
            (Some(high), None) => (1, high),
            (Some(low), Some(high)) => (low, high),
        };
        if low > high {
            return Err(mlua::Error::runtime(format!(
                "random: the interval {low}..{high} is empty"
            )));
        }
        Ok(mlua::Value::Integer(rng.random_range(low..=high)))
    })
}
