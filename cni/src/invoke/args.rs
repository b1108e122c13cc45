//! The environment of a plugin.

use std::ffi::OsString;

/// Variables in order; of two with the same name the later counts.
pub type Environment = Vec<(OsString, OsString)>;

const COMMAND: &str = "CNI_COMMAND";

/// What a plugin is told through its environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CniArgs {
    /// A runtime's call.
    Call(Args),
    /// A plugin's call of another: its own environment with only the command replaced.
    Delegate {
        /// The command.
        command: String,
    },
    /// The environment of this process, untouched.
    Inherited,
}

impl CniArgs {
    /// The environment for a child of this process.
    #[must_use]
    pub fn as_env(&self) -> Environment {
        self.over(std::env::vars_os().collect())
    }

    /// The environment for a child of a process that has `parent`. Variables set here replace
    /// those of the parent.
    #[must_use]
    pub fn over(&self, parent: Environment) -> Environment {
        let own = match self {
            Self::Inherited => return parent,
            Self::Delegate { command } => vec![(COMMAND, command.clone())],
            Self::Call(args) => args.variables(),
        };
        let mut environment = parent;
        environment.retain(|(name, _)| !own.iter().any(|(ours, _)| name == ours));
        environment.extend(own.into_iter().map(|(name, value)| (name.into(), value.into())));
        environment
    }
}

/// The arguments of a runtime's call. All six variables are set, be they empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Args {
    /// CNI_COMMAND.
    pub command: String,
    /// CNI_CONTAINERID.
    pub container_id: String,
    /// CNI_NETNS.
    pub netns: String,
    /// CNI_ARGS, in order.
    pub plugin_args: Vec<(String, String)>,
    /// CNI_IFNAME.
    pub if_name: String,
    /// CNI_PATH: directories with colons between.
    pub path: String,
}

impl Args {
    fn variables(&self) -> Vec<(&'static str, String)> {
        let pairs: Vec<String> =
            self.plugin_args.iter().map(|(key, value)| format!("{key}={value}")).collect();
        vec![
            (COMMAND, self.command.clone()),
            ("CNI_CONTAINERID", self.container_id.clone()),
            ("CNI_NETNS", self.netns.clone()),
            ("CNI_ARGS", pairs.join(";")),
            ("CNI_IFNAME", self.if_name.clone()),
            ("CNI_PATH", self.path.clone()),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(variables: &[(&str, &str)]) -> Environment {
        variables.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect()
    }

    #[test]
    fn variables_of_a_call_replace_those_of_the_parent() {
        let call = CniArgs::Call(Args {
            command: "ADD".into(),
            container_id: "some-container-id".into(),
            netns: "/some/netns/path".into(),
            plugin_args: vec![("KEY1".into(), "VALUE1".into()), ("KEY2".into(), "VALUE2".into())],
            if_name: "eth7".into(),
            path: "/some/cni/path:/other".into(),
        });
        let parent = environment(&[("CNI_COMMAND", "DEL"), ("HOME", "/h"), ("CNI_IFNAME", "eth0")]);
        let expected = environment(&[
            ("HOME", "/h"),
            ("CNI_COMMAND", "ADD"),
            ("CNI_CONTAINERID", "some-container-id"),
            ("CNI_NETNS", "/some/netns/path"),
            ("CNI_ARGS", "KEY1=VALUE1;KEY2=VALUE2"),
            ("CNI_IFNAME", "eth7"),
            ("CNI_PATH", "/some/cni/path:/other"),
        ]);
        assert_eq!(call.over(parent), expected);
    }

    #[test]
    fn empty_values_of_a_call_are_set_all_the_same() {
        let parent = environment(&[("CNI_CONTAINERID", "left-over"), ("CNI_ARGS", "A=b")]);
        let made = CniArgs::Call(Args { command: "GC".into(), ..Args::default() }).over(parent);
        assert_eq!(made.len(), 6);
        assert!(made.contains(&("CNI_CONTAINERID".into(), "".into())));
        assert!(made.contains(&("CNI_ARGS".into(), "".into())));
    }

    #[test]
    fn delegation_replaces_the_command_and_nothing_else() {
        let parent = environment(&[("CNI_COMMAND", "DEL"), ("CNI_IFNAME", "eth0")]);
        let made = CniArgs::Delegate { command: "ADD".into() }.over(parent);
        assert_eq!(made, environment(&[("CNI_IFNAME", "eth0"), ("CNI_COMMAND", "ADD")]));
    }

    #[test]
    fn delegation_sets_the_command_where_there_is_none() {
        let made = CniArgs::Delegate { command: "ADD".into() }.over(Vec::new());
        assert_eq!(made, environment(&[("CNI_COMMAND", "ADD")]));
    }

    #[test]
    fn inherited_environment_is_the_parents() {
        let parent = environment(&[("CNI_COMMAND", "DEL")]);
        assert_eq!(CniArgs::Inherited.over(parent.clone()), parent);
    }
}
