//! No source: releases are handed over by whoever has them ([`crate::updater::Delivery`]).

use super::{Announced, Ask, Source};
use crate::trust::{Trust, Trusted};
use crate::{Error, Result};

/// Whom nobody asks.
pub(super) struct Pushed;

impl Source for Pushed {
    fn latest(&self, _ask: &Ask<'_>, _trust: &mut Trust) -> Result<Trusted> {
        Err(Error::NoActiveVersion {
            url: "source.kind = \"pushed\"".to_owned(),
            said: "versions are handed to castoff agent".to_owned(),
        })
    }

    fn history(&self, _ask: &Ask<'_>, _trust: &mut Trust, _count: usize) -> Result<Vec<Announced>> {
        Ok(Vec::new())
    }
}
