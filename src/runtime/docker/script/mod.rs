//! Containers that a script makes and runs itself (`docker.run`), beside the nodes of labs. They belong to
//! a lab of their own, so that its labels and its record find them whatever happens to the script.

mod container;
mod image;
mod parts;
mod program;

use std::rc::Rc;

pub use container::{Action, NewContainer, Published, answers};
pub use image::Build;
pub use parts::{Part, Parts, Source};
pub use program::{Program, RunningProgram};

use super::{DockerLab, Engine};

/// The label of what scripts make.
const ROLE: &str = "script";

/// What a script's containers, networks and volumes are made with.
#[derive(Debug, Clone)]
pub struct ScriptContainers {
    lab: Rc<DockerLab>,
}

impl ScriptContainers {
    pub fn new(lab: Rc<DockerLab>) -> Self {
        ScriptContainers { lab }
    }

    /// The machine the engine publishes ports on.
    pub fn host(&self) -> String {
        self.lab.engine.host()
    }

    fn engine(&self) -> &Engine {
        &self.lab.engine
    }

    fn docker(&self) -> &bollard::Docker {
        &self.lab.engine.docker
    }
}
