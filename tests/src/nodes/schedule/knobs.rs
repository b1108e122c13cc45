//! What a schedule may contain.

use std::ops::RangeInclusive;
use std::time::Duration;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use crate::nodes::Mutation;

macro_rules! knobs {
    ($($(#[doc = $doc:literal])+ $field:ident: $chance:literal,)+) => {
        /// What a schedule may contain. Each seed draws which kinds of faults it has, and how
        /// strong.
        #[derive(Debug, Clone, PartialEq)]
        pub struct Knobs {
            /// How many things are done.
            pub actions: u32,
            /// How many hosts there are; drawn from here. None: three to twenty-five, small ones
            /// more often.
            pub hosts: Option<RangeInclusive<usize>>,
            /// Loss of datagrams that a schedule may choose, in 0..=1.
            pub loss: f64,
            /// Doubled datagrams that a schedule may choose, in 0..=1.
            pub duplicate: f64,
            /// One-way delay that a schedule may choose.
            pub delay: Duration,
            /// Jitter that a schedule may choose: packets overtake each other.
            pub jitter: Duration,
            /// Drift of clocks that a schedule may choose, in parts in a million.
            pub drift_ppm: u32,
            $($(#[doc = $doc])+ pub $field: Faults,)+
            /// A bug that is planted.
            pub mutation: Option<Mutation>,
        }

        impl Knobs {
            /// Nothing goes wrong.
            pub const CALM: Self = Self {
                actions: 40,
                hosts: None,
                loss: 0.0,
                duplicate: 0.0,
                delay: Duration::ZERO,
                jitter: Duration::ZERO,
                drift_ppm: 0,
                $($field: Faults::Never,)+
                mutation: None,
            };

            /// Every kind of fault by its name.
            pub fn faults(&mut self) -> Vec<(&'static str, &mut Faults)> {
                vec![$((stringify!($field), &mut self.$field),)+]
            }

            /// Draws which of the faults one seed has.
            pub(super) fn draw(&self, rng: &mut ChaCha8Rng) -> Self {
                let mut drawn = self.clone();
                drawn.loss *= rng.random::<f64>();
                drawn.duplicate *= rng.random::<f64>();
                drawn.delay = drawn.delay.mul_f64(rng.random::<f64>().powi(3));
                drawn.jitter = drawn.jitter.mul_f64(rng.random());
                drawn.drift_ppm = (f64::from(drawn.drift_ppm) * rng.random::<f64>()) as u32;
                $(
                    let has: bool = rng.random_bool($chance);
                    if drawn.$field == Faults::Sometimes && !has {
                        drawn.$field = Faults::Never;
                    }
                )+
                drawn
            }
        }
    };
}

knobs! {
    /// Whether agents crash between two inputs, or at any durable step.
    crashes: 0.7,
    /// Whether the network splits into two halves.
    splits: 0.6,
    /// Whether one direction between two hosts is cut.
    one_way: 0.6,
    /// Whether hosts flap.
    flaps: 0.4,
    /// Whether hosts stall.
    stalls: 0.4,
    /// Whether nodes leave.
    leaves: 0.6,
    /// Whether crashed nodes are forgotten; some return all the same.
    forgets: 0.6,
    /// Whether some of these are forgotten by force.
    force: 0.1,
    /// Whether disks are lost.
    lost_disks: 0.25,
    /// Whether disks are rolled back.
    old_disks: 0.2,
    /// Whether disks are cloned.
    cloned_disks: 0.15,
    /// Whether all agents restart at once.
    power_cuts: 0.3,
    /// Whether nodes join while the network is split.
    joins_in_splits: 0.7,
    /// Whether the same name or network is worked on by several hosts at once.
    concurrent: 0.8,
}

/// Whether a kind of fault happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Faults {
    /// It does not.
    Never,
    /// In some seeds, now and then.
    Sometimes,
    /// In each seed, now and then.
    Always,
}

impl Default for Knobs {
    fn default() -> Self {
        let mut knobs = Self {
            loss: 0.3,
            duplicate: 0.2,
            delay: Duration::from_millis(60),
            jitter: Duration::from_millis(40),
            drift_ppm: 20_000,
            ..Self::CALM
        };
        knobs.faults().into_iter().for_each(|(_, fault)| *fault = Faults::Sometimes);
        knobs
    }
}

impl Knobs {
    /// Sets a knob by its name, as the command line does.
    ///
    /// # Errors
    /// What is wrong with the name or the value.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        let bad = || format!("knob `{name}` cannot be `{value}`");
        let part = || value.parse().ok().filter(|part| (0.0..=1.0).contains(part)).ok_or_else(bad);
        let millis = || value.parse().map(Duration::from_millis).map_err(|_| bad());
        match name {
            "actions" => self.actions = value.parse().map_err(|_| bad())?,
            "hosts" => {
                let (from, to) = value.split_once("..").unwrap_or((value, value));
                let number = |text: &str| text.parse::<usize>().map_err(|_| bad());
                let hosts = number(from)?..=number(to)?;
                self.hosts = Some(hosts).filter(|hosts| !hosts.is_empty() && *hosts.start() > 0);
                self.hosts.as_ref().ok_or_else(bad)?;
            }
            "loss" => self.loss = part()?,
            "duplicate" => self.duplicate = part()?,
            "delay_ms" => self.delay = millis()?,
            "jitter_ms" => self.jitter = millis()?,
            "drift_ppm" => self.drift_ppm = value.parse().map_err(|_| bad())?,
            _ => {
                let faults = match value {
                    "never" => Faults::Never,
                    "sometimes" => Faults::Sometimes,
                    "always" => Faults::Always,
                    _ => return Err(bad()),
                };
                let knob = self.faults().into_iter().find(|(knob, _)| *knob == name);
                *knob.ok_or_else(|| format!("there is no knob `{name}`"))?.1 = faults;
            }
        }
        Ok(())
    }

    /// How many hosts one seed has.
    pub(super) fn hosts(&self, rng: &mut ChaCha8Rng) -> usize {
        match &self.hosts {
            Some(hosts) => rng.random_range(hosts.clone()),
            None => match rng.random_range(0..100) {
                0..70 => rng.random_range(3..=7),
                70..92 => rng.random_range(8..=12),
                _ => rng.random_range(13..=25),
            },
        }
    }
}
