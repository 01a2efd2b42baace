//! Images: pulling, building, removing.

use std::collections::HashMap;

use bollard::body_full;
use bollard::query_parameters::{
    BuildImageOptionsBuilder, CreateImageOptionsBuilder, RemoveImageOptionsBuilder,
};
use futures_util::{Stream, StreamExt, stream};

use super::super::Error;
use super::super::error::status;
use super::{Part, Parts, ScriptContainers, Source};

/// How to build an image.
#[derive(Debug, Clone, Default)]
pub struct Build {
    pub tag: String,
    /// Within the folder that is sent.
    pub dockerfile: String,
    pub args: HashMap<String, String>,
    pub no_cache: bool,
}

fn line(text: String) -> Part {
    Part {
        source: Source::Progress,
        bytes: text.into_bytes(),
    }
}

impl ScriptContainers {
    /// Whether the engine has the image.
    pub async fn has_image(&self, image: &str) -> Result<bool, Error> {
        match self.docker().inspect_image(image).await {
            Ok(_) => Ok(true),
            Err(error) if status(&error) == Some(404) => Ok(false),
            Err(error) => Err(Error::api("inspect image", image)(error)),
        }
    }

    /// Pulls an image; each part is a line of progress.
    pub fn pull(&self, image: &str) -> Parts {
        let (docker, image) = (self.docker().clone(), tagged(image));
        Parts::of(move || {
            let options = CreateImageOptionsBuilder::new().from_image(&image).build();
            let failed = move |error| Error::Pull {
                image: image.clone(),
                reason: reason(&error),
            };
            let steps = docker.create_image(Some(options), None, None);
            steps.filter_map(move |step| {
                let step = step.map_err(&failed).map(|step| {
                    let done = step
                        .progress_detail
                        .and_then(|d| Some((d.current?, d.total?)))
                        .map(|(current, total)| {
                            format!(" {}%", 100 * current / i64::max(total, 1))
                        });
                    let what = step.id.map(|id| format!("{id}: ")).unwrap_or_default();
                    format!(
                        "{what}{}{}",
                        step.status.unwrap_or_default(),
                        done.unwrap_or_default()
                    )
                });
                std::future::ready(Some(step.map(line)))
            })
        })
    }

    /// Builds an image from a folder, given as a tar archive; each part is what the builder prints.
    pub fn build(&self, folder: Vec<u8>, build: Build) -> Parts {
        let docker = self.docker().clone();
        Parts::of(move || build_steps(docker, folder, build))
    }

    /// Removes an image's name; the image goes when that was its last. Returns whether it was there.
    pub async fn remove_image(&self, image: &str) -> Result<bool, Error> {
        let options = RemoveImageOptionsBuilder::new().build();
        match self.docker().remove_image(image, Some(options), None).await {
            Ok(_) => Ok(true),
            Err(error) if status(&error) == Some(404) => Ok(false),
            Err(error) => Err(Error::api("remove image", image)(error)),
        }
    }
}

fn build_steps(
    docker: bollard::Docker,
    folder: Vec<u8>,
    build: Build,
) -> impl Stream<Item = Result<Part, Error>> + Send {
    let (sender, receiver) = tokio::sync::mpsc::channel(1);
    // The steps borrow the connection: they are read where it lives.
    let read = async move {
        let options = BuildImageOptionsBuilder::new()
            .t(&build.tag)
            .dockerfile(&build.dockerfile)
            .buildargs(&build.args)
            .nocache(build.no_cache)
            .rm(true)
            .forcerm(true)
            .build();
        let mut steps =
            std::pin::pin!(docker.build_image(options, None, Some(body_full(folder.into()))));
        while let Some(step) = steps.next().await {
            let failed = |reason| Error::Build {
                tag: build.tag.clone(),
                reason,
            };
            let part = match step {
                Err(error) => Err(failed(reason(&error))),
                Ok(step) => match step.error_detail.and_then(|detail| detail.message) {
                    Some(message) => Err(failed(message)),
                    None => Ok(step.stream.or(step.status).unwrap_or_default()),
                },
            };
            if sender.send(part.map(line)).await.is_err() {
                break;
            }
        }
    };
    let parts = stream::unfold(receiver, |mut receiver| async move {
        let part = receiver.recv().await?;
        Some((part, receiver))
    });
    // One stream that also does the reading.
    let reading = stream::once(read).filter_map(|()| std::future::ready(None));
    stream::select(parts, reading)
}

/// Without a tag the engine would pull every one there is.
fn tagged(image: &str) -> String {
    let last = image.rsplit('/').next().unwrap_or(image);
    match last.contains([':', '@']) {
        true => image.to_string(),
        false => format!("{image}:latest"),
    }
}

/// What the engine said, without the library's own words around it.
fn reason(error: &bollard::errors::Error) -> String {
    match error {
        bollard::errors::Error::DockerStreamError { error } => error.clone(),
        bollard::errors::Error::DockerResponseServerError { message, .. } => message.clone(),
        other => other.to_string(),
    }
}
