//! Counts that show that a run did something, and that a knob has effect.

macro_rules! tally {
    ($($(#[doc = $doc:literal])+ $field:ident,)+) => {
        /// What was counted in a run.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        pub struct Tally {
            $($(#[doc = $doc])+ pub $field: u64,)+
        }

        impl Tally {
            /// Returns each count by its name.
            pub fn rows(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($field), self.$field),)+]
            }

            /// Adds the counts of another run; of the greatest ones the greater stays.
            pub fn add(&mut self, other: &Self) {
                let most = (self.in_flight_max, self.drift_ms_max);
                $(self.$field += other.$field;)+
                self.in_flight_max = most.0.max(other.in_flight_max);
                self.drift_ms_max = most.1.max(other.drift_ms_max);
            }
        }
    };
}

tally! {
    /// Events carried out.
    events,
    /// Endpoints whose record was committed.
    endpoints,
    /// Networks that came into force.
    networks,
    /// Networks deleted, on all hosts together.
    deletes,
    /// Creates of one name begun at once on two hosts.
    concurrent_creates,
    /// Deletes begun while another host attached or deleted.
    concurrent_deletes,
    /// Claims that the onlooker compared with the disks of those who had to accept them.
    claims_checked,
    /// Frames followed from endpoint to endpoint.
    frames,
    /// Frames that arrived.
    frames_arrived,
    /// Datagrams lost.
    lost,
    /// Datagrams that arrived twice.
    duplicated,
    /// Datagrams that a later one of the same pair overtook.
    overtaken,
    /// Datagrams that took more than 5 ms.
    delayed,
    /// Datagrams that a cut stopped.
    cut,
    /// Cuts of one direction between two hosts.
    one_way_cuts,
    /// Splits into two groups.
    splits,
    /// Times that a flapping host went off or came back.
    flaps,
    /// Events that waited for a host that had stalled.
    stalled,
    /// The most that a clock was off, in ms.
    drift_ms_max,
    /// Agents crashed.
    crashes,
    /// Agents crashed between two inputs.
    crashes_between,
    /// Agents crashed before a commit: the writes are lost.
    commits_unwritten,
    /// Agents crashed in the middle of a commit: what is there of it is not taken up.
    commits_torn,
    /// Agents crashed after a commit, before a word of it.
    commits_untold,
    /// Agents crashed after a commit and some words of it.
    commits_half_told,
    /// Writes lost by a crash, since nobody had been told.
    commits_lost,
    /// Restarts of all hosts at once.
    full_restarts,
    /// Hosts that joined.
    joined,
    /// Joins begun while the network was split.
    joins_in_splits,
    /// Nodes that left.
    left,
    /// Nodes that were forgotten.
    forgotten,
    /// Nodes that were forgotten by force.
    forced,
    /// Forgotten nodes that came back and were told.
    returned,
    /// Disks lost.
    disks_lost,
    /// Disks rolled back.
    disks_rolled_back,
    /// Disks cloned.
    disks_cloned,
    /// Nodes that heard that their disk was rolled back or cloned.
    rolled_back,
    /// The most events that waited at once.
    in_flight_max,
}
