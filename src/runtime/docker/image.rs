//! Which image a node is made from.

use std::collections::BTreeSet;

use bollard::query_parameters::{CreateImageOptionsBuilder, ListImagesOptions};
use futures_util::StreamExt;

use super::error::status;
use super::{Engine, Error};
use crate::runtime::ContainerRecord;

/// Built by `compose/image/build` where no image can be pulled.
const BUILT: &str = "rpitr/postgres";
/// The version to pull when nobody asks for one and the engine has none.
const USUAL_MAJOR: u32 = 17;

/// An image, and what rpitr must know of it before a container runs.
#[derive(Debug, Clone)]
pub(super) struct Image {
    pub name: String,
    /// From `PG_MAJOR`; 0 when the image does not tell.
    pub major: u32,
    /// Paths the image declares as volumes.
    pub volumes: Vec<String>,
}

impl Image {
    /// Refuses an image that says it is of another major version.
    fn check(self, wanted: Option<u32>) -> Result<Self, Error> {
        match wanted {
            Some(major) if self.major != 0 && self.major != major => Err(Error::WrongMajor {
                image: self.name,
                major: self.major,
                wanted: major,
            }),
            _ => Ok(self),
        }
    }
}

impl Engine {
    /// What a node's container is made from, and the major version if the image tells it.
    pub(in crate::runtime) async fn node_image(
        &self,
        major: Option<u32>,
    ) -> Result<(ContainerRecord, u32), Error> {
        let image = self.image(major).await?;
        let made = ContainerRecord {
            image: image.name,
            volumes: image.volumes,
            ..ContainerRecord::default()
        };
        Ok((made, image.major))
    }

    /// The image for PostgreSQL `major`: `RPITR_POSTGRES_IMAGE`, `postgres:<major>` (pulled if it is not
    /// there), or `rpitr/postgres:<major>`. Without a wish, the newest the engine has.
    pub(super) async fn image(&self, major: Option<u32>) -> Result<Image, Error> {
        let wanted = std::env::var("RPITR_POSTGRES_IMAGE").ok();
        if let Some(name) = wanted.filter(|name| !name.is_empty()) {
            let mut tried = Vec::new();
            return match self.find_or_pull(&name, &mut tried).await? {
                Some(image) => image.check(major),
                None => Err(Error::NoImage { image: name, tried }),
            };
        }
        let major = match major {
            Some(major) => major,
            None => self.newest().await?.unwrap_or(USUAL_MAJOR),
        };
        let official = format!("postgres:{major}");
        let built = format!("{BUILT}:{major}");
        for name in [&official, &built] {
            if let Some(image) = self.inspect_image(name).await? {
                return Ok(image);
            }
        }
        let mut tried = Vec::new();
        match self.find_or_pull(&official, &mut tried).await? {
            Some(image) => Ok(image),
            None => {
                tried.push(format!("{built}: not built"));
                Err(Error::NoImage {
                    image: official,
                    tried,
                })
            }
        }
    }

    async fn find_or_pull(
        &self,
        name: &str,
        tried: &mut Vec<String>,
    ) -> Result<Option<Image>, Error> {
        if let Some(image) = self.inspect_image(name).await? {
            return Ok(Some(image));
        }
        // Without a tag the engine would pull every one there is.
        let tagged = match name
            .rsplit('/')
            .next()
            .is_some_and(|last| last.contains([':', '@']))
        {
            true => name.to_string(),
            false => format!("{name}:latest"),
        };
        let options = CreateImageOptionsBuilder::new().from_image(&tagged).build();
        let mut progress = self.docker.create_image(Some(options), None, None);
        while let Some(step) = progress.next().await {
            if let Err(error) = step {
                tried.push(format!("pull {tagged}: {error}"));
                return Ok(None);
            }
        }
        self.inspect_image(name).await
    }

    pub(super) async fn inspect_image(&self, name: &str) -> Result<Option<Image>, Error> {
        let found = match self.docker.inspect_image(name).await {
            Ok(found) => found,
            Err(error) if status(&error) == Some(404) => return Ok(None),
            Err(error) => return Err(Error::api("inspect image", name)(error)),
        };
        let config = found.config.unwrap_or_default();
        let major = config
            .env
            .unwrap_or_default()
            .iter()
            .find_map(|line| line.strip_prefix("PG_MAJOR=")?.parse().ok());
        Ok(Some(Image {
            name: name.to_string(),
            major: major.unwrap_or(0),
            volumes: config.volumes.unwrap_or_default(),
        }))
    }

    /// The newest major version the engine has an image of.
    pub(super) async fn newest(&self) -> Result<Option<u32>, Error> {
        let images = self
            .docker
            .list_images(None::<ListImagesOptions>)
            .await
            .map_err(Error::api("list", "images"))?;
        let majors: BTreeSet<u32> = images
            .iter()
            .flat_map(|image| &image.repo_tags)
            .filter_map(|tag| {
                let (name, tag) = tag.split_once(':')?;
                ["postgres", BUILT].contains(&name).then_some(())?;
                tag.parse().ok()
            })
            .collect();
        Ok(majors.last().copied())
    }
}
