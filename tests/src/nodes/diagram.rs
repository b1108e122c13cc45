//! The last events as a sequence diagram in text: a column a host, an arrow a packet.

use std::collections::{BTreeSet, VecDeque};
use std::fmt::Write;
use std::time::Duration;

/// Events that are kept.
const KEPT: usize = 4000;
/// Events that are drawn.
const DRAWN: usize = 60;
/// Width of a column.
const WIDTH: usize = 9;

/// One event.
#[derive(Debug, Clone)]
pub(super) struct Mark {
    pub(super) at: Duration,
    pub(super) kind: Kind,
}

/// What an event was.
#[derive(Debug, Clone)]
pub(super) enum Kind {
    /// Something was done to a host, or a host said something.
    Note { host: Option<usize>, text: String },
    /// Something went from host to host.
    Packet { from: usize, to: usize, what: &'static str, bytes: usize, fate: &'static str },
}

/// The last events.
#[derive(Debug, Default)]
pub(super) struct Diagram {
    marks: VecDeque<Mark>,
}

impl Diagram {
    pub(super) fn add(&mut self, at: Duration, kind: Kind) {
        if self.marks.len() >= KEPT {
            self.marks.pop_front();
        }
        self.marks.push_back(Mark { at, kind });
    }

    /// Draws the last events; of packets only those between the hosts that are named last: in what
    /// does not hold, and in what was done just before.
    pub(super) fn draw(&self, named: &BTreeSet<usize>) -> String {
        let mut hosts = named.clone();
        let notes = self.marks.iter().rev().filter_map(|mark| match mark.kind {
            Kind::Note { host, .. } => host,
            Kind::Packet { .. } => None,
        });
        hosts.extend(notes.take(if named.is_empty() { 4 } else { 2 }));
        let is_shown = |mark: &&Mark| match &mark.kind {
            Kind::Note { host, .. } => host.is_none_or(|host| hosts.contains(&host)),
            Kind::Packet { from, to, .. } => hosts.contains(from) && hosts.contains(to),
        };
        let mut shown: Vec<&Mark> = self.marks.iter().rev().filter(is_shown).take(DRAWN).collect();
        shown.reverse();
        let columns: Vec<usize> = hosts.into_iter().collect();
        let mut text = format!("{:>9} ", "s");
        for host in &columns {
            let _ = write!(text, "{:^WIDTH$}", format!("host {host}"));
        }
        for mark in shown {
            let _ = write!(text, "\n{}", line(mark, &columns).trim_end());
        }
        text
    }
}

/// One line: the time, a lifeline a host, an arrow between two of them, and words.
fn line(mark: &Mark, columns: &[usize]) -> String {
    let mut cells = vec![' '; columns.len() * WIDTH];
    let centre = |host: usize| {
        columns.iter().position(|of| *of == host).map(|index| index * WIDTH + WIDTH / 2)
    };
    for host in columns {
        if let Some(at) = centre(*host) {
            cells[at] = '|';
        }
    }
    let words = match &mark.kind {
        Kind::Note { host, text } => {
            if let Some(at) = host.and_then(centre) {
                cells[at] = '*';
            }
            text.clone()
        }
        Kind::Packet { from, to, what, bytes, fate } => {
            if let (Some(a), Some(b)) = (centre(*from), centre(*to)) {
                let (left, right) = (a.min(b), a.max(b));
                for cell in cells.iter_mut().take(right).skip(left + 1) {
                    *cell = '-';
                }
                if a < b && b > 0 {
                    cells[b - 1] = if fate.is_empty() { '>' } else { 'x' };
                } else if a > b {
                    cells[b + 1] = if fate.is_empty() { '<' } else { 'x' };
                }
            }
            format!("{what}, {bytes} B{}{fate}", if fate.is_empty() { "" } else { ", " })
        }
    };
    let cells: String = cells.into_iter().collect();
    format!("{:>9.3} {cells}  {words}", mark.at.as_secs_f64())
}
